"""Encoding of sequences, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import NUM_X, tiny

from ifcdsr_core.batches import IGNORE, encode, shuffle_days
from ifcdsr_core.errors import InputError


@pytest.mark.parametrize("max_seq_len", [3, 7, 20])
def test_encoding_equals_a_plain_loop(max_seq_len):
    sequences = tiny().sequences
    batch = encode(sequences, NUM_X, max_seq_len)
    domains = {"": lambda i: True, "_x": lambda i: i <= NUM_X, "_y": lambda i: i > NUM_X}
    for row, items in enumerate(sequences["items"]):
        kept = [int(i) for i in items][-(max_seq_len + 1) :]
        assert batch.target_item[row] == kept[-1] and batch.target_domain[row] == (kept[-1] > NUM_X)
        for suffix, member in domains.items():
            sub, history = [i for i in kept if member(i)], [i for i in kept[:-1] if member(i)]
            labels = (sub[1:] + [IGNORE])[: len(history)]
            for name, wanted, fill in (("item_seq", history, 0), ("labels", labels, IGNORE)):
                got = getattr(batch, name + suffix)[row].tolist()
                assert got == wanted + [fill] * (len(got) - len(wanted)), (row, name + suffix)


def test_full_length_sequences_keep_every_item():
    sequences = tiny().sequences
    longest = int(sequences["items"].map(len).max()) - 1
    assert encode(sequences, NUM_X, longest).item_seq.shape[1] == longest


def test_selecting_rows_keeps_fields_together():
    batch = encode(tiny().sequences, NUM_X, 20)
    assert len(batch[:5]) == 5 and batch[[3]].target_item.item() == batch.target_item[3].item()


def test_days_are_shuffled_within_and_the_target_stays():
    sequences = tiny(200).sequences.copy()
    days = [
        np.sort(np.random.default_rng(row).integers(0, 3, size=len(items)))
        for row, items in enumerate(sequences["items"])
    ]
    sequences["timestamps"] = [day * 86_400 + 5 for day in days]
    mixed = shuffle_days(sequences, seed=1)
    moved = 0
    for day, before, after in zip(days, sequences["items"], mixed["items"], strict=True):
        assert after[-1] == before[-1] and len(after) == len(before)
        for one in range(3):
            assert sorted(np.asarray(after)[:-1][day[:-1] == one]) == sorted(np.asarray(before)[:-1][day[:-1] == one])
        moved += list(after) != list(before)
    assert moved > len(sequences) / 2
    assert shuffle_days(sequences, seed=1)["items"].map(tuple).equals(mixed["items"].map(tuple))
    assert not shuffle_days(sequences, seed=2)["items"].map(tuple).equals(mixed["items"].map(tuple))


def test_days_of_a_source_without_times_are_refused():
    with pytest.raises(InputError, match="timestamps"):
        shuffle_days(tiny().sequences.assign(timestamps=None), seed=1)
