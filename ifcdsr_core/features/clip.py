"""A frozen CLIP: which one is meant, where its weights are, and its two towers, one for pictures and one for texts.

An encoder is named ``small_clip`` (our own, for the demo) or ``<open_clip model>/<tag or path of its weights>``. CLIP:
Radford et al., ICML 2021, https://arxiv.org/abs/2103.00020; open_clip: https://github.com/mlfoundations/open_clip.

Reading a name needs neither torch nor open_clip nor PIL: they are imported where a tower is loaded.
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ifcdsr_core.errors import InputError, first_line
from ifcdsr_core.features import SMALL_CLIP_WEIGHTS
from ifcdsr_core.files import file_hash

if TYPE_CHECKING:
    import torch
    from open_clip.model import CLIP
    from PIL import Image


SMALL_CLIP = "small_clip"
REAL_PICTURES_ENCODER = "ViT-B-32-quickgelu/openai"  # e = 512, as in the paper [gap 8]

_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class ImageTower:
    """A frozen image encoder and what identifies it."""

    encode: Callable[[torch.Tensor], torch.Tensor]  # (B, 3, height, width) -> (B, e), rows of length one
    preprocess: Callable[[Image.Image], torch.Tensor]  # -> (3, height, width)
    preprocessing: str
    weights_sha256: str


@dataclass(frozen=True)
class TextTower:
    """A frozen text encoder, its tokens, and what identifies it.

    Attributes:
        encode: token ids (B, context_length) to (B, e), rows of length one.
        kind: what a token is.
        token_ids: gives all ids of a text, without start and end, and the number of words that have none.
        start, end: ids around them; what follows the end is 0.
        context_length: ids that are read at once, with start and end.
    """

    encode: Callable[[torch.Tensor], torch.Tensor]
    kind: str
    token_ids: Callable[[str], tuple[list[int], int]]
    start: int
    end: int
    context_length: int
    weights_sha256: str

    @property
    def preprocessing(self) -> str:
        """How a text becomes input, for records."""
        return json.dumps(
            {"tokens": self.kind, "context_length": self.context_length, "long_texts": "mean of even chunks"},
            sort_keys=True,
        )

    def framed(self, chunks: list[list[int]]) -> torch.Tensor:
        """Input of ``encode``: start, a chunk's ids (at most context_length - 2), end, zeros; (B, context_length)."""
        import torch

        framed = torch.zeros(len(chunks), self.context_length, dtype=torch.long)
        for row, ids in zip(framed, chunks, strict=True):
            row[: len(ids) + 2] = torch.tensor([self.start, *ids, self.end])
        return framed


def parse_encoder(encoder: str, others: tuple[str, ...] = ()) -> tuple[str, Path | None]:
    """An encoder's name in records (without the folder of its weights), and the weights' file where it is known.

    Args:
        others: names that would be right as well, for the error's text.

    Raises:
        InputError: the name has another form, or its file is not there.
    """
    if encoder == SMALL_CLIP:
        return SMALL_CLIP, _existing(SMALL_CLIP_WEIGHTS, encoder)
    model, separator, weights = encoder.partition("/")
    if not (model and separator and weights):
        raise InputError(
            f"unknown encoder {encoder!r}: choose {', '.join((*others, SMALL_CLIP))}, or <open_clip "
            f"model>/<tag or path of its weights> such as {REAL_PICTURES_ENCODER}"
        )
    if "/" in weights or weights.endswith(_WEIGHT_SUFFIXES):
        path = _existing(Path(weights).expanduser(), encoder)
        return f"{model}/{path.name}", path
    return encoder, None


def image_tower(encoder: str, device: str) -> ImageTower:
    """The image encoder on the device, in eval mode.

    Raises:
        InputError: open_clip does not know the model or tag, or the weights can't be downloaded or read.
    """
    model, preprocess, weights_sha256 = _load(encoder, device)
    from open_clip import get_model_preprocess_cfg

    preprocessing = json.dumps(get_model_preprocess_cfg(model), sort_keys=True)
    return ImageTower(
        lambda pixels: model.encode_image(pixels.to(device), normalize=True), preprocess, preprocessing, weights_sha256
    )


def text_tower(encoder: str, device: str) -> TextTower:
    """The text encoder on the device, in eval mode.

    Raises:
        InputError: as ``image_tower``, or its tokenizer is not CLIP's byte pairs.
    """
    # before the weights: a model that is refused need not be downloaded
    tokenizer = _small_clip_words() if encoder == SMALL_CLIP else _byte_pairs(encoder.partition("/")[0])
    model, _, weights_sha256 = _load(encoder, device)
    return TextTower(
        lambda ids: model.encode_text(ids.to(device), normalize=True), **tokenizer, weights_sha256=weights_sha256
    )


