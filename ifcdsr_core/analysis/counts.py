"""Numbers about a scenario: Table 1 of the paper, and what the papers do not say about the data.

Every function takes a Scenario and returns a small DataFrame; ``TABLES`` names those of notebook 01. ``summary_record``
puts them into a dict of aggregate numbers, which ``keep_summary`` keeps as JSON: so the book can show the real data on
a machine that does not have them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.paper import PAPER_TABLE1
from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.files import new_file, reading
from ifcdsr_core.paths import results_dir
from ifcdsr_core.scenario import SECONDS_A_DAY, SPLITS, Scenario
from ifcdsr_core.sources import source_module

TIE_COLUMNS = ["split", "sequences", "tied_pairs", "with_tie", "target_tied", "domain_open", "open_to_y"]
TIE_COLUMNS += ["targets_x", "targets_x_least", "targets_x_most"]
PROFILE_COLUMNS = ["split", "sequences", "users", "length", "targets_y", "popularity"]
PROFILE_COLUMNS += ["first_year", "median_year", "last_year"]
# Options of sources that decide what is trained on; a scenario with another value than the default has its own summary.
VARIANTS = ("train", "train_users")
SHIPPED = (  # summaries that go with the checkout: source, scenario, options
    ("c2dsr", "food_kitchen", {"train_file": False}),
    ("c2dsr", "food_kitchen", {"train": "rebuilt"}),
    ("c2dsr", "movie_book", {"train_file": False}),
    ("llmcdsr", "food_kitchen", {}),
    ("llmcdsr", "food_kitchen", {"train_users": "both"}),
    ("abxi", "food_kitchen", {}),
    ("abxi", "beauty_electronics", {}),
)


def table1(scenario: Scenario) -> pd.DataFrame:
    """Table 1: one row per domain.

    ``items`` of the domain; ``train`` sequences (both domains together, so the same in both rows; NaN without a train
    split); ``valid`` and ``test`` sequences whose target is of the domain; ``avg_length`` over all sequences there are,
    target included (both domains together; ``lengths`` has it per split).
    """
    targets = scenario.sequences.groupby(["split", "target_domain"]).size()
    num_train, length = int((scenario.sequences["split"] == "train").sum()), scenario.flat_items[1].mean()
    rows = []
    for code, name, items in zip(
        "xy", scenario.domain_names, (scenario.num_items_x, scenario.num_items_y), strict=True
    ):
        valid, test = (int(targets.get((split, code), 0)) for split in ("valid", "test"))
        rows.append((scenario.name, name, items, num_train or np.nan, valid, test, length))
    columns = ["scenario", "domain", "items", "train", "valid", "test", "avg_length"]
    return pd.DataFrame(rows, columns=columns)


def table1_against_paper(scenario: Scenario) -> pd.DataFrame:
    """Our Table 1 beside the paper's: ``domain``, ``quantity``, ``ours``, ``paper``, ``difference``, ``note``.

    What both domains share has the domain ``both``. Without the training file ``train`` is NaN and the average length
    leaves out most of the paper's sequences. The notes then say how many sequences the numbering of the others leaves
    for that file, and which average length it would need to explain the paper's.

    Raises:
        InputError: the scenario is not made of the paper's own files.
    """
    if scenario.source != "c2dsr":
        raise InputError(f"source {scenario.source!r} is not the paper's data: only c2dsr compares with its Table 1")
    ours = table1(scenario).set_index("domain")
    paper = PAPER_TABLE1[PAPER_TABLE1["scenario"] == scenario.name].set_index("domain")
    remarks = {}
    if ours["train"].isna().all():
        left = scenario.provenance.get("sequences_numbered", len(scenario.sequences)) - len(scenario.sequences)
        implied = printed_training(scenario)[1]
        remarks = {
            "train": f"no training file; the numbering leaves {left:,} sequences for it",
            "avg_length": f"valid and test only; the paper's takes an average of {implied:.2f} in training",
        }
    elif "rebuilt" in scenario.provenance:
        remarks = {"train": "rebuilt from other files", "avg_length": "with the rebuilt training sequences"}
    cells = [(domain, domain, quantity) for domain in ours.index for quantity in ("items", "valid", "test")]
    cells += [("both", ours.index[0], quantity) for quantity in ("train", "avg_length")]
    rows = [
        (name, quantity, ours.at[row, quantity], paper.at[row, quantity], remarks.get(quantity, ""))
        for name, row, quantity in cells
    ]
    table = pd.DataFrame(rows, columns=["domain", "quantity", "ours", "paper", "note"])
    table.insert(4, "difference", table["ours"] - table["paper"])
    return table


def printed_training(scenario: Scenario) -> tuple[int, float]:
    """The paper's number of training sequences, and the mean length that they need for its average over all."""
    printed = PAPER_TABLE1[PAPER_TABLE1["scenario"] == scenario.name].iloc[0]
    held_out = scenario.flat_items[1][(scenario.sequences["split"] != "train").to_numpy()]
    num_train, num_all = int(printed["train"]), int(printed["train"]) + len(held_out)
    return num_train, float((printed["avg_length"] * num_all - held_out.sum()) / num_train)


