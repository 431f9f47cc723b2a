"""Page 04b, protocol: among how many items the target is ranked, and what that does."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ifcdsr_core.analysis.paired import Runs, over_candidates
from ifcdsr_core.book.figures import BLACK, by_domain, drawn, is_ours, nothing, subplots
from ifcdsr_core.book.markup import escape, script_json
from ifcdsr_core.metrics import reciprocal_rank
from ifcdsr_core.scenario import DOMAINS

if TYPE_CHECKING:
    from IPython.display import HTML

USUAL = 999  # negatives in most papers


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


def stops(most: int) -> list[int]:
    """Numbers of negatives from 1 to ``most``: round ones, evenly on a log scale, 999 in the place of 1,000.

    >>> stops(1500)[-6:]
    [300, 400, 500, 700, 999, 1500]
    """
    numbers = {int(step * 10**power) for power in range(len(str(most))) for step in (1, 1.5, 2, 3, 4, 5, 7)}
    return sorted({number for number in numbers - {USUAL + 1} | {USUAL} if number < most} | {most})


def how_many_negatives(experiment: Runs, names: tuple[str, str], num_items: tuple[int, int], title: str) -> HTML:
    """The models in order of their expected MRR, and what ``negatives.js`` needs to order them for other numbers.

    Without the script it is a plain table per domain, for 999 negatives, or all that a smaller domain has.

    Args:
        title: of the data set.
    """
    from IPython.display import HTML

    numbers = stops(max(num_items) - 1)
    usual = numbers.index(min(USUAL, numbers[-1]))
    table = over_candidates(experiment, names, num_items, negatives=numbers)
    tables, domains = [], []
    for name, count in zip(names, num_items, strict=True):
        part = table[table["domain"] == name].pivot(index="label", columns="negatives", values="MRR")
        values = part.loc[list(experiment), [min(number, count - 1) for number in numbers]]
        values = values.iloc[np.argsort(-values.iloc[:, usual].to_numpy(), kind="stable")]  # (models, stops)
        tables.append(_models_table(values.iloc[:, usual], name, count - 1))
        domains.append({"name": name, "most": count - 1, "mrr": values.to_numpy().tolist()})
    data = script_json({"stops": numbers, "reference": usual, "domains": domains})
    return HTML(
        _SLIDER.format(title=html.escape(title), tables="".join(tables), data=data, usual=f"{numbers[usual]:,}")
    )


_SLIDER = """\
<figure class="negatives" data-title="{title}">
<figcaption><strong>How many negatives?</strong> {title}: expected test MRR in percent and the place of each model.
Bars show the MRR as a share of the best one, arrows by how many places a model has moved from {usual} negatives.
</figcaption>
<div class="control">Against {usual} negatives. In the book, with JavaScript, a slider moves their number from 1 to all
items of the domain.</div>
<div class="panels">{tables}</div>
<script type="application/json">{data}</script>
</figure>"""


def _models_table(values: pd.Series, name: str, most: int) -> str:
    """One domain's table: MRR in percent by label, best first."""
    places = values.rank(ascending=False, method="min").astype(int)
    rows = "".join(
        f"""
<tr{' class="ours"' if is_ours(label) else ""}>
<td><span class="place">{places[label]}</span> <span class="moved"></span></td>
<th scope="row">{html.escape(label)}<span class="bar" style="--share:{value / values.max():.4f}"></span></th>
<td class="mrr">{value:.2f}</td>
</tr>"""
        for label, value in values.items()
    )
    drawn = f'<span class="drawn">{f"{USUAL} of" if most > USUAL else "all"}</span> {most:,} other items'
    return f"""
<table class="keeps-order">
<caption><strong>{html.escape(name)}</strong> {drawn}</caption>
<thead><tr><th scope="col">Place</th><th scope="col">Model</th><th scope="col">MRR</th></tr></thead>
<tbody>{rows}
</tbody>
</table>"""


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
