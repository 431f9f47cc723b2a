"""A small CLIP of our own for the demo's pictures, built from open_clip's classes and trained by its loss.

Image tower: open_clip's CLIP ResNet (one bottleneck block per stage) on 64 x 64 pixels. Text tower: open_clip's text
transformer on whole words: our captions use about 80, and a table of open_clip's 49,408 byte pairs would be three
quarters of the model. Both end in 64 dimensions, compared by cosine.

Training pictures and captions are drawn from random streams ``[seed, STREAM, part]``, the demo's items from
``[seed, scenario, ...]`` with scenario 0 or 1: no picture of the demo is ever trained on. Of each kind, one colour is
held out (``held_out``), so that ``zero_shot_accuracy`` can also ask for things never shown or named in training.

``python -m ifcdsr_core.features.small_clip`` trains it again: under two minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from open_clip.model import CLIP
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from ifcdsr_core.errors import InputError
from ifcdsr_core.features import SMALL_CLIP_WEIGHTS
from ifcdsr_core.files import new_file
from ifcdsr_core.sources.demo.drawings import COLOURS, KINDS, PATTERNS, Look, all_looks, caption, draw

IMAGE_SIZE, EMBED_DIM, CONTEXT_LENGTH = 64, 64, 16
VISION = {"layers": (1, 1, 1, 1), "width": 16, "head_width": 32, "image_size": IMAGE_SIZE}
TEXT = {"context_length": CONTEXT_LENGTH, "width": 96, "heads": 4, "layers": 2}
# Pixels in [0, 1] become (pixel - 0.5) / 0.5; pictures of another size are resized to a square first.
PREPROCESS = PreprocessCfg(
    size=IMAGE_SIZE, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", resize_mode="squash"
)

STREAM = 64_001  # second word of every random stream here
_TRAINING, _VALIDATION = 0, 1  # third word
PICTURES, STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 8_000, 600, 128, 2e-3, 0.05


class Words:
    """Whole-word tokenizer: pad 0, start 1, unknown 2, words from 3, end last: open_clip pools at the highest id."""

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self._ids = {word: number for number, word in enumerate(vocabulary, start=3)}
        self.vocab_size = len(vocabulary) + 4

    def known(self, text: str) -> tuple[list[int], int]:
        """Ids of a text's words that are in the vocabulary, and how many words are not."""
        words = _words(text)
        ids = [self._ids[word] for word in words if word in self._ids]
        return ids, len(words) - len(ids)

    def __call__(self, texts: str | list[str]) -> torch.Tensor:
        """Token ids (number of texts, CONTEXT_LENGTH); words beyond the context are dropped."""
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.zeros(len(texts), CONTEXT_LENGTH, dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            ids = [1, *[self._ids.get(word, 2) for word in _words(text)[: CONTEXT_LENGTH - 2]], self.vocab_size - 1]
            row[: len(ids)] = torch.tensor(ids)
        return tokens


def _words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


def build(vocab_size: int) -> CLIP:
    """The untrained model, initialised from torch's global generator."""
    model = CLIP(EMBED_DIM, VISION, {**TEXT, "vocab_size": vocab_size})
    open_clip.model.set_model_preprocess_cfg(model, vars(PREPROCESS))
    return model


def load(path: Path = SMALL_CLIP_WEIGHTS):
    """The trained model.

    Returns:
        model (in eval mode, on the CPU), preprocess (PIL image to a (3, 64, 64) tensor), tokenizer (``Words``).

    Raises:
        InputError: the weights or their record are missing or damaged.
    """
    try:
        tokenizer = Words(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["vocabulary"])
        model = build(tokenizer.vocab_size)
        model.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
        )
    except Exception as error:  # safetensors, json and torch each have their own kinds
        raise InputError(
            f"{path} or its .json can't be read ({type(error).__name__}): "
            "restore them from the repository, or run python -m ifcdsr_core.features.small_clip"
        ) from error
    return model.eval(), image_transform_v2(PREPROCESS, is_train=False), tokenizer


