"""The re-partition against an independent version in plain Python: on a planted world, random ones, real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from raw_amazon import DAY, Planted, write_sized

from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.amazon.partition import Rules, _drawn, leakage, partition, tied_targets

pl = pytest.importorskip("polars")
MIRROR = Path(os.environ.get("IFCDSR_MIRROR") or ROOT.parent / "shared" / "mirror")
needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason="no real data: IFCDSR_MIRROR names no mirror of it")


# ---------------------------------------------------------------------------- the rules once more, naively


# Below, a row of a log is (user, time, domain, item); a sequence is (user, its place among the user's, run), where a
# run holds (time, domain, item). ``drawn`` gives a row's place among those of its time.


def naive(x: list, y: list, rules: Rules) -> list[tuple[str, str, tuple]]:
    """The sequences as (user, "train" or "held out", ((time, domain, item), ...)), written from the rules' text.

    With ``halves`` "time" held-out sequences say which half.
    """
    log = [(user, time, "x", item) for user, item, time in x] + [(user, time, "y", item) for user, item, time in y]
    if rules.shared_items == "drop":
        shared = {item for _, item, _ in x} & {item for _, item, _ in y}
        log = [row for row in log if row[3] not in shared]
    steps = [naive_overlap, naive_minimum] if rules.overlap else [naive_minimum]
    for step in reversed(steps) if rules.filter_first else steps:
        log = step(log, rules)
    sequences = naive_sequences(log, rules)
    held_out = naive_held_out(sequences, rules)
    train = [s for s in sequences if s not in held_out]
    if rules.per_user == "one":
        train = [s for s in train if is_latest(s, train)]
    if rules.leaks in ("drop", "strict"):
        train = [s for s in train if not naive_leak(s, held_out, rules)]
    label = {}
    for place, s in enumerate(held_out):
        label[s] = "held out" if rules.halves == "random" else "valid" if place < len(held_out) // 2 else "test"
    return sorted((s[0], label.get(s, "train"), s[2]) for s in [*train, *held_out])


@cache
def one_draw(seed: int, user: str, time: int, domain: str, item: str) -> int:
    """The module's draw for an interaction that is the only one there is."""
    table = pl.DataFrame({"u": [0], "i": [0], "time": [time]})
    items = [pl.Series([item] if part == domain else [], dtype=pl.String) for part in "xy"]
    return int(_drawn(table, pl.Series([user]), items, seed)[0])


def drawn(user: str, row: tuple, rules: Rules) -> int:
    return one_draw(rules.seed, user, *row) if rules.ties == "drawn" else 0


def naive_overlap(log: list, rules: Rules) -> list:
    """Users of both domains."""
    domains = {}
    for user, _, domain, _ in log:
        domains.setdefault(user, set()).add(domain)
    return [row for row in log if len(domains[row[0]]) == 2]


def naive_minimum(log: list, rules: Rules) -> list:
    """The first of repeats, then users and items with enough interactions."""
    if rules.repeats == "first":
        log = naive_first(log)
    while True:
        kept = naive_frequent(log, rules)
        if rules.filter_rounds == "once" or len(kept) == len(log):
            return kept
        log = kept


def naive_first(log: list) -> list:
    first = {}
    for row in sorted(log):
        first.setdefault((row[0], row[2], row[3]), row)
    return list(first.values())


def naive_frequent(log: list, rules: Rules) -> list:
    users, items = Counter(row[0] for row in log), Counter(row[2:] for row in log)
    each = Counter((row[0], row[2]) for row in log)
    return [
        row
        for row in log
        if items[row[2:]] >= rules.min_item
        and (
            users[row[0]] >= rules.min_user
            if rules.count_in == "both"
            else min(each[row[0], "x"], each[row[0], "y"]) >= rules.min_user
        )
    ]


def naive_sequences(log: list, rules: Rules) -> list:
    """Every user's history, cut, and of its pieces those that are long enough in both domains."""
    cut = naive_sliding if rules.windows == "sliding" else naive_pieces
    sequences = []
    for user in sorted({row[0] for row in log}):
        history = [row[1:] for row in log if row[0] == user]
        history.sort(key=lambda row: (row[0], drawn(user, row, rules), row))
        for position, run in enumerate(cut(history, rules)):
            per_domain = Counter(domain for _, domain, _ in run)
            if len(run) >= rules.min_length and min(per_domain["x"], per_domain["y"]) >= rules.min_per_domain:
                sequences.append((user, position, tuple(run)))
    return sequences


