"""The explorer: its forward pass is the model's, and a reader can do what it offers."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from browser import browser, opened, serious_faults
from worlds import tiny

from ifcdsr_core.__main__ import main
from ifcdsr_core.batches import encode
from ifcdsr_core.book import explorer
from ifcdsr_core.errors import InputError
from ifcdsr_core.runs import lists
from ifcdsr_core.runs.assembly import restore
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.run import run
from ifcdsr_core.runs.store import Run
from ifcdsr_core.sources import complete_options
from ifcdsr_core.sources.demo import world

pytestmark = pytest.mark.slow

SCORES = """([histories, number, domain]) => {
  const { models, catalogue } = JSON.parse(document.getElementById("explorer-data").textContent);
  const model = new IFCDSR.Model(models[number], catalogue), { config } = models[number];
  return histories.map((history) => {
    const scores = model.score(history, domain, config);
    return [Array.from(scores), IFCDSR.best(scores, 10)];
  });
}"""
NASTY = "</script><img src=x onerror=alert(1)> & 'jam'"
OPTIONS = {
    "as usual": {},
    "two layers, one head": {"num_layers": 2, "num_heads": 1},
    "bare attention": {"positions": False, "inner_size": 0},
    "ReLU": {"activation": "relu"},
    "learned temperature": {"learn_temperature": True},
    "source branch gives nothing": {"source_branch": "zero"},
    "merged sequence alone": {"multiple_attention": False},
}


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The demo, with pictures; one epoch of each column of Table 4; and the page of the three."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_DATA", str(folder))
        configs = [config for group in lists.ablation("food_kitchen", [0], epochs=1).values() for config in group]
        folders = [run(config).folder for config in configs]
        yield folders, explorer.page(folders, folder / "explorer.html")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Trains a tiny model with some options, on items without pictures, one of which has a nasty title."""
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    scenario = tiny(80)
    scenario.items.loc[0, "title"] = NASTY
    scenario.provenance.update(version=world.VERSION, options=complete_options("demo", {}))
    scenario.save(tmp_path / "scenarios" / "demo" / "food_kitchen")

    def train(model="ifcdsr", **options):
        images = {"image_fusion": False} if model == "ifcdsr" else {}
        sizes = {"hidden_size": 8, "inner_size": 8, "num_heads": 2}
        config = RunConfig(model=model, epochs=1, max_seq_len=6, model_options=sizes | images | options)
        return run(config).folder

    return train


