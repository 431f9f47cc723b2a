"""Page 03: one run in tables."""

from __future__ import annotations

import pytest
from made_runs import NAMES, made_run

from ifcdsr_core.book.pages import training


def test_run_summary_says_all():
    text = training.run_summary(made_run([2, 2], [4, 4], seed=3), NAMES)
    assert text.startswith("IFCDSR on Food-Kitchen (demo), seed 3. Trained on training sequences: 10.")
    assert "50.00" in text and "25.00" in text and text.endswith("run folder: runs/run3")


def test_run_settings_name_every_option():
    run = made_run([1], [1], model_options={"alpha": 0.7}, source_options={"visual_signal": 1.0})
    settings = dict(training.run_settings(run).to_numpy().tolist())
    assert settings["alpha"] == "0.7" and settings["visual_signal"] == "1.0" and settings["best epoch"] == "2 of 3"
    assert settings["trainable parameters"] == "1,234"


@pytest.mark.parametrize("protocol, shown", [("unseen_999", [20, 40, 30]), ("full", [10, 30, 20])])
def test_the_curves_are_of_the_negatives_that_the_epoch_was_chosen_by(protocol, shown):
    run = made_run([1], [1], select_protocol=protocol)
    run.history["loss"] = [3.0, 2.0, 1.0]
    for domain in "xy":
        run.history[f"sampled_999_mrr_{domain}"] = [0.1, 0.3, 0.2]
        run.history[f"unseen_999_mrr_{domain}"] = [0.2, 0.4, 0.3]
    fig = training.curves(run, NAMES, "made")
    assert fig.axes[1].lines[0].get_ydata().tolist() == pytest.approx(shown)
