"""Page 01b, from Amazon's raw files to Table 1: what they hold, what each rule leaves, what other rules would leave.

Most functions take a scenario of the source ``amazon`` and return a small table.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from dataclasses import asdict, fields, replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ifcdsr_core.analysis.paper import PAPER_TABLE1
from ifcdsr_core.book.figures import GREY, PLUM, WIDTH
from ifcdsr_core.book.pages.costs import measured
from ifcdsr_core.errors import InputError
from ifcdsr_core.files import new_file, reading
from ifcdsr_core.paths import picture_store, results_dir
from ifcdsr_core.scenario import DOMAIN_NAMES, Scenario
from ifcdsr_core.settings import choices
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.amazon import source
from ifcdsr_core.sources.amazon.partition import Rules, partition

OTHER_RULES = [  # one rule at a time, against those of the scenario
    {"ties": "by_name"},
    {"windows": "pieces"},
    {"windows": "latest"},
    {"window_days": 30},
    {"window_days": 365},
    {"repeats": "all"},
    {"shared_items": "keep"},
    {"overlap": False},
    {"filter_first": True},
    {"filter_rounds": "stable"},
    {"count_in": "each"},
    {"min_item": 5},
    {"min_per_domain": 1},
    {"held_out": "share"},
    {"per_user": "one"},
    {"leaks": "strict"},
]
# Ratings of the 2014 release, as its page lists them: https://jmcauley.ucsd.edu/data/amazon/index_2014.html
RATINGS_2014 = {"Food": 1_297_156, "Kitchen": 4_253_926, "Movie": 4_607_047, "Book": 22_507_155}


def lines(scenario: Scenario) -> pd.DataFrame:
    """What was read of each raw file, and what could not be."""
    rows = [
        (name, facts["bytes"] / 1e6, facts["rows"], sum(kind["lines"] for kind in facts["problems"].values()))
        for name, facts in _account(scenario)["files"].items()
    ]
    return pd.DataFrame(rows, columns=["File", "MB", "Lines used", "Not used"])


def bad_lines(scenario: Scenario) -> pd.DataFrame:
    """Lines that could not be used, by what is wrong with them."""
    rows = [
        ("metadata" if name.startswith("meta_") else "reviews", kind, found["lines"])
        for name, facts in _account(scenario)["files"].items()
        for kind, found in facts["problems"].items()
    ]
    table = pd.DataFrame(rows, columns=["In", "Wrong with the line", "Lines"])
    table = table.groupby(["In", "Wrong with the line"], as_index=False, sort=False).sum()
    return table.sort_values("In", ascending=False, kind="stable", ignore_index=True)


def rules(scenario: Scenario) -> pd.DataFrame:
    """The rules, what they are set to, and what else they could be."""
    used, known, rows = _account(scenario)["rules"], choices(Rules), []
    for spec in fields(Rules):
        value = used[spec.name]
        others = ("true", "false") if isinstance(value, bool) else known.get(spec.name, ())
        shown = _shown(value)
        rows.append((spec.name, shown, ", ".join(other for other in others if other != shown) or "a number"))
    return pd.DataFrame(rows, columns=["Rule", "Here", "Else"])


def funnel(scenario: Scenario) -> pd.DataFrame:
    """What is left after every step."""
    names = dict(zip(("items_x", "items_y"), (f"{name} items" for name in scenario.domain_names), strict=True))
    table = pd.DataFrame(_account(scenario)["funnel"]).rename(columns=names | {"step": "After"})
    table = table.reindex(columns=["After", "interactions", "users", *names.values(), "sequences"])
    for column in table.columns[1:]:
        table[column] = pd.Series([None if pd.isna(count) else int(count) for count in table[column]], dtype=object)
    return table.rename(columns=str.capitalize)


def funnel_figure(table: pd.DataFrame) -> Figure:
    """What each step of a re-partition leaves: interactions, then sequences; ``table`` as ``funnel`` gives it."""
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


def leaks(scenario: Scenario) -> pd.DataFrame:
    """What training knows of a user's held-out sequences, before the rule ``leaks`` and after it."""
    words = {
        "targets": "held-out targets that training shows",
        "later": "interactions later than a held-out target",
        "training_sequences": "training sequences with either of these",
        "history": "interactions that a held-out history has, too",
        "held_out_sequences": "held-out sequences",
    }
    account = _account(scenario)
    return pd.DataFrame(
        [(text, account["leakage"][key], account["leakage_left"][key]) for key, text in words.items()],
        columns=["Count", "Found", "Left"],
    )


