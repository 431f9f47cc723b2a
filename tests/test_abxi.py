"""The source ``abxi``: small files in its authors' format, and the real ones; a third scenario, where one may stand."""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest
from test_sources import DAY, MIRROR, START, needs_mirror, register

from ifcdsr_core import sources
from ifcdsr_core.__main__ import main
from ifcdsr_core.analysis import counts
from ifcdsr_core.book import markup, parameters
from ifcdsr_core.book.pages import data_statistics
from ifcdsr_core.errors import InputError
from ifcdsr_core.models import CONTROLS, MODELS
from ifcdsr_core.runs import lists
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.sources import SOURCES, abxi, c2dsr, llmcdsr, prepare, source_module
from ifcdsr_core.sources.download import published


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("IFCDSR_MIRROR", raising=False)


def line(user: int, *pairs: tuple[int, int]) -> str:
    """A user's line: (item, day from START on) each."""
    return " ".join([str(user), *(f"{item}|{(START + day) * DAY}" for item, day in pairs)]) + "\n"


FIRST = line(0, (1, 0), (4, 1), (2, 1), (5, 2), (3, 9))
LINES = FIRST + line(1, (4, 3), (5, 3), (1, 8), (4, 8))
TINY = {
    "50_preprocessed": LINES,
    "map_item_50": json.dumps({"AX1": [1, 0], "AX2": [2, 0], "AX3": [3, 0], "AY1": [4, 1], "AY2": [5, 1]}),
    "map_user_50": json.dumps({"USER1": 0, "USER2": 1}),
}


@pytest.fixture
def tiny_abxi(tmp_path, monkeypatch):
    """``put(scenario, more, **changed files)`` publishes a tiny scenario, and files of other repositories."""

    def put(scenario: str = "beauty_electronics", more: dict | None = None, **changed: str | bytes) -> None:
        contents = {key: text.encode() if isinstance(text, str) else text for key, text in (TINY | changed).items()}
        names = [f"{abxi.REPOSITORY}/data/{abxi.FOLDERS[scenario]}/{file}" for file in abxi.files(scenario)]
        register(monkeypatch, dict(zip(names, contents.values(), strict=True)) | (more or {}), tmp_path / "mirror")

    put()
    return put


