"""Figures: one style for all pages, every figure also a PNG under ``figures/``.

A function takes plain tables and returns a matplotlib figure; ``save_figure`` writes it and gives the page its picture.
X is teal, Y orange and both together plum, as in the drawings of the introduction; the other colours are those of Okabe
and Ito. All stay apart for colour-blind readers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ifcdsr_core.paths import figures_dir, new_file
from ifcdsr_core.scenario import Scenario

if TYPE_CHECKING:
    from IPython.display import Image

    from ifcdsr_core.inspection import View

WIDTH = 6.8  # inches of a page's column
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#6B7280"
DOMAIN_COLOURS = TEAL, AMBER = "#2A7F86", "#C66A24"  # X, Y
PLUM = "#7C4A63"  # X and Y together
SPLIT_COLOURS = {"train": GREY, "valid": SKY, "test": GREEN}

_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 170,
    "figure.constrained_layout.use": True,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9AA1AC",
    "axes.labelcolor": "#24292F",
    "xtick.color": "#4B5563",
    "ytick.color": "#4B5563",
    "axes.grid": True,
    "grid.color": "#E5E7EB",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}
sns.set_theme(style="ticks", rc=_STYLE)


def save_figure(fig: Figure, name: str) -> Image:
    """Write ``figures/<name>.png`` and return it for display, so that page and file show the same."""
    from IPython.display import Image

    path = figures_dir() / f"{name}.png"
    with new_file(path) as staging:
        fig.savefig(staging, format="png", facecolor="white")
    plt.close(fig)
    return Image(path.read_bytes(), format="png", width=round(100 * WIDTH))


def _panels(count: int, columns: int = 2, height: float = 2.6, **options) -> tuple[Figure, np.ndarray]:
    """A figure with ``count`` panels, ``columns`` a row, and their axes (count,)."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows + 0.2), squeeze=False, **options)
    for unused in axes.flat[count:]:
        unused.set_visible(False)
    return fig, axes.flat[:count]


