"""The numbers are those that ``golden.json`` keeps; where they are not, it is said whose version to raise."""

from __future__ import annotations

import pytest
from golden import PATHS, PIECES, advice, load, measure, moved, not_raised, owners, versions
from test_models import COUNTING, VARIANTS

from ifcdsr_core.models import MODELS


@pytest.mark.slow
def test_no_number_has_moved():
    kept, now = load(), measure()
    names = moved(kept["values"], now)
    assert not names, advice(names)
    assert kept["values"].keys() == now.keys() and kept["versions"] == versions(), "run: python tests/golden.py"


def test_whose_numbers_have_moved():
    of_model = {name: [key for key in load()["values"] if key.startswith(f"{name}/")] for name in MODELS}
    assert owners(of_model["mifn"]) == ["MIFN"] and owners(of_model["mifn"][1:]) == ["MIFN"]
    assert owners(["gru4rec/{}"]) == ["GRU4Rec"] and owners([*of_model["gru4rec"], *of_model["sasrec"]]) == [
        "MergedSequenceModel"
    ]
    assert owners([*of_model["ifcdsr"], *of_model["llm_emf"]]) == ["IFCDSR"] and owners(of_model["llm_emf"]) == [
        "LLMEMF"
    ]
    assert owners([*of_model["psjnet"], *of_model["mifn"]]) == ["PSJNet", "MIFN"]
    trained = [key for name, keys in of_model.items() if name not in COUNTING for key in keys]
    assert owners(trained) == ["HARNESS"] == owners(["harness/loss", "sasrec/{}"]) == owners(["path/shuffle_days"])
    assert owners(["path/train_negatives", *of_model["ifcdsr"]]) == ["IFCDSR"]
    assert "raise MIFN.version by one and run: python tests/golden.py" in advice(of_model["mifn"])


def test_values_that_other_processors_round_differently_are_equal_and_others_are_not():
    kept = {"a": {"losses": [3.0, 0.001], "encode": ["ab"]}}
    assert moved(kept, {"a": {"losses": [3.0002, 0.0011], "encode": ["ab"]}}) == []
    assert moved(kept, {"a": {"losses": [3.001, 0.001], "encode": ["ab"]}}) == ["a"]
    assert moved(kept, {"a": {"losses": [3.0, 0.001], "encode": ["ac"]}}) == ["a"]
    assert moved(kept, {"a": {"losses": [3.0], "encode": ["ab"]}}) == ["a"]


def test_numbers_are_kept_only_under_a_raised_version():
    kept = versions()
    assert not_raised(["mifn/{}"], kept, kept) == ["MIFN"] and not_raised(["harness/loss"], kept, kept) == ["HARNESS"]
    assert not_raised(["mifn/{}"], kept, {**kept, "MIFN": 2}) == []
    assert not_raised(["mifn/{}", "sasrec/{}"], kept, {**kept, "MIFN": 2}) == ["SASRec"]
    assert not_raised(["mifn/{}", "sasrec/{}"], kept, {**kept, "HARNESS": 2}) == []


def test_every_model_variant_and_piece_is_kept():
    names = set(load()["values"])
    assert len(names) == len(VARIANTS) + len(PATHS) + len(PIECES)
    assert {name.partition("/")[0] for name in names} == {*MODELS, "harness", "path"}