def naive_sliding(history: list, rules: Rules) -> list:
    """Every run that fits and is part of no other that fits."""

    def fits(run):
        return run[-1][0] - run[0][0] <= rules.window_days * DAY and len(run) <= rules.max_length

    n = len(history)
    runs = [(i, j) for i in range(n) for j in range(i + 1, n + 1) if fits(history[i:j])]
    return [history[i:j] for i, j in runs if not any((a <= i and j <= b) and (a, b) != (i, j) for a, b in runs)]


def naive_pieces(history: list, rules: Rules) -> list:
    """One run after the other, each as long as may be."""
    n, found, i = len(history), [], 0
    while i < n:
        j = i + 1
        while (
            j < n
            and history[j][0] - history[i][0] <= rules.window_days * DAY
            and (rules.windows == "latest" or j - i < rules.max_length)
        ):
            j += 1
        found.append(history[i:j][-rules.max_length :])
        i = j
    return found


def naive_held_out(sequences: list, rules: Rules) -> list:
    """Those held out, by the time at which they end."""
    by_end = sorted(sequences, key=lambda s: (s[2][-1][0], drawn(s[0], s[2][-1], rules), s[0], s[1]))
    if rules.held_out == "latest":
        return [s for s in by_end if is_latest(s, sequences)]
    number = round(rules.held_out_share * len(sequences))
    return by_end[len(sequences) - number :]


def is_latest(s: tuple, sequences: list) -> bool:
    """Is it its user's latest among these?"""
    return s == max(t for t in sequences if t[0] == s[0])


def naive_leak(s: tuple, held_out: list, rules: Rules) -> bool:
    others = [t[2] for t in held_out if t[0] == s[0]]
    target = any(t[-1] in s[2] for t in others)
    later = any(row[0] > t[-1][0] for t in others for row in s[2])
    shares = any(row in t for t in others for row in s[2])
    return target or later or (rules.leaks == "strict" and shares)


def parquet(folder: Path, x: list, y: list) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "x.parquet", folder / "y.parquet"
    for path, rows in zip(paths, (x, y), strict=True):
        schema = {"user": pl.String, "item": pl.String, "time": pl.Int64}
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(path)
    return paths


def ours(folder: Path, x: list, y: list, rules: Rules) -> list[tuple[str, str, tuple]]:
    """The same as ``naive`` by the module; no sequence at all is an empty list here."""
    try:
        items, sequences, _ = partition(*parquet(folder, x, y), rules)
    except InputError as error:
        assert "leave no sequence" in str(error)
        return []
    domain, name = items["domain"].tolist(), items["source_id"].tolist()
    assert items["item"].tolist() == list(range(1, len(items) + 1))
    assert list(zip(domain, name, strict=True)) == sorted(set(zip(domain, name, strict=True)))
    assert {i for seq in sequences["items"] for i in seq} == set(items["item"])
    assert sequences["split"].tolist() == sorted(sequences["split"], key=["train", "valid", "test"].index)
    rows = []
    for row in sequences.itertuples():
        run = tuple((int(t), domain[i - 1], name[i - 1]) for i, t in zip(row.items, row.timestamps, strict=True))
        assert row.target_domain == run[-1][1]
        label = row.split if rules.halves == "time" or row.split == "train" else "held out"
        rows.append((row.user, label, run))
    return sorted(rows)


# ---------------------------------------------------------------------------- the planted world


WORLD = Planted()


def test_the_planted_world_is_recovered(tmp_path):
    found = {}
    for user, label, run in ours(tmp_path, WORLD.x, WORLD.y, Rules(ties="by_name")):
        found.setdefault(user, {})[label, run[-1][0]] = [name for _, _, name in run]
    for user, expected in WORLD.expected.items():
        sequences = found.pop(user, {})
        assert [sequences[key] for key in sorted(sequences, key=lambda key: key[1])] == expected, user
        assert [label for label, _ in sorted(sequences, key=lambda key: key[1])] == (
            ["train"] * (len(expected) - 1) + ["held out"] * bool(expected)
        ), user
    assert found == {}  # nothing of the crowd


