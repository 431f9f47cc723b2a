"""Figures: one style for all pages, every figure also a PNG under ``figures/``.

A function takes plain tables and returns a matplotlib figure; ``save_figure`` writes it and gives the page its picture.
X is teal, Y orange and both together plum, as in the drawings of the introduction; the other colours are those of Okabe
and Ito. All stay apart for colour-blind readers.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence

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

WIDTH = 6.8  # inches of a page's column
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#6B7280"
DOMAIN_COLOURS = TEAL, AMBER = "#2A7F86", "#C66A24"  # X, Y
PLUM = "#7C4A63"  # X and Y together
SPLIT_COLOURS = {"train": GREY, "valid": SKY, "test": GREEN}

_STYLE = {
    "figure.dpi": 100, "savefig.dpi": 170, "figure.constrained_layout.use": True,
    "font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 9.5, "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9AA1AC", "axes.labelcolor": "#24292F",
    "xtick.color": "#4B5563", "ytick.color": "#4B5563", "axes.grid": True, "grid.color": "#E5E7EB",
    "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 1.8, "lines.markersize": 4.5,
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
    for ax, (title, tables) in zip(axes, numbers.items()):
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
    for ax, (title, tables) in zip(axes, numbers.items()):
        for colour, (domain, part) in zip(DOMAIN_COLOURS, tables["popularity"].groupby("domain", sort=False)):
            touched = part[part["interactions"] > 0].sort_values("interactions", ascending=False)
            last = touched["items"].cumsum().to_numpy()  # rank of the last item with so many interactions
            rank = np.column_stack([last - touched["items"] + 1, last]).ravel()
            ax.plot(rank, np.repeat(touched["interactions"].to_numpy(), 2), color=colour, label=domain)
        ax.set(title=title, xscale="log", yscale="log", xlabel="rank of the item by popularity",
               ylabel="interactions")
        ax.legend()
    return fig


def overlap(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Users by the domains they have interactions in, per data set and split."""
    rows = [{"label": f"{title}, {row.split}", **row._asdict()} for title, tables in numbers.items()
            for row in tables["user_overlap"].itertuples()]
    fig, (ax,) = _panels(1, height=0.25 * len(rows) + 0.8)
    left = np.zeros(len(rows))
    for kind, colour, text in (("both", PLUM, "in both domains"), ("only_x", TEAL, "in X only"),
                               ("only_y", AMBER, "in Y only")):
        share = np.array([100 * row[kind] / row["users"] for row in rows])
        ax.barh(range(len(rows)), share, left=left, color=colour, label=text, height=0.7)
        left += share
    ax.set(yticks=range(len(rows)), yticklabels=[row["label"] for row in rows], xlim=(0, 100),
           xlabel="share of the users with a sequence in the split")
    ax.grid(False, axis="y")
    ax.invert_yaxis()
    _percent(ax.xaxis)
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return fig