def test_leave_one_out(tiny_abxi):
    scenario = prepare("abxi", "beauty_electronics", numbering="published")
    assert (scenario.num_items_x, scenario.num_items_y) == (3, 2)
    assert scenario.domain_names == ("Beauty", "Electronics")
    assert scenario.items["source_id"].tolist() == ["AX1", "AX2", "AX3", "AY1", "AY2"]
    assert scenario.items["title"].isna().all() and scenario.items["image"].isna().all()
    rows = scenario.sequences.to_dict("split", index=False)["data"]
    assert [(*labels, [*items], [time // DAY - START for time in times]) for *labels, items, times in rows] == [
        ("0", "train", "x", [1, 4, 2], [0, 1, 1]),
        ("1", "train", "y", [4, 5], [3, 3]),
        ("0", "valid", "y", [1, 4, 2, 5], [0, 1, 1, 2]),
        ("1", "valid", "x", [4, 5, 1], [3, 3, 8]),
        ("0", "test", "x", [1, 4, 2, 5, 3], [0, 1, 1, 2, 9]),
        ("1", "test", "y", [4, 5, 1, 4], [3, 3, 8, 8]),
    ]
    users = {"lines": 2, "one_domain": 0, "too_short": {"train": 0, "valid": 0, "test": 0}}
    assert scenario.provenance["users"] == users
    facts = scenario.provenance["files"]["abe_50_preprocessed.txt"]
    assert facts["url"].endswith("/data/abe/abe_50_preprocessed.txt") and facts["bytes"] == len(LINES)
    tied = counts.order_ties(scenario).set_index("split")["target_tied"]
    assert tied.to_dict() == {"train": 1, "valid": 0, "test": 0.5}


def test_equal_times_are_drawn_before_the_targets_are_chosen(tiny_abxi):
    lines = [line(user, *((1 + (user + place) % 5, 7) for place in range(5))) for user in range(200)]
    users = json.dumps({f"USER{user}": user for user in range(200)})
    tiny_abxi(**{"50_preprocessed": "".join(lines), "map_user_50": users})
    published = prepare("abxi", "beauty_electronics", numbering="published")
    drawn = prepare("abxi", "beauty_electronics", numbering="published", ties="redrawn")
    whole = {split: drawn.split(split)["items"].map(tuple).tolist() for split in ("train", "valid", "test")}
    assert [sorted(row) for row in whole["test"]] == [[1, 2, 3, 4, 5]] * 200
    for train, valid, test in zip(*whole.values(), strict=True):  # each is the beginning of the next one
        assert test[:4] == valid and valid[:3] == train
    assert len({row[-1] for row in whole["test"]}) == 5 and published.split("test")["items"].map(len).eq(5).all()
    assert 60 < (drawn.split("test")["target_domain"] == "y").sum() < 100  # 2 of 5 items are of Y
    untied = [line(user, *((1 + (user + place) % 5, place) for place in range(5))) for user in range(200)]
    tiny_abxi(**{"50_preprocessed": "".join(untied), "map_user_50": users})
    same = [prepare("abxi", "beauty_electronics", force=True, ties=ties) for ties in ("published", "redrawn")]
    assert same[0].fingerprint == same[1].fingerprint


def test_users_too_short_for_a_split_and_of_one_domain_are_counted(tiny_abxi):
    lengths = range(1, 5)
    lines = [line(user, *((item, item) for item in range(1, 1 + length))) for user, length in enumerate(lengths)]
    tiny_abxi(
        **{
            "50_preprocessed": "".join(lines).removesuffix("\n"),  # the last line may lack its end
            "map_user_50": json.dumps({f"USER{user}": user for user in range(4)}),
        }
    )
    scenario = prepare("abxi", "beauty_electronics")
    assert scenario.provenance["users"] == {
        "lines": 4,
        "one_domain": 3,
        "too_short": {"train": 3, "valid": 2, "test": 1},
    }
    users = scenario.sequences.groupby("split")["user"].agg(list).to_dict()
    assert users == {"train": ["3"], "valid": ["2", "3"], "test": ["1", "2", "3"]}


SHAPE = "'<user>' and one or more '<item>|<unix time>', separated by blanks"


@pytest.mark.parametrize(
    "second, says",
    [
        (line(1, (4, 3), (5, 2)), "interactions in the order of time"),
        (line(1, (4, 3), (6, 4)), "items from 1 to 5, found 4 to 6"),
        (line(1, (0, 3), (4, 4)), "items from 1 to 5, found 0 to 4"),
        (line(1, (4, -START), (5, 3)), "times of 1995 to 2099, found 0 to "),
        (line(1, (4, 9_130 - START), (5, 9_131 - START)), "times of 1995 to 2099, found 788832000 to 788918400"),
        (line(1, (4, 47_482 - START)), "times of 1995 to 2099, found 4102444800"),
        ("1 4|1036800000000 5|1036800000001\n", SHAPE),  # milliseconds have too many digits
        ("1 4|9999999999\n", "times of 1995 to 2099"),
        (FIRST, "user 1, found 0"),  # repeated
        (line(2, (4, 3), (5, 4)), "user 1, found 2"),  # one is missing
        ("1 4|1036800000 5|\n", SHAPE),  # cut off
        ("1 4|1036800000 5\n", SHAPE),
        ("1\n", SHAPE),
        ("\n", SHAPE),
        ("1 4|1036800000 \n", SHAPE),
        ("1 4|1036800000  5|1036800000\n", SHAPE),
        ("1\t4|1036800000\n", SHAPE),
        (" 1 4|1036800000\n", SHAPE),
        ("1 4|1036800000\r\n", SHAPE),
        ("1 4|-1036800000\n", SHAPE),
        ("1 -4|1036800000\n", SHAPE),
        ("1 4|1036800000.0\n", SHAPE),
        ("1 4|1036800000,5|1036800000\n", SHAPE),
        ("\ufeff1 4|1036800000\n", SHAPE),
        ("1 ४|1036800000\n", SHAPE),  # digits, but not those of ASCII
        ("<html>404: Not Found</html>\n", SHAPE),
        (b"1 4|1036800000\xff\n", "text in UTF-8"),
        (LINES.encode("utf-16"), "text in UTF-8"),
    ],
)
def test_a_malformed_line_is_named(tiny_abxi, second, says):
    second = second if isinstance(second, bytes) else second.encode()
    tiny_abxi(**{"50_preprocessed": FIRST.encode() + second})
    with pytest.raises(InputError, match=rf"abe_50_preprocessed\.txt, line 2: expected {re.escape(says)}") as caught:
        prepare("abxi", "beauty_electronics")
    assert "\n" not in str(caught.value)
    assert not (sources.data_dir() / "scenarios" / "abxi" / "beauty_electronics").exists()


@pytest.mark.parametrize("ties", ["published", "redrawn"])
def test_files_without_users_are_named(tiny_abxi, ties):
    tiny_abxi(**{"50_preprocessed": "", "map_user_50": "{}"})
    with pytest.raises(InputError, match=r"abe_50_preprocessed\.txt holds no user with two items"):
        prepare("abxi", "beauty_electronics", ties=ties)


def changed_items(**changes) -> str:
    return json.dumps(json.loads(TINY["map_item_50"]) | changes)


@pytest.mark.parametrize(
    "file, content, says",
    [
        ("50_preprocessed", FIRST, "has 1 users, map_user_50.txt has 2"),  # truncated
        ("50_preprocessed", "", "has 0 users, map_user_50.txt has 2"),
        ("50_preprocessed", LINES + line(2, (1, 1), (2, 2)), "has 3 users, map_user_50.txt has 2"),
        ("50_preprocessed", line(0, (1, 1)) + line(1, (1, 1)), "holds no user with two items"),
        ("map_item_50", TINY["map_item_50"][:-9], "map_item_50.txt is damaged (.*): delete it, or put a good copy"),
        ("map_item_50", "", "map_item_50.txt is damaged"),
        ("map_item_50", TINY["map_item_50"].encode("utf-16"), "map_item_50.txt is damaged"),
        ("map_item_50", "[" * 100_000, "map_item_50.txt is damaged"),
        ("map_item_50", "[1, 2]", "map_item_50.txt: expected a JSON object"),
        ("map_item_50", '[{"A": 1}]', "map_item_50.txt: expected a JSON object"),
        ("map_item_50", "null", "map_item_50.txt: expected a JSON object"),
        ("map_item_50", "{}", "expected items of domain 0, then items of domain 1"),
        ("map_item_50", '{"AX1": [1, 0]}', "expected items of domain 0, then items of domain 1"),
        ("map_item_50", '{"A": [1, 1], "B": [2, 0]}', "expected items of domain 0, then items of domain 1"),
        # an item of both domains
        ("map_item_50", '{"A": [1, 0], "A": [2, 1]}', "expected ids of Amazon, each once, found 'A'"),
        ("map_item_50", changed_items(AX2=[3, 0]), r"expected \[2, 0\] or \[2, 1\] for AX2, found \[3, 0\]"),
        ("map_item_50", changed_items(AX2=[2, 2]), r"expected \[2, 0\] or \[2, 1\] for AX2, found \[2, 2\]"),
        ("map_item_50", changed_items(AX2=[2, False]), r"for AX2, found \[2, False\]"),
        ("map_item_50", changed_items(AX2=[2.0, 0]), r"for AX2, found \[2.0, 0\]"),
        ("map_item_50", changed_items(AX2=[2]), r"for AX2, found \[2\]"),
        ("map_item_50", changed_items(AX2=2), "for AX2, found 2"),
        ("map_item_50", changed_items(AX2={"a": 1}), "for AX2, found"),
        ("map_item_50", changed_items(**{"A\nB": [6, 1]}), r"expected ids of Amazon, each once, found 'A\\nB'"),
        ("map_user_50", '{"USER1": 0, "USER2": 0}', "expected 1 for user USER2, found 0"),
        ("map_user_50", '{"USER1": 0, "USER2": true}', "expected 1 for user USER2, found True"),
        ("map_user_50", '{"USER1": 0, "USER1": 1}', "expected ids of Amazon, each once, found 'USER1'"),
        ("map_user_50", '{"USER1": 0, "USER2": "1"}', "expected 1 for user USER2, found '1'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tiny_abxi, file, content, says):
    tiny_abxi(**{file: content})
    with pytest.raises(InputError, match=says) as caught:
        prepare("abxi", "beauty_electronics")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert not (sources.data_dir() / "scenarios" / "abxi" / "beauty_electronics").exists()


def test_a_file_that_is_not_the_published_one_is_refused(tiny_abxi, tmp_path):
    path = tmp_path / "mirror" / abxi.REPOSITORY / "data" / "abe" / "abe_50_preprocessed.txt"
    path.write_text(LINES.replace("4|", "5|", 1))
    with pytest.raises(InputError, match="abe_50_preprocessed.txt is not the published file"):
        prepare("abxi", "beauty_electronics")


def test_the_registry_names_every_file_of_abxi():
    names = {
        f"{abxi.REPOSITORY}/data/{abxi.FOLDERS[scenario]}/{file}"
        for scenario in abxi.SCENARIOS
        for file in abxi.files(scenario)
    }
    known = {name for name in published.registry() if name.startswith(abxi.REPOSITORY)}
    assert names == known and len(names) == 9


def titles_of(**by_file: dict[str, str]) -> dict[str, bytes]:
    return {
        f"{llmcdsr.REPOSITORY}/data/food-kitchen/{name}.pkl": pickle.dumps(table) for name, table in by_file.items()
    }


def test_titles_of_llmcdsr_by_asin(tiny_abxi):
    tiny_abxi("food_kitchen", titles_of(text_A={"AX2": "Salt &amp; Pepper", "other": "Soup"}, text_B={"AY1": "Bowl"}))
    titled = prepare("abxi", "food_kitchen", titles=True, numbering="published")
    plain = prepare("abxi", "food_kitchen", numbering="published")
    assert titled.items["title"].fillna("").tolist() == ["", "Salt & Pepper", "", "Bowl", ""]
    assert titled.provenance["files"]["text_B.pkl"]["url"].endswith("food-kitchen/text_B.pkl")
    assert plain.items["title"].isna().all() and plain.folder != titled.folder
    assert [list(items) for items in titled.sequences["items"]] == [list(items) for items in plain.sequences["items"]]

    tiny_abxi("food_kitchen", titles_of(text_A={"other": "Soup"}, text_B={}))
    with pytest.raises(InputError, match="text_A.pkl and text_B.pkl have no title of abxi's items"):
        prepare("abxi", "food_kitchen", titles=True, force=True)


def test_there_are_no_titles_of_beauty_electronics(tiny_abxi):
    with pytest.raises(InputError, match="there are no titles of beauty_electronics, only of food_kitchen and movie_"):
        prepare("abxi", "beauty_electronics", titles=True)


# ---------------------------------------------------------------------------- a third scenario


def test_every_scenario_of_every_source_has_names():
    assert {name for source in SOURCES for name in source_module(source).SCENARIOS} == set(DOMAIN_NAMES)


REFUSED = "unknown scenario 'beauty_electronics': choose one of food_kitchen, movie_book$"


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "abxi"])
@pytest.mark.parametrize(
    "refuses",
    [
        lambda source: prepare(source, "beauty_electronics"),
        lambda source: RunConfig(source=source, scenario="beauty_electronics"),
        lambda source: parameters.parse_scenarios("food_kitchen,beauty_electronics", source),
        lambda source: parameters.run_config("beauty_electronics", source, "popularity", 0),
        lambda source: lists.named_list("comparison", "beauty_electronics", source, [0], []),
    ],
    ids=["prepare", "RunConfig", "parse_scenarios", "run_config", "named_list"],
)
def test_a_scenario_that_a_source_does_not_have_is_refused(source, refuses):
    with pytest.raises(InputError, match=REFUSED):
        refuses(source)


@pytest.mark.parametrize(
    "command",
    ["prepare", "embed", "train", "sweep comparison", "enhance --dry-run", "pictures", "download --source amazon"],
)
def test_the_command_line_refuses_it_in_one_line(capsys, command):
    assert main([*command.split(), "--scenario", "beauty_electronics"]) == 1
    assert re.fullmatch(f"error: {REFUSED[:-1]}\n", capsys.readouterr().err)


def test_where_the_source_has_it_it_is_one_more():
    wanted = ["beauty_electronics", "food_kitchen"]
    assert parameters.parse_scenarios(" beauty_electronics,food_kitchen", "abxi") == wanted
    assert markup.data_title("abxi", "beauty_electronics") == "Beauty-Electronics (ABXI's data)"
    config = parameters.run_config("beauty_electronics", "abxi", "sasrec", 0)
    assert (config.scenario, config.max_seq_len, config.train_on) == ("beauty_electronics", 50, "train")


def test_a_comparison_has_llm_emf_where_there_are_titles():
    titled = lists.comparison("food_kitchen", [0], "abxi")
    assert [configs[0].model for configs in titled.values()] == [name for name in MODELS if name not in CONTROLS]
    assert titled["LLM-EMF (plain titles, no images)"][0].source_options == abxi.OPTIONS | {"titles": True}
    untitled = lists.comparison("beauty_electronics", [0], "abxi")
    assert [configs[0].model for configs in untitled.values()] == [
        name for name in MODELS if name not in ("llm_emf", *CONTROLS)
    ]
    assert [*lists.comparison("beauty_electronics", [0], "abxi", ["llm_emf"])] == ["LLM-EMF (plain titles, no images)"]


def test_the_papers_data_stand_beside_a_scenario_that_they_lack():
    both = [markup.data_title("c2dsr", name) for name in c2dsr.SCENARIOS]
    assert [*data_statistics.of_paper(["beauty_electronics"])] == both
    assert [*data_statistics.of_paper(["beauty_electronics", "movie_book"])] == both[1:]


def test_the_figure_of_ties_has_room_for_three_scenarios_beside_the_papers_two(tiny_abxi):
    ours = counts.read_tables(counts.summary_record(prepare("abxi", "beauty_electronics")))
    numbers = {markup.data_title("abxi", name): ours for name in abxi.SCENARIOS}
    figure = data_statistics.order_ties(numbers | data_statistics.of_paper(c2dsr.SCENARIOS))
    assert len(figure.axes[0].get_legend().get_texts()) == len(figure.axes[0].containers) == 5


# ---------------------------------------------------------------------------- the real files


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """``prepare`` of the real files, in a data folder that the tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("IFCDSR_MIRROR", str(MIRROR))
        yield {
            "food_kitchen": prepare("abxi", "food_kitchen", titles=True, numbering="published"),
            "beauty_electronics": prepare("abxi", "beauty_electronics", numbering="published"),
        }


KNOWN = {  # users, items, test targets, neighbours of the same time in whole histories
    "food_kitchen": (7_144, (11_837, 16_258), (2_419, 4_725), 51_883),
    "beauty_electronics": (4_474, (10_379, 14_188), (1_875, 2_599), 33_988),
}


@pytest.mark.slow
@needs_mirror
@pytest.mark.parametrize("name", KNOWN)
def test_real_abxi(real, name):
    users, num_items, targets, tied_pairs = KNOWN[name]
    scenario = real[name]
    assert (scenario.num_items_x, scenario.num_items_y) == num_items
    assert scenario.sequences["split"].value_counts().to_dict() == dict.fromkeys(("train", "valid", "test"), users)
    found = scenario.split("test")["target_domain"].value_counts()
    assert (found["x"], found["y"]) == targets
    nothing = {"lines": users, "one_domain": 0, "too_short": {"train": 0, "valid": 0, "test": 0}}
    assert scenario.provenance["users"] == nothing

    test = scenario.split("test")
    length = test["items"].map(len).to_numpy()
    assert length.min() == 10 and length.max() == 50
    items, times = (np.concatenate(test[column].tolist()) for column in ("items", "timestamps"))
    assert (times % DAY == 0).all()
    inside = np.ones(len(items) - 1, dtype=bool)
    inside[np.cumsum(length)[:-1] - 1] = False  # from one user to the next
    tied = inside & (np.diff(times) == 0)
    assert tied.sum() == tied_pairs and (np.diff(items)[tied] > 0).all()  # in ascending order, without an exception
    ties = counts.order_ties(scenario).set_index("split").loc["test"]
    assert round(ties["target_tied"], 2) == 0.32
    assert ties["targets_x"] == ties["targets_x_least"] and ties["open_to_y"] == 1  # Y stands last


@pytest.mark.slow
@needs_mirror
def test_real_titles_and_what_abxi_shares_with_c2dsr(real, monkeypatch):
    items = real["food_kitchen"].items
    titled = items["title"].notna().groupby(items["domain"]).sum()
    assert (titled["x"], titled["y"]) == (7_601, 15_756)

    monkeypatch.setenv("IFCDSR_MIRROR", str(MIRROR))
    folder = f"{c2dsr.REPOSITORY}/data/raw/Food-Kitchen"
    ids = {domain: c2dsr.read_items(published.fetch(f"{folder}/items_{domain}.txt")) for domain in "xy"}
    shared = {domain: items["source_id"][items["domain"] == domain].isin(ids[domain]).sum() for domain in "xy"}
    assert shared == {"x": 11_375, "y": 15_170}
    users = json.loads(published.fetch(f"{abxi.REPOSITORY}/data/afk/map_user_50.txt").read_text())
    of_c2dsr = {row.split("\t")[0] for row in published.fetch(f"{folder}/userlist.txt").read_text().splitlines()}
    assert len(users.keys() & of_c2dsr) == 5_680


@pytest.mark.slow
def test_a_model_trains_on_it(tiny_abxi):
    from ifcdsr_core.runs.run import run

    small = {"hidden_size": 4, "inner_size": 4, "num_heads": 1}
    config = RunConfig(source="abxi", scenario="beauty_electronics", model="sasrec", epochs=1, model_options=small)
    finished = run(config)
    names = prepare("abxi", "beauty_electronics").items["source_id"].to_numpy()
    assert finished.ranks["user"].tolist() == ["0", "1"] and finished.ranks["target_domain"].tolist() == ["x", "y"]
    assert names[finished.ranks["target_item"] - 1].tolist() == ["AX3", "AY1"]
    assert finished.provenance["cases"] == {"train": 2, "valid": 2, "test": 2}
