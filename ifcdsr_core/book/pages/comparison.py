"""Page 04, comparison: all models, and IFCDSR against each rival."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifcdsr_core.analysis import paired
from ifcdsr_core.analysis.paired import Runs, reference
from ifcdsr_core.book.evidence import PROTOCOL_NAMES
from ifcdsr_core.book.figures import BLUE, GREY, ORANGE, by_domain, drawn, is_ours, nothing, percent, subplots
from ifcdsr_core.book.markup import data_title, escape, listed, show
from ifcdsr_core.scenario import DOMAIN_NAMES

if TYPE_CHECKING:
    from IPython.display import Markdown


def against_rivals(experiment: Runs, source: str, scenario: str, protocol: str) -> Markdown:
    """``paired.against_rivals`` for a page, and what it says; nothing where no run is of IFCDSR."""
    from IPython.display import Markdown

    if not any(runs[0].config["model"] == "ifcdsr" for runs in experiment.values()):
        return Markdown("")
    ours = reference(experiment)
    table = paired.against_rivals(experiment, ours, DOMAIN_NAMES[scenario], protocol)
    caption = (
        f"{data_title(source, scenario)}: MRR of {ours} minus that of each rival, in percentage points "
        f"{PROTOCOL_NAMES[protocol]}."
    )
    shown = show(table, caption, f"tab-rivals-{source}-{scenario}")
    return Markdown(f"{shown.data}\n\n{rivals_verdict(table, ours)}")


def rivals_verdict(table: pd.DataFrame, reference: str) -> str:
    """What ``paired.against_rivals`` says, in one sentence per domain."""
    sentences = []
    for name, part in table.groupby("Target", sort=False):
        found = {verdict: list(rows["Rival"]) for verdict, rows in part.groupby("Verdict", sort=False)}
        words = [
            f"{word} {listed(found[verdict])}"
            for verdict, word in (
                ("better", "better than"),
                ("worse", "worse than"),
                ("undecided", "not told apart from"),
            )
            if verdict in found
        ]
        sentences.append(f"**{escape(name)}**: {escape(reference)} is {'; '.join(words)}.")
    return " ".join(sentences)


def models(values: Mapping[str, pd.DataFrame], paper: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """The MRR of every run, one line per model, one point per seed; one panel per data set and domain.

    Args:
        values: ``paired.per_seed`` under the title of each data set.
        paper: printed values, shown beside them as diamonds: only where data and test cases are the paper's.
    """
    panels = by_domain(values)
    lines = max((part["label"].nunique() for _, _, part in panels), default=1)
    fig, axes = subplots(max(1, len(panels)), height=0.27 * lines + 0.8 if panels else 0.2)
    if not panels:
        nothing(axes[0])
    for number, (ax, (title, domain, part)) in enumerate(zip(axes, panels, strict=False)):
        labels = list(part["label"].unique())
        for position, label in enumerate(labels):
            scores = part.loc[part["label"] == label, "MRR"].to_numpy()
            colour = ORANGE if is_ours(label) else BLUE
            ax.vlines(scores.mean(), position - 0.3, position + 0.3, color=colour, linewidth=2.4, zorder=3)
            spread = 0.12 * (np.arange(len(scores)) - (len(scores) - 1) / 2)
            ax.scatter(scores, position + spread, s=22, color="white", edgecolor=colour, linewidth=1.2, zorder=4)
            if paper:
                row = (paper[title]["Target"] == domain) & (paper[title]["Model"] == label.partition(" (")[0])
                printed = paper[title].loc[row, "MRR"]
                ax.scatter(
                    printed,
                    [position] * len(printed),
                    marker="D",
                    s=34,
                    facecolor="none",
                    edgecolor=GREY,
                    linewidth=1.5,
                    zorder=5,
                )
        ax.set(
            title=drawn(f"{domain} {title.partition(' ')[2]}"),
            yticks=range(len(labels)),
            ylim=(len(labels) - 0.4, -0.6),
            yticklabels=[drawn(label) for label in labels] if number % 2 == 0 else [],
            xlabel="MRR",
        )
        ax.margins(x=0.08)
        ax.set_xlim(left=0)
        ax.grid(False, axis="y")
        percent(ax.xaxis)
    if paper and panels:
        fig.legend(
            handles=[
                plt.Line2D(
                    [],
                    [],
                    marker="D",
                    markerfacecolor="none",
                    color=GREY,
                    linestyle="",
                    label="printed in the paper (IFCDSR with images)",
                ),
                plt.Line2D(
                    [],
                    [],
                    marker="o",
                    color=BLUE,
                    markerfacecolor="white",
                    linestyle="",
                    label="our runs, one a seed; bar: mean",
                ),
            ],
            loc="outside lower center",
            ncols=2,
        )
    return fig
