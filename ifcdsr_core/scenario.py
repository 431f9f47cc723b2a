"""A scenario: two domains, their items, and the users' merged sequences, as one object and one folder.

Every source (generated or downloaded) ends here and every model starts here. On disk a scenario is
``items.parquet``, ``sequences.parquet``, ``scenario.json`` (provenance) and, where there are pictures, ``images/``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, first_line
from ifcdsr_core.paths import new_file

SECONDS_A_DAY = 86_400
PAD_ID = 0  # items are numbered from 1, all of X before all of Y
DOMAINS = ("x", "y")
SPLITS = ("train", "valid", "test")
DOMAIN_NAMES = {"food_kitchen": ("Food", "Kitchen"), "movie_book": ("Movie", "Book")}

_ITEM_COLUMNS = ["item", "domain", "source_id", "title", "image"]
_SEQUENCE_COLUMNS = ["user", "split", "target_domain", "items", "timestamps"]
_REMEDY = "delete the folder and prepare the scenario again"


@dataclass(frozen=True)
class Scenario:
    """Items and sequences of two domains.

    Attributes:
        name: ``food_kitchen`` or ``movie_book``.
        source: where it comes from (``demo``, ``c2dsr``, ``llmcdsr``, ``amazon``).
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
        where = f"scenario {self.source}/{self.name}"
        for table, columns in ((self.items, _ITEM_COLUMNS), (self.sequences, _SEQUENCE_COLUMNS)):
            missing = [column for column in columns if column not in table.columns]
            if missing:
                raise InputError(f"{where}: no column {missing[0]!r}; a scenario has {', '.join(columns)}")
        domain = self.items["domain"].to_numpy()
        if not np.array_equal(self.items["item"].to_numpy(), np.arange(1, len(self.items) + 1)):
            raise InputError(f"{where}: item ids must be 1 to {len(self.items)}, in order")
        if sorted(set(domain)) != list(DOMAINS) or np.any(domain[1:] < domain[:-1]):
            raise InputError(f"{where}: items must be those of domain x, then those of domain y")
        if not set(self.sequences["split"].unique()) <= set(SPLITS):
            raise InputError(f"{where}: a split must be one of {', '.join(SPLITS)}")
        flat, length = self.flat_items
        if len(length) == 0 or length.min() < 2:
            raise InputError(f"{where}: every sequence needs at least two items, a history and a target")
        if flat.min() < 1 or flat.max() > self.num_items:
            raise InputError(f"{where}: sequences name item {flat.max()}, but items are 1 to {self.num_items}")
        last = flat[np.cumsum(length) - 1]
        if not np.array_equal(domain[last - 1], self.sequences["target_domain"].to_numpy()):
            raise InputError(f"{where}: target_domain must be the domain of a sequence's last item")

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
        length = self.sequences["items"].map(len).to_numpy(dtype=np.int64)
        flat = np.concatenate([np.zeros(0, np.int64), *self.sequences["items"]]).astype(np.int64)
        return flat, length

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
            path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
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
            try:
                tables[part] = pd.read_parquet(path)
            except Exception as error:  # pyarrow raises many kinds for a damaged file
                raise InputError(f"{path} can't be read ({first_line(error)}): {_REMEDY}") from error
        scenario = cls(name, source, tables["items"], tables["sequences"], provenance, folder)
        if scenario.fingerprint != fingerprint:
            raise InputError(f"{folder}: its tables are not those scenario.json describes: {_REMEDY}")
        return scenario


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
    path = folder / "scenario.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Record(*(record[key] for key in Record._fields))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} can't be read ({first_line(error)}): {_REMEDY}") from error
