"""Pages 05b and 05c: every gap has words and a number or a reason; effects agree with those computed by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from made_runs import NAMES, made_run

from ifcdsr_core.analysis.paired import Difference
from ifcdsr_core.book.pages import ledger, sensitivity
from ifcdsr_core.runs import lists


def runs_of(ranks_x, ranks_y, **config):
    return [made_run(ranks_x, ranks_y, **config)]


@pytest.fixture
def demo():
    """Ours has an MRR of 50 and 25; other readings have 100 and 25, except those with a run for each domain."""
    rows = {label: runs_of([1, 1], [4, 4]) for label in lists.readings("food_kitchen", [0])}
    rows[lists.OURS] = runs_of([2, 2], [4, 4])
    rows[lists.OURS_TEXT] = runs_of([4, 4], [4, 4])
    for label in rows:
        if label.endswith(", x"):
            rows[label] = runs_of([1, 1], [9, 9])
        if label.endswith(", y"):
            rows[label] = runs_of([9, 9], [2, 2])
    return rows


def rivals():
    popularity = runs_of([3, 3], [5, 5], model="popularity")
    for run in popularity:
        run.ranks["sampled_999_ties"] = [2, 2, 0, 0]  # two others score as the target does: places 2 to 4
    return {"Popularity": popularity, "C2DSR": runs_of([1, 1], [4, 4], model="c2dsr")}


def test_every_gap_has_a_measured_effect_or_says_why_not(demo):
    table = ledger.effects(demo, (2000, 3000), rivals())
    measured = set(table["gap"]) | {13}  # 13 needs several seeds
    assert {gap.number for gap in ledger.GAPS} == set(range(1, 16))
    for gap in ledger.GAPS:
        assert gap.silent and gap.choice and (gap.number in measured or gap.unchecked), gap.topic
    assert {reading.gap for reading in lists.READINGS} <= {gap.number for gap in ledger.GAPS}
    lines = ledger.summary(table)
    assert len(lines) == 15 and not (lines == "").any().any()
    unmeasured = lines[lines["Largest effect"] == "cannot be checked here"]["#"]
    assert set(unmeasured) == {6, 13, 14}
    assert (
        "Cannot be checked here" in ledger.entry(ledger.GAPS[5]).data
        and "Cannot" not in ledger.entry(ledger.GAPS[0]).data
    )


def test_effects_by_hand(demo):
    table = ledger.effects(demo, (2000, 3000), rivals()).set_index("reading")
    layers = table.loc["2 layers"]
    assert (layers["Food"].value, layers["Kitchen"].value) == (50.0, 0.0) and layers["data"] == "demo"
    pair = table.loc["each domain at its own best epoch"]  # Food from the one run, Kitchen from the other
    assert (pair["Food"].value, pair["Kitchen"].value) == (50.0, 25.0)
    assert table.loc["LLM-EMF: weights learned"]["Food"].value == 75.0  # over LLM-EMF as in this book, not IFCDSR
    rival = table.loc["IFCDSR minus C2DSR, 1 seed"]
    assert (rival["gap"], rival["Food"].value, rival["Kitchen"].value) == (4, -50.0, 0.0)
    full = table.loc["ranked among all items of the domain"]  # made_run doubles the ranks
    assert (full["Food"].value, full["Kitchen"].value) == (-25.0, -12.5)
    first, last = (
        table.loc[f"the target {where} its equals, for Popularity"]["Food"] for where in ("before", "behind")
    )
    assert first.value == pytest.approx(100 / 2 - 100 / 3) and last.value == pytest.approx(100 / 4 - 100 / 3)
    assert "the target before its equals" not in table.index  # these runs have no count of ties


def test_intervals_hold_seeds_and_cases(demo):
    for label, ranks in ((lists.OURS, [[2, 2], [2, 2]]), ("2 layers", [[1, 2], [1, 1]])):
        demo[label] = [made_run(rank, [4, 4], seed=seed) for seed, rank in enumerate(ranks)]
    only = {label: demo[label] for label in (lists.OURS, "2 layers")}
    cell = ledger.effects(only, (2000, 3000), {}).set_index("reading").loc["2 layers", "Food"]
    noise = 12.706205 * 12.5  # t(1); cases gain 50 and 25, seeds 25 and 50, no more than what they do to single cases
    assert (cell.value, cell.low, cell.high) == pytest.approx((37.5, 37.5 - noise, 37.5 + noise))
    table = ledger.effects({**only}, (2000, 3000), {})
    assert table[table["gap"] == 13].iloc[0]["Food"] == "± 0.00"


def test_the_verdict_counts_what_is_beyond_noise():
    table = pd.DataFrame(
        [
            (1, "a", "demo", Difference(-3, -4, -2), Difference(1, 0.5, 2)),
            (4, "b", "demo", Difference(9, 8, 10), Difference(9, 8, 10)),
            (7, "c", "demo", Difference(1, -1, 2), Difference(-1, -3, 1)),
        ],
        columns=["gap", "reading", "data", *NAMES],
    )
    nothing = (3, "d", "demo", Difference(0.004, 0.001, 0.01), Difference(0.0, 0.0, 0.0))  # certain, and shown as zero
    assert (
        ledger.verdict(table)
        == "**On the demo**: of 4 effects, 1 lower the MRR beyond noise and 1 raise it: a (Kitchen)."
    )
    table.loc[len(table)] = nothing
    assert "of 6 effects, 1 lower the MRR beyond noise and 1 raise it: a (Kitchen)." in ledger.verdict(table)


def test_what_a_reading_does_on_each_data_set_stands_together():
    cells = Difference(0, -1, 1), Difference(0, -1, 1)
    rows = [(7, "wide", "demo"), (7, "deep", "demo"), (9, "other", "demo"), (7, "deep", "real"), (7, "wide", "real")]
    table = pd.DataFrame([(*row, *cells) for row in rows], columns=["gap", "reading", "data", *NAMES])
    shown = ledger.measured(table, 7)
    assert [*zip(shown["Reading"], shown["Data"], strict=True)] == [
        ("wide", "demo"),
        ("wide", "real"),
        ("deep", "demo"),
        ("deep", "real"),
    ]


def test_at_a_glance_what_is_beyond_noise_goes_before_what_is_larger():
    table = pd.DataFrame(
        [
            (7, "noisy", "demo", Difference(5, -1, 11), Difference(-4, -9, 1)),
            (7, "sure", "demo", Difference(1, 0.5, 2), Difference(0, -1, 1)),
            (9, "larger", "demo", Difference(-3, -9, 3), Difference(0, -1, 1)),
            (9, "smaller", "demo", Difference(1, -2, 3), Difference(0, -1, 1)),
        ],
        columns=["gap", "reading", "data", *NAMES],
    )
    lines = ledger.summary(table).set_index("#")["Largest effect"]
    assert (lines[7], lines[9]) == ("sure; demo", "larger; demo")


def test_sensitivity_names_the_best_value_and_what_it_would_bring():
    runs = {"alpha": {0.0: runs_of([4, 4], [4, 4]), 0.7: runs_of([2, 2], [4, 4]), 1.0: runs_of([1, 1], [5, 5])}}
    curve = sensitivity.sensitivity_table(runs["alpha"], NAMES)
    assert curve[curve["domain"] == "Food"][["value", "mean"]].to_numpy().tolist() == [[0, 25], [0.7, 50], [1, 100]]
    best = sensitivity.best_values(runs, {"alpha": 0.7}, NAMES)
    assert best[["Target", "Here", "Best tried"]].to_numpy().tolist() == [["Food", "0.7", "1"], ["Kitchen", "0.7", "0"]]
    assert [cell.value for cell in best["Difference"]] == [50.0, 0.0]
    text = sensitivity.sensitivity_verdict(best)
    assert "1 instead of 0.7 would bring +50.00 points in Food" in text and "Kitchen" not in text
    assert "No value" in sensitivity.sensitivity_verdict(best.iloc[1:])


def test_the_values_in_use_are_those_of_the_configuration():
    config = lists.readings("food_kitchen", [0])[lists.OURS][0]
    used = sensitivity.used_values(config)
    assert used["alpha"] == 0.7 and used["learning_rate"] == config.learning_rate and used["hidden_size"] == 64