SIX = ["X00", "X01", "X02", "Y00", "Y01", "Y02"]
SIXTEEN = [f"{'XY'[number % 2]}{number:02d}" for number in range(16)]
OTHER_VALUES = [  # a rule's other value, a user, and that user's sequences under it
    ({"min_user": 9}, "NINE", [SIX]),
    ({"min_user": 11}, "TEN", []),
    ({"min_item": 9}, "RARE", [["XNINE", *SIX]]),
    ({"min_item": 11}, "COMMON", [SIX]),
    ({"window_days": 366}, "DAY366", [SIX]),
    ({"window_days": 364}, "DAY365", []),
    ({"max_length": 16}, "SIXTEEN", [SIXTEEN]),
    ({"max_length": 14}, "FIFTEEN", [SIXTEEN[:14], SIXTEEN[1:15]]),
    ({"min_length": 7}, "TEN", []),
    ({"min_length": 5, "min_per_domain": 2}, "FIVE", [SIX[1:]]),
    ({"min_per_domain": 2}, "TWOY", [["X00", "X01", "X02", "X03", "Y00", "Y01"]]),
    ({"windows": "pieces"}, "SIXTEEN", [SIXTEEN[:15]]),
    ({"windows": "latest"}, "SIXTEEN", [SIXTEEN[1:]]),
    ({"filter_first": True}, "SOLO", [["XSOLO", *SIX]]),
    ({"repeats": "all"}, "REPEAT", [[*SIX, "X00"]]),
    ({"shared_items": "keep"}, "SHARED", [["XBOTH", "XBOTH", *SIX]]),
    ({"count_in": "each"}, "TEN", []),
    ({"per_user": "one"}, "YEARS", WORLD.expected["YEARS"][1:]),
]


@pytest.mark.parametrize("rule, user, expected", OTHER_VALUES, ids=lambda value: str(value)[:40])
def test_each_rule_has_its_threshold(rule, user, expected, tmp_path):
    assert WORLD.expected[user] != expected  # the rule makes the difference
    found = [run for name, _, run in ours(tmp_path, WORLD.x, WORLD.y, replace(Rules(), **rule)) if name == user]
    assert [[name for _, _, name in run] for run in sorted(found, key=lambda run: run[-1][0])] == expected


EVERY_VALUE = [
    {},
    *(dict(rule) for rule, *_ in OTHER_VALUES),
    {"ties": "by_name"},
    {"overlap": False},
    {"filter_rounds": "stable"},
    {"held_out": "share", "held_out_share": 0.5},
    {"halves": "time"},
    {"leaks": "strict"},
    {"leaks": "keep"},
]


@pytest.mark.slow
@pytest.mark.parametrize("rule", EVERY_VALUE, ids=str)
def test_each_rule_against_the_naive_version(rule, tmp_path):
    rules = replace(Rules(), **rule)
    assert ours(tmp_path, WORLD.x, WORLD.y, rules) == naive(WORLD.x, WORLD.y, rules)


# ---------------------------------------------------------------------------- random worlds


