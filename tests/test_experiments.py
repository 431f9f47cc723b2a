"""The lists of runs, the search and its outcome, and the parameters of notebooks."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import ModuleType

import pandas as pd
import pytest

from ifcdsr_core.book import markup, parameters
from ifcdsr_core.errors import InputError
from ifcdsr_core.models import CONTROLS, COUNTING, MODELS
from ifcdsr_core.runs import lists, search, store
from ifcdsr_core.runs.model import model_config
from ifcdsr_core.runs.store import Run
from ifcdsr_core.sources import SOURCES

COLUMNS = "model,epochs,learning_rate,l2,dropout,temperature,validation_mrr,best_epoch,minutes,run"
COMPARED = [name for name in MODELS if name not in CONTROLS]


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """An empty folder of shipped results."""
    monkeypatch.setattr(search, "results_dir", lambda: tmp_path)
    return tmp_path


def test_the_comparison_has_every_model_and_seeds_for_those_that_are_trained():
    rows = lists.comparison("movie_book", [3, 4])
    assert [configs[0].model for configs in rows.values()] == COMPARED
    for configs in rows.values():
        assert [config.seed for config in configs] == ([0] if configs[0].model in COUNTING else [3, 4])
    real = lists.comparison("movie_book", [0], "c2dsr")
    assert list(real)[-2:] == ["IFCDSR (no images)", "LLM-EMF (plain titles, no images)"]
    assert [configs[0].source_options["titles"] for configs in real.values()] == [False] * (len(real) - 1) + [True]
    assert list(lists.comparison("food_kitchen", [0], models=["ifcdsr", "sasrec"])) == ["IFCDSR", "SASRec"]


def test_a_rival_on_the_data_of_its_authors_follows_their_recipe():
    for scenario, l2, ranks in (("food_kitchen", 3.0, (16, 64)), ("beauty_electronics", 2.0, (64, 64))):
        (config,) = lists.recipes(scenario, [1], "abxi")["ABXI"]
        assert (config.source, config.seed, config.decay, config.l2, config.learning_rate) == (
            "abxi",
            1,
            "decoupled",
            l2,
            1e-4,
        )
        assert (config.model_options["domain_rank"], config.model_options["invariant_rank"]) == ranks
    assert lists.configurations("abxi", "food_kitchen", [1], "abxi")[0].decay == "l2"  # in a comparison all are alike
    with pytest.raises(InputError, match="no rival's authors have a recipe for food_kitchen of 'c2dsr'"):
        lists.recipes("food_kitchen", [1], "c2dsr")


def test_all_models_of_a_comparison_have_the_same_budget():
    for source in ("demo", "c2dsr", "llmcdsr", "abxi"):
        trained = [name for name in COMPARED if name not in COUNTING]
        rows = lists.comparison("food_kitchen", [0], source, trained)
        budgets = {
            tuple(
                getattr(configs[0], name)
                for name in (
                    "epochs",
                    "patience",
                    "batch_size",
                    "train_negatives",
                    "max_seq_len",
                    "select_protocol",
                    "candidate_seed",
                    "train_on",
                    "holdout",
                )
            )
            for configs in rows.values()
        }
        sizes = {
            configs[0].model_options["hidden_size"]
            for configs in rows.values()
            if "hidden_size" in configs[0].model_options
        }
        assert len(budgets) == 1 and len(sizes) == 1


def test_arms_of_the_modalities_differ_in_their_modalities_alone():
    def settings(config):
        kept = dataclasses.asdict(config) | {"model": "", "source_options": {}, "model_options": {}, "shuffle_texts": 0}
        return json.dumps(kept, sort_keys=True)

    search.keep(
        search.outcome([[made_run("ifcdsr", 0.02, 1e-4, 0.1), made_run("llm_emf", 0.3, 1e-4, 0.1)]]),
        "demo",
        "food_kitchen",
    )
    for arms, count in (
        (lists.modalities("food_kitchen", [0]), 4),
        (lists.text_control("food_kitchen", 0.5, [0]), 3),
        (lists.planted("food_kitchen", 0.0, 1.0, [0]), 4),
        (lists.modalities("food_kitchen", [0], "c2dsr"), 2),
    ):
        configs = [one for group in arms.values() for one in group]
        assert len({settings(config) for config in configs}) == 1 and len(configs) == count
    shares = {
        label: MODELS[configs[0].model].mixing(model_config(configs[0].model, configs[0].model_options))
        for label, configs in lists.modalities("food_kitchen", [0]).items()
    }
    assert {label: list(weights) for label, weights in shares.items()} == {
        "ID": ["id"],
        "ID + image": ["id", "image"],
        "ID + text": ["id", "text"],
        "ID + image + text": ["id", "image", "text"],
    }
    control = lists.text_control("food_kitchen", 0.5, [0])
    assert [configs[0].shuffle_texts for configs in control.values()] == [0, 0, 1]
    assert {
        (configs[0].source_options["visual_signal"], configs[0].source_options["text_signal"])
        for configs in control.values()
    } == {(0.0, 0.5)}


def test_every_model_has_the_same_candidates_as_far_as_it_has_the_settings():
    rows = lists.search("food_kitchen", "c2dsr")
    assert "Popularity" not in rows and set(map(len, rows.values())) == {lists.CANDIDATES}
    points = {}
    for configs in rows.values():
        model = configs[0].model
        points[model] = [
            (one.learning_rate, one.l2, one.model_options["dropout"], one.model_options.get("temperature"))
            for one in configs
        ]
        assert len(set(points[model])) == lists.CANDIDATES
        own = MODELS[model].Config()
        assert points[model][0] == (1e-3, 1e-5, own.dropout, getattr(own, "temperature", None))
    assert points["sasrec"] == points["gru4rec"] and points["ifcdsr"] == points["tricdr"]
    tried = [sorted({point[3] for point in points[model]}) for model in ("ifcdsr", "abxi")]
    assert tried == [[0.05, 0.07, 0.1, 0.2], [0.54, 0.75, 1.1, 2.1]]  # in proportion to the model's own
    triples = list(dict.fromkeys(point[:3] for point in points["ifcdsr"]))
    assert triples == [point[:3] for point in points["sasrec"]][: len(triples)]
    assert list(lists.search("food_kitchen", models=["popularity"])) == []
    assert len(lists.search("food_kitchen", "abxi", ["abxi"])["ABXI"]) == lists.CANDIDATES  # its recipe is another list
    recipe = lists.named_list("recipes", "food_kitchen", "abxi", [0, 4], [], source_options={})
    assert recipe == lists.recipes("food_kitchen", [0, 4], "abxi")["ABXI"]


def test_a_search_halves_each_model_by_validation_alone():
    rows = lists.search("food_kitchen", models=["sasrec", "ifcdsr"])
    asked = []

    def carry_out(configs):
        asked.append([(config.model, config.epochs) for config in configs])
        return [
            made_run(config.model, config.learning_rate, config.l2, config.learning_rate + config.l2, config.epochs)
            for config in configs
        ]

    rounds = search.halve([config for configs in rows.values() for config in configs], carry_out)
    assert [len(round) for round in asked] == [24, 8, 4]
    assert [{epochs for _, epochs in round} for round in asked] == [{4}, {12}, {36}]
    for model in ("sasrec", "ifcdsr"):
        first, second, last = ([run for run in round if run.config["model"] == model] for round in rounds)
        for before, after in ((first, second), (second, last)):
            best = sorted((run.config["learning_rate"] + run.config["l2"] for run in before), reverse=True)
            assert (
                sorted((run.config["learning_rate"] + run.config["l2"] for run in after), reverse=True)
                == (best[: len(after)])
            )
    table = search.outcome(rounds)
    assert len(table) == 36 and list(table["model"].unique()) == ["sasrec", "ifcdsr"]
    row = search.best(table[table["model"] == "sasrec"])
    assert row["epochs"] == 36 and row["validation_mrr"] == table["validation_mrr"].max() and row["minutes"] == 1.5


def test_a_search_gives_a_model_as_many_ranked_epochs_as_any_other():
    (candidates,) = lists.search("food_kitchen", "abxi", ["tricdr"]).values()
    asked = []

    def carry_out(configs):
        asked.append({(config.epochs, config.model_options["pretrain_epochs"]) for config in configs})
        return [made_run("tricdr", config.learning_rate, config.l2, config.learning_rate) for config in configs]

    search.halve(candidates, carry_out)
    assert asked == [{(11, 8)}, {(17, 8)}, {(35, 8)}]


def test_the_outcome_of_a_search_is_what_the_book_trains_with():
    before, options = lists.settings("demo", "food_kitchen", "sasrec")
    rounds = [
        [made_run("sasrec", 0.01, 1e-4, 0.5, epochs=4), made_run("sasrec", 0.005, 5e-5, 0.3, epochs=4)],
        [made_run("sasrec", 0.005, 5e-5, 0.4, epochs=12, dropout=0.1)],
    ]
    search.keep(search.outcome(rounds), "demo", "food_kitchen")
    after = lists.settings("demo", "food_kitchen", "sasrec")
    assert after == (before | {"learning_rate": 0.005, "l2": 5e-5}, options | {"dropout": 0.1})  # of the last round
    assert lists.settings("demo", "movie_book", "sasrec") == after  # which has no search of its own
    assert lists.settings("c2dsr", "food_kitchen", "sasrec")[0]["learning_rate"] != 0.005  # another source
    search.keep(search.outcome([[made_run("sasrec", 0.02, 1e-4, 0.1)]]), "demo", "movie_book")
    assert lists.settings("demo", "movie_book", "sasrec")[0]["learning_rate"] == 0.02  # now it has

    search.keep(search.outcome([[made_run("gru4rec", 0.01, 1e-5, 0.4)]]), "demo", "food_kitchen")
    assert lists.settings("demo", "food_kitchen", "sasrec") == after  # others' rows stay
    assert lists.settings("demo", "food_kitchen", "gru4rec")[0]["learning_rate"] == 0.01
    assert list(search.load("demo", "food_kitchen")["model"]) == ["gru4rec"] + 3 * ["sasrec"]


def test_what_a_first_round_passed_over_is_of_other_rates_and_trained_like_the_rest():
    first = [(0.01, 1e-4, 0.6), (0.001, 1e-4, 0.2), (0.001, 1e-5, 0.3), (0.0003, 1e-4, 0.1), (0.01, 1e-5, 0.5)]
    rounds = [
        [made_run("sasrec", *settings, epochs=4, dropout=0.5) for settings in first],
        [made_run("sasrec", 0.01, 1e-5, 0.7, epochs=12, dropout=0.5)],
    ]
    search.keep(search.outcome(rounds), "demo", "food_kitchen")
    found = lists.named_list("passed_over", "food_kitchen", "demo", [0, 1], ["sasrec", "popularity", "gru4rec"])
    assert [(one.model, one.learning_rate, one.l2) for one in found] == [
        ("sasrec", 0.0003, 1e-4),
        ("sasrec", 0.001, 1e-5),
    ]
    (compared,) = lists.comparison("food_kitchen", [0], models=["sasrec"])["SASRec"]
    assert dataclasses.replace(found[1], learning_rate=0.01) == compared
    assert lists.passed_over("movie_book", models=["sasrec"]) == {}  # searched elsewhere


def test_a_search_serves_those_scenarios_of_a_source_that_are_trained_alike(monkeypatch):
    def rate():
        return lists.settings("abxi", "beauty_electronics", "sasrec")[0]["learning_rate"]

    search.keep(search.outcome([[made_run("sasrec", 0.02, 1e-4, 0.1)]]), "abxi", "food_kitchen")
    assert rate() == 0.02
    monkeypatch.setitem(lists.OPTIONS_OF, ("abxi", "beauty_electronics"), {"hidden_size": 256})
    assert rate() == lists.REAL["learning_rate"]  # wider
    monkeypatch.delitem(lists.OPTIONS_OF, ("abxi", "beauty_electronics"))
    monkeypatch.setitem(lists.REAL_OF, ("abxi", "beauty_electronics"), {"epochs": 8})
    assert rate() == lists.REAL["learning_rate"]


def test_a_damaged_outcome_of_a_search_is_refused(results):
    (results / "search").mkdir()
    (results / "search" / "demo-food_kitchen.csv").write_text("model,learning_rate\nsasrec,fast\n")
    with pytest.raises(InputError, match="demo-food_kitchen.csv is damaged"):
        lists.settings("demo", "food_kitchen", "sasrec")


def made_run(model, learning_rate, l2, validation, epochs=30, **options):
    """A run with a high test MRR where validation is low, so that a choice by test would show."""
    history = pd.DataFrame({"epoch": [1, 2], "selection": [validation / 2, validation], "seconds": [60.0, 30.0]})
    ranks = pd.DataFrame({"target_domain": ["x"], "sampled_999": [1 + 100 * validation]})
    config = {"model": model, "epochs": epochs, "learning_rate": learning_rate, "l2": l2, "model_options": options}
    return Run(search.results_dir() / "folder", config, {}, history, ranks)


@pytest.mark.parametrize(
    "content, reason",
    [
        ("", "No columns to parse"),
        ("model,learning_rate\nsasrec,0.1\n", "not in index"),
        (f"{COLUMNS}\nsasrec,30,,1e-5,,,0.1,1,,x\n", "missing or infinite"),
        (f"{COLUMNS}\nsasrec,30,inf,1e-5,,,0.1,1,,x\n", "missing or infinite"),
        (f"{COLUMNS}\nsasrec,30,0.1,1e-5,inf,,0.1,1,,x\n", "missing or infinite"),
        (f"{COLUMNS}\nsasrec,30,0.1,1e-5,,,0.1,1,inf,x\n", "missing or infinite"),
        (f"{COLUMNS}\nsasrec,many,0.1,1e-5,,,0.1,1,,x\n", "invalid literal"),
        (b"\xff\xfe\x00", "can't decode"),
    ],
)
def test_an_edited_outcome_of_a_search_is_named_with_what_is_wrong(results, content, reason):
    path = results / "search" / "demo-food_kitchen.csv"
    path.parent.mkdir()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    for call in (lambda: search.load("demo", "food_kitchen"), lambda: lists.comparison("movie_book", [0])):
        with pytest.raises(InputError, match=f"{path.name} is damaged .*{reason}") as raised:
            call()
        assert "\n" not in str(raised.value)


def test_rows_of_a_model_that_is_no_longer_in_the_list_stay(results):
    gone = search.outcome([[made_run("mine", 0.02, 1e-4, 0.1), made_run("sasrec", 0.02, 1e-4, 0.1)]])
    search.keep(gone, "demo", "food_kitchen")
    search.keep(search.outcome([[made_run("llm_emf", 0.01, 1e-5, 0.4)]]), "demo", "food_kitchen")
    assert list(search.load("demo", "food_kitchen")["model"]) == ["sasrec", "llm_emf", "mine"]


@pytest.fixture(params=[None, "ViT-B-32-quickgelu/openai"], ids=["no pictures", "pictures"])
def encoder(request, monkeypatch):
    """A source of one's own, ``mine``, as a module and a line in SOURCES: without pictures, and with."""
    module = ModuleType("mine")
    module.VERSION, module.SCENARIOS, module.OPTIONS = 1, ("food_kitchen", "shop"), {"kind": "all"}
    if request.param:
        module.ENCODER = request.param
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setitem(SOURCES, "mine", "mine")
    return request.param