def held_out(look: Look) -> bool:
    """Whether a look is left out of training: each kind lacks one colour there, in pictures and in captions."""
    kind = KINDS[look.domain_name].index(look.kind) + 3 * list(KINDS).index(look.domain_name)
    return look.colour == list(COLOURS)[kind % len(COLOURS)]


def train(
    seed: int = 0,
    steps: int = STEPS,
    pictures: int = PICTURES,
    progress: bool = True,
    history: list[float] | None = None,
) -> tuple[CLIP, Words]:
    """Draw pictures with captions and train contrastively; the same arguments and thread count give the same model.

    The looks in a batch are distinct, so that a picture is described by its own caption only.

    Args:
        seed: of pictures, captions, initialisation and batches.
        steps: optimiser steps of ``BATCH`` pairs.
        pictures: size of the pool the batches are drawn from.
        progress: show bars.
        history: receives the loss of every step.

    Returns:
        The model in eval mode and its tokenizer.
    """
    rng = np.random.default_rng([seed, STREAM, _TRAINING])
    which, images, captions = _pairs(pictures, rng, progress)
    tokenizer = Words(sorted({word for text in captions for word in _words(text)}))
    tokens = tokenizer(captions)  # (P, CONTEXT_LENGTH)
    copies = [np.flatnonzero(which == look) for look in range(which.max() + 1)]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(tokenizer.vocab_size).train()
    model.visual.to(memory_format=torch.channels_last)  # halves the time of the convolutions on a CPU
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=LEARNING_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    criterion = ClipLoss()
    bar = tqdm(range(steps), "train", disable=not progress)
    for _ in bar:
        rows = torch.from_numpy(np.array([rng.choice(copies[look]) for look in rng.permutation(len(copies))[:BATCH]]))
        image_features, text_features, scale = model(_shifted(_normalised(images[rows]), rng), tokens[rows])
        loss = criterion(image_features, text_features, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))  # as in the CLIP paper
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if history is not None:
            history.append(loss.item())
    return model.eval(), tokenizer


def _pairs(pictures: int, rng: np.random.Generator, progress: bool) -> tuple[np.ndarray, torch.Tensor, list[str]]:
    """Number of the look (P,), picture (P, 3, 64, 64) and caption of each training pair; looks are equally frequent."""
    looks = [look for domain in KINDS for look in all_looks(domain) if not held_out(look)]
    which = np.arange(pictures) % len(looks)
    images = torch.stack([_pixels(looks[i], rng) for i in tqdm(which, "draw", disable=not progress)])
    return which, images, [caption(looks[i], rng) for i in which]


def _pixels(look: Look, rng: np.random.Generator) -> torch.Tensor:
    """A new picture as (3, 64, 64) bytes."""
    return torch.from_numpy(np.asarray(draw(look, rng, IMAGE_SIZE)).copy()).permute(2, 0, 1)


def _normalised(images: torch.Tensor) -> torch.Tensor:
    """What ``preprocess`` does to a picture of 64 x 64 pixels, for a batch of bytes (B, 3, 64, 64)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PREPROCESS.mean, PREPROCESS.std))
    return (images.float() / 255 - mean) / std


def _shifted(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each picture moved by up to three pixels, so that each drawing gives many: (B, 3, 64, 64)."""
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    return torch.stack(
        [
            one[:, down : down + IMAGE_SIZE, right : right + IMAGE_SIZE]
            for one, (down, right) in zip(padded, rng.integers(7, size=(len(images), 2)), strict=True)
        ]
    )


