"""Frozen CLIP features of a scenario's pictures, cached by what they were made of.

An item without a usable picture (none named, no such file, one that can't be decoded) gets the mean of the usable
features of its own domain, or of all where its domain has none, scaled to length one; ``Features.missing`` marks it.

Finding cached features takes only numpy and safetensors: open_clip, torch and PIL are imported where they compute.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from ifcdsr_core.errors import InputError, usable_device
from ifcdsr_core.paths import data_dir, new_file
from ifcdsr_core.scenario import DOMAINS, Scenario

if TYPE_CHECKING:
    import torch
    from open_clip.model import CLIP
    from PIL import Image

SMALL_CLIP = "small_clip"
REAL_PICTURES_ENCODER = "ViT-B-32-quickgelu/openai"  # e = 512, as in the paper [gap 8]

_SMALL_CLIP_WEIGHTS = Path(__file__).with_name("weights") / "small_clip.safetensors"
_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_METADATA = ("encoder", "weights_sha256", "preprocessing", "reference_sha256", "pictures_sha256", "items_sha256",
             "scenario_fingerprint", "fingerprint", "content_sha256", "shape")


@dataclass(frozen=True)
class Features:
    """Picture features of a scenario's items.

    Attributes:
        matrix: (num_items, e) float32, rows of length one; row i - 1 belongs to item i.
        encoder: what made them, ``small_clip`` or ``<open_clip model>/<tag or file name>``.
        fingerprint: SHA-256 of encoder, weights, preprocessing, source ids and picture files.
        missing: (num_items,) bool, True where the row is the fallback.
    """

    matrix: np.ndarray
    encoder: str
    fingerprint: str
    missing: np.ndarray


@dataclass(frozen=True)
class _Encoder:
    """A frozen image encoder and what identifies it."""

    encode: Callable[[torch.Tensor], torch.Tensor]  # (B, 3, height, width) -> (B, e), rows of length one
    preprocess: Callable[[Image.Image], torch.Tensor]  # -> (3, height, width)
    preprocessing: str
    weights_sha256: str


def embed_images(scenario: Scenario, encoder: str = SMALL_CLIP, device: str = "cpu", batch_size: int = 256,
                 progress: bool = True) -> Features:
    """Features of a scenario's pictures: those in ``data/features`` if they were made of the same, else new ones.

    Args:
        encoder: ``small_clip`` (the demo's), or ``<open_clip model>/<tag or path of the weights>``; for real pictures
            ``REAL_PICTURES_ENCODER``. A tag names published weights: cached features of it need no download.
        device: ``cpu`` or ``cuda``.
        batch_size: pictures at a time; does not change the features.
        progress: show a bar in a terminal.

    Raises:
        InputError: unknown encoder, weights that can't be had or read, no usable picture, a damaged cache file.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: it must be at least 1")
    name, weights = _parse(encoder)
    pictures = _pictures_sha256(scenario)
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", name)
    stem = f"{scenario.source}-{scenario.name}-{slug}-"
    known_weights = _file_sha256(weights) if weights else None  # unknown before its download where a tag names them
    for path in sorted((data_dir() / "features").glob(f"{stem}*.safetensors")):
        recorded = _read_metadata(path)
        if (recorded["encoder"], recorded["pictures_sha256"]) == (name, pictures) \
                and known_weights in (None, recorded["weights_sha256"]):
            return load_features(path, scenario)

    loaded = _load_encoder(encoder, usable_device(device))
    raw, missing = _embed(scenario, loaded, batch_size, progress)
    matrix = _with_fallback(raw, missing, scenario)
    recorded = {
        "encoder": name, "weights_sha256": loaded.weights_sha256, "preprocessing": loaded.preprocessing,
        "reference_sha256": _reference_sha256(loaded), "pictures_sha256": pictures,
        "items_sha256": _items_sha256(scenario), "scenario_fingerprint": scenario.fingerprint,
        "content_sha256": _content_sha256(matrix, missing), "shape": json.dumps(matrix.shape), "device": device,
    }
    recorded["fingerprint"] = _fingerprint(recorded)
    with new_file(data_dir() / "features" / f"{stem}{recorded['fingerprint'][:12]}.safetensors") as path:
        save_file({"features": matrix, "missing": missing.astype(np.uint8)}, path, metadata=recorded)
    return Features(matrix, name, recorded["fingerprint"], missing)


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
                         f"{scenario.num_items} items; embed its pictures")
    if recorded["items_sha256"] != _items_sha256(scenario):
        raise InputError(f"{path} has features of other items than those of {scenario.source}/{scenario.name}: embed "
                         "its pictures")
    if not np.isfinite(matrix).all():
        raise InputError(f"{path} has features that are not finite numbers: delete it and embed the pictures again")
    if recorded["content_sha256"] != _content_sha256(matrix, missing):
        raise _damaged(path, "its content is not what it was when it was written")
    return Features(matrix, recorded["encoder"], recorded["fingerprint"], missing)


# -- pictures to features ----------------------------------------------------------------------------------------------


