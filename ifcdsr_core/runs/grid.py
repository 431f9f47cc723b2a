"""The outcome of the grid of learning rate and L2, from where the book's settings come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ifcdsr_core.errors import InputError
from ifcdsr_core.models import MODELS
from ifcdsr_core.paths import new_file, results_dir
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import DOMAIN_NAMES


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
    table = pd.DataFrame(rows, columns=["model", "learning_rate", "l2", "validation_mrr", "best_epoch", "run"])
    order = table["model"].map(list(MODELS).index)
    return (
        table.assign(order=order)
        .sort_values(["order", "validation_mrr"], ascending=[True, False], kind="stable", ignore_index=True)
        .drop(columns="order")
    )


def keep_grid(table: pd.DataFrame, source: str, scenario: str) -> None:
    """Write a grid's outcome to where ``settings`` looks for it; rows of models that are not in it stay."""
    path = _grid_file(source, scenario)
    before = pd.read_csv(path) if path.is_file() else table.iloc[:0]
    kept = pd.concat([table, before[~before["model"].isin(table["model"])]], ignore_index=True)
    kept["order"] = kept["model"].map(list(MODELS).index)
    with new_file(path) as staging:
        kept.sort_values("order", kind="stable").drop(columns="order").to_csv(staging, index=False)


def load_grid(source: str, scenario: str) -> pd.DataFrame | None:
    """The shipped outcome of a grid, or None.

    Raises:
        InputError: the file is damaged.
    """
    path = _grid_file(source, scenario)
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path).astype({"learning_rate": float, "l2": float, "validation_mrr": float})
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} can't be read ({error}): delete it, and run the sweep of the grid again") from error


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
