"""Figures draw what their tables say."""

from __future__ import annotations

import os
import subprocess
import sys

import matplotlib
import pandas as pd
import pytest
from PIL import Image

matplotlib.use("Agg")

from ifcdsr_core.book import figures
from ifcdsr_core.book.pages import clip_embedding, sensitivity
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import Scenario


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


def test_control_curves_have_room_for_three_arms_and_the_ceiling():
    labels = ["images", "other items' images", "images over those of other items", "pictures, to Bayes"]
    rows = [(label, signal, "Food", 1.0, 0.5) for label in labels for signal in (0.0, 1.0)]
    table = pd.DataFrame(rows, columns=["compared", "signal", "domain", "gain", "noise"])
    fig = figures.control_curves(table, "visual_signal")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == labels


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


TITLES = {
    "costs $5, $a_b^c$": r"costs \$5, \$a_b^c\$",
    "a\\$b": "a\\\\$b",
    r"\frac{1}{2} %s {0}": r"\frac{1}{2} %s {0}",
    "bell\x07 \x1b[31m\x00": "bell [31m",
    "new\nline\t\u2028end\u00a0": "new line end",
    "mug \U0001f375 日本": "mug \ufffd \ufffd\ufffd",
    "مرحبا שלום": "مرحبا שלום",
    "_hidden": "\u200b_hidden",
    "x" * 500: "x" * 78 + " \u2026",
}


@pytest.mark.parametrize("title, drawn", TITLES.items(), ids=range(len(TITLES)))
@pytest.mark.filterwarnings("error")
def test_data_are_drawn_as_they_are(title, drawn, tmp_path):
    assert figures.drawn(title) == drawn
    fig, (ax,) = figures.subplots(1)
    ax.plot([1], label=figures.drawn(title))
    ax.set(title=figures.drawn(title), xticks=[0], xticklabels=[figures.drawn(title, 12, 3)])
    assert not any(text.get_text() and text.get_text().startswith("_") for text in ax.legend().get_texts())
    fig.savefig(tmp_path / "drawn.png")  # warns of a sign without a picture, fails on half a formula
    matplotlib.pyplot.close(fig)


def test_long_data_are_cut_after_some_lines():
    assert figures.drawn("one two three four five", 9, 2) == "one two\nthree \u2026"
    assert (
        figures.drawn("one two", 9, 2) == "one two"
        and figures.drawn("x" * 30, 10, 2) == "x" * 10 + "\n" + "x" * 8 + " \u2026"
    )


def test_the_gallery_shows_items_without_a_title_by_their_id(tmp_path):
    """Read from disk, a title that is not there is NaN."""
    items = pd.DataFrame(
        {
            "item": [1, 2, 3],
            "domain": ["x", "x", "y"],
            "source_id": ["B_1", "B$2", "B3"],
            "title": ["a mug", None, None],
            "image": [f"{name}.png" for name in "abc"],
        }
    )
    for name in "abc":
        Image.new("LA", (20, 30), (0, 0)).save(tmp_path / f"{name}.png")
    sequences = pd.DataFrame(
        {"user": ["u"], "split": ["train"], "target_domain": ["y"], "items": [[1, 3]], "timestamps": [None]}
    )
    Scenario("food_kitchen", "demo", items, sequences).save(tmp_path)
    scenario = Scenario.load(tmp_path)
    fig = clip_embedding.gallery(scenario, count=3)
    texts = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert texts == ["a mug", r"B\$2", "B3"]
    assert (figures.pixels(scenario, 0) == 1).all()  # transparent, as the encoders are given it
    matplotlib.pyplot.close(fig)


def test_a_model_is_known_by_its_whole_name():
    assert [figures.is_ours(label) for label in ("IFCDSR", "IFCDSR (no images)", "IFCDSR-2", "My IFCDSR")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.slow
def test_settings_of_the_user_change_no_figure(tmp_path):
    """A matplotlibrc in the working folder, with another style and a TeX that is not there."""
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.family: cursive\nfigure.figsize: 1, 1\naxes.prop_cycle: cycler(color=['red'])\n"
        "savefig.bbox: tight\naxes.facecolor: black\nlines.linestyle: :\naxes.formatter.use_locale: True\n"
    )
    code = (
        "from ifcdsr_core.book import figures\nfig, (ax,) = figures.subplots(1)\n"
        "ax.plot([1, 2.5])\nax.set(title=figures.drawn('$5'), yscale='log')\nfigures.save_figure(fig, 'one')\n"
    )
    made = []
    for folder, more in (("plain", {}), ("own", {"MATPLOTLIBRC": str(tmp_path), "LC_ALL": "C", "PYTHONOPTIMIZE": "2"})):
        environment = os.environ | {"IFCDSR_FIGURES": str(tmp_path / folder), "PYTHONPATH": str(ROOT)} | more
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path if more else ROOT, env=environment)
        assert done.returncode == 0
        made.append((tmp_path / folder / "one.png").read_bytes())
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.parametrize("backend, reason", [("none", "Key backend: 'none'"), ("module://nowhere", "No module named")])
def test_a_backend_that_is_not_there_is_one_line(backend, reason):
    code = "from ifcdsr_core.book import figures"
    environment = os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ifcdsr_core.errors.InputError: matplotlib can't draw (") and reason in last
    assert last.endswith("unset MPLBACKEND or name another")