def _percent(axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


# --- data sets --------------------------------------------------------------------------------------------------------


def lengths(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Share of sequences of each length, per split; ``numbers`` as for ``tables.data_table``."""
    fig, axes = _panels(len(numbers), sharey=True)
    for ax, (title, tables) in zip(axes, numbers.items(), strict=True):
        for split, part in tables["length_distribution"].groupby("split", sort=False):
            share = 100 * part["sequences"] / part["sequences"].sum()
            ax.plot(part["length"], share, marker="o", color=SPLIT_COLOURS[split], label=split)
        ax.set(title=title, xlabel="length of the sequence (items)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _percent(ax.yaxis)
        ax.legend()
    axes[0].set_ylim(bottom=0)
    for ax in axes[::2]:
        ax.set_ylabel("share of the split's sequences")
    return fig


def popularity(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Interactions of an item against its rank by popularity, both on logarithmic axes."""
    fig, axes = _panels(len(numbers))
    for ax, (title, tables) in zip(axes, numbers.items(), strict=True):
        for colour, (domain, part) in zip(
            DOMAIN_COLOURS, tables["popularity"].groupby("domain", sort=False), strict=True
        ):
            touched = part[part["interactions"] > 0].sort_values("interactions", ascending=False)
            last = touched["items"].cumsum().to_numpy()  # rank of the last item with so many interactions
            rank = np.column_stack([last - touched["items"] + 1, last]).ravel()
            ax.plot(rank, np.repeat(touched["interactions"].to_numpy(), 2), color=colour, label=domain)
        ax.set(title=title, xscale="log", yscale="log", xlabel="rank of the item by popularity", ylabel="interactions")
        ax.legend()
    return fig


def overlap(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Users by the domains they have interactions in, per data set and split."""
    rows = [
        {"label": f"{title}, {row.split}", **row._asdict()}
        for title, tables in numbers.items()
        for row in tables["user_overlap"].itertuples()
    ]
    fig, (ax,) = _panels(1, height=0.25 * len(rows) + 0.8)
    left = np.zeros(len(rows))
    for kind, colour, text in (
        ("both", PLUM, "in both domains"),
        ("only_x", TEAL, "in X only"),
        ("only_y", AMBER, "in Y only"),
    ):
        share = np.array([100 * row[kind] / row["users"] for row in rows])
        ax.barh(range(len(rows)), share, left=left, color=colour, label=text, height=0.7)
        left += share
    ax.set(
        yticks=range(len(rows)),
        yticklabels=[row["label"] for row in rows],
        xlim=(0, 100),
        xlabel="share of the users with a sequence in the split",
    )
    ax.grid(False, axis="y")
    ax.invert_yaxis()
    _percent(ax.xaxis)
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return fig


def order_ties(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """How much of the order of the test sequences is undefined because times are equal."""
    kinds = {
        "tied_pairs": "neighbours\nwith equal times",
        "target_tied": "targets tied with\nthe item before",
        "domain_open": "sequences whose last day\nholds both domains",
    }
    tables = {title: given["order_ties"] for title, given in numbers.items()}
    tests = {title: table[table["split"] == "test"] for title, table in tables.items() if len(table)}
    fig, (ax,) = _panels(1, height=2.9)
    width = 0.8 / max(1, len(tests))
    for number, (colour, (title, test)) in enumerate(zip((BLUE, ORANGE, GREEN, PURPLE), tests.items(), strict=False)):
        at = np.arange(len(kinds)) + width * (number - (len(tests) - 1) / 2)
        bars = ax.bar(at, [100 * test[kind].iloc[0] for kind in kinds], width * 0.92, color=colour, label=title)
        ax.bar_label(bars, fmt="%.0f %%", padding=2, color="#4B5563", fontsize=8.5)
    ax.set(xticks=range(len(kinds)), xticklabels=kinds.values(), ylim=(0, 100), ylabel="share in the test split")
    ax.grid(False, axis="x")
    _percent(ax.yaxis)
    ax.legend(loc="upper right", ncols=2)
    return fig


# --- pictures ---------------------------------------------------------------------------------------------------------


def funnel(table: pd.DataFrame) -> Figure:
    """What each step of a re-partition leaves: interactions, then sequences; ``table`` as of ``raw_data.funnel``."""
    parts = [table.dropna(subset=[what]) for what in ("Interactions", "Sequences")]
    fig, axes = plt.subplots(
        2, 1, figsize=(WIDTH, 0.9 + 0.32 * sum(map(len, parts))), height_ratios=[max(2, len(part)) for part in parts]
    )
    for ax, part, what, colour in zip(axes, parts, ("Interactions", "Sequences"), (GREY, PLUM), strict=True):
        counts = part[what].astype(int).to_numpy()
        bars = ax.barh(part["After"], counts, color=colour, height=0.66)
        ax.bar_label(bars, [f"{count:,}" for count in counts], padding=4, fontsize=8.5)
        ax.invert_yaxis()
        ax.set(title=what, xlim=(0, 1.14 * counts.max()))
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return fig


def gallery(scenario: Scenario, count: int = 8, seed: int = 0) -> Figure:
    """Pictures of ``count`` randomly chosen items of each domain with their titles, a row a domain."""
    random = np.random.default_rng(seed)
    with_picture = scenario.items[scenario.items["image"].notna()]
    fig, axes = plt.subplots(2, count, figsize=(WIDTH, 2 * (WIDTH / count + 0.5)), squeeze=False)
    for row, (_, part) in zip(axes, with_picture.groupby("domain", sort=True), strict=False):
        for ax in row:
            ax.set_axis_off()
        for ax, item in zip(row, part.iloc[np.sort(random.permutation(len(part))[:count])].itertuples(), strict=False):
            _picture(ax, scenario, item.Index, textwrap.fill(item.title or item.source_id, 15))
    return fig


def neighbours(
    scenario: Scenario, matrix: np.ndarray, queries: np.ndarray, found: Sequence[np.ndarray], headings: Sequence[str]
) -> Figure:
    """Each query's picture, then groups of its neighbours with their cosines, a row a query.

    Args:
        matrix: (V, e) features, rows of length one.
        queries: (Q,) row numbers.
        found: groups of neighbours, (Q, k) row numbers each, such as one a domain.
        headings: a heading for each group.
    """
    widths = [1, *(width for group in found for width in (0.4, *[1] * group.shape[1]))]
    side, line = WIDTH / (1.08 * sum(widths)), 0.2  # inches of a picture and of a line of text
    height = (side + line) * len(queries) + line
    fig, axes = plt.subplots(
        len(queries),
        len(widths),
        figsize=(WIDTH, height),
        squeeze=False,
        layout="none",
        gridspec_kw={
            "width_ratios": widths,
            "left": 0.005,
            "right": 0.995,
            "wspace": 0.08,
            "bottom": line / height,
            "top": 1 - line / height,
            "hspace": line / side,
        },
    )
    for number, row in enumerate(axes):
        for ax in row:
            ax.set_axis_off()
        _picture(row[0], scenario, queries[number], "query")
        first = 2
        for group, heading in zip(found, headings, strict=True):
            for ax, item in zip(row[first:], group[number], strict=False):
                _picture(ax, scenario, item, f"{matrix[queries[number]] @ matrix[item]:.2f}")
            if number == 0:
                row[first].set_title(heading, pad=5)
            first += group.shape[1] + 1
    return fig


def picture_map(scenario: Scenario, points: np.ndarray, rows: np.ndarray, size: float = 0.26) -> Figure:
    """Thumbnails at their place in a map of the feature space, framed in the colour of their domain.

    Args:
        points: (R, 2) places.
        rows: (R,) row numbers of the items.
        size: of a thumbnail, as a share of 64 pixels.
    """
    fig, (ax,) = _panels(1, height=6.2)
    in_y = scenario.items["domain"].to_numpy()[rows] == "y"
    for domain, name in enumerate(scenario.domain_names):  # for the legend, hidden by the pictures
        ax.scatter(*points[in_y == domain].T, s=60, marker="s", color=DOMAIN_COLOURS[domain], label=name)
    for (x, y), row, of_y in zip(points, rows, in_y, strict=True):
        frame = {"edgecolor": DOMAIN_COLOURS[int(of_y)], "linewidth": 1.1}
        picture = OffsetImage(_pixels(scenario, row), zoom=size)
        ax.add_artist(AnnotationBbox(picture, (x, y), pad=0.08, bboxprops=frame))
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, markerscale=1.2)
    return fig


def _picture(ax, scenario: Scenario, row: int, text: str) -> None:
    ax.imshow(_pixels(scenario, row), interpolation="bicubic")
    ax.set_axis_off()
    ax.text(0.5, -0.04, text, transform=ax.transAxes, ha="center", va="top", fontsize=7, color="#4B5563")


def _pixels(scenario: Scenario, row: int) -> np.ndarray:
    """An item's picture, or a grey square where it has none."""
    image = scenario.items["image"].iloc[row]
    path = None if pd.isna(image) else Path(scenario.folder) / image
    return plt.imread(path) if path is not None and path.is_file() else np.full((64, 64, 3), 0.9)


# --- runs -------------------------------------------------------------------------------------------------------------


def training(history: pd.DataFrame, best_epoch: int, names: tuple[str, str], title: str) -> Figure:
    """Loss and validation MRR of each domain by epoch; the line marks the epoch whose weights were kept."""
    fig, (left, right) = _panels(2, height=2.8)
    left.plot(history["epoch"], history["loss"], marker="o", color=GREY)
    left.set(title=title, ylabel="training loss per position (nats)")
    for name, domain, colour in zip(names, "xy", DOMAIN_COLOURS, strict=True):
        right.plot(history["epoch"], 100 * history[f"sampled_999_mrr_{domain}"], marker="o", color=colour, label=name)
    right.set(ylabel="validation MRR, 999 negatives")
    _percent(right.yaxis)
    for ax in (left, right):
        ax.axvline(best_epoch, color="#111827", linewidth=1, linestyle=":", zorder=1)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_ylim(bottom=0)
    right.legend(loc="lower right")
    return fig


def ranks(ranks: pd.DataFrame, names: tuple[str, str], num_items: tuple[int, int], title: str) -> Figure:
    """Share of test cases whose target is among the first k, for all k, beside a random order of the candidates.

    Args:
        ranks: of a run: ``target_domain``, and a column of ranks for each protocol.
        num_items: items of each domain, the number of candidates under ``full``.
    """
    fig, axes = _panels(2, height=2.9, sharey=True)
    for ax, protocol, candidates in zip(axes, ("sampled_999", "full"), ((1000, 1000), num_items), strict=True):
        for name, domain, colour, count in zip(names, "xy", DOMAIN_COLOURS, candidates, strict=True):
            values = np.sort(ranks.loc[ranks["target_domain"] == domain, protocol])
            ax.step(values, 100 * np.arange(1, len(values) + 1) / len(values), where="post", color=colour, label=name)
            k = np.unique(np.geomspace(1, count, 100).round())
            ax.plot(k, 100 * k / count, color=colour, linewidth=1, linestyle=":")
        ax.set(xscale="log", xlim=(1, max(candidates)), ylim=(0, 100))
        _percent(ax.yaxis)
    axes[0].set(title=title, ylabel="targets among the first k", xlabel="k, against 999 negatives")
    axes[1].set_xlabel("k, against all items of the domain")
    axes[0].plot([], [], color=GREY, linewidth=1, linestyle=":", label="random order")
    axes[0].legend(loc="upper left")
    return fig


def models(
    values: Mapping[str, pd.DataFrame], paper: Mapping[str, pd.DataFrame] | None = None, metric: str = "MRR"
) -> Figure:
    """A metric of every run, a line a model, one point a seed, with the mean as a bar; a panel a data set and domain.

    Args:
        values: ``comparisons.per_seed`` under the title of each data set.
        paper: printed values to set beside them as diamonds: only where data and test cases are the paper's.
    """
    panels = [
        (title, domain, part) for title, table in values.items() for domain, part in table.groupby("domain", sort=False)
    ]
    lines = max((part["label"].nunique() for _, _, part in panels), default=1)
    fig, axes = _panels(max(1, len(panels)), height=0.27 * lines + 0.8 if panels else 0.2)
    if not panels:
        _nothing(axes[0])
    for number, (ax, (title, domain, part)) in enumerate(zip(axes, panels, strict=False)):
        labels = list(part["label"].unique())
        for position, label in enumerate(labels):
            scores = part.loc[part["label"] == label, metric].to_numpy()
            colour = ORANGE if label.startswith("IFCDSR") else BLUE
            ax.vlines(scores.mean(), position - 0.3, position + 0.3, color=colour, linewidth=2.4, zorder=3)
            spread = 0.12 * (np.arange(len(scores)) - (len(scores) - 1) / 2)
            ax.scatter(scores, position + spread, s=22, color="white", edgecolor=colour, linewidth=1.2, zorder=4)
            if paper:
                row = (paper[title]["Target"] == domain) & (paper[title]["Model"] == label.partition(" (")[0])
                printed = paper[title].loc[row, metric]
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
            title=f"{domain} {title.partition(' ')[2]}",
            yticks=range(len(labels)),
            ylim=(len(labels) - 0.4, -0.6),
            yticklabels=labels if number % 2 == 0 else [],
            xlabel=metric,
        )
        ax.margins(x=0.08)
        ax.set_xlim(left=0)
        ax.grid(False, axis="y")
        _percent(ax.xaxis)
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


def candidates(values: Mapping[str, pd.DataFrame]) -> Figure:
    """Expected MRR by the number of negatives, a curve a model, as a multiple of the models' geometric mean at each.

    All fall by factors of ten as candidates are added: only beside each other can it be seen which fall faster. A panel
    a data set and domain.

    Args:
        values: ``comparisons.over_candidates`` under the title of each data set.
    """
    panels = [
        (title, domain, part) for title, table in values.items() for domain, part in table.groupby("domain", sort=False)
    ]
    fig, axes = _panels(max(1, len(panels)), height=3.0 if panels else 0.2)
    if not panels:
        _nothing(axes[0])
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
                label=label,
                linestyle="--" if counted else "-",
                linewidth=2.4 if label.startswith("IFCDSR") else 1.3,
            )
        ax.axvline(999, color="#111827", linewidth=1, linestyle=":", zorder=1)
        ax.set(
            title=f"{domain} {title.partition(' ')[2]}",
            xscale="log",
            xlabel="negatives",
            ylabel="MRR / mean of the models",
        )
    if panels:
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def _nothing(ax) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, "no results", ha="center", va="center", color=GREY)


