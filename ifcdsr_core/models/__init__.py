"""The models of the book. A new one is a file here and a line in MODELS."""

from __future__ import annotations

from ifcdsr_core.models.base import ModelInputs, SequenceModel
from ifcdsr_core.models.cooccurrence import CoOccurrence
from ifcdsr_core.models.gru4rec import GRU4Rec
from ifcdsr_core.models.ifcdsr import IFCDSR
from ifcdsr_core.models.popularity import Popularity
from ifcdsr_core.models.sasrec import SASRec

MODELS: dict[str, type[SequenceModel]] = {
    "popularity": Popularity,
    "cooccurrence": CoOccurrence,
    "gru4rec": GRU4Rec,
    "sasrec": SASRec,
    "ifcdsr": IFCDSR,
}

__all__ = ["MODELS", "ModelInputs", "SequenceModel"]
