"""Settings: fields of a frozen dataclass with a default, a help text for the command line, and what they may be.

@dataclass(frozen=True)
class Limits:
    attempts: int = setting(3, "answers to an item before it is given up", minimum=1)

    def __post_init__(self) -> None:
        check_ranges(self)

Those of a training are here, too: the command line names them without importing what trains.
"""

from __future__ import annotations

import math
import operator
import typing
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ifcdsr_core.errors import choose, require

Protocol = Literal["sampled_999", "unseen_999", "full"]  # how a model is ranked, see ``protocol``
PROTOCOLS = typing.get_args(Protocol)
NUM_NEGATIVES = 999
MOST = 2**63 - 1  # largest whole number, of seeds as well
SEEDS = (0, 1, 2, 3, 4)  # of the runs behind a table, where nothing else is said


def setting(default: Any, text: str = "", *, compare: bool = True, **limits: float) -> Any:
    """A field with a help text.

    Args:
        compare: settings that differ only in what is not to compare are equal.
        limits: of a number: ``minimum``, ``maximum``, and what it has to be ``above`` or ``below``.
    """
    return field(default=default, compare=compare, metadata={"help": text, "limits": limits})


def check_ranges(settings: Any) -> None:
    """Give every field of a dataclass of settings its type, and raise an InputError for the first value that can't be.

    A Literal type lists the choices. Whatever its limits, a number is finite.
    """
    kinds = typing.get_type_hints(type(settings))
    for spec in fields(settings):
        value = typed(spec.name, getattr(settings, spec.name), kinds[spec.name])
        object.__setattr__(settings, spec.name, value)
        limits = spec.metadata.get("limits", {})
        right = " and ".join(f"{_LIMITS[limit][1]} {bound:,}" for limit, bound in limits.items())
        require(all(_LIMITS[limit][0](value, bound) for limit, bound in limits.items()), spec.name, value, right)


_LIMITS = {
    "minimum": (operator.ge, "at least"),
    "above": (operator.gt, "more than"),
    "maximum": (operator.le, "at most"),
    "below": (operator.lt, "less than"),
}


def choices(settings: type) -> dict[str, tuple]:
    """What each field of a dataclass of settings may be, of those that have choices."""
    kinds = typing.get_type_hints(settings)
    return {spec.name: typing.get_args(kinds[spec.name]) for spec in fields(settings) if _is_choice(kinds[spec.name])}


def _is_choice(kind: Any) -> bool:
    return typing.get_origin(kind) is typing.Literal


def typed(name: str, value: Any, kind: Any) -> Any:
    """``value`` as ``kind``, a type or a Literal; a whole number is accepted where a float is wanted.

    Raises:
        InputError: another type; a number that is not finite or beyond 64 bits.
    """
    if _is_choice(kind):
        return choose(name, value, typing.get_args(kind))
    if kind is float and type(value) is int and abs(value) <= MOST:
        value = float(value)
    require(type(value) is kind, name, f"{value!r:.80}", f"of type {kind.__name__}")
    if kind is int:
        require(abs(value) <= MOST, name, value, "a number of at most 64 bits")
    elif kind is float:
        require(math.isfinite(value), name, value, "a finite number")
    return value


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained, whichever it is. The defaults are the paper's, where it has them.

    Raises:
        InputError: a value out of its range, or none of those to choose from.
    """

    seed: int = setting(0, "seed of initial weights, order and dropout", minimum=0)
    # Adam, on batches of sequences
    batch_size: int = setting(256, "sequences per step", minimum=1)
    learning_rate: float = setting(1e-3, "of Adam; the paper's grid is 1e-3, 5e-4, 1e-4", above=0)
    l2: float = setting(1e-5, "L2 coefficient (Adam's weight_decay); the paper's grid is 1e-4, 5e-5, 1e-5", minimum=0)
    decay: Literal["l2", "decoupled"] = setting(
        "l2", "l2: the penalty is part of the gradient; decoupled: AdamW, weights shrink beside it"
    )
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "float32, or bfloat16 for training's products, where the processor has such"
    )
    # learning rate by epoch: it rises from almost nothing, then falls whenever validation has stopped to improve
    warmup_epochs: int = setting(0, "epochs in which the learning rate rises to its value; 0: none", minimum=0)
    plateau_epochs: int = setting(
        0, "epochs without a better validation MRR after which the learning rate is lowered; 0: never", minimum=0
    )
    plateau_factor: float = setting(0.3162, "what it is then multiplied by", above=0, maximum=1)
    # early stopping, and which epoch is tested (gap 11)
    epochs: int = setting(100, "largest number of epochs", minimum=1)
    patience: int = setting(10, "epochs without a better validation MRR after which training stops", minimum=1)
    select_protocol: Protocol = setting("sampled_999", f"protocol of the validation MRR: {', '.join(PROTOCOLS)}")
    select_domain: Literal["both", "x", "y"] = setting("both", "select by the mean of both domains, or by x or y alone")
    candidate_seed: int = setting(0, "seed of the 999 negatives, the same for all models", minimum=0)

    def __post_init__(self) -> None:
        check_ranges(self)
