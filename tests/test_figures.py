"""Figures draw what their tables say."""

from __future__ import annotations

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

from ifcdsr_core.book import figures
from ifcdsr_core.book.pages import sensitivity


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
