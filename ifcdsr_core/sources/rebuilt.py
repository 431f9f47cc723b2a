"""The training file of C2DSR, rebuilt from what else is published of the same ratings.

The file itself is not always available (see ``c2dsr``). Much of what it was cut from is: histories of users in the
files of ABXI (see ``abxi``), joined here by Amazon's ids of users and items; and for Food-Kitchen an earlier validation
file of C2DSR's. Of each user, the interactions that are in either and earlier than all that C2DSR holds out of that
user are cut into sliding windows, by the rules that give the released sequences back (``amazon.partition.Rules``). So
no training sequence has an interaction of the day of a held-out one of its user, or of a later day. Users of ABXI whom
C2DSR does not have are taken whole.

Items of one day stand X before Y, as in the released files, and within a domain by ASIN, as in those of ABXI.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError
from ifcdsr_core.sources import abxi, c2dsr
from ifcdsr_core.sources.amazon.partition import Log, Rules, complete_windows
from ifcdsr_core.sources.amazon.source import WINDOW_DAYS
from ifcdsr_core.sources.download import published

EARLIER = ("food_kitchen",)  # scenarios with an earlier validation file


@dataclass(frozen=True)
class Ids:
    """Amazon's ids of C2DSR's users and of the items of X and Y, each in the order of their index."""

    users: list[str]
    x: list[str]
    y: list[str]

    @property
    def items(self) -> list[str]:
        return self.x + self.y


@dataclass(frozen=True)
class Rebuilt:
    """A train split, what was found on the way, and the files read, described by name.

    Attributes:
        sequences: as those of a Scenario; a user whom C2DSR does not have is called ``abxi/<number>``.
        counts: ``interactions`` with items of C2DSR; ``unknown_items``, interactions of ABXI with other items;
            ``not_earlier``, those not earlier than all that is held out of the same user; and as ``_checked``.
    """

    sequences: pd.DataFrame
    counts: dict
    files: dict[str, dict]


def train_split(scenario: str, ids: Ids, held_out: pd.DataFrame) -> Rebuilt:
    """Sequences that are strictly earlier than what is held out of the same user.

    Args:
        held_out: the validation and test sequences, and as ``number`` their number in the files.

    Raises:
        InputError: a file is not available or is malformed; an item is of both domains; there is no sequence.
    """
    paths = _fetch(scenario)
    histories = _histories([paths[name] for name in _abxi(scenario)], ids)
    log = histories[histories["item"] >= 0]
    earlier = held_out.iloc[:0]
    if scenario in EARLIER:
        path = paths[_c2dsr(scenario)]
        earlier = c2dsr.read_sequences(path, "valid", len(ids.users), len(ids.x), len(ids.items))[0]
        log = pd.concat([log, _interactions(earlier)], ignore_index=True).drop_duplicates()
    first = _interactions(held_out).groupby("user")["time"].min()
    before = log[~(log["time"] >= log["user"].map(first))]  # all of a user who has nothing held out
    sequences = _windows(before, ids, WINDOW_DAYS[scenario])
    files = {path.name: published.describe(name, path) for name, path in paths.items()}
    if sequences.empty:
        raise InputError(f"{', '.join(files)} give no training sequence: put good copies in their place")
    counts = {
        "interactions": len(log),
        "unknown_items": int((histories["item"] < 0).sum()),
        "not_earlier": len(log) - len(before),
    }
    return Rebuilt(sequences, counts | _checked(sequences, held_out, earlier), files)


def _abxi(scenario: str) -> list[str]:
    """Published names of the histories, items and users of ABXI."""
    return [f"{abxi.REPOSITORY}/data/{abxi.FOLDERS[scenario]}/{file}" for file in abxi.files(scenario)]


def _c2dsr(scenario: str) -> str:
    """Published name of the earlier validation file."""
    return f"{c2dsr.REPOSITORY}/data/raw/{c2dsr.FOLDERS[scenario]}/{c2dsr.EARLIER_FILE}"


def _fetch(scenario: str) -> dict[str, Path]:
    """All files by their published names."""
    names = _abxi(scenario) + [_c2dsr(scenario)] * (scenario in EARLIER)
    return {name: published.fetch(name) for name in names}


def _histories(paths: list[Path], ids: Ids) -> pd.DataFrame:
    """``user``, ``item`` and ``time`` of ABXI's interactions, numbered as by C2DSR from 0.

    Users whom it does not have come behind its own, in the order of ABXI; an item that it does not have is -1.
    """
    histories_file, item_file, user_file = paths
    ids_x, ids_y = abxi.read_items(item_file)
    if both := sorted({*ids_x, *ids.x} & {*ids_y, *ids.y}):
        raise InputError(
            f"{both[0]} is of X and of Y in {item_file} and items_x.txt, items_y.txt: put good copies there"
        )
    users = abxi.read_users(user_file)
    histories = abxi.read_histories(histories_file, len(users), len(ids_x + ids_y))
    user_of, item_of = _numbers(users, ids.users), _numbers(ids_x + ids_y, ids.items)
    user_of = np.where(user_of < 0, len(ids.users) + np.arange(len(users)), user_of)
    return pd.DataFrame(
        {
            "user": np.repeat(user_of, [len(items) for items, _ in histories]),
            "item": item_of[np.concatenate([items for items, _ in histories]) - 1],
            "time": np.concatenate([times for _, times in histories]),
        }
    )


def _numbers(names: list[str], among: list[str]) -> np.ndarray:
    """The place of each name among others, -1 where it is not one of them."""
    return pd.Index(among).get_indexer(names)


def _interactions(sequences: pd.DataFrame) -> pd.DataFrame:
    """``user``, ``item`` (from 0) and ``time`` of every interaction of C2DSR's sequences."""
    return pd.DataFrame(
        {
            "user": np.repeat(sequences["user"].astype(np.int64).to_numpy(), sequences["items"].map(len)),
            "item": np.concatenate([*sequences["items"]]).astype(np.int64) - 1,
            "time": np.concatenate([*sequences["timestamps"]]),
        }
    )