def test_every_list_takes_a_source_of_ones_own_as_real_data(encoder):
    for scenario in ("food_kitchen", "shop"):
        rows = lists.comparison(scenario, [0], "mine")
        assert [configs[0].model for configs in rows.values()] == COMPARED
        ours = next(configs[0] for configs in rows.values() if configs[0].model == "ifcdsr")
        assert all(getattr(ours, name) == value for name, value in lists.REAL.items())
        assert ours.encoder == (encoder or "small_clip") and ours.model_options["image_fusion"] == bool(encoder)
        for what in ("comparison", "domains", "readings", "sensitivity", "modalities", "patience", "search"):
            configs = lists.named_list(what, scenario, "mine", [0], [], source_options={})
            assert configs and {config.source for config in configs} == {"mine"}
            pictured = any(config.model_options.get("image_fusion") for config in configs)
            assert pictured == bool(encoder)
    rates = {config.learning_rate for config in lists.search("shop", "mine", ["sasrec"])["SASRec"]}
    assert rates == set(lists.LEARNING_RATES["real"])
    readings = lists.readings("food_kitchen", [0], "mine")
    assert list(readings) == list(lists.readings("food_kitchen", [0], "c2dsr"))


def test_pages_name_a_source_of_ones_own_and_notebook_03_takes_it(encoder):
    assert markup.data_title("mine", "food_kitchen") == "Food-Kitchen (mine)"
    assert markup.data_title("mine", "shop") == "shop (mine)"
    config = parameters.run_config("food_kitchen", "mine", "sasrec", 0, 1, visual_signal=1.0, image_fusion=True)
    assert (config.source, config.epochs, config.source_options) == ("mine", 1, {"kind": "all"})
    if encoder:
        assert len(lists.ablation("food_kitchen", [0], "mine")) == 3
        assert len(lists.parts("food_kitchen", [0], "mine")) == 4
    else:
        for pictured in (lists.ablation, lists.parts):
            with pytest.raises(InputError, match="'mine' has no pictures here"):
                pictured("food_kitchen", [0], "mine")