def steps(values: Mapping[str, pd.DataFrame], metric: str = "MRR") -> Figure:
    """A metric of every run where labels are steps from one to the next: seeds joined by lines, the mean as a bar.

    Args:
        values: ``comparisons.per_seed`` under the title of each data set.
    """
    panels = [
        (title, domain, part) for title, table in values.items() for domain, part in table.groupby("domain", sort=False)
    ]
    fig, axes = _panels(len(panels), height=2.5)
    for ax, (title, domain, part) in zip(axes, panels, strict=True):
        labels = list(part["label"].unique())
        for position, label in enumerate(labels):
            scores = part.loc[part["label"] == label, metric].to_numpy()
            ax.hlines(scores.mean(), position - 0.28, position + 0.28, color=BLUE, linewidth=2.4, zorder=3)
            ax.scatter([position] * len(scores), scores, s=26, color=SKY, edgecolor=BLUE, linewidth=0.8, zorder=4)
        for _, run in part.groupby("seed"):
            ax.plot(range(len(labels)), run[metric], color=SKY, linewidth=1, zorder=2)
        ax.set(
            title=f"{domain} {title.partition(' ')[2]}",
            xticks=range(len(labels)),
            xlim=(-0.6, len(labels) - 0.4),
            xticklabels=[textwrap.fill(label, 12) for label in labels],
            ylabel=metric,
        )
        ax.margins(y=0.18)
        ax.grid(False, axis="x")
        _percent(ax.yaxis)
    return fig