def _windows(log: pd.DataFrame, ids: Ids, days: int) -> pd.DataFrame:
    """The training sequences that interactions give."""
    import polars as pl

    log = log.assign(in_y=log["item"] >= len(ids.x), source_id=np.array(ids.items)[log["item"]])
    log = log.sort_values(["user", "time", "in_y", "source_id"]).drop_duplicates(["user", "item"])
    user, item, time = (log[column].to_numpy() for column in ("user", "item", "time"))
    own, others = len(ids.users), max(0, 1 + int(user.max(initial=-1)) - len(ids.users))
    names = pl.Series([*map(str, range(own)), *(f"abxi/{number}" for number in range(others))])
    ordered = Log(user, item, time, np.zeros(len(log)), len(ids.x), names, pl.Series(ids.items))
    sequences = complete_windows(ordered, Rules(window_days=days))
    return sequences.assign(items=[items + 1 for items in sequences["items"]])


def _checked(sequences: pd.DataFrame, held_out: pd.DataFrame, earlier: pd.DataFrame) -> dict:
    """How far rebuilt sequences can be checked against what is released.

    Returns:
        ``users`` and ``sequences`` of C2DSR's own users, and ``numbered``, how many the files' numbering leaves for the
        training file of these users. Of the earlier file's sequences: the ``earlier`` ones, which end before what is
        held out; ``earlier_length``, their mean length; ``earlier_rebuilt``, how many of them are among those rebuilt.
    """
    own = sequences.loc[sequences["user"].isin(held_out["user"]), "user"]
    numbered = c2dsr.sequences_per_user(held_out)[own.astype(int).unique()] - 1
    first = held_out["timestamps"].map(lambda times: times[0]).groupby(held_out["user"]).min()
    ends = earlier["timestamps"].map(lambda times: times[-1])
    before = earlier[ends < earlier["user"].map(first)]
    built = set(_contents(sequences))
    return {
        "users": int(own.nunique()),
        "sequences": len(own),
        "numbered": int(numbered.sum()),
        "earlier": len(before),
        "earlier_length": float(before["items"].map(len).mean()) if len(before) else None,
        "earlier_rebuilt": len([one for one in _contents(before) if one in built]),
    }


def _contents(sequences: pd.DataFrame) -> list[tuple]:
    """Of each sequence its user and the set of its items and times."""
    columns = (sequences[column] for column in ("user", "items", "timestamps"))
    return [(user, frozenset(zip(items, times, strict=True))) for user, items, times in zip(*columns, strict=True)]
