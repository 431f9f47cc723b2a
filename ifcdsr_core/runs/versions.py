"""Which code a run's numbers are of, told by versions: one for what all models share, one for each model.

Raise a version by one when the numbers of its runs change, and leave it alone when they do not: the finished runs of a
version are found again, and those of an earlier one are not. ``tests/test_golden.py`` says whose numbers have changed.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ifcdsr_core.models.base import SequenceModel

HARNESS = 1  # of batches, loss, protocol, metrics, train, the choice of splits and features


def code_versions(model: type[SequenceModel]) -> dict[str, int | str]:
    """``HARNESS`` and the versions of a model and of its parents, by the names of their classes.

    A model without a version is under construction: the text of its file stands in for it, so that every edit makes new
    runs.
    """
    from ifcdsr_core.models.base import SequenceModel

    versions: dict[str, int | str] = {"HARNESS": HARNESS}
    for part in reversed(model.__mro__):
        if issubclass(part, SequenceModel) and part is not SequenceModel:
            versions[part.__name__] = part.__dict__.get("version") or _source(part)
    return versions


def _source(model: type) -> str:
    return "source " + hashlib.sha256(Path(inspect.getfile(model)).read_bytes()).hexdigest()[:12]
