"""Page 04b, protocol: among how many items the target is ranked, and what that does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ifcdsr_core.analysis.paper import PAPER_COMPARISON
from ifcdsr_core.analysis.subgroups import random_mrr
from ifcdsr_core.book.figures import BLACK, by_domain, drawn, is_ours, nothing, subplots
from ifcdsr_core.book.markup import data_title, escape
from ifcdsr_core.runs.lists import shipped_comparison
from ifcdsr_core.runs.store import shipped_runs
from ifcdsr_core.scenario import DOMAIN_NAMES, DOMAINS


def protocol_verdict(table: pd.DataFrame) -> str:
    """What ``paired.both_protocols`` says, in one sentence per domain."""
    from scipy.stats import kendalltau

    sentences = []
    for name, part in table.groupby("Target", sort=False):
        places = part[[column for column in part if column.startswith("Place")]]
        first = [part["Model"].iloc[places[column].argmin()] for column in places]
        moved = int((places.iloc[:, 0] != places.iloc[:, 1]).sum())
        same = (
            escape(first[0]) + " is first under both"
            if first[0] == first[1]
            else f"{escape(first[0])} is first against 999 negatives, {escape(first[1])} among all items"
        )
        tau = kendalltau(places.iloc[:, 0], places.iloc[:, 1]).statistic
        sentences.append(
            f"**{escape(name)}**: {same}; {moved} of {len(part)} models change their place "
            f"(rank correlation, Kendall's τ, {tau:.2f}); the numbers differ by a factor of "
            f"{part['Ratio'].min():.1f} to {part['Ratio'].max():.1f}."
        )
    return " ".join(sentences)


def candidates(values: Mapping[str, pd.DataFrame]) -> Figure:
    """Expected MRR by the number of negatives, one curve per model, divided by the models' geometric mean.

    All MRRs fall by factors of ten as candidates are added; the ratio shows which fall faster. One panel per data set
    and domain.

    Args:
        values: ``paired.over_candidates`` under the title of each data set.
    """
    panels = by_domain(values)
    fig, axes = subplots(max(1, len(panels)), height=3.0 if panels else 0.2)
    if not panels:
        nothing(axes[0])
    for ax, (title, domain, part) in zip(axes, panels, strict=False):
        labels = list(part["label"].unique())
        for label, colour in zip(labels, sns.color_palette("colorblind", len(labels)), strict=True):
            curve = part[part["label"] == label]
            mean = np.exp(np.log(part["MRR"]).groupby(part["negatives"]).mean())
            counted = label in ("Popularity", "Co-occurrence")
            ax.plot(
                curve["negatives"],
                curve["MRR"] / mean[curve["negatives"]].to_numpy(),
                color=colour,
                label=drawn(label),
                linestyle="--" if counted else "-",
                linewidth=2.4 if is_ours(label) else 1.3,
            )
        ax.axvline(999, color=BLACK, linewidth=1, linestyle=":", zorder=1)
        ax.set(
            title=drawn(f"{domain} {title.partition(' ')[2]}"),
            xscale="log",
            xlabel="negatives",
            ylabel="MRR / mean of the models",
        )
    if panels:
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def numbering() -> pd.DataFrame:
    """What the control ``numbering`` reaches on all data that have a shipped run of it: test MRR in percent.

    Beside it, against 999 negatives as well: a random order, the best model of this book there (mean over its seeds),
    and IFCDSR as the paper prints it, each NaN where there is none.
    """
    rows = []
    for run in shipped_runs("*-numbering-*"):
        source, scenario = run.config["source"], run.config["scenario"]
        others = shipped_comparison(source, scenario)
        printed = (
            PAPER_COMPARISON[scenario].query("Model == 'IFCDSR'").set_index("Target") if source == "c2dsr" else None
        )
        for domain, name in zip(DOMAINS, DOMAIN_NAMES[scenario], strict=True):
            means = [100 * np.mean([other.mrr()[domain] for other in group]) for group in others.values()]
            rows.append(
                {
                    "Data": data_title(source, scenario),
                    "Target": name,
                    "Numbering": 100 * run.mrr()[domain],
                    "Random order": random_mrr(),
                    "Best model here": max(means, default=np.nan),
                    "IFCDSR as printed": np.nan if printed is None else printed.loc[name, "MRR"],
                }
            )
    return pd.DataFrame(rows)


def numbering_verdict(table: pd.DataFrame) -> str:
    """What ``numbering`` says, in two sentences."""
    known, printed = table.dropna(subset="Best model here"), table.dropna(subset="IFCDSR as printed")
    above = (known["Numbering"] > known["Best model here"]).sum()
    beside = ", ".join(
        f"{row['Numbering']:.1f} for {row['Target']} (printed: {row['IFCDSR as printed']:.2f})"
        for _, row in printed.iterrows()
    )
    return (
        f"In {above} of the {len(known)} target domains for which this book has results of models, the rule is above "
        f"all of them. On the paper's own test sets its MRR is {beside}."
    )
