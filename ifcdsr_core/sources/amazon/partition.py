"""From interactions to cross-domain sequences: the step the papers call "we re-partitioned", every rule a parameter.

The papers name few of the rules (gaps 5 and 6), and nobody published the code of this step. The defaults are what can
be seen in the released C2DSR files (Cao et al., CIKM 2022; https://github.com/crystal22/C2DSR), see ``Rules``.

Users, items and times are numbers from the first step on, in arrays ordered by user and time. Interactions of a user at
the same time, the same day where times are days, have no order; one is drawn (``Rules.ties``). Nothing depends on the
order of the input rows or on the number of threads. Polars reads and joins as a stream; no step loops over users.

Items are numbered by domain and name here, and at random by ``source``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, require
from ifcdsr_core.scenario import SECONDS_A_DAY, SPLITS
from ifcdsr_core.settings import check_ranges, setting

if TYPE_CHECKING:  # where nobody partitions, Polars need not be there
    import polars as pl


@dataclass(frozen=True)
class Rules:
    """The rules, in the order in which they apply.

    Attributes:
        shared_items: an item that both domains have: ``drop`` it (no ASIN of the released files is in both), or
            ``keep`` it as an X item and a Y item.
        ties: the order of a user's interactions at the same time. ``drawn``: by a hash of seed, user, item and time, so
            that it is the same whatever else is in the files. ``by_name``: X first, then by the item's name; the last
            item, the target, is then told by its name. In the released files X precedes Y within a day in all 26,462
            cases (leaving out each line's last two); what orders items of the same domain there is not known.
        overlap: keep only users of both domains.
        repeats: of a user's interactions with the same item keep the ``first``, or ``all``. In the released files no
            sequence has an item twice.
        min_user, min_item: users and items with fewer interactions are left out, counted at the same moment.
        count_in: a user needs min_user interactions in ``both`` domains together, or in ``each``.
        filter_first: count before the overlap rule instead of after it. IFCDSR's text names the overlap first.
        filter_rounds: count ``once``, or again until the table is ``stable``. The overlap rule applies once.
        window_days: the days that a sequence spans at most; in the released files 365 (Food-Kitchen), 30 (Movie-Book).
        max_length, min_length, min_per_domain: interactions of a sequence at most, at least, at least in each domain.
        windows: which sequences a history gives. ``sliding``: every run of interactions that keeps to window_days and
            max_length and can't be made longer at either end, so that they overlap. ``pieces``: the first such run, the
            next one from where it ended, and so on. ``latest``: as pieces, by window_days alone, and of each the latest
            max_length interactions. For users all of whose several released sequences can be seen, ``sliding`` gives
            these back from their union in 9 of 10 cases, the others in one of 14 (``raw_files.rebuilt``). Where sliding
            differs, most items of a user are of one day.
        held_out: the ``latest`` sequence of every user, as in the released files; or, over all users, the ``share``
            of the sequences that ends last.
        held_out_share: that share.
        halves: which half of the held-out sequences is the test: drawn at ``random`` (in the released files both
            halves are of the same age) or the later one in ``time``.
        seed: of that draw, and of the order of ``ties``.
        per_user: ``several`` training sequences per user, or only the latest ``one``.
        leaks: what to do with training sequences that leak (see ``leakage``): ``drop`` them; be ``strict`` and drop
            those that merely share history with a held-out sequence, too; ``refuse`` to go on; ``keep`` them.

    Raises:
        InputError: a value out of its range.
    """

    shared_items: Literal["drop", "keep"] = "drop"
    ties: Literal["drawn", "by_name"] = "drawn"
    overlap: bool = True
    repeats: Literal["first", "all"] = "first"
    min_user: int = setting(10, minimum=1)
    min_item: int = setting(10, minimum=1)
    count_in: Literal["both", "each"] = "both"
    filter_first: bool = False
    filter_rounds: Literal["once", "stable"] = "once"
    window_days: int = setting(365, minimum=0)
    max_length: int = 15
    min_length: int = setting(6, minimum=2)
    min_per_domain: int = setting(3, minimum=0)
    windows: Literal["sliding", "pieces", "latest"] = "sliding"
    held_out: Literal["latest", "share"] = "latest"
    held_out_share: float = setting(0.33, above=0, below=1)
    halves: Literal["random", "time"] = "random"
    seed: int = setting(0, minimum=0)
    per_user: Literal["several", "one"] = "several"
    leaks: Literal["drop", "strict", "refuse", "keep"] = "drop"

    def __post_init__(self) -> None:
        check_ranges(self)
        shortest = max(self.min_length, 2 * self.min_per_domain)
        require(self.max_length >= shortest, "max_length", self.max_length, f"at least {shortest}")


@dataclass(frozen=True)
class Log:
    """N interactions, ordered by user, time, draw, item.

    Attributes:
        user, item, time: (N,) numbers of users and items, seconds; items below ``num_items_x`` are of X.
        draw: (N,) the drawn order of equal times; all 0 where the rule is ``by_name``.
        users, source_ids: the names the numbers stand for, sorted (items: those of X, then those of Y).
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    draw: np.ndarray
    num_items_x: int
    users: pl.Series
    source_ids: pl.Series

    def __len__(self) -> int:
        return len(self.user)

    def of(self, keep: np.ndarray) -> Log:
        return replace(self, user=self.user[keep], item=self.item[keep], time=self.time[keep], draw=self.draw[keep])

    def per_user(self) -> np.ndarray:
        """(2, users) interactions in X and in Y."""
        in_y = self.item >= self.num_items_x
        return np.stack([np.bincount(self.user[part], minlength=len(self.users)) for part in (~in_y, in_y)])


def partition(x: Path, y: Path, rules: Rules) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Re-partition two domains' interactions.

    Args:
        x, y: Parquet files with columns ``user``, ``item`` (text) and ``time`` (unix seconds), as ``reviews`` writes.

    Returns:
        Items (``item``, ``domain``, ``source_id``) that are in a sequence; sequences with the columns of a Scenario,
        ordered by split, user and time; and an account: ``funnel`` (what is left after every step), ``leakage`` (before
        anything is done about it), ``leakage_left`` and ``target_ties`` (see ``tied_targets``).

    Raises:
        InputError: no sequence is left; or there is a leak and the rules refuse it.
    """
    funnel = []
    log = read_log({"x": x, "y": y}, rules, funnel)
    overlap = [("users of both domains", _overlapping)] if rules.overlap else []
    repeats = [("first of repeats", _first_of_repeats)] if rules.repeats == "first" else []
    minimum = [*repeats, (f"minimum, {rules.filter_rounds}", _often_enough)]
    for name, rule in [*minimum, *overlap] if rules.filter_first else [*overlap, *minimum]:
        log = rule(log, rules)
        funnel.append({"step": name, **_left(log)})
    start, stop = windows(log, rules)
    funnel.append({"step": f"windows: {rules.windows}", "sequences": len(start)})
    start, stop = _complete(log, start, stop, rules)
    funnel.append(
        {"step": "length and both domains", "sequences": len(start), "users": int(_last_of_each(log.user[start]).sum())}
    )
    if len(start) == 0:
        raise InputError(
            "the rules leave no sequence; what was left after each step: "
            + "; ".join(", ".join(f"{key} {value}" for key, value in step.items()) for step in funnel)
        )
    split = _split(log, start, stop, rules)
    if rules.per_user == "one":
        train = np.flatnonzero(split == 0)
        keep = split > 0
        keep[train[_last_of_each(log.user[start[train]])]] = True
        start, stop, split = start[keep], stop[keep], split[keep]
        funnel.append({"step": "one training sequence a user", "sequences": len(start)})
    sequences = _sequences(log, start, stop, split)
    found, leaking, sharing = leakage(sequences)
    if rules.leaks == "refuse" and leaking.any():
        raise InputError(f"{leaking.sum()} training sequences leak ({found}): set leaks to drop, strict or keep")
    kept = {"drop": ~leaking, "strict": ~(leaking | sharing)}.get(rules.leaks, slice(None))
    sequences = sequences[kept].reset_index(drop=True)
    funnel.append(
        {"step": f"leaks: {rules.leaks}", "sequences": len(sequences)}
        | {name: int((sequences["split"] == name).sum()) for name in SPLITS}
    )
    items, sequences = _renumbered(log, sequences)
    account = {"funnel": funnel, "leakage": found, "leakage_left": leakage(sequences)[0]}
    return items, sequences, account | {"target_ties": tied_targets(sequences)}


def read_log(paths: dict[str, Path], rules: Rules, funnel: list[dict]) -> Log:
    """Read two Parquet files as numbers; with the overlap rule first, other users are left out while reading."""
    import polars as pl

    raw = {domain: pl.scan_parquet(path) for domain, path in paths.items()}
    users, either, _ = _in_both(raw, "user")
    shared, _, number = _in_both(raw, "item")
    rows = sum(table.select(pl.len()).collect().item() for table in raw.values())
    funnel.append(
        {"step": "read", "interactions": rows, "users": either, "items_x": number["x"], "items_y": number["y"]}
    )
    if rules.shared_items == "drop" and len(shared):
        raw = {domain: table.join(shared.lazy(), on="item", how="anti") for domain, table in raw.items()}
        users = _in_both(raw, "user")[0]  # some may have been in a domain by such an item alone
        rows = sum(table.select(pl.len()).collect().item() for table in raw.values())
        funnel.append({"step": f"{len(shared)} items of both domains dropped", "interactions": rows})
    if rules.filter_first or not rules.overlap:
        users = pl.concat([table.select("user") for table in raw.values()]).unique().collect(engine="streaming")
    users = users.sort("user").with_row_index("u")
    tables, names = [], []
    for table in raw.values():
        table = table.join(users.lazy(), on="user").select("u", "time", "item").collect(engine="streaming")
        items = table.select("item").unique().sort("item").with_row_index("i", sum(map(len, names)))
        tables.append(table.join(items, on="item").select("u", "time", "i"))
        names.append(items["item"])
    table = pl.concat(tables)
    if rules.ties == "drawn":
        table = table.with_columns(draw=_drawn(table, users["user"], names, rules.seed))
    else:
        table = table.with_columns(draw=pl.lit(0, pl.UInt64))
    table = table.sort("u", "time", "draw", "i")
    columns = (table[column].to_numpy() for column in ("u", "i", "time", "draw"))
    return Log(*columns, len(names[0]), users["user"], pl.concat(names))


def _drawn(table: pl.DataFrame, users: pl.Series, items: list[pl.Series], seed: int) -> np.ndarray:
    """(N,) a hash of each interaction: seed, user, domain and item by their names, and time.

    Args:
        table: ``u``, ``i`` (numbers of users and items) and ``time``.
        items: the names of the items of X and of Y.
    """
    from pandas.util import hash_array, hash_pandas_object  # these keep their values from version to version

    names = ["x" + items[0], "y" + items[1]]  # an item of both domains is two
    parts = {
        column: pd.Categorical.from_codes(table[column].to_numpy(), pd.Index(np.concatenate(known), dtype=object))
        for column, known in (("u", [users]), ("i", names))
    }
    key = hashlib.blake2b(str(seed).encode(), digest_size=8).hexdigest()
    hashed = hash_pandas_object(pd.DataFrame({**parts, "time": table["time"].to_numpy()}), index=False, hash_key=key)
    return hash_array(hashed.to_numpy())  # once more, as rows are hashed by sums and products, whose order shows


def _in_both(raw: dict[str, pl.LazyFrame], column: str) -> tuple[pl.DataFrame, int, dict[str, int]]:
    """The names in a column of both domains (a table), the number in either, and the number in each.

    Names are compared by their hashes first, which is five times as fast, then as they are; so the table is exact, and
    the two numbers are but for the odd pair of names with the same 64 bits.
    """
    import polars as pl

    hashed = {domain: table.select(column, h=pl.col(column).hash()) for domain, table in raw.items()}
    hashes = {domain: table.select("h").unique().collect(engine="streaming") for domain, table in hashed.items()}
    both = hashes["x"].join(hashes["y"], on="h", how="semi")
    names = [
        table.join(both.lazy(), on="h", how="semi").select(column).unique().collect(engine="streaming")
        for table in hashed.values()
    ]
    number = {domain: len(table) for domain, table in hashes.items()}
    return names[0].join(names[1], on=column, how="semi"), sum(number.values()) - len(both), number


def _left(log: Log) -> dict:
    """What is left, for the funnel."""
    items = np.bincount(log.item, minlength=len(log.source_ids)) > 0
    return {
        "interactions": len(log),
        "users": int((np.bincount(log.user) > 0).sum()),
        "items_x": int(items[: log.num_items_x].sum()),
        "items_y": int(items[log.num_items_x :].sum()),
    }


def _overlapping(log: Log, rules: Rules) -> Log:
    return log.of(log.per_user().all(axis=0)[log.user])


def _first_of_repeats(log: Log, rules: Rules) -> Log:
    pair = log.user.astype(np.int64) * len(log.source_ids) + log.item
    keep = np.zeros(len(log), dtype=bool)
    keep[np.unique(pair, return_index=True)[1]] = True  # the log is ordered by time; at one time they are the same
    return log.of(keep)


def _often_enough(log: Log, rules: Rules) -> Log:
    while True:
        of_user = log.per_user()
        of_user = of_user.sum(axis=0) if rules.count_in == "both" else of_user.min(axis=0)
        of_item = np.bincount(log.item, minlength=len(log.source_ids))
        keep = (of_user >= rules.min_user)[log.user] & (of_item >= rules.min_item)[log.item]
        log = log.of(keep)
        if rules.filter_rounds == "once" or keep.all():
            return log


def windows(log: Log, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """(W,) first and (W,) last row + 1 of every window of a user's history, ordered by user and time."""
    if len(log) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # one ascending number for user and time: within a user seconds, between users far more than any window
    time = log.time - log.time.min()
    far = int(time.max()) + 1
    key = log.user.astype(np.int64) * far + time
    row, span = np.arange(len(log)), rules.window_days * SECONDS_A_DAY
    if rules.windows == "sliding":
        earliest = np.searchsorted(key, key - np.minimum(time, span))
        start = np.maximum(earliest, row - rules.max_length + 1)
        ends = np.r_[start[1:] > start[:-1], True]  # with the next interaction it would lose its first one
        return start[ends], row[ends] + 1
    stop = np.searchsorted(key, key + np.minimum(far - 1 - time, span), side="right")
    if rules.windows == "pieces":
        stop = np.minimum(stop, row + rules.max_length)
    at, found = np.flatnonzero(np.r_[True, log.user[1:] != log.user[:-1]]), []
    while len(at):  # the first piece of all users, the second of all users, ...
        found.append(at)
        after = stop[at]
        at, after = at[after < len(log)], after[after < len(log)]
        at = after[log.user[after] == log.user[at]]
    start = np.sort(np.concatenate(found))
    return np.maximum(start, stop[start] - rules.max_length), stop[start]


def _complete(log: Log, start: np.ndarray, stop: np.ndarray, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """The windows that are long enough and have enough of each domain."""
    before = np.r_[0, np.cumsum(log.item < log.num_items_x)]
    in_x = before[stop] - before[start]
    in_y = stop - start - in_x
    keep = (stop - start >= rules.min_length) & (np.minimum(in_x, in_y) >= rules.min_per_domain)
    return start[keep], stop[keep]


def complete_windows(log: Log, rules: Rules) -> pd.DataFrame:
    """The windows that are long enough and have enough of each domain, as training sequences; items as in the log."""
    start, stop = _complete(log, *windows(log, rules), rules)
    if len(start) == 0:
        return pd.DataFrame(columns=["user", "split", "target_domain", "items", "timestamps"])
    return _sequences(log, start, stop, np.zeros(len(start), dtype=np.int8))


def _split(log: Log, start: np.ndarray, stop: np.ndarray, rules: Rules) -> np.ndarray:
    """(W,) 0 training, 1 validation, 2 test."""
    user, end = log.user[start], log.time[stop - 1]
    by_time = np.lexsort((stop, user, log.draw[stop - 1], end))
    if rules.held_out == "latest":
        held_out = np.flatnonzero(_last_of_each(user))
    else:
        held_out = np.sort(by_time[len(start) - round(rules.held_out_share * len(start)) :])
    if rules.halves == "random":
        order = np.random.default_rng(rules.seed).permutation(held_out)
    else:
        order = by_time[np.isin(by_time, held_out)]
    split = np.zeros(len(start), dtype=np.int8)
    split[order] = 2
    split[order[: len(order) // 2]] = 1
    return split


def _last_of_each(user: np.ndarray) -> np.ndarray:
    """Mask of the last row of each user, in an array where a user's rows stand together."""
    return np.append(user[1:] != user[:-1], True)[: len(user)]


def _sequences(log: Log, start: np.ndarray, stop: np.ndarray, split: np.ndarray) -> pd.DataFrame:
    """The columns of a Scenario's sequences, items numbered as in the log."""
    order = np.argsort(split, kind="stable")
    start, stop, split = start[order], stop[order], split[order]
    length = stop - start
    ends = np.cumsum(length)
    rows = np.arange(ends[-1]) + np.repeat(start - (ends - length), length)
    return pd.DataFrame(
        {
            "user": log.users[log.user[start]].to_list(),
            "split": np.array(SPLITS, dtype=object)[split],
            "target_domain": np.where(log.item[stop - 1] < log.num_items_x, "x", "y"),
            "items": np.split(log.item[rows].astype(np.int32), ends[:-1]),
            "timestamps": np.split(log.time[rows], ends[:-1]),
        }
    )


def _renumbered(log: Log, sequences: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Number the items that are left from 1, X before Y, by name; the items, and the sequences in these numbers."""
    length = sequences["items"].map(len).to_numpy()
    used, flat = np.unique(np.concatenate([*sequences["items"]]), return_inverse=True)
    items = pd.DataFrame(
        {
            "item": np.arange(1, len(used) + 1, dtype=np.int32),
            "domain": np.where(used < log.num_items_x, "x", "y"),
            "source_id": log.source_ids[used].to_list(),
        }
    )
    return items, sequences.assign(items=np.split((flat + 1).astype(np.int32), np.cumsum(length)[:-1]))


def leakage(sequences: pd.DataFrame) -> tuple[dict, np.ndarray, np.ndarray]:
    """What training knows of the validation and test sequences of the same user.

    Args:
        sequences: those of a Scenario, with timestamps. An interaction is a user, an item and a time.

    Returns:
        Counts of training interactions, each occurrence: ``targets`` (those that are a held-out target), ``later``
        (later than a held-out target), ``history`` (in the history of a held-out sequence: no leak of an answer, and
        found wherever windows overlap); ``training_sequences`` with a target or something later, and how many
        ``held_out_sequences`` there are. Then two masks over ``sequences``: training sequences that leak (a target or
        something later), and those that share any interaction with a held-out one.

    Raises:
        InputError: the sequences have no timestamps.
    """
    if sequences["timestamps"].isna().any():
        raise InputError("leakage needs timestamps: this source has none")
    length = sequences["items"].map(len).to_numpy(dtype=np.int64)
    row = np.repeat(np.arange(len(sequences)), length)
    item, time = np.concatenate([*sequences["items"]]), np.concatenate([*sequences["timestamps"]])
    user, names = pd.factorize(sequences["user"])
    pair = pd.factorize(user[row].astype(np.int64) * (int(item.max()) + 1) + item)[0]
    key = pair.astype(np.int64) * (int(time.max() - time.min()) + 1) + time - time.min()
    held_out = (sequences["split"] != "train").to_numpy()
    train, last = ~held_out[row], np.zeros(len(row), dtype=bool)
    last[np.cumsum(length) - 1] = True
    target = last & ~train
    earliest = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(earliest, user[row[target]], time[target])
    is_target = train & np.isin(key, key[target])
    is_later = train & (time > earliest[user[row]])
    is_history = train & np.isin(key, key[~train & ~last])
    leaking, sharing = np.zeros(len(sequences), dtype=bool), np.zeros(len(sequences), dtype=bool)
    leaking[row[is_target | is_later]] = True
    sharing[row[is_target | is_history]] = True
    return (
        {
            "targets": int(is_target.sum()),
            "later": int(is_later.sum()),
            "history": int(is_history.sum()),
            "training_sequences": int(leaking.sum()),
            "held_out_sequences": int(held_out.sum()),
        },
        leaking,
        sharing,
    )


def tied_targets(sequences: pd.DataFrame) -> dict:
    """How many held-out sequences end in several interactions of one time, so that the order makes the target.

    Returns:
        Counts: ``held_out_sequences``, and ``tied``, those whose target has the time of the item before it.
    """
    held_out = sequences.loc[sequences["split"] != "train", "timestamps"]
    time = np.concatenate([*held_out])
    last = np.cumsum(held_out.map(len).to_numpy()) - 1
    return {"held_out_sequences": len(last), "tied": int((time[last] == time[last - 1]).sum())}


def rules_of(options: dict) -> Rules:
    """The rules among a source's options."""
    return Rules(**{field.name: options[field.name] for field in fields(Rules)})