def _load(encoder: str, device: str) -> tuple[CLIP, Callable, str]:
    """The whole model on the device in eval mode, how it prepares pictures, and the SHA-256 of its weights' file."""
    open_clip = _open_clip()
    from open_clip.transform import PreprocessCfg, image_transform_v2

    if encoder == SMALL_CLIP:
        from ifcdsr_core.features import small_clip

        model, preprocess, _ = small_clip.load()
        return model.to(device).eval(), preprocess, file_hash(SMALL_CLIP_WEIGHTS)

    model_name, _, weights = encoder.partition("/")
    _known_model(model_name)
    _, path = parse_encoder(encoder)
    tag = None if path else _tag(model_name, weights)
    path = path or _download(encoder, tag)
    settings = _preprocessing(model_name, tag)
    try:
        model = open_clip.create_model(model_name, pretrained=str(path), force_preprocess_cfg=settings)
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint or that of another model
        raise InputError(
            f"{path} can't be loaded as weights of {model_name} ({first_line(error)}): give a checkpoint of that model"
        ) from error
    used = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    return model.to(device).eval(), image_transform_v2(used, is_train=False), file_hash(path)


def _open_clip():
    with warnings.catch_warnings():  # open_clip imports tqdm.auto, which in a kernel asks for ipywidgets
        warnings.filterwarnings("ignore", message="IProgress not found")
        import open_clip
    return open_clip


def _known_model(model_name: str) -> None:
    models = _open_clip().list_models()
    if model_name not in models:
        raise InputError(f"unknown open_clip model {model_name!r}: {_near(model_name, models)}")


def _byte_pairs(model_name: str) -> dict:
    """What a ``TextTower`` has to know of CLIP's tokenizer, which the model reads texts with.

    Raises:
        InputError: the model is unknown, or has another tokenizer.
    """
    open_clip = _open_clip()
    _known_model(model_name)
    # asked before get_tokenizer, which would download another kind
    if open_clip.get_model_config(model_name)["text_cfg"].get("hf_tokenizer_name"):
        raise InputError(
            f"the text tower of {model_name} has another tokenizer than CLIP's byte pairs, and no other "
            f"is supported: choose {SMALL_CLIP}, or such as {REAL_PICTURES_ENCODER}"
        )
    tokenizer = open_clip.get_tokenizer(model_name)
    special = set(tokenizer.all_special_ids)

    def token_ids(text: str) -> tuple[list[int], int]:
        # a text that spells out "<end_of_text>" does not end there; any word has byte pairs
        return [token for token in tokenizer.encode(text) if token not in special], 0

    return {
        "kind": "byte pairs",
        "token_ids": token_ids,
        "start": tokenizer.sot_token_id,
        "end": tokenizer.eot_token_id,
        "context_length": tokenizer.context_length,
    }


def _small_clip_words() -> dict:
    """The same of the small CLIP's tokenizer, ``small_clip.Words``.

    Words that it was not trained on are left out. Its token for them was never trained either: it would add noise, use
    up the context of known words, and encode how many words a title has.
    """
    from ifcdsr_core.features import small_clip

    _, _, tokenizer = small_clip.load()
    return {
        "kind": "known whole words",
        "token_ids": tokenizer.known,
        "start": 1,
        "end": tokenizer.vocab_size - 1,
        "context_length": small_clip.CONTEXT_LENGTH,
    }


def _existing(path: Path, encoder: str) -> Path:
    if not path.is_file():
        raise InputError(f"encoder {encoder!r}: no weights at {path}; give the path of an existing file")
    return path


def _tag(model_name: str, tag: str) -> dict:
    """What open_clip knows of published weights: where they are, and how their pictures were prepared."""
    from open_clip import (
        get_model_config,
        get_pretrained_cfg,
        list_pretrained_models_by_tag,
        list_pretrained_tags_by_model,
    )

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
        raise InputError(
            f"weights {tag!r} were trained with {'Quick' if quick else 'plain '}GELU, which {model_name} "
            f"does not use: choose {right}/{tag}"
        )
    return published


def _download(encoder: str, published: dict) -> Path:
    from open_clip import download_pretrained

    hub = published.get("hf_hub")
    place = f"https://huggingface.co/{hub.rstrip('/')}" if hub else published.get("url")
    try:
        return Path(download_pretrained(published))
    except Exception as error:  # network, hub and disk errors of several libraries
        raise InputError(
            f"the weights of {encoder} can't be downloaded from {place} ({first_line(error)}): try again "
            "with internet access, or fetch the file and pass "
            f"encoder={encoder.partition('/')[0]}/<its path>"
        ) from error


def _preprocessing(model_name: str, tag: dict | None) -> dict:
    """How pictures are prepared: as the tag says. A file does not say: as all published weights of the model agree, or
    else as OpenAI's."""
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
