"""The same Amazon domains with item titles: the files of LLMCDSR.

https://github.com/xhran2010/LLMCDSR. A line of a sequence file is ``<user>``, a tab, ``<item>,<item>,…``; items are
numbered from 0, A (our X) before B (our Y), in order but without times; how many times were equal, and what orders
items of one time, can't be seen. Users are numbered from 1 in each file, so the file's name tells them apart. ASINs and
titles are pickled dicts, read without ever looking up a class.
"""

from __future__ import annotations

import html
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, choose, first_line
from ifcdsr_core.scenario import Scenario, numbered
from ifcdsr_core.sources.download import published

VERSION = 1
REPOSITORY = "xhran2010/LLMCDSR/5825e999d87c4b7f90448df17d05c5f9cea047ba"
FOLDERS = {"food_kitchen": "food-kitchen", "movie_book": "movie-book"}
SCENARIOS = tuple(FOLDERS)
OPTIONS = {
    "train_users": "all",  # both: train on the users of both domains alone, as valid and test hold no other
    "numbering": "published",  # redrawn: items numbered at random
}
TRAIN_USERS = ("all", "both")
TITLE_FILES = ("text_A.pkl", "text_B.pkl")
ITEM_FILES = ("num.txt", "item_set_A.pkl", "item_set_B.pkl", *TITLE_FILES)
SEQUENCE_FILES = {
    "train_A.txt": "train",
    "train_B.txt": "train",
    "train_overlap.txt": "train",
    "valid.txt": "valid",
    "test.txt": "test",
}
ONE_DOMAIN = ("train_A.txt", "train_B.txt")  # files of users with items of one domain

_ASIN = re.compile(r"[!-~]+")
_LINE = re.compile(r"(\d{1,9})\t(\d{1,9}(?:,\d{1,9})*)", re.ASCII)


def build(scenario: str, folder: Path, *, train_users: str, numbering: str) -> Scenario:
    """Read one scenario; there are no times and no pictures, and ``source_id`` is the ASIN.

    Args:
        scenario: ``food_kitchen`` or ``movie_book``.
        folder: not used, the files hold no pictures.
        train_users: ``all``, or ``both`` for those of both domains alone; their files are then the only ones read of
            the training's.
        numbering: of items, see ``scenario.numbered``.

    Raises:
        InputError: a file is not available, is damaged, or has a malformed line (named by file and number); unknown
            ``train_users``.
    """
    choose("train_users", train_users, TRAIN_USERS)
    wanted = {file: split for file, split in SEQUENCE_FILES.items() if train_users == "all" or file not in ONE_DOMAIN}
    names = {file: f"{REPOSITORY}/data/{FOLDERS[scenario]}/{file}" for file in (*ITEM_FILES, *wanted)}
    paths = {file: published.fetch(name) for file, name in names.items()}

    num_a, num_b = read_sizes(paths["num.txt"])
    items_a = read_items(paths["item_set_A.pkl"], paths["text_A.pkl"], num_a)
    items_b = read_items(paths["item_set_B.pkl"], paths["text_B.pkl"], num_b)
    items = pd.concat([items_a.assign(domain="x"), items_b.assign(domain="y")], ignore_index=True)
    items = items.assign(
        item=np.arange(1, num_a + num_b + 1, dtype=np.int32), image=pd.Series([None] * len(items), dtype=object)
    )
    tables, counts = [], {}
    for file, split in wanted.items():
        table, counts[file] = read_sequences(paths[file], split, num_a, num_a + num_b)
        if train_users == "both" and split == "train":
            _check_both_domains(paths[file], table, num_a)
        tables.append(table)
    provenance = {
        "files": {file: published.describe(names[file], path) for file, path in paths.items()},
        "sequence_files": counts,
    }
    columns = ["item", "domain", "source_id", "title", "image"]
    read = Scenario(scenario, "llmcdsr", items[columns], pd.concat(tables, ignore_index=True), provenance)
    return numbered(read, numbering)


def read_sizes(path: Path) -> tuple[int, int]:
    """Number of items of A and of B."""
    sizes = [line for _, line in published.lines(path)]
    if len(sizes) != 2 or not all(re.fullmatch(r"[1-9]\d{0,8}", size, re.ASCII) for size in sizes):
        raise InputError(f"{path}: expected two lines, the number of items of A and that of B")
    return int(sizes[0]), int(sizes[1])


def read_items(item_set: Path, text: Path, num_items: int) -> pd.DataFrame:
    """``source_id`` and ``title`` of one domain's items in the order of their index.

    An item may have no title.
    """
    index_of = read_plain_pickle(item_set)
    if not _is_dict(index_of, int) or sorted(index_of.values()) != list(range(num_items)):
        raise InputError(f"{item_set}: expected a dict from ASIN to index, 0 to {num_items - 1} each once")
    if bad := [asin for asin in index_of if not _ASIN.fullmatch(asin)]:
        raise InputError(f"{item_set}: expected ASINs, found {bad[0]!r}")
    asins, title_of = sorted(index_of, key=index_of.get), read_titles(text)
    if title_of.keys().isdisjoint(asins):
        raise InputError(f"{text} has no title of an item of {item_set.name}: delete both, or put good copies there")
    return pd.DataFrame({"source_id": asins, "title": pd.Series([title_of.get(asin) for asin in asins], dtype=object)})