def test_what_only_counts_stays_when_the_settings_of_training_change(monkeypatch):
    before = lists.comparison("food_kitchen", [0], "abxi", ["popularity", "sasrec"])
    monkeypatch.setitem(lists.REAL, "precision", "float32")
    monkeypatch.setitem(lists.REAL_OF["abxi"], "batch_size", 32)
    monkeypatch.setitem(lists.REAL_OF["abxi"], "max_seq_len", 40)
    after = lists.comparison("food_kitchen", [0], "abxi", ["popularity", "sasrec"])
    assert after["SASRec"][0].batch_size == 32 and after["SASRec"] != before["SASRec"]
    assert after["Popularity"] == [dataclasses.replace(before["Popularity"][0], max_seq_len=40)]


def test_two_models_with_one_title_are_refused(monkeypatch):
    """A file that was copied, and its title with it: one row would hide the other."""
    monkeypatch.setattr(MODELS["gru4rec"], "title", "SASRec")
    with pytest.raises(InputError, match="gru4rec and sasrec have the same title, SASRec: give each its own"):
        lists.comparison("food_kitchen", [0])


def test_a_list_of_runs_can_come_from_a_file(tmp_path):
    wanted = lists.configurations("sasrec", "food_kitchen", [0, 5])
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([dataclasses.asdict(config) for config in wanted]))
    assert lists.named_list(str(path), "movie_book", "demo", [0], [], source_options={}) == wanted
    changed = lists.named_list(str(path), "movie_book", "demo", [0], [], epochs=3, device="cuda")
    assert changed == [dataclasses.replace(config, epochs=3, device="cuda") for config in wanted]
    assert {config.device for config in changed} == {"cuda"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "can't be read as JSON"),
        ("{}", "must hold a list"),
        ("[]", "must hold a list"),
        ("[3]", "must hold a list"),
        ('[{"model": "sasrec"}, {"modell": "sasrec"}]', "configuration 1: .*modell"),
        ('[{"model": "bert4rec"}]', "configuration 0: unknown model"),
    ],
)
def test_a_wrong_list_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        lists.named_list(str(path), "movie_book", "demo", [0], [])
    assert "\n" not in str(caught.value)