def random_case(seed: int) -> tuple[list, list, Rules]:
    """A small dense world, in which every rule bites, and rules drawn at random."""
    random = np.random.default_rng(seed)
    logs = {"x": [], "y": []}
    for _ in range(random.integers(20, 160)):
        domain = "xy"[random.integers(2)]
        item = f"{domain}{random.integers(random.integers(2, 9))}" if random.random() < 0.95 else "shared"
        time = int(random.integers(40) * DAY + random.choice([0, 0, 0, 1, DAY - 1])) + 1
        logs[domain].append((f"u{random.integers(7)}", item, time))
    pick = {
        name: str(random.choice(known))
        for name, known in {
            "shared_items": ["drop", "keep"],
            "ties": ["drawn", "by_name"],
            "repeats": ["first", "all"],
            "count_in": ["both", "each"],
            "filter_rounds": ["once", "stable"],
            "windows": ["sliding", "pieces", "latest"],
            "held_out": ["latest", "share"],
            "halves": ["random", "time"],
            "per_user": ["several", "one"],
            "leaks": ["drop", "strict", "keep"],
        }.items()
    }
    least = int(random.integers(0, 4))
    rules = Rules(
        **pick,
        overlap=bool(random.integers(2)),
        filter_first=bool(random.integers(2)),
        min_user=int(random.integers(1, 9)),
        min_item=int(random.integers(1, 7)),
        window_days=int(random.integers(0, 30)),
        min_length=int(random.integers(2, 6)),
        min_per_domain=least,
        max_length=int(random.integers(max(6, 2 * least), 12)),
        held_out_share=float(random.uniform(0.1, 0.9)),
    )
    return logs["x"], logs["y"], rules


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 8))])
def test_random_worlds_against_the_naive_version(block, tmp_path):
    not_empty = 0
    for seed in range(25 * block, 25 * block + 25):
        x, y, rules = random_case(seed)
        if not x or not y:
            continue
        expected = naive(x, y, rules)
        assert ours(tmp_path, x, y, rules) == expected, (seed, rules)
        not_empty += bool(expected)
    assert not_empty >= 10


def test_random_halves_are_halves_and_follow_the_seed(tmp_path):
    splits = {}
    for seed in (0, 0, 1):
        sequences = partition(*parquet(tmp_path, WORLD.x, WORLD.y), Rules(seed=seed))[1]
        counts = sequences["split"].value_counts()
        assert 0 <= counts["test"] - counts["valid"] <= 1
        test = tuple(sequences.loc[sequences["split"] == "test", "user"])
        assert splits.setdefault(seed, test) == test
    assert splits[0] != splits[1]


CODE = """
import sys, hashlib, json
from pathlib import Path
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources.amazon.partition import Rules, partition
folder = Path(sys.argv[1])
items, sequences, account = partition(folder / "x.parquet", folder / "y.parquet", Rules(min_user=2, min_item=2))
items["title"] = items["image"] = None
print(json.dumps([Scenario("food_kitchen", "amazon", items, sequences).fingerprint, account]))
"""


@pytest.mark.slow
def test_row_order_and_threads_make_no_difference(tmp_path):
    random, outcomes = np.random.default_rng(5), set()
    world = [
        [
            (f"u{random.integers(2000)}", f"{d}{random.integers(300)}", int(random.integers(1, 900)) * DAY)
            for _ in range(20_000)
        ]
        for d in "xy"
    ]
    for threads in ("1", "4", "4"):
        for rows in world:
            random.shuffle(rows)
        parquet(tmp_path, *world)
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "POLARS_MAX_THREADS": threads},
        )
        assert done.returncode == 0, done.stderr
        outcomes.add(done.stdout)
    assert len(outcomes) == 1
    assert json.loads(outcomes.pop())[1]["funnel"][-1]["sequences"] > 500


# ---------------------------------------------------------------------------- the order of equal times


def one_day(users: int, items: int, seed: int = 7) -> tuple[list, list]:
    """Without any pattern: every user has six items of each domain, drawn evenly, all on one day."""
    random = np.random.default_rng(seed)
    return tuple(
        [
            (f"u{user:04d}", f"B{item:02d}{domain}", 15_000 * DAY)
            for user in range(users)
            for item in random.choice(items, 6, replace=False)
        ]
        for domain in "XY"
    )


def next_in_list(items: pd.DataFrame, sequences: pd.DataFrame) -> float:
    """MRR of a model that knows only the list of items: what follows the largest number in the history comes first."""
    num_x, ranks = int((items["domain"] == "x").sum()), []
    for row in sequences.itertuples():
        ids = np.arange(1, num_x + 1) if row.target_domain == "x" else np.arange(num_x + 1, len(items) + 1)
        ahead = ids - max(np.intersect1d(row.items[:-1], ids), default=ids[0] - 1)
        score = np.where(ahead > 0, -ahead, -1000)
        own = score[ids == row.items[-1]][0]
        ranks.append(1 + (score > own).sum() + ((score == own).sum() - 1) / 2)
    return float((1 / np.array(ranks)).mean())


