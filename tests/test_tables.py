"""Tables of a run, of data sets and of features."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from made_runs import NAMES, made_run
from worlds import tiny

from ifcdsr_core.book import markup
from ifcdsr_core.book.pages import clip_embedding, data_statistics, llm_emf, training
from ifcdsr_core.features import enhanced_titles
from ifcdsr_core.features.llm_endpoint import Usage

# --- one run ---


def test_run_summary_says_all():
    text = training.run_summary(made_run([2, 2], [4, 4], seed=3), NAMES)
    assert text.startswith("IFCDSR on Food-Kitchen (demo), seed 3. Trained on training sequences: 10.")
    assert "50.00" in text and "25.00" in text and text.endswith("run folder: runs/run3")


def test_run_settings_name_every_option():
    run = made_run([1], [1], model_options={"alpha": 0.7}, source_options={"visual_signal": 1.0})
    settings = dict(training.run_settings(run).to_numpy().tolist())
    assert settings["alpha"] == "0.7" and settings["visual_signal"] == "1.0" and settings["best epoch"] == "2 of 3"
    assert settings["trainable parameters"] == "1,234"


# --- features ---


def test_nearest_neighbours():
    matrix = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
    everything = np.ones(4, dtype=bool)
    assert clip_embedding.nearest_neighbours(matrix, np.array([0, 2]), everything, 2).tolist() == [[1, 3], [3, 1]]
    assert clip_embedding.nearest_neighbours(
        matrix, np.array([0]), np.array([True, False, True, True]), 1
    ).tolist() == [[3]]


# --- data sets ---


def test_data_table_reads_easily():
    numbers = {
        "Food-Kitchen (demo)": {
            "unseen_targets": pd.DataFrame(
                {
                    "trained_on": ["train", "train"],
                    "split": ["test", "test"],
                    "domain": ["Food", "Kitchen"],
                    "targets": [4, 8],
                    "unseen": [1, 0],
                    "unseen_share": [0.25, 0.0],
                }
            )
        }
    }
    table = data_statistics.data_table(numbers, "unseen_targets")
    assert table["Unseen (%)"].tolist() == [25.0, 0.0] and table["Targets"].tolist() == [4, 8]
    assert markup.show(table, "c").data.count("demo") == 1  # said once for both rows


def test_against_paper_shows_counts_without_decimals():
    shipped = data_statistics.statistics_of("c2dsr", ["food_kitchen"])
    text = markup.show(data_statistics.against_paper(shipped), "c").data
    assert "| Food | items | 29,207 | 29,207 | 0 |" in text and "| both | avg. length | 9.85 | 9.91 | −0.06 |" in text
    assert "34,117" in data_statistics.paper_remarks(shipped).data


# --- texts ---


def test_examples_show_what_rules_add_to_titles():
    scenario = tiny()
    scenario.items["title"] = [f"Campfire mug, no. {n}" for n in scenario.items["item"]]
    scenario.items["theme"], scenario.items["kind"] = "Campfire", "mug"
    table = llm_emf.enhanced_examples(scenario, count=1)
    assert table["Domain"].tolist() == list(NAMES) and table["Title"].str.startswith("Campfire mug, no. ").all()
    assert table["Added by rules"].str.startswith("Mug from the Campfire range").all()


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
