"""The search for settings: the same number of candidates for every model, by successive halving on validation.

All candidates of a model are trained for few epochs, the best third of them for three times as many, and the best third
of these for three times as many again (Jamieson & Talwalkar, AISTATS 2016). Every candidate of every round is a run
like any other: it goes on from that of the round before and is found again, and a search that was killed goes on. One
that diverges has a validation MRR of 0. The test set has no say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError
from ifcdsr_core.files import locked, new_file, reading
from ifcdsr_core.models import MODELS
from ifcdsr_core.paths import results_dir
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.store import Run

ROUNDS, SHARE = 3, 3  # of a round's candidates one in SHARE goes on, to SHARE times as many epochs
SETTINGS, OPTIONS = (
    ("learning_rate", "l2"),
    ("dropout", "temperature"),
)  # searched: of a run, and of a model if it has it
_NUMBERS = [*SETTINGS, *OPTIONS, "validation_mrr"]
_SOMETIMES = [*OPTIONS, "minutes"]  # NaN in some rows
_COLUMNS = ["model", "epochs", *_NUMBERS, "best_epoch", "minutes", "run"]


def halve(
    candidates: Iterable[RunConfig], carry_out: Callable[[Sequence[RunConfig]], Sequence[Run | None]]
) -> list[list[Run]]:
    """The runs of each round, those of the last one trained for as many epochs as their candidates say.

    Pre-training comes on top: none of its epochs is ranked.

    Args:
        candidates: of one or several models, which go on separately.
        carry_out: runs configurations and returns them in their order, None for one that diverges, as ``sweep.sweep``.

    Raises:
        InputError: all candidates of a model that went on diverge.
    """
    left, rounds = list(candidates), []
    for number in reversed(range(ROUNDS)):
        told = [
            dataclasses.replace(one, epochs=math.ceil(one.epochs / SHARE**number) + _pretraining(one)) for one in left
        ]
        runs = [run or _diverged(one) for run, one in zip(carry_out(told), told, strict=True)]
        rounds.append(runs)
        left = [candidate for candidate, goes_on in zip(left, _go_on(runs), strict=True) if goes_on]
    for model in {run.config["model"] for run in rounds[-1]}:
        if not any(run.validation_mrr for run in rounds[-1] if run.config["model"] == model):
            raise InputError(
                f"no candidate of {model} can be trained, all diverge: lower LEARNING_RATES in runs/lists.py"
            )
    return rounds


def _diverged(config: RunConfig) -> Run:
    """What stands for the run of a candidate that diverges."""
    history = pd.DataFrame({"epoch": [0], "selection": [0.0], "seconds": [math.nan]})
    return Run(Path("diverged"), dataclasses.asdict(config), {}, history, pd.DataFrame())


def _pretraining(config: RunConfig) -> int:
    return config.model_options.get("pretrain_epochs", 0)


def _go_on(runs: Sequence[Run]) -> list[bool]:
    """Whether each is among the best third of its model's; of equal ones the first."""
    models = pd.Series([run.config["model"] for run in runs], dtype=object)
    scores = pd.Series([run.validation_mrr for run in runs], dtype=float)
    places = scores.groupby(models).rank(ascending=False, method="first")
    return list(places <= np.ceil(models.map(models.value_counts()) / SHARE))


def outcome(rounds: Iterable[Iterable[Run]]) -> pd.DataFrame:
    """What a search says of one or several models, one row per run; of each model the last round and its best first.

    Columns: ``model, epochs, learning_rate, l2, dropout, temperature, validation_mrr, best_epoch, minutes, run``.
    ``epochs`` is the largest number that was allowed; dropout and temperature are NaN for a model without, ``minutes``
    where an earlier search did not keep them.
    """
    rows = [
        {
            "model": run.config["model"],
            "epochs": run.config["epochs"],
            **{name: run.config[name] for name in SETTINGS},
            **{name: run.config["model_options"].get(name, math.nan) for name in OPTIONS},
            "validation_mrr": run.validation_mrr,
            "best_epoch": run.best_epoch,
            "minutes": run.history["seconds"].sum() / 60,
            "run": run.folder.name,
        }
        for runs in rounds
        for run in runs
    ]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return _in_order(table.sort_values(["epochs", "validation_mrr"], ascending=False, kind="stable"))


