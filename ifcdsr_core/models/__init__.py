"""The models of the book. A new one is a file here and its name in the list below.

The list is in the order of tables: baselines, rivals by year, IFCDSR and its successor, controls. Their names can be
read without torch; a model's file, which needs it, is imported when the model is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ifcdsr_core.models.base import SequenceModel

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
    "abxi",
    "ifcdsr",
    "llm_emf",
    "numbering",
)
CONTROLS = ("numbering",)  # no rivals: in a comparison only where they are named
COUNTING = ("popularity", "cooccurrence", *CONTROLS)  # nothing to train, so no seed and no search


class _Models(Mapping):
    """The models by the names of their files."""

    def __getitem__(self, name: str) -> type[SequenceModel]:
        if name not in _FILES:
            raise KeyError(name)
        return _model_of(import_module(f"ifcdsr_core.models.{name}"))

    def __contains__(self, name: object) -> bool:  # Mapping's own would import the model
        return name in _FILES

    def __iter__(self) -> Iterator[str]:
        return iter(_FILES)

    def __len__(self) -> int:
        return len(_FILES)


def _model_of(module: ModuleType) -> type[SequenceModel]:
    """The model of a file: its one SequenceModel with a Config."""
    from ifcdsr_core.models.base import SequenceModel

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


MODELS = _Models()
