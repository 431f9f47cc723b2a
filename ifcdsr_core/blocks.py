"""Large matrices in pieces: blocks of items that stay in the processor's cache, work areas that are kept."""

from __future__ import annotations

import ctypes
import os
from itertools import pairwise

import torch
from torch import Tensor

BLOCK = 1024  # items whose scores a processor computes at a time; a GPU takes all at once
_areas: dict[tuple, Tensor] = {}


def chunks(count: int, size: int) -> list[slice]:
    """``count`` rows in slices of at most ``size`` rows, and of at least one.

    >>> chunks(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, size)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def blocks(count: int, device: torch.device, *cuts: int) -> list[slice]:
    """``count`` items in slices that are worked on at a time, none of which reaches across a cut.

    >>> blocks(2000, torch.device("cpu"), 500)
    [slice(0, 500, None), slice(500, 1524, None), slice(1524, 2000, None)]
    """
    size = BLOCK if device.type == "cpu" else count
    return [
        slice(first + part.start, first + part.stop)
        for first, end in pairwise(sorted({0, *cuts, count}))
        for part in chunks(end - first, size)
    ]


def work_area(name: object, rows: int, columns: int, like: Tensor) -> Tensor:
    """A (rows, columns) area of that name, of the type and on the device of ``like``; the same again at the next call.

    Asking the allocator anew each step costs as much as the arithmetic.
    """
    key = (name, like.dtype, like.device)
    held = _areas.get(key)
    if held is None or held.numel() < rows * columns:
        _areas[key] = held = torch.empty(rows * columns, dtype=like.dtype, device=like.device)
    return held[: rows * columns].view(rows, columns)


def prepare_memory() -> None:
    """Have the C library keep freed memory for the next step, which asks for the same again.

    Left to itself, glibc gives it back to the system and gets it anew, page by page: half of a step's time. Pieces of
    32 MiB and more still go back: if they were kept, what is small would be put into them, they would no longer fit,
    and memory would grow from step to step. So it would where oneDNN keeps a thousand programs, one for each shape of a
    product in bfloat16, few of which come again.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")  # read at the first such product
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if set_option is not None:
        for option, value in ((-3, 2**25), (-1, 2**31 - 1), (-2, 2**20)):  # M_MMAP_, M_TRIM_THRESHOLD, M_TOP_PAD
            set_option(option, value)
