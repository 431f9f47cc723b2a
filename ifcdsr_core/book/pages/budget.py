"""Page 04e, budget: how all models that are compared were trained, and how their settings were found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.paired import Runs, differences, of_both_seeds
from ifcdsr_core.book.evidence import MARK, stopped_too_early
from ifcdsr_core.book.markup import data_title, listed, model_name, unbroken
from ifcdsr_core.models import COUNTING
from ifcdsr_core.runs import lists, search, store
from ifcdsr_core.scenario import DOMAIN_NAMES


def budget(results: Mapping[tuple[str, str], Runs]) -> pd.DataFrame:
    """How the models of all comparisons were trained: ``training_course`` under the title of each data set.

    ``Candidates``: among how many a search chose a model's settings; None where there was no search.

    Args:
        results: by source and scenario.
    """
    parts = []
    for (source, scenario), experiment in results.items():
        alike, course = lists.trained_alike(source, scenario), training_course(experiment)
        outcomes = [search.found(source, alike, experiment[label][0].config["model"]) for label in course["Model"]]
        candidates = [None if rows is None else search.num_candidates(rows) for rows in outcomes]
        course.insert(0, "Data", data_title(source, scenario))
        course.insert(2, "Candidates", pd.Series(candidates, dtype=object))
        parts.append(course)
    return pd.concat(parts, ignore_index=True)


def training_course(experiment: Runs) -> pd.DataFrame:
    """How far training went, one row per model that is trained.

    Columns: ``Model``; ``Seeds``; ``Epochs`` until training stopped, and of how many allowed; ``Best epoch``, marked
    where it was the last of a run; ``Minutes`` of a run on its device, the mean.
    """
    rows = []
    for label, runs in experiment.items():
        if runs[0].config["model"] in COUNTING:
            continue
        allowed = _span(run.config["epochs"] for run in runs)
        rows.append(
            {
                "Model": label,
                "Seeds": unbroken(", ".join(str(run.config["seed"]) for run in runs)),
                "Epochs": unbroken(f"{_span(len(run.history) for run in runs)} of {allowed}"),
                "Best epoch": unbroken(
                    _span(run.best_epoch for run in runs) + (f" {MARK}" if any(map(stopped_too_early, runs)) else "")
                ),
                "Minutes": sum(run.history["seconds"].sum() for run in runs) / len(runs) / 60,
            }
        )
    return pd.DataFrame(rows, columns=["Model", "Seeds", "Epochs", "Best epoch", "Minutes"])


def _span(numbers: Iterable[int]) -> str:
    found = list(numbers)
    return str(found[0]) if len(set(found)) == 1 else f"{min(found)} to {max(found)}"


def search_best(outcome: pd.DataFrame) -> pd.DataFrame:
    """One line per model of ``search.load``: what was chosen, how it did on validation, and what the search took.

    ``Minutes`` are those of all candidates together on one core, each of their epochs once.
    """
    rows, settings = [], [*search.SETTINGS, *search.OPTIONS]
    for model, part in outcome.groupby("model", sort=False):
        row = search.best(part)
        rows.append(
            {
                "Model": model_name(model),
                "Learning rate": unbroken(f"{row['learning_rate']:g}"),
                "L2": unbroken(f"{row['l2']:g}"),
                "Dropout": row["dropout"],
                "Temperature": row["temperature"],
                "Best epoch": f"{row['best_epoch']:g} of {row['epochs']:g}",
                "Validation MRR": 100 * row["validation_mrr"],
                "Minutes": part.groupby(settings, dropna=False)["minutes"].max().sum(skipna=False),
            }
        )
    return pd.DataFrame(rows)


def passed_over(source: str, scenario: str) -> pd.DataFrame:
    """What the first round of a search passed over (``lists.passed_over``), under what was chosen, all to the plateau.

    One row per shipped run of seed 0, for the models that have any; none where there is none. No test case has a say.
    """
    chosen = [runs[0] for runs in store.shipped(lists.comparison(scenario, [0], source)).values()]
    others = [runs[0] for runs in store.shipped(lists.passed_over(scenario, source)).values()]
    searched = {run.config["model"] for run in others}
    columns = ["Model", "Rate", "L2", "Dropout", "Best epoch", "Validation MRR"]
    rows = [
        (
            model_name(run.config["model"]),
            f"{run.config['learning_rate']:g}{' (chosen)' if run is first else ''}",
            unbroken(f"{run.config['l2']:g}"),
            run.config["model_options"]["dropout"],
            run.best_epoch,
            100 * run.validation_mrr,
        )
        for first in chosen
        if first.config["model"] in searched
        for run in [first, *(other for other in others if other.config["model"] == first.config["model"])]
    ]
    return pd.DataFrame(rows, columns=columns)


def passed_over_verdict(table: pd.DataFrame) -> str:
    """What ``passed_over`` says, in one sentence."""
    firsts = table.groupby("Model", sort=False).head(1)
    others = table.drop(firsts.index)
    chosen = others["Model"].map(firsts.set_index("Model")["Validation MRR"])
    better = others[others["Validation MRR"] > chosen]
    which = [f"{row.Model} at rate {row.Rate}" for row in better.itertuples()]
    return (
        f"Of {len(others)} settings that were passed over, {len(better)} came further on validation than what was "
        f"chosen{f': {listed(which)}' if which else ''}."
    )


def patience(runs: Runs, source: str, scenario: str) -> pd.DataFrame:
    """What more patience than a comparison's (``lists.patience``) brings to each model that has such runs.

    Args:
        runs: as ``patient_runs`` gives them for this source and scenario.

    Returns:
        One row per target domain and model: ``Target``; ``Model``; ``Best epoch`` and the one ``With patience``, of the
        seeds of which there are runs of both kinds, in their order, marked where it was the last of a run; with
        patience the MRR in percent on ``Validation``, which is of both domains, and on ``Test``; and the ``Change`` of
        the latter, a ``Difference`` in points.
    """
    names = DOMAIN_NAMES[scenario]
    as_compared = {name: lists.REAL[name] for name in lists.PATIENT}
    usual = store.shipped(lists.patience(scenario, range(10), source, **as_compared))
    rows = []
    for label in (label for label in usual if label in runs):
        after, before = of_both_seeds(runs[label], usual[label])
        both = label, _epochs(before), _epochs(after), 100 * np.mean([run.validation_mrr for run in after])
        for code, name, change in zip("xy", names, differences(after, before, names), strict=True):
            rows.append((name, *both, 100 * np.mean([run.mrr()[code] for run in after]), change))
    columns = ["Target", "Model", "Best epoch", "With patience", "Validation", "Test", "Change"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("Target", key=lambda target: target.map(names.index), kind="stable", ignore_index=True)


def _epochs(runs: Iterable[store.Run]) -> str:
    return unbroken(", ".join(f"{run.best_epoch}{f' {MARK}' * stopped_too_early(run)}" for run in runs))


def patient_runs(source: str, scenario: str) -> Runs:
    """The shipped runs of ``lists.patience``, below those of the models that only count."""
    compared = store.shipped(lists.comparison(scenario, range(10), source))
    counted = {label: runs for label, runs in compared.items() if runs[0].config["model"] in COUNTING}
    return counted | store.shipped(lists.patience(scenario, range(10), source))


def patience_verdict(table: pd.DataFrame) -> str:
    """What ``patience`` says, in two sentences."""
    later = table.loc[table["Best epoch"] != table["With patience"], "Model"]
    moved = [(f"{row.Model} ({row.Target})", row.Change.value) for row in table.itertuples() if row.Change.beyond_noise]
    raised, lowered = [where for where, by in moved if by > 0], [where for where, by in moved if by < 0]
    return (
        f"Of {table['Model'].nunique()} models, {later.nunique()} find a better epoch, with one seed at least. Beyond "
        f"noise this raises the test MRR of {listed(raised) if raised else 'none'}"
        f"{f' and lowers that of {listed(lowered)}' if lowered else ''}."
    )
