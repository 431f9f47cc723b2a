"""A scenario: two domains, their items, and the users' merged sequences, as one object and one folder.

Every source (generated or downloaded) ends here and every model starts here. On disk a scenario is
``items.parquet``, ``sequences.parquet``, ``scenario.json`` (provenance) and, where there are pictures, ``images/``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.files import new_file, reading, sealed, unsealed

SECONDS_A_DAY = 86_400
PAD_ID = 0  # items are numbered from 1, all of X before all of Y
DOMAINS = ("x", "y")
SPLITS = ("train", "valid", "test")
DOMAIN_NAMES = {
    "food_kitchen": ("Food", "Kitchen"),
    "movie_book": ("Movie", "Book"),
    "beauty_electronics": ("Beauty", "Electronics"),
}

_ITEM_COLUMNS = ["item", "domain", "source_id", "title", "image"]
_SEQUENCE_COLUMNS = ["user", "split", "target_domain", "items", "timestamps"]
_REMEDY = "delete the folder and prepare the scenario again"


@dataclass(frozen=True)
class Scenario:
    """Items and sequences of two domains.

    Attributes:
        name: ``food_kitchen``, ``movie_book`` or ``beauty_electronics``.
        source: where it comes from (``demo``, ``c2dsr``, ``llmcdsr``, ``abxi``, ``amazon``).
        items: one row per item, in id order: ``item`` (1 ... V, X before Y), ``domain``, ``source_id``, ``title`` or
            None, ``image`` (path relative to ``folder``) or None.
        sequences: one row per sequence: ``user``, ``split``, ``target_domain`` (that of the last item), ``items`` in
            time order, ``timestamps`` (unix seconds) or None.
        provenance: source files with checksums, options, counts.
        folder: where it was loaded from, if it was.

    Raises:
        InputError: the tables contradict each other (checked on construction).
    """

    name: str
    source: str
    items: pd.DataFrame
    sequences: pd.DataFrame
    provenance: dict = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        for table, columns in ((self.items, _ITEM_COLUMNS), (self.sequences, _SEQUENCE_COLUMNS)):
            missing = [column for column in columns if column not in table.columns]
            self._require(not missing, f"no column {missing[:1]}; a scenario has {', '.join(columns)}")
        self._check_items()
        self._check_sequences()
        self._check_times()

    def _require(self, holds: bool, wrong: str) -> None:
        if not holds:
            raise InputError(f"scenario {self.source}/{self.name}: {wrong}")

    def _check_items(self) -> None:
        items, domain = self.items, self.items["domain"]
        numbered = np.array_equal(items["item"].to_numpy(), np.arange(1, len(items) + 1))
        self._require(numbered, f"item ids must be 1 to {len(items)}, in order")
        in_order = domain.isin(DOMAINS).all() and domain.nunique() == 2 and domain.is_monotonic_increasing
        self._require(in_order, "items must be those of domain x, then those of domain y")
        self._require(items["source_id"].notna().all(), "every item needs a source_id")
        twice = items[items.duplicated(["domain", "source_id"])]
        self._require(twice.empty, f"source_id {twice['source_id'].head(1).tolist()} stands twice in a domain")
        for column in ("title", "image"):
            given = items[column].dropna()
            self._require(given.map(type).eq(str).all(), f"{column} must be text or None")

    def _check_sequences(self) -> None:
        sequences, (flat, length) = self.sequences, self.flat_items
        row = np.repeat(np.arange(len(length)), length)
        self._require(len(length) > 0, "it has no sequences")
        self._each(length >= 2, "needs at least two items, a history and a target")
        self._each(sequences["user"].notna().to_numpy(), "needs a user")
        self._each(sequences["split"].isin(SPLITS).to_numpy(), f"must be of a split of {', '.join(SPLITS)}")
        known = (flat >= 1) & (flat <= self.num_items)
        self._each(np.bincount(row[~known], minlength=len(length)) == 0, f"names an item outside 1 to {self.num_items}")
        last = flat[np.cumsum(length) - 1]
        of_last = self.items["domain"].to_numpy()[last - 1]
        self._each(of_last == sequences["target_domain"].to_numpy(), "needs as target_domain that of its last item")

    def _check_times(self) -> None:
        length = self.flat_items[1]
        given = self.sequences["timestamps"].map(lambda times: times is not None).to_numpy(bool)
        times = [_array(times) for times in self.sequences["timestamps"][given]]
        right = np.ones(len(length), dtype=bool)
        right[given] = [time.shape == (count,) for time, count in zip(times, length[given], strict=True)]
        self._each(right, "needs one time per item, or None")
        right[given] = [time.dtype.kind in "iu" for time in times]
        self._each(right, "needs times in whole seconds")
        right[given] = [not (time[1:] < time[:-1]).any() for time in times]
        self._each(right, "needs times that do not decrease")

    def _each(self, holds: np.ndarray, wrong: str) -> None:
        """Raise an InputError that names the first sequence for which ``holds`` (number of sequences,) is False."""
        if not holds.all():
            row = int(np.argmin(holds))
            self._require(False, f"sequence {row}, of user {self.sequences['user'].iloc[row]!r}, {wrong}")

    @cached_property
    def num_items_x(self) -> int:
        return int((self.items["domain"] == "x").sum())

    @cached_property
    def num_items(self) -> int:
        return len(self.items)

    @property
    def num_items_y(self) -> int:
        return self.num_items - self.num_items_x

    @property
    def domain_names(self) -> tuple[str, str]:
        return DOMAIN_NAMES.get(self.name, ("X", "Y"))

    @cached_property
    def flat_items(self) -> tuple[np.ndarray, np.ndarray]:
        """All sequences end to end (sum of lengths,) and their lengths (number of sequences,)."""
        rows = [_array(items) for items in self.sequences["items"]]
        whole = [row.ndim == 1 and (row.dtype.kind in "iu" or not len(row)) for row in rows]
        self._each(np.array(whole, dtype=bool), "needs as items a list of whole numbers")
        filled = [row.astype(np.int64) for row in rows if len(row)]
        return np.concatenate([np.zeros(0, np.int64), *filled]), np.array([len(row) for row in rows], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything a result depends on: items, sequences, splits, times."""
        digest = hashlib.sha256(f"{self.name}\n{self.num_items_x}\n{self.num_items}\n".encode())
        for column in ("source_id", "title"):
            values = self.items[column].to_numpy(dtype=object)
            digest.update("\x1f".join(map(str, np.where(pd.isna(values), "", values))).encode())
        flat, length = self.flat_items
        digest.update(flat.astype("<i4").tobytes() + length.astype("<i4").tobytes())
        users = (self.sequences["user"].astype(str) + "/" + self.sequences["split"]).to_numpy(dtype=object)
        digest.update("\x1f".join(users).encode())
        for times in self.sequences["timestamps"]:
            digest.update(b"-" if times is None else np.asarray(times, dtype="<i8").tobytes())
        return digest.hexdigest()

    def split(self, name: str) -> pd.DataFrame:
        """The sequences of one split, with their row numbers as index."""
        return self.sequences[self.sequences["split"] == name]

    def save(self, folder: Path) -> Scenario:
        """Write the three files into ``folder`` (each whole or not at all) and return the scenario that lives there."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in (("items", self.items), ("sequences", self.sequences)):
            with new_file(folder / f"{name}.parquet") as path:
                table.to_parquet(path, index=False)
        counts = {
            "items_x": self.num_items_x,
            "items_y": self.num_items_y,
            "sequences": {split: int((self.sequences["split"] == split).sum()) for split in SPLITS},
        }
        record = {
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "counts": counts,
            "provenance": self.provenance,
        }
        with new_file(folder / "scenario.json") as path:
            path.write_text(sealed(record), encoding="utf-8")
        return Scenario(self.name, self.source, self.items, self.sequences, self.provenance, folder)

    @classmethod
    def load(cls, folder: Path) -> Scenario:
        """Read a saved scenario.

        Raises:
            InputError: a file is missing or damaged, or the content is not what ``scenario.json`` says.
        """
        folder = Path(folder)
        name, source, fingerprint, provenance = read_record(folder)
        tables = {}
        for part in ("items", "sequences"):
            path = folder / f"{part}.parquet"
            with reading(path, _REMEDY):
                tables[part] = pd.read_parquet(path)
        try:
            scenario = cls(name, source, tables["items"], tables["sequences"], provenance, folder)
        except InputError as error:
            raise InputError(
                f"{folder / 'sequences.parquet'} or items.parquet is damaged ({error}): {_REMEDY}"
            ) from None
        if scenario.fingerprint != fingerprint:
            raise InputError(f"{folder}: its tables are not those scenario.json describes: {_REMEDY}")
        return scenario


READ_AS = ("published", "redrawn")  # choices of the options ``numbering`` and ``ties`` of published data
_REDRAWN = 20250428  # seed of both


def numbered(scenario: Scenario, numbering: str) -> Scenario:
    """The scenario with its items as numbered, or numbered at random within each domain, always the same way.

    Published numbers may tell of the answers (page "What the numbering knows"): redrawn ones tell nothing.

    Args:
        numbering: ``published`` or ``redrawn``.

    Raises:
        InputError: another numbering.
    """
    if choose("numbering", numbering, READ_AS) == "published":
        return scenario
    items, random = scenario.items, np.random.default_rng(_REDRAWN)
    count_x, count_y = scenario.num_items_x, scenario.num_items_y
    order = np.concatenate([random.permutation(count_x), count_x + random.permutation(count_y)])
    number = np.empty(len(order) + 1, dtype=np.int32)
    number[0], number[order + 1] = PAD_ID, np.arange(1, len(order) + 1)
    return replace(
        scenario,
        items=items.iloc[order].assign(item=items["item"].to_numpy()).reset_index(drop=True),
        sequences=scenario.sequences.assign(items=[number[row] for row in scenario.sequences["items"]]),
    )


def in_drawn_order(items: Sequence[np.ndarray], times: Sequence[np.ndarray], seed: int = _REDRAWN) -> list[np.ndarray]:
    """Each sequence with its items of equal time in random order (gap 5: it is unknown).

    Args:
        items, times: of each sequence, in order of time.
    """
    if not len(items):
        return []
    length = np.array([len(row) for row in items], dtype=np.int64)
    flat, time = np.concatenate(items), np.concatenate(times)
    random = np.random.default_rng(seed).random(len(flat))
    order = np.lexsort((random, time, np.repeat(np.arange(len(length)), length)))
    return np.split(flat[order], np.cumsum(length)[:-1])


def _array(values) -> np.ndarray:
    """A cell of a table as an array, whatever it holds."""
    try:
        return np.asarray(values)
    except ValueError:  # lists of several lengths
        return np.asarray(None)


class Record(NamedTuple):
    """What ``scenario.json`` says of the tables beside it."""

    name: str
    source: str
    fingerprint: str
    provenance: dict


def read_record(folder: Path) -> Record:
    """The record of a saved scenario, without its tables.

    Raises:
        InputError: it is missing or damaged.
    """
    record = unsealed(folder / "scenario.json", _REMEDY)
    return Record(*(record[key] for key in Record._fields))
