"""The best possible answers stand beside the models' runs, ranked as these are and competing with none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from made_runs import NAMES, made_run

from ifcdsr_core.analysis import bounds, paired
from ifcdsr_core.book import evidence
from ifcdsr_core.errors import InputError
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.demo import ceiling, world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    """A demo with few users and items, in a data folder of its own; and a run on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(world, "_draw_pictures", lambda *_: None)
        patch.setattr(world, "VALID_CASES", 20)
        patch.setattr(world, "TEST_CASES", 150)
        food = dataclasses.replace(world._WORLDS["food_kitchen"], num_items=(90, 120), num_users=100)
        patch.setitem(world._WORLDS, "food_kitchen", food)
        scenario = prepare("demo", "food_kitchen")
        yield scenario, run_on(scenario)


def run_on(scenario, **config):
    """A run whose model ranks every target last."""
    cases = scenario.split("test")
    table = pd.DataFrame({"user": cases["user"].to_numpy(), "target_domain": cases["target_domain"].to_numpy()})
    table["target_item"] = np.array([items[-1] for items in cases["items"]], dtype=np.int64)
    table["sampled_999"] = table["full"] = 80.0
    run = made_run([1], [1], candidate_seed=0, **config)
    run.provenance["scenario_fingerprint"] = scenario.fingerprint
    return dataclasses.replace(run, ranks=table)


def test_ranks_are_those_of_the_chances(small_demo):
    scenario, run = small_demo
    cases = scenario.split("test")
    target = np.array([items[-1] for items in cases["items"]])
    (found,) = bounds.bounds({"IFCDSR": [run]})[bounds.BAYES]
    for rows, chance in ceiling.bayes(scenario, cases):
        first = 1 + scenario.num_items_x * (cases["target_domain"].iloc[rows[0]] == "y")
        of_target = chance[np.arange(len(rows)), target[rows] - first]
        by_hand = 1 + (chance > of_target[:, None]).sum(axis=1)
        assert (found.ranks["full"].to_numpy()[rows] == by_hand).all() and (by_hand > 1).any()
    assert (found.ranks["sampled_999"] == found.ranks["full"]).all()  # there are not 999 others
    assert (found.ranks["user"] == cases["user"].to_numpy()).all()


def test_they_are_rows_below_the_models_and_take_nobody_the_first_place(small_demo):
    scenario, run = small_demo
    better = dataclasses.replace(run, ranks=run.ranks.assign(sampled_999=40.0 - np.arange(len(run.ranks)) % 3))
    runs = {"IFCDSR": [better], "SASRec": [run]}
    limits = bounds.bounds(runs)
    table = paired.with_intervals(runs | limits, NAMES, "sampled_999")
    assert table["Model"].tolist() == 2 * ["IFCDSR", "SASRec", bounds.BAYES, bounds.ORACLE]
    assert [cell.best for cell in table["MRR"]] == 2 * [True, False, False, False]
    assert all(low.mean < high.mean for low, high in zip(table["MRR"][1:3], table["MRR"][2:4], strict=True))
    said = evidence.ceiling_verdict(runs, limits, NAMES)
    assert said.count("the best possible MRR is") == 2 and "IFCDSR" in said and "the others less" not in said
    assert bounds.bounds({"IFCDSR": [made_run([1], [1], source="c2dsr")]}) == {}
    assert evidence.ceiling_verdict(runs, {}, NAMES) == ""


def test_what_a_part_brings_to_bayes_stands_below_the_gains_of_a_control(small_demo):
    scenario, run = small_demo
    none = prepare("demo", "food_kitchen", cross_domain_signal=0.0)
    controls = {
        1.0: {"multiple attention": [run], "own domain alone": [run]},
        0.0: {
            arm: [run_on(none, source_options={"cross_domain_signal": 0.0})]
            for arm in ("multiple attention", "own domain alone")
        },
    }
    steps = [("over each domain alone", "multiple attention", "own domain alone")]
    gains = paired.control_gains(controls, steps, NAMES)
    table = bounds.beside_ceiling(gains, controls, ceiling.OTHER_DOMAIN, NAMES)
    assert table["compared"].tolist() == 4 * ["over each domain alone"] + 4 * ["other domain, to Bayes"]
    of_bayes = table[4:].groupby("signal")["gain"]
    assert of_bayes.get_group(0.0).tolist() == [0, 0] and of_bayes.get_group(1.0).mean() > 0
    said = evidence.share_of_ceiling(table, "over each domain alone", "other domain, to Bayes")
    assert said.startswith(
        "From the dial at 0 to 1 the model's gain changes by +0.00 ± 0.00 points for Food, where Bayes"
    )
    assert said.endswith(": 0% of it.")


def test_what_a_model_gains_at_the_start_of_a_dial_is_no_share_of_the_ceiling():
    columns = ["compared", "signal", "domain", "gain", "noise"]
    ours = [("ours", 0.0, "Food", 2.0, 0.3), ("ours", 1.0, "Food", 3.0, 0.4)]
    gains = pd.DataFrame([*ours, ("Bayes", 0.0, "Food", 0.0, 0.0), ("Bayes", 1.0, "Food", 4.0, 0.1)], columns=columns)
    said = evidence.share_of_ceiling(gains, "ours", "Bayes")
    assert said.endswith("gain changes by +1.00 ± 0.50 points for Food, where Bayes gains +4.00: 25% of it.")
    assert evidence.share_of_ceiling(gains[:2], "ours", "Bayes") == ""


def test_runs_on_another_world_and_a_damaged_file_are_one_line(small_demo):
    scenario, run = small_demo
    other = dataclasses.replace(run, provenance=run.provenance | {"scenario_fingerprint": "0"})
    with pytest.raises(InputError, match="another world than this version of the demo: run it again"):
        bounds.bounds({"IFCDSR": [other]})
    bounds.bounds({"IFCDSR": [run]})
    kept = sorted((bounds.data_dir() / "ceiling").glob(f"{scenario.fingerprint[:16]}-oracle-0-*.parquet"))
    whole = kept[0].read_bytes()
    kept[0].write_bytes(whole[:100])
    with pytest.raises(InputError, match="delete it, and it is computed again"):
        bounds.bounds({"IFCDSR": [run]})
    kept[0].write_bytes(whole)
