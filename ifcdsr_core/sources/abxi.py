"""Histories of users of two domains, complete and with times: the files of ABXI (Bian et al., WWW 2025).

https://github.com/DiMarzioBian/ABXI. Made by its authors from Amazon's ratings of 2014: items of ten ratings or more,
the last 50 of each user, and of users those with five or more in each domain. A line is ``<user>`` and, for each
interaction, ``<item>|<unix time>``, separated by blanks and in order of time. Users are numbered from 0, items from 1,
A (our X) before B (our Y), both in the order of their ids at Amazon.

Splits. Leave one out, as the authors do: the last item of a user is the target of the test, the one before it that of
the validation, whatever their domains, and what comes before them is trained on. So a user has three sequences, each
the beginning of the next one.

Ties. Times are days. Items of one day stand in the order of their numbers, without an exception in Food-Kitchen and
Beauty-Electronics, and 32 % of the test targets have the day of the item before. Where the last day holds items of both
domains, the target is of Y by this rule: its domain is a convention of the file, not something seen.
``counts.order_ties`` counts them; the option ``ties`` draws their order anew. Items are numbered at random on reading,
so that no model can read this rule off their numbers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.files import reading
from ifcdsr_core.scenario import READ_AS, SPLITS, Scenario, in_drawn_order, numbered
from ifcdsr_core.sources import llmcdsr
from ifcdsr_core.sources.amazon import EARLIEST, LATEST
from ifcdsr_core.sources.download import published

VERSION = 2
REPOSITORY = "DiMarzioBian/ABXI/72e52c9f85c740cb5dbdab11f7e5a70eb28ae00d"
FOLDERS = {"food_kitchen": "afk", "movie_book": "amb", "beauty_electronics": "abe"}
SCENARIOS = tuple(FOLDERS)
OPTIONS = {
    "titles": False,  # True: titles of LLMCDSR's files, joined by ASIN; it has none of Beauty-Electronics
    "numbering": "redrawn",  # items numbered at random; published: by ASIN
    "ties": "published",  # redrawn: items of one day in random order, before the targets are chosen
}
ITEM_FILE, USER_FILE = "map_item_50.txt", "map_user_50.txt"
HELD_OUT = {"train": 2, "valid": 1, "test": 0}  # last items of a user that a split does not see

_REMEDY = "delete it, or put a good copy in its place"
_NAME = re.compile(r"[!-~]+")
_LINE = re.compile(r"(\d{1,9})((?: \d{1,9}\|\d{1,11})+)", re.ASCII)
_INTERACTION = re.compile(r" (\d+)\|(\d+)", re.ASCII)

History = tuple[np.ndarray, np.ndarray]  # items and unix times of a user (length,), the oldest first


def build(scenario: str, folder: Path, *, titles: bool, numbering: str, ties: str) -> Scenario:
    """Read one scenario; there are no pictures, titles only those of another source, and ``source_id`` is the ASIN.

    Args:
        scenario: ``food_kitchen``, ``movie_book`` or ``beauty_electronics``.
        folder: not used, the files hold no pictures.
        titles: give each item the title that ``llmcdsr`` has for its ASIN, None where it has none.
        numbering: of items, see ``scenario.numbered``.
        ties: order of items of the same time: ``published``, by number, or ``redrawn``, at random.

    Raises:
        InputError: a file is not available, is damaged, or has a malformed line (named by file and number); there are
            no titles of the scenario.
    """
    choose("ties", ties, READ_AS)
    histories_file = files(scenario)[0]
    names = {file: f"{REPOSITORY}/data/{FOLDERS[scenario]}/{file}" for file in files(scenario)}
    paths = {file: published.fetch(name) for file, name in names.items()}

    ids_x, ids_y = read_items(paths[ITEM_FILE])
    items, title_files = llmcdsr.items_by_asin("abxi", scenario, ids_x, ids_y, titles=titles)
    histories = read_histories(paths[histories_file], len(read_users(paths[USER_FILE])), len(items))
    if ties == "redrawn":
        times_of = [times for _, times in histories]
        drawn = in_drawn_order([items for items, _ in histories], times_of)
        histories = list(zip(drawn, times_of, strict=True))
    sequences, counts = leave_one_out(histories, len(ids_x))
    if sequences.empty:
        raise InputError(f"{paths[histories_file]} holds no user with two items: {_REMEDY}")
    provenance = {
        "files": {file: published.describe(names[file], path) for file, path in paths.items()} | title_files,
        "users": counts,
    }
    return numbered(Scenario(scenario, "abxi", items, sequences, provenance), numbering)


def files(scenario: str) -> tuple[str, str, str]:
    """Names of a scenario's files: histories, items, users."""
    return f"{FOLDERS[scenario]}_50_preprocessed.txt", ITEM_FILE, USER_FILE


