"""Pictures of a scenario's items to frozen features: any number of them, on any number of processes.

While a GPU works, processes decode and prepare the next pictures. What is done is kept shard by shard, so a run that
was killed goes on behind its last whole shard, to the same bytes; and several processes share the shards:

    torchrun --nproc-per-node 4 -m ifcdsr_core embed --source amazon --device cuda --precision float16

They may run on several machines that see the same data folder. The first process puts the shards together.

Features that are cached need neither torch nor open_clip nor PIL.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from ifcdsr_core.errors import InputError, choose, usable_device
from ifcdsr_core.features.cache import (
    Features,
    contents_sha256,
    encoder_record,
    find_features,
    parts_folder,
    save_features,
    tower_record,
)
from ifcdsr_core.features.clip import SMALL_CLIP, ImageTower, image_tower
from ifcdsr_core.paths import new_file, processors
from ifcdsr_core.scenario import Scenario

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


PRECISIONS = ("float32", "float16", "bfloat16")
SHARD = 8  # batches


def embed_images(
    scenario: Scenario,
    encoder: str = SMALL_CLIP,
    device: str = "cpu",
    batch_size: int = 256,
    precision: str = "float32",
    workers: int | None = None,
    progress: bool = True,
) -> Features:
    """Features of a scenario's pictures: those in ``data/features`` if they were made of the same, else new ones.

    Args:
        encoder: ``small_clip`` (the demo's), or ``<open_clip model>/<tag or path of the weights>``; for real pictures
            ``clip.REAL_PICTURES_ENCODER``. A tag names published weights: cached features of it need no download.
        device: ``cpu`` or ``cuda``.
        batch_size: pictures at a time; does not change the features but for rounding.
        precision: of the model's products, ``float32``, or mixed, ``float16`` or ``bfloat16``. Like the device it is
            recorded, and is not part of the fingerprint: features differ in the third decimal.
        workers: processes that decode pictures; 0 for none. None for one a processor where a GPU computes, and none
            elsewhere: there they take from the model what they give (``benchmarks/embedding.py``).
        progress: show a bar in a terminal.

    Raises:
        InputError: unknown encoder or precision, weights that can't be had or read, no usable picture, a damaged cache
            file.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: it must be at least 1")
    if workers is not None and workers < 0:
        raise InputError(f"workers is {workers}: it must be at least 0")
    choose("precision", precision, PRECISIONS)
    made_of = encoder_record(encoder)
    made_of["pictures_sha256"] = _of_first_process(lambda: _pictures_sha256(scenario))
    if (found := find_features(scenario, made_of)) is not None:
        return found
    from ifcdsr_core import processes

    paths = _picture_paths(scenario)
    named = [row for row, path in enumerate(paths) if path is not None]
    if not named:
        raise _no_pictures(scenario)
    tower = image_tower(encoder, usable_device(device))
    made_of |= tower_record(tower, device) | {"precision": precision}
    if workers is None:
        sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes on this machine
        workers = max(1, processors() // sharing) if device == "cuda" else 0
    shards = [
        [named[at : at + batch_size] for at in range(start, min(start + SHARD * batch_size, len(named)), batch_size)]
        for start in range(0, len(named), SHARD * batch_size)
    ]
    folder = parts_folder(scenario, made_of, f"{batch_size}-{precision}-{device}")
    with _alone(folder) if processes.rank() == 0 else nullcontext():
        # another process may have been at it while this one waited for the lock
        if processes.of_first(lambda: find_features(scenario, made_of) is not None):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _embed_shards(folder, shards, paths, tower, _autocast(device, precision), workers, progress)
            processes.wait()
            if processes.rank() == 0:
                _put_together(folder, shards, scenario, made_of)
        processes.wait()
    return find_features(scenario, made_of)


def _embed_shards(
    folder: Path,
    shards: list[list[list[int]]],
    paths: list[Path | None],
    tower: ImageTower,
    autocast,
    workers: int,
    progress: bool,
) -> None:
    """Write the shards that are missing and this process's: of their usable pictures the features, and which they are.

    Args:
        shards: of each the batches, of each the rows.
        autocast: context the model works in.
    """
    import torch
    from torch.utils.data import DataLoader

    from ifcdsr_core import processes

    missing = processes.of_first(
        lambda: [number for number in range(len(shards)) if not _whole(_shard(folder, number))]
    )
    own = missing[processes.rank() :: processes.size()]
    batches = iter(
        DataLoader(
            _Pictures(paths, tower.preprocess),
            batch_sampler=[batch for number in own for batch in shards[number]],
            collate_fn=_stacked,
            pin_memory=torch.cuda.is_available(),
            **(_processes(workers) if own else {}),
        )
    )
    total = sum(len(batch) for number in own for batch in shards[number])
    # disable=None: a bar in a terminal only, nothing in a notebook or a log
    with (
        torch.inference_mode(),
        tqdm(
            total=total,
            desc="embedding pictures",
            unit="picture",
            disable=None if progress and processes.rank() == 0 else True,
        ) as bar,
    ):
        for number in own:
            features, usable = [np.zeros((0, 0), dtype=np.float32)], []
            # in this order: zip asks for no batch too many
            for batch, (there, pixels) in zip(shards[number], batches, strict=False):
                usable += [row for row, is_there in zip(batch, there, strict=True) if is_there]
                if pixels is not None:
                    with autocast:
                        features.append(tower.encode(pixels).float().cpu().numpy())  # (B, e)
                bar.update(len(batch))
            with new_file(_shard(folder, number)) as path:
                save_file(
                    {"features": np.concatenate(features[1:] or features), "usable": np.array(usable, dtype=np.int64)},
                    path,
                )


def _processes(workers: int) -> dict:
    """A DataLoader's settings for so many processes."""
    if not workers:
        return {}
    # A fork of this process would copy locks that its threads hold, Polars' and torch's. A fork server has no threads,
    # and imports once what all need, which takes longer than to start.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["open_clip.transform"])
    return {"num_workers": workers, "multiprocessing_context": context}


def _put_together(folder: Path, shards: list, scenario: Scenario, made_of: dict[str, str]) -> None:
    """Write the cache file from the shards, and delete these. The matrix is built on disk: it may not fit elsewhere."""
    matrix, missing = None, np.ones(scenario.num_items, dtype=bool)
    for number in range(len(shards)):
        shard = load_file(_shard(folder, number))
        if not len(shard["usable"]):
            continue
        if matrix is None:
            matrix = np.lib.format.open_memmap(
                folder / "matrix.npy", "w+", np.float32, (scenario.num_items, shard["features"].shape[1])
            )
        matrix[shard["usable"]], missing[shard["usable"]] = shard["features"], False
    if matrix is not None:
        save_features(scenario, matrix, missing, made_of)
    shutil.rmtree(folder)
    if matrix is None:
        raise _no_pictures(scenario)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.safetensors"


def _whole(path: Path) -> bool:
    """Whether a file is there and as long as it says; after a crash of the machine its end may be lacking."""
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError):
        return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make the folder, and wait until no other process works in it. The lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(exist_ok=True)  # whom we waited for has deleted it, if all went well
        yield


def _of_first_process(ask: Callable[[], str]) -> str:
    """What the first of torchrun's processes answers; reading all pictures once is enough."""
    if os.environ.get("WORLD_SIZE", "1") == "1":  # most often, and then torch may not even be there
        return ask()
    from ifcdsr_core import processes

    return processes.of_first(ask)


def _autocast(device: str, precision: str):
    import torch

    return torch.autocast(device, getattr(torch, precision)) if precision != "float32" else nullcontext()


def _no_pictures(scenario: Scenario) -> InputError:
    return InputError(f"scenario {scenario.source}/{scenario.name} has no pictures: train with image_fusion=false")


class _Pictures:
    """What a DataLoader asks for: a row's picture, prepared (3, height, width), or None if there is none to be had."""

    def __init__(self, paths: list[Path | None], preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __getitem__(self, row: int) -> Tensor | None:
        picture = open_picture(self.paths[row])
        return None if picture is None else self.preprocess(picture)


def _stacked(pictures: list[Tensor | None]) -> tuple[list[bool], Tensor | None]:
    """A batch: which pictures are there, and these, (B, 3, height, width)."""
    import torch

    usable = [picture for picture in pictures if picture is not None]
    return [picture is not None for picture in pictures], torch.stack(usable) if usable else None


def open_picture(path: Path | None) -> Image.Image | None:
    """The whole picture as RGB, or None if there is none to be had."""
    from PIL import Image

    if path is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return picture.convert("RGB")
    except Exception:  # what PIL raises for no picture, a cut one or a bomb varies; one bad file must not stop a run
        return None


def _picture_paths(scenario: Scenario) -> list[Path | None]:
    """Path of each item's picture in id order, None where the scenario names none or lives in no folder."""
    return [
        scenario.folder / image if isinstance(image, str) and scenario.folder else None
        for image in scenario.items["image"]
    ]


def _pictures_sha256(scenario: Scenario) -> str:
    def content(path: Path | None) -> bytes | None:
        try:
            return path.read_bytes() if path else None
        except OSError:
            return None

    return contents_sha256(scenario, map(content, _picture_paths(scenario)))
