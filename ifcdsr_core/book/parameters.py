"""Parameters of notebooks and of the command line, as text."""

from __future__ import annotations

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.models import MODELS
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.lists import configurations
from ifcdsr_core.sources import source_module


def parse_scenarios(text: str, source: str = "demo") -> list[str]:
    """Scenarios of a source, their names separated by commas.

    Raises:
        InputError: no name, one that the source does not have, or a repeated one; unknown source.
    """
    known = source_module(source).SCENARIOS
    names = [choose("scenario", name.strip(), known) for name in str(text).split(",")]
    if len(set(names)) != len(names):
        raise InputError(f"scenarios is {text!r}: it names one of them twice")
    return names


def parse_seeds(text: str | int) -> list[int]:
    """Seeds separated by commas; papermill passes a single one as a number.

    Raises:
        InputError: not a list of different whole numbers.
    """
    try:
        seeds = [int(part) for part in str(text).split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(
            f"seeds is {text!r}: give different whole numbers, 0 or more, separated by commas, as in 0,1,2"
        )
    return seeds


def parse_signals(text: str) -> list[float]:
    """Positions of a dial separated by commas, in rising order.

    Raises:
        InputError: not a list of different numbers from 0 to 1, both ends among them.
    """
    try:
        signals = sorted(float(part) for part in str(text).split(","))
    except ValueError:
        signals = []
    in_range = all(0 <= signal <= 1 for signal in signals)  # what is no number is not
    if not in_range or len(set(signals)) != len(signals) or not {0, 1} <= set(signals):
        raise InputError(f"signals is {text!r}: give different numbers from 0 to 1, both among them, as in 0,0.5,1")
    return signals


def source_options(source: str, **dials) -> dict:
    """The dials that the source has.

    Raises:
        InputError: unknown source.
    """
    known = source_module(source).OPTIONS
    return {name: value for name, value in dials.items() if name in known}


def run_config(
    scenario: str, source: str, model: str, seed: int, epochs: int = 0, train_on: str = "", **dials
) -> RunConfig:
    """The book's configuration for the parameters of notebook 03.

    Args:
        epochs: 0 for the book's number.
        train_on: ``train``, ``valid``, or empty for what the book does with that source.
        dials: options of the demo (``visual_signal`` ...) or of IFCDSR (``image_fusion`` ...); those that the source or
            the model does not have are left out.

    Raises:
        InputError: a value that is unknown, of the wrong type or out of range.
    """
    of_model = MODELS[choose("model", model, MODELS)].Config.__dataclass_fields__
    changes = {name: value for name, value in (("epochs", epochs), ("train_on", train_on)) if value}
    return configurations(
        model,
        scenario,
        [seed],
        source,
        source_options=source_options(source, **dials),
        model_options={name: value for name, value in dials.items() if name in of_model},
        **changes,
    )[0]
