"""Frozen features of a scenario's items: one cache for those of pictures (``images``) and of texts (``texts``).

A cache file is found by what it was made of: encoder, weights, preprocessing, and the items' pictures or texts. An item
without a usable picture or text gets the mean of the usable features of its own domain, or of all where its domain has
none, scaled to length one; ``Features.missing`` marks it.

Matrices are memory-mapped: they may be larger than memory, and processes on a machine share them. Finding cached
features needs only numpy and safetensors: open_clip, torch and PIL are imported where they compute.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ifcdsr_core.errors import InputError, first_line
from ifcdsr_core.features.clip import ImageTower, TextTower, parse_encoder
from ifcdsr_core.files import file_hash, new_file
from ifcdsr_core.paths import data_dir
from ifcdsr_core.scenario import DOMAINS, Scenario

_CONTENT = {"image": "pictures_sha256", "text": "texts_sha256"}  # modality -> what its record says of the items
_METADATA = ("encoder", "weights_sha256", "preprocessing", "items_sha256", "fingerprint", "content_sha256")
_ROWS = 1 << 16  # read at a time, as a matrix may be larger than memory


@dataclass(frozen=True)
class Features:
    """Features of the pictures or texts of a scenario's items.

    Attributes:
        matrix: (num_items, e) float32, rows of length one; row i - 1 belongs to item i.
        encoder: what made them: ``lexical``, ``wordllama``, ``minilm``, ``small_clip`` or ``<open_clip model>/<tag or
            file name>``.
        fingerprint: SHA-256 of encoder, weights, preprocessing, source ids and picture files or texts.
        missing: (num_items,) bool, True where the row is the fallback.
        long: texts that did not fit into the encoder and were encoded in parts.
        unknown: share of the texts' words that an encoder with a vocabulary does not know.
    """

    matrix: np.ndarray
    encoder: str
    fingerprint: str
    missing: np.ndarray
    long: int = 0
    unknown: float = 0.0


def encoder_record(encoder: str, others: tuple[str, ...] = ()) -> dict[str, str]:
    """What is known of a CLIP before it is loaded: its name and, where no tag has to be downloaded first, its weights.

    Arguments and errors are those of ``parse_encoder``.
    """
    name, weights = parse_encoder(encoder, others)
    return {"encoder": name} | ({"weights_sha256": file_hash(weights)} if weights else {})


def tower_record(tower: ImageTower | TextTower, device: str) -> dict[str, str]:
    """What else is known once it is loaded."""
    return {"weights_sha256": tower.weights_sha256, "preprocessing": tower.preprocessing, "device": device}


def find_features(scenario: Scenario, made_of: dict[str, str]) -> Features | None:
    """The cached features whose record holds all of ``made_of``, or None.

    Raises:
        InputError: a cache file of this scenario, modality and encoder is damaged or can't be used.
    """
    found = _find(scenario, made_of)
    return load_features(found[0], scenario) if found else None


def find_fingerprint(scenario: Scenario, made_of: dict[str, str]) -> str | None:
    """The fingerprint of the features that ``find_features`` returns; their matrix is not read."""
    found = _find(scenario, made_of)
    return found[1]["fingerprint"] if found else None


def _find(scenario: Scenario, made_of: dict[str, str]) -> tuple[Path, dict[str, str]] | None:
    """The cache file whose record holds all of ``made_of``, and that record."""
    folder, stem = _place(scenario, made_of)
    for path in sorted(folder.glob(f"{stem}*.safetensors")):
        recorded = _read_metadata(path)
        if made_of.items() <= recorded.items():
            return path, recorded
    return None


def save_features(
    scenario: Scenario,
    raw: np.ndarray,
    missing: np.ndarray,
    made_of: dict[str, str],
    long: int = 0,
    unknown: float = 0.0,
) -> Features:
    """Fill the missing rows of raw features (num_items, e), in place, and write a cache file, whole or not at all.

    Args:
        raw: float32; may be memory-mapped.
        made_of: ``encoder``, ``weights_sha256``, ``preprocessing``, and ``pictures_sha256`` or ``texts_sha256``, which
            make the fingerprint; and what else is worth recording.

    Raises:
        InputError: the encoder made something that is not a number, or infinite.
    """
    matrix = fill_missing(raw, missing, scenario)
    if not _finite(matrix):
        raise InputError(f"{made_of['encoder']} made features that are not finite numbers: choose another encoder")
    fingerprint = _fingerprint(made_of)
    recorded = made_of | {
        "items_sha256": _items_sha256(scenario),
        "content_sha256": _content_sha256(matrix, missing),
        "long": str(long),
        "unknown": repr(unknown),
        "fingerprint": fingerprint,
    }
    folder, stem = _place(scenario, made_of)
    final = folder / f"{stem}{fingerprint[:12]}.safetensors"
    with new_file(final) as path:
        # one entry: the library writes several in an order that differs from file to file
        save_file(
            {"features": matrix, "missing": missing.astype(np.uint8)},
            path,
            metadata={"record": json.dumps(recorded, sort_keys=True)},
        )
    return load_features(final, scenario)


def parts_folder(scenario: Scenario, made_of: dict[str, str], settings: str) -> Path:
    """Folder where parts of features wait until all are there: one per setting."""
    folder, stem = _place(scenario, made_of)
    return folder / f".{stem}{_fingerprint(made_of)[:12]}-{settings}"


def load_features(path: Path, scenario: Scenario) -> Features:
    """Read a cache file.

    Raises:
        InputError: the file is damaged or can't be opened, or its features are of another number of items, of other
            items, or not finite.
    """
    path = Path(path)
    recorded = _read_metadata(path)
    with _reading(path), safe_open(path, framework="numpy") as file:
        missing = file.get_tensor("missing").astype(bool)
        matrix = _mapped(path, "features")
        long, unknown = int(recorded.get("long", 0)), float(recorded.get("unknown", 0))
    if matrix.ndim != 2 or len(matrix) != scenario.num_items or missing.shape != (len(matrix),):
        raise InputError(
            f"{path} has features of shape {matrix.shape}: {scenario.source}/{scenario.name} has "
            f"{scenario.num_items} items; embed them"
        )
    if recorded["items_sha256"] != _items_sha256(scenario):
        raise InputError(
            f"{path} has features of other items than those of {scenario.source}/{scenario.name}: embed these"
        )
    if not _finite(matrix):
        raise _damaged(path, "some are not finite numbers")
    if recorded["content_sha256"] != _content_sha256(matrix, missing):
        raise _damaged(path, "its content is not what it was when it was written")
    return Features(matrix, recorded["encoder"], recorded["fingerprint"], missing, long, unknown)


def fill_missing(raw: np.ndarray, missing: np.ndarray, scenario: Scenario) -> np.ndarray:
    """Fill the rows of missing items with the mean of their domain's others, and scale all rows to length one.

    Changes ``raw`` (num_items, e) in place, some rows at a time, and returns it.
    """
    domain = scenario.items["domain"].to_numpy()
    for name in DOMAINS:
        usable = (domain == name) & ~missing
        if (rows := (domain == name) & missing).any():
            raw[rows] = _mean(raw, np.flatnonzero(usable if usable.any() else ~missing))
    for start in range(0, len(raw), _ROWS):
        part = raw[start : start + _ROWS]
        part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
    return raw


def _mean(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of some rows, (e,), added one after the other as numpy does: ``_ROWS`` makes no difference."""
    total = np.zeros((1, matrix.shape[1]), dtype=matrix.dtype)
    for start in range(0, len(rows), _ROWS):
        total = np.concatenate([total, matrix[rows[start : start + _ROWS]]]).sum(axis=0, keepdims=True)
    return total[0] / len(rows)


