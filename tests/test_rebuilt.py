"""C2DSR's training file, rebuilt: from small files in the publishers' formats, and from the real ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_sources import DAY, MIRROR, START, interactions, needs_mirror, register

from ifcdsr_core import sources
from ifcdsr_core.errors import InputError
from ifcdsr_core.runs import assembly, lists
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources import abxi, c2dsr, prepare
from ifcdsr_core.sources.download import published


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("IFCDSR_MIRROR", raising=False)


# Nine items of each domain, in C2DSR numbered from 0, X before Y. ABXI counts from 1, by ASIN, and has one item more.
X, Y = ["X8", *(f"X{number}" for number in range(8))], [f"Y{number}" for number in range(9)]
ABXI = [*sorted(X), "X9", *Y]


def of_c2dsr(user: int, number: int, *bought: str) -> str:
    """A line of C2DSR's; ``X0@3`` is the item X0 on the third day after START."""
    pairs = (text.split("@") for text in bought)
    return f"{user}\t{number}\t{interactions(*(((X + Y).index(asin), int(day)) for asin, day in pairs))}\n"


def of_abxi(user: int, *bought: str) -> str:
    pairs = (text.split("@") for text in bought)
    return " ".join([str(user), *(f"{ABXI.index(asin) + 1}|{(START + int(day)) * DAY}" for asin, day in pairs)]) + "\n"