def control_curves(table: pd.DataFrame, dial: str) -> Figure:
    """Gains by the position of a dial, a panel for each target domain; bands show the noise.

    Args:
        table: of ``comparisons.control_gains``.
        dial: its name, for the axis.
    """
    domains = list(table["domain"].unique())
    fig, axes = _panels(len(domains), height=3.1, sharey=True)
    styles = [(BLUE, "o", "-"), (GREY, "s", "--"), (GREEN, "^", ":")]
    for ax, domain in zip(axes, domains, strict=True):
        ax.axhline(0, color="#111827", linewidth=1)
        for (colour, marker, line), (label, part) in zip(
            styles, table[table["domain"] == domain].groupby("compared", sort=False), strict=False
        ):
            ax.fill_between(
                part["signal"],
                part["gain"] - part["noise"],
                part["gain"] + part["noise"],
                color=colour,
                alpha=0.14,
                linewidth=0,
            )
            ax.plot(part["signal"], part["gain"], color=colour, marker=marker, linestyle=line, label=label)
        ax.set(title=domain, xlabel=dial, xticks=sorted(table["signal"].unique()))
    axes[0].set_ylabel("gain in MRR (points)")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)))
    return fig


def sensitivity(values: Mapping[str, pd.DataFrame], names: Mapping[str, str], marked: Mapping[str, float]) -> Figure:
    """MRR by the value of one hyperparameter at a time: means over seeds, whiskers of one standard deviation.

    Args:
        values: by hyperparameter, a table with ``value``, ``domain``, ``mean`` and ``std`` (percent).
        names: how the axis calls each; marked: the paper's value, where it is one number.
    """
    fig, axes = _panels(len(values), height=2.5)
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
                label=domain,
            )
        if marked.get(parameter) in places:
            ax.axvline(places[marked[parameter]], color="#111827", linestyle=":", linewidth=1.6, zorder=1)
        ax.set(
            xlabel=names.get(parameter, parameter),
            xticks=range(len(points)),
            ylabel="MRR",
            xticklabels=[f"{value:g}" for value in points],
        )
        ax.set_ylim(bottom=0)
        _percent(ax.yaxis)
    axes[0].legend(loc="lower right")
    return fig


