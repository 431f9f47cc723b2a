"""Tables sort in the browser: the book's script and style, as a reader uses them."""

from __future__ import annotations

import pytest
from browser import browser, opened, serious_faults
from themed_page import ASSETS, boxes, settings, table, themed_page

WIDTHS = (360, 1280)

LONG = table(  # two long groups
    ["Target", "Model", "MRR"],
    ["Food", "GRU4Rec", "5.79"],
    ["", "SASRec", "7.30"],
    ["", "IFCDSR", "**9.05**"],
    ["Kitchen", "GRU4Rec", "3.06"],
    ["", "SASRec", "3.79"],
    ["", "IFCDSR", "**4.95**"],
    name="long",
)
SHORT = table(  # many short ones
    ["Step", "Target", "Gain"],
    ["+ images", "Food", "+0.50"],
    ["", "Kitchen", "−0.20"],
    ["+ attention", "Food", "+0.10"],
    ["", "Kitchen", "+0.90"],
    ["+ text", "Food", "–"],
    ["", "Kitchen", "−1.00"],
    name="short",
)


def test_the_configuration_names_files_that_are_there():
    given = settings()
    names = [*given["html_css_files"], *(name for name, _ in given["html_js_files"])]
    assert [name for name in names if not (ASSETS / name).is_file()] == []
    assert all(options == {"defer": "defer"} for _, options in given["html_js_files"])


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def cells(shown, column: int, name: str = "table") -> list[str]:
    """What a reader sees in a column, from the top."""
    return [text.strip() for text in shown.locator(f"#{name} tbody td:nth-child({column})").all_inner_texts()]


def sort_states(shown, name: str = "table") -> list[str | None]:
    return shown.locator(f"#{name} th").evaluate_all("found => found.map(one => one.getAttribute('aria-sort'))")


@pytest.mark.slow
@pytest.mark.parametrize(
    "printed, first",
    [
        (["7.30", "**9.05**", "12.34"], ["12.34", "9.05", "7.30"]),
        (["−0.50", "0.10", "", "−12", "–"], ["0.10", "−0.50", "−12", "", "–"]),
        (["999", "1,234,567", "1,040"], ["1,234,567", "1,040", "999"]),
        (["9.1 ± 0.4", "12.3 ± 0.4", "–"], ["12.3 ± 0.4", "9.1 ± 0.4", "–"]),
        (["9.1 [8, 10]", "12.3 [11, 13]"], ["12.3 [11, 13]", "9.1 [8, 10]"]),
        (["+0.3 (−1\u00a0to\u00a01)", "+2 (1\u00a0to\u00a03)"], ["+2 (1\u00a0to\u00a03)", "+0.3 (−1\u00a0to\u00a01)"]),
        (["6.05\u00a0to\u00a07.41", "27.9\u00a0to\u00a030.2"], ["27.9\u00a0to\u00a030.2", "6.05\u00a0to\u00a07.41"]),
        (["5.67 %", "12 %"], ["12 %", "5.67 %"]),
        (["<\u00a00.001", "0.012", "–"], ["0.012", "<\u00a00.001", "–"]),
        (["1e-05", "0.0005"], ["0.0005", "1e-05"]),
        (["2 of 11", "11 of 11"], ["11 of 11", "2 of 11"]),
        (["2 layers", "–", "10 layers", "1 head"], ["1 head", "2 layers", "10 layers", "–"]),
        (["2013-10-02", "2013-09-30", "2004-01-01"], ["2004-01-01", "2013-09-30", "2013-10-02"]),
        (["20–50", "1–2", "3–9"], ["1–2", "3–9", "20–50"]),
        (["item 10", "Item 9", "apple"], ["apple", "Item 9", "item 10"]),
    ],
)  # fmt: skip
def test_what_is_in_a_column(chromium, tmp_path, printed, first):
    """First as listed, then the other way with missing values still last, then as printed."""
    missing = [text for text in first if text in ("", "–")]
    known = [text for text in first if text not in missing]
    page = themed_page(tmp_path, table(["No.", "Value"], *([str(row), text] for row, text in enumerate(printed))))
    with opened(chromium, page) as shown:
        button = shown.get_by_role("button", name="Value")
        seen = [cells(shown, 2) for _ in range(3) if button.click() is None]
    assert seen == [known + missing, known[::-1] + missing, [text.strip("*") for text in printed]]


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_long_groups_stay_together(chromium, tmp_path, theme, width):
    with opened(chromium, themed_page(tmp_path, LONG, theme), width) as shown:
        before = shown.locator("#long tbody").inner_text()
        button = shown.get_by_role("button", name="MRR")
        button.click()
        assert cells(shown, 3, "long") == ["9.05", "7.30", "5.79", "4.95", "3.79", "3.06"]
        assert cells(shown, 1, "long") == ["Food"] * 3 + ["Kitchen"] * 3  # each row says its group
        assert sort_states(shown, "long") == [None, None, "descending"]
        assert serious_faults(shown) == []
        shown.get_by_role("button", name="Target").click()  # the groups themselves, rows as printed
        shown.get_by_role("button", name="Target").click()
        assert cells(shown, 3, "long") == ["3.06", "3.79", "4.95", "5.79", "7.30", "9.05"]
        assert sort_states(shown, "long") == ["descending", None, None]
        shown.get_by_role("button", name="Target").click()
        assert shown.locator("#long tbody").inner_text() == before
        assert sort_states(shown, "long") == [None, None, None]