LONG = ["X8@-1", *(f"{'XY'[day % 2]}{day // 2}@{day}" for day in range(16)), "Y8@49"]  # 18: four windows of 15
HELD_OUT = ["X0@50", "Y0@60", "X1@61", "Y1@62"]
C2DSR = {
    "items_x": "".join(f"7\t{asin}\t{number}\n" for number, asin in enumerate(X)),
    "items_y": "".join(f"7\t{asin}\t{number}\n" for number, asin in enumerate(Y)),
    "userlist": "KEPT\t0\nEARLIER\t1\nLONG\t2\n",
    # by these numbers the training file has two sequences of KEPT, one of EARLIER, four of LONG
    "val_new": of_c2dsr(0, 2, "X3@10", "Y3@11", "X4@12", "Y4@13"),
    "test_new": of_c2dsr(1, 4, "X5@5", "Y5@6", "X6@7", "Y6@8") + of_c2dsr(2, 9, *HELD_OUT),
    "val": of_c2dsr(0, 1, "X0@0", "Y0@0", "X7@4", "Y7@5")
    + of_c2dsr(1, 3, "Y0@0", "X7@0", "X0@0", "Y1@2", "X2@3", "Y2@4")
    + of_c2dsr(2, 9, *HELD_OUT),
}
HISTORIES = {
    # the last three are of the day of what is held out, or later
    "KEPT": ["X0@0", "Y0@0", "X8@1", "Y1@1", "X2@2", "Y2@3", "X3@10", "Y8@10", "Y3@11"],
    "LONG": LONG,
    "OTHER": ["X0@0", "X9@0", "X1@1", "Y1@1", "Y0@2", "Y2@3", "X2@4"],  # C2DSR has no such user, and no X9
    "NARROW": [f"X{number}@{number}" for number in range(7)],  # of one domain
    "SLOW": ["X0@0", "X1@40", "X2@80", "Y0@120", "Y1@160", "Y2@366"],  # a day too long
}
AMAZON = {
    "50_preprocessed": "".join(of_abxi(user, *bought) for user, bought in enumerate(HISTORIES.values())),
    "map_item_50": json.dumps({asin: [number, int(asin in Y)] for number, asin in enumerate(ABXI, 1)}),
    "map_user_50": json.dumps({name: number for number, name in enumerate(HISTORIES)}),
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """``put(scenario, **changed files)`` publishes C2DSR's files, that of training left out, and ABXI's."""

    def put(scenario: str = "food_kitchen", **changed: str | None) -> None:
        names = {name: f"{c2dsr.REPOSITORY}/data/raw/{c2dsr.FOLDERS[scenario]}/{name}.txt" for name in C2DSR}
        of_abxi = (f"{abxi.REPOSITORY}/data/{abxi.FOLDERS[scenario]}/{file}" for file in abxi.files(scenario))
        names |= dict(zip(AMAZON, of_abxi, strict=True))
        texts = {key: text for key, text in (C2DSR | AMAZON | changed).items() if text is not None}
        register(monkeypatch, {names[key]: text.encode() for key, text in texts.items()}, tmp_path / "mirror")

    put()
    return put


def rebuilt(scenario: str = "food_kitchen", **options) -> Scenario:
    return prepare("c2dsr", scenario, train="rebuilt", **options)


def trained(scenario: Scenario) -> list[tuple[str, str, list[str]]]:
    """User, target domain, and the items with their days, of each training sequence."""
    ids, rows = scenario.items["source_id"].to_numpy(), []
    for row in scenario.split("train").itertuples():
        pairs = zip(ids[row.items - 1], row.timestamps // DAY - START, strict=True)
        rows.append((row.user, row.target_domain, [f"{asin}@{day}" for asin, day in pairs]))
    return rows


def leaks(scenario: Scenario) -> int:
    """Training interactions that are not strictly earlier than every held-out one of their user, one by one."""
    first, targets, found = {}, set(), 0
    for row in scenario.sequences[scenario.sequences["split"] != "train"].itertuples():
        first[row.user] = min(first.get(row.user, row.timestamps[0]), *row.timestamps)
        targets.add((row.user, row.items[-1], row.timestamps[-1]))
    for row in scenario.split("train").itertuples():
        found += (row.user, row.items[-1], row.timestamps[-1]) in targets
        found += sum(row.user in first and time >= first[row.user] for time in row.timestamps)
    return found


def test_what_is_earlier_is_cut_into_sliding_windows(tiny):
    scenario = rebuilt()
    assert (
        trained(scenario)
        == [
            ("0", "y", ["X0@0", "Y0@0", "X8@1", "Y1@1", "X2@2", "Y2@3", "X7@4", "Y7@5"]),  # of both files
            ("1", "y", ["X0@0", "X7@0", "Y0@0", "Y1@2", "X2@3", "Y2@4"]),  # a day in the order of ABXI
            *(("2", LONG[start + 14][0].lower(), LONG[start : start + 15]) for start in range(4)),
            ("abxi/2", "x", ["X0@0", "X1@1", "Y1@1", "Y0@2", "Y2@3", "X2@4"]),
        ]
    )
    assert leaks(scenario) == 0
    assert scenario.provenance["rebuilt"] == {
        "interactions": 58,
        "unknown_items": 1,
        "not_earlier": 7,
        "users": 3,
        "sequences": 6,
        "numbered": 7,
        "earlier": 2,
        "earlier_length": 5.0,
        "earlier_rebuilt": 1,
    }
    assert {"val.txt", "afk_50_preprocessed.txt"} <= set(scenario.provenance["files"])


def test_the_test_of_leaks_finds_them(tiny):
    scenario = rebuilt()
    later = scenario.sequences.assign(timestamps=[times + 9 * DAY for times in scenario.sequences["timestamps"]])
    late = scenario.sequences["split"] == "train"
    sequences = scenario.sequences.assign(timestamps=later["timestamps"].where(late, scenario.sequences["timestamps"]))
    moved = Scenario(scenario.name, scenario.source, scenario.items, sequences)
    assert leaks(moved) == sum(
        int(text.split("@")[1]) + 9 >= {"0": 10, "1": 5, "2": 50}[user]
        for user, _, items in trained(scenario)
        if user in "012"
        for text in items
    )


def test_what_is_held_out_is_that_of_the_files(tiny):
    scenario, plain = rebuilt(), prepare("c2dsr", "food_kitchen", train_file=False)
    held_out = scenario.sequences[scenario.sequences["split"] != "train"].reset_index(drop=True)
    for column in plain.sequences:
        assert list(map(str, held_out[column])) == list(map(str, plain.sequences[column]))
    assert scenario.items.equals(plain.items) and scenario.fingerprint != plain.fingerprint
    assert rebuilt(train_file=False).fingerprint == scenario.fingerprint  # of the training file it reads nothing


def test_movie_book_has_no_earlier_file_and_shorter_windows(tiny):
    tiny("movie_book", val=None)
    scenario = rebuilt("movie_book")
    assert [(user, len(items)) for user, _, items in trained(scenario)] == [("0", 6), *[("2", 15)] * 3, ("abxi/2", 6)]
    assert leaks(scenario) == 0 and scenario.provenance["rebuilt"]["earlier_length"] is None


def test_a_file_that_is_not_available_is_named(tiny, monkeypatch):
    tiny("movie_book", val=None, **{"50_preprocessed": None})
    absent = [f"{abxi.REPOSITORY}/data/amb/amb_50_preprocessed.txt"]
    absent += [f"{c2dsr.REPOSITORY}/data/raw/Movie-Book/train_new.txt"]
    known = published.registry() | {name: {"git_blob_sha1": "0" * 40} for name in absent}
    monkeypatch.setattr(published, "registry", lambda: known)
    monkeypatch.setattr(published, "_download", lambda name, *_: (_ for _ in ()).throw(InputError(f"no {name}")))
    with pytest.raises(InputError, match="^no .*amb_50_preprocessed.txt$"):
        rebuilt("movie_book")
    with pytest.raises(
        InputError, match="^no .*train_new.txt; or do without it by .*, or rebuild it by train=rebuilt$"
    ):
        prepare("c2dsr", "movie_book")


FIRST, ZERO = C2DSR["val"].splitlines(keepends=True)[0], AMAZON["50_preprocessed"].splitlines(keepends=True)[0]
ALL_BUT = "all but the last two in the order of time"


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"val": C2DSR["val"][:-9]}, "val.txt, line 3: expected '<user> <sequence>'"),  # cut off
        ({"val": ""}, "val.txt holds no sequence"),
        ({"val": of_c2dsr(3, 5, *HELD_OUT)}, "val.txt, line 1: expected a user from 0 to 2, found 3"),
        ({"val": FIRST.replace("\t9|", "\t18|")}, "val.txt, line 1: expected items from 0 to 17, found 18"),
        ({"val": of_c2dsr(0, 1, "X0@3", "Y0@2", "X7@4", "Y7@5")}, f"val.txt, line 1: expected {ALL_BUT}"),
        ({"val": FIRST + FIRST}, "val.txt, line 2: expected each sequence once, found 1 again"),
        ({"50_preprocessed": ZERO}, "afk_50_preprocessed.txt has 1 users, map_user_50.txt has 5"),
        ({"50_preprocessed": AMAZON["50_preprocessed"][:-11]}, "50_preprocessed.txt, line 5: expected '<user>' and"),
        ({"50_preprocessed": of_abxi(0, "X0@2", "Y0@1")}, "line 1: expected interactions in the order of time"),
        ({"50_preprocessed": "0 20|1036800000\n"}, "line 1: expected items from 1 to 19, found 20 to 20"),
        ({"map_item_50": AMAZON["map_item_50"][:-9]}, "map_item_50.txt is damaged"),
        ({"map_user_50": '{"KEPT": 1}'}, "map_user_50.txt: expected 0 for user KEPT, found 1"),
        ({"map_item_50": AMAZON["map_item_50"].replace('"X9"', '"Y9"'), "items_y": C2DSR["items_y"] + "7\tY9\t9\n"},
         "Y9 is of X and of Y in .*map_item_50.txt and items_x.txt, items_y.txt: put good copies there"),
        ({"items_y": C2DSR["items_y"].replace("Y8", "X8")}, "X8 is of X and of Y in "),
        ({"50_preprocessed": of_abxi(0, "X0@99"), "map_user_50": '{"KEPT": 0}', "val": of_c2dsr(2, 9, *HELD_OUT)},
         "val.txt give no training sequence"),  # nothing is earlier than what is held out
        ({"50_preprocessed": "".join(of_abxi(user, "X0@0") for user in range(5)), "val": FIRST},
         "afk_50_preprocessed.txt, map_item_50.txt, map_user_50.txt, val.txt give no training sequence: put good"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_in_one_line(tiny, changed, says):
    tiny(**changed)
    with pytest.raises(InputError, match=says) as caught:
        rebuilt()
    assert "\n" not in str(caught.value)
    assert not [path for path in (sources.data_dir() / "scenarios").rglob("*.parquet")]


def test_users_of_one_domain_alone_give_no_training_sequence(tiny):
    lines = "".join(of_abxi(user, *HISTORIES["NARROW"]) for user in range(5))
    tiny("movie_book", val=None, **{"50_preprocessed": lines})
    with pytest.raises(InputError, match="amb_50_preprocessed.txt, map_item_50.txt, map_user_50.txt give no training"):
        rebuilt("movie_book")


# ---------------------------------------------------------------------------- trained on


def test_an_unknown_training_split_is_refused(tiny):
    with pytest.raises(InputError, match="unknown train 'made': choose one of published, rebuilt"):
        prepare("c2dsr", "food_kitchen", train="made")
    with pytest.raises(InputError, match="unknown train_on 'all': choose one of train, valid, both"):
        RunConfig(train_on="all")


def test_a_rebuilt_split_that_would_not_be_trained_on_is_refused():
    options = {"train": "rebuilt"}
    with pytest.raises(InputError, match="train_on is valid: it must be train or both where the source has train=re"):
        lists.configurations("sasrec", "food_kitchen", [0], "c2dsr", source_options=options, train_on="valid")
    (both,) = lists.configurations("sasrec", "food_kitchen", [0], "c2dsr", source_options=options, train_on="both")
    assert both.source_options["train"] == "rebuilt"


def splits_of(scenario: Scenario, **settings) -> tuple[dict[str, list[int]], str]:
    config = RunConfig(source="c2dsr", source_options={"train": "rebuilt"}, **settings)
    splits = assembly.training_splits(scenario, config)
    return {name: part.index.tolist() for name, part in splits.items()}, assembly._trained_on(config)


def test_both_splits_are_trained_on_and_a_share_of_one_is_kept(tiny):
    known = [of_c2dsr(user, 5 * user + 1, f"X3@{90 + user}", "Y3@100", "X4@101", "Y4@102") for user in range(8)]
    users = "".join(f"USER{number}\t{number}\n" for number in range(9))
    tiny(userlist=users, val_new="".join(known), test_new=of_c2dsr(8, 50, "X5@5", "Y5@6", "X6@7", "Y6@8"), val=FIRST)
    scenario = rebuilt()
    train, valid, test = (scenario.split(name).index.tolist() for name in ("train", "valid", "test"))
    both, words = splits_of(scenario, train_on="both", holdout=0.25)
    assert words == "rebuilt training sequences, and validation sequences, 25% of them kept for selection"
    assert len(both["valid"]) == 2 and both["test"] == test
    assert both["train"] == train + [row for row in valid if row not in both["valid"]]
    assert splits_of(scenario) == ({"train": train, "valid": valid, "test": test}, "rebuilt training sequences")
    alone = assembly.training_splits(scenario, RunConfig(source="c2dsr", train_on="valid", holdout=0.25))
    assert alone["valid"].index.tolist() == both["valid"]  # the same are kept
    assert alone["train"].index.tolist() == both["train"][len(train) :]


def test_both_needs_both(tiny):
    scenario = prepare("c2dsr", "food_kitchen", train_file=False)
    with pytest.raises(InputError, match="c2dsr/food_kitchen has no train sequences: pass train_on=valid"):
        assembly.training_splits(scenario, RunConfig(source="c2dsr", train_on="both"))


# ---------------------------------------------------------------------------- the real files


@pytest.mark.slow
@needs_mirror
def test_the_real_files_leak_nothing(monkeypatch):
    monkeypatch.setenv("IFCDSR_MIRROR", str(MIRROR))
    scenario = rebuilt()
    assert leaks(scenario) == 0
    splits = scenario.sequences["split"].value_counts().to_dict()
    assert splits == {"train": 24_015, "valid": 8_173, "test": 8_406}
    flat, length = scenario.flat_items
    row = np.repeat(np.arange(len(length)), length)
    in_x = np.bincount(row, flat <= scenario.num_items_x)
    assert length.min() >= 6 and length.max() <= 15 and min(in_x.min(), (length - in_x).min()) >= 3
    assert len(np.unique(row * (scenario.num_items + 1) + flat)) == len(flat)  # no item twice in a sequence
    assert max(times[-1] - times[0] for times in scenario.sequences["timestamps"]) <= 365 * DAY
    found = scenario.provenance["rebuilt"]
    assert (found["earlier"], found["earlier_rebuilt"]) == (2_793, 2_534)
    assert (found["users"], found["sequences"], found["numbered"]) == (2_275, 20_540, 28_647)