def read_items(path: Path) -> tuple[list[str], list[str]]:
    """ASINs of X and of Y, in the order of their numbers."""
    asins, domains = [], []
    for number, (asin, value) in enumerate(_read_map(path), start=1):
        if value not in ([number, 0], [number, 1]) or set(map(type, value)) != {int}:
            raise InputError(f"{path}: expected [{number}, 0] or [{number}, 1] for {asin}, found {value!r:.80}")
        asins.append(asin)
        domains.append(value[1])
    if domains != sorted(domains) or set(domains) != {0, 1}:
        raise InputError(f"{path}: expected items of domain 0, then items of domain 1")
    num_items_x = domains.index(1)
    return asins[:num_items_x], asins[num_items_x:]


def read_users(path: Path) -> list[str]:
    """Ids of the users at Amazon, in the order of their numbers, which the file must count from 0."""
    users = _read_map(path)
    for number, (user, value) in enumerate(users):
        if type(value) is not int or value != number:
            raise InputError(f"{path}: expected {number} for user {user}, found {value!r:.80}")
    return [user for user, _ in users]


def _read_map(path: Path) -> list[tuple[str, object]]:
    """Names and values of a file that is one JSON object, in its order; each name once."""
    with reading(path, _REMEDY):
        pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise InputError(f"{path}: expected a JSON object from names to numbers")
    known = set()
    for name, _ in pairs:
        if not _NAME.fullmatch(name) or name in known:
            raise InputError(f"{path}: expected ids of Amazon, each once, found {name!r:.80}")
        known.add(name)
    return pairs


def read_histories(path: Path, num_users: int, num_items: int) -> list[History]:
    """The histories of all users, in order of their numbers."""
    histories = []
    for number, line in published.lines(path):
        match = _LINE.fullmatch(line)
        if not match:
            raise published.malformed(
                path, number, "'<user>' and one or more '<item>|<unix time>', separated by blanks"
            )
        if int(match[1]) != number - 1:
            raise published.malformed(path, number, f"user {number - 1}, found {match[1]}")
        items, times = np.array(_INTERACTION.findall(match[2])).astype(np.int64).T  # (length,) each
        if not 1 <= items.min() <= items.max() <= num_items:
            raise published.malformed(
                path, number, f"items from 1 to {num_items}, found {items.min()} to {items.max()}"
            )
        if not EARLIEST <= times.min() <= times.max() < LATEST:
            raise published.malformed(path, number, f"times of 1995 to 2099, found {times.min()} to {times.max()}")
        if np.any(times[1:] < times[:-1]):
            raise published.malformed(path, number, "interactions in the order of time")
        histories.append((items.astype(np.int32), times))
    if len(histories) != num_users:
        raise InputError(f"{path} has {len(histories)} users, {USER_FILE} has {num_users}: put good copies there")
    return histories


def leave_one_out(histories: list[History], num_items_x: int) -> tuple[pd.DataFrame, dict]:
    """A sequence for each split of each user that is long enough for one, and what was found.

    Counted are ``lines`` (users), ``one_domain`` (users with items of one domain only) and ``too_short``, by split (a
    sequence needs two items).
    """
    rows, too_short = [], dict.fromkeys(SPLITS, 0)
    for split in SPLITS:
        for user, (items, times) in enumerate(histories):
            length = len(items) - HELD_OUT[split]
            if length < 2:
                too_short[split] += 1
                continue
            target_domain = "x" if items[length - 1] <= num_items_x else "y"
            rows.append((str(user), split, target_domain, items[:length], times[:length]))
    one_domain = sum((items <= num_items_x).all() or (items > num_items_x).all() for items, _ in histories)
    table = pd.DataFrame(rows, columns=["user", "split", "target_domain", "items", "timestamps"])
    return table, {"lines": len(histories), "one_domain": int(one_domain), "too_short": too_short}
