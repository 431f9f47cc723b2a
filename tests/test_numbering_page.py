"""Page 04c: what numbers of items and the order within a day tell; and the choices of page 04b."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_runs import NAMES, made_run
from worlds import tiny

from ifcdsr_core.analysis.counts import number_order
from ifcdsr_core.book.pages import numbering, protocol
from ifcdsr_core.errors import InputError
from ifcdsr_core.scenario import Scenario


def last_two(*pairs: tuple[int, int, int]) -> Scenario:
    """Test sequences that end in two items, so many days apart."""
    world = tiny()
    rows = [
        (f"u{n}", "test", "x" if b <= world.num_items_x else "y", np.array([7, a, b]), np.array([0, 9, 9 + days]))
        for n, (a, b, days) in enumerate(pairs)
    ]
    rows += [("v", "valid", "x", np.array([15, 1, 1, 2]), np.arange(4))]  # 1 twice, 15 and 2 once
    columns = ["user", "split", "target_domain", "items", "timestamps"]
    return Scenario(world.name, world.source, world.items, pd.DataFrame(rows, columns=columns))


def test_the_order_of_numbers_counted_by_hand():
    found = number_order(last_two((1, 2, 0), (3, 2, 0), (2, 14, 0), (15, 16, 0), (5, 4, 1)))  # 13 is the first of Y
    expected = {"sequences": 5, "tied": 0.8, "ascending": 0.75, "same_domain": 3, "same_domain_ascending": 2 / 3}
    assert found == expected | {"rarer": 2 / 3, "commoner": 1 / 3}
    world = tiny()
    untimed = Scenario(world.name, world.source, world.items, world.sequences.assign(timestamps=None))
    with pytest.raises(InputError, match="number_order needs timestamps"):
        number_order(untimed)


def test_the_shipped_counts_are_shares_of_the_papers_test_cases():
    table = numbering.order()
    assert table["Test cases"].tolist()[:2] == [8406, 7708]
    assert table.iloc[:, 2:].stack().between(0, 100).all()


def test_control_and_models_stand_side_by_side():
    table = numbering.reached().set_index(["Data", "Target"])
    paper = table.loc[("Food-Kitchen (the paper's data)", "Food")]
    assert paper["As published"] > paper["IFCDSR printed"] == 9.05 > paper["Renumbered"]
    assert (table["Renumbered"] < 1.2).all()
    assert numbering.reached_verdict(table.reset_index()).count("(printed: ") == 4


def test_the_price_of_ties_pairs_runs_that_differ_in_nothing_else():
    table = numbering.price_of_ties()
    assert {"Popularity", "Co-occurrence"} <= set(table["Model"]) and "Numbering" not in set(table["Model"])
    np.testing.assert_allclose(table["Change"], table["Redrawn"] - table["Published"])
    assert table.groupby(["Data", "Target"])["Model"].apply(lambda models: models.is_unique).all()
    assert f"Of {len(table)} results" in numbering.price_verdict(table)
    assert "ships no runs" in numbering.price_verdict(table.head(0))


def test_choices_of_negatives_and_ties_by_hand():
    run = made_run([2.5, 1], [4])
    ties = {f"{name}_ties": [3, 0, 0] for name in ("sampled_999", "unseen_999", "full")}
    run = replace(run, ranks=run.ranks.assign(unseen_999=[2.5, 1, 2], **ties))
    table = protocol.choices({"IFCDSR": [run], "older": [made_run([1], [1])]}, NAMES)
    assert table["Model"].tolist() == ["IFCDSR", "IFCDSR"]  # the older one was not ranked among unseen items
    food, kitchen = (100 * np.array(values) for values in ([0.7, 1, 0.7, 1], [0.25, 0.25, 0.5, 0.5]))
    np.testing.assert_allclose(table.iloc[:, 2:6].to_numpy(dtype=float), [food, kitchen])
    np.testing.assert_allclose(table["Ratio"], [1 / 0.7, 2])
