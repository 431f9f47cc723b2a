"""How many negatives? The tables and the slider of page 04b."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from browser import browser, opened, serious_faults
from made_runs import NAMES, made_run
from themed_page import boxes, output, themed_page

from ifcdsr_core.analysis import paired
from ifcdsr_core.book.pages import protocol

ODD = 'A & <b>"B"</b></script>'
ITEMS = (5001, 801)
FULL = {  # ranks among all items: good at the top or good on the whole, so that the order depends on the negatives
    "IFCDSR": [[2, 4000, 4000, 3000], [1, 2, 3, 4]],
    "SASRec": [[300, 350, 400, 450], [10, 20, 30, 40]],
    ODD: [[3000, 3500, 4000, 4900], [5, 6, 7, 8]],
}
PLAIN = re.compile(r"<tr.*?</tr>", re.DOTALL)


def runs_of(ranks_x: list[float], ranks_y: list[float]):
    runs = [made_run(ranks_x, ranks_y, seed) for seed in (0, 1)]
    for shift, run in enumerate(runs):  # so that seeds differ
        run.ranks["full"] = [float(rank + shift) for rank in ranks_x + ranks_y]
    return runs


@pytest.fixture(scope="module")
def experiment():
    return {label: runs_of(*ranks) for label, ranks in FULL.items()}


@pytest.fixture(scope="module")
def shown_html(experiment) -> str:
    return protocol.how_many_negatives(experiment, NAMES, ITEMS, "Food-Kitchen <demo>").data


def data_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])


@pytest.mark.parametrize("most", [1, 9, 998, 999, 1000, 1039, 29206])
def test_stops(most):
    numbers = protocol.stops(most)
    assert numbers == sorted(set(numbers)) and numbers[0] == 1 and numbers[-1] == most
    assert (999 in numbers) == (most >= 999)
    assert all(later <= 2.1 * number for number, later in zip(numbers, numbers[1:], strict=False))


def test_the_values_are_those_of_the_curves(experiment, shown_html):
    data = data_of(shown_html)
    assert data["stops"][data["reference"]] == 999
    assert [domain["most"] for domain in data["domains"]] == [5000, 800]
    table = paired.over_candidates(experiment, NAMES, ITEMS, negatives=data["stops"])
    known = table.set_index(["domain", "label", "negatives"])["MRR"]
    for domain in data["domains"]:
        name, most = domain["name"], domain["most"]
        order = known[name].xs(min(999, most), level="negatives").sort_values(ascending=False).index
        for label, values in zip(order, domain["mrr"], strict=True):
            assert values == [known[name, label, min(stop, most)] for stop in data["stops"]]


def test_at_999_and_at_all_they_are_the_closed_form_and_the_full_ranking(experiment, shown_html):
    data = data_of(shown_html)
    food, kitchen = data["domains"]
    ranks = {label: [run.ranks["full"].to_numpy()[:4] for run in runs] for label, runs in experiment.items()}
    order = ["IFCDSR", "SASRec", ODD]
    for label, values in zip(order, food["mrr"], strict=True):
        expected = [paired.expected_reciprocal_rank(rank, ITEMS[0], 999).mean() for rank in ranks[label]]
        assert values[data["reference"]] == pytest.approx(100 * sum(expected) / 2, rel=1e-12)
        assert values[-1] == pytest.approx(100 * sum((1 / rank).mean() for rank in ranks[label]) / 2, rel=1e-9)
    assert kitchen["mrr"][0][data["reference"]] == kitchen["mrr"][0][-1]  # it has no more than 800


def test_points_and_numbers_give_the_same_curve(experiment):
    curve = paired.over_candidates(experiment, NAMES, ITEMS, points=7)
    numbers = sorted(set(curve["negatives"]))
    again = paired.over_candidates(experiment, NAMES, ITEMS, negatives=numbers)
    both = curve.merge(again, on=["label", "domain", "negatives"], suffixes=("", " again"))
    assert len(both) == len(curve)
    pd.testing.assert_series_equal(both["MRR"], both["MRR again"], check_names=False)


def test_without_a_script_it_is_a_plain_table(shown_html):
    assert ODD not in shown_html and "<demo>" not in shown_html
    assert shown_html.count("<script") == shown_html.count("</script") == 1
    rows = [re.sub("<.*?>|\n", " ", row).split() for row in PLAIN.findall(shown_html)]
    assert rows[1][:2] == ["1", "IFCDSR"] and rows[2][:2] == ["2", "SASRec"]
    assert "999 of</span> 5,000 other items" in shown_html and "all</span> 800 other items" in shown_html


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def models(shown, table: int = 0) -> list[str]:
    return [text.strip() for text in shown.locator("table").nth(table).locator("tbody th").all_inner_texts()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_reader_moves_the_slider(chromium, tmp_path, shown_html, theme, width):
    data = data_of(shown_html)
    with opened(chromium, themed_page(tmp_path, output(shown_html), theme), width) as shown:
        slider = shown.get_by_role("slider")
        assert slider.get_attribute("aria-label") == "Number of negatives, Food-Kitchen <demo>"
        assert slider.get_attribute("aria-valuetext") == "999 negatives"
        assert models(shown) == ["IFCDSR", "SASRec", ODD]
        assert serious_faults(shown) == []

        slider.focus()
        shown.keyboard.press("Home")
        assert slider.get_attribute("aria-valuetext") == "1 negative"
        assert models(shown) == ["SASRec", "IFCDSR", ODD]
        assert models(shown, 1) == ["IFCDSR", ODD, "SASRec"]
        assert shown.locator("table").first.locator(".moved").all_text_contents() == ["↑1 up 1", "↓1 down 1", ""]
        first = data["domains"][0]["mrr"][1][0]  # of SASRec
        assert shown.locator("table").first.locator(".mrr").all_inner_texts()[0] == f"{first:.2f}"
        live = shown.locator("[aria-live=polite]")
        assert live.text_content() == ""  # not yet: first the slider's own value is read
        live.get_by_text("1 negative. Food: SASRec is first, 2 of 3 models changed place.").wait_for(state="attached")
        assert serious_faults(shown) == []

        shown.keyboard.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "2 negatives"
        shown.keyboard.press("End")
        assert slider.get_attribute("aria-valuetext") == "all items"
        assert shown.locator("caption").first.inner_text() == "Food all 5,000 other items"
        shown.get_by_role("button", name="999").click()
        assert slider.input_value() == str(data["reference"])
        assert models(shown) == ["IFCDSR", "SASRec", ODD]
        assert shown.locator("table").first.locator(".moved").all_text_contents() == ["", "", ""]
        assert shown.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_rows_glide_unless_the_reader_wants_them_still(chromium, tmp_path, shown_html):
    page = themed_page(tmp_path, output(shown_html))
    for motion, gliding in (("no-preference", True), ("reduce", False)):
        with opened(chromium, page, reduced_motion=motion) as shown:
            # moved and counted in one go: a row glides for a quarter of a second only
            count = shown.get_by_role("slider").evaluate(
                """slider => {
                    slider.value = 0;
                    slider.dispatchEvent(new Event("input"));
                    return document.getAnimations().filter((one) => one.effect.target.matches("tbody tr")).length;
                }"""
            )
            assert (count > 0) == gliding


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360, 480, 700, 1280])
def test_nothing_moves_when_the_script_has_run(chromium, tmp_path, shown_html, width):
    seen = []
    for scripts in (False, True):
        with opened(chromium, themed_page(tmp_path, output(shown_html), scripts=scripts), width) as shown:
            seen.append(boxes(shown, "table, tr, caption, figure"))
    assert seen[0] == seen[1]
