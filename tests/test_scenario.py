"""A Scenario checks itself when it is made, and says in one line which sequence is wrong."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pytest
from worlds import tiny

from ifcdsr_core.errors import InputError
from ifcdsr_core.scenario import Scenario, in_drawn_order, numbered

DAY = 86_400


def with_sequence(row: int = 3, **changes) -> Scenario:
    """The tiny scenario, one sequence changed."""
    scenario = tiny()
    sequences = scenario.sequences.copy()
    for column, value in changes.items():
        values = sequences[column].to_list()
        values[row] = value
        sequences[column] = pd.Series(values, dtype=object)
    return dataclasses.replace(scenario, sequences=sequences)


def with_items(**columns) -> Scenario:
    scenario = tiny()
    return dataclasses.replace(scenario, items=scenario.items.assign(**columns))


def times(change) -> list:
    """The times of sequence 3 after ``change``."""
    return change(list(range(0, len(tiny().sequences["items"][3]) * DAY, DAY)))


def items(change) -> list:
    """The items of sequence 3 after ``change``."""
    return change(tiny().sequences["items"][3].tolist())


OF_SEQUENCE_3 = {
    "times too short": ({"timestamps": times(lambda t: t[:-1])}, "one time per item"),
    "times too long": ({"timestamps": times(lambda t: [*t, 10**9])}, "one time per item"),
    "no times": ({"timestamps": []}, "one time per item"),
    "a number for times": ({"timestamps": 5}, "one time per item"),
    "a text for times": ({"timestamps": "2011-01-01"}, "one time per item"),
    "NaN for times": ({"timestamps": float("nan")}, "one time per item"),
    "times of times": ({"timestamps": times(lambda t: [[x] for x in t])}, "one time per item"),
    "times decreasing": ({"timestamps": times(lambda t: t[::-1])}, "do not decrease"),
    "one time back": ({"timestamps": times(lambda t: [*t[:-1], t[-2] - 1])}, "do not decrease"),
    "floats": ({"timestamps": times(lambda t: [x + 0.5 for x in t])}, "whole seconds"),
    "NaN among times": ({"timestamps": times(lambda t: [*t[:-1], float("nan")])}, "whole seconds"),
    "None among times": ({"timestamps": times(lambda t: [*t[:-1], None])}, "whole seconds"),
    "Timestamps": ({"timestamps": times(lambda t: [pd.Timestamp(x, unit="s") for x in t])}, "whole seconds"),
    "dates": ({"timestamps": times(lambda t: [datetime.date.fromordinal(1 + x // DAY) for x in t])}, "whole seconds"),
    "ISO dates": ({"timestamps": times(lambda t: ["2011-01-01"] * len(t))}, "whole seconds"),
    "numpy dates": ({"timestamps": times(lambda t: np.array(t, dtype="datetime64[s]"))}, "whole seconds"),
    "truths": ({"timestamps": times(lambda t: [True] * len(t))}, "whole seconds"),
    "an item of 0": ({"items": items(lambda i: [0, *i[1:]])}, "an item outside 1 to 30"),
    "an item too many": ({"items": items(lambda i: [31, *i[1:]])}, "an item outside 1 to 30"),
    "a negative item": ({"items": items(lambda i: [-1, *i[1:]])}, "an item outside 1 to 30"),
    "one item": ({"items": [12], "timestamps": [0]}, "at least two items"),
    "no item": ({"items": [], "timestamps": []}, "at least two items"),
    "no user": ({"user": None}, "needs a user"),
    "user NaN": ({"user": float("nan")}, "needs a user"),
    "no split": ({"split": None}, "of a split of train, valid, test"),
    "another split": ({"split": "dev"}, "of a split of train, valid, test"),
    "the other domain": ({"target_domain": "y"}, "target_domain"),
    "no domain": ({"target_domain": None}, "target_domain"),
}


@pytest.mark.parametrize("case", OF_SEQUENCE_3)
def test_a_wrong_sequence_is_named(case):
    changes, says = OF_SEQUENCE_3[case]
    with pytest.raises(InputError, match="^scenario demo/food_kitchen: sequence 3, of user ") as caught:
        with_sequence(**changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        [1.0, 5.0, 6.7],
        [1, 2.5],
        ["a", "b"],
        [1, None],
        [[1], [2]],
        [[1], [2, 3]],
        [True, False],
        None,
        5,
        "12",
        np.array([1, 2], dtype="M8[s]"),
    ],
)
def test_items_that_are_no_list_of_whole_numbers(wrong):
    with pytest.raises(InputError, match="sequence 3, of user 'u3', needs as items a list of whole numbers"):
        with_sequence(items=wrong)


@pytest.mark.parametrize(
    "columns, says",
    [
        ({"item": range(30)}, "item ids must be 1 to 30"),
        ({"item": None}, "item ids must be 1 to 30"),
        ({"domain": None}, "domain x, then those of domain y"),
        ({"domain": "x"}, "domain x, then those of domain y"),
        ({"domain": ["y"] * 18 + ["x"] * 12}, "domain x, then those of domain y"),
        ({"domain": ["x"] * 12 + ["z"] * 18}, "domain x, then those of domain y"),
        ({"source_id": None}, "needs a source_id"),
        ({"source_id": "i0"}, "source_id ['i0'] stands twice in a domain"),
        ({"title": 5}, "title must be text or None"),
        ({"title": [["a"]] * 30}, "title must be text or None"),
        ({"image": 1.5}, "image must be text or None"),
    ],
)
def test_wrong_items(columns, says):
    with pytest.raises(InputError) as caught:
        with_items(**columns)
    assert says in str(caught.value)


def test_what_is_right_is_accepted():
    with_sequence(timestamps=None)
    with_sequence(timestamps=times(lambda t: [5] * len(t)))
    with_sequence(timestamps=times(lambda t: np.array(t, dtype="<u4")))
    with_sequence(items=items(tuple), user=17)
    with_items(source_id=[f"i{n % 18}" for n in range(30)], title=[f"t{n}" if n % 2 else None for n in range(30)])


def test_no_sequence_at_all():
    with pytest.raises(InputError, match="no sequences"):
        dataclasses.replace(tiny(), sequences=tiny().sequences.iloc[:0])


def named_items(scenario: Scenario) -> list[list[str]]:
    """The sequences in the items' names."""
    names = ["", *scenario.items["source_id"]]
    return [[names[item] for item in row] for row in scenario.sequences["items"]]