def keep(table: pd.DataFrame, source: str, scenario: str) -> None:
    """Write an outcome to where ``lists.settings`` looks for it; rows of models that are not in it stay."""
    path = _file(source, scenario)
    with locked(path.with_suffix(".lock")):  # another search may keep its own at this moment
        before = load(source, scenario)
        others = [] if before is None else [before[~before["model"].isin(table["model"])]]
        kept = pd.concat([table, *others], ignore_index=True)
        with new_file(path) as staging:
            _in_order(kept).to_csv(staging, index=False)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of ``MODELS``; those of a model that is no longer in it at the end."""
    order = {model: place for place, model in enumerate(MODELS)}
    return table.sort_values(
        "model", key=lambda models: models.map(order).fillna(len(order)), kind="stable", ignore_index=True
    )


def load(source: str, scenario: str) -> pd.DataFrame | None:
    """The shipped outcome of a search, or None.

    Raises:
        InputError: the file is damaged or can't be opened.
    """
    path = _file(source, scenario)
    if not path.exists():
        return None
    with reading(path, "restore it, or search again"):
        table = pd.read_csv(path)[_COLUMNS].astype({"epochs": int, **dict.fromkeys([*_NUMBERS, "minutes"], float)})
        always = table.drop(columns=_SOMETIMES).select_dtypes("number")
        if not np.isfinite(always).all(axis=None) or np.isinf(table[_SOMETIMES]).any(axis=None):
            raise ValueError("a number is missing or infinite")
    return table


def _file(source: str, scenario: str) -> Path:
    return results_dir() / "search" / f"{source}-{scenario}.csv"


def best(table: pd.DataFrame) -> pd.Series:
    """The row of one model's outcome that counts: of the last round, that of the best validation MRR."""
    last = table[table["epochs"] == table["epochs"].max()]
    return last.loc[last["validation_mrr"].idxmax()]


def found(source: str, scenarios: Iterable[str], model: str) -> pd.DataFrame | None:
    """The rows of one model's outcome on the first of some scenarios that has one; None where none has.

    Raises:
        InputError: an outcome is damaged or can't be opened.
    """
    for name in scenarios:
        table = load(source, name)
        rows = table[table["model"] == model] if table is not None else ()
        if len(rows):
            return rows
    return None


def num_candidates(rows: pd.DataFrame) -> int:
    """How many candidates one model's outcome began with."""
    return int((rows["epochs"] == rows["epochs"].min()).sum())


def chosen(source: str, scenarios: Iterable[str], model: str) -> tuple[dict, dict]:
    """Run settings and model options of the ``best`` that was ``found``; none where nothing was."""
    rows = found(source, scenarios, model)
    return ({}, {}) if rows is None else settings_of(best(rows))


def settings_of(row: pd.Series) -> tuple[dict, dict]:
    """Run settings and model options of one row of an outcome."""
    return (
        {name: float(row[name]) for name in SETTINGS},
        {name: float(row[name]) for name in OPTIONS if not math.isnan(row[name])},
    )


def others_by_rate(rows: pd.DataFrame) -> pd.DataFrame:
    """Of one model's first round, the best row of each learning rate but the chosen one, by rate; not what diverged."""
    first = rows[(rows["epochs"] == rows["epochs"].min()) & (rows["validation_mrr"] > 0)]
    first = first[first["learning_rate"] != best(rows)["learning_rate"]]
    return first.loc[first.groupby("learning_rate")["validation_mrr"].idxmax()]