# --- what the model looks at ------------------------------------------------------------------------------------------

SLATE, VIOLET = "#4A5A74", "#6F5BC4"  # by ID and by image, as in the drawings of the introduction
_BLACK = "#111827"


def attention_views(scenario: Scenario, views: Sequence[View]) -> Figure:
    """Each case's history as pictures, oldest first, the target apart; below, where every encoder looks, in percent.

    Args:
        views: of ``inspection.views``.
    """
    label, gap, line, row = 1.15, 0.22, 0.2, 0.185  # inches: encoder names, before the target, a title, a row of cells
    longest = max((len(view.items) for view in views), default=1)
    side = min(0.5, (WIDTH - label - gap - 0.05) / (longest + 1))
    heights = [line + side + 0.22 + row * len(view.attention) + 0.25 for view in views]
    ax = _sheet(sum(heights))
    for name, colour, x in zip(scenario.domain_names, DOMAIN_COLOURS, (WIDTH - 1.3, WIDTH - 0.65), strict=True):
        ax.text(x, line / 2, f"\u25a0 {name}", fontsize=8, color=colour, va="center")
    top = 0.0
    for view, height in zip(views, heights, strict=True):
        ax.text(0, top + line / 2, view.title, fontsize=9.5, fontweight="bold", va="center")
        start, under = label + side * (longest - len(view.items)), top + line + side + 0.2
        for number, item in enumerate(view.items):
            _thumbnail(ax, scenario, item - 1, start + number * side, top + line, side)
        _thumbnail(ax, scenario, view.target - 1, label + side * longest + gap, top + line, side)
        for at, text in ((label + side * (longest - 0.5), "newest"), (label + side * (longest + 0.5) + gap, "target")):
            ax.text(at, under - 0.1, text, fontsize=7, color="#4B5563", ha="center", va="center")
        for number, (encoder, weights) in enumerate(view.attention.iterrows()):
            y = under + row * number + 0.04 * (number // 2)  # a little apart, pair by pair
            ax.text(
                label - 0.08,
                y + row / 2,
                encoder,
                fontsize=8,
                ha="right",
                va="center",
                color=VIOLET if "image" in encoder else SLATE,
            )
            for place, weight in enumerate(weights):
                if not np.isnan(weight):
                    colour = VIOLET if "image" in encoder else SLATE
                    ax.add_patch(
                        plt.Rectangle(
                            (start + place * side, y),
                            side,
                            row,
                            facecolor=colour,
                            linewidth=0,
                            alpha=min(1.0, 0.04 + weight),
                        )
                    )
                    ax.text(
                        start + (place + 0.5) * side,
                        y + row / 2,
                        f"{100 * weight:.0f}",
                        fontsize=7,
                        ha="center",
                        va="center",
                        color="white" if weight > 0.75 else _BLACK,
                    )
        top += height
    return ax.figure


def top_views(scenario: Scenario, views: Sequence[View]) -> Figure:
    """What each encoder would recommend first, a row an encoder, and last all together; the target framed black.

    What is in the history already has a dotted frame. At the left the rank of the target in that row, at the right the
    target itself.

    Args:
        views: of ``inspection.views``.
    """
    label, gap, line = 2.4, 0.35, 0.24  # inches: names and ranks, before the target, a title
    count = max((view.top.shape[1] for view in views), default=1)
    side = min(0.32, (WIDTH - label - gap) / (count + 1))
    heights = [line + side * len(view.top) + 0.25 for view in views]
    ax = _sheet(sum(heights))
    top = 0.0
    for view, height in zip(views, heights, strict=True):
        ax.text(0, top + line / 2, view.title, fontsize=9.5, fontweight="bold", va="center")
        for number, (scorer, items) in enumerate(view.top.iterrows()):
            y = top + line + side * number
            colour = VIOLET if "image" in scorer else SLATE if "ID" in scorer else _BLACK
            ax.text(label - 1.05, y + side / 2, scorer, fontsize=8, ha="right", va="center", color=colour)
            ax.text(
                label - 0.08,
                y + side / 2,
                f"{view.ranks[scorer]:,g} of {view.num_items:,}",
                fontsize=7.5,
                ha="right",
                va="center",
                color="#4B5563",
            )
            for place, item in enumerate(items[items > 0]):
                frame = (
                    {"edgecolor": _BLACK, "linewidth": 2.2}
                    if item == view.target
                    else {"edgecolor": GREY, "linewidth": 1.2, "linestyle": ":"}
                    if item in view.items
                    else None
                )
                _thumbnail(ax, scenario, item - 1, label + place * side, y, side, frame or {"linewidth": 0})
        x = label + count * side + gap
        _thumbnail(ax, scenario, view.target - 1, x, top + line, side, {"edgecolor": _BLACK, "linewidth": 2.2})
        ax.text(x + side / 2, top + line + side + 0.08, "target", fontsize=7, color="#4B5563", ha="center", va="center")
        top += height
    return ax.figure


def _sheet(height: float):
    """One axis over a whole figure of the page's width, with inches as its units and y downwards."""
    fig = plt.figure(figsize=(WIDTH, height), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(height, 0))
    ax.set_axis_off()
    return ax


def _thumbnail(ax, scenario: Scenario, row: int, x: float, y: float, side: float, frame: dict | None = None) -> None:
    """A picture with its left upper corner at (x, y), framed in the colour of its domain unless told otherwise."""
    domain = "xy".index(scenario.items["domain"].iloc[row])
    frame, inset = frame or {"edgecolor": DOMAIN_COLOURS[domain], "linewidth": 1.3}, 0.07 * side
    box = (x + inset, x + side - inset, y + side - inset, y + inset)
    ax.imshow(_pixels(scenario, row), extent=box, interpolation="hamming", aspect="auto", zorder=2)
    ax.add_patch(plt.Rectangle((box[0], box[3]), box[1] - box[0], box[2] - box[3], facecolor="none", zorder=3, **frame))
    width, height = ax.figure.get_size_inches()
    ax.set(xlim=(0, width), ylim=(height, 0))  # imshow moves them


def attention_by_lag(lags: pd.DataFrame, words: Mapping[str, str]) -> Figure:
    """Mean attention by distance from the newest item beside the even share, a panel a sub-sequence.

    Args:
        lags: of ``inspection.by_lag``.
        words: names of the encoders.
    """
    branches = list(dict.fromkeys(encoder.rpartition("_")[0] for encoder in lags["encoder"]))
    fig, axes = _panels(len(branches), columns=3, height=2.5, sharey=True)
    for ax, branch in zip(axes, branches, strict=True):
        for modality, label, colour in (("id", "ID", SLATE), ("image", "image", VIOLET)):
            part = lags[lags["encoder"] == f"{branch}_{modality}"]
            ax.plot(part["lag"], 100 * part["weight"], marker="o", color=colour, label=label)
        ax.plot(part["lag"], 100 * part["even"], color=_BLACK, linewidth=1, linestyle=":", label="even share")
        ax.set(title=words[f"{branch}_id"].removesuffix(" by ID"), xlabel="steps back (0: newest)", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _percent(ax.yaxis)
    axes[0].set_ylabel("attention, mean of the cases")
    axes[-1].legend(loc="upper right")
    return fig


def attention_sharing(table: pd.DataFrame, words: Mapping[str, str]) -> Figure:
    """Attention on items that share an attribute, as a multiple of what is expected; a row of panels a reference.

    Args:
        table: of ``inspection.sharing``, one or more below each other.
        words: names of the encoders.
    """
    references, attributes = list(table["reference"].unique()), list(table["attribute"].unique())
    encoders = list(table["encoder"].unique())
    fig, axes = plt.subplots(
        len(references),
        len(attributes),
        figsize=(WIDTH, 2.2 * len(references) + 0.4),
        sharey=True,
        sharex="row",
        squeeze=False,
    )
    for row, reference in zip(axes, references, strict=True):
        for ax, attribute in zip(row, attributes, strict=True):
            part = table[(table["reference"] == reference) & (table["attribute"] == attribute)].set_index("encoder")
            for y, encoder in enumerate(encoders):
                cell, colour = part.loc[encoder], VIOLET if encoder.endswith("image") else SLATE
                for name, offset, style in (
                    ("even", -0.16, {"markerfacecolor": "white", "alpha": 0.55}),
                    ("usual", 0.16, {}),
                ):
                    ax.plot(
                        [cell[f"{name}_low"], cell[f"{name}_high"]],
                        [y + offset] * 2,
                        color=colour,
                        linewidth=1.4,
                        alpha=style.get("alpha"),
                    )
                    ax.plot(cell[name], y + offset, marker="o", color=colour, markersize=4, linestyle="", **style)
            ax.axvline(1, color=_BLACK, linewidth=1, zorder=1)
            ax.set(
                yticks=range(len(encoders)),
                yticklabels=[words[encoder] for encoder in encoders],
                ylim=(len(encoders) - 0.5, -0.5),
            )
            ax.set_title(f"{attribute}\n({'shown' if part['shown'].iloc[0] else 'not shown'})", fontsize=9)
            ax.grid(False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.xaxis.set_major_locator(MaxNLocator(3))
        row[0].set_ylabel(
            f"shared with the\n{'newest item' if reference == 'newest' else reference}", fontweight="bold"
        )
    axes[-1, len(attributes) // 2].set_xlabel("attention on items that share it, as a multiple of what is expected")
    fig.legend(
        handles=[
            plt.Line2D([], [], marker="o", color=GREY, **style, label=f"expected: {text}")
            for text, style in (
                ("an even share", {"markerfacecolor": "white"}),
                ("what their positions usually get", {}),
            )
        ],
        loc="outside lower center",
        ncols=2,
    )
    return fig


def scorers(table: pd.DataFrame) -> Figure:
    """MRR of every scorer with its interval, a panel a domain; the line marks all parts together.

    Args:
        table: of ``inspection.scorer_table``.
    """
    domains = list(table["domain"].unique())
    count = table["scorer"].nunique()
    fig, axes = _panels(len(domains), height=0.21 * count + 0.9, sharey=True)
    for ax, domain in zip(axes, domains, strict=True):
        part = table[table["domain"] == domain].reset_index(drop=True)
        group = part["group"].ne(part["group"].shift()).cumsum() - 1
        at = part.index + 0.6 * group  # groups apart
        for y, row in zip(at, part.itertuples(), strict=True):
            colour = VIOLET if row.scorer.endswith("by image") else SLATE if row.scorer.endswith("by ID") else _BLACK
            ax.errorbar(
                row.MRR,
                y,
                xerr=[[row.MRR - row.low], [row.high - row.MRR]],
                fmt="o",
                color=colour,
                capsize=2,
                linewidth=1.3,
            )
        ax.axvline(part["MRR"].iloc[-1], color=_BLACK, linewidth=1, linestyle=":", zorder=1)
        ax.set(
            title=f"target in {domain}",
            yticks=at,
            yticklabels=part["scorer"],
            xlabel="MRR, 999 negatives",
            ylim=(at.max() + 0.7, -0.7),
            xlim=(0, None),
        )
        ax.grid(False, axis="y")
        ax.tick_params(axis="y", length=0)
        _percent(ax.xaxis)
    return fig


# --- where it helps ---------------------------------------------------------------------------------------------------


def gains_by_group(panels: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """Gains in MRR by group of a property, with intervals, and the cases of each group below its name.

    Args:
        panels: ``subgroups.gain_by_group`` by the title of a panel and what its axis shows.
    """
    fig, axes = _panels(len(panels), height=2.7, sharey=True)
    for number, (ax, ((title, along), table)) in enumerate(zip(axes, panels.items(), strict=True)):
        ax.axhline(0, color="#111827", linewidth=1)
        ax.errorbar(
            range(len(table)),
            table["gain"],
            yerr=[table["gain"] - table["low"], table["high"] - table["gain"]],
            color=BLUE,
            marker="o",
            capsize=3,
            linewidth=1.4,
        )
        _group_axis(ax, table["group"], [f"n = {cases:,}" for cases in table["cases"]], title, along)
        if number % 2 == 0:
            ax.set_ylabel("gain in MRR (points)")
    return fig


def mrr_by_group(panels: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """MRR of a few labels by group of a property, with intervals, and the cases of each group below its name.

    Args:
        panels: ``subgroups.mrr_by_group`` by the title of a panel and what its axis shows.
    """
    fig, axes = _panels(len(panels), height=2.7, sharey=True)
    for ax, ((title, along), table) in zip(axes, panels.items(), strict=True):
        of_label = list(table.groupby("label", sort=False))
        for number, ((label, part), colour, line) in enumerate(
            zip(of_label, (ORANGE, GREY, BLUE, GREEN), ("-", "--", "-.", ":"), strict=False)
        ):
            at = np.arange(len(part)) + 0.08 * (number - (len(of_label) - 1) / 2)  # so that no whisker hides another
            ax.errorbar(
                at,
                part["MRR"],
                yerr=[part["MRR"] - part["low"], part["high"] - part["MRR"]],
                color=colour,
                marker="o",
                capsize=3,
                linewidth=1.4,
                linestyle=line,
                label=label,
                clip_on=False,
            )
        _group_axis(ax, part["group"], [f"n = {cases:,}" for cases in part["cases"]], title, along)
        _percent(ax.yaxis)
    axes[0].set_ylim(bottom=0)
    for ax in axes[::2]:
        ax.set_ylabel("MRR")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def models_by_group(panels: Mapping[tuple[str, str], pd.DataFrame], chance: float, logarithmic: bool = True) -> Figure:
    """MRR of all models by group of a property, and the share of the cases below the name of each group.

    Args:
        panels: ``subgroups.mrr_by_group`` by the title of a panel and what its axis shows.
        chance: MRR of a random order, percent.
    """
    counted = {"Popularity": (GREEN, ":"), "Co-occurrence": (BLUE, "--")}
    fig, axes = _panels(max(1, len(panels)), height=2.9 if panels else 0.2, sharey=True)
    if not panels:
        _nothing(axes[0])
        return fig
    for number, (ax, ((title, along), table)) in enumerate(zip(axes, panels.items(), strict=True)):
        for label, part in table.groupby("label", sort=False):
            colour, line = counted.get(label, (ORANGE, "-") if label.startswith("IFCDSR") else ("#B6BCC6", "-"))
            told = colour != "#B6BCC6"
            ax.plot(
                range(len(part)),
                part["MRR"],
                color=colour,
                linestyle=line,
                marker="o" if told else None,
                linewidth=2.2 if told else 1,
                zorder=3 if told else 2,
                label=label if told else "other models that learn",
            )
        ax.axhline(chance, color="#111827", linewidth=1, linestyle=":", label="random order")
        _group_axis(ax, part["group"], [f"{share:.0f} %" for share in part["share"]], title, along)
        ax.set(**{"yscale": "log"} if logarithmic else {"ylim": (0, None)})
        _percent(ax.yaxis)
        if number % 2 == 0:
            ax.set_ylabel("MRR, logarithmic" if logarithmic else "MRR")
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return fig


def _group_axis(ax, groups: Sequence[str], counts: Sequence[str], title: str, along: str) -> None:
    ax.set(title=title, xticks=range(len(counts)), xlim=(-0.4, len(counts) - 0.6), xlabel=textwrap.fill(along, 46))
    ax.set_xticklabels([f"{group}\n{count}" for group, count in zip(groups, counts, strict=True)], fontsize=7.5)
    ax.grid(False, axis="x")


# --- texts ------------------------------------------------------------------------------------------------------------


def world_gains(table: pd.DataFrame) -> Figure:
    """What every arm adds to the ID alone, by what explains behaviour in a world: a panel a domain, whiskers of noise.

    Args:
        table: of ``modalities.planted_gains``.
    """
    domains, worlds, arms = (list(table[name].unique()) for name in ("domain", "world", "arm"))
    fig, axes = _panels(len(domains), height=3.1, sharey=True)
    for ax, domain in zip(axes, domains, strict=True):
        ax.axhline(0, color="#111827", linewidth=1)
        for number, (arm, colour, marker) in enumerate(zip(arms, (BLUE, ORANGE, PLUM), "os^", strict=False)):
            part = table[(table["domain"] == domain) & (table["arm"] == arm)].set_index("world").loc[worlds]
            places = np.arange(len(worlds)) + 0.2 * (number - (len(arms) - 1) / 2)
            ax.errorbar(
                places,
                part["gain"],
                yerr=part["noise"],
                color=colour,
                marker=marker,
                markersize=6,
                linestyle="",
                capsize=2.5,
                label=arm,
            )
        ax.set(
            title=domain,
            xticks=range(len(worlds)),
            xlim=(-0.5, len(worlds) - 0.5),
            xticklabels=[textwrap.fill(world, 9) for world in worlds],
            xlabel="what explains behaviour",
        )
        ax.grid(False, axis="x")
    axes[0].set_ylabel("gain over the ID alone (points)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(arms))
    return fig


def text_map(places: np.ndarray, groups: Sequence[str], in_x: np.ndarray, names: tuple[str, str]) -> Figure:
    """Items on a flat map of their texts, a colour a group; the group is named where most of its items of a domain are.

    Args:
        places: (R, 2) of ``tables.flat_map``.
        groups: (R,) such as the themes that titles name.
        in_x: (R,) bool, items of X: dots; those of Y are crosses.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 4.6))
    groups = np.asarray(groups)
    labels = sorted(set(groups))
    for label, colour in zip(labels, sns.husl_palette(len(labels), l=0.55), strict=True):
        for marker, inside in (("o", in_x), ("x", ~in_x)):
            chosen = (groups == label) & inside
            ax.scatter(*places[chosen].T, color=[colour], marker=marker, s=16, linewidth=1.0, alpha=0.8)
        centre = np.median(places[groups == label], axis=0)
        ax.text(
            *centre,
            label,
            fontsize=8,
            ha="center",
            va="center",
            zorder=5,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour, "alpha": 0.85},
        )
    ax.legend(
        handles=[
            plt.Line2D([], [], marker=marker, color=GREY, linestyle="", label=name)
            for name, marker in zip(names, "ox", strict=True)
        ],
        loc="upper right",
    )
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    return fig
