"""Numbers about a scenario: against counts by hand, against naive loops, and on the real files against the paper."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifcdsr_core.analysis import counts
from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import SECONDS_A_DAY, Scenario

MIRROR = Path(os.environ.get("IFCDSR_MIRROR") or ROOT.parent / "shared" / "mirror")
needs_mirror = pytest.mark.skipif(
    not MIRROR.is_dir(), reason="the published files are not here: set IFCDSR_MIRROR to a folder that holds them"
)


def make_scenario(sequences, num_items_x=3, num_items_y=4, source="demo") -> Scenario:
    """A scenario from (user, split, items, days or None)."""
    num_items = num_items_x + num_items_y
    items = pd.DataFrame(
        {
            "item": np.arange(1, num_items + 1, dtype=np.int32),
            "domain": ["x"] * num_items_x + ["y"] * num_items_y,
            "source_id": [f"secret-{item}" for item in range(1, num_items + 1)],
            "title": [None] * num_items,
            "image": [None] * num_items,
        }
    )
    rows = [
        (
            user,
            split,
            "x" if chosen[-1] <= num_items_x else "y",
            np.array(chosen, dtype=np.int32),
            None if days is None else np.array(days, dtype=np.int64) * SECONDS_A_DAY,
        )
        for user, split, chosen, days in sequences
    ]
    table = pd.DataFrame(rows, columns=["user", "split", "target_domain", "items", "timestamps"])
    return Scenario("food_kitchen", source, items, table, {"files": {}, "sequences_numbered": 9})


@pytest.fixture
def tiny() -> Scenario:
    """X is 1 to 3, Y is 4 to 7; items 3 and 7 are touched by nobody in training."""
    return make_scenario(
        [
            ("a", "train", [1, 4, 2], [0, 1, 2]),  # no tie
            ("a", "train", [4, 5], [7, 9]),  # the same user, Y only
            ("b", "train", [1, 2], [5, 5]),  # tie within X: target open, its domain not
            ("c", "valid", [1, 4, 5, 6], [0, 3, 3, 3]),  # tie within Y
            ("d", "test", [4, 3, 7], [0, 2, 2]),  # tie across domains: target in Y, could be in X
            ("e", "test", [5, 4, 1], [0, 4, 4]),  # tie across domains: target in X, could be in Y
            ("f", "test", [1, 4, 5], [1, 1, 8]),  # a tie, but not at the end
        ]
    )


@pytest.fixture
def random_scenario() -> Scenario:
    random = np.random.default_rng(7)
    sequences = []
    for _ in range(200):
        length = random.integers(2, 9)
        sequences.append(
            (
                f"user {random.integers(120)}",
                random.choice(["train", "valid", "test"]),
                random.integers(1, 41, length).tolist(),
                np.sort(random.integers(0, 6, length)).tolist(),
            )
        )
    return make_scenario(sequences, num_items_x=15, num_items_y=25)


def row(table: pd.DataFrame, **labels) -> pd.Series:
    """The one row with these labels."""
    found = table[np.logical_and.reduce([table[name] == value for name, value in labels.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_table1(tiny):
    table = counts.table1(tiny)
    assert table[["domain", "items", "train", "valid", "test"]].values.tolist() == [
        ["Food", 3, 3, 0, 1],
        ["Kitchen", 4, 3, 1, 2],
    ]
    assert table["avg_length"].tolist() == pytest.approx([20 / 7] * 2)


def test_table1_without_a_train_split(tiny):
    table = counts.table1(make_scenario([("c", "valid", [1, 4], None), ("d", "test", [4, 1], None)]))
    assert table["train"].isna().all()
    assert table["test"].tolist() == [1, 0]


def test_only_the_papers_own_data_stands_beside_the_paper(tiny):
    with pytest.raises(InputError, match="'demo' is not the paper's data"):
        counts.table1_against_paper(tiny)
    assert "table1_against_paper" not in counts.summary_record(tiny)["tables"]


def test_table1_against_paper_says_what_is_missing():
    table = counts.table1_against_paper(
        make_scenario([("c", "valid", [1, 4], None), ("d", "test", [4, 1], None)], source="c2dsr")
    )
    assert row(table, domain="Food", quantity="items")["difference"] == 3 - 29_207
    train = row(table, domain="both", quantity="train")
    assert np.isnan(train["ours"]) and np.isnan(train["difference"]) and "leaves 7 sequences" in train["note"]
    assert "valid and test only" in row(table, domain="both", quantity="avg_length")["note"]


def test_table1_against_paper_with_a_train_split():
    table = counts.table1_against_paper(
        make_scenario([("c", "train", [1, 4], None), ("d", "test", [4, 1], None)], source="c2dsr")
    )
    assert row(table, domain="both", quantity="train")["difference"] == 1 - 34_117
    assert set(table["note"]) == {""}


def test_lengths(tiny):
    table = counts.lengths(tiny)
    assert table["split"].tolist() == ["train", "valid", "test", "all"]
    assert row(table, split="train")[["sequences", "mean", "min", "median", "max"]].tolist() == [3, 7 / 3, 2, 2, 3]
    distribution = counts.length_distribution(tiny)
    assert distribution.values.tolist() == [["train", 2, 2], ["train", 3, 1], ["valid", 4, 1], ["test", 3, 3]]


def test_items_per_domain(tiny):
    table = counts.items_per_domain(tiny)
    kitchen = row(table, split="train", domain="Kitchen")
    assert kitchen[["sequences", "mean", "min", "median", "max"]].tolist() == [3, 1, 0, 1, 2]


def test_popularity(tiny):
    table = counts.popularity(tiny)
    assert table.values.tolist() == [
        ["Food", 1, 1],
        ["Food", 2, 1],
        ["Food", 5, 1],  # items 3, 2, 1
        ["Kitchen", 1, 2],
        ["Kitchen", 4, 1],
        ["Kitchen", 6, 1],
    ]  # items 6 and 7, 5, 4


def test_concentration_of_an_untouched_item():
    table = counts.concentration(make_scenario([("a", "test", [1, 1, 1, 4, 5, 6, 7], None)]))
    food, kitchen = row(table, domain="Food"), row(table, domain="Kitchen")
    assert food["untouched"] == pytest.approx(2 / 3) and food["gini"] == pytest.approx(2 / 3) and food["top"] == 3
    assert food["head_share"] == 1.0  # 20 % of 3 items is 1 item
    assert kitchen["untouched"] == 0 and kitchen["gini"] == pytest.approx(0)


def test_gini_against_all_pairs():
    count = np.random.default_rng(1).integers(0, 9, 50)
    expected = np.abs(count[:, None] - count[None]).mean() / (2 * count.mean())
    assert counts.gini(count) == pytest.approx(expected)
    assert np.isnan(counts.gini(np.zeros(3)))


def test_user_overlap_is_by_user_not_by_sequence(tiny):
    train = row(counts.user_overlap(tiny), split="train")
    assert train[["sequences", "users", "both", "only_x", "only_y"]].tolist() == [3, 2, 1, 1, 0]
    assert train["both_share"] == 0.5


def test_order_ties(tiny):
    table = counts.order_ties(tiny).set_index("split")
    assert table.loc["train", ["tied_pairs", "with_tie", "target_tied", "domain_open"]].tolist() == pytest.approx(
        [1 / 4, 1 / 3, 1 / 3, 0]
    )
    assert np.isnan(table.at["train", "open_to_y"])
    assert table.loc["valid", ["tied_pairs", "target_tied", "domain_open"]].tolist() == pytest.approx([2 / 3, 1, 0])
    assert table.loc["test", ["tied_pairs", "with_tie", "target_tied", "domain_open", "open_to_y"]].tolist() == (
        pytest.approx([1 / 2, 1, 2 / 3, 2 / 3, 1 / 2])
    )
    assert table.loc["test", ["targets_x", "targets_x_least", "targets_x_most"]].tolist() == [1, 0, 2]


def test_order_ties_against_loops(random_scenario):
    """Every order of the tied last items is tried, one by one."""
    table = counts.order_ties(random_scenario).set_index("split")
    for split, part in random_scenario.sequences.groupby("split"):
        pairs = ties = tied_sequences = tied_targets = open_domains = least = most = 0
        for items, times in zip(part["items"], part["timestamps"], strict=True):
            equal = [a == b for a, b in itertools.pairwise(times)]
            pairs, ties, tied_sequences = pairs + len(equal), ties + sum(equal), tied_sequences + any(equal)
            tied_targets += equal[-1]
            possible = {
                item <= random_scenario.num_items_x
                for item, time in zip(items, times, strict=True)
                if time == times[-1]
            }
            open_domains, least, most = open_domains + (len(possible) == 2), least + all(possible), most + any(possible)
        found = table.loc[split]
        assert found["tied_pairs"] == pytest.approx(ties / pairs)
        assert found["with_tie"] == pytest.approx(tied_sequences / len(part))
        assert found["target_tied"] == pytest.approx(tied_targets / len(part))
        assert found["domain_open"] == pytest.approx(open_domains / len(part))
        assert found["targets_x"] == (part["target_domain"] == "x").sum()
        assert (found["targets_x_least"], found["targets_x_most"]) == (least, most)


def test_equal_times_of_two_sequences_are_no_tie():
    table = counts.order_ties(make_scenario([("a", "test", [1, 2], [0, 3]), ("b", "test", [1, 4], [3, 5])]))
    assert row(table, split="test")["tied_pairs"] == 0


def test_span_days(tiny):
    table = counts.span_days(tiny)
    assert row(table, split="train")[["sequences", "min", "median", "max"]].tolist() == [3, 0, 2, 2]
    assert row(table, split="test")["max"] == 7


def test_without_timestamps_there_are_no_rows():
    scenario = make_scenario([("a", "train", [1, 4], None), ("b", "test", [1, 4], None)])
    assert len(counts.order_ties(scenario)) == len(counts.span_days(scenario)) == 0


def test_sequences_without_timestamps_are_left_out_of_ties():
    mixed = make_scenario([("a", "test", [1, 4, 5], None), ("b", "test", [1, 4], [2, 2]), ("c", "valid", [4, 1], None)])
    table = counts.order_ties(mixed)
    assert table[["split", "sequences", "domain_open"]].values.tolist() == [["test", 1, 1.0]]


def test_split_profile_against_loops(random_scenario):
    table, sequences = counts.split_profile(random_scenario), random_scenario.sequences
    users = {item: set() for item in range(1, random_scenario.num_items + 1)}
    for sequence in sequences.itertuples():
        for item in sequence.items:
            users[item].add(sequence.user)
    assert table["split"].tolist() == ["train", "valid", "test"]
    for found in table.to_dict("records"):
        part = random_scenario.split(found["split"])
        assert (found["sequences"], found["users"]) == (len(part), part["user"].nunique())
        assert found["length"] == pytest.approx(np.mean([len(items) for items in part["items"]]))
        assert found["targets_y"] == pytest.approx(np.mean([items[-1] > 15 for items in part["items"]]))
        assert found["popularity"] == np.median([len(users[item]) for items in part["items"] for item in items])
        assert [found[name] for name in counts.PROFILE_COLUMNS[-3:]] == [1970] * 3


def test_split_profile_has_years_where_there_are_times():
    years = [365 * years + 30 for years in (30, 31, 32, 40)]  # 2000, 2001, 2002, 2010
    sequences = [("a", "train", [1, 4], [0, day]) for day in years] + [("b", "test", [1, 4], None)]
    table = counts.split_profile(make_scenario(sequences)).set_index("split")[counts.PROFILE_COLUMNS[-3:]]
    assert table.loc["train"].tolist() == [2000, 2001, 2010] and table.loc["test"].isna().all()


def test_a_rebuilt_training_file_stands_beside_what_is_known_of_the_papers():
    scenario = make_scenario([("a", "train", [1, 4], [0, 1]), ("a", "test", [1, 4, 2], [2, 3, 4])], source="c2dsr")
    found = {"earlier": 3, "earlier_length": 7.5, "sequences": 1}
    scenario.provenance["rebuilt"] = found
    tables = counts.read_tables(json.loads(json.dumps(counts.summary_record(scenario))))
    table = tables["training_file"].set_index("split")
    assert table["sequences"].tolist() == [1, 3, 34_117, 1]
    assert table["length"].tolist() == pytest.approx([2, 7.5, (9.91 * 34_118 - 3) / 34_117, 3], rel=1e-5)
    assert tables["rebuilt"].to_dict("records") == [found]
    assert tables["table1_against_paper"].set_index("quantity")["note"]["train"] == "rebuilt from other files"


def test_a_variant_has_a_summary_of_its_own():
    assert counts.variant_of("c2dsr", {"train_file": False, "titles": True, "train": "published"}) == ""
    assert counts.variant_of("c2dsr", {"train_file": True, "train": "rebuilt"}) == "train=rebuilt"
    assert counts.summary_path("llmcdsr", "food_kitchen", "train_users=both").name == (
        "llmcdsr-food_kitchen-train_users=both.json"
    )


def test_unseen_targets(tiny):
    table = counts.unseen_targets(tiny)
    # Trained on 1, 2, 4, 5: of the test targets 7, 1, 5 only 7 is unseen, and the validation target 6 is.
    assert row(table, trained_on="train", split="test", domain="Kitchen")[["targets", "unseen"]].tolist() == [2, 1]
    assert row(table, trained_on="train", split="test", domain="Food")[["targets", "unseen"]].tolist() == [1, 0]
    assert row(table, trained_on="train", split="valid", domain="Kitchen")["unseen_share"] == 1.0
    assert row(table, trained_on="valid", split="test", domain="Kitchen")["unseen"] == 1


def test_unseen_targets_against_loops(random_scenario):
    for _, found in counts.unseen_targets(random_scenario).iterrows():
        seen = {item for items in random_scenario.split(found["trained_on"])["items"] for item in items}
        targets = random_scenario.split(found["split"])
        targets = [
            items[-1]
            for items, domain in zip(targets["items"], targets["target_domain"], strict=True)
            if domain == {"Food": "x", "Kitchen": "y"}[found["domain"]]
        ]
        assert found["targets"] == len(targets)
        assert found["unseen"] == sum(item not in seen for item in targets)


def test_summary_comes_back_from_json(random_scenario, tmp_path, monkeypatch):
    monkeypatch.setattr(counts, "results_dir", lambda: tmp_path)
    path = counts.keep_summary(random_scenario)
    assert path == tmp_path / "statistics" / "demo-food_kitchen.json"
    loaded = counts.load_summary("demo", "food_kitchen")
    assert loaded["fingerprint"] == random_scenario.fingerprint
    tables = counts.read_tables(loaded)
    assert set(tables) == set(counts.TABLES)
    for name, function in counts.TABLES.items():
        pd.testing.assert_frame_equal(tables[name], function(random_scenario), check_dtype=False, rtol=1e-5)


def test_missing_numbers_come_back_as_nan(tmp_path, monkeypatch):
    monkeypatch.setattr(counts, "results_dir", lambda: tmp_path)
    counts.keep_summary(make_scenario([("c", "valid", [1, 4], None), ("d", "test", [4, 1], None)]))
    tables = counts.read_tables(counts.load_summary("demo", "food_kitchen"))
    assert tables["table1"]["train"].dtype == float and tables["table1"]["train"].isna().all()
    assert len(tables["order_ties"]) == 0


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"tables": 3}', '{"tables": {"table1": 3}}'])
def test_a_damaged_summary_is_named(content, tmp_path, monkeypatch):
    monkeypatch.setattr(counts, "results_dir", lambda: tmp_path)
    (tmp_path / "statistics").mkdir()
    (tmp_path / "statistics" / "demo-food_kitchen.json").write_text(content)
    with pytest.raises(InputError, match="demo-food_kitchen.json is damaged"):
        counts.load_summary("demo", "food_kitchen")


def test_an_unknown_summary_says_which_there_are():
    with pytest.raises(
        InputError,
        match="unknown summary 'c2dsr-nowhere': choose one of abxi-beauty_electronics, .*c2dsr-food_kitchen, ",
    ):
        counts.load_summary("c2dsr", "nowhere")


@pytest.mark.parametrize("source, name, options", counts.SHIPPED)
def test_committed_summaries_hold_aggregates_only(source, name, options):
    text = json.dumps(counts.load_summary(source, name, counts.variant_of(source, options)))
    assert len(text) < 40_000
    assert str(ROOT.parent) not in text and "/tmp" not in text
    for table in counts.read_tables(json.loads(text)).values():
        assert len(table) < 1_000


@pytest.mark.parametrize("name", ["food_kitchen", "movie_book"])
def test_committed_table1_is_the_papers(name):
    table = counts.read_tables(counts.load_summary("c2dsr", name))["table1_against_paper"]
    per_domain = table[table["domain"] != "both"]
    assert len(per_domain) == 6 and (per_domain["difference"] == 0).all()
    train = row(table, domain="both", quantity="train")
    assert f"leaves {train['paper']:,.0f} sequences" in train["note"]  # the paper's own number


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Prepare a scenario of the published files, each once."""
    from ifcdsr_core.sources import prepare

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_MIRROR", str(MIRROR))
        patch.setenv("IFCDSR_DATA", str(tmp_path_factory.mktemp("data")))
        yield prepare


@pytest.mark.slow
@needs_mirror
@pytest.mark.parametrize("source, name, options", counts.SHIPPED)
def test_committed_summaries_are_those_of_the_real_files(source, name, options, real, tmp_path):
    path = counts.keep_summary(real(source, name, **options), tmp_path / "summary.json")
    shipped = counts.load_summary(source, name, counts.variant_of(source, options))
    assert json.loads(path.read_text(encoding="utf-8")) == shipped


@pytest.mark.slow
@needs_mirror
@pytest.mark.parametrize("name, days", [("food_kitchen", 365), ("movie_book", 30)])
def test_the_papers_files_are_what_is_known_of_them(name, days, real):
    scenario = real("c2dsr", name, train_file=False)
    lengths, overlap = counts.lengths(scenario), counts.user_overlap(scenario)
    assert lengths["min"].min() >= 6 and lengths["max"].max() <= 15
    assert counts.items_per_domain(scenario)["min"].min() >= 3
    assert counts.span_days(scenario)["max"].max() <= days
    assert (overlap["users"] == overlap["sequences"]).all() and scenario.sequences["user"].is_unique
    assert all(len(set(items)) == len(items) for items in scenario.sequences["items"])