def test_the_control_is_a_list_too_and_what_does_not_apply_is_refused():
    configs = lists.named_list("control", "movie_book", "demo", [0, 1], [], source_options={})
    assert len(configs) == (3 * 5 + 3 * 5 - 1) * 2  # both dials at 1 with all there is: the same runs, once
    assert {config.source_options["visual_signal"] for config in configs} == set(lists.SIGNALS)
    assert {config.source_options["cross_domain_signal"] for config in configs} == set(lists.SIGNALS)
    assert sum(config.shuffle_pictures > 0 for config in configs) == 2 * 5
    for what, source, models in (
        ("control", "demo", ["sasrec"]),
        ("ablation", "demo", ["sasrec"]),
        ("control", "c2dsr", []),
        ("readings", "demo", ["sasrec"]),
        ("sensitivity", "demo", ["sasrec"]),
    ):
        with pytest.raises(InputError, match="accepts no"):
            lists.named_list(what, "movie_book", source, [0], models)


def test_every_reading_differs_from_ours_and_from_every_other():
    for source in ("demo", "c2dsr"):
        rows = lists.readings("food_kitchen", [0], source)
        names = [store.key(configs[0]) for configs in rows.values()]
        assert len(set(names)) == len(names) and list(rows)[0] == lists.OURS
        assert rows[lists.OURS] == lists.comparison("food_kitchen", [0], source, ["ifcdsr"]).popitem()[1]
    real, demo = (set(lists.readings("food_kitchen", [0], source)) for source in ("c2dsr", "demo"))
    assert real - demo == {"exact loss"} and "a learned projection of the images" in demo - real


