"""Page 06, which modality helps where: from hand-made runs to hand-computed gains."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_runs import NAMES, made_run
from worlds import tiny

from ifcdsr_core import sources
from ifcdsr_core.book.pages import llm_emf
from ifcdsr_core.errors import InputError
from ifcdsr_core.features import enhanced_titles
from ifcdsr_core.features.llm_endpoint import Usage
from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs import lists
from ifcdsr_core.scenario import Scenario


def arms(image=(4, 4), text=(4, 4)):
    """ID with MRRs of 25 and 25 percent; others by rank in Food and Kitchen."""
    return {
        arm: [made_run([x] * 4, [y] * 4)]
        for arm, (x, y) in {"ID": (4, 4), "ID + image": image, "ID + text": text}.items()
    }


def test_gains_of_every_arm_are_over_the_id():
    table = llm_emf.over_id(arms(image=(2, 4), text=(1, 8)), NAMES)
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
    assert llm_emf.over_id(runs, NAMES)["gain"].tolist() == [25.0, 0.0]
    runs["ID + text"] = [made_run([2, 2], [4, 4], seed=5)]
    with pytest.raises(ValueError, match="paired by seed"):
        llm_emf.over_id(runs, NAMES)


def test_worlds_are_named_by_what_explains_them():
    worlds = {(0.0, 0.0): arms(), (1.0, 0.0): arms(image=(2, 2)), (0.0, 1.0): arms(text=(2, 8)), (1.0, 1.0): arms()}
    table = llm_emf.planted_table(worlds, NAMES)
    assert table["Explained by"].tolist()[::2] == ["neither", "pictures", "titles", "pictures and titles"]
    assert table.columns.tolist()[2:] == ["ID", "ID + image", "ID + text"] and table.iloc[2]["ID + image"].mean == 50.0
    told = llm_emf.planted_verdict(llm_emf.planted_gains(worlds, NAMES)).splitlines()
    assert told[0].startswith(
        "- Where **neither pictures nor titles explain** behaviour: nothing beyond noise for ID + image "
        "(Food, +0.00 ± 0.00), ID"
    )
    assert "a gain" not in told[0] and "a loss" not in told[0]
    assert "a gain for ID + text (Food, +25.00 ± 0.00); a loss for ID + text (Kitchen, −12.50 ± 0.00); n" in told[2]


def fitting(runs, **columns) -> pd.DataFrame:
    """Properties of 60 test cases of each domain, of the data that the runs were tested on."""
    for group in runs.values():
        group[0].provenance["scenario_fingerprint"] = "f"
        group[0].config.update(train_on="train", holdout=0.1)
    table = pd.DataFrame({"target_domain": ["x"] * 60 + ["y"] * 60, **columns})
    table.attrs = {"source": "demo", "scenario": "food_kitchen", "scenario_fingerprint": "f", "train_on": "train"}
    table.attrs["holdout"] = 0.1
    return table


def test_gains_by_title_are_those_of_targets_with_and_without_one():
    """Half of the targets of each domain have a title; the text helps these."""
    runs = {"ID": [made_run([4] * 60, [4] * 60)], "ID + text": [made_run([8] * 30 + [2] * 30, [4] * 30 + [1] * 30)]}
    found = llm_emf.by_title(fitting(runs, titled=([0.0] * 30 + [1.0] * 30) * 2), runs, NAMES)
    assert found[["Arm", "Target", "The target is", "Cases", "Gain"]].to_numpy().tolist() == [
        ["ID + text", "Food", "without a title", 30, -12.5],
        ["ID + text", "Food", "with a title", 30, 25.0],
        ["ID + text", "Kitchen", "without a title", 30, 0.0],
        ["ID + text", "Kitchen", "with a title", 30, 75.0],
    ]


def test_groups_too_small_to_tell_apart_have_a_name():
    runs = {"ID": [made_run([4] * 60, [4] * 60)], "ID + text": [made_run([2] * 60, [4] * 60)]}
    table = fitting(runs, titled=[0.0] * 10 + [1.0] * 50 + [0.0] * 30 + [1.0] * 30)
    found = llm_emf.by_title(table, runs, NAMES)
    assert found[["Target", "The target is", "Cases", "Gain"]].to_numpy().tolist() == [
        ["Food", "with or without a title", 60, 25.0],
        ["Kitchen", "without a title", 30, 0.0],
        ["Kitchen", "with a title", 30, 0.0],
    ]


def test_gains_by_group_have_a_panel_for_each_arm_and_domain():
    runs = {"ID": [made_run([4] * 60, [4] * 60)], "ID + text": [made_run([8] * 30 + [2] * 30, [4] * 60)]}
    table = fitting(runs, popularity=([0] * 30 + [9] * 30) * 2)
    panels = llm_emf.gain_panels(table, runs, NAMES, "popularity")
    assert [title for title, _ in panels] == ["ID + text: Food", "ID + text: Kitchen"]
    assert [part["gain"].tolist() for part in panels.values()] == [[-12.5, 25.0], [0.0, 0.0]]


def test_world_gains_draw_every_arm_in_every_world():
    rows = [
        (world, arm, domain, gain, 0.5)
        for gain, (world, arm, domain) in enumerate(
            itertools.product(["neither", "titles"], ["ID + image", "ID + text"], ["Food", "Kitchen"])
        )
    ]
    fig = llm_emf.world_gains(pd.DataFrame(rows, columns=["world", "arm", "domain", "gain", "noise"]))
    food, kitchen = fig.axes
    assert (food.get_title(loc="left"), kitchen.get_title(loc="left")) == ("Food", "Kitchen")
    drawn = [bars.lines[0].get_ydata().tolist() for bars in food.containers]
    assert drawn == [[0, 4], [2, 6]] and [bars.get_label() for bars in food.containers] == ["ID + image", "ID + text"]
    assert [text.get_text() for text in food.get_xticklabels()] == ["neither", "titles"]


def test_text_map_names_every_group_where_it_lies():
    places = np.array([[0.0, 0.0], [0.0, 2.0], [5.0, 5.0], [7.0, 5.0]])
    fig = llm_emf.text_map(
        places, ["tea", "tea", "fire", "fire"], np.array([True, False, True, False]), ("Food", "Kitchen")
    )
    named = {text.get_text(): text.get_position() for text in fig.axes[0].texts}
    assert named == {"tea": (0.0, 1.0), "fire": (6.0, 5.0)}
    assert sum(len(part.get_offsets()) for part in fig.axes[0].collections) == 4


def test_examples_show_what_rules_add_to_titles():
    scenario = tiny()
    scenario.items["title"] = [f"Campfire mug, no. {n}" for n in scenario.items["item"]]
    scenario.items["theme"], scenario.items["kind"] = "Campfire", "mug"
    table = llm_emf.enhanced_examples(scenario, count=1)
    assert table["Domain"].tolist() == list(NAMES) and table["Title"].str.startswith("Campfire mug, no. ").all()
    assert table["Added by rules"].str.startswith("Mug from the Campfire range").all()


def titled() -> Scenario:
    """Two Food items that others buy often, and Kitchen items of which one goes with each; one without a title."""
    scenario = tiny()
    titles = dict.fromkeys(scenario.items["item"], "No. 17") | {1: "Green tea, tea bags", 2: "Dog food, for dogs"}
    first = scenario.num_items_x + 1
    titles |= {first: "Tea kettle for green tea", first + 1: "Dog bowl, food for dogs", first + 2: None}
    scenario.items["title"] = [titles[item] for item in scenario.items["item"]]
    return scenario


def test_encoders_are_compared_on_the_same_titles(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    monkeypatch.setattr(llm_emf, "_popular", lambda *_: np.array([0, 1]))
    scenario = titled()
    record = llm_emf.encoders_record(scenario, ("lexical", "wordllama"))
    with_title = [scenario.num_items_x, scenario.num_items_y - 1]
    assert [row["titled"] for row in record["titled"]] == with_title
    assert [row["width"] for row in record["encoders"]][1] == 256 and record["encoders"][1]["embedded"] == sum(
        with_title
    )
    assert record["encoders"][0]["known"] == pytest.approx(40 / 43)  # but for bags, kettle, bowl
    assert llm_emf.nearest_titles().empty
    monkeypatch.setattr(sources, "prepare", lambda *_, **__: scenario)
    monkeypatch.setattr(llm_emf, "encoders_record", lambda _: record)
    monkeypatch.setattr(llm_emf, "results_dir", lambda: tmp_path / "results")
    shipped = llm_emf.keep_encoders().read_text()
    assert not any(title in shipped for title in scenario.items["title"].dropna())  # titles are others'
    table = llm_emf.nearest_titles(width=20)
    assert table.columns.tolist() == ["Title", "lexical", "wordllama"]
    assert table.to_numpy().tolist() == [
        ["Green tea, tea bags", "Tea kettle for …", "Tea kettle for …"],
        ["Dog food, for dogs", "Dog bowl, food for …", "Dog bowl, food for …"],
    ]
    coverage = llm_emf.encoder_coverage()
    assert coverage["Encoder"].tolist() == ["lexical", "wordllama"] and coverage["Words known (%)"].iloc[1] == 100
    assert f"{with_title[1]} of {with_title[1] + 1} Kitchen items" in llm_emf.titled_sentence()


def test_examples_are_drawn_from_the_most_frequent_items(monkeypatch):
    scenario = tiny()
    times = scenario.sequences["items"].explode().astype(int).value_counts()
    monkeypatch.setattr(llm_emf, "POPULAR", 3)
    allowed = np.arange(scenario.num_items) < scenario.num_items_x
    rows = llm_emf._popular(scenario, allowed, 2)
    often = times.reindex(np.arange(1, scenario.num_items_x + 1), fill_value=0)
    assert len(set(rows)) == 2 and all((often > often[row + 1]).sum() < 3 for row in rows)


def test_encoders_of_titles_and_their_placebo():
    plain, by_encoder = (make("food_kitchen", [0], "abxi") for make in (lists.modalities, lists.text_encoders))
    assert plain["ID"] == by_encoder["ID"] and plain["ID + text"] == by_encoder["ID + wordllama"]
    own = {label: configs[0] for label, configs in by_encoder.items()}
    assert [own[f"ID + {name}"].text_encoder for name in lists.TEXT_ENCODERS] == list(lists.TEXT_ENCODERS)
    placebo = dataclasses.replace(own["ID + wordllama"], shuffle_texts=1)
    assert own["ID + other items' text"] == placebo and len(own) == 5
    assert len(lists.named_list("text_encoders", "food_kitchen", "abxi", [0, 1], [])) == 10


def test_kept_estimates_replace_each_other_and_fill_the_table_of_costs(tmp_path, monkeypatch):
    for module in (llm_emf, enhanced_titles):
        monkeypatch.setattr(module, "results_dir", lambda: tmp_path)
    scenario = tiny()
    for tokens in (500, 700):
        expected = enhanced_titles.Estimate(30, 0, 30, Usage(9000, 30 * tokens), 0.0507, "assuming")
        enhanced_titles.keep_estimate(expected, scenario, untitled=4)
    enhanced_titles.keep_estimate(expected, dataclasses.replace(scenario, name="movie_book"), untitled=0)
    table = llm_emf.enhancement_costs()
    assert table["Answer tokens"].tolist() == [21_000, 21_000] and table["Items without"].tolist() == [4, 0]
    assert table["Data"].str.contains("demo").all()
    assert len(pd.read_csv(tmp_path / "enhancement.csv")) == 2
    (tmp_path / "enhancement.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="enhancement.csv is damaged"):
        enhanced_titles.keep_estimate(expected, scenario, untitled=4)
    assert (tmp_path / "enhancement.csv").read_text() == "a,b\n1,2\n"


KEEP = """
import sys
from dataclasses import replace
from pathlib import Path
from worlds import tiny
from ifcdsr_core.features import enhanced_titles
from ifcdsr_core.features.llm_endpoint import Usage
enhanced_titles.results_dir = lambda: Path(sys.argv[1])
for number in range(15):
    expected = enhanced_titles.Estimate(30, 0, 30, Usage(9000, 500), 0.05, "assuming")
    enhanced_titles.keep_estimate(expected, replace(tiny(), name=f"{sys.argv[2]}-{number}"), untitled=4)
"""


@pytest.mark.slow
def test_estimates_kept_at_the_same_time_are_all_there(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    processes = [
        subprocess.Popen([sys.executable, "-c", KEEP, tmp_path, name], env={**os.environ, "PYTHONPATH": path})
        for name in "ab"
    ]
    assert [process.wait() for process in processes] == [0, 0]
    kept = pd.read_csv(tmp_path / "enhancement.csv")
    assert sorted(kept["scenario"]) == sorted(f"{name}-{number}" for name in "ab" for number in range(15))
    assert [path.name for path in tmp_path.iterdir()] == ["enhancement.csv"]
