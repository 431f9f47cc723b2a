"""Where a gain comes from: properties of test cases, groups and trends, against numbers computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.analysis import subgroups
from ifcdsr_core.analysis.paired import case_means
from ifcdsr_core.analysis.significance import trend
from ifcdsr_core.analysis.subgroups import Prediction
from ifcdsr_core.book import figures
from ifcdsr_core.book.pages import where_it_helps
from ifcdsr_core.errors import InputError
from ifcdsr_core.features.cache import Features
from ifcdsr_core.runs import lists
from ifcdsr_core.runs.assembly import training_splits
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.lists import FULL, NEITHER, NO_IMAGES, NO_MULTIPLE
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import DOMAIN_NAMES, SECONDS_A_DAY, Scenario


def small() -> Scenario:
    """Items 1 to 3 of X, 4 to 6 of Y; two training and two test sequences, and valid ones to train on."""
    items = pd.DataFrame(
        {
            "item": np.arange(1, 7, dtype=np.int32),
            "domain": [*"xxxyyy"],
            "source_id": [f"i{n}" for n in range(6)],
            "title": None,
            "image": None,
        }
    )
    rows = [
        ("train", [1, 4, 1]),
        ("train", [5, 1, 4]),
        ("valid", [3, 6]),
        ("valid", [6, 3]),
        ("test", [2, 4, 5, 1]),
        ("test", [4, 5, 6]),
        ("test", [1, 2, 6]),
    ]
    days = [[0, 1, 2], [0, 1, 2], [0, 1], [0, 1], [0, 2, 5, 9], [0, 1, 4], [3, 3, 4]]
    sequences = pd.DataFrame(
        {
            "user": [f"u{n}" for n in range(7)],
            "split": [split for split, _ in rows],
            "target_domain": ["x" if row[-1] <= 3 else "y" for _, row in rows],
            "items": [np.array(row, dtype=np.int32) for _, row in rows],
            "timestamps": [SECONDS_A_DAY * np.array(day) for day in days],
        }
    )
    return Scenario("food_kitchen", "demo", items, sequences)


def made_table(popularity, domains, **columns) -> pd.DataFrame:
    """Properties of cases, those that are not given being all alike."""
    count = len(popularity)
    rest = {
        "history": [5] * count,
        "own_history": [2] * count,
        "own_share": [0.4] * count,
        "days": [1.0] * count,
        "nearness": [0.5] * count,
        "nearness_own": [0.5] * count,
    }
    table = pd.DataFrame({"target_domain": [*domains], "popularity": popularity, **(rest | columns)})
    table.attrs = {
        "source": "demo",
        "scenario": "food_kitchen",
        "scenario_fingerprint": "f",
        "train_on": "train",
        "holdout": 0.1,
    }
    return table


def made_run(ranks, domains, seed: int = 0, **config) -> Run:
    """A finished run with these ranks that fits ``made_table``."""
    ranks = pd.DataFrame(
        {
            "target_domain": [*domains],
            "sampled_999": np.asarray(ranks, dtype=float),
            "full": 10 * np.asarray(ranks, dtype=float),
        }
    )
    config = {"seed": seed, "train_on": "train", "holdout": 0.1, **config}
    history = pd.DataFrame({"epoch": [1], "selection": [0.1]})
    return Run(Path("runs") / f"run{seed}", config, {"scenario_fingerprint": "f"}, history, ranks)


# --- properties ---


def test_properties_of_a_case_are_those_counted_by_hand():
    table = subgroups.case_properties(small(), RunConfig())
    assert table["target_domain"].tolist() == ["x", "y", "y"]
    assert table["popularity"].tolist() == [3, 0, 0]  # item 1 twice in the first, once in the second; 6 never
    assert table["history"].tolist() == [3, 2, 2] and table["own_history"].tolist() == [1, 2, 0]
    assert table["own_share"].tolist() == [1 / 3, 1, 0]
    np.testing.assert_array_equal(table["days"], [9, 3, np.nan])  # since items 2 and 5; no item of Y before
    assert table[["nearness", "nearness_own"]].isna().all().all()


def test_popularity_is_counted_in_what_the_runs_train_on():
    scenario, config = small(), RunConfig(train_on="valid", holdout=0.5)
    kept = training_splits(scenario, config)["train"]["items"].tolist()
    assert len(kept) == 1  # one of [3, 6] and [6, 3], the other is for selection
    table = subgroups.case_properties(scenario, config)
    assert table["popularity"].tolist() == [0, 1, 1]
    assert table.attrs == {
        "source": "demo",
        "scenario": "food_kitchen",
        "scenario_fingerprint": scenario.fingerprint,
        "train_on": "valid",
        "holdout": 0.5,
    }


def test_without_timestamps_there_are_no_days():
    scenario = small()
    bare = Scenario(scenario.name, scenario.source, scenario.items, scenario.sequences.assign(timestamps=None))
    assert subgroups.case_properties(bare, RunConfig())["days"].isna().all()


def test_nearness_is_the_largest_cosine_among_pictures_that_exist(monkeypatch):
    monkeypatch.setattr(subgroups, "CHUNK_PAIRS", 7)  # several parts, of which one begins within a case
    scenario, random = tiny(), np.random.default_rng(0)
    matrix = random.normal(size=(NUM_X + NUM_Y, 5)).astype(np.float32)
    missing, unit = random.random(len(matrix)) < 0.3, matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    table = subgroups.case_properties(scenario, RunConfig(), Features(matrix, "made", "", missing))
    for row, items in zip(table.itertuples(), scenario.split("test")["items"], strict=True):
        *history, target = items
        for value, chosen in (
            (row.nearness, history),
            (row.nearness_own, [i for i in history if (i > NUM_X) == (target > NUM_X)]),
        ):
            cosines = [unit[i - 1] @ unit[target - 1] for i in chosen if not missing[i - 1] and not missing[target - 1]]
            assert value == pytest.approx(max(cosines), abs=1e-6) if cosines else math.isnan(value)
    assert table["nearness"].isna().any() and table["nearness"].notna().any()
    with pytest.raises(InputError, match="features are of 3 items"):
        subgroups.case_properties(scenario, RunConfig(), Features(matrix[:3], "made", "", missing[:3]))


# --- kept ---


def test_kept_properties_come_back_and_name_nobody(tmp_path):
    table = subgroups.case_properties(small(), RunConfig())
    path = subgroups.keep_properties(table, tmp_path / "demo-food_kitchen.parquet")
    stored = pd.read_parquet(path)
    assert list(stored) == ["target_domain", "popularity", "history", "own_history", "days"]
    assert stored["popularity"].dtype == np.uint8
    loaded = subgroups.load_properties("demo", "food_kitchen", path)
    pd.testing.assert_frame_equal(loaded, table, check_dtype=False)
    assert loaded.attrs == table.attrs
    with pytest.raises(InputError, match="unknown properties of test cases 'demo-movie_book': choose one of demo-food"):
        subgroups.load_properties("demo", "movie_book", tmp_path / "demo-movie_book.parquet")
    path.write_bytes(b"no table")
    with pytest.raises(InputError, match="is damaged"):
        subgroups.load_properties("demo", "food_kitchen", path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scenario_fingerprint": "g"}, "other data"),
        ({"train_on": "valid"}, "properties count popularity in"),
        ({"holdout": 0.2}, None),
    ],
)
def test_properties_of_other_data_are_refused(change, message):
    table, run = made_table([0, 1], "xy"), made_run([1, 2], "xy")
    table.attrs |= change
    if message is None:  # the holdout is of no account where the training file is trained on
        return subgroups.check_cases(table, [run])
    with pytest.raises(InputError, match=message):
        subgroups.gain_by_group(table, [run], [run], "popularity")


def test_runs_on_other_cases_are_refused():
    with pytest.raises(InputError, match="other cases"):
        subgroups.mrr_by_group(made_table([0, 1], "xy"), {"a": [made_run([1, 2], "yx")]}, "popularity")
    kept = made_table([0, 1], "xy")
    kept.attrs["train_on"] = "valid"
    with pytest.raises(InputError, match="holdout"):
        subgroups.check_cases(kept, [made_run([1, 2], "xy", train_on="valid", holdout=0.2)])


def test_whether_a_target_has_a_title_is_a_property_only_where_some_lack_one():
    scenario = tiny()
    assert subgroups.case_properties(scenario, RunConfig())["titled"].isna().all()
    scenario.items["title"] = pd.Series(
        [f"thing {n}" if n % 3 else None for n in range(1, scenario.num_items + 1)], dtype=object
    )
    titled = subgroups.case_properties(scenario, RunConfig())["titled"]
    targets = [int(items[-1]) for items in scenario.split("test")["items"]]
    assert titled.tolist() == [float(bool(target % 3)) for target in targets] and 0 < np.mean(titled) < 1
    scenario.items["title"] = "thing"
    assert subgroups.case_properties(scenario, RunConfig())["titled"].isna().all()


def test_cases_of_the_same_sequences_with_and_without_titles_are_the_same():
    table, run = made_table([0, 1], "xy"), made_run([1, 2], "xy")
    table.attrs["scenario_fingerprint"] = "titled plain"
    for run.provenance["scenario_fingerprint"] in ("titled", "plain"):
        subgroups.check_cases(table, [run])
    run.provenance["scenario_fingerprint"] = "tit"
    with pytest.raises(InputError, match="other data"):
        subgroups.check_cases(table, [run])


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["food_kitchen", "movie_book"])
def test_shipped_properties_fit_the_shipped_runs(scenario):
    runs = lists.shipped_comparison("c2dsr", scenario)
    table = subgroups.load_properties("c2dsr", scenario)
    subgroups.check_cases(table, [run for group in runs.values() for run in group])
    assert table["own_history"].between(1, table["history"]).all() and (table["days"] >= 0).all()


# --- groups ---


def test_groups_have_their_ranges_as_names():
    found = subgroups.groups(pd.Series([0, 0, 1, 2, 3, 5, 6, 40]), (0, 1, 3, 6, 21), least=1)
    assert list(found.categories) == ["0", "1–2", "3–5", "6", "40"]
    assert found.codes.tolist() == [0, 0, 1, 1, 2, 2, 3, 4]
    low = subgroups.groups(pd.Series([2, 3, 4, 9]), (0, 4), least=1)
    assert list(low.categories) == ["2–3", "4–9"]


def test_a_small_group_joins_its_smaller_neighbour():
    values = pd.Series([0] * 40 + [1] * 5 + [3] * 35 + [6] * 33 + [30] * 2)
    found = subgroups.groups(values, (0, 1, 3, 6, 21), least=30)
    assert found.value_counts().to_dict() == {"0": 40, "1–3": 40, "6–30": 35}
    assert list(subgroups.groups(pd.Series([0, 5, 9]), (0, 1, 6), least=30).categories) == ["0–9"]


def test_quantile_groups_and_unknown_values():
    values = pd.Series([*np.linspace(-0.1, 0.9, 40), np.nan])
    found = subgroups.groups(values, None, least=1)
    assert list(found.categories) == ["−0.10 to 0.15", "0.15 to 0.40", "0.40 to 0.65", "0.65 to 0.90"]
    assert found.value_counts().tolist() == [10] * 4 and found.codes[-1] == -1
    days = subgroups.groups(pd.Series([0.0] * 5 + [1, 2, 7, 8, 30]), None, least=1)
    assert list(days.categories) == ["0", "1–2", "7–30"] and days.value_counts().tolist() == [5, 2, 3]
    assert len(subgroups.groups(pd.Series([np.nan] * 3)).categories) == 0
    assert list(subgroups.groups(pd.Series([4] * 3)).categories) == ["4"]


def test_mrrs_and_gains_of_groups_by_hand(monkeypatch):
    monkeypatch.setitem(subgroups.STARTS, "popularity", (0, 1))
    table = made_table([0] * 30 + [4] * 60, "x" * 60 + "y" * 30)
    after = [made_run([1] * 30 + [2] * 60, table["target_domain"], seed) for seed in (0, 1)]
    before = [made_run([rank] * 30 + [4] * 60, table["target_domain"], seed) for seed, rank in enumerate((2, 4))]
    mrr = subgroups.mrr_by_group(table, {"b": before}, "popularity")
    assert mrr[["group", "cases", "label", "MRR"]].to_numpy().tolist() == [["0", 30, "b", 37.5], ["4", 60, "b", 25.0]]
    gain = subgroups.gain_by_group(table, after, before, "popularity")
    assert gain["gain"].tolist() == [62.5, 25.0] and gain["share"].tolist() == pytest.approx([100 / 3, 200 / 3])
    assert (gain["low"] <= gain["gain"]).all()
    in_x = subgroups.gain_by_group(table, after, before, "popularity", domain="x")
    assert in_x["cases"].tolist() == [30, 30]
    parts = subgroups.contributions(table, after, before, "popularity")
    assert parts["part"].tolist() == pytest.approx([62.5 / 3, 50 / 3])
    overall = np.mean(case_means(after, "sampled_999", "MRR") - case_means(before, "sampled_999", "MRR"))
    assert parts["part"].sum() == pytest.approx(overall)
    full = subgroups.gain_by_group(table, after, before, "popularity", protocol="full")
    assert full["gain"].tolist() == pytest.approx([6.25, 2.5])
    with pytest.raises(InputError, match="unknown property 'colour'"):
        subgroups.mrr_by_group(table, {"b": before}, "colour")


# --- trends ---


def test_ends_apart_by_hand():
    strata = np.array([*"xxxxxxyyy"])
    values = np.array([1, 2, 3, 4, 5, 6, 100, 200, 300])
    gain = np.array([1.0, 3, 0, 0, 5, 7, 2, 0, 9])  # lowest thirds: 1, 3, 2; highest: 5, 7, 9
    apart = subgroups.ends_apart(gain, values, strata)
    assert apart.value == pytest.approx(5.0) and 5 - 3 <= apart.low < 5 < apart.high <= 5 + 3
    constant = np.array([0.0] * 10 + [3] * 10)  # no trend; one domain has more of its cases among the lowest
    ties = np.array([0.0] * 4 + [*range(1, 7)] + [0.0] * 7 + [*range(1, 4)])
    apart = subgroups.ends_apart(constant, ties, np.array(["x"] * 10 + ["y"] * 10))
    assert (apart.value, apart.low, apart.high) == (0, 0, 0)
    apart = subgroups.ends_apart(gain, np.ones(9), np.zeros(9))  # no highest third
    assert math.isnan(apart.value) and math.isnan(apart.low)


CLAIMS = (
    Prediction("pictures", FULL, NO_IMAGES, "popularity", -1),
    Prediction("pictures", FULL, NO_IMAGES, "nearness", 1),
    Prediction("attention", FULL, NO_MULTIPLE, "days", 1),
    Prediction("attention", FULL, NO_MULTIPLE, "history", 0),
)


@pytest.fixture(scope="module")
def planted():
    """Pictures help with rare targets and not by nearness; attention with long histories, and with few days."""
    random, count = np.random.default_rng(3), 300
    popularity, nearness = random.integers(0, 30, count), random.random(count)
    days, domains = random.integers(0, 20, count), np.where(random.random(count) < 0.5, "x", "y")
    table = made_table(popularity, domains, nearness=nearness, days=days.astype(float), history=5 + 20 - days)
    base = random.integers(5, 15, (2, count))
    runs = {
        FULL: [made_run(ranks, domains, seed) for seed, ranks in enumerate(base)],
        NO_IMAGES: [made_run(ranks + 40 * (popularity < 10), domains, seed) for seed, ranks in enumerate(base)],
        NO_MULTIPLE: [made_run(ranks + 30 - days, domains, seed) for seed, ranks in enumerate(base)],
    }
    return table, runs


def test_trends_say_what_was_planted(planted):
    found = subgroups.trends(*planted, CLAIMS)
    assert found["Verdict"].tolist() == ["as claimed", "no trend", "the opposite", "rises"]
    assert found["Claimed"].tolist() == ["falls", "rises", "rises", "–"]
    assert found["Seeds"].tolist()[0] == "2 of 2" and found["ρ"].iloc[0] < -0.3
    table, runs = planted
    gain = case_means(runs[FULL], "sampled_999", "MRR") - case_means(runs[NO_IMAGES], "sampled_999", "MRR")
    within = trend(gain, table["popularity"], table["target_domain"], samples=0)[0]
    assert found["ρ"].iloc[0] == pytest.approx(within, abs=1e-12)  # ranks are taken within target domains
    assert found["Ends apart"].iloc[0].value < 0 < found["Ends apart"].iloc[3].value
    text = where_it_helps.trends_verdict(found)
    assert "**occurrences of the target in training**: the gain of pictures falls, as claimed (ρ = −0." in text
    assert "no trend was found in the gain of pictures, though it should rise" in text
    assert "the opposite of the claim: the gain of attention falls" in text
    assert "the gain of attention rises, about which nothing is claimed" in text
    assert text.endswith("Of 3 claims, 1 hold, for 1 the opposite does, 1 remain without support.")


def test_p_values_are_corrected_for_the_number_of_claims(planted):
    table, runs = planted
    alone = [subgroups.trends(table, runs, [claim])["p (Holm)"].iloc[0].value for claim in CLAIMS]
    together = [p.value for p in subgroups.trends(table, runs, CLAIMS)["p (Holm)"]]
    assert all(one >= other for one, other in zip(together, alone, strict=True))
    assert together[0] == pytest.approx(4 * alone[0])


def test_ranks_and_means_that_disagree_are_unclear():
    assert subgroups._verdict(1, 0.2, 0.01, -3.0) == "unclear"
    assert subgroups._verdict(1, 0.2, 0.01, math.nan) == "unclear"
    assert subgroups._verdict(1, 0.2, 0.01, 3.0) == "as claimed"
    assert subgroups._verdict(1, 0.2, math.nan, 3.0) == subgroups._verdict(1, 0.2, 0.05, 3.0) == "no trend"


def test_trends_are_paired_by_seed(planted):
    table, runs = planted
    with pytest.raises(InputError, match="same seeds"):
        subgroups.trends(table, runs | {NO_IMAGES: runs[NO_IMAGES][:1]}, CLAIMS)


def test_the_arms_are_runs_of_the_ablation_and_its_control():
    arms = lists.parts("movie_book", [0, 1])
    ablation, control = lists.ablation("movie_book", [0, 1]), lists.image_control("movie_book", 1.0, [0, 1])
    assert arms == {
        FULL: ablation["+ multiple attention"],
        NO_IMAGES: control["without images"],
        NO_MULTIPLE: ablation["+ image fusion"],
        NEITHER: ablation["original framework"],
    }
    assert {label for claim in subgroups.PREDICTIONS for label in (claim.after, claim.before)} == set(arms)


# --- real data ---


def test_random_order():
    assert subgroups.random_mrr(2) == pytest.approx(75.0)
    assert subgroups.random_mrr() == pytest.approx(100 * sum(1 / r for r in range(1, 1001)) / 1000)


def test_where_a_lead_comes_from_in_words():
    domains = "x" * 80 + "y" * 40
    table = made_table([0] * 40 + [4] * 40 + [4] * 40, domains)
    runs = {
        "Popularity": [made_run([500] * 40 + [4] * 40 + [2] * 40, domains, model="popularity")],
        "Co-occurrence": [made_run([1000] * 40 + [8] * 40 + [1] * 40, domains, model="cooccurrence")],
        "IFCDSR (no images)": [made_run([400] * 40 + [2] * 40 + [4] * 40, domains, model="ifcdsr")],
    }
    parts = where_it_helps.against_best(table, runs)  # the best other model is another one in each domain
    assert parts[["Target", "Group", "Cases", "Rival"]].to_numpy().tolist() == [
        ["Food", "0", 40, "Popularity"],
        ["Food", "4", 40, "Popularity"],
        ["Kitchen", "4", 40, "Co-occurrence"],
    ]
    assert parts["Part"].tolist() == pytest.approx([0.5 * (0.25 - 0.2), 0.5 * 25, -75])
    food, kitchen = where_it_helps.popularity_verdict(table, runs).splitlines()
    assert food == (
        "- **Food**: 50 % of the targets occur nowhere in training. On these the MRRs lie between 0.10 and 0.25; a "
        "random order would have 0.75, which none of the 3 models exceeds. IFCDSR (no images) leads the best other "
        "model, Popularity, by 12.53 points: +12.50 come from targets that occur 4 times in training (50 % of the "
        "cases), +0.03 from all others."
    )
    assert kitchen == (
        "- **Kitchen**: 0 % of the targets occur nowhere in training. IFCDSR (no images) trails the best other model, "
        "Co-occurrence, by 75.00 points: −75.00 come from targets that occur 4 times in training (100 % of the cases), "
        "+0.00 from all others."
    )
    with pytest.raises(InputError, match="compared with another model"):
        where_it_helps.against_best(table, {"IFCDSR": runs["IFCDSR (no images)"]})


# --- figures ---


def test_figures_draw_what_the_tables_say(planted):
    table, runs = planted
    cases, results = {"food_kitchen": table}, {"food_kitchen": runs}
    gains = where_it_helps.gain_panels(cases, results, NO_IMAGES, ["popularity", "days"])
    assert list(gains) == [("Food-Kitchen (demo)", subgroups.PROPERTY_NAMES[name]) for name in ("popularity", "days")]
    fig = figures.gains_by_group(gains)
    line, _, (whiskers,) = fig.axes[0].containers[0].lines
    first = next(iter(gains.values()))
    np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), first["gain"])
    np.testing.assert_allclose([segment[:, 1] for segment in whiskers.get_segments()], first[["low", "high"]])
    labels = [label.get_text() for label in fig.axes[0].get_xticklabels()]
    assert labels == [f"{row.group}\nn = {row.cases}" for row in first.itertuples()]

    mrrs = where_it_helps.mrr_panels(cases, results, [FULL, NO_IMAGES], ["popularity"])
    fig = where_it_helps.mrr_figure(mrrs)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [FULL, NO_IMAGES]

    panels = where_it_helps.domain_panels(
        cases,
        {"food_kitchen": {"Popularity": runs[FULL], "GRU4Rec": runs[NO_IMAGES], "IFCDSR": runs[NO_MULTIPLE]}},
        "popularity",
    )
    assert [domain for domain, _ in panels] == [f"{name} (demo)" for name in DOMAIN_NAMES["food_kitchen"]]
    fig = where_it_helps.models_figure(panels, 0.75)
    np.testing.assert_allclose(
        fig.axes[1].lines[1].get_ydata(), list(panels.values())[1].query("label == 'GRU4Rec'")["MRR"]
    )
    named = {text.get_text() for text in fig.legends[0].get_texts()}
    assert named == {"Popularity", "other models that learn", "IFCDSR", "random order"}
    assert (
        fig.axes[0].get_yscale() == "log"
        and where_it_helps.models_figure(panels, 0.75, False).axes[0].get_ylim()[0] == 0
    )
    assert "no results" in where_it_helps.models_figure({}, 0.75).axes[0].texts[0].get_text()
    figures.plt.close("all")