def ties(scenario: Scenario) -> pd.DataFrame:
    """How many held-out targets share their time with another interaction of their sequence."""
    counted = _account(scenario)["target_ties"]
    share = 100 * counted["tied"] / counted["held_out_sequences"]
    return pd.DataFrame(
        [(counted["held_out_sequences"], counted["tied"], share)],
        columns=["Held-out targets", "At the time of another item", "Share (%)"],
    )


def other_rules(scenario: Scenario) -> pd.DataFrame:
    """Table 1 by other rules, one changed at a time; beside it the paper's, where the files are of its release.

    Raises:
        InputError: as ``source.converted``.
    """
    options, used = scenario.provenance["options"], Rules(**_account(scenario)["rules"])
    parquet = source.converted(scenario.name, options["release"], options["reviews"])[0][:2]
    names = [f"{name} items" for name in scenario.domain_names]
    rows = []
    for change in ({}, *OTHER_RULES):
        if change and change.items() <= asdict(used).items():
            continue
        label = ", ".join(f"{name}: {_shown(value)}" for name, value in change.items()) or "as above"
        try:
            items, sequences, _ = partition(*parquet, replace(used, **change))
        except InputError:  # no sequence is left
            rows.append((label, 0, 0, 0, 0, 0, math.nan))
            continue
        of_split, of_domain = sequences["split"].value_counts(), items["domain"].value_counts()
        rows.append(
            (
                label,
                *(int(of_domain.get(code, 0)) for code in "xy"),
                *(int(of_split.get(name, 0)) for name in ("train", "valid", "test")),
                float(sequences["items"].map(len).mean()),
            )
        )
    if options["release"] == "2014":
        printed = PAPER_TABLE1[PAPER_TABLE1["scenario"] == scenario.name]
        train, length = printed[["train", "avg_length"]].iloc[0]
        rows.append(("the paper", *printed["items"], int(train), printed["valid"].sum(), printed["test"].sum(), length))
    return pd.DataFrame(rows, columns=["Rule changed", *names, "Train", "Valid", "Test", "Avg. length"])


def rebuilt() -> pd.DataFrame:
    """Which rule for windows gives C2DSR's sequences back, from what they hold together.

    For the Food-Kitchen users all of whose several sequences can be seen: the rule is applied to all interactions of a
    user, and its sequences are compared with the released ones. ``windows``, ``users``, ``users_rebuilt`` (all their
    sequences and no other), ``sequences``, ``sequences_rebuilt``.

    Raises:
        InputError: a file is not available.
    """
    from ifcdsr_core.sources import c2dsr

    return rebuilt_from(c2dsr.several_sequences(), prepare("c2dsr", "food_kitchen", train_file=False).num_items_x)


def keep_rebuilt() -> Path:
    """Write ``rebuilt`` to ``data/results/windows.csv``, for machines without the files; return the path."""
    path = results_dir() / "windows.csv"
    table = rebuilt()
    with new_file(path) as staging:
        table.to_csv(staging, index=False)
    return path


def shown_rebuilt() -> pd.DataFrame:
    """The shipped table for a page.

    Raises:
        InputError: it is not there, damaged, or can't be opened.
    """
    headings = {
        "windows": "Windows",
        "users": "Users",
        "users_rebuilt": "Given back whole",
        "sequences": "Sequences",
        "sequences_rebuilt": "Given back",
    }
    types = dict.fromkeys(headings, int) | {"windows": str}
    with reading(results_dir() / "windows.csv") as path:
        return pd.read_csv(path, usecols=list(types), dtype=types, na_filter=False).rename(columns=headings)


