"""Page 05c, sensitivity: other values of one hyperparameter at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from ifcdsr_core.analysis.paired import differences, over_seeds, signed
from ifcdsr_core.book.figures import BLACK, DOMAIN_COLOURS, drawn, percent, subplots
from ifcdsr_core.book.markup import escape
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.lists import SENSITIVITY
from ifcdsr_core.runs.store import Run

PAPER_VALUES = {"alpha": 0.7, "lambda_1": 0.1, "lambda_2": 0.4, "hidden_size": 256}
PARAMETER_NAMES = {
    "alpha": "α, weight of the ID",
    "lambda_1": "λ1, weight of the source domain",
    "lambda_2": "λ2, weight of the merged sequence",
    "learning_rate": "learning rate",
    "hidden_size": "q, size of the ID embedding",
}


def sensitivity_table(runs: Mapping[float, Sequence[Run]], names: tuple[str, str]) -> pd.DataFrame:
    """MRR by the value of a hyperparameter: ``value``, ``domain``, ``mean``, ``std`` over seeds, in percent."""
    table = over_seeds({str(value): group for value, group in runs.items()}, names, "sampled_999", ("MRR",))
    mean, std = (table["MRR"].map(lambda cell, part=part: getattr(cell, part)) for part in ("mean", "std"))
    return pd.DataFrame({"value": table["Model"].map(float), "domain": table["Target"], "mean": mean, "std": std})


def best_values(
    runs: Mapping[str, Mapping[float, Sequence[Run]]], used: Mapping[str, float], names: tuple[str, str]
) -> pd.DataFrame:
    """For each hyperparameter and domain: the value used here, the best one tried, and what it would bring.

    The best value is chosen by the test MRR that it is then measured by: a bound on what tuning could bring, not a
    result.
    """
    rows = []
    for parameter, groups in runs.items():
        table, here = sensitivity_table(groups, names), used[parameter]
        for position, name in enumerate(names):
            scores = table[table["domain"] == name].set_index("value")["mean"]
            best = scores.idxmax()
            gain = differences(groups[best], groups[here], names)[position]
            rows.append((PARAMETER_NAMES[parameter], name, f"{here:g}", f"{best:g}", gain))
    return pd.DataFrame(rows, columns=["Hyperparameter", "Target", "Here", "Best tried", "Difference"])


def used_values(config: RunConfig) -> dict[str, float]:
    """The values of the hyperparameters of ``SENSITIVITY`` in a configuration."""
    return {name: float(config.model_options.get(name, getattr(config, name, None))) for name in SENSITIVITY}


def sensitivity_verdict(table: pd.DataFrame) -> str:
    """What ``best_values`` says, in sentences."""
    certain = [row for row in table.itertuples() if row.Difference.low > 0]
    if not certain:
        return "No value tried beats the one used here beyond noise, in either domain."
    return " ".join(
        f"{escape(row.Hyperparameter)}: {row[4]} instead of {row.Here} would bring "
        f"{signed(row.Difference.value)} points in {escape(row.Target)}."
        for row in certain
    )


def sensitivity(values: Mapping[str, pd.DataFrame], names: Mapping[str, str], marked: Mapping[str, float]) -> Figure:
    """MRR by the value of one hyperparameter at a time: means over seeds, whiskers of one standard deviation.

    Args:
        values: by hyperparameter, a table with ``value``, ``domain``, ``mean`` and ``std`` (percent).
        names: what the axis calls each; marked: the paper's value, where it is one number.
    """
    fig, axes = subplots(len(values), height=2.5)
    for ax, (parameter, table) in zip(axes, values.items(), strict=True):
        points = sorted(table["value"].unique())
        places = {value: place for place, value in enumerate(points)}
        for colour, marker, (domain, part) in zip(
            DOMAIN_COLOURS, "os", table.groupby("domain", sort=False), strict=True
        ):
            ax.errorbar(
                part["value"].map(places),
                part["mean"],
                yerr=part["std"],
                color=colour,
                marker=marker,
                capsize=2.5,
                label=drawn(domain),
            )
        if marked.get(parameter) in places:
            ax.axvline(places[marked[parameter]], color=BLACK, linestyle=":", linewidth=1.6, zorder=1)
        ax.set(
            xlabel=names.get(parameter, parameter),
            xticks=range(len(points)),
            ylabel="MRR",
            xticklabels=[f"{value:g}" for value in points],
        )
        ax.set_ylim(bottom=0)
        percent(ax.yaxis)
    axes[0].legend(loc="lower right")
    return fig
