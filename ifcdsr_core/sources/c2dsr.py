"""The paper's own data: the corrected files of C2DSR (Cao et al., CIKM 2022), on which Table 1 rests.

https://github.com/crystal22/C2DSR. A line of a sequence file is ``<user> <sequence>`` and, for each interaction,
``<item>|<unix time>|<date>|``, all separated by tabs. Items are numbered from 0, X before Y.

The target. A line is not in order of time: it is the merged history, then the last X, then the last Y interaction.
Sorted by unix time, stably, its last item is the target, and each domain has as many targets as Table 1 says. Taken as
they stand, all lines would end in Y, so that can't be the paper's reading. Where the last X and the last Y fall on the
same day, the stable sort leaves Y behind X: such a target's domain is a convention of the file, not something seen.
``counts.order_ties`` counts them. What orders items of one domain within a day is not known; it stays as published.

Numbers as published tell targets: items are numbered as they first appear, user after user. Of Food-Kitchen's test
targets a quarter are the number after the largest of their domain in the history. The book's models learn a vector for
each number and never compute with it; one that does would read the answer.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.scenario import READ_AS, Scenario, in_drawn_order, numbered
from ifcdsr_core.sources import llmcdsr
from ifcdsr_core.sources.amazon import EARLIEST, LATEST
from ifcdsr_core.sources.download import published

VERSION = 1
REPOSITORY = "crystal22/C2DSR/fc35340bae4486767a3856a8f0794247511d2bb5"
FOLDERS = {"food_kitchen": "Food-Kitchen", "movie_book": "Movie-Book"}
SCENARIOS = tuple(FOLDERS)
OPTIONS = {
    "train_file": True,  # False: do without the training file; then there is no train split
    "train": "published",  # rebuilt: a train split from other files in the place of the training file, see ``rebuilt``
    "titles": False,  # True: titles of LLMCDSR's files, joined by ASIN; about half of the items have one there
    "numbering": "published",  # redrawn: items numbered at random
    "ties": "published",  # redrawn: items of one day in random order, before the target is chosen
}
TRAIN = ("published", "rebuilt")
EARLIER_FILE = "val.txt"  # replaced since by val_new.txt: it held sequences of users whose later ones were trained on
SPLIT_FILES = {"train": "train_new.txt", "valid": "val_new.txt", "test": "test_new.txt"}

_ITEM_LINE = re.compile(r"\d{1,9}\t([!-~]+)\t(\d{1,9})", re.ASCII)
_USER_LINE = re.compile(r"([!-~]+)\t(\d{1,9})", re.ASCII)
_SEQUENCE_LINE = re.compile(r"(\d{1,9})\t(\d{1,9})((?:\t\d{1,9}\|\d{1,11}\|[^|\t]*\|){2,})", re.ASCII)
_INTERACTION = re.compile(r"\t(\d+)\|(\d+)\|", re.ASCII)


def build(scenario: str, folder: Path, *, train_file: bool, train: str, titles: bool, **order: str) -> Scenario:
    """Read one scenario; there are no pictures, titles only those of another source, and ``source_id`` is the ASIN.

    Args:
        scenario: ``food_kitchen`` or ``movie_book``.
        folder: not used, the files hold no pictures.
        train_file: False builds a scenario without a train split, for those who do not have the training file.
        train: ``rebuilt`` adds a train split made of other files (see ``rebuilt``); the training file is then not read,
            whatever ``train_file`` is.
        titles: give each item the title that ``llmcdsr`` has for its ASIN, None where it has none.
        order: ``numbering`` of items, see ``scenario.numbered``; ``ties``, the order of items of the same time:
            ``published``, X before Y within a day, or ``redrawn``, at random.

    Raises:
        InputError: a file is not available, is damaged, or has a malformed line (named by file and number); unknown
            ``train``; as ``rebuilt.train_split``.
    """
    rebuild = choose("train", train, TRAIN) == "rebuilt"
    wanted = {split: name for split, name in SPLIT_FILES.items() if split != "train" or (train_file and not rebuild)}
    names = {
        file: f"{REPOSITORY}/data/raw/{FOLDERS[scenario]}/{file}"
        for file in ("items_x.txt", "items_y.txt", "userlist.txt", *wanted.values())
    }
    paths = {file: _fetch(name) for file, name in names.items()}

    ids_x, ids_y = read_items(paths["items_x.txt"]), read_items(paths["items_y.txt"])
    items, title_files = llmcdsr.items_by_asin("c2dsr", scenario, ids_x, ids_y, titles=titles)
    users = read_users(paths["userlist.txt"])
    tables, facts = [], {}
    for split, file in wanted.items():
        table, facts[file] = read_sequences(paths[file], split, len(users), len(ids_x), len(items))
        tables.append(table)
    provenance = {
        "files": {file: published.describe(names[file], path) for file, path in paths.items()} | title_files,
        "lines_not_in_time_order": {file: found["not_in_time_order"] for file, found in facts.items()},
        # The three files number their sequences jointly, so this tells how many there are even without one file.
        "sequences_numbered": 1 + max(max(found["ids"]) for found in facts.values()),
    }
    if rebuild:
        from ifcdsr_core.sources import rebuilt  # which reads these files, too

        numbers = [number for found in facts.values() for number in found["ids"]]
        held_out = pd.concat(tables, ignore_index=True).assign(number=numbers)
        added = rebuilt.train_split(scenario, rebuilt.Ids(users, ids_x, ids_y), held_out)
        tables.insert(0, added.sequences)
        provenance["files"] |= added.files
        provenance["rebuilt"] = added.counts
    return _ordered(Scenario(scenario, "c2dsr", items, pd.concat(tables, ignore_index=True), provenance), **order)


def _ordered(scenario: Scenario, numbering: str, ties: str) -> Scenario:
    if choose("ties", ties, READ_AS) == "redrawn":
        sequences = scenario.sequences
        drawn = in_drawn_order(sequences["items"], sequences["timestamps"])
        targets = ["x" if row[-1] <= scenario.num_items_x else "y" for row in drawn]
        scenario = replace(scenario, sequences=sequences.assign(items=drawn, target_domain=targets))
    return numbered(scenario, numbering)


def several_sequences(scenario: str = "food_kitchen") -> pd.DataFrame:
    """All sequences of the users who have several and none out of sight: ``user``, ``items``, ``timestamps``.

    The validation and test files have the last one of each user. Earlier ones are in the training file, which is not
    always available, and some in an earlier validation file.

    Raises:
        InputError: a file is not available, or is malformed.
    """
    paths = {
        file: _fetch(f"{REPOSITORY}/data/raw/{FOLDERS[scenario]}/{file}")
        for file in ("items_x.txt", "items_y.txt", "userlist.txt", "val_new.txt", "test_new.txt", EARLIER_FILE)
    }
    num_users = len(read_users(paths["userlist.txt"]))
    num_x, num_y = (len(read_items(paths[f"items_{domain}.txt"])) for domain in "xy")
    parts = []
    for file in ("val_new.txt", "test_new.txt", EARLIER_FILE):
        table, found = read_sequences(paths[file], file, num_users, num_x, num_x + num_y)
        parts.append(table.assign(number=found["ids"], user=table["user"].astype(int)))
    seen = pd.concat(parts).drop_duplicates("number").sort_values("number")
    count = sequences_per_user(pd.concat(parts[:2]))
    whole = count[(count > 1) & (seen.groupby("user").size().reindex(count.index) == count)]
    seen = seen[seen["user"].isin(whole.index)]
    return seen[["user", "items", "timestamps"]].reset_index(drop=True)


def sequences_per_user(held_out: pd.DataFrame) -> pd.Series:
    """How many sequences each user has, those of the training file included; by the user's number.

    The files number the sequences user by user, and the one held out is the last one of its user.

    Args:
        held_out: ``user`` and ``number`` of each sequence of the validation and test files.
    """
    last = held_out.astype({"user": int}).set_index("user")["number"].sort_index()  # (users,)
    return last.diff().fillna(last.iloc[0] + 1).astype(int)


def _fetch(name: str) -> Path:
    """``published.fetch``, which for the training file knows of two more ways out."""
    try:
        return published.fetch(name)
    except InputError as error:
        if not name.endswith(SPLIT_FILES["train"]):
            raise
        raise InputError(
            f"{error}; or do without it by the option train_file=false, or rebuild it by train=rebuilt"
        ) from error


def read_items(path: Path) -> list[str]:
    """ASINs of one domain, in the order of their index."""
    return _read_index(path, _ITEM_LINE, "<old id> <ASIN>")


def read_users(path: Path) -> list[str]:
    """Ids of the users at Amazon, in the order of their index."""
    return _read_index(path, _USER_LINE, "<user>")


def _read_index(path: Path, pattern: re.Pattern, before: str) -> list[str]:
    """The names of a file that counts them from 0, each once; ``before`` is what stands before the number."""
    names = {}
    for number, line in published.lines(path):
        match = pattern.fullmatch(line)
        if not match or int(match[2]) != len(names):
            raise published.malformed(path, number, f"'{before} {len(names)}', separated by tabs")
        if match[1] in names:
            raise published.malformed(path, number, f"each name once, found {match[1]} again")
        names[match[1]] = number
    return list(names)


def read_sequences(
    path: Path, split: str, num_users: int, num_items_x: int, num_items: int
) -> tuple[pd.DataFrame, dict]:
    """The sequences of a file, each in time order, and what was found: ``not_in_time_order``, ``ids`` of sequences."""
    rows, num_unsorted, ids = [], 0, {}
    for number, line in published.lines(path):
        match = _SEQUENCE_LINE.fullmatch(line)
        if not match:
            raise published.malformed(
                path, number, "'<user> <sequence>' and two or more '<item>|<unix time>|<date>|', separated by tabs"
            )
        if int(match[1]) >= num_users:
            raise published.malformed(path, number, f"a user from 0 to {num_users - 1}, found {match[1]}")
        items, times = np.array(_INTERACTION.findall(match[3])).astype(np.int64).T  # (length,) each
        if items.max() >= num_items:
            raise published.malformed(path, number, f"items from 0 to {num_items - 1}, found {items.max()}")
        if not EARLIEST <= times.min() <= times.max() < LATEST:
            raise published.malformed(path, number, f"times of 1995 to 2099, found {times.min()} to {times.max()}")
        if split != "train" and np.any(times[1:-2] < times[:-3]):  # the training file could not be looked at
            raise published.malformed(path, number, "all but the last two in the order of time")
        if int(match[2]) in ids:
            raise published.malformed(path, number, f"each sequence once, found {match[2]} again")
        ids[int(match[2])] = number
        if np.any(times[1:] < times[:-1]):
            num_unsorted += 1
            order = np.argsort(times, kind="stable")
            items, times = items[order], times[order]
        target_domain = "x" if items[-1] < num_items_x else "y"
        rows.append((str(int(match[1])), split, target_domain, (items + 1).astype(np.int32), times))
    if not rows:
        raise InputError(f"{path} holds no sequence: delete it, or put a good copy in its place")
    columns = ["user", "split", "target_domain", "items", "timestamps"]
    return pd.DataFrame(rows, columns=columns), {"not_in_time_order": num_unsorted, "ids": list(ids)}
