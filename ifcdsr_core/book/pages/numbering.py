"""Page 04c, numbering: what the numbers of items and the order within a day tell of the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.counts import number_order
from ifcdsr_core.analysis.paper import PAPER_COMPARISON
from ifcdsr_core.analysis.subgroups import random_mrr
from ifcdsr_core.book.markup import data_title, escape, model_name
from ifcdsr_core.files import new_file, reading
from ifcdsr_core.models import CONTROLS, COUNTING
from ifcdsr_core.paths import results_dir
from ifcdsr_core.runs.lists import shipped_comparison
from ifcdsr_core.runs.store import Run, key, shipped_runs
from ifcdsr_core.scenario import DOMAIN_NAMES, DOMAINS
from ifcdsr_core.sources import prepare

_FILE = "number_order.csv"
_PUBLISHED = {  # data that were published with times, and with what options they are read as they stand
    ("c2dsr", "food_kitchen"): {"train_file": False},
    ("c2dsr", "movie_book"): {"train_file": False},
    ("abxi", "food_kitchen"): {},
    ("abxi", "beauty_electronics"): {},
}


def keep_order() -> Path:
    """Write ``counts.number_order`` of all published data with times to ``data/results``; return the file's path.

    Raises:
        InputError: a published file is not available.
    """
    path = results_dir() / _FILE
    with new_file(path) as staging:
        _counted().to_csv(staging, index=False)
    return path


def _counted() -> pd.DataFrame:
    return pd.DataFrame(
        {"source": source, "scenario": scenario}
        | number_order(prepare(source, scenario, **options, numbering="published", ties="published"))
        for (source, scenario), options in _PUBLISHED.items()
    )


def order(*, anew: bool = False) -> pd.DataFrame:
    """The table of ``keep_order`` for a page: the shipped one, or counted anew in the published files.

    Raises:
        InputError: the shipped one is not there, damaged, or can't be opened; or a published file is not available.
    """
    shares = ["tied", "ascending", "same_domain_ascending", "rarer", "commoner"]
    if anew:
        table = _counted()
    else:
        types = {"source": str, "scenario": str, "sequences": int, "same_domain": int} | dict.fromkeys(shares, float)
        with reading(results_dir() / _FILE) as path:
            table = pd.read_csv(path, usecols=list(types), dtype=types, na_filter=False)
    table[shares] *= 100
    table.insert(0, "Data", [data_title(*names) for names in zip(table["source"], table["scenario"], strict=True)])
    return table.drop(columns=["source", "scenario", "same_domain"]).rename(
        columns={
            "sequences": "Test cases",
            "tied": "Tied (%)",
            "ascending": "Larger number (%)",
            "same_domain_ascending": "in one domain (%)",
            "rarer": "Rarer item (%)",
            "commoner": "Commoner (%)",
        }
    )


def reached() -> pd.DataFrame:
    """What the control ``numbering`` reaches on all data that have a shipped run of it: test MRR in percent.

    With items numbered as published, with these numbers but the items of a day in random order, and numbered at random.
    Beside it, against 999 negatives as well: the best model of this book there (mean over its seeds), and IFCDSR as the
    paper prints it, each NaN where there is none.
    """
    runs: dict[tuple, dict] = {}
    for run in shipped_runs("*-numbering-*"):
        options = run.settings.source_options
        runs.setdefault((run.config["source"], run.config["scenario"]), {})[
            options["numbering"], options.get("ties", "published")
        ] = run
    rows = []
    for (source, scenario), found in runs.items():
        others = shipped_comparison(source, scenario)
        printed = PAPER_COMPARISON[scenario].query("Model == 'IFCDSR'").set_index("Target") if source == "c2dsr" else {}
        for domain, name in zip(DOMAINS, DOMAIN_NAMES[scenario], strict=True):
            means = [_mean(group, domain) for group in others.values()]
            rows.append(
                {
                    "Data": data_title(source, scenario),
                    "Target": name,
                    **{
                        heading: _mean([found[how]] if how in found else [], domain)
                        for heading, how in _READ_AS.items()
                    },
                    "Best model": max(means, default=np.nan),
                    "IFCDSR printed": printed.loc[name, "MRR"] if len(printed) else np.nan,
                }
            )
    return pd.DataFrame(rows)


_READ_AS = {
    "As published": ("published", "published"),
    "Days redrawn": ("published", "redrawn"),
    "Renumbered": ("redrawn", "published"),
}


def reached_verdict(table: pd.DataFrame) -> str:
    """What ``reached`` says, in three sentences."""
    known, printed = table.dropna(subset="Best model"), table.dropna(subset="IFCDSR printed")
    above = (known["As published"] > known["Best model"]).sum()
    beside = ", ".join(
        f"{row['As published']:.1f} for {row['Target']} (printed: {row['IFCDSR printed']:.2f})"
        for _, row in printed.iterrows()
    )
    chance = table["Renumbered"]
    return (
        f"In {above} of the {len(known)} target domains for which this book has results of models, the rule is above "
        f"all of them. On the paper's own test sets its MRR is {beside}. With items numbered at random it is between "
        f"{chance.min():.2f} and {chance.max():.2f}, where a random order has {random_mrr():.2f}."
    )


def price_of_ties() -> pd.DataFrame:
    """Test MRR in percent of every model that has shipped runs with the ties as published and with redrawn ones.

    Means over the seeds that both have. ``Best epoch``: of all these runs, the latest and of how many; a model whose
    best epoch is its last was still learning.
    """
    pairs: dict[tuple, list[tuple[Run, Run]]] = {}
    for redrawn in (run for source, scenario in _PUBLISHED for run in shipped_runs(f"{source}-{scenario}-*")):
        config = redrawn.settings
        if config.source_options.get("ties") != "redrawn" or config.model in CONTROLS:
            continue
        twin = key(replace(config, source_options=config.source_options | {"ties": "published"}))
        for run in shipped_runs(f"{config.source}-{config.scenario}-{config.model}-seed{config.seed}-*"):
            if key(run.settings) == twin:
                pairs.setdefault((config.source, config.scenario, config.model), []).append((run, redrawn))
    rows = [
        {
            "Data": data_title(source, scenario),
            "Target": name,
            "Model": model_name(model),
            "Published": (published := _mean([run for run, _ in group], domain)),
            "Redrawn": (redrawn := _mean([run for _, run in group], domain)),
            "Change": redrawn - published,
            "Seeds": len(group),
            "Best epoch": _best_epochs([run for pair in group for run in pair]),
        }
        for (source, scenario, model), group in pairs.items()
        for domain, name in zip(DOMAINS, DOMAIN_NAMES[scenario], strict=True)
    ]
    table = pd.DataFrame(
        rows, columns=["Data", "Target", "Model", "Published", "Redrawn", "Change", "Seeds", "Best epoch"]
    )
    return table.sort_values(["Data", "Target"], kind="stable", ignore_index=True)


def price_verdict(table: pd.DataFrame) -> str:
    """What ``price_of_ties`` says, in one sentence."""
    if table.empty:
        return "This version of the book ships no runs with redrawn ties."
    worst, seeds = table.loc[table["Change"].idxmin()], table["Seeds"].max()
    return (
        f"Of {len(table)} results, {int((table['Change'] < 0).sum())} fall when the ties are redrawn, most of all "
        f"that of {escape(worst['Model'])} for {worst['Target']} of {worst['Data']}, by {-worst['Change']:.2f} points. "
        f"No model has more than {seeds} seed{'s' if seeds > 1 else ''}."
    )


def _best_epochs(runs: list[Run]) -> str | None:
    """Such as "8 of 8"; None for a model that counts."""
    if runs[0].config["model"] in COUNTING:
        return None
    latest = max(runs, key=lambda run: run.best_epoch / len(run.history))
    return f"{latest.best_epoch} of {len(latest.history)}"


def _mean(runs: list[Run], domain: str) -> float:
    """Mean test MRR over runs, in percent, NaN where there are none."""
    return 100 * float(np.mean([run.mrr()[domain] for run in runs])) if runs else np.nan
