"""Page 05, ablation: Table 4, and the control curves of the demo."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from ifcdsr_core.analysis.paired import DOMAIN_STEPS
from ifcdsr_core.book.evidence import course, with_noise
from ifcdsr_core.book.figures import BLUE, SKY, by_domain, drawn, percent, subplots
from ifcdsr_core.book.markup import escape


def domain_verdict(table: pd.DataFrame) -> str:
    """What ``paired.control_gains`` of the domains says: does the gain grow with what the domains have in common?"""
    sentences = []
    for label, *_ in DOMAIN_STEPS:
        sentences += [f"*Multiple attention {escape(label)}.*", *course(table[table["compared"] == label])]
    alone = table[(table["compared"] == DOMAIN_STEPS[-1][0]) & (table["signal"] == 0)]
    if (alone["verdict"] == "a gain").any():
        sentences.append(
            "With the dial at 0 the other domain tells nothing, and still the encoders of the other two sequences add "
            f"{with_noise(alone)}: where that is beyond noise, a part of the gain is not owed to the other domain."
        )
    return " ".join(sentences)


def steps(values: Mapping[str, pd.DataFrame]) -> Figure:
    """The MRR of every run of an ablation: the runs of one seed joined by lines, the mean as a bar.

    Args:
        values: ``paired.per_seed`` under the title of each data set.
    """
    panels = by_domain(values)
    fig, axes = subplots(len(panels), height=2.5)
    for ax, (title, domain, part) in zip(axes, panels, strict=True):
        labels = list(part["label"].unique())
        for position, label in enumerate(labels):
            scores = part.loc[part["label"] == label, "MRR"].to_numpy()
            ax.hlines(scores.mean(), position - 0.28, position + 0.28, color=BLUE, linewidth=2.4, zorder=3)
            ax.scatter([position] * len(scores), scores, s=26, color=SKY, edgecolor=BLUE, linewidth=0.8, zorder=4)
        for _, run in part.groupby("seed"):
            ax.plot(range(len(labels)), run["MRR"], color=SKY, linewidth=1, zorder=2)
        ax.set(
            title=drawn(f"{domain} {title.partition(' ')[2]}"),
            xticks=range(len(labels)),
            xlim=(-0.6, len(labels) - 0.4),
            xticklabels=[drawn(label, 12, 5) for label in labels],
            ylabel="MRR",
        )
        ax.margins(y=0.18)
        ax.grid(False, axis="x")
        percent(ax.yaxis)
    return fig
