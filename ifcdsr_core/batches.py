"""Sequences as tensors: every split is encoded once, as a whole, and batches are rows of it.

A sequence ``s_1 ... s_n`` gives the history ``s_1 ... s_{n-1}`` and the target ``s_n``, in training and in evaluation
alike; in training every position of the history predicts its successor. Histories are padded on the right, so that a
causal encoder needs no padding mask and the newest item is at ``length - 1``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ifcdsr_core.errors import InputError
from ifcdsr_core.scenario import PAD_ID, SECONDS_A_DAY, in_drawn_order

IGNORE = -100  # a position with nothing to predict
X, Y, XY = "x", "y", "xy"  # the three sequences of a user: S^X, S^Y, S^{X+Y}


@dataclass(frozen=True)
class Batch:
    """B cases. Ids are item ids (1 ... V, X before Y), right-padded with PAD_ID.

    Attributes:
        item_seq, item_seq_x, item_seq_y: (B, L) histories S^{X+Y}, S^X, S^Y (the L of each may differ).
        labels, labels_x, labels_y: (B, L) the next item within the same (sub-)sequence, or IGNORE.
        target_item: (B,) the item to predict; target_domain: (B,) 0 for X, 1 for Y.
        known: (B, K) all items of the user in whatever split, right-padded; K is 0 where it was not asked for.
    """

    item_seq: Tensor
    item_seq_x: Tensor
    item_seq_y: Tensor
    labels: Tensor
    labels_x: Tensor
    labels_y: Tensor
    target_item: Tensor
    target_domain: Tensor
    known: Tensor

    def __len__(self) -> int:
        return len(self.target_item)

    def __getitem__(self, index) -> Batch:
        return Batch(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: str | torch.device) -> Batch:
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))

    @property
    def sequences(self) -> dict[str, Tensor]:
        """The histories by the name of their sequence."""
        return {X: self.item_seq_x, Y: self.item_seq_y, XY: self.item_seq}

    @property
    def next_items(self) -> dict[str, Tensor]:
        """Their labels."""
        return {X: self.labels_x, Y: self.labels_y, XY: self.labels}


def encode(
    sequences: pd.DataFrame, num_items_x: int, max_seq_len: int, everything: pd.DataFrame | None = None
) -> Batch:
    """Encode sequences (a split of a Scenario) as one Batch, in their order.

    Of a longer sequence the newest ``max_seq_len`` items of history and the target are kept.

    Args:
        everything: all sequences, from which ``known`` is taken.
    """
    length = sequences["items"].map(len).to_numpy(dtype=np.int64)
    kept = np.minimum(length, max_seq_len + 1)
    flat = np.concatenate([np.zeros(0, np.int64), *sequences["items"]]).astype(np.int64)
    columns = np.arange(kept.max(initial=2))
    valid = columns < kept[:, None]  # (N, L+1)
    first = np.cumsum(length) - kept
    whole = np.where(valid, flat[np.minimum(first[:, None] + columns, len(flat) - 1)], PAD_ID)
    target = whole[np.arange(len(whole)), kept - 1]
    is_history = columns < (kept - 1)[:, None]

    tensors = {}
    domains = {"": valid, "_x": valid & (whole <= num_items_x), "_y": valid & (whole > num_items_x)}
    for suffix, member in domains.items():
        sub = _compact(whole, member)  # (N, L+1), the sub-sequence with its target
        history = _compact(whole, member & is_history)[:, :-1]  # (N, L), a prefix of it
        follows = np.where((history != PAD_ID) & (sub[:, 1:] != PAD_ID), sub[:, 1:], IGNORE)
        width = max(1, int((history != PAD_ID).sum(axis=1).max(initial=0)))
        tensors["item_seq" + suffix] = torch.from_numpy(history[:, :width].copy())
        tensors["labels" + suffix] = torch.from_numpy(follows[:, :width].copy())
    return Batch(
        **tensors,
        target_item=torch.from_numpy(target),
        target_domain=torch.from_numpy((target > num_items_x).astype(np.int64)),
        known=torch.from_numpy(_items_of_users(sequences, everything)),
    )


def shuffle_days(sequences: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Shuffle the items of the same day in each history (gap 5: their order is unknown); targets stay where they are.

    Args:
        sequences: a split of a Scenario whose timestamps are unix seconds.

    Returns:
        The same rows with ``items`` in a new order.

    Raises:
        InputError: the sequences have no timestamps.
    """
    if sequences["timestamps"].isna().any():
        raise InputError("shuffle_days needs timestamps: this source has none")
    days = [np.asarray(times) // SECONDS_A_DAY for times in sequences["timestamps"]]
    for day in days:
        day[-1:] = np.iinfo(day.dtype).max  # the target stays last
    return sequences.assign(items=in_drawn_order([*sequences["items"]], days, seed))


def _items_of_users(sequences: pd.DataFrame, everything: pd.DataFrame | None) -> np.ndarray:
    """Distinct items that the user of each sequence has in ``everything``, (N, K) int32."""
    if everything is None:
        return np.zeros((len(sequences), 0), dtype=np.int32)
    users = sequences["user"]
    rows = everything.loc[everything["user"].isin(users), ["user", "items"]].explode("items").drop_duplicates()
    place = rows.groupby("user").cumcount().to_numpy()
    known = pd.Index(rows["user"].unique())
    items = np.full((len(known), place.max(initial=-1) + 1), PAD_ID, dtype=np.int32)
    items[known.get_indexer(rows["user"]), place] = rows["items"].to_numpy(dtype=np.int32)
    return items[known.get_indexer(users)]


def _compact(whole: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Move the members of each row to its front, in order, and pad the rest."""
    moved = np.full_like(whole, PAD_ID)
    moved[np.arange(whole.shape[1]) < member.sum(axis=1, keepdims=True)] = whole[member]  # both row by row
    return moved


def shuffled(cases: Batch, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Go once through all cases in random order."""
    for index in torch.randperm(len(cases), generator=generator).split(batch_size):
        yield cases[index]
