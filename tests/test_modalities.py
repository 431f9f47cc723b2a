"""Which modality helps where: from hand-made runs to hand-computed gains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_runs import NAMES, made_run
from worlds import tiny

from ifcdsr_core.analysis import subgroups
from ifcdsr_core.book.pages import llm_emf
from ifcdsr_core.runs.config import RunConfig


def arms(image=(4, 4), text=(4, 4)):
    """ID with MRRs of 25 and 25 percent; others by rank in Food and Kitchen."""
    return {
        arm: [made_run([x] * 4, [y] * 4)]
        for arm, (x, y) in {"ID": (4, 4), "ID + image": image, "ID + text": text}.items()
    }


def test_gains_of_every_arm_are_over_the_id():
    table = llm_emf.arm_gains(arms(image=(2, 4), text=(1, 8)), NAMES)
    assert table[["arm", "domain", "gain", "verdict"]].to_numpy().tolist() == [
        ["ID + image", "Food", 25.0, "a gain"],
        ["ID + image", "Kitchen", 0.0, "within noise"],
        ["ID + text", "Food", 75.0, "a gain"],
        ["ID + text", "Kitchen", -12.5, "a loss"],
    ]
    text = llm_emf.modalities_verdict(table)
    assert "**ID + text** against the ID alone: Food +75.00 ± 0.00, a gain; Kitchen −12.50 ± 0.00, a loss." in text


def test_an_arm_with_fewer_seeds_is_compared_with_these():
    runs = {
        "ID": [made_run([4, 4], [4, 4], seed=0), made_run([1, 1], [1, 1], seed=1)],
        "ID + text": [made_run([2, 2], [4, 4], seed=0)],
    }
    assert llm_emf.arm_gains(runs, NAMES)["gain"].tolist() == [25.0, 0.0]
    runs["ID + text"] = [made_run([2, 2], [4, 4], seed=5)]
    with pytest.raises(ValueError, match="paired by seed"):
        llm_emf.arm_gains(runs, NAMES)


def test_worlds_are_named_by_what_explains_them():
    worlds = {(0.0, 0.0): arms(), (1.0, 0.0): arms(image=(2, 2)), (0.0, 1.0): arms(text=(2, 8)), (1.0, 1.0): arms()}
    table = llm_emf.planted_table(worlds, NAMES)
    assert table["Explained by"].tolist()[::2] == ["neither", "pictures", "titles", "pictures and titles"]
    assert table.columns.tolist()[2:] == ["ID", "ID + image", "ID + text"] and table.iloc[2]["ID + image"].mean == 50.0
    told = llm_emf.planted_verdict(llm_emf.planted_gains(worlds, NAMES)).splitlines()
    assert told[0].startswith(
        "- Where **neither pictures nor titles explain** behaviour: ID + image (Food, +0.00 ± 0.00);"
    )
    assert told[0].endswith("change nothing beyond noise.") and "gain" not in told[0]
    assert "ID + text (Food, +25.00 ± 0.00) gain. ID + text (Kitchen, −12.50 ± 0.00) lose." in told[2]


def test_gains_by_title_are_those_of_targets_with_and_without_one():
    """Six targets of each domain, the first three without a title; the text helps those that have one."""
    runs = {"ID": [made_run([4] * 60, [4] * 60)], "ID + text": [made_run([8] * 30 + [2] * 30, [4] * 30 + [1] * 30)]}
    for group in runs.values():
        group[0].provenance["scenario_fingerprint"] = "titled"
    table = pd.DataFrame(
        {"target_domain": ["x"] * 60 + ["y"] * 60, "titled": [0.0] * 30 + [1.0] * 30 + [0.0] * 30 + [1.0] * 30}
    )
    table.attrs = {
        "source": "c2dsr",
        "scenario": "food_kitchen",
        "scenario_fingerprint": "titled plain",
        "train_on": "train",
        "holdout": 0.1,
    }
    for group in runs.values():
        group[0].config.update(train_on="train", holdout=0.1)
    found = llm_emf.by_title(table, runs, NAMES)
    assert found[["Arm", "Target", "The target is", "Cases", "Gain"]].to_numpy().tolist() == [
        ["ID + text", "Food", "without a title", 30, -12.5],
        ["ID + text", "Food", "with a title", 30, 25.0],
        ["ID + text", "Kitchen", "without a title", 30, 0.0],
        ["ID + text", "Kitchen", "with a title", 30, 75.0],
    ]


def test_groups_too_small_to_tell_apart_have_a_name():
    runs = {"ID": [made_run([4] * 60, [4] * 60)], "ID + text": [made_run([2] * 60, [4] * 60)]}
    table = pd.DataFrame(
        {"target_domain": ["x"] * 60 + ["y"] * 60, "titled": [0.0] * 10 + [1.0] * 50 + [0.0] * 30 + [1.0] * 30}
    )
    table.attrs = {
        "source": "demo",
        "scenario": "food_kitchen",
        "scenario_fingerprint": "f",
        "train_on": "train",
        "holdout": 0.1,
    }
    for group in runs.values():
        group[0].provenance["scenario_fingerprint"] = "f"
        group[0].config.update(train_on="train", holdout=0.1)
    found = llm_emf.by_title(table, runs, NAMES)
    assert found[["Target", "The target is", "Cases", "Gain"]].to_numpy().tolist() == [
        ["Food", "with or without a title", 60, 25.0],
        ["Kitchen", "without a title", 30, 0.0],
        ["Kitchen", "with a title", 30, 0.0],
    ]


def test_whether_a_target_has_a_title_is_a_property_only_where_some_lack_one():
    scenario = tiny()
    assert subgroups.case_properties(scenario, RunConfig())["titled"].isna().all()
    scenario.items["title"] = pd.Series(
        [f"thing {n}" if n % 3 else None for n in range(1, scenario.num_items + 1)], dtype=object
    )
    titled = subgroups.case_properties(scenario, RunConfig())["titled"]
    targets = [int(items[-1]) for items in scenario.split("test")["items"]]
    assert titled.tolist() == [float(bool(target % 3)) for target in targets] and 0 < np.mean(titled) < 1
    scenario.items["title"] = "thing"
    assert subgroups.case_properties(scenario, RunConfig())["titled"].isna().all()


def test_cases_of_the_same_sequences_with_and_without_titles_are_the_same():
    runs = arms()["ID"]
    runs[0].config.update(train_on="train", holdout=0.1)
    table = pd.DataFrame({"target_domain": ["x"] * 4 + ["y"] * 4})
    table.attrs = {
        "source": "c2dsr",
        "scenario": "food_kitchen",
        "train_on": "train",
        "holdout": 0.1,
        "scenario_fingerprint": "titled plain",
    }
    for one in ("titled", "plain"):
        runs[0].provenance["scenario_fingerprint"] = one
        subgroups.check_cases(table, runs)
    runs[0].provenance["scenario_fingerprint"] = "tit"
    with pytest.raises(ValueError, match="other data"):
        subgroups.check_cases(table, runs)


def test_gains_by_group_have_a_panel_for_each_arm_and_domain():
    runs = {"ID": [made_run([4] * 60, [4] * 60)], "ID + text": [made_run([8] * 30 + [2] * 30, [4] * 60)]}
    for group in runs.values():
        group[0].provenance["scenario_fingerprint"] = "f"
        group[0].config.update(train_on="train", holdout=0.1)
    table = pd.DataFrame({"target_domain": ["x"] * 60 + ["y"] * 60, "popularity": ([0] * 30 + [9] * 30) * 2})
    table.attrs = {
        "source": "demo",
        "scenario": "food_kitchen",
        "scenario_fingerprint": "f",
        "train_on": "train",
        "holdout": 0.1,
    }
    panels = llm_emf.gain_panels(table, runs, NAMES, "popularity")
    assert [title for title, _ in panels] == ["ID + text: Food", "ID + text: Kitchen"]
    assert [part["gain"].tolist() for part in panels.values()] == [[-12.5, 25.0], [0.0, 0.0]]