def test_the_list_of_items_tells_nothing_of_the_target(tmp_path):
    """Six items of each domain on one day, of 60: a target can be any of the twelve."""
    paths = parquet(tmp_path, *one_day(600, 60))
    chance = (1 / np.arange(1, 61)).mean()  # 7.8 %
    found = {}
    for ties in ("drawn", "by_name"):
        items, sequences, account = partition(*paths, Rules(min_user=2, min_item=2, ties=ties))
        found[ties] = next_in_list(items, sequences)
        assert account["target_ties"] == {"held_out_sequences": 600, "tied": 600}
        in_y = (sequences["target_domain"] == "y").mean()
        assert in_y == 1 if ties == "by_name" else 0.44 < in_y < 0.56
    assert found["drawn"] < 1.1 * chance and found["by_name"] > 2.5 * chance


def test_every_order_of_a_day_comes_as_often(tmp_path):
    """Also of the same items at other times, and with another seed."""
    names = [("X", "a"), ("X", "b"), ("Y", "a"), ("Y", "b")]
    logs = [
        [
            (f"u{user}", name, (15_000 + user % 7) * DAY)
            for user in range(4_800)
            for domain, name in names
            if domain == d
        ]
        for d in "XY"
    ]
    loose = Rules(min_user=1, min_item=1, min_length=2, min_per_domain=0, shared_items="keep")
    orders = {}
    for seed in (0, 1):
        sequences = partition(*parquet(tmp_path, *logs), replace(loose, seed=seed))[1]
        orders[seed] = dict(zip(sequences["user"], map(tuple, sequences["items"]), strict=True))
        count = np.array(list(Counter(orders[seed].values()).values()))
        assert len(count) == 24 and ((count - 200) ** 2 / 200).sum() < 50  # chi-squared, 23 degrees: 1 in 1,000
    same = np.mean([orders[1][user] == order for user, order in orders[0].items()])
    assert 0.02 < same < 0.07  # 1 in 24


def test_the_order_of_a_day_is_the_users_own(tmp_path):
    """Neither other users nor another item, nor the order of the files, change it."""
    x, y = one_day(50, 20)
    rules = Rules(min_user=1, min_item=1)

    def orders(x: list, y: list) -> dict[str, list[str]]:
        items, sequences, _ = partition(*parquet(tmp_path, x, y), rules)
        names = items["source_id"].to_numpy()
        return {row.user: names[row.items - 1].tolist() for row in sequences.itertuples()}

    everything = orders(x, y)
    some = {f"u{user:04d}" for user in range(0, 50, 3)}
    assert orders([row for row in x if row[0] in some][::-1], [row for row in y if row[0] in some]) == {
        user: order for user, order in everything.items() if user in some
    }
    fewer = orders([row for row in x if row[1] != "B07X"], y)
    assert fewer == {user: [name for name in order if name != "B07X"] for user, order in everything.items()}


def test_a_draw_keeps_its_value():
    """Scenarios are told by their fingerprints: another version of the hash would be another scenario."""
    assert one_draw(0, "AUSER", 1_300_000_000, "x", "B0") == 17254127599559104667
    assert one_draw(0, "AUSER", 1_300_000_000, "y", "B0") == 9978058247716633704
    assert one_draw(10**30, "AUSER", 1_300_000_000, "x", "B0") == 16246667081888596895


def test_sequences_that_end_together_are_not_held_out_by_name(tmp_path):
    x, y = one_day(400, 20)
    for ties, least, most in (("drawn", 10, 45), ("by_name", 100, 100)):
        rules = Rules(min_user=1, min_item=1, held_out="share", held_out_share=0.25, ties=ties)
        sequences = partition(*parquet(tmp_path, x, y), rules)[1]
        held_out = sequences.loc[sequences["split"] != "train", "user"]
        assert len(held_out) == 100 and least <= (held_out >= "u0300").sum() <= most


