"""Settings: fields of a frozen dataclass with a default, a help text for the command line, and a range.

@dataclass(frozen=True)
class Limits:
    attempts: int = setting(3, "answers to an item before it is given up", minimum=1)

    def __post_init__(self) -> None:
        check_ranges(self)
"""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from ifcdsr_core.errors import require


def setting(default: Any, text: str = "", *, minimum: float | None = None, above: float | None = None) -> Any:
    """A field with a help text; a number in it is finite, at least ``minimum`` and more than ``above``."""
    return field(default=default, metadata={"help": text, "minimum": minimum, "above": above})


def check_ranges(settings: Any) -> None:
    """Raise an InputError for the first number of a dataclass of settings that is out of its range."""
    for spec in fields(settings):
        value, minimum, above = getattr(settings, spec.name), spec.metadata.get("minimum"), spec.metadata.get("above")
        if minimum is not None:
            require(minimum <= value < math.inf, spec.name, value, f"at least {minimum}")
        if above is not None:
            require(above < value < math.inf, spec.name, value, f"more than {above}")