def test_redrawn_numbers_name_the_same_items():
    scenario = tiny()
    redrawn = numbered(scenario, "redrawn")
    assert named_items(redrawn) == named_items(scenario)
    assert redrawn.items["source_id"].tolist() != scenario.items["source_id"].tolist()
    assert redrawn.items["domain"].tolist() == scenario.items["domain"].tolist()
    assert redrawn.items["item"].tolist() == scenario.items["item"].tolist()
    assert redrawn.fingerprint == numbered(scenario, "redrawn").fingerprint != scenario.fingerprint
    assert numbered(scenario, "published") is scenario
    with pytest.raises(InputError, match="unknown numbering 'none': choose one of published, redrawn"):
        numbered(scenario, "none")


def test_only_equal_times_are_drawn():
    items = [np.arange(6), np.arange(10, 13), np.array([7])]
    times = [np.array([0, 1, 1, 1, 1, 2]), np.array([0, 1, 2]), np.array([3])]
    draws = [in_drawn_order(items, times, seed) for seed in range(50)]
    for first, second, third in draws:
        assert (first[0], first[5]) == (0, 5) and sorted(first) == list(range(6))
        assert second.tolist() == [10, 11, 12] and third.tolist() == [7]
    assert {int(first[4]) for first, *_ in draws} == {1, 2, 3, 4}