def test_a_reading_that_the_search_chose_is_ours():
    found = search.outcome([[made_run("ifcdsr", 0.01, 1e-5, 0.4, temperature=0.2)]])
    before = lists.readings("food_kitchen", [0], "c2dsr")
    search.keep(found, "c2dsr", "food_kitchen")
    after = lists.readings("food_kitchen", [0], "c2dsr")
    assert set(before) - set(after) == {"temperature 0.2"} and set(after) < set(before)
    assert after[lists.OURS][0].model_options["temperature"] == 0.2


def test_sensitivity_changes_one_thing_and_tries_what_the_book_and_the_paper_use():
    ours = dataclasses.asdict(lists.readings("food_kitchen", [0])[lists.OURS][0])
    for name, groups in lists.sensitivity("food_kitchen", [0]).items():
        found = [
            {**record, **record["model_options"]}
            for [config] in groups.values()
            for record in [dataclasses.asdict(config)]
        ]
        assert [record[name] for record in found] == list(lists.SENSITIVITY[name])
        assert any({**ours, **ours["model_options"]}[name] == record[name] for record in found), name
        for record in found:
            different = {key for key, value in record.items() if value != {**ours, **ours["model_options"]}[key]}
            assert different <= {name, "model_options"}


def test_an_unknown_experiment_is_refused():
    with pytest.raises(InputError, match="unknown experiment 'compare'"):
        lists.named_list("compare", "movie_book", "demo", [0], [])


