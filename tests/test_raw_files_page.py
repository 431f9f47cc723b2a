"""Page 01b, from the sample of raw files to Table 1: counts that are known by construction."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifcdsr_core.__main__ import main
from ifcdsr_core.analysis.counts import table1
from ifcdsr_core.book.pages import raw_files
from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT, results_dir
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.amazon import sample, source

pytest.importorskip("polars")
MIRROR = Path(os.environ.get("IFCDSR_MIRROR") or ROOT.parent / "shared" / "mirror")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_DATA", str(folder))
        patch.delenv("IFCDSR_MIRROR", raising=False)
        yield folder


@pytest.fixture(scope="module")
def world(data):
    return prepare("amazon", "food_kitchen", release="sample")


@pytest.mark.slow
def test_the_sample_is_the_same_each_time(world, data, tmp_path):
    paths = [tmp_path / name for name, *_ in source.raw_files("sample", "food_kitchen")]
    sample.write(paths, "food_kitchen")
    for path in paths:
        assert path.read_bytes() == (data / "amazon" / "sample" / path.name).read_bytes()


@pytest.mark.slow
def test_every_bad_line_is_counted_and_no_other(world):
    bad = raw_files.bad_lines(world)
    for where, lines in (("reviews", sample._BAD_RATINGS), ("metadata", sample._BAD_ITEMS)):
        part = bad[bad["In"] == where]
        assert (part["Lines"] == 2).all() and len(part) == len(lines), where  # each once in the files of both domains
    table = raw_files.lines(world).set_index("File")
    demo = prepare("demo", "food_kitchen")
    metadata = table[table.index.str.startswith("meta_")]["Lines used"]
    assert sorted(metadata) == sorted([demo.num_items_x, demo.num_items_y + sample.IN_BOTH])


@pytest.mark.slow
def test_the_rules_leave_out_what_was_put_there_for_them(world, data):
    funnel = raw_files.funnel(world).set_index("After")
    demo = prepare("demo", "food_kitchen")
    assert not world.sequences["user"].str.startswith("AONLY").any()
    only = funnel.loc["read", "Users"] - funnel.loc["users of both domains", "Users"]
    assert only == round(sample.ONE_DOMAIN * demo.sequences["user"].nunique())
    read = pd.DataFrame(
        {
            "user": np.repeat(demo.sequences["user"], demo.sequences["items"].map(len)),
            "item": np.concatenate([*demo.sequences["items"]]),
        }
    )
    shared = [int(asin[1:]) for asin in _shared(data)]
    assert funnel.loc["first of repeats", "Interactions"] == len(read[~read["item"].isin(shared)].drop_duplicates())
    assert not set(world.items["source_id"]) & set(_shared(data))


def _shared(data) -> list[str]:
    """Items that the ratings of both domains list."""
    first, second = (
        set(pd.read_parquet(path)["item"]) for path in (data / "amazon" / "sample").glob("ratings_*.parquet")
    )
    return sorted(first & second)


@pytest.mark.slow
def test_targets_of_several_items_of_a_day_are_counted(world):
    held_out = world.sequences[world.sequences["split"] != "train"]
    tied = [times[-1] in times[:-1] for times in held_out["timestamps"]]
    assert raw_files.ties(world).iloc[0].tolist() == pytest.approx([len(tied), sum(tied), 100 * np.mean(tied)])
    assert 0.05 < np.mean(tied) < 0.5
    last = [
        domain
        for times, items in zip(held_out["timestamps"], held_out["items"], strict=True)
        if len(set(of_day := (items[times == times[-1]] > world.num_items_x).tolist())) == 2
        for domain in of_day[-1:]
    ]
    assert len(last) > 100 and 0.4 < np.mean(last) < 0.6  # the target is of Y as often as of X


@pytest.mark.slow
def test_table_1_by_other_rules(world):
    table, counted = raw_files.other_rules(world).set_index("Rule changed"), table1(world)
    first = table.loc["as above"]
    assert first[["Food items", "Kitchen items"]].tolist() == counted["items"].tolist()
    assert first["Train"] == counted["train"].iloc[0] and first["Test"] == counted["test"].sum()
    assert "windows: sliding" not in table.index and "window_days: 365" not in table.index  # those of the scenario
    by_name = prepare("amazon", "food_kitchen", release="sample", ties="by_name")
    assert table.loc["ties: by_name", "Test"] == (by_name.sequences["split"] == "test").sum()
    assert table.loc["min_item: 5", "Food items"] > first["Food items"]
    assert table.loc["windows: pieces", "Train"] < first["Train"]
    one = prepare("amazon", "food_kitchen", release="sample", per_user="one")
    assert table.loc["per_user: one", "Train"] == (one.sequences["split"] == "train").sum()


@pytest.mark.slow
def test_pictures_come_from_the_shop_as_they_were_drawn(world, data):
    demo = prepare("demo", "food_kitchen")
    drawn = {
        sample._asin("food_kitchen", item): (demo.folder / image).read_bytes()
        for item, image in zip(demo.items["item"], demo.items["image"], strict=True)
    }
    found, outcomes = raw_files.fetch_pictures(world)
    counts = dict(zip(outcomes["Outcome"], outcomes["Items"], strict=True))
    assert set(counts) == {"ok", "no address", "not found", "web page"} and sum(counts.values()) == world.num_items
    assert counts["ok"] == found.items["image"].notna().sum()
    for row in found.items.dropna(subset="image").itertuples():
        assert (found.folder / row.image).read_bytes() == drawn[row.source_id]
    for row in found.items[found.items["image"].isna()].itertuples():
        assert len(row.image_urls) == 0 or "gone-" in row.image_urls[0] or int(row.source_id[1:]) % 50 == 0


@pytest.mark.slow
def test_the_scenarios_of_the_sample_have_no_item_in_common(world):
    """Pictures are kept by item id, for both scenarios in one place."""
    assert world.items["source_id"].str.fullmatch(r"F\d{9}").all()
    assert sample._asin("movie_book", 1) == "M000000001"


def test_windows_are_given_back_by_the_rule_that_made_them():
    """Two users with eight items, fifty days apart: windows slide, or follow each other."""

    def sequence(items, first):
        return np.array(items, dtype=np.int32), (first + 50 * np.arange(len(items))) * 86_400

    # items up to 50 are of X; 365 days hold eight of these
    history = [1, 51, 2, 52, 3, 53, 4, 54, 5, 55]
    sliding = [sequence(history[start : start + 8], 1_000 + 50 * start) for start in range(3)]
    released = pd.DataFrame([("7", *one) for one in sliding], columns=["user", "items", "timestamps"])
    table = raw_files.rebuilt_from(released, 50).set_index("windows")
    assert table.loc["sliding"].tolist() == [1, 1, 3, 3]
    assert table.loc["pieces", "users_rebuilt"] == 0 and table.loc["pieces", "sequences_rebuilt"] == 1
    apart = pd.DataFrame(
        [("9", *sequence([1, 51, 2, 52, 3, 53], first)) for first in (1_000,)]
        + [("9", *sequence([4, 54, 5, 55, 6, 56], 3_000))],
        columns=["user", "items", "timestamps"],
    )
    assert (raw_files.rebuilt_from(apart, 50)["users_rebuilt"] == 1).all()


@pytest.mark.slow
def test_the_shipped_table_of_windows_is_what_the_files_say(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_MIRROR", str(MIRROR))
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    try:
        made = raw_files.rebuilt()
    except InputError as error:
        pytest.skip(f"the published files are not available here: {str(error)[:80]}")
    pd.testing.assert_frame_equal(made, pd.read_csv(results_dir() / "windows.csv"))


def test_costs_are_of_every_command_of_both_scenarios():
    assert raw_files.costs()["Command"].tolist() == ["download", "prepare", "pictures", "embed"] * 2


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


@pytest.mark.slow
def test_what_the_sample_has_not(data, capsys):
    assert main(["download", "--source", "amazon", "--source-option", "release=sample"]) == 1
    assert "release 'sample' needs no download: prepare makes it" in capsys.readouterr().err
    with pytest.raises(InputError, match="of release sample only its full review files are read"):
        prepare("amazon", "food_kitchen", release="sample", reviews="5core")
    with pytest.raises(InputError, match="source 'demo' has no raw files here: choose amazon"):
        raw_files.lines(prepare("demo", "food_kitchen"))