def histories(count: int, num_x: int, num_items: int, longest: int) -> list[list[int]]:
    """Of both domains, of one alone, of one item, longer than a model reads, and with repeated items, in turn."""
    random, ranges = np.random.default_rng(0), [(1, num_items), (1, num_x), (num_x + 1, num_items)]
    found = []
    for number in range(count):
        length = [int(random.integers(2, longest + 1)), 1, longest, longest + 7][number % 4]
        least, most = ranges[number % 3]
        items = random.integers(least, most + 1, length)
        found.append((items[:3].repeat(-(-length // 3))[:length] if number % 5 == 0 else items).tolist())
    return found


def assert_equal_scores(shown, folders, count: int, ties: bool = False) -> None:
    for number, folder in enumerate(folders):
        model, scenario, _ = restore(Run.load(folder))
        told = histories(count, scenario.num_items_x, scenario.num_items, model.inputs.max_seq_len)
        assert {len(history) for history in told} >= {1, model.inputs.max_seq_len, model.inputs.max_seq_len + 7}
        for domain, target in enumerate((1, scenario.num_items)):
            rows = pd.DataFrame({"user": "u", "items": [np.array([*history, target]) for history in told]})
            with torch.no_grad():
                expected = model.score(encode(rows, scenario.num_items_x, model.inputs.max_seq_len), domain).numpy()
            found = shown.evaluate(SCORES, [told, number, "xy"[domain]])
            assert np.abs(expected - np.array([scores for scores, _ in found])).max() < 1e-4
            for scores, (_, ten) in zip(expected, found, strict=True):
                if ties:  # what scores alike to float32 may change places
                    assert scores[ten] == pytest.approx(np.sort(scores)[::-1][:10], abs=1e-5)
                else:
                    assert ten == (-scores).argsort(kind="stable")[:10].tolist()


def test_the_scores_are_those_of_python_for_200_histories(running, shop):
    folders, page = shop
    with opened(running, page) as shown:
        assert_equal_scores(shown, folders, 200)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_scores_are_those_of_python_for_other_options(running, small, tmp_path, options):
    folder = small(**options)
    with opened(running, explorer.page([folder], tmp_path / "explorer.html")) as shown:
        assert_equal_scores(shown, [folder], 24, ties=True)


def test_cases_of_one_domain_alone_are_cases():
    """Some data have targets of one domain only, and hardly ever as many of one as of the other."""
    rows = tiny(80).split("test")
    both = explorer._cases(encode(rows, 12, 6))
    assert len(both) == len(rows) and {case["target"] > 12 for case in both[:2]} == {False, True}
    one = explorer._cases(encode(rows[rows["target_domain"] == "x"], 12, 6))
    assert len(one) == (rows["target_domain"] == "x").sum() and all(case["target"] <= 12 for case in one)


def test_numbers_keep_seven_digits():
    numbers = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    numbers[0] = 0
    kept = explorer.packed(numbers)
    assert kept["shape"] == [5, 3] and kept["step"] * (2**23 - 1) == pytest.approx(np.abs(numbers).max())
    assert explorer.packed(np.zeros(2, np.float32))["bytes"] == "AAAAAAAA"


# --- what a reader does -----------------------------------------------------------------------------------------------


def titles(shown, role: str) -> list[str]:
    return shown.locator(f'[data-role="{role}"] li .explorer-name').all_inner_texts()


def found(shown, filter: str = "", value: str = "") -> int:
    """How many items the catalogue has, after a filter is set."""
    if filter:
        shown.get_by_role("combobox", name=filter).select_option(value)
    return int(shown.locator('[data-role="found"]').inner_text().split()[0].replace(",", ""))


def history(shown) -> list[str]:
    return [tile.get_attribute("title") for tile in shown.locator('[data-role="history"] button').all()]


@pytest.mark.parametrize("width", [360, 1280])
def test_a_reader_looks_for_an_item_adds_moves_and_removes_it(running, shop, width):
    with opened(running, shop[1], width) as shown:
        before, recommended = history(shown), titles(shown, "top-x")
        assert len(recommended) == len(titles(shown, "top-y")) == 10
        shown.get_by_label("Search").fill("teapot harbour")
        goods = titles(shown, "shelf")
        assert goods and all("Harbour" in good and "teapot" in good for good in goods)
        assert found(shown) == len(goods)
        colours = shown.get_by_role("combobox", name="Colour").locator("option").count() - 1
        assert colours == 10 and sum(found(shown, "Colour", str(index)) for index in range(10)) == len(goods)
        found(shown, "Colour", "")
        assert found(shown, "Domain", "0") == 0 and found(shown, "Domain", "1") == len(goods)
        shown.locator('[data-role="shelf"] button').first.click()
        assert history(shown) == [*before, goods[0]] and titles(shown, "top-x") != recommended
        assert shown.locator('[data-role="answer"]').inner_text() == "A history of your own."

        tiles = shown.locator('[data-role="history"] button')
        tiles.last.click()
        shown.keyboard.press("Shift+ArrowLeft")
        assert history(shown) == [*before[:-1], goods[0], before[-1]]
        shown.keyboard.press("ArrowRight")
        shown.get_by_role("button", name="← earlier").click()
        assert history(shown) == [*before, goods[0]]
        tiles.nth(len(before) - 1).focus()
        shown.keyboard.press("ArrowRight")
        shown.keyboard.press("Delete")
        assert history(shown) == before and titles(shown, "top-x") == recommended

        shown.locator('[data-role="top-y"] .explorer-put').nth(2).click()
        assert history(shown) == [*before, shown.locator('[data-role="history"] button').last.get_attribute("title")]
        shown.get_by_role("button", name="Empty the history").click()
        assert history(shown) == [] and "0 items" in shown.locator('[data-role="history-count"]').inner_text()
        assert shown.evaluate("document.documentElement.scrollWidth") <= width


def test_a_reader_drags_an_item_with_the_mouse(running, shop):
    with opened(running, shop[1]) as shown:
        before, tiles = history(shown), shown.locator('[data-role="history"] button')
        tiles.nth(0).drag_to(tiles.nth(2))
        assert history(shown) == [before[1], before[2], before[0], *before[3:]]


def test_a_reader_asks_why(running, shop):
    """The six votes of an item add up to it; one item at a time is asked about."""
    with opened(running, shop[1]) as shown:
        row = shown.locator('[data-role="top-y"] .explorer-ask').nth(3)
        row.hover()
        assert shown.locator('[data-role="why-item"]').inner_text() == row.get_attribute("title")
        assert shown.locator(".explorer-asked").count() == 1
        length = "(bar) => Number(bar.style.getPropertyValue('--length'))"
        lengths = shown.evaluate(f"[...document.querySelectorAll('.explorer-bar')].map({length})")
        assert len(lengths) == 6 and sum(lengths) == pytest.approx(1, abs=1e-3)
        shown.locator('[data-role="top-x"] .explorer-ask').nth(1).focus()
        assert shown.locator('[data-role="why-item"]').inner_text() in titles(shown, "top-x")
        sums = shown.evaluate(
            "[0, 1, 2, 3, 4, 5].map((vote) => [...document.querySelectorAll('[data-place]')].reduce("
            "(sum, row) => sum + Number(row.children[vote + 1].style.getPropertyValue('--share')), 0))"
        )
        assert all(total == pytest.approx(1, abs=0.02) or total == 0 for total in sums) and max(sums) > 0


@pytest.mark.parametrize("width", [360, 1280])
def test_a_reader_weighs_the_votes_anew_and_switches_models(running, shop, width):
    with opened(running, shop[1], width) as shown:
        trained = titles(shown, "top-x")
        shown.get_by_label("α: the ID's share").fill("1")
        assert shown.locator('[data-role="alpha-value"]').inner_text() == "1.00"
        assert titles(shown, "top-x") != trained
        shares = shown.locator(".explorer-vote").all_inner_texts()
        assert all("weight 0" in text for text in shares if "by image" in text)
        shown.get_by_role("button", name="As trained").click()
        assert titles(shown, "top-x") == trained

        shown.get_by_label("original framework").check()
        assert titles(shown, "top-x") != trained and shown.locator(".explorer-vote").count() == 1
        assert shown.get_by_label("λ₁").is_disabled() and shown.get_by_label("α: the ID's share").is_disabled()
        note = shown.locator('[data-role="model-note"]').inner_text()
        assert "original framework" in note and shop[0][0].name in note


def test_a_reader_loads_a_case_and_sees_what_was_bought_next(running, shop):
    _, _, cases = restore(Run.load(shop[0][-1]))
    chosen = explorer._cases(cases["test"])
    with opened(running, shop[1]) as shown:
        shown.get_by_label("Test case", exact=True).fill("4")
        shown.keyboard.press("Enter")
        assert len(history(shown)) == len(chosen[3]["history"])
        answer = shown.locator('[data-role="answer"]')
        assert "One item followed" in answer.inner_text()
        shown.get_by_role("button", name="What was bought next?").click()
        told = answer.inner_text()
        assert told.startswith("Bought next (Kitchen)") and "of 1,420" in told
        shown.get_by_role("button", name="The next test case").click()
        assert shown.get_by_label("Test case", exact=True).input_value() == "5"
        assert "One item followed" in answer.inner_text()


def test_the_address_says_what_is_seen(running, shop):
    with opened(running, shop[1]) as shown:
        shown.get_by_label("+ image fusion").check()
        shown.get_by_label("τ: temperature").fill("0.2")
        shown.locator('[data-role="shelf"] button').nth(5).click()
        shown.wait_for_timeout(400)
        fragment = shown.evaluate("location.hash")
        seen = history(shown), titles(shown, "top-x"), titles(shown, "top-y")
    with opened(running, shop[1], fragment=fragment) as again:
        assert (history(again), titles(again, "top-x"), titles(again, "top-y")) == seen
        assert again.locator('[data-role="temperature-value"]').inner_text() == "0.200"
    for nonsense in ("#m=9&items=0.99999.abc.3&alpha=7", "#m=x&case=1000000", "#other-part"):
        with opened(running, shop[1], fragment=nonsense) as shown:
            assert len(titles(shown, "top-x")) == 10
            shown.wait_for_timeout(400)
            assert shown.evaluate("location.hash") == nonsense  # nothing was changed


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everyone_can_use_it(running, shop, scheme, width):
    with opened(running, shop[1], width, color_scheme=scheme) as shown:
        shown.get_by_role("button", name="What was bought next?").click()
        assert serious_faults(shown) == []


def test_nothing_moves_when_a_reader_asks_for_something_else(running, shop):
    with opened(running, shop[1]) as shown:
        places = "[...document.querySelectorAll('.explorer > *')].map((part) => [part.offsetTop, part.offsetHeight])"
        before = shown.evaluate(places)
        for name in ("+ image fusion", "original framework", "+ multiple attention"):
            shown.get_by_label(name).check()
            shown.get_by_role("button", name="The next test case").click()
            assert shown.evaluate(places) == before


def test_a_notebook_may_show_it_twice(running, shop):
    with opened(running, shop[1]) as shown:
        shown.evaluate(
            """() => {
              const room = document.querySelector("main"), html = room.innerHTML;
              room.innerHTML = html;
              for (const old of room.querySelectorAll("script:not([type])")) {
                const script = document.createElement("script");
                script.textContent = old.textContent;
                old.replaceWith(script);
              }
            }"""
        )
        before = history(shown)
        shown.locator('[data-role="shelf"] button').first.click()
        assert len(history(shown)) == len(before) + 1


def test_without_scripts_it_says_what_one_would_see(running, shop):
    with opened(running, shop[1], java_script_enabled=False) as shown:
        assert shown.get_by_text("Here a reader puts items into a history").is_visible()
        assert not shown.locator("#explorer").is_visible()


def test_it_is_small_enough_for_a_phone(shop):
    assert shop[1].stat().st_size < 6e6


# --- the command ------------------------------------------------------------------------------------------------------


def test_export_writes_one_file_in_which_titles_are_text(running, small, tmp_path, capsys):
    assert main(["export", str(small()), "--to", str(tmp_path / "made.html")]) == 0
    assert "made.html" in capsys.readouterr().out
    with opened(running, tmp_path / "made.html") as shown:
        assert titles(shown, "shelf")[0] == NASTY and shown.locator("img").count() == 0


def test_what_cannot_be_exported_gets_one_line(small, tmp_path, capsys):
    def refused(*arguments: str) -> str:
        assert main(["export", *arguments, "--to", str(tmp_path / "made.html")]) == 1
        assert not (tmp_path / "made.html").exists()
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    good, longer = small(), small(num_layers=2)
    assert "is a run of sasrec" in refused(str(small("sasrec")))
    assert "is not a run's folder" in refused(str(tmp_path / "nothing"))
    shutil.copytree(good, tmp_path / "runs" / "light", ignore=shutil.ignore_patterns("weights.safetensors"))
    assert "weights" in refused(str(tmp_path / "runs" / "light"))
    config = dataclasses.replace(RunConfig(**_record(longer)), max_seq_len=5)
    assert "is of other data than" in refused(str(good), str(run(config).folder))


def test_runs_that_see_different_images_are_not_shown_together(small, monkeypatch):
    seen, folders = explorer._restored, [small(), small(alpha=0.5)]

    def restored(folder):
        finished, model, *data = seen(folder)
        model.config = dataclasses.replace(model.config, image_fusion=True)
        model.image_features = torch.full((model.inputs.num_items + 1, 4), float(folders.index(folder)))
        return finished, model, *data

    monkeypatch.setattr(explorer, "_restored", restored)
    with pytest.raises(InputError, match="see different images"):
        explorer.fragment(folders)


def _record(folder) -> dict:
    return Run.load(folder).config