def _parameter_groups(model: CLIP) -> list[dict]:
    """Weight decay for matrices only, as open_clip trains."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    return [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def zero_shot_accuracy(
    model: CLIP, tokenizer: Words, n: int = 960, seed: int = 0, unseen: bool = False
) -> dict[str, dict[str, float]]:
    """How often the best matching prompt names what a new picture shows.

    ``joint`` compares a picture with one prompt for each of the 480 looks of its domain ("a red mug with white dots").
    For an attribute, the probabilities of all prompts that share a value are added.

    Args:
        n: pictures, spread evenly over the looks; drawn from a stream of their own.
        unseen: only looks kept from training (see ``held_out``) instead of only looks of training.

    Returns:
        ``{"kind" | "colour" | "pattern" | "joint": {"accuracy": ..., "chance": ...}}``, as shares.
    """
    rng = np.random.default_rng([seed, STREAM, _VALIDATION])
    hits: dict[str, list] = {name: [] for name in ("kind", "colour", "pattern", "joint")}
    chance = {"kind": 1 / len(KINDS["Food"]), "colour": 1 / len(COLOURS), "pattern": 1 / len(PATTERNS)}
    for domain in KINDS:
        looks = all_looks(domain)
        prompts = tokenizer([f"a {look.colour} {look.kind} {_PROMPT[look.pattern]}" for look in looks])
        text = model.encode_text(prompts, normalize=True)  # (looks, e)
        shown = [i for i, look in enumerate(looks) if held_out(look) == unseen]
        picked = rng.permutation(np.resize(rng.permutation(shown), n // len(KINDS)))
        images = _normalised(torch.stack([_pixels(looks[i], rng) for i in picked]))
        image = torch.cat([model.encode_image(part, normalize=True) for part in images.split(256)])  # (n / 4, e)
        logits = model.logit_scale.exp() * image @ text.T  # (n / 4, looks)
        hits["joint"] += (logits.argmax(1).numpy() == picked).tolist()
        for name in chance:
            _, value = np.unique([getattr(look, name) for look in looks], return_inverse=True)  # (looks,)
            scores = torch.stack([logits[:, value == v].logsumexp(1) for v in range(value.max() + 1)], dim=1)
            hits[name] += (scores.argmax(1).numpy() == value[picked]).tolist()
    chance["joint"] = chance["kind"] * chance["colour"] * chance["pattern"]
    return {name: {"accuracy": float(np.mean(hits[name])), "chance": chance[name]} for name in hits}


_PROMPT = {
    "plain": "without a pattern",
    "stripes": "with white stripes",
    "dots": "with white dots",
    "checks": "with white checks",
    "zigzag": "with white zigzag lines",
    "diamonds": "with white diamonds",
}


def save(model: CLIP, tokenizer: Words, recipe: dict, path: Path = SMALL_CLIP_WEIGHTS) -> dict:
    """Write weights (half precision) and their record, with the accuracies of the weights as written; return it."""
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    record = {
        "recipe": recipe,
        "preprocess": vars(PREPROCESS),
        "vocabulary": tokenizer.vocabulary,
        "versions": {"torch": torch.__version__, "open_clip": open_clip.__version__},
        "zero_shot": {
            name: zero_shot_accuracy(model, tokenizer, n=1920, unseen=unseen)
            for name, unseen in (("new_pictures", False), ("held_out_combinations", True))
        },
    }
    with new_file(path) as staging:
        save_file(state, staging)
    with new_file(path.with_suffix(".json")) as staging:
        staging.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ifcdsr_core.features.small_clip", description="Train the small CLIP again."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--out",
        type=Path,
        default=SMALL_CLIP_WEIGHTS,
        help="weights file, .safetensors; its record (.json) goes beside it (default: the shipped one)",
    )
    options = parser.parse_args()
    model, tokenizer = train(options.seed, options.steps)
    recipe = {
        "seed": options.seed,
        "steps": options.steps,
        "pictures": PICTURES,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "threads": torch.get_num_threads(),
    }
    record = save(model, tokenizer, recipe, options.out)
    for name, scores in record["zero_shot"].items():
        print(
            name, *(f"{part} {score['accuracy']:.1%} (chance {score['chance']:.1%})" for part, score in scores.items())
        )


if __name__ == "__main__":
    main()
