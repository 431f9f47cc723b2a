"""Figures draw what their tables say."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

from ifcdsr_core.book import figures
from ifcdsr_core.book.pages import llm_emf, raw_files, sensitivity


def test_control_curves_draw_every_gain_with_its_noise():
    rows = [
        (label, signal, domain, gain, 0.5)
        for label, gains in (("images", (0.0, 3.0)), ("other items' images", (0.1, -0.2)))
        for domain in ("Food", "Kitchen")
        for signal, gain in zip((0.0, 1.0), gains, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["compared", "signal", "domain", "gain", "noise"])
    fig = figures.control_curves(table, "visual_signal")
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["Food", "Kitchen"]
    for ax in fig.axes:
        drawn = {
            line.get_label(): line.get_ydata().tolist()
            for line in ax.get_lines()
            if not line.get_label().startswith("_")
        }
        assert drawn == {"images": [0.0, 3.0], "other items' images": [0.1, -0.2]}
        bands = [band.get_paths()[0].get_extents() for band in ax.collections]
        assert [(band.y0, band.y1) for band in bands] == [
            (pytest.approx(-0.5), pytest.approx(3.5)),
            (pytest.approx(-0.7), pytest.approx(0.6)),
        ]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["images", "other items' images"]


def test_sensitivity_marks_the_papers_value_where_it_was_tried():
    table = pd.DataFrame(
        {
            "value": [0.0, 0.7, 0.0, 0.7],
            "domain": ["Food", "Food", "Kitchen", "Kitchen"],
            "mean": [5.0, 9.0, 4.0, 8.0],
            "std": 0.5,
        }
    )
    fig = sensitivity.sensitivity({"alpha": table, "learning_rate": table}, {"alpha": "α"}, {"alpha": 0.7})
    first, second = fig.axes[:2]
    assert first.get_xlabel() == "α" and [label.get_text() for label in first.get_xticklabels()] == ["0", "0.7"]
    dotted = [[line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == ":"] for ax in (first, second)]
    assert dotted == [[1], []]
    assert [container.lines[0].get_ydata().tolist() for container in first.containers] == [[5.0, 9.0], [4.0, 8.0]]


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


def test_funnel_draws_what_every_step_leaves():
    table = pd.DataFrame(
        {
            "After": ["read", "users", "windows", "leaks"],
            "Interactions": pd.Series([40, 30, None, None], dtype=object),
            "Sequences": pd.Series([None, None, 12, 11], dtype=object),
        }
    )
    drawn = [[bar.get_width() for bar in ax.patches] for ax in raw_files.funnel_figure(table).axes]
    assert drawn == [[40, 30], [12, 11]]


def test_text_map_names_every_group_where_it_lies():
    places = np.array([[0.0, 0.0], [0.0, 2.0], [5.0, 5.0], [7.0, 5.0]])
    fig = llm_emf.text_map(
        places, ["tea", "tea", "fire", "fire"], np.array([True, False, True, False]), ("Food", "Kitchen")
    )
    named = {text.get_text(): text.get_position() for text in fig.axes[0].texts}
    assert named == {"tea": (0.0, 1.0), "fire": (6.0, 5.0)}
    assert sum(len(part.get_offsets()) for part in fig.axes[0].collections) == 4
