"""Figures: one style for all pages, every figure also a PNG under ``figures/``.

A function takes plain tables and returns a matplotlib figure; ``save_figure`` writes it and gives the page its picture.
X is teal, Y orange and both together plum, as in the drawings of the introduction; the other colours are those of Okabe
and Ito. All stay apart for colour-blind readers.
"""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ifcdsr_core.errors import InputError, first_line

try:
    import matplotlib.pyplot as plt

    plt.switch_backend(plt.get_backend())  # loads it: MPLBACKEND or a matplotlibrc may name one that is not there
except (ValueError, ImportError) as error:
    raise InputError(f"matplotlib can't draw ({first_line(error)}): unset MPLBACKEND or name another") from error
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import FuncFormatter

from ifcdsr_core.errors import InputError
from ifcdsr_core.features.images import open_picture
from ifcdsr_core.files import new_file
from ifcdsr_core.paths import figures_dir
from ifcdsr_core.scenario import Scenario

if TYPE_CHECKING:
    from IPython.display import Image

WIDTH = 6.8  # inches of a page's column
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#6B7280"
BLACK = "#111827"
DOMAIN_COLOURS = TEAL, AMBER = "#2A7F86", "#C66A24"  # X, Y
PLUM = "#7C4A63"  # X and Y together

_FONT = "DejaVu Sans"  # comes with matplotlib
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

plt.rcdefaults()  # a user's own matplotlibrc would change figures, or need a TeX
sns.set_theme(style="ticks", font=_FONT, rc=_STYLE)


def save_figure(fig: Figure, name: str) -> Image:
    """Write ``figures/<name>.png`` and return it for display, so that page and file show the same.

    A file that can't be written is one line on stderr: it costs no notebook, which shows the figure all the same.
    """
    from IPython.display import Image

    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", facecolor="white")
    plt.close(fig)
    try:
        with new_file(figures_dir() / f"{name}.png") as staging:
            staging.write_bytes(drawn.getvalue())
    except (OSError, InputError) as error:
        hint = "IFCDSR_FIGURES can name another folder"
        print(f"warning: {name}.png is shown, but not kept; {hint} ({error})", file=sys.stderr)
    return Image(drawn.getvalue(), format="png", width=round(100 * WIDTH))


def subplots(count: int, columns: int = 2, height: float = 2.6, **options) -> tuple[Figure, np.ndarray]:
    """A figure with ``count`` panels, ``columns`` per row, and their axes (count,)."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows + 0.2), squeeze=False, **options)
    for unused in axes.flat[count:]:
        unused.set_visible(False)
    return fig, axes.flat[:count]


def drawn(given: object, width: int = 80, lines: int = 1) -> str:
    """Data as a figure is to show them: as they are, never a formula, cut where they are too long.

    A sign that the font lacks is drawn as \ufffd; what has no sign, such as a control character, is left out.
    """
    signs = (sign for sign in " ".join(str(given).split()) if sign.isprintable())
    text = "".join(sign if ord(sign) in _signs() else "\ufffd" for sign in signs)
    wrapped = textwrap.wrap(text, width)
    if len(wrapped) > lines:
        wrapped[lines - 1 :] = [f"{wrapped[lines - 1][: width - 2]} \u2026"]
    hidden = "\u200b" if text.startswith("_") else ""  # a legend leaves out what begins with an underscore
    return hidden + "\n".join(wrapped).replace("$", r"\$")


@cache
def _signs() -> frozenset[int]:
    """The code points that the font can draw, plain and bold."""
    files = [findfont(FontProperties(family=_FONT, weight=weight)) for weight in ("normal", "bold")]
    return frozenset.intersection(*(frozenset(get_font(file).get_charmap()) for file in files))


def by_domain(values: Mapping[str, pd.DataFrame]) -> list[tuple[str, str, pd.DataFrame]]:
    """Panels by data set and target domain: title of the data set, domain, its rows of ``paired.per_seed``."""
    return [
        (title, domain, part) for title, table in values.items() for domain, part in table.groupby("domain", sort=False)
    ]


def is_ours(label: str) -> bool:
    """Whether a label of a comparison is IFCDSR's, with or without remarks in brackets."""
    return label.partition(" (")[0] == "IFCDSR"


def percent(axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


def picture(ax, scenario: Scenario, row: int, text: str) -> None:
    ax.imshow(pixels(scenario, row), interpolation="bicubic")
    ax.set_axis_off()
    ax.text(0.5, -0.04, drawn(text, 15, 4), transform=ax.transAxes, ha="center", va="top", fontsize=7, color="#4B5563")


def pixels(scenario: Scenario, row: int) -> np.ndarray:
    """An item's picture as the encoders are given it, or a grey square where it has none that is usable."""
    image = scenario.items["image"].iloc[row]
    shown = open_picture(None if pd.isna(image) else Path(scenario.folder) / image)
    return np.full((64, 64, 3), 0.9) if shown is None else np.asarray(shown, dtype=np.float32) / 255


def nothing(ax) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, "no results", ha="center", va="center", color=GREY)


def control_curves(table: pd.DataFrame, dial: str) -> Figure:
    """Gains by the position of a dial, one panel per target domain; bands show the noise.

    Args:
        table: of ``paired.control_gains``.
        dial: its name, for the axis.
    """
    domains = list(table["domain"].unique())
    fig, axes = subplots(len(domains), height=3.1, sharey=True)
    styles = [(BLUE, "o", "-"), (GREY, "s", "--"), (GREEN, "^", ":"), (ORANGE, "D", "-.")]
    for ax, domain in zip(axes, domains, strict=True):
        ax.axhline(0, color=BLACK, linewidth=1)
        for (colour, marker, line), (label, part) in zip(
            styles, table[table["domain"] == domain].groupby("compared", sort=False), strict=False
        ):
            ends = part["gain"] - part["noise"], part["gain"] + part["noise"]
            ax.fill_between(part["signal"], *ends, color=colour, alpha=0.14, linewidth=0)
            ax.plot(part["signal"], part["gain"], color=colour, marker=marker, linestyle=line, label=drawn(label))
        ax.set(title=drawn(domain), xlabel=dial, xticks=sorted(table["signal"].unique()))
    axes[0].set_ylabel("gain in MRR (points)")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)))
    return fig


def gains_by_group(panels: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """Gains in MRR by group of a property, with intervals, and the cases of each group below its name.

    Args:
        panels: ``subgroups.gain_by_group`` by the title of a panel and what its axis shows.
    """
    fig, axes = subplots(len(panels), height=2.7, sharey=True)
    for number, (ax, ((title, along), table)) in enumerate(zip(axes, panels.items(), strict=True)):
        ax.axhline(0, color=BLACK, linewidth=1)
        whiskers = [table["gain"] - table["low"], table["high"] - table["gain"]]
        style = {"color": BLUE, "marker": "o", "capsize": 3, "linewidth": 1.4}
        ax.errorbar(range(len(table)), table["gain"], yerr=whiskers, **style)
        group_axis(ax, table["group"], [f"n = {cases:,}" for cases in table["cases"]], title, along)
        if number % 2 == 0:
            ax.set_ylabel("gain in MRR (points)")
    return fig


def group_axis(ax, groups: Sequence[str], counts: Sequence[str], title: str, along: str) -> None:
    ax.set(
        title=drawn(title), xticks=range(len(counts)), xlim=(-0.4, len(counts) - 0.6), xlabel=textwrap.fill(along, 46)
    )
    ax.set_xticklabels([f"{drawn(group)}\n{count}" for group, count in zip(groups, counts, strict=True)], fontsize=7.5)
    ax.grid(False, axis="x")
