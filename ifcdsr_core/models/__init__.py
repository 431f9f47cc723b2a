"""The models of the book. A new one is a file here and a line in MODELS."""

from __future__ import annotations

from ifcdsr_core.models.base import ModelInputs, SequenceModel
from ifcdsr_core.models.c2dsr import C2DSR
from ifcdsr_core.models.cooccurrence import CoOccurrence
from ifcdsr_core.models.gru4rec import GRU4Rec
from ifcdsr_core.models.ifcdsr import IFCDSR
from ifcdsr_core.models.popularity import Popularity
from ifcdsr_core.models.sasrec import SASRec
from ifcdsr_core.models.srgnn import SRGNN
from ifcdsr_core.models.tricdr import TriCDR

MODELS: dict[str, type[SequenceModel]] = {
    "popularity": Popularity,
    "cooccurrence": CoOccurrence,
    "gru4rec": GRU4Rec,
    "sasrec": SASRec,
    "srgnn": SRGNN,
    "tricdr": TriCDR,
    "c2dsr": C2DSR,
    "ifcdsr": IFCDSR,
}

COUNTING = ("popularity", "cooccurrence")  # nothing to train, so no seed and no grid

__all__ = ["COUNTING", "MODELS", "ModelInputs", "SequenceModel"]