def test_tied_targets_are_those_of_held_out_sequences():
    table = pd.DataFrame(
        [
            sequence("a", "train", (1, 10), (2, 10)),
            sequence("a", "valid", (1, 10), (2, 20), (3, 20)),
            sequence("b", "test", (1, 20), (2, 20), (3, 30)),
            sequence("c", "test", (1, 20), (2, 20)),
        ]
    )
    assert tied_targets(table) == {"held_out_sequences": 3, "tied": 2}


# ---------------------------------------------------------------------------- leakage


def sequence(user: str, split: str, *pairs: tuple[int, int]) -> dict:
    items, times = zip(*pairs, strict=True)
    return {
        "user": user,
        "split": split,
        "target_domain": "x",
        "items": np.array(items, dtype=np.int32),
        "timestamps": np.array(times),
    }


def test_a_planted_leak_is_found():
    table = pd.DataFrame(
        [
            sequence("a", "train", (1, 10), (2, 20)),  # history of the test sequence: no leak, but shared
            sequence("a", "train", (3, 30), (1, 31)),  # its target, and something later
            sequence("a", "train", (3, 29), (4, 30)),  # the target's item at another time, another item at its time
            sequence("a", "test", (2, 20), (5, 25), (3, 30)),
            sequence("b", "train", (3, 30), (2, 99)),  # another user's
            sequence("c", "train", (7, 45), (8, 50)),  # not later than the test target, but than the validation target
            sequence("c", "valid", (1, 20), (2, 40)),
            sequence("c", "test", (1, 50), (2, 60)),
        ]
    )
    counts, leaking, sharing = leakage(table)
    assert counts == {"targets": 1, "later": 3, "history": 1, "training_sequences": 2, "held_out_sequences": 3}
    assert np.flatnonzero(leaking).tolist() == [1, 5]
    assert np.flatnonzero(sharing).tolist() == [0, 1]


def leaky_world() -> tuple[list, list]:
    """A user whose last purchase is recorded twice, so that it also ends a training sequence."""
    names = [f"{'xy'[n % 2]}{n}" for n in range(16)]
    rows = [("u", name, (n + 1) * DAY) for n, name in enumerate(names)] + [("u", names[-1], 16 * DAY)]
    return [row for row in rows if row[1][0] == "x"], [row for row in rows if row[1][0] == "y"]


def test_what_leaks_is_dropped_refused_or_kept(tmp_path):
    paths = parquet(tmp_path, *leaky_world())
    rules = Rules(min_user=1, min_item=1, repeats="all")
    account = partition(*paths, rules)[2]
    assert account["leakage"]["targets"] == account["leakage"]["training_sequences"] == 1
    assert account["leakage_left"]["targets"] == account["leakage_left"]["training_sequences"] == 0
    assert account["leakage_left"]["history"] > 0
    assert partition(*paths, replace(rules, leaks="strict"))[2]["leakage_left"]["history"] == 0
    assert partition(*paths, replace(rules, leaks="keep"))[2]["leakage_left"]["targets"] == 1
    with pytest.raises(InputError, match="1 training sequences leak .*drop, strict or keep"):
        partition(*paths, replace(rules, leaks="refuse"))
    partition(*paths, replace(rules, leaks="refuse", repeats="first"))


# ---------------------------------------------------------------------------- wrong rules, no result


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"windows": "cut"}, "unknown windows 'cut': choose one of sliding, pieces, latest"),
        ({"min_user": 0}, "min_user is 0: it must be at least 1"),
        ({"min_length": 1}, "min_length is 1: it must be at least 2"),
        ({"max_length": 5}, "max_length is 5: it must be at least 6"),
        ({"min_per_domain": 8}, "max_length is 15: it must be at least 16"),
        ({"window_days": -1}, "window_days is -1"),
        ({"ties": "random"}, "unknown ties 'random': choose one of drawn, by_name"),
        ({"held_out_share": 1.0}, "held_out_share is 1.0: it must be more than 0 and less than 1"),
    ],
)
def test_a_rule_that_cannot_be(wrong, says):
    with pytest.raises(InputError, match=says):
        Rules(**wrong)