def order_ties(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """How much of the order of the test sequences is undefined because times are equal."""
    kinds = {"tied_pairs": "neighbours\nwith equal times", "target_tied": "targets tied with\nthe item before",
             "domain_open": "sequences whose last day\nholds both domains"}
    tables = {title: given["order_ties"] for title, given in numbers.items()}
    tests = {title: table[table["split"] == "test"] for title, table in tables.items() if len(table)}
    fig, (ax,) = _panels(1, height=2.9)
    width = 0.8 / max(1, len(tests))
    for number, (colour, (title, test)) in enumerate(zip((BLUE, ORANGE, GREEN, PURPLE), tests.items())):
        at = np.arange(len(kinds)) + width * (number - (len(tests) - 1) / 2)
        bars = ax.bar(at, [100 * test[kind].iloc[0] for kind in kinds], width * 0.92, color=colour, label=title)
        ax.bar_label(bars, fmt="%.0f %%", padding=2, color="#4B5563", fontsize=8.5)
    ax.set(xticks=range(len(kinds)), xticklabels=kinds.values(), ylim=(0, 100), ylabel="share in the test split")
    ax.grid(False, axis="x")
    _percent(ax.yaxis)
    ax.legend(loc="upper right", ncols=2)
    return fig


# --- pictures ---------------------------------------------------------------------------------------------------------


def gallery(scenario: Scenario, count: int = 8, seed: int = 0) -> Figure:
    """Pictures of ``count`` randomly chosen items of each domain with their titles, a row a domain."""
    random = np.random.default_rng(seed)
    with_picture = scenario.items[scenario.items["image"].notna()]
    fig, axes = plt.subplots(2, count, figsize=(WIDTH, 2 * (WIDTH / count + 0.5)), squeeze=False)
    for row, (_, part) in zip(axes, with_picture.groupby("domain", sort=True)):
        for ax in row:
            ax.set_axis_off()
        for ax, item in zip(row, part.iloc[np.sort(random.permutation(len(part))[:count])].itertuples()):
            _picture(ax, scenario, item.Index, textwrap.fill(item.title or item.source_id, 15))
    return fig


def neighbours(scenario: Scenario, matrix: np.ndarray, queries: np.ndarray, found: Sequence[np.ndarray],
               headings: Sequence[str]) -> Figure:
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
    fig, axes = plt.subplots(len(queries), len(widths), figsize=(WIDTH, height), squeeze=False, layout="none",
                             gridspec_kw={"width_ratios": widths, "left": 0.005, "right": 0.995, "wspace": 0.08,
                                          "bottom": line / height, "top": 1 - line / height, "hspace": line / side})
    for number, row in enumerate(axes):
        for ax in row:
            ax.set_axis_off()
        _picture(row[0], scenario, queries[number], "query")
        first = 2
        for group, heading in zip(found, headings):
            for ax, item in zip(row[first:], group[number]):
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
    for (x, y), row, of_y in zip(points, rows, in_y):
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
    for name, domain, colour in zip(names, "xy", DOMAIN_COLOURS):
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
    for ax, protocol, candidates in zip(axes, ("sampled_999", "full"), ((1000, 1000), num_items)):
        for name, domain, colour, count in zip(names, "xy", DOMAIN_COLOURS, candidates):
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


def models(values: Mapping[str, pd.DataFrame], paper: Mapping[str, pd.DataFrame] | None = None,
           metric: str = "MRR") -> Figure:
    """A metric of every run, a line a model, one point a seed, with the mean as a bar; a panel a data set and domain.

    Args:
        values: ``comparisons.per_seed`` under the title of each data set.
        paper: printed values to set beside them as diamonds: only where data and test cases are the paper's.
    """
    panels = [(title, domain, part) for title, table in values.items()
              for domain, part in table.groupby("domain", sort=False)]
    lines = max((part["label"].nunique() for _, _, part in panels), default=1)
    fig, axes = _panels(max(1, len(panels)), height=0.27 * lines + 0.8 if panels else 0.2)
    if not panels:
        _nothing(axes[0])
    for number, (ax, (title, domain, part)) in enumerate(zip(axes, panels)):
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
                ax.scatter(printed, [position] * len(printed), marker="D", s=34, facecolor="none", edgecolor=GREY,
                           linewidth=1.5, zorder=5)
        ax.set(title=f"{domain} {title.partition(' ')[2]}", yticks=range(len(labels)), ylim=(len(labels) - 0.4, -0.6),
               yticklabels=labels if number % 2 == 0 else [], xlabel=metric)
        ax.margins(x=0.08)
        ax.set_xlim(left=0)
        ax.grid(False, axis="y")
        _percent(ax.xaxis)
    if paper and panels:
        fig.legend(handles=[plt.Line2D([], [], marker="D", markerfacecolor="none", color=GREY, linestyle="",
                                       label="printed in the paper (IFCDSR with images)"),
                            plt.Line2D([], [], marker="o", color=BLUE, markerfacecolor="white", linestyle="",
                                       label="our runs, one a seed; bar: mean")], loc="outside lower center", ncols=2)
    return fig


def candidates(values: Mapping[str, pd.DataFrame]) -> Figure:
    """Expected MRR by the number of negatives, a curve a model, as a multiple of the models' geometric mean at each number.

    All fall by factors of ten as candidates are added: only beside each other can it be seen which fall faster. A panel a
    data set and domain.

    Args:
        values: ``comparisons.over_candidates`` under the title of each data set.
    """
    panels = [(title, domain, part) for title, table in values.items()
              for domain, part in table.groupby("domain", sort=False)]
    fig, axes = _panels(max(1, len(panels)), height=3.0 if panels else 0.2)
    if not panels:
        _nothing(axes[0])
    for ax, (title, domain, part) in zip(axes, panels):
        labels = list(part["label"].unique())
        for label, colour in zip(labels, sns.color_palette("colorblind", len(labels))):
            curve = part[part["label"] == label]
            mean = np.exp(np.log(part["MRR"]).groupby(part["negatives"]).mean())
            counted = label in ("Popularity", "Co-occurrence")
            ax.plot(curve["negatives"], curve["MRR"] / mean[curve["negatives"]].to_numpy(), color=colour, label=label, linestyle="--" if counted else "-",
                    linewidth=2.4 if label.startswith("IFCDSR") else 1.3)
        ax.axvline(999, color="#111827", linewidth=1, linestyle=":", zorder=1)
        ax.set(title=f"{domain} {title.partition(' ')[2]}", xscale="log", xlabel="negatives",
               ylabel="MRR / mean of the models")
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
    panels = [(title, domain, part) for title, table in values.items()
              for domain, part in table.groupby("domain", sort=False)]
    fig, axes = _panels(len(panels), height=2.5)
    for ax, (title, domain, part) in zip(axes, panels):
        labels = list(part["label"].unique())
        for position, label in enumerate(labels):
            scores = part.loc[part["label"] == label, metric].to_numpy()
            ax.hlines(scores.mean(), position - 0.28, position + 0.28, color=BLUE, linewidth=2.4, zorder=3)
            ax.scatter([position] * len(scores), scores, s=26, color=SKY, edgecolor=BLUE, linewidth=0.8, zorder=4)
        for _, run in part.groupby("seed"):
            ax.plot(range(len(labels)), run[metric], color=SKY, linewidth=1, zorder=2)
        ax.set(title=f"{domain} {title.partition(' ')[2]}", xticks=range(len(labels)), xlim=(-0.6, len(labels) - 0.4),
               xticklabels=[textwrap.fill(label, 12) for label in labels], ylabel=metric)
        ax.margins(y=0.18)
        ax.grid(False, axis="x")
        _percent(ax.yaxis)
    return fig


def image_control(table: pd.DataFrame) -> Figure:
    """Gains of image fusion with their noise, a panel for each value of ``visual_signal``.

    Args:
        table: of ``comparisons.image_gains``.
    """
    signals = sorted(table["visual_signal"].unique())
    fig, axes = _panels(len(signals), height=2.8, sharey=True)
    span = 1.25 * (table["gain"].abs() + table["noise"]).max()
    for ax, signal in zip(axes, signals):
        part = table[table["visual_signal"] == signal].reset_index(drop=True)
        ax.axvline(0, color="#111827", linewidth=1)
        for row in part.itertuples():
            beyond = row.verdict != "within noise"
            colour = GREY if not beyond else GREEN if row.gain > 0 else ORANGE
            ax.errorbar(row.gain, row.Index, xerr=row.noise, fmt="o", color=colour, capsize=3, markersize=7)
        ax.set(title=f"visual_signal = {signal:g} (demo)", xlabel="gain in MRR by image fusion (points)",
               yticks=range(len(part)), yticklabels=part["domain"], xlim=(-span, span), ylim=(len(part) - 0.5, -0.5))
        ax.grid(False, axis="y")
    return fig