def read_titles(path: Path) -> dict[str, str]:
    """ASIN to title; HTML entities are decoded once, stray line ends become spaces, empty titles are left out."""
    titles = read_plain_pickle(path)
    if not _is_dict(titles, str):
        raise InputError(f"{path}: expected a dict from ASIN to title")
    tidy = {asin: " ".join(html.unescape(title).split()) for asin, title in titles.items()}
    return {asin: title for asin, title in tidy.items() if title}


def items_by_asin(
    source: str, scenario: str, asins_x: list[str], asins_y: list[str], *, titles: bool
) -> tuple[pd.DataFrame, dict[str, dict]]:
    """The items of another source that numbers X's ASINs, then Y's, and has neither pictures nor titles.

    Args:
        source: its name.
        titles: give each item the title that the files here have for its ASIN, None where they have none.

    Returns:
        ``items`` as of a Scenario; the files that titles are from, described by name.

    Raises:
        InputError: a file of titles is not available, or is damaged; there are no titles of the scenario.
    """
    asins = asins_x + asins_y
    title_of, title_files = _titles(scenario) if titles else ({}, {})
    if titles and title_of.keys().isdisjoint(asins):
        raise InputError(
            f"{' and '.join(title_files)} have no title of {source}'s items: put good copies in their place"
        )
    items = pd.DataFrame(
        {
            "item": np.arange(1, len(asins) + 1, dtype=np.int32),
            "domain": ["x"] * len(asins_x) + ["y"] * len(asins_y),
            "source_id": asins,
            "title": pd.Series([title_of.get(asin) for asin in asins], dtype=object),
            "image": pd.Series([None] * len(asins), dtype=object),
        }
    )
    return items, title_files


def _titles(scenario: str) -> tuple[dict[str, str], dict[str, dict]]:
    """All titles of a scenario's two domains, by ASIN; and the files they are from, described by name."""
    if scenario not in FOLDERS:
        raise InputError(f"there are no titles of {scenario}, only of {' and '.join(SCENARIOS)}: leave titles=true out")
    names = {file: f"{REPOSITORY}/data/{FOLDERS[scenario]}/{file}" for file in TITLE_FILES}
    paths = {file: published.fetch(name) for file, name in names.items()}
    found = {asin: title for path in paths.values() for asin, title in read_titles(path).items()}
    return found, {file: published.describe(names[file], path) for file, path in paths.items()}


def read_sequences(path: Path, split: str, num_items_x: int, num_items: int) -> tuple[pd.DataFrame, dict]:
    """The sequences of one file, and what was found there.

    A sequence of one item has no history and is dropped. Counted are ``lines``, ``one_item_dropped``, ``repeated``
    (lines with the very sequence of an earlier one) and ``longest``.
    """
    rows, seen, longest, one_item = [], set(), 0, 0
    for number, line in published.lines(path):
        match = _LINE.fullmatch(line)
        if not match or int(match[1]) != number:
            raise published.malformed(path, number, f"user {number}, a tab, and '<item>,<item>,…'")
        items = np.array(match[2].split(",")).astype(np.int64)  # (length,)
        if items.max() >= num_items:
            raise published.malformed(path, number, f"items from 0 to {num_items - 1}, found {items.max()}")
        seen.add(match[2])
        longest = max(longest, len(items))
        if len(items) == 1:
            one_item += 1
            continue
        target_domain = "x" if items[-1] < num_items_x else "y"
        rows.append((f"{path.stem}/{int(match[1])}", split, target_domain, (items + 1).astype(np.int32), None))
    if not rows:
        raise InputError(f"{path} holds no sequence: delete it, or put a good copy in its place")
    table = pd.DataFrame(rows, columns=["user", "split", "target_domain", "items", "timestamps"])
    lines = len(rows) + one_item
    return table, {"lines": lines, "one_item_dropped": one_item, "repeated": lines - len(seen), "longest": longest}


def _check_both_domains(path: Path, table: pd.DataFrame, num_items_x: int) -> None:
    """Raise an InputError for the first sequence of a file that has items of one domain only."""
    for user, items in zip(table["user"], table["items"], strict=True):
        if items.min() > num_items_x or items.max() <= num_items_x:
            raise published.malformed(path, int(user.removeprefix(f"{path.stem}/")), "items of both domains")


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, strings and numbers; a pickle that names any class or function is refused."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it names {module}.{name}, and nothing but plain values is read")


def read_plain_pickle(path: Path):
    """Unpickle a foreign file without letting it name anything.

    Raises:
        InputError: the pickle names a class or function, or is damaged.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(f"{path} is not a pickle of plain values: {first_line(error)}") from error


def _is_dict(value, of: type) -> bool:
    """Whether ``value`` is a dict from strings to ``of``."""
    return isinstance(value, dict) and all(type(k) is str and type(v) is of for k, v in value.items())
