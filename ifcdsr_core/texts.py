"""Frozen features of a scenario's item texts: which text an item has, and the encoders that make a vector of it.

An item without a text, or without a word that the encoder knows, gets the mean of its domain's other features, as an
item without a picture does (``features``).
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.features import Features, _with_fallback
from ifcdsr_core.scenario import Scenario

LEXICAL = "lexical"
DIMENSIONS = 512  # as many as CLIP's, where the words allow it
# Words of two or more characters with a letter among them: numbers alone are sizes and copies.
_LEXICAL = {"lowercase": True, "strip_accents": "unicode", "sublinear_tf": True, "min_df": 2,
            "token_pattern": r"(?u)\b(?=\w*[^\W\d_])\w\w+\b"}


def item_texts(scenario: Scenario, text: str = "title") -> list[str | None]:
    """The text of each item in id order, None where it has none.

    Args:
        text: ``title``: the item's title as it is.
    """
    choose("text", text, ("title",))
    return [title if isinstance(title, str) and title.strip() else None for title in scenario.items["title"]]


def embed_texts(scenario: Scenario, text: str = "title", encoder: str = LEXICAL) -> Features:
    """Features of the texts of a scenario's items.

    Args:
        encoder: ``lexical``: TF-IDF of words, reduced by a truncated SVD.

    Raises:
        InputError: unknown text or encoder, no item with a text.
    """
    choose("text encoder", encoder, (LEXICAL,))
    texts = item_texts(scenario, text)
    if not any(texts):
        raise InputError(f"scenario {scenario.source}/{scenario.name} has no texts: train with text_fusion=false")
    raw, missing = lexical(texts)
    made_of = [encoder, "", json.dumps(_LEXICAL | {"dimensions": DIMENSIONS}, sort_keys=True), _texts_sha256(scenario, texts)]
    return Features(_with_fallback(raw, missing, scenario), encoder,
                    hashlib.sha256("\x1f".join(made_of).encode()).hexdigest(), missing)


def lexical(texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Latent semantic analysis (Deerwester et al., JASIS 1990): TF-IDF of words, reduced by a truncated SVD.

    It knows nothing but these texts, so it tells what plain words are worth where no language model is at hand.

    Returns:
        Raw features (number of texts, at most DIMENSIONS) float32, rows of length one, zero where there is no known word;
        and where that is, (number of texts,) bool.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    try:
        counts = TfidfVectorizer(**_LEXICAL).fit_transform([text or "" for text in texts])  # (V, words)
    except ValueError as error:  # raised where no word occurs twice
        raise InputError("the items' texts have no word in common: use text_fusion=false") from error
    missing = counts.getnnz(axis=1) == 0
    size = min(DIMENSIONS, counts.shape[1], len(texts) - 1)
    with threadpool_limits(1):  # another number of threads rounds differently
        raw = TruncatedSVD(size, random_state=0).fit_transform(counts)
    length = np.linalg.norm(raw, axis=1, keepdims=True)
    return (raw / np.maximum(length, 1e-12)).astype(np.float32), missing


def _texts_sha256(scenario: Scenario, texts: list[str | None]) -> str:
    """SHA-256 of source ids and texts, a missing one told from an empty one."""
    digest = hashlib.sha256()
    for source_id, text in zip(scenario.items["source_id"], texts):
        content = None if text is None else text.encode()
        digest.update(f"{source_id}\x1f{'-' if content is None else len(content)}\n".encode() + (content or b""))
    return digest.hexdigest()