def rebuilt_from(released: pd.DataFrame, num_items_x: int) -> pd.DataFrame:
    """The same for sequences of whole users: ``user``, ``items``, ``timestamps``; items up to num_items_x are of X.

    Equal times are ordered by name: as in the released files, X precedes Y within a day.
    """
    log = released.explode(["items", "timestamps"]).drop_duplicates()
    log = pd.DataFrame(
        {
            "user": log["user"].astype(str),
            "item": log["items"].astype(str),
            "time": log["timestamps"].astype("int64"),
            "in_x": log["items"].astype(int) <= num_items_x,
        }
    )

    def of_users(sequences: pd.DataFrame) -> dict[str, set]:
        found = defaultdict(set)
        for row in sequences.itertuples():
            found[str(row.user)].add(frozenset(zip(row.items, row.timestamps, strict=True)))
        return found

    expected, rows = of_users(released), []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("x.parquet", "y.parquet")]
        for path, part in zip(paths, (log[log["in_x"]], log[~log["in_x"]]), strict=True):
            part[["user", "item", "time"]].to_parquet(path, index=False)
        for windows in choices(Rules)["windows"]:
            rules = Rules(min_user=1, min_item=1, windows=windows, ties="by_name", leaks="keep")
            items, sequences, _ = partition(*paths, rules)
            names = items["source_id"].astype(int).to_numpy()
            found = of_users(sequences.assign(items=[names[row - 1] for row in sequences["items"]]))
            same = {user: found.get(user, set()) & known for user, known in expected.items()}
            whole = sum(found.get(user) == known for user, known in expected.items())
            rows.append((windows, len(expected), whole, *(sum(map(len, each.values())) for each in (expected, same))))
    return pd.DataFrame(rows, columns=["windows", "users", "users_rebuilt", "sequences", "sequences_rebuilt"])


def fetch_pictures(scenario: Scenario) -> tuple[Scenario, pd.DataFrame]:
    """The scenario with its pictures, and what became of each address.

    The sample's are fetched from its own shop; those of a real release by ``python -m ifcdsr_core pictures``.

    Raises:
        InputError: nothing was fetched yet.
    """
    from ifcdsr_core.sources.amazon import sample
    from ifcdsr_core.sources.download import pictures

    store = picture_store("amazon", scenario.provenance["options"]["release"])
    if scenario.provenance["options"]["release"] == "sample":
        with sample.shop(scenario.items, scenario.name) as items:
            pictures.download_images(items, store, pictures.PictureLimits(rate=1000.0), allow_private=True)
    scenario = pictures.with_images(scenario, store)
    manifest = pictures.read_manifest(store)
    manifest = manifest[manifest["source_id"].isin(scenario.items["source_id"])]
    counts = manifest["kind"].value_counts()
    return scenario, pd.DataFrame(
        {
            "Outcome": counts.index.str.replace("_", " "),
            "Meaning": counts.index.map(pictures.KINDS),
            "Items": counts.to_numpy(),
        }
    )


def costs() -> pd.DataFrame:
    """The commands for the 2014 release, what they have to move, and how long that takes at the speeds measured."""
    from ifcdsr_core.sources.download.pictures import PictureLimits

    partitioned = [row for row in measured("partition")["results"] if row["version"] == "ours"][-1]
    embedded = max(
        row["pictures_per_second"]
        for row in measured("embedding")["results"]
        if row["way"] == "shards" and row["encoder"].startswith("ViT-B-32")
    )
    rows = []
    for scenario in source.SCENARIOS:
        sizes = [size for _, _, size, _ in source.raw_files("2014", scenario)]
        known = f"{sum(filter(None, sizes)) / 1e9:.1f} GB and " * any(sizes)
        ratings = sum(RATINGS_2014[name] for name in DOMAIN_NAMES[scenario])
        pictures = int(PAPER_TABLE1.loc[PAPER_TABLE1["scenario"] == scenario, "items"].sum())
        rows += [
            (scenario, "download", f"{known}{sizes.count(None)} files of unknown size", "as the line allows"),
            (scenario, "prepare", f"{ratings:,} ratings", _time(ratings / partitioned["rows_per_second"])),
            (
                scenario,
                "pictures",
                f"{pictures:,} pictures",
                f"{_time(pictures / PictureLimits().rate)} at {PictureLimits().rate:.0f} a second",
            ),
            (scenario, "embed", f"{pictures:,} pictures", _time(pictures / embedded)),
        ]
    table = pd.DataFrame(rows, columns=["Data", "Command", "Has to move", "Takes about"])
    return table.assign(Data=table["Data"].map(lambda name: "-".join(DOMAIN_NAMES[name])))


def _shown(value) -> str:
    """A value as ``--source-option`` takes it."""
    return json.dumps(value).strip('"')


def _time(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def _account(scenario: Scenario) -> dict:
    if scenario.source != "amazon":
        raise InputError(f"source {scenario.source!r} has no raw files here: choose amazon")
    return scenario.provenance
