"""The models of the book. A new one is a file here and its name in the list below.

The list is in the order of tables: baselines, rivals by year, IFCDSR and its successor.
"""

from __future__ import annotations

from importlib import import_module

from ifcdsr_core.models.base import ModelInputs, SequenceModel

_FILES = (
    "popularity",
    "cooccurrence",
    "gru4rec",
    "sasrec",
    "srgnn",
    "psjnet",
    "mifn",
    "tricdr",
    "c2dsr",
    "ifcdsr",
    "llm_emf",
)
COUNTING = ("popularity", "cooccurrence")  # nothing to train, so no seed and no grid


def _model_of(name: str) -> type[SequenceModel]:
    """The model of a file: its one SequenceModel with a Config."""
    module = import_module(f"ifcdsr_core.models.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, SequenceModel)
        and value.__module__ == module.__name__
        and hasattr(value, "Config")
    ]
    if len(found) != 1:
        raise TypeError(
            f"{module.__file__} has {len(found)} subclasses of SequenceModel with a Config: it must have one"
        )
    return found[0]


MODELS: dict[str, type[SequenceModel]] = {name: _model_of(name) for name in _FILES}

__all__ = ["COUNTING", "MODELS", "ModelInputs", "SequenceModel"]
