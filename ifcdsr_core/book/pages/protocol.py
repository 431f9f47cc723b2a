"""Page 04b, protocol: among how many items the target is ranked, and what that does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ifcdsr_core.analysis.paired import Runs
from ifcdsr_core.book.figures import BLACK, by_domain, drawn, is_ours, nothing, subplots
from ifcdsr_core.book.markup import escape
from ifcdsr_core.metrics import reciprocal_rank
from ifcdsr_core.scenario import DOMAINS


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


def choices(experiment: Runs, names: tuple[str, str]) -> pd.DataFrame:
    """Test MRR in percent against 999 negatives, by whom they are drawn from and by who wins a tie; means over seeds.

    All four from the same scores; ``Ratio`` is the last by the first. Runs that were not ranked among unseen items are
    left out.
    """
    rows = []
    for domain, name in zip(DOMAINS, names, strict=True):
        for label, group in experiment.items():
            ranks = [run.ranks[run.ranks["target_domain"] == domain] for run in group if "unseen_999" in run.ranks]
            if not ranks:
                continue
            row = {
                heading: 100 * np.mean([reciprocal_rank(_rank(part, protocol, averaged)).mean() for part in ranks])
                for heading, (protocol, averaged) in _CHOICES.items()
            }
            first, *_, last = row.values()
            rows.append({"Target": name, "Model": label, **row, "Ratio": last / first})
    return pd.DataFrame(rows, columns=["Target", "Model", *_CHOICES, "Ratio"])


_CHOICES = {
    "999 others": ("sampled_999", True),
    "a tie won": ("sampled_999", False),
    "999 unseen": ("unseen_999", True),
    "both": ("unseen_999", False),
}


def _rank(ranks: pd.DataFrame, protocol: str, averaged: bool) -> np.ndarray:
    """Ranks with ties averaged, or with the target before its equals."""
    return (ranks[protocol] - (0 if averaged else ranks[f"{protocol}_ties"] / 2)).to_numpy()
