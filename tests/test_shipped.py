"""The result files that go with the checkout: whole, explained, and of this code."""

from __future__ import annotations

import pandas as pd
import pytest

from ifcdsr_core import experiments
from ifcdsr_core.metrics import summarise
from ifcdsr_core.models import COUNTING, MODELS
from ifcdsr_core.paper import PAPER_TABLE1
from ifcdsr_core.run import Run, RunConfig, code_fingerprint, shipped_dir

RUNS = {folder.name: Run.load(folder) for folder in sorted(shipped_dir().iterdir())}
each_run = pytest.mark.parametrize("name", RUNS)


@each_run
def test_a_shipped_run_explains_itself(name):
    run = RUNS[name]
    for key in ("commit", "code_fingerprint", "scenario_fingerprint", "device", "versions", "trained_on", "cases"):
        assert run.provenance[key], key
    pd.testing.assert_frame_equal(pd.read_csv(run.folder / "metrics.csv"), summarise(run.ranks))
    assert len(run.ranks) == run.provenance["cases"]["test"]
    assert "user" not in run.ranks and "target_item" not in run.ranks
    RunConfig(**run.config)  # could be run again
    if run.config["source"] == "c2dsr":
        printed = PAPER_TABLE1.loc[PAPER_TABLE1["scenario"] == run.config["scenario"], "test"]
        assert run.ranks["target_domain"].value_counts()[["x", "y"]].tolist() == printed.tolist()


@pytest.mark.parametrize("scenario", ["food_kitchen", "movie_book"])
def test_the_demo_pages_find_all_their_runs(scenario):
    """Otherwise the book would train them: hours of them, with no harm but to patience. Sweep again with --ship."""
    wanted = [config for experiment in (experiments.comparison(scenario), experiments.ablation(scenario),
                                        experiments.image_control(scenario, 0.0), experiments.image_control(scenario, 1.0))
              for configs in experiment.values() for config in configs]
    shipped = [(RunConfig(**run.config), run.provenance["code_fingerprint"]) for run in RUNS.values()
               if run.config["source"] == "demo"]
    missing = [config for config in wanted if (config, code_fingerprint(config.model)) not in shipped]
    assert missing == []


@pytest.mark.parametrize("scenario", ["food_kitchen", "movie_book"])
def test_every_model_has_a_result_on_the_papers_test_set(scenario):
    found = {run.config["model"] for run in RUNS.values()
             if (run.config["source"], run.config["scenario"]) == ("c2dsr", scenario)
             and (run.config["model"] in COUNTING or run.config.get("train_negatives"))}
    assert found == set(MODELS)


def test_the_outcome_of_a_grid_names_its_runs_and_only_points_of_the_grid():
    grid = experiments.load_grid("demo", "food_kitchen")
    assert set(grid["model"]) == set(MODELS) - set(COUNTING)
    assert set(grid["learning_rate"]) <= set(experiments.GRID_LEARNING_RATES["demo"])
    assert set(grid["l2"]) <= set(experiments.GRID_L2)
    assert grid["run"].str.startswith("demo-food_kitchen-").all()