def lengths(scenario: Scenario) -> pd.DataFrame:
    """Length of the sequences, target included, per split and over ``all``: ``sequences, mean, min, median, max``."""
    split, length = scenario.sequences["split"].to_numpy(), scenario.flat_items[1]
    chosen = {name: length[split == name] for name in SPLITS} | {"all": length}
    return pd.DataFrame(
        [_spread(values, split=name, sequences=len(values)) for name, values in chosen.items() if len(values)]
    )


def length_distribution(scenario: Scenario) -> pd.DataFrame:
    """How many sequences have which length: ``split``, ``length``, ``sequences``."""
    table = pd.DataFrame({"split": scenario.sequences["split"].to_numpy(), "length": scenario.flat_items[1]})
    return _in_split_order(table.groupby(["split", "length"]).size().rename("sequences").reset_index())


def items_per_domain(scenario: Scenario) -> pd.DataFrame:
    """How many items of each domain a sequence has: ``split, domain, sequences, mean, min, median, max``."""
    split = scenario.sequences["split"].to_numpy()
    row, in_y = _rows(scenario), _in_y(scenario)
    counts = {
        name: np.bincount(row[in_y == of_y], minlength=len(split))  # (number of sequences,)
        for of_y, name in enumerate(scenario.domain_names)
    }
    return pd.DataFrame(
        [
            _spread(count[split == name], split=name, domain=domain, sequences=int((split == name).sum()))
            for name in SPLITS
            if (split == name).any()
            for domain, count in counts.items()
        ]
    )


