"""Frozen features of the pictures of a scenario's items: any number of pictures, on any number of processes.

While a GPU works, worker processes decode and prepare the next pictures. Features are kept shard by shard: a run that
was killed continues after its last whole shard and ends in the same bytes. Several processes can share the shards:

    torchrun --nproc-per-node 4 -m ifcdsr_core embed --source amazon --device cuda --precision float16

They may run on several machines that see the same data folder. The first process puts the shards together.

Finding cached features needs neither torch nor open_clip nor PIL.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from ifcdsr_core import processes
from ifcdsr_core.errors import InputError, choose, require, usable_device
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
from ifcdsr_core.files import locked, new_file
from ifcdsr_core.paths import processors
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources.download.decoding import as_shown, marked

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

PRECISIONS = ("float32", "float16", "bfloat16")
SHARD = 8  # batches per shard


def embed_images(
    scenario: Scenario,
    encoder: str = SMALL_CLIP,
    device: str = "cpu",
    batch_size: int = 256,
    precision: str = "float32",
    workers: int | None = None,
) -> Features:
    """Features of a scenario's pictures: those in ``data/features`` if they were made of the same, else new ones.

    Args:
        encoder: ``small_clip`` (the demo's), or ``<open_clip model>/<tag or path of the weights>``; for real pictures
            ``clip.REAL_PICTURES_ENCODER``. A tag names published weights: cached features of it need no download.
        device: ``cpu`` or ``cuda``.
        batch_size: pictures at a time; it changes the features by rounding only.
        precision: of the model's products: ``float32``, or mixed precision, ``float16`` or ``bfloat16``. Like the
            device it is recorded and not part of the fingerprint: features differ in the third decimal.
        workers: processes that decode pictures, 0 for none. None: one per processor where a GPU computes, else 0, as
            they would slow the model down as much as they help (``benchmarks/embedding.py``).

    Raises:
        InputError: unknown encoder, device or precision, weights that are not available or not readable, no usable
            picture, a picture that can't be opened, a damaged cache file.
    """
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    require(workers is None or workers >= 0, "workers", workers, "at least 0")
    choose("precision", precision, PRECISIONS)
    device = usable_device(device)
    made_of = image_record(scenario, encoder)
    if (found := find_features(scenario, made_of)) is not None:
        return found
    paths = picture_paths(scenario)
    named = [row for row, path in enumerate(paths) if path is not None]
    if not named:
        raise InputError(f"scenario {scenario.source}/{scenario.name} has no pictures: train with image_fusion=false")
    tower = image_tower(encoder, device)
    made_of |= tower_record(tower, device) | {"precision": precision}
    if workers is None:
        sharing = int(os.environ["LOCAL_WORLD_SIZE"]) if processes.started() > 1 else 1  # torchrun's on this machine
        workers = max(1, processors() // sharing) if device == "cuda" else 0
    batches = [named[start : start + batch_size] for start in range(0, len(named), batch_size)]
    shards = _Shards(parts_folder(scenario, made_of, f"{batch_size}-{precision}-{device}"), batches)
    with locked(shards.folder.with_name(f"{shards.folder.name}.lock")) if processes.rank() == 0 else nullcontext():
        # another process may have embedded the pictures while this one waited for the lock
        if processes.of_first(lambda: find_features(scenario, made_of) is not None):
            shutil.rmtree(shards.folder, ignore_errors=True)
        else:
            _embed_shards(shards, paths, tower, _autocast(device, precision), workers)
            processes.wait()
            if processes.rank() == 0:
                _put_together(shards, scenario, made_of)
        processes.wait()
    return find_features(scenario, made_of)


def image_record(scenario: Scenario, encoder: str = SMALL_CLIP) -> dict[str, str]:
    """What is known of the features of a scenario's pictures before they are made: the encoder, and the pictures.

    Raises:
        InputError: unknown encoder, or its weights are not where it says.
    """
    made_of = encoder_record(encoder)
    made_of["pictures_sha256"] = processes.of_first(lambda: _pictures_sha256(scenario))  # to read them once is enough
    return made_of


@dataclass(frozen=True)
class _Shards:
    """Files with parts of the features, of SHARD batches each; ``batches`` holds the rows of each batch."""

    folder: Path
    batches: list[list[int]]

    def __len__(self) -> int:
        return -(-len(self.batches) // SHARD)

    def __getitem__(self, number: int) -> list[list[int]]:
        """The batches of a shard."""
        return self.batches[number * SHARD : (number + 1) * SHARD]

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def missing(self) -> list[int]:
        """Shards without a whole file; after a crash of the machine a file may lack its end."""
        return [number for number in range(len(self)) if not _whole(self.path(number))]


def _embed_shards(shards: _Shards, paths: list[Path | None], tower: ImageTower, autocast, workers: int) -> None:
    """Write this process's share of the missing shards: the rows of usable pictures, and their features.

    Args:
        autocast: context the model works in.
    """
    import torch
    from tqdm import tqdm

    own = processes.of_first(shards.missing)[processes.rank() :: processes.size()]
    rows = [batch for number in own for batch in shards[number]]
    batches = iter(loader(paths, tower, rows, workers if own else 0))
    # disable=None: a bar in a terminal only, nothing in a notebook or a log
    quiet = True if processes.rank() else None
    with (
        torch.inference_mode(),
        tqdm(total=sum(map(len, rows)), desc="embedding pictures", unit="picture", disable=quiet) as bar,
    ):
        for number in own:
            features, usable = [np.zeros((0, 0), dtype=np.float32)], []
            # zip in this order does not take a batch of the next shard
            for batch, (there, pixels) in zip(shards[number], batches, strict=False):
                usable += [row for row, is_there in zip(batch, there, strict=True) if is_there]
                if pixels is not None:
                    with autocast:
                        features.append(tower.encode(pixels).float().cpu().numpy())  # (B, e)
                bar.update(len(batch))
            with new_file(shards.path(number)) as path:
                save_file(
                    {"features": np.concatenate(features[1:] or features), "usable": np.array(usable, dtype=np.int64)},
                    path,
                )


def loader(paths: list[Path | None], tower: ImageTower, batches: Iterable[list[int]], workers: int):
    """Which pictures of each batch of rows are usable, and these pictures, prepared (B, 3, height, width)."""
    import torch

    started = {}
    if workers:
        # A fork of this process would copy locks that its threads hold, Polars' and torch's. A fork server has no
        # threads, and imports once what all workers need: that takes longer than their start.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["open_clip.transform"])
        started = {"num_workers": workers, "multiprocessing_context": context}
    return torch.utils.data.DataLoader(
        _Pictures(paths, tower.preprocess),
        batch_sampler=batches,
        collate_fn=_stacked,
        pin_memory=torch.cuda.is_available(),
        **started,
    )


def _put_together(shards: _Shards, scenario: Scenario, made_of: dict[str, str]) -> None:
    """Write the cache file from the shards, and delete them. The matrix is built on disk: it may exceed memory."""
    matrix, missing = None, np.ones(scenario.num_items, dtype=bool)
    for number in range(len(shards)):
        shard = load_file(shards.path(number))
        if not len(shard["usable"]):
            continue
        if matrix is None:
            matrix = np.lib.format.open_memmap(
                shards.folder / "matrix.npy", "w+", np.float32, (scenario.num_items, shard["features"].shape[1])
            )
        matrix[shard["usable"]], missing[shard["usable"]] = shard["features"], False
    if matrix is not None:
        save_features(scenario, matrix, missing, made_of)
    shutil.rmtree(shards.folder)
    if matrix is None:
        raise InputError(
            f"none of the pictures in {scenario.folder} is usable: prepare the scenario again with --force, or train "
            "with image_fusion=false"
        )


def _whole(path: Path) -> bool:
    """Whether a file is there and as long as its header says."""
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError):
        return False


def _autocast(device: str, precision: str):
    import torch

    return torch.autocast(device, getattr(torch, precision)) if precision != "float32" else nullcontext()


class _Pictures:
    """The data set of a DataLoader: a row's picture, prepared (3, height, width), or None if it is not usable."""

    def __init__(self, paths: list[Path | None], preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __getitem__(self, row: int) -> Tensor | None:
        picture = open_picture(self.paths[row])
        return None if picture is None else self.preprocess(picture)


def _stacked(pictures: list[Tensor | None]) -> tuple[list[bool], Tensor | None]:
    """A batch: which pictures are usable, and these pictures (B, 3, height, width)."""
    import torch

    usable = [picture for picture in pictures if picture is not None]
    return [picture is not None for picture in pictures], torch.stack(usable) if usable else None


def open_picture(path: Path | None) -> Image.Image | None:
    """The whole picture as RGB, as a browser shows it (``as_shown``), or None if it is not usable."""
    from PIL import Image

    if path is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PIL warns of is no reason to do without, however Python was started
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return as_shown(picture)
    except Exception:  # PIL raises many kinds for a file that is no picture, cut or a bomb; none may stop a run
        return None


def picture_paths(scenario: Scenario) -> list[Path | None]:
    """Path of each item's picture in id order, None where the scenario names none or lives in no folder."""
    return [
        scenario.folder / image if isinstance(image, str) and scenario.folder else None
        for image in scenario.items["image"]
    ]


def _pictures_sha256(scenario: Scenario) -> str:
    def content(path: Path | None) -> bytes | None:
        try:
            return marked(path.read_bytes()) if path else None
        except FileNotFoundError:
            return None
        except OSError as error:  # it may be there: features without it would be others
            raise InputError(f"{path} can't be opened ({error.strerror}): make it readable") from error

    return contents_sha256(scenario, map(content, picture_paths(scenario)))
