"""Frozen features of a scenario's item texts: which text an item has, and the encoders that make a vector of it.

LLM-EMF (https://arxiv.org/abs/2506.17966) embeds what an LLM says of an item's title by CLIP's text encoder. To compare
it with, there are the plain title, an encoder that knows of a word only which texts it occurs in, and two that know
words from elsewhere (``text_towers``).

An item without a text, or without a word that the encoder knows, gets the mean of its domain's other features, as an
item without a picture does; both share one cache (``cache``). Finding cached features needs only numpy and safetensors:
torch, open_clip, tokenizers and sklearn are imported where they compute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ifcdsr_core.errors import InputError, require, usable_device
from ifcdsr_core.features import enhanced_titles
from ifcdsr_core.features.cache import (
    Features,
    contents_sha256,
    encoder_record,
    find_features,
    save_features,
    tower_record,
)
from ifcdsr_core.features.clip import TextTower, text_tower
from ifcdsr_core.features.enhanced_titles import Enhancement, Key, item_keys
from ifcdsr_core.features.text_towers import PACKAGES, files_sha256, package_versions, word_tower
from ifcdsr_core.scenario import Scenario

if TYPE_CHECKING:
    from tqdm import tqdm

LEXICAL = "lexical"
DIMENSIONS = 512  # as many as CLIP's, where the words allow it
# Words of two or more characters with a letter among them: numbers alone are sizes and copies.
_LEXICAL = {
    "lowercase": True,
    "strip_accents": "unicode",
    "sublinear_tf": True,
    "min_df": 2,
    "token_pattern": r"(?u)\b(?=\w*[^\W\d_])\w\w+\b",
}


def item_texts(scenario: Scenario, text: str = "title") -> list[str | None]:
    """The text of each item in id order, None where it has no title.

    Args:
        text: ``title``: the title as it is; ``rules`` (the demo's): the title enhanced without an LLM; ``llm:<model>``:
            the title enhanced by what that model was asked for, or the plain title where it has no answer.

    Raises:
        InputError: unknown text, ``rules`` for another source than the demo, no item that the model has enhanced.
    """
    keys = item_keys(scenario)
    return [
        said.text(key[1]) if key and said else key and key[1]
        for key, said in zip(keys, _enhancements(scenario, text, keys), strict=True)
    ]


def _enhancements(scenario: Scenario, text: str, keys: list[Key | None]) -> list[Enhancement | None]:
    """What is known of each item beyond its title, in id order."""
    if text == "title":
        return [None] * len(keys)
    if text == "rules":
        return enhanced_titles.by_rules(scenario.items, scenario.domain_names)
    kind, _, model = text.partition(":")
    if kind != "llm" or not model:
        raise InputError(f"unknown text {text!r}: choose title, rules, or llm:<model>")
    known = enhanced_titles.stored(model)
    found = [known.get(key) for key in keys]
    if not any(found):
        raise InputError(
            f"{model} has enhanced no title of {scenario.source}/{scenario.name} yet: ask it with "
            f"python -m ifcdsr_core enhance --source {scenario.source} --scenario {scenario.name} (and the "
            "source's options), or use text=title"
        )
    return found


def embed_texts(
    scenario: Scenario, text: str = "title", encoder: str = LEXICAL, device: str = "cpu", batch_size: int = 256
) -> Features:
    """Features of a scenario's item texts: those in ``data/features`` if they were made of the same, else new ones.

    Args:
        text: as of ``item_texts``.
        encoder: ``lexical``: TF-IDF of words, reduced by a truncated SVD; ``wordllama`` or ``minilm``, which know words
            (the first is what real titles want, the second takes minutes and a package of its own); or a CLIP, named as
            for pictures: ``small_clip``, or ``<open_clip model>/<tag or path of the weights>``.
        device: ``cpu`` or ``cuda``, for all but ``lexical``.
        batch_size: texts, or parts of long ones, at a time; it changes the features by rounding only.

    Raises:
        InputError: unknown text, encoder or device, weights or a package that are not available or not readable, a
            tokenizer that is not CLIP's, no item with a text or with a known word, a damaged cache file.
    """
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    device = usable_device(device)
    made_of = text_record(scenario, text, encoder)
    if (found := find_features(scenario, made_of)) is not None:
        return found
    texts = item_texts(scenario, text)
    if encoder == LEXICAL:
        import sklearn

        raw, missing = lexical(texts)
        return save_features(scenario, raw, missing, made_of | {"sklearn": sklearn.__version__})
    if encoder in PACKAGES:
        tower, made_of = word_tower(encoder, device), made_of | package_versions(encoder)
    else:
        tower = text_tower(encoder, device)
    raw, missing, long, unknown = by_tower(texts, tower, batch_size)
    return save_features(scenario, raw, missing, made_of | tower_record(tower, device), long, unknown)


def text_record(scenario: Scenario, text: str = "title", encoder: str = LEXICAL) -> dict[str, str]:
    """What is known of the features of a scenario's texts before they are made: the encoder, and the texts.

    Raises:
        InputError: unknown text or encoder, weights or a package that are not there, no item with a text.
    """
    if encoder == LEXICAL:
        made_of = _lexical_record()
    elif encoder in PACKAGES:
        made_of = {"encoder": encoder, "weights_sha256": files_sha256(encoder)}
    else:
        made_of = encoder_record(encoder, (LEXICAL, *PACKAGES))
    texts = item_texts(scenario, text)
    if not any(texts):
        raise InputError(f"scenario {scenario.source}/{scenario.name} has no texts: train with text_fusion=false")
    made_of["texts_sha256"] = contents_sha256(scenario, (one and one.encode() for one in texts))
    return made_of


def lexical(texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Latent semantic analysis (Deerwester et al., JASIS 1990): TF-IDF of words, reduced by a truncated SVD.

    It knows nothing but these texts, so it shows what plain words are worth without a language model.

    Returns:
        Raw features (number of texts, at most DIMENSIONS) float32, rows of length one, zero where there is no known
        word; and where that is, (number of texts,) bool.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    try:
        counts = TfidfVectorizer(**_LEXICAL).fit_transform([text or "" for text in texts])  # (V, words)
    except ValueError as error:  # raised where no word occurs twice
        raise InputError("the items' texts have no word in common: use text_fusion=false") from error
    if counts.shape[1] < 2:  # the SVD needs two
        raise InputError("the items' texts have fewer than two words in common: use text_fusion=false")
    missing = counts.getnnz(axis=1) == 0
    size = min(DIMENSIONS, counts.shape[1], len(texts) - 1)
    size -= size % 2 if size > 1 else 0  # attention has two heads
    with threadpool_limits(1):  # another number of threads rounds differently
        raw = TruncatedSVD(size, random_state=0).fit_transform(counts)
    length = np.linalg.norm(raw, axis=1, keepdims=True)
    return (raw / np.maximum(length, 1e-12)).astype(np.float32), missing


def lexical_unknown(texts: list[str | None]) -> float:
    """Share of the words of these texts that ``lexical`` does not know, as they occur in one text only."""
    from sklearn.feature_extraction.text import CountVectorizer

    settings = {name: value for name, value in _LEXICAL.items() if name not in ("sublinear_tf", "min_df")}
    counts = CountVectorizer(**settings).fit_transform([text or "" for text in texts])  # (V, words)
    total, in_texts = counts.sum(axis=0).A1, counts.getnnz(axis=0)
    return float(total[in_texts < _LEXICAL["min_df"]].sum() / total.sum())


def _lexical_record() -> dict[str, str]:
    return {
        "encoder": LEXICAL,
        "weights_sha256": "",
        "preprocessing": json.dumps(_LEXICAL | {"dimensions": DIMENSIONS}, sort_keys=True),
    }


def by_tower(texts: list[str | None], tower: TextTower, batch_size: int) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Features by a text tower; a text longer than its context is the mean of its parts, scaled to length one.

    Returns:
        Raw features (number of texts, e) float32, rows of length one, zero where there is no known word; where that is,
        (number of texts,) bool; how many texts were long; and the share of unknown words.

    Raises:
        InputError: no text has a word that the encoder knows.
    """
    import torch
    from tqdm import tqdm

    matrix, counts = None, {"long": 0, "words": 0, "unknown": 0}
    # disable=None: a bar in a terminal only, nothing in a notebook or a log
    with torch.inference_mode(), tqdm(total=len(texts), desc="embedding texts", unit="text", disable=None) as bar:
        for rows, parts in _batches(texts, tower, batch_size, bar, counts):
            features = tower.encode(tower.framed(parts)).float().cpu().numpy()  # (B, e)
            if matrix is None:
                matrix = np.zeros((len(texts), features.shape[1]), dtype=np.float32)
            np.add.at(matrix, rows, features)  # a long text's parts may be in several batches
    if matrix is None:
        raise InputError(
            "the items' texts have no word that the encoder knows: choose another, or use text_fusion=false"
        )
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.maximum(length, 1e-12), length[:, 0] == 0, counts["long"], counts["unknown"] / counts["words"]


def _batches(
    texts: list[str | None], tower: TextTower, batch_size: int, bar: tqdm, counts: dict[str, int]
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Row numbers and token ids of the texts with a known word, in parts, up to ``batch_size`` at a time."""
    rows, parts = [], []
    for row, text in enumerate(texts):
        bar.update()
        ids, unknown = tower.token_ids(text or "")
        counts["words"] += len(ids) + unknown
        counts["unknown"] += unknown
        if not ids:
            continue
        chunks = even_chunks(ids, tower.context_length - 2)  # start and end take two places
        counts["long"] += len(chunks) > 1
        for chunk in chunks:
            rows.append(row)
            parts.append(chunk)
            if len(rows) == batch_size:
                yield rows, parts
                rows, parts = [], []
    if rows:
        yield rows, parts


def even_chunks(ids: list[int], size: int) -> list[list[int]]:
    """The fewest parts of at most ``size`` ids, of even lengths: in the mean, a last part of one token would weigh as
    much as a full one."""
    number = -(-len(ids) // size)
    return [part.tolist() for part in np.array_split(np.array(ids), number)]