def _finite(matrix: np.ndarray) -> bool:
    """Whether all are finite numbers, without a matrix of truth values."""
    return bool(np.isfinite(matrix.min()) and np.isfinite(matrix.max()))


def _mapped(path: Path, name: str) -> np.ndarray:
    """A float32 tensor of a safetensors file, memory-mapped; writing to it does not change the file.

    The format is 8 bytes with the length of a JSON header, the header, the tensors
    (https://github.com/huggingface/safetensors); the library itself copies what it reads.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        described = json.loads(file.read(length))[name]
    if described["dtype"] != "F32":
        raise ValueError(f"{name} are {described['dtype']}, not F32")
    return np.asarray(np.memmap(path, "<f4", "c", 8 + length + described["data_offsets"][0], tuple(described["shape"])))


def contents_sha256(scenario: Scenario, contents: Iterable[bytes | None]) -> str:
    """SHA-256 of each item's source id and the bytes of its picture or text; a missing one is not an empty one."""
    digest = hashlib.sha256()
    for source_id, content in zip(scenario.items["source_id"].to_numpy(object), contents, strict=True):
        digest.update(f"{source_id}\x1f{'-' if content is None else len(content)}\n".encode() + (content or b""))
    return digest.hexdigest()


def _items_sha256(scenario: Scenario) -> str:
    """SHA-256 of which items these are: domains and source ids in id order."""
    named = scenario.items["domain"] + scenario.items["source_id"].astype(str)
    return hashlib.sha256("\x1f".join(named.to_numpy(object)).encode()).hexdigest()


def _content_sha256(matrix: np.ndarray, missing: np.ndarray) -> str:
    """SHA-256 of what is stored; safetensors itself has no checksum."""
    digest = hashlib.sha256(f"{matrix.shape}".encode())
    digest.update(np.ascontiguousarray(matrix, dtype="<f4"))
    digest.update(missing.astype(np.uint8))
    return digest.hexdigest()


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
    """The record in a cache file."""
    with _reading(path), safe_open(path, framework="numpy") as file:
        recorded = file.metadata() or {}
        recorded = json.loads(recorded["record"]) if "record" in recorded else recorded  # flat in earlier versions
        if not isinstance(recorded, dict) or not all(isinstance(value, str) for value in recorded.values()):
            raise ValueError("its record is not one of texts")
    absent = [key for key in (*_METADATA, _CONTENT[_modality(recorded)]) if key not in recorded]
    if absent or _fingerprint(recorded) != recorded["fingerprint"]:
        raise _damaged(path, f"no {absent[0]} is recorded" if absent else "its fingerprint does not fit its record")
    return recorded


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a cache file. Deleting it helps where its content is damaged only."""
    try:
        with open(path, "rb"):  # safetensors calls a file that it may not open absent
            yield
    except OSError as error:
        what = error.strerror or first_line(error)
        raise InputError(f"{path} can't be used as features ({what}): make it a file that can be read") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, first_line(error)) from error


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} can't be used as features ({reason}): delete it and embed the items again")
