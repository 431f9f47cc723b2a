"""Tables: from hand-made ranks to hand-computed numbers, and onto a page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifcdsr_core import tables
from ifcdsr_core.errors import InputError
from ifcdsr_core.metrics import summarise
from ifcdsr_core.run import Run
from ifcdsr_core.tables import Difference, Measured

NAMES = ("Food", "Kitchen")


def made_run(ranks_x: list[float], ranks_y: list[float], seed: int = 0, first_user: int = 0, **config) -> Run:
    """A finished run with these ranks under both protocols."""
    ranks = [*ranks_x, *ranks_y]
    frame = pd.DataFrame({
        "user": [f"u{first_user + number}" for number in range(len(ranks))],
        "target_item": range(1, len(ranks) + 1),
        "target_domain": ["x"] * len(ranks_x) + ["y"] * len(ranks_y),
        "sampled_999": ranks, "full": [2 * rank for rank in ranks],
    })
    config = {"source": "demo", "scenario": "food_kitchen", "model": "ifcdsr", "seed": seed, "source_options": {},
              "model_options": {}, **config}
    provenance = {"trained_on": "training sequences", "cases": {"train": 10, "valid": 2, "test": len(ranks)},
                  "parameters": 1234}
    history = pd.DataFrame({"epoch": [1, 2, 3], "selection": [0.1, 0.3, 0.2]})
    return Run(Path("runs") / f"run{seed}", config, provenance, history, frame, summarise(frame))


@pytest.fixture
def experiment() -> dict[str, list[Run]]:
    """MRR of Food: SASRec 50 and 75 %, IFCDSR 75 and 100 %. Of Kitchen: 25 and 25 %, 20 and 30 %."""
    return {
        "SASRec": [made_run([2, 2], [4, 4], seed=0), made_run([2, 1], [4, 4], seed=1)],
        "IFCDSR": [made_run([1, 2], [5, 5], seed=0), made_run([1, 1], [2, 10], seed=1)],
    }


# --- what the paper prints ---


@pytest.mark.parametrize("table, model, target, numbers", [
    (tables.PAPER_TABLE2, "IFCDSR", "Food", [9.05, 8.85, 9.92]),
    (tables.PAPER_TABLE2, "GRU4Rec", "Kitchen", [3.06, 2.55, 3.10]),
    (tables.PAPER_TABLE3, "PSJNet", "Movie", [4.63, 4.06, 4.76]),
    (tables.PAPER_TABLE3, "IFCDSR", "Book", [2.75, 2.37, 2.65]),
])
def test_paper_numbers(table, model, target, numbers):
    row = table[(table["Model"] == model) & (table["Target"] == target)]
    assert row[list(tables.HEADLINE)].to_numpy().tolist() == [numbers]


def test_paper_tables_are_complete():
    assert tables.PAPER_TABLE2.shape == (12, 5) and tables.PAPER_TABLE3.shape == (14, 5)
    assert tables.PAPER_TABLE4.to_numpy().tolist() == [[5.03, 5.63, 6.08]]


# --- over seeds ---


def test_means_and_deviations_are_those_computed_by_hand(experiment):
    table = tables.over_seeds(experiment, NAMES, "sampled_999").set_index(["Target", "Model"])
    cell = table.at[("Food", "SASRec"), "MRR"]
    assert cell.mean == pytest.approx(62.5) and cell.std == pytest.approx(math.sqrt(2) * 12.5)
    assert str(cell).replace("\u00a0", " ") == "62.50 ± 17.68"
    assert table.at[("Kitchen", "SASRec"), "MRR"] == Measured(25.0, 0.0)
    assert table.at[("Kitchen", "IFCDSR"), "NDCG@5"].mean == pytest.approx(
        100 * (1 / math.log2(6) + (1 / math.log2(3) + 0) / 2) / 2)
    full = tables.over_seeds(experiment, NAMES, "full").set_index(["Target", "Model"])
    assert full.at[("Food", "IFCDSR"), "MRR"].mean == pytest.approx(43.75)


def test_one_seed_has_no_deviation():
    table = tables.over_seeds({"IFCDSR": [made_run([2], [4])]}, NAMES, "sampled_999")
    assert [str(cell) for cell in table["MRR"]] == ["50.00", "25.00"]


def test_comparison_says_what_it_is(experiment):
    text = tables.comparison(experiment, "demo", "food_kitchen", "sampled_999", "tab-x").data
    caption = "Food-Kitchen (demo), test metrics in percent against 999 sampled negatives: mean ± standard " \
              "deviation over seeds 0, 1. Trained on training sequences: 10."
    assert text.startswith(f":::{{table}} {caption}\n:name: tab-x\n")
    assert "| Food | SASRec | 62.50\u00a0±\u00a017.68 |" in text
    assert "|  | IFCDSR | **87.50\u00a0±\u00a017.68** |" in text


def test_training_data_names_the_share_of_the_papers():
    run = made_run([1], [1], source="c2dsr")
    run.provenance["cases"]["train"] = 7356
    assert tables.training_data(run).endswith("7,356, or 22% of the number that the paper trains on.")


def test_beside_paper_takes_only_models_of_the_paper():
    runs = {"SASRec": [made_run([2], [4])], "IFCDSR (no images)": [made_run([1], [1])]}
    table = tables.beside_paper(runs, "food_kitchen")
    assert table["Model"].unique().tolist() == ["SASRec"]
    assert table["MRR in the paper"].tolist() == [7.30, 3.79]
    assert [cell.mean for cell in table["MRR here"]] == [50.0, 25.0]


def test_shipped_runs_are_found_by_model_and_seed(tmp_path):
    for seed, model, options in ((1, "ifcdsr", {"image_fusion": False}), (0, "ifcdsr", {"image_fusion": False}),
                                 (0, "gru4rec", {})):
        run = made_run([2], [4], seed, source="c2dsr", model=model, model_options=options)
        folder = tmp_path / f"c2dsr-food_kitchen-{model}-seed{seed}-0123"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(run.config))
        (folder / "provenance.json").write_text(json.dumps(run.provenance))
        run.history.to_csv(folder / "history.csv", index=False)
        run.ranks.to_parquet(folder / "ranks.parquet")
    found = tables.shipped_runs("c2dsr", "food_kitchen", tmp_path)
    assert {label: [run.config["seed"] for run in runs] for label, runs in found.items()} == \
        {"GRU4Rec": [0], "IFCDSR (no images)": [0, 1]}
    assert list(found) == ["GRU4Rec", "IFCDSR (no images)"]
    assert tables.shipped_runs("c2dsr", "movie_book", tmp_path) == {}
    assert "ships no results" in tables.inventory({}).data
    assert "IFCDSR (no images) (2 runs)" in tables.inventory({"food_kitchen": found}).data
    (folder / "ranks.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="ranks.parquet can't be read"):
        tables.shipped_runs("c2dsr", "food_kitchen", tmp_path)


# --- differences ---


def test_case_differences(experiment):
    table = tables.case_differences(experiment, "IFCDSR", NAMES, "sampled_999")
    assert table[["Difference", "Target"]].to_numpy().tolist() == [["IFCDSR − SASRec", "Food"],
                                                                  ["IFCDSR − SASRec", "Kitchen"]]
    food, kitchen = table["MRR"]
    assert food.value == pytest.approx(25.0)  # cases: 100 - 50 and 75 - 75
    assert (food.low, food.high) == (0.0, 50.0)
    assert kitchen.value == pytest.approx(0.0) and kitchen.low <= 0 <= kitchen.high
    assert str(Difference(0.001, -1.5, 2)) == "+0.00 (−1.50 to +2.00)"


def test_runs_on_other_cases_are_not_compared(experiment):
    experiment["SASRec"] = [made_run([2, 2], [4, 4], first_user=5)]
    with pytest.raises(InputError, match="tested on different cases"):
        tables.case_differences(experiment, "IFCDSR", NAMES, "sampled_999")


def test_gains_are_paired_by_seed_and_case(experiment):
    food, kitchen = tables.gains(experiment["IFCDSR"], experiment["SASRec"], NAMES).to_dict("records")
    # Food: both seeds gain 25 points; cases gain 50 and 0 on average
    assert food["gain"] == pytest.approx(25) and food["seed_error"] == pytest.approx(0)
    assert food["case_error"] == pytest.approx(25) and food["noise"] == pytest.approx(50)
    assert food["verdict"] == "within noise"
    # Kitchen: seeds gain -5 and +5; cases +10 and -10
    assert kitchen["gain"] == pytest.approx(0) and kitchen["seed_error"] == pytest.approx(5)
    assert kitchen["noise"] == pytest.approx(2 * math.hypot(5, 10))
    with pytest.raises(InputError, match="same seeds"):
        tables.gains(experiment["IFCDSR"], experiment["SASRec"][:1], NAMES)


def test_verdicts_follow_the_numbers():
    base, better, worse = (made_run([rank] * 4, [rank] * 4) for rank in (2, 1, 4))
    assert tables.gains([better], [base], NAMES)["verdict"].tolist() == ["a gain"] * 2
    assert tables.gains([worse], [base], NAMES)["verdict"].tolist() == ["a loss"] * 2
    controls = {("food_kitchen", 0.0): {"without images": [base], "with images": [base]},
                ("food_kitchen", 1.0): {"without images": [base], "with images": [better]}}
    text = tables.control_verdict(tables.image_gains(controls))
    assert "The negative control holds." in text and "The positive control holds." in text and "one seed" in text
    controls["food_kitchen", 0.0]["with images"] = [better]
    text = tables.control_verdict(tables.image_gains(controls))
    assert "The negative control holds in 0 of 2 comparisons." in text
    assert "+50.00 points on average over 2 comparisons: 2 of them show a gain" in text


def test_step_gains_go_from_label_to_label(experiment):
    table = tables.step_gains({"a": experiment["SASRec"], "b": experiment["IFCDSR"], "c": experiment["IFCDSR"]}, NAMES)
    assert table[["step", "domain"]].to_numpy().tolist() == [["b", "Food"], ["b", "Kitchen"], ["c", "Food"],
                                                             ["c", "Kitchen"]]
    assert table["gain"].tolist() == pytest.approx([25, 0, 0, 0])


# --- one run ---


def test_run_summary_says_all():
    text = tables.run_summary(made_run([2, 2], [4, 4], seed=3), NAMES)
    assert text.startswith("IFCDSR on Food-Kitchen (demo), seed 3. Trained on training sequences: 10.")
    assert "50.00" in text and "25.00" in text and text.endswith("run folder: runs/run3")


def test_run_settings_name_every_option():
    run = made_run([1], [1], model_options={"alpha": 0.7}, source_options={"visual_signal": 1.0})
    settings = dict(tables.run_settings(run).to_numpy().tolist())
    assert settings["alpha"] == "0.7" and settings["visual_signal"] == "1.0" and settings["best epoch"] == "2 of 3"
    assert settings["trainable parameters"] == "1,234"


# --- features ---


def test_nearest_neighbours():
    matrix = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
    everything = np.ones(4, dtype=bool)
    assert tables.nearest_neighbours(matrix, np.array([0, 2]), everything, 2).tolist() == [[1, 3], [3, 1]]
    assert tables.nearest_neighbours(matrix, np.array([0]), np.array([True, False, True, True]), 1).tolist() == [[3]]


# --- on a page ---


def test_show_makes_a_numbered_table():
    table = pd.DataFrame({"Name": ["a|b", "c_d"], "Count": [1234, 5], "Share": [-0.5, math.nan]})
    assert tables.show(table, "All *of* it\nat once", "tab-x").data == (
        ":::{table} All \\*of\\* it at once\n:name: tab-x\n\n"
        "| Name | Count | Share |\n| :-- | --: | --: |\n| a\\|b | 1,234 | −0.50 |\n| c\\_d | 5 | – |\n\n:::")


def test_show_marks_the_best_of_each_group():
    table = pd.DataFrame({"Target": ["Food", "Food", "Book"], "Model": ["a", "b", "a"], "MRR": [1.0, 2.0, 0.5]})
    lines = tables.show(table, "c", best=True).data.splitlines()
    assert lines[4:7] == ["| Food | a | 1.00 |", "|  | b | **2.00** |", "| Book | a | **0.50** |"]


@pytest.mark.parametrize("text", ["a|b", "*x* _y_ **z**", "`code` $math$", "[link](http://x.org)", "{numref}`tab-x`",
                                  "<script>alert(1)</script>", "a & b &amp; c", "back\\slash", "~~gone~~ ^up^"])
def test_escaped_text_is_shown_as_it_is(text):
    """Escaped, parsed by the parser of the book, and read again."""
    from myst_parser.config.main import MdParserConfig
    from myst_parser.mdit_to_docutils.base import DocutilsRenderer
    from myst_parser.parsers.mdit import create_md_parser

    config = MdParserConfig(enable_extensions={"dollarmath", "colon_fence", "attrs_inline", "substitution"})
    shown = tables.show(pd.DataFrame({"Name": [text], "Other": ["x"]}), "caption").data
    tokens = create_md_parser(config, DocutilsRenderer).parse("\n".join(shown.splitlines()[2:-1]))
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    parts = cells[2].children
    assert {part.type for part in parts} <= {"text", "text_special"}
    assert "".join(part.content for part in parts) == text


# --- data sets ---


def test_data_table_reads_easily():
    numbers = {"Food-Kitchen (demo)": {"unseen_targets": pd.DataFrame({
        "trained_on": ["train", "train"], "split": ["test", "test"], "domain": ["Food", "Kitchen"],
        "targets": [4, 8], "unseen": [1, 0], "unseen_share": [0.25, 0.0]})}}
    table = tables.data_table(numbers, "unseen_targets")
    assert table["Unseen (%)"].tolist() == [25.0, 0.0] and table["Targets"].tolist() == [4, 8]
    assert tables.show(table, "c").data.count("demo") == 1  # said once for both rows


def test_against_paper_shows_counts_without_decimals():
    shipped = tables.statistics_of("c2dsr", ["food_kitchen"])
    text = tables.show(tables.against_paper(shipped), "c").data
    assert "| Food | items | 29,207 | 29,207 | 0 |" in text and "| both | avg. length | 9.85 | 9.91 | −0.06 |" in text
    assert "34,117" in tables.paper_remarks(shipped).data
