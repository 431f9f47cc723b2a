"""The outcome of the grid of learning rate and L2, from where the book's settings come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, first_line
from ifcdsr_core.files import new_file
from ifcdsr_core.models import MODELS
from ifcdsr_core.paths import results_dir
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import DOMAIN_NAMES

_NUMBERS = ["learning_rate", "l2", "validation_mrr"]
_COLUMNS = ["model", *_NUMBERS, "best_epoch", "run"]


def grid_table(runs: Iterable[Run]) -> pd.DataFrame:
    """What a grid says of one or several models: one row per run, best first for each model, by validation MRR alone.

    Columns: ``model, learning_rate, l2, validation_mrr, best_epoch, run``.
    """
    rows = [
        (
            run.config["model"],
            run.config["learning_rate"],
            run.config["l2"],
            float(run.history["selection"].max()),
            run.best_epoch,
            run.folder.name,
        )
        for run in runs
    ]
    table = pd.DataFrame(rows, columns=_COLUMNS).sort_values("validation_mrr", ascending=False, kind="stable")
    return _in_order(table)


def keep_grid(table: pd.DataFrame, source: str, scenario: str) -> None:
    """Write a grid's outcome to where ``settings`` looks for it; rows of models that are not in it stay."""
    path, before = _grid_file(source, scenario), load_grid(source, scenario)
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


def load_grid(source: str, scenario: str) -> pd.DataFrame | None:
    """The shipped outcome of a grid, or None.

    Raises:
        InputError: the file is damaged or can't be opened.
    """
    path = _grid_file(source, scenario)
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path)[_COLUMNS].astype(dict.fromkeys(_NUMBERS, float))
        if not np.isfinite(table[_NUMBERS]).all(axis=None):
            raise ValueError("a number is missing or infinite")
    except OSError as error:
        raise InputError(f"{path} can't be opened ({error.strerror}): make it readable") from error
    except (ValueError, KeyError) as error:
        reason = first_line(error)
        raise InputError(f"{path} can't be read ({reason}): restore it, or run the sweep of the grid again") from error
    return table


def _grid_file(source: str, scenario: str) -> Path:
    return results_dir() / "grid" / f"{source}-{scenario}.csv"


def chosen(source: str, scenario: str, model: str) -> dict:
    for name in (scenario, *(other for other in DOMAIN_NAMES if other != scenario)):
        table = load_grid(source, name)
        rows = table[table["model"] == model] if table is not None else ()
        if len(rows):
            best = rows.iloc[rows["validation_mrr"].argmax()]
            return {"learning_rate": float(best["learning_rate"]), "l2": float(best["l2"])}
    return {}
