"""Page 01, data statistics: tables and figures of data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ifcdsr_core.analysis.counts import SHIPPED, load_summary, read_tables, variant_of
from ifcdsr_core.analysis.paired import first_columns
from ifcdsr_core.book.figures import (
    AMBER,
    BLUE,
    DOMAIN_COLOURS,
    GREEN,
    GREY,
    ORANGE,
    PLUM,
    PURPLE,
    SKY,
    TEAL,
    drawn,
    percent,
    subplots,
)
from ifcdsr_core.book.markup import data_title, escape, unbroken, whole
from ifcdsr_core.sources import source_module

if TYPE_CHECKING:
    from IPython.display import Markdown

SPLIT_COLOURS = {"train": GREY, "valid": SKY, "test": GREEN}


def lengths(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Share of sequences of each length, per split; ``numbers`` as for ``data_table``."""
    fig, axes = subplots(len(numbers), sharey=True)
    for ax, (title, tables) in zip(axes, numbers.items(), strict=True):
        for split, part in tables["length_distribution"].groupby("split", sort=False):
            share = 100 * part["sequences"] / part["sequences"].sum()
            ax.plot(part["length"], share, marker="o", color=SPLIT_COLOURS[split], label=split)
        ax.set(title=drawn(title), xlabel="length of the sequence (items)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent(ax.yaxis)
        ax.legend()
    axes[0].set_ylim(bottom=0)
    for ax in axes[::2]:
        ax.set_ylabel("share of the split's sequences")
    return fig


def popularity(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Interactions of an item against its rank by popularity, both on logarithmic axes."""
    fig, axes = subplots(len(numbers))
    for ax, (title, tables) in zip(axes, numbers.items(), strict=True):
        for colour, (domain, part) in zip(
            DOMAIN_COLOURS, tables["popularity"].groupby("domain", sort=False), strict=True
        ):
            touched = part[part["interactions"] > 0].sort_values("interactions", ascending=False)
            last = touched["items"].cumsum().to_numpy()  # rank of the last item with that number of interactions
            rank = np.column_stack([last - touched["items"] + 1, last]).ravel()
            ax.plot(rank, np.repeat(touched["interactions"].to_numpy(), 2), color=colour, label=drawn(domain))
        ax.set(
            title=drawn(title),
            xscale="log",
            yscale="log",
            xlabel="rank of the item by popularity",
            ylabel="interactions",
        )
        ax.legend()
    return fig


def overlap(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Users by the domains they have interactions in, per data set and split."""
    rows = [
        {"label": f"{title}, {row.split}", **row._asdict()}
        for title, tables in numbers.items()
        for row in tables["user_overlap"].itertuples()
    ]
    fig, (ax,) = subplots(1, height=0.25 * len(rows) + 0.8)
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
        yticklabels=[drawn(row["label"]) for row in rows],
        xlim=(0, 100),
        xlabel="share of the users with a sequence in the split",
    )
    ax.grid(False, axis="y")
    ax.invert_yaxis()
    percent(ax.xaxis)
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
    fig, (ax,) = subplots(1, height=2.9)
    width, colours = 0.8 / max(1, len(tests)), (BLUE, ORANGE, GREEN, PURPLE, SKY)
    for number, (colour, (title, test)) in enumerate(zip(colours, tests.items(), strict=False)):
        at = np.arange(len(kinds)) + width * (number - (len(tests) - 1) / 2)
        bars = ax.bar(at, [100 * test[kind].iloc[0] for kind in kinds], width * 0.92, color=colour, label=drawn(title))
        ax.bar_label(bars, fmt="%.0f %%", padding=2, color="#4B5563", fontsize=8.5)
    ax.set(xticks=range(len(kinds)), xticklabels=kinds.values(), ylim=(0, 100), ylabel="share in the test split")
    ax.grid(False, axis="x")
    percent(ax.yaxis)
    ax.legend(loc="upper right", ncols=2)
    return fig


# Headings of the tables of ``counts`` that pages show; "(%)" makes a percentage of a share.
_HEADINGS = {
    "table1": {
        "domain": "Domain",
        "items": "Items",
        "train": "Train",
        "valid": "Valid",
        "test": "Test",
        "avg_length": "Avg. length",
    },
    "lengths": {
        "split": "Split",
        "sequences": "Sequences",
        "mean": "Mean",
        "min": "Shortest",
        "median": "Median",
        "max": "Longest",
    },
    "concentration": {
        "domain": "Domain",
        "items": "Items",
        "untouched": "Untouched (%)",
        "gini": "Gini",
        "head_share": "Top fifth has (%)",
        "top": "Most popular",
    },
    "order_ties": {
        "split": "Split",
        "tied_pairs": "Tied neighbours (%)",
        "target_tied": "Tied targets (%)",
        "domain_open": "Open domains (%)",
        "targets_x": "Targets in X",
        "targets_x_least": "At least",
        "targets_x_most": "At most",
    },
    "unseen_targets": {
        "trained_on": "Trained on",
        "split": "Targets of",
        "domain": "Domain",
        "targets": "Targets",
        "unseen": "Unseen",
        "unseen_share": "Unseen (%)",
    },
}


def statistics_of(source: str, scenarios: Sequence[str], variant: str = "") -> dict[str, dict[str, pd.DataFrame]]:
    """The shipped tables of ``counts`` on some scenarios of a source, under the title of each.

    Args:
        variant: as for ``counts.summary_path``; the title names it.

    Raises:
        InputError: there are none, or they are damaged.
    """
    added = f", {variant})" if variant else ")"
    return {
        data_title(source, name).removesuffix(")") + added: read_tables(load_summary(source, name, variant))
        for name in scenarios
    }


def of_all() -> dict[str, dict[str, pd.DataFrame]]:
    """The shipped tables of all published data, and of each way to train on them."""
    found = {}
    for source, scenario, options in SHIPPED:
        found |= statistics_of(source, [scenario], variant_of(source, options))
    return found


def of_rebuilt(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Mapping[str, pd.DataFrame]:
    """The tables of the paper's data with its training file rebuilt: those at hand, or else the shipped ones."""
    shipped = statistics_of("c2dsr", ["food_kitchen"], "train=rebuilt")
    return next(tables for tables in (*numbers.values(), *shipped.values()) if "training_file" in tables)


def of_paper(scenarios: Sequence[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """The shipped tables of the paper's data: of those of the scenarios that it has, or else of all it has."""
    had = source_module("c2dsr").SCENARIOS
    return statistics_of("c2dsr", [name for name in scenarios if name in had] or had)


def num_items(source: str, scenario: str) -> tuple[int, int]:
    """Items of each domain, from the shipped statistics.

    Raises:
        InputError: there are none.
    """
    table = next(iter(statistics_of(source, [scenario]).values()))["table1"]
    return tuple(int(count) for count in table["items"])


def data_table(numbers: Mapping[str, Mapping[str, pd.DataFrame]], table: str) -> pd.DataFrame:
    """One table of ``counts.TABLES`` for several data sets, one below the other, with readable headings.

    Args:
        numbers: tables by name, as ``counts.read_tables`` gives them, under the title of each data set.
    """
    headings, parts = _HEADINGS[table], []
    for name, given in numbers.items():
        part = given[table][list(headings)].rename(columns=headings)
        for heading in part.columns[part.columns.str.endswith("(%)")]:
            part[heading] = 100 * part[heading].astype(float)
        for heading in part.columns[~part.columns.str.endswith("(%)")]:
            part[heading] = whole(part[heading])
        parts.append(part.assign(Data=unbroken(name)))
    return first_columns(pd.concat(parts, ignore_index=True), "Data")


def against_paper(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Table 1 of the paper's own files beside the printed one, for data sets that have ``table1_against_paper``."""
    table = pd.concat(
        [given["table1_against_paper"].assign(data=unbroken(name)) for name, given in numbers.items()],
        ignore_index=True,
    )
    counts = table["quantity"] != "avg_length"
    for column in ("ours", "paper", "difference"):  # counts without decimals, in one column with averages
        table[column] = whole(table[column][counts]).combine_first(table[column].astype(object))
    table["quantity"] = table["quantity"].replace("avg_length", "avg. length")
    return first_columns(table.drop(columns="note"), "data").rename(columns=str.capitalize)


def paper_remarks(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Markdown:
    """What has to be known about differences to Table 1, as a list; what follows from the files' own numbering."""
    from IPython.display import Markdown

    noted = [
        (name, row) for name, given in numbers.items() for row in given["table1_against_paper"].itertuples() if row.note
    ]
    lines = [
        f"- {escape(name)}, {escape(row.quantity.replace('avg_length', 'average length'))}: {escape(row.note)}."
        for name, row in noted
    ]
    return Markdown("\n".join(lines) or "All quantities of the table could be counted.")


_PARTS = {
    "train": "rebuilt",
    "earlier": "released, of an earlier file",
    "printed": "the paper's, as printed",
    "valid": "validation",
    "test": "test",
}


def training_file(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rebuilt training file beside what is known of the paper's, and beside what is held out."""
    table, (_, name_y) = tables["training_file"], tables["table1"]["domain"]
    years = table[["first_year", "median_year", "last_year"]].astype("Int64").astype(object)
    return pd.DataFrame(
        {
            "Sequences": table["split"].map(_PARTS),
            "Number": table["sequences"],
            "Users": whole(table["users"].astype(float)),
            "Avg. length": table["length"],
            f"Targets in {name_y} (%)": 100 * table["targets_y"],
            "Users of an item": whole(table["popularity"]),
            "Years": [
                None if pd.isna(first) else f"{first} to {last}, median {median}"
                for first, median, last in years.itertuples(index=False)
            ],
        }
    )


def training_file_remarks(tables: Mapping[str, pd.DataFrame]) -> Markdown:
    """How many sequences could be rebuilt, how they differ from those held out, and how many are known to be right."""
    from IPython.display import Markdown

    found, table = tables["rebuilt"].iloc[0], tables["training_file"].set_index("split")
    name_y = tables["table1"]["domain"].iloc[1]
    ours, paper, test = (table.loc[part] for part in ("train", "printed", "test"))
    sequences, users = ours["sequences"] - found["sequences"], ours["users"] - found["users"]  # of others
    return Markdown(
        f"Rebuilt are {ours['sequences']:,.0f} sequences, {ours['sequences'] / paper['sequences']:.0%} of the paper's "
        f"{paper['sequences']:,.0f}: {found['sequences']:,.0f} of {found['users']:,.0f} users of the paper's, of whom "
        f"its own file has {found['numbered']:,.0f} by the numbering, and {sequences:,.0f} of {users:,.0f} users whom "
        f"it does not have. They have {ours['length']:.1f} items on average and end in {name_y} in "
        f"{ours['targets_y']:.0%} of the cases, those of the test {test['length']:.1f} and {test['targets_y']:.0%}; "
        f"the median of an item's users is {ours['popularity']:.0f}, and {test['popularity']:.0f} in the test; "
        f"their median year is {ours['median_year']:.0f}, that of the test {test['median_year']:.0f}. Of the "
        f"{found['earlier']:,.0f} released sequences of an earlier file that end before what is held out, "
        f"{found['earlier_rebuilt']:,.0f} are among the rebuilt ones; they have {found['earlier_length']:.1f} items on "
        f"average, so rebuilding is not what makes sequences long."
    )
