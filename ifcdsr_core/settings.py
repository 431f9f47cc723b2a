"""Settings: fields of a frozen dataclass with a default, a help text for the command line, and a range.

@dataclass(frozen=True)
class Limits:
    attempts: int = setting(3, "answers to an item before it is given up", minimum=1)

    def __post_init__(self) -> None:
        check_ranges(self)

Those of a training are here, too: the command line names them without importing what trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from ifcdsr_core.errors import choose, require

PROTOCOLS = ("sampled_999", "full")  # how a model is ranked, see ``protocol``


def setting(
    default: Any, text: str = "", *, minimum: float | None = None, above: float | None = None, compare: bool = True
) -> Any:
    """A field with a help text; a number in it is finite, at least ``minimum`` and more than ``above``.

    Settings that differ only in what is not to ``compare`` are equal.
    """
    return field(default=default, compare=compare, metadata={"help": text, "minimum": minimum, "above": above})


def check_ranges(settings: Any) -> None:
    """Raise an InputError for the first number of a dataclass of settings that is out of its range."""
    for spec in fields(settings):
        value, minimum, above = getattr(settings, spec.name), spec.metadata.get("minimum"), spec.metadata.get("above")
        if minimum is not None:
            require(minimum <= value < math.inf, spec.name, value, f"at least {minimum}")
        if above is not None:
            require(above < value < math.inf, spec.name, value, f"more than {above}")


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained, whichever it is. The defaults are the paper's, where it has them.

    Raises:
        InputError: a value out of its range, or none of those to choose from.
    """

    seed: int = setting(0, "seed of initial weights, order and dropout")
    # Adam, on batches of sequences
    batch_size: int = setting(256, "sequences per step", minimum=1)
    learning_rate: float = setting(1e-3, "of Adam; the paper's grid is 1e-3, 5e-4, 1e-4", above=0)
    l2: float = setting(1e-5, "L2 coefficient (Adam's weight_decay); the paper's grid is 1e-4, 5e-5, 1e-5", minimum=0)
    precision: str = setting("float32", "float32, or bfloat16 for training's products, where the processor has such")
    # early stopping, and which epoch is tested (gap 11)
    epochs: int = setting(100, "largest number of epochs", minimum=1)
    patience: int = setting(10, "epochs without a better validation MRR after which training stops", minimum=1)
    select_protocol: str = setting("sampled_999", f"protocol of the validation MRR: {' or '.join(PROTOCOLS)}")
    select_domain: str = setting("both", "select by the mean of both domains, or by x or y alone")
    candidate_seed: int = setting(0, "seed of the 999 negatives, the same for all models")

    def __post_init__(self) -> None:
        check_ranges(self)
        choose("precision", self.precision, ("float32", "bfloat16"))
        choose("select_protocol", self.select_protocol, PROTOCOLS)
        choose("select_domain", self.select_domain, ("both", "x", "y"))