@pytest.mark.slow
def test_rows_of_short_groups_are_sorted_together(chromium, tmp_path):
    with opened(chromium, themed_page(tmp_path, SHORT)) as shown:
        before = shown.locator("#short tbody").inner_text()
        button = shown.get_by_role("button", name="Gain")
        button.click()
        assert cells(shown, 3, "short") == ["+0.90", "+0.50", "+0.10", "−0.20", "−1.00", "–"]
        assert cells(shown, 1, "short") == ["+ attention", "+ images", "+ attention", "+ images", "+ text", "+ text"]
        button.click()
        assert cells(shown, 3, "short") == ["−1.00", "−0.20", "+0.10", "+0.50", "+0.90", "–"]
        button.click()
        assert shown.locator("#short tbody").inner_text() == before


@pytest.mark.slow
def test_by_keyboard(chromium, tmp_path):
    with opened(chromium, themed_page(tmp_path, LONG)) as shown:
        for _ in range(3):
            shown.keyboard.press("Tab")
        focused = shown.locator(":focus")
        assert focused.inner_text() == "MRR"
        ring = focused.evaluate("button => getComputedStyle(button, '::before').outlineStyle")
        assert ring == "solid"
        seen = []
        for key in ("Enter", "Space", "Enter"):
            shown.keyboard.press(key)
            seen.append(cells(shown, 3, "long")[0])
        assert seen == ["9.05", "5.79", "5.79"]
        assert sort_states(shown, "long") == [None, None, None]


@pytest.mark.slow
def test_what_is_left_alone(chromium, tmp_path):
    wide = LONG.replace("<td", '<td colspan="1"', 1)
    high = LONG.replace("<thead>", "<thead><tr><th>Food-Kitchen</th><th></th><th></th></tr>")
    kept = LONG.replace('class="table"', 'class="table keeps-order"')
    bare = LONG.replace("thead>", "tbody>")
    single = table(["Model", "MRR"], ["IFCDSR", "9.05"])
    linked = table(["Model", ""], ["IFCDSR", "9.05"], ["SASRec", "7.30"]).replace("Model", '<a href="#a">Model</a>')
    with opened(chromium, themed_page(tmp_path, "".join([wide, high, kept, bare, single, linked]))) as shown:
        assert shown.locator("table").count() == 6
        assert shown.locator("table button").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_moves_when_the_script_has_run(chromium, tmp_path, width):
    wrapped = table(
        ["MRR, among all items of its domain", "Place, among all items", "x"], ["1.00", "2", "y"], ["", "3", "z"]
    )
    seen = []
    for scripts in (False, True):
        with opened(chromium, themed_page(tmp_path, LONG + SHORT + wrapped, scripts=scripts), width) as shown:
            seen.append(boxes(shown, "table, th, td, td p"))
            assert shown.locator("table button").count() == 9 * scripts
    assert seen[0] == seen[1]


@pytest.mark.slow
def test_print_shows_no_arrows(chromium, tmp_path):
    with opened(chromium, themed_page(tmp_path, LONG)) as shown:
        arrow = "found => found.map(one => getComputedStyle(one, '::after').display)"
        assert shown.locator(".sort").evaluate_all(arrow) == ["block"] * 3
        shown.emulate_media(media="print")
        assert shown.locator(".sort").evaluate_all(arrow) == ["none"] * 3