@pytest.mark.parametrize("x", [[], [("u", "x", DAY)]])
def test_no_sequence_left_says_where_they_went(x, tmp_path):
    with pytest.raises(InputError, match="leave no sequence; .*step read, interactions .*; step minimum, once"):
        partition(*parquet(tmp_path, x, [("u", "y", DAY)]), Rules())


def test_every_rule_is_used_by_the_naive_version_and_varied():
    varied = {name for rule in EVERY_VALUE for name in rule}
    assert varied | {"seed"} == set(asdict(Rules()))


# ---------------------------------------------------------------------------- at size


def test_a_large_world_has_long_tails_and_a_third_of_the_users_in_both_domains(tmp_path):
    x, y = (pd.read_csv(path, names=["user", "item", "rating", "time"]) for path in write_sized(tmp_path, 60_000))
    assert (len(x), len(y)) == (10_000, 50_000)
    users = pd.concat([x, y]).groupby("user").size()
    both = set(x["user"]) & set(y["user"])
    assert {int(user[1:]) % 3 for user in both} == {0}  # one of three; some of these have no rating in one domain
    assert 0.1 < len(both) / len(users) < 1 / 3
    assert users.median() <= 3 and users.max() > 50 and y.groupby("item").size().max() > 500
    assert not set(x["item"]) & set(y["item"])


@pytest.mark.slow
def test_the_benchmark_compares_what_agrees(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "partition.py", "--out", tmp_path / "found.json"]
        + "--sizes 15000 30000 --pandas-up-to 15000".split(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["ratios"][0]["same_sequences"] is True
    assert found["results"][3]["skipped"].startswith("by the run before")
    assert found["results"][0]["sequences"] > 0 and found["results"][0]["peak_bytes"] > 10**7
    assert found["machine"]["cores"] >= 1


# ---------------------------------------------------------------------------- the released files


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """``released(scenario)``: that of C2DSR, read once."""
    folder = tmp_path_factory.mktemp("released")

    @cache
    def read(name: str) -> Scenario:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IFCDSR_MIRROR", str(MIRROR))
            patch.setenv("IFCDSR_DATA", str(folder))
            return prepare("c2dsr", name, train_file=False)

    return read


@needs_mirror
@pytest.mark.slow
@pytest.mark.parametrize("windows", ["sliding", "pieces", "latest"])
@pytest.mark.parametrize("name, days", [("food_kitchen", 365), ("movie_book", 30)])
def test_the_released_sequences_satisfy_the_rules(released, name, days, windows, tmp_path):
    """Each validation and test sequence of C2DSR, taken for a user's whole history, comes back as it is."""
    released = released(name)
    asin, domain = released.items["source_id"].to_numpy(), released.items["domain"].to_numpy()
    assert len(set(asin)) == len(asin)  # no item in both domains
    assert released.sequences["user"].is_unique
    flat, length = released.flat_items
    rows = pd.DataFrame(
        {
            "user": np.repeat(released.sequences["user"].to_numpy(), length),
            "item": asin[flat - 1],
            "time": np.concatenate([*released.sequences["timestamps"]]),
            "domain": domain[flat - 1],
        }
    )
    paths = []
    for part in "xy":
        paths.append(tmp_path / f"{part}.parquet")
        rows.loc[rows["domain"] == part, ["user", "item", "time"]].to_parquet(paths[-1], index=False)
    # the files have X before Y within a day
    rules = Rules(min_user=1, min_item=1, window_days=days, windows=windows, ties="by_name", leaks="refuse")
    items, sequences, account = partition(*paths, rules)
    assert len(sequences) == len(released.sequences) and (sequences["split"] != "train").all()
    assert {(step["step"], step.get("interactions")) for step in account["funnel"][:3]} == {
        (step, len(rows)) for step in ("read", "users of both domains", "first of repeats")
    }
    merged = sequences.merge(released.sequences, on="user", suffixes=("", "_released"))
    assert (merged["target_domain"] == merged["target_domain_released"]).all()
    assert all(np.array_equal(a, b) for a, b in zip(merged["timestamps"], merged["timestamps_released"], strict=True))
    names = items["source_id"].to_numpy()
    assert all(
        set(names[a - 1]) == set(asin[b - 1]) for a, b in zip(merged["items"], merged["items_released"], strict=True)
    )