def _embed(scenario: Scenario, encoder: _Encoder, batch_size: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Raw features (num_items, e), zero where there is no usable picture, and where that is (num_items,)."""
    import torch

    missing, matrix = np.ones(scenario.num_items, dtype=bool), None
    # disable=None: a bar in a terminal only, nothing in a notebook or a log
    with torch.inference_mode(), tqdm(total=scenario.num_items, desc="embedding pictures", unit="picture",
                                      disable=None if progress else True) as bar:
        for rows, pixels in _batches(scenario, encoder.preprocess, batch_size, bar):
            features = encoder.encode(torch.stack(pixels)).float().cpu().numpy()  # (B, e)
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


def _with_fallback(raw: np.ndarray, missing: np.ndarray, scenario: Scenario) -> np.ndarray:
    """Rows of length one (num_items, e), those of missing pictures filled with the mean of their domain's others."""
    matrix = raw.copy()
    domain = scenario.items["domain"].to_numpy()
    for name in DOMAINS:
        usable = (domain == name) & ~missing
        matrix[(domain == name) & missing] = raw[usable if usable.any() else ~missing].mean(axis=0)
    length = np.linalg.norm(matrix, axis=1, keepdims=True)  # (num_items, 1)
    return np.ascontiguousarray(matrix / np.maximum(length, 1e-12), dtype=np.float32)


# -- encoders ----------------------------------------------------------------------------------------------------------


def _parse(encoder: str) -> tuple[str, Path | None]:
    """An encoder's name in records (without the folder of its weights), and the weights' file where it is known."""
    if encoder == SMALL_CLIP:
        return SMALL_CLIP, _existing(_SMALL_CLIP_WEIGHTS, encoder)
    model, separator, weights = encoder.partition("/")
    if not (model and separator and weights):
        raise InputError(f"unknown encoder {encoder!r}: choose {SMALL_CLIP}, or <open_clip model>/<tag or path of its "
                         f"weights> such as {REAL_PICTURES_ENCODER}")
    if "/" in weights or weights.endswith(_WEIGHT_SUFFIXES):
        path = _existing(Path(weights).expanduser(), encoder)
        return f"{model}/{path.name}", path
    return encoder, None


def _existing(path: Path, encoder: str) -> Path:
    if not path.is_file():
        raise InputError(f"encoder {encoder!r}: no weights at {path}; give the path of an existing file")
    return path


def _load_encoder(encoder: str, device: str) -> _Encoder:
    """The encoder on the device, in eval mode.

    Raises:
        InputError: open_clip knows no such model or tag, or the weights can't be downloaded or read.
    """
    with warnings.catch_warnings():  # open_clip imports tqdm.auto, which in a kernel asks for ipywidgets
        warnings.filterwarnings("ignore", message="IProgress not found")
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2

    if encoder == SMALL_CLIP:
        from ifcdsr_core import small_clip

        model, preprocess, _ = small_clip.load()
        return _frozen(model, preprocess, _file_sha256(_SMALL_CLIP_WEIGHTS), device)

    model_name, _, weights = encoder.partition("/")
    if model_name not in open_clip.list_models():
        raise InputError(f"unknown open_clip model {model_name!r}: {_near(model_name, open_clip.list_models())}")
    _, path = _parse(encoder)
    tag = None if path else _tag(model_name, weights)
    path = path or _download(encoder, tag)
    settings = _preprocessing(model_name, tag)
    try:
        model = open_clip.create_model(model_name, pretrained=str(path), force_preprocess_cfg=settings)
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint or that of another model
        raise InputError(f"{path} can't be loaded as weights of {model_name} ({_short(error)}): give a checkpoint of "
                         "that model") from error
    used = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    return _frozen(model, image_transform_v2(used, is_train=False), _file_sha256(path), device)


def _frozen(model: CLIP, preprocess: Callable, weights_sha256: str, device: str) -> _Encoder:
    from open_clip import get_model_preprocess_cfg

    model = model.to(device).eval()
    preprocessing = json.dumps(get_model_preprocess_cfg(model), sort_keys=True)
    return _Encoder(lambda pixels: model.encode_image(pixels.to(device), normalize=True), preprocess, preprocessing,
                    weights_sha256)


def _tag(model_name: str, tag: str) -> dict:
    """What open_clip knows of published weights: where they are, and how their pictures were prepared."""
    from open_clip import (get_model_config, get_pretrained_cfg, list_pretrained_models_by_tag,
                           list_pretrained_tags_by_model)

    published = get_pretrained_cfg(model_name, tag)
    if not published:
        owners, tags = list_pretrained_models_by_tag(tag), list_pretrained_tags_by_model(model_name)
        if owners:
            close = difflib.get_close_matches(model_name, owners, n=1, cutoff=0.0)[0]
            hint = f"{tag} belongs to other models, such as {close}/{tag}"
        else:
            hint = _near(tag, tags) if tags else "it has no published weights, give the path of a file"
        raise InputError(f"unknown weights {tag!r} of open_clip model {model_name}: {hint}")
    quick = bool(published.get("quick_gelu", False))
    if quick != bool(get_model_config(model_name).get("quick_gelu", False)):
        # the other activation runs without complaint and gives other features
        right = model_name + "-quickgelu" if quick else model_name.removesuffix("-quickgelu")
        raise InputError(f"weights {tag!r} were trained with {'Quick' if quick else 'plain '}GELU, which {model_name} "
                         f"does not use: choose {right}/{tag}")
    return published


def _download(encoder: str, published: dict) -> Path:
    from open_clip import download_pretrained

    hub = published.get("hf_hub")
    place = f"https://huggingface.co/{hub.rstrip('/')}" if hub else published.get("url")
    try:
        return Path(download_pretrained(published))
    except Exception as error:  # network, hub and disk errors of several libraries
        raise InputError(f"the weights of {encoder} can't be downloaded from {place} ({_short(error)}): try again with "
                         f"internet access, or fetch the file and pass encoder={encoder.partition('/')[0]}/<its path>"
                         ) from error


def _preprocessing(model_name: str, tag: dict | None) -> dict:
    """How pictures are prepared, spelled out: as the tag says; for a file as the model's published weights agree on,
    else as OpenAI's, since a file does not say."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model
    from open_clip.transform import PreprocessCfg

    keys = ("mean", "std", "interpolation", "resize_mode")
    default = {key: getattr(PreprocessCfg(), key) for key in keys}
    published = [tag] if tag else [get_pretrained_cfg(model_name, t) for t in list_pretrained_tags_by_model(model_name)]
    stated = [{key: one.get(key, default[key]) for key in keys} for one in published]
    return stated[0] if stated and all(one == stated[0] for one in stated) else default


def _near(given: str, known: list[str]) -> str:
    """What might have been meant."""
    matches = difflib.get_close_matches(given, known, n=4, cutoff=0.4) or sorted(known)[:8]
    return f"did you mean {' or '.join(matches)}?"


# -- fingerprints ------------------------------------------------------------------------------------------------------


def _picture_paths(scenario: Scenario) -> list[Path | None]:
    """Path of each item's picture in id order, None where the scenario names none or lives in no folder."""
    return [scenario.folder / image if isinstance(image, str) and scenario.folder else None
            for image in scenario.items["image"]]


def _pictures_sha256(scenario: Scenario) -> str:
    """SHA-256 of source ids and of the bytes of all picture files, a missing one told from an empty one."""
    digest = hashlib.sha256()
    for source_id, path in zip(scenario.items["source_id"], _picture_paths(scenario)):
        try:
            content = path.read_bytes() if path else None
        except OSError:
            content = None
        digest.update(f"{source_id}\x1f{'-' if content is None else len(content)}\n".encode() + (content or b""))
    return digest.hexdigest()


def _items_sha256(scenario: Scenario) -> str:
    """SHA-256 of which items these are: domains and source ids in id order."""
    items = scenario.items
    return hashlib.sha256("\x1f".join(items["domain"] + items["source_id"].astype(str)).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_sha256(matrix: np.ndarray, missing: np.ndarray) -> str:
    """SHA-256 of what is stored; safetensors itself has no checksum."""
    content = f"{matrix.shape}".encode() + matrix.astype("<f4").tobytes() + missing.astype(np.uint8).tobytes()
    return hashlib.sha256(content).hexdigest()


def _reference_sha256(encoder: _Encoder) -> str:
    """SHA-256 of one fixed picture's features, to three decimals: differs where the same weights compute otherwise."""
    import torch
    from PIL import Image

    ramp = np.add.outer(np.arange(96), 2 * np.arange(96))[:, :, None] * np.array([1, 2, 3]) % 256
    pixels = encoder.preprocess(Image.fromarray(ramp.astype(np.uint8)))
    with torch.inference_mode():
        features = encoder.encode(pixels[None]).float().cpu().numpy()  # (1, e)
    return hashlib.sha256((features * 1000).round().astype("<i4").tobytes()).hexdigest()


def _fingerprint(recorded: dict[str, str]) -> str:
    made_of = ("encoder", "weights_sha256", "preprocessing", "pictures_sha256")
    return hashlib.sha256("\x1f".join(recorded[key] for key in made_of).encode()).hexdigest()


def _read_metadata(path: Path) -> dict[str, str]:
    """What a cache file says of itself."""
    try:
        with safe_open(path, framework="numpy") as file:
            recorded = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    absent = [key for key in _METADATA if key not in recorded]
    if absent or _fingerprint(recorded) != recorded["fingerprint"]:
        raise _damaged(path, f"no {absent[0]} is recorded" if absent else "its fingerprint does not fit its record")
    return recorded


def _damaged(path: Path, reason: Exception | str) -> InputError:
    return InputError(f"{path} can't be used as features ({_short(reason)}): delete it and embed the pictures again")


def _short(reason: Exception | str) -> str:
    """First line of a reason, or an error's kind where it has no text."""
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0][:160]
