"""Frozen features of a scenario's items: of their pictures here, of their texts in ``texts``; one cache for both.

A cache file is found by what it was made of: encoder, weights, preprocessing, and the items' pictures or texts. An item
without a usable picture (none named, no such file, one that can't be decoded) or text gets the mean of the usable
features of its own domain, or of all where its domain has none, scaled to length one; ``Features.missing`` marks it.

Finding cached features takes only numpy and safetensors: open_clip, torch and PIL are imported where they compute.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, Iterator

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from ifcdsr_core.clip import (SMALL_CLIP, ImageTower, TextTower, file_sha256, first_line,
                              image_tower, parse_encoder)
from ifcdsr_core.errors import InputError, usable_device
from ifcdsr_core.paths import data_dir, new_file
from ifcdsr_core.scenario import DOMAINS, Scenario

if TYPE_CHECKING:
    from PIL import Image

_CONTENT = {"image": "pictures_sha256", "text": "texts_sha256"}  # modality -> what its record says of the items
_METADATA = ("encoder", "weights_sha256", "preprocessing", "items_sha256", "scenario_fingerprint", "fingerprint",
             "content_sha256", "shape")


@dataclass(frozen=True)
class Features:
    """Features of the pictures or texts of a scenario's items.

    Attributes:
        matrix: (num_items, e) float32, rows of length one; row i - 1 belongs to item i.
        encoder: what made them, ``lexical``, ``small_clip`` or ``<open_clip model>/<tag or file name>``.
        fingerprint: SHA-256 of encoder, weights, preprocessing, source ids and picture files or texts.
        missing: (num_items,) bool, True where the row is the fallback.
        long: texts that did not fit into the encoder and were encoded in parts.
        unknown: share of the texts' words that the small CLIP does not know.
    """

    matrix: np.ndarray
    encoder: str
    fingerprint: str
    missing: np.ndarray
    long: int = 0
    unknown: float = 0.0


def embed_images(scenario: Scenario, encoder: str = SMALL_CLIP, device: str = "cpu", batch_size: int = 256,
                 progress: bool = True) -> Features:
    """Features of a scenario's pictures: those in ``data/features`` if they were made of the same, else new ones.

    Args:
        encoder: ``small_clip`` (the demo's), or ``<open_clip model>/<tag or path of the weights>``; for real pictures
            ``clip.REAL_PICTURES_ENCODER``. A tag names published weights: cached features of it need no download.
        device: ``cpu`` or ``cuda``.
        batch_size: pictures at a time; does not change the features.
        progress: show a bar in a terminal.

    Raises:
        InputError: unknown encoder, weights that can't be had or read, no usable picture, a damaged cache file.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: it must be at least 1")
    made_of = encoder_record(encoder) | {"pictures_sha256": _pictures_sha256(scenario)}
    if (found := find_features(scenario, made_of)) is not None:
        return found
    tower = image_tower(encoder, usable_device(device))
    raw, missing = _embed(scenario, tower, batch_size, progress)
    return save_features(scenario, raw, missing, made_of | tower_record(tower, device))


# -- the cache ---------------------------------------------------------------------------------------------------------


def encoder_record(encoder: str, others: tuple[str, ...] = ()) -> dict[str, str]:
    """What is known of a CLIP before it is loaded: its name and, where no tag has to be downloaded first, its weights.

    Arguments and errors are those of ``parse_encoder``.
    """
    name, weights = parse_encoder(encoder, others)
    return {"encoder": name} | ({"weights_sha256": file_sha256(weights)} if weights else {})


def tower_record(tower: ImageTower | TextTower, device: str) -> dict[str, str]:
    """What else is known once it is loaded."""
    return {"weights_sha256": tower.weights_sha256, "preprocessing": tower.preprocessing,
            "reference_sha256": tower.reference_sha256(), "device": device}


def find_features(scenario: Scenario, made_of: dict[str, str]) -> Features | None:
    """The cached features of which all of ``made_of`` is recorded, or None.

    Raises:
        InputError: a cache file of this scenario, modality and encoder is damaged or will not do.
    """
    folder, stem = _place(scenario, made_of)
    for path in sorted(folder.glob(f"{stem}*.safetensors")):
        recorded = _read_metadata(path)
        if made_of.items() <= recorded.items():
            return load_features(path, scenario)
    return None


def save_features(scenario: Scenario, raw: np.ndarray, missing: np.ndarray, made_of: dict[str, str], long: int = 0,
                  unknown: float = 0.0) -> Features:
    """Fill the missing rows of raw features (num_items, e) and write a cache file, whole or not at all.

    Args:
        made_of: ``encoder``, ``weights_sha256``, ``preprocessing``, and ``pictures_sha256`` or ``texts_sha256``, which
            make the fingerprint; and what else is worth recording.

    Raises:
        InputError: the encoder made something that is not a number, or infinite.
    """
    matrix = fill_missing(raw, missing, scenario)
    if not np.isfinite(matrix).all():
        raise InputError(f"{made_of['encoder']} made features that are not finite numbers: choose another encoder")
    fingerprint = _fingerprint(made_of)
    recorded = made_of | {
        "items_sha256": _items_sha256(scenario), "scenario_fingerprint": scenario.fingerprint,
        "content_sha256": _content_sha256(matrix, missing), "shape": json.dumps(matrix.shape), "long": str(long),
        "unknown": repr(unknown), "fingerprint": fingerprint,
    }
    folder, stem = _place(scenario, made_of)
    with new_file(folder / f"{stem}{fingerprint[:12]}.safetensors") as path:
        save_file({"features": matrix, "missing": missing.astype(np.uint8)}, path, metadata=recorded)
    return Features(matrix, made_of["encoder"], fingerprint, missing, long, unknown)


def load_features(path: Path, scenario: Scenario) -> Features:
    """Read a cache file.

    Raises:
        InputError: the file is damaged, or holds features of another number of items, of other items, or none a model
            could use (not a number, infinite).
    """
    path = Path(path)
    recorded = _read_metadata(path)
    try:
        with safe_open(path, framework="numpy") as file:
            matrix, missing = file.get_tensor("features"), file.get_tensor("missing").astype(bool)
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error
    if matrix.ndim != 2 or len(matrix) != scenario.num_items or missing.shape != (len(matrix),):
        raise InputError(f"{path} has features of shape {matrix.shape}: {scenario.source}/{scenario.name} has "
                         f"{scenario.num_items} items; embed them")
    if recorded["items_sha256"] != _items_sha256(scenario):
        raise InputError(f"{path} has features of other items than those of {scenario.source}/{scenario.name}: embed "
                         "these")
    if not np.isfinite(matrix).all():
        raise InputError(f"{path} has features that are not finite numbers: delete it and embed the items again")
    if recorded["content_sha256"] != _content_sha256(matrix, missing):
        raise _damaged(path, "its content is not what it was when it was written")
    return Features(matrix, recorded["encoder"], recorded["fingerprint"], missing,
                    int(recorded.get("long", 0)), float(recorded.get("unknown", 0)))


def fill_missing(raw: np.ndarray, missing: np.ndarray, scenario: Scenario) -> np.ndarray:
    """Rows of length one (num_items, e), those of missing items filled with the mean of their domain's others."""
    matrix = raw.copy()
    domain = scenario.items["domain"].to_numpy()
    for name in DOMAINS:
        usable = (domain == name) & ~missing
        matrix[(domain == name) & missing] = raw[usable if usable.any() else ~missing].mean(axis=0)
    length = np.linalg.norm(matrix, axis=1, keepdims=True)  # (num_items, 1)
    return np.ascontiguousarray(matrix / np.maximum(length, 1e-12), dtype=np.float32)


def contents_sha256(scenario: Scenario, contents: Iterable[bytes | None]) -> str:
    """SHA-256 of source ids and of the bytes of each item's picture or text, a missing one told from an empty one."""
    digest = hashlib.sha256()
    for source_id, content in zip(scenario.items["source_id"], contents):
        digest.update(f"{source_id}\x1f{'-' if content is None else len(content)}\n".encode() + (content or b""))
    return digest.hexdigest()


def _items_sha256(scenario: Scenario) -> str:
    """SHA-256 of which items these are: domains and source ids in id order."""
    items = scenario.items
    return hashlib.sha256("\x1f".join(items["domain"] + items["source_id"].astype(str)).encode()).hexdigest()


def _content_sha256(matrix: np.ndarray, missing: np.ndarray) -> str:
    """SHA-256 of what is stored; safetensors itself has no checksum."""
    content = f"{matrix.shape}".encode() + matrix.astype("<f4").tobytes() + missing.astype(np.uint8).tobytes()
    return hashlib.sha256(content).hexdigest()


def _fingerprint(recorded: dict[str, str]) -> str:
    made_of = ("encoder", "weights_sha256", "preprocessing", _CONTENT[_modality(recorded)])
    return hashlib.sha256("\x1f".join(recorded[key] for key in made_of).encode()).hexdigest()


def _modality(recorded: dict[str, str]) -> str:
    return "text" if _CONTENT["text"] in recorded else "image"


def _place(scenario: Scenario, made_of: dict[str, str]) -> tuple[Path, str]:
    """Folder and beginning of the names of cache files."""
    modality = {"image": "", "text": "text-"}[_modality(made_of)]
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", made_of["encoder"])
    return data_dir() / "features", f"{scenario.source}-{scenario.name}-{modality}{slug}-"


def _read_metadata(path: Path) -> dict[str, str]:
    """What a cache file says of itself."""
    try:
        with safe_open(path, framework="numpy") as file:
            recorded = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    absent = [key for key in (*_METADATA, _CONTENT[_modality(recorded)]) if key not in recorded]
    if absent or _fingerprint(recorded) != recorded["fingerprint"]:
        raise _damaged(path, f"no {absent[0]} is recorded" if absent else "its fingerprint does not fit its record")
    return recorded


def _damaged(path: Path, reason: Exception | str) -> InputError:
    return InputError(f"{path} can't be used as features ({first_line(reason)}): delete it and embed the items again")


# -- pictures to features ----------------------------------------------------------------------------------------------


def _embed(scenario: Scenario, tower: ImageTower, batch_size: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Raw features (num_items, e), zero where there is no usable picture, and where that is (num_items,)."""
    import torch

    missing, matrix = np.ones(scenario.num_items, dtype=bool), None
    # disable=None: a bar in a terminal only, nothing in a notebook or a log
    with torch.inference_mode(), tqdm(total=scenario.num_items, desc="embedding pictures", unit="picture",
                                      disable=None if progress else True) as bar:
        for rows, pixels in _batches(scenario, tower.preprocess, batch_size, bar):
            features = tower.encode(torch.stack(pixels)).float().cpu().numpy()  # (B, e)
            if matrix is None:
                matrix = np.zeros((scenario.num_items, features.shape[1]), dtype=np.float32)
            matrix[rows], missing[rows] = features, False
    if matrix is None:
        raise InputError(f"scenario {scenario.source}/{scenario.name} has no pictures: train with image_fusion=false")
    return matrix, missing


def _batches(scenario: Scenario, preprocess: Callable, batch_size: int, bar: tqdm) -> Iterator[tuple[list, list]]:
    """Row numbers and pixels (3, height, width) of the usable pictures, up to ``batch_size`` at a time."""
    rows, pixels = [], []
    for row, path in enumerate(_picture_paths(scenario)):
        bar.update()
        picture = _open_picture(path)
        if picture is not None:
            rows.append(row)
            pixels.append(preprocess(picture))
        if len(rows) == batch_size:
            yield rows, pixels
            rows, pixels = [], []
    if rows:
        yield rows, pixels


def _open_picture(path: Path | None) -> Image.Image | None:
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
    return [scenario.folder / image if isinstance(image, str) and scenario.folder else None
            for image in scenario.items["image"]]


def _pictures_sha256(scenario: Scenario) -> str:
    def content(path: Path | None) -> bytes | None:
        try:
            return path.read_bytes() if path else None
        except OSError:
            return None

    return contents_sha256(scenario, map(content, _picture_paths(scenario)))