def popularity(scenario: Scenario) -> pd.DataFrame:
    """How many items are interacted with how often, over all splits: ``domain``, ``interactions``, ``items``.

    Items that nobody touches are those with 0 interactions. From the most popular down, the running sum of ``items``
    is the rank in the usual picture of a long tail.
    """
    table = pd.DataFrame({"domain": _item_domain(scenario), "interactions": _interactions(scenario)})
    counts = table.groupby(["domain", "interactions"], sort=True).size().rename("items").reset_index()
    order = {name: number for number, name in enumerate(scenario.domain_names)}
    return counts.sort_values("domain", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def concentration(scenario: Scenario) -> pd.DataFrame:
    """How unequal popularity is, per domain, over all splits.

    ``items``, ``untouched`` (share of items without interaction), ``interactions``, ``gini`` (0: all items are equal,
    1: one has all), ``head_share`` (share of the interactions that go to the most popular 20 % of the items), ``top``
    (interactions of the most popular item).
    """
    interactions, domain = _interactions(scenario), _item_domain(scenario)
    rows = []
    for name in scenario.domain_names:
        count = np.sort(interactions[domain == name])[::-1]  # (items of the domain,), most popular first
        total, head = count.sum(), count[: round(0.2 * len(count))].sum()
        rows.append((name, len(count), (count == 0).mean(), total, gini(count), head / max(total, 1), count[0]))
    columns = ["domain", "items", "untouched", "interactions", "gini", "head_share", "top"]
    return pd.DataFrame(rows, columns=columns)


def gini(count: np.ndarray) -> float:
    """Gini coefficient of non-negative numbers: half the mean absolute difference over the mean. NaN if all are 0."""
    count = np.sort(np.asarray(count, dtype=np.float64))
    if count.sum() == 0:
        return float("nan")
    rank = np.arange(1, len(count) + 1)
    return float(((2 * rank - len(count) - 1) * count).sum() / (len(count) * count.sum()))


def user_overlap(scenario: Scenario) -> pd.DataFrame:
    """Users with interactions in both domains, per split.

    Columns: ``split, sequences, users, both, only_x, only_y, both_share``.
    """
    sequences, row, in_y = scenario.sequences, _rows(scenario), _in_y(scenario)
    table = pd.DataFrame(
        {
            "split": sequences["split"].to_numpy(),
            "user": sequences["user"].to_numpy(),
            "x": np.bincount(row[~in_y], minlength=len(sequences)) > 0,
            "y": np.bincount(row[in_y], minlength=len(sequences)) > 0,
        }
    )
    users = table.groupby(["split", "user"])[["x", "y"]].any()
    users["both"], users["only_x"], users["only_y"] = users.x & users.y, users.x & ~users.y, users.y & ~users.x
    counts = users.groupby("split").agg(
        users=("x", "size"), both=("both", "sum"), only_x=("only_x", "sum"), only_y=("only_y", "sum")
    )
    counts.insert(0, "sequences", table.groupby("split").size())
    counts["both_share"] = counts["both"] / counts["users"]
    return _in_split_order(counts.reset_index())


def order_ties(scenario: Scenario) -> pd.DataFrame:
    """How far the order of the sequences is open because times are equal, per split with timestamps.

    Columns: ``sequences``; ``tied_pairs``, share of neighbours with equal times; ``with_tie``, share of sequences with
    such a pair; ``target_tied``, share whose target has the time of the item before it, so that another order would
    make another item the target; ``domain_open``, share where items of both domains have the last time, so that the
    order decides which *domain* the target is of; ``open_to_y``, the share of those that the order at hand gives to Y
    (NaN if there are none); ``targets_x``, targets in X at hand; ``targets_x_least`` and ``targets_x_most``, what that
    number could be under another order.
    """
    timed = scenario.sequences["timestamps"].notna().to_numpy()
    if not timed.any():
        return pd.DataFrame(columns=TIE_COLUMNS)
    length = scenario.flat_items[1][timed]  # (timed sequences,)
    in_y = _in_y(scenario)[np.repeat(timed, scenario.flat_items[1])]  # (sum of their lengths,)
    time = np.concatenate(scenario.sequences["timestamps"][timed].tolist())  # (sum of their lengths,)
    last = np.cumsum(length) - 1
    first = last - length + 1
    tied = np.r_[False, time[1:] == time[:-1]]  # with the item before it
    tied[first] = False
    at_last_time = time == np.repeat(time[last], length)
    open_domain = np.logical_or.reduceat(at_last_time & in_y, first) & np.logical_or.reduceat(
        at_last_time & ~in_y, first
    )  # (timed sequences,)
    per_sequence = pd.DataFrame(
        {
            "split": scenario.sequences["split"].to_numpy()[timed],
            "pairs": length - 1,
            "ties": np.add.reduceat(tied, first, dtype=np.int64),
            "target_tied": tied[last],
            "domain_open": open_domain,
            "open_x": open_domain & ~in_y[last],
            "open_y": open_domain & in_y[last],
            "targets_x": ~in_y[last],
        }
    )
    per_sequence["with_tie"] = per_sequence["ties"] > 0
    groups = per_sequence.groupby("split")
    table, shares = groups.sum(), groups.mean()
    table["sequences"] = groups.size()
    table["tied_pairs"] = table["ties"] / table["pairs"]
    table["open_to_y"] = table["open_y"] / table["domain_open"]  # 0 / 0 is NaN
    table["targets_x_least"] = table["targets_x"] - table["open_x"]
    table["targets_x_most"] = table["targets_x"] + table["open_y"]
    for name in ("with_tie", "target_tied", "domain_open"):
        table[name] = shares[name]
    return _in_split_order(table.reset_index())[TIE_COLUMNS]


def span_days(scenario: Scenario) -> pd.DataFrame:
    """Days from the first to the last item of a sequence, per split with timestamps.

    Columns: ``split, sequences``, then ``min, q25, median, q75, q95, max``.
    """
    sequences = scenario.sequences[scenario.sequences["timestamps"].notna()]
    quantiles = {"min": 0, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1}
    days = np.array([time[-1] - time[0] for time in sequences["timestamps"]], dtype=np.float64) / SECONDS_A_DAY
    split = sequences["split"].to_numpy()
    rows = [
        (name, int((split == name).sum()), *np.quantile(days[split == name], list(quantiles.values())))
        for name in SPLITS
        if (split == name).any()
    ]
    return pd.DataFrame(rows, columns=["split", "sequences", *quantiles])


def unseen_targets(scenario: Scenario) -> pd.DataFrame:
    """Targets that occur nowhere in the split trained on, so that no ID-based model can know them.

    Rows: training on ``train`` and, as the stand-in without a training file, on the whole ``valid`` split. Columns:
    ``trained_on, split`` (of the targets), ``domain, targets, unseen, unseen_share``.
    """
    split, (flat, length) = scenario.sequences["split"].to_numpy(), scenario.flat_items
    target = flat[np.cumsum(length) - 1]  # (number of sequences,)
    target_name = _item_domain(scenario)[target - 1]
    rows = []
    for trained_on, later in (("train", ("valid", "test")), ("valid", ("test",))):
        if not (split == trained_on).any():
            continue
        seen = np.zeros(scenario.num_items + 1, dtype=bool)
        seen[flat[np.repeat(split == trained_on, length)]] = True
        for name in later:
            for domain in scenario.domain_names:
                chosen = target[(split == name) & (target_name == domain)]
                if len(chosen):
                    unseen = ~seen[chosen]
                    rows.append((trained_on, name, domain, len(chosen), int(unseen.sum()), unseen.mean()))
    return pd.DataFrame(rows, columns=["trained_on", "split", "domain", "targets", "unseen", "unseen_share"])


def split_profile(scenario: Scenario) -> pd.DataFrame:
    """Whether splits are alike: one row per split.

    ``sequences``; ``users``; ``length``, mean, target included; ``targets_y``, share of the targets in Y;
    ``popularity``, how many users have an item, over all splits: the median over the split's interactions;
    ``first_year``, ``median_year`` and ``last_year`` of the targets (NaN without timestamps).
    """
    sequences, (flat, length), row = scenario.sequences, scenario.flat_items, _rows(scenario)
    user = pd.factorize(sequences["user"])[0][row]
    owned = np.unique(user * (scenario.num_items + 1) + flat) % (scenario.num_items + 1)  # an item per user who has it
    popularity = np.bincount(owned, minlength=scenario.num_items + 1)[flat]  # (sum of lengths,)
    last = [np.nan if times is None else times[-1] for times in sequences["timestamps"]]
    year = pd.to_datetime(pd.Series(last), unit="s").dt.year
    split, rows = sequences["split"].to_numpy(), []
    for name in SPLITS:
        if (chosen := split == name).any():
            targets_y = (sequences["target_domain"][chosen] == "y").mean()
            years = (year[chosen].quantile(at, "lower") for at in (0, 0.5, 1))
            counts = (int(chosen.sum()), sequences["user"][chosen].nunique())
            median = float(np.median(popularity[chosen[row]]))
            rows.append((name, *counts, float(length[chosen].mean()), targets_y, median, *years))
    return pd.DataFrame(rows, columns=PROFILE_COLUMNS)


def training_file(scenario: Scenario) -> pd.DataFrame:
    """A rebuilt training file beside what is known of the paper's: ``split_profile`` with two rows more.

    ``earlier``: sequences of an earlier file that would be trained on. ``printed``: the paper's number of training
    sequences, and the mean length that its average over all splits leaves for them.
    """
    found, rows = scenario.provenance["rebuilt"], split_profile(scenario).to_dict("records")
    num_train, length = printed_training(scenario)
    earlier = {"split": "earlier", "sequences": found["earlier"], "length": found["earlier_length"]}
    rows[1:1] = [earlier, {"split": "printed", "sequences": num_train, "length": length}]
    return pd.DataFrame(rows, columns=PROFILE_COLUMNS)


def rebuilt(scenario: Scenario) -> pd.DataFrame:
    """What was found while the training file was rebuilt, ``sources.rebuilt``, in one row."""
    return pd.DataFrame([scenario.provenance["rebuilt"]])


def number_order(scenario: Scenario) -> dict[str, float]:
    """Whether items of equal time stand in the order of their numbers, in the test sequences.

    Returns:
        ``sequences``; ``tied``, the share whose target has the time of the item before it; and of these,
        ``ascending``, the share whose target has the larger number, and ``same_domain``, the number of those whose
        target and the item before it are of one domain. Of the latter ``same_domain_ascending``, and ``rarer`` and
        ``commoner``, the shares whose target is seen less or more often than the item before it in the training
        sequences, or in the validation sequences where there are none. Ties in random order ascend in one half of the
        cases within a domain; items of X have smaller numbers than those of Y.

    Raises:
        InputError: the test sequences have no times.
    """
    test = scenario.split("test")
    if test["timestamps"].isna().any():
        raise InputError("number_order needs timestamps: this source has none")
    before, target = np.stack([row[-2:] for row in test["items"]]).T
    earlier, time = np.stack([row[-2:] for row in test["timestamps"]]).T
    tied, ascends = time == earlier, target > before
    seen_in = scenario.split("train") if len(scenario.split("train")) else scenario.split("valid")
    seen = np.bincount(np.concatenate([*seen_in["items"]]), minlength=scenario.num_items + 1)
    same = tied & ((target > scenario.num_items_x) == (before > scenario.num_items_x))
    return {
        "sequences": len(test),
        "tied": float(tied.mean()),
        "ascending": float(ascends[tied].mean()),
        "same_domain": int(same.sum()),
        "same_domain_ascending": float(ascends[same].mean()),
        "rarer": float((seen[target] < seen[before])[same].mean()),
        "commoner": float((seen[target] > seen[before])[same].mean()),
    }


# --- kept as JSON -----------------------------------------------------------------------------------------------------


_COUNTS = (table1, lengths, length_distribution, items_per_domain, popularity, concentration)
_COUNTS += (user_overlap, order_ties, span_days, unseen_targets, split_profile)
TABLES = {function.__name__: function for function in _COUNTS}


def summary_record(scenario: Scenario) -> dict:
    """All tables of a scenario with its fingerprint and provenance; for c2dsr also ``table1_against_paper``.

    Where its training file is rebuilt, ``training_file`` and ``rebuilt`` are added.

    Aggregate numbers only, JSON-able; ``read_tables`` makes DataFrames of them again.
    """
    more = [table1_against_paper] if scenario.source == "c2dsr" else []
    more += [training_file, rebuilt] if "rebuilt" in scenario.provenance else []
    functions = TABLES | {function.__name__: function for function in more}
    return {
        "source": scenario.source,
        "scenario": scenario.name,
        "fingerprint": scenario.fingerprint,
        "provenance": scenario.provenance,
        "tables": {name: _to_columns(function(scenario)) for name, function in functions.items()},
    }


def read_tables(record: dict) -> dict[str, pd.DataFrame]:
    """The tables of a ``summary_record`` by name."""
    tables = {name: pd.DataFrame(columns) for name, columns in record["tables"].items()}
    # a column of nothing but null has lost its type on the way: it was one of numbers
    return {
        name: table.apply(lambda column: column.astype(float) if column.isna().all() else column)
        for name, table in tables.items()
    }


def summary_path(source: str, scenario: str, variant: str = "") -> Path:
    """Where the committed summary of a scenario lives: ``data/results/statistics/<source>-<scenario>.json``.

    Args:
        variant: such as ``train=rebuilt``, what of ``VARIANTS`` is not at its default; it follows the scenario.
    """
    return results_dir() / "statistics" / f"{'-'.join(filter(None, [source, scenario, variant]))}.json"


def variant_of(source: str, options: dict) -> str:
    """Which variant of its data a source's options choose, as for ``summary_path``."""
    changed = options.items() - source_module(source).OPTIONS.items()
    return "-".join(f"{name}={value}" for name, value in sorted(changed) if name in VARIANTS)


def keep_summary(scenario: Scenario, path: Path | None = None) -> Path:
    """Write the summary of ``scenario`` to ``path`` (default: ``summary_path``) and return the path."""
    variant = variant_of(scenario.source, scenario.provenance.get("options", {}))
    path = path or summary_path(scenario.source, scenario.name, variant)
    text = json.dumps(summary_record(scenario), indent=2, allow_nan=False)
    # one line per column: an indented list would take one for each number
    text = re.sub(r"\[[^\[\]{}]*\]", lambda column: re.sub(r"\s*\n\s*", " ", column[0]), text)
    with new_file(path) as staging:
        staging.write_text(text + "\n", encoding="utf-8")
    return path


def load_summary(source: str, scenario: str, variant: str = "") -> dict:
    """Read a committed summary.

    Raises:
        InputError: there is none, it is damaged, or it can't be opened.
    """
    path = summary_path(source, scenario, variant)
    choose("summary", path.stem, sorted(found.stem for found in path.parent.glob("*.json")))
    with reading(path):
        record = json.loads(path.read_text(encoding="utf-8"))
        read_tables(record)
    return record


def _to_columns(table: pd.DataFrame) -> dict[str, list]:
    """Columns as lists of plain Python values: NaN is None, fractions have six significant digits."""

    def plain(value):
        if isinstance(value, float):
            return None if np.isnan(value) else float(f"{value:.6g}")
        return value

    return {name: [plain(value) for value in column.tolist()] for name, column in table.items()}


# --- one entry per interaction, or per item ---------------------------------------------------------------------------


def _rows(scenario: Scenario) -> np.ndarray:
    """Row number of the sequence of each interaction (sum of lengths,)."""
    length = scenario.flat_items[1]
    return np.repeat(np.arange(len(length)), length)


def _in_y(scenario: Scenario) -> np.ndarray:
    """Whether each interaction is with an item of Y (sum of lengths,)."""
    return scenario.flat_items[0] > scenario.num_items_x


def _interactions(scenario: Scenario) -> np.ndarray:
    """Interactions of each item (num_items,), item 1 first."""
    return np.bincount(scenario.flat_items[0], minlength=scenario.num_items + 1)[1:]


def _item_domain(scenario: Scenario) -> np.ndarray:
    """Name of each item's domain (num_items,), item 1 first."""
    return np.repeat(np.array(scenario.domain_names, dtype=object), [scenario.num_items_x, scenario.num_items_y])


def _spread(values: np.ndarray, **labels) -> dict:
    """A row: the labels, then mean, smallest, median and largest of ``values``."""
    return labels | {
        "mean": float(values.mean()),
        "min": int(values.min()),
        "median": float(np.median(values)),
        "max": int(values.max()),
    }


def _in_split_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by split in the order train, valid, test; otherwise as they are."""
    return table.sort_values("split", key=lambda names: names.map(SPLITS.index), kind="stable", ignore_index=True)
