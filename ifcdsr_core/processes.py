"""The processes that torchrun started: how many, which one this is, and what the first one does for all.

torchrun tells each process its place in the environment. Without it there is one process, nothing here waits, and torch
is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import ModuleType
from typing import TypeVar


def started() -> int:
    """How many processes torchrun started, joined yet or not; 1 without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # clusters set WORLD_SIZE for their own purposes
        return 1
    return int(os.environ["WORLD_SIZE"])


def _joined() -> ModuleType | None:
    """``torch.distributed`` where this process has joined others, else None."""
    if started() == 1:
        return None
    import torch.distributed

    return torch.distributed if torch.distributed.is_initialized() else None


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if (dist := _joined()) else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if (dist := _joined()) else 0


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started for as long as the block lasts; nothing happens where there are none."""
    if started() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" is from now on this one
    # one process may prepare data for long while the others wait; where one fails, torchrun ends all
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=12))
    try:
        yield
    finally:
        dist.destroy_process_group()


T = TypeVar("T")


def of_first(ask: Callable[[], T]) -> T:
    """What ``ask`` gives in the first process, in all of them; there alone it is called."""
    if size() == 1:
        return ask()
    answer = [ask() if rank() == 0 else None]
    _joined().broadcast_object_list(answer)
    return answer[0]


def first_alone(do: Callable[[], T]) -> T:
    """``do`` in the first process, then in the others, which find what it left."""
    if rank() == 0:
        done = do()
    wait()
    return done if rank() == 0 else do()


def wait() -> None:
    """Until all processes are here."""
    if dist := _joined():
        dist.barrier()