# --- parameters of notebooks ---


@pytest.mark.parametrize("text, seeds", [("0,1,2", [0, 1, 2]), (7, [7]), ("3, 1", [3, 1])])
def test_seeds(text, seeds):
    assert parameters.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,1", "-1", "1.5"])
def test_wrong_seeds(text):
    with pytest.raises(InputError, match="different whole numbers"):
        parameters.parse_seeds(text)


def test_signals_of_a_notebook_rise_from_0_to_1():
    assert parameters.parse_signals("1, 0,0.25") == [0, 0.25, 1]
    assert parameters.parse_signals(",".join(map(str, lists.SIGNALS))) == [*lists.SIGNALS]
    for text in ("", "0", "0,0.5", "0,1,1", "0,1,2", "-1,0,1", "0,x,1", "0,nan,1"):
        with pytest.raises(InputError, match="different numbers from 0 to 1"):
            parameters.parse_signals(text)


def test_scenarios():
    assert parameters.parse_scenarios("movie_book, food_kitchen") == ["movie_book", "food_kitchen"]
    with pytest.raises(InputError, match="unknown scenario 'kitchen': choose one of food_kitchen, movie_book"):
        parameters.parse_scenarios("kitchen")
    with pytest.raises(InputError, match="twice"):
        parameters.parse_scenarios("movie_book,movie_book")


def test_run_config_leaves_out_what_does_not_apply():
    config = parameters.run_config("food_kitchen", "demo", "sasrec", 3, visual_signal=0.5, image_fusion=False)
    assert config.seed == 3 and config.source_options["visual_signal"] == 0.5
    assert "image_fusion" not in config.model_options
    config = parameters.run_config("food_kitchen", "demo", "ifcdsr", 0, epochs=2, image_fusion=False)
    assert config.epochs == 2 and config.model_options["image_fusion"] is False
    config = parameters.run_config("movie_book", "c2dsr", "gru4rec", 0, visual_signal=0.5)
    assert config.train_on == "valid" and "visual_signal" not in config.source_options


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("food_kitchen", "ebay", "ifcdsr", 0), "unknown source 'ebay'"),
        (("food_kitchen", "demo", "bert4rec", 0), "unknown model 'bert4rec'"),
        (("food_kitchen", "demo", "ifcdsr", "x"), "seed is 'x'"),
        (("food_kitchen", "demo", "ifcdsr", 0, -1), "epochs is -1"),
        (("food_kitchen", "demo", "ifcdsr", 0, 0, "test"), "unknown train_on 'test'"),
    ],
)
def test_run_config_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        parameters.run_config(*arguments)
