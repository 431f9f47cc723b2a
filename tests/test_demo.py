"""The planted world keeps its rules, and its dials do what they say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from ifcdsr_core.errors import InputError
from ifcdsr_core.sources.demo import world


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """``build(scenario, **dials)``: every world is built once."""
    folder = tmp_path_factory.mktemp("demo")

    @cache
    def make(scenario="food_kitchen", **changes):
        with pytest.MonkeyPatch.context() as patch:  # pictures are drawn in test_pictures; behaviour ignores them
            patch.setattr(world, "_draw_pictures", lambda *_: None)
            return world.build(scenario, folder, **world.OPTIONS | changes)

    return make


def agreement(scenario, attribute, across):
    """Share of pairs (item, next item in the other domain / in the same domain) that share an attribute."""
    values, domain = scenario.items[attribute].to_numpy(), scenario.items["domain"].to_numpy()
    same = []
    for items in scenario.sequences["items"]:
        before, after = np.asarray(items[:-1]) - 1, np.asarray(items[1:]) - 1
        wanted = (domain[before] != domain[after]) == across
        same.append(values[before[wanted]] == values[after[wanted]])
    return np.concatenate(same).mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", world.SCENARIOS)
def test_the_world_has_the_promised_shape(build, name):
    scenario = build(name)
    domain = scenario.items["domain"].to_numpy()
    for items, times in zip(scenario.sequences["items"], scenario.sequences["timestamps"], strict=True):
        in_y = int((domain[np.asarray(items) - 1] == "y").sum())
        assert 6 <= len(items) <= 15 and min(in_y, len(items) - in_y) >= 3
        assert len(set(items)) == len(items) and (np.diff(times) >= 0).all()
    trained = scenario.split("train")
    assert 1_500 <= trained["user"].nunique() <= 2_000 and 1_000 <= scenario.num_items <= 2_500
    counts = np.sort(np.bincount(scenario.flat_items[0], minlength=scenario.num_items + 1)[1:])[::-1]
    assert counts[: scenario.num_items // 5].sum() > 0.4 * counts.sum()  # long tail
    ends = {split: [t[-1] for t in part["timestamps"]] for split, part in scenario.sequences.groupby("split")}
    assert max(ends["train"]) <= min(min(ends["valid"]), min(ends["test"]))
    cases = scenario.sequences.groupby(["split", "target_domain"]).size()
    assert (cases["valid"] == 1_000).all() and (cases["test"] == 2_000).all() and 2_000 <= cases["train"].sum() <= 2_500
    users = {split: set(part["user"]) for split, part in scenario.sequences.groupby("split")}
    assert len(users["test"] - users["train"]) > 2_500  # those who come late have no training sequence


@pytest.mark.slow
def test_no_item_is_bought_before_it_is_out(build):
    scenario = build()
    released = scenario.items["released"].to_numpy()
    assert all(
        (released[np.asarray(items) - 1] <= times[0]).all()
        for items, times in zip(scenario.sequences["items"], scenario.sequences["timestamps"], strict=True)
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_world_and_another_gives_another(build):
    assert build().fingerprint == build.__wrapped__().fingerprint != build(seed=1).fingerprint


@pytest.mark.slow
def test_pictures_explain_behaviour_only_if_the_dial_says_so(build):
    for attribute, chance in (("colour", 0.1), ("pattern", 1 / 6)):
        for across in (False, True):
            assert agreement(build(), attribute, across) > 2 * chance
            assert abs(agreement(build(visual_signal=0.0), attribute, across) - chance) < 0.012


@pytest.mark.slow
def test_titles_explain_behaviour_only_if_the_dial_says_so(build):
    worlds = [
        build(visual_signal=0.0, text_signal=0.0),
        build(visual_signal=0.0),
        build(visual_signal=0.0, text_signal=1.0),
    ]
    theme = [agreement(scenario, "theme", across=False) for scenario in worlds]
    assert abs(theme[0] - 1 / 12) < 0.012 and theme[0] + 0.02 < theme[1] < theme[2] - 0.2
    assert abs(agreement(worlds[2], "colour", across=False) - 0.1) < 0.012
    scenario = build()
    assert all(
        theme in title and kind in title
        for theme, kind, title in zip(
            scenario.items["theme"], scenario.items["kind"], scenario.items["title"], strict=True
        )
    )


@pytest.mark.slow
def test_makers_are_named_by_titles_and_preferred_as_the_dial_says_and_change_nothing_else(build):
    plain, made, off = build(), build(makers=24, text_signal=1.0, visual_signal=0.0), build(makers=24, text_signal=0.0)
    assert all(
        title == f"{maker} {old}"
        for title, maker, old in zip(made.items["title"], made.items["maker"], plain.items["title"], strict=True)
    )
    assert made.items.drop(columns=["title", "maker"]).equals(plain.items.drop(columns="title"))
    assert agreement(made, "maker", across=False) > 0.12 and agreement(made, "maker", across=True) > 0.12
    assert abs(agreement(off, "maker", across=False) - 1 / 24) < 0.01
    assert off.sequences["items"].map(tuple).equals(build(text_signal=0.0).sequences["items"].map(tuple))
    with pytest.raises(InputError, match="makers is 25: it must be at least 0 and at most 24"):
        build(makers=25)


@pytest.mark.slow
def test_taste_carries_across_domains_only_if_the_dial_says_so(build):
    carried, apart = build(), build(cross_domain_signal=0.0)
    for attribute, chance in (("colour", 0.1), ("theme", 1 / 12)):
        assert agreement(carried, attribute, across=True) > chance + 0.015
        assert abs(agreement(apart, attribute, across=True) - chance) < 0.012
        assert agreement(apart, attribute, across=False) > chance + 0.015  # within a domain taste remains


@pytest.mark.slow
def test_the_dials_change_behaviour_but_not_the_catalogue(build):
    one, other = build(), build(visual_signal=0.0)
    assert one.items.equals(other.items) and one.fingerprint != other.fingerprint


@pytest.mark.slow
def test_lost_pictures_change_nothing_else(build):
    whole, part = build(), build(missing_pictures=0.4)
    assert part.items.drop(columns="image").equals(whole.items.drop(columns="image"))
    assert part.sequences["items"].map(tuple).equals(whole.sequences["items"].map(tuple))
    assert whole.items["image"].notna().all() and abs(part.items["image"].isna().mean() - 0.4) < 0.04


def test_worlds_of_one_catalogue_share_its_pictures(tmp_path, monkeypatch):
    """Drawn once; a world with other dials has the same files, one with lost pictures has fewer."""
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    items = pd.DataFrame(
        {
            "item": [1, 2],
            "domain": ["x", "y"],
            "kind": [None, None],
            "colour": [None, None],
            "pattern": [None, None],
            "image": ["images/00001.png", "images/00002.png"],
        }
    )
    drawn = []

    class Picture:
        def save(self, path, format):
            path.write_text(path.name)

    monkeypatch.setattr("ifcdsr_core.sources.demo.drawings.Look", lambda *look: drawn.append(look))
    monkeypatch.setattr("ifcdsr_core.sources.demo.drawings.draw", lambda look, random: Picture())
    for name, part in (("one", items), ("other", items), ("fewer", items.assign(image=["images/00001.png", None]))):
        (tmp_path / name).mkdir()
        world._draw_pictures(part, "food_kitchen", tmp_path / name, [0, 0])
    assert len(drawn) == 2
    assert [len(list((tmp_path / name / "images").iterdir())) for name in ("one", "other", "fewer")] == [2, 2, 1]
    assert "00002.png" in (tmp_path / "other" / "images" / "00002.png").read_text()
    (store,) = (tmp_path / "data" / "pictures").iterdir()
    (store / "00001.png").unlink()
    (store / "00002.png").write_bytes(b"")  # by a crash of the machine
    (tmp_path / "again").mkdir()
    world._draw_pictures(items, "food_kitchen", tmp_path / "again", [0, 0])
    assert len(drawn) == 4 and all(path.stat().st_size for path in (tmp_path / "again" / "images").iterdir())


@pytest.mark.parametrize("seed, right", [(-1, "at least 0"), (-(10**20), "a number of at most 64 bits")])
def test_a_seed_that_cannot_be_is_refused(seed, right):
    with pytest.raises(InputError, match=f"seed is -.*: it must be {right}"):
        world.Dials(seed=seed)
