"""Runs compared, and what pages say of it: from hand-made ranks to numbers computed by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from made_runs import NAMES, made_run

from ifcdsr_core.analysis import paired, paper
from ifcdsr_core.analysis.paired import Difference, Measured, PValue
from ifcdsr_core.book import evidence
from ifcdsr_core.book.pages import ablation, budget, comparison, complete_data, protocol
from ifcdsr_core.errors import InputError
from ifcdsr_core.metrics import summarise
from ifcdsr_core.models import MODELS
from ifcdsr_core.runs import lists, search, store
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.store import Run
from ifcdsr_core.runs.versions import code_versions


@pytest.fixture
def experiment() -> dict[str, list[Run]]:
    """MRR of Food: SASRec 50 and 75 %, IFCDSR 75 and 100 %. Of Kitchen: 25 and 25 %, 20 and 30 %."""
    return {
        "SASRec": [made_run([2, 2], [4, 4], seed=0), made_run([2, 1], [4, 4], seed=1)],
        "IFCDSR": [made_run([1, 2], [5, 5], seed=0), made_run([1, 1], [2, 10], seed=1)],
    }


# --- what the paper prints ---


@pytest.mark.parametrize(
    "table, model, target, numbers",
    [
        (paper.PAPER_TABLE2, "IFCDSR", "Food", [9.05, 8.85, 9.92]),
        (paper.PAPER_TABLE2, "GRU4Rec", "Kitchen", [3.06, 2.55, 3.10]),
        (paper.PAPER_TABLE3, "PSJNet", "Movie", [4.63, 4.06, 4.76]),
        (paper.PAPER_TABLE3, "IFCDSR", "Book", [2.75, 2.37, 2.65]),
    ],
)
def test_paper_numbers(table, model, target, numbers):
    row = table[(table["Model"] == model) & (table["Target"] == target)]
    assert row[list(paper.HEADLINE)].to_numpy().tolist() == [numbers]


def test_paper_tables_are_complete():
    assert paper.PAPER_TABLE2.shape == (12, 5) and paper.PAPER_TABLE3.shape == (14, 5)
    assert paper.PAPER_TABLE4.to_numpy().tolist() == [[5.03, 5.63, 6.08]]


# --- over seeds ---


def test_means_and_deviations_are_those_computed_by_hand(experiment):
    table = paired.over_seeds(experiment, NAMES, "sampled_999").set_index(["Target", "Model"])
    cell = table.at[("Food", "SASRec"), "MRR"]
    assert cell.mean == pytest.approx(62.5) and cell.std == pytest.approx(math.sqrt(2) * 12.5)
    assert str(cell).replace("\u00a0", " ") == "62.50 ± 17.68"
    assert table.at[("Kitchen", "SASRec"), "MRR"] == Measured(25.0, 0.0)
    assert table.at[("Kitchen", "IFCDSR"), "NDCG@5"].mean == pytest.approx(
        100 * (1 / math.log2(6) + (1 / math.log2(3) + 0) / 2) / 2
    )
    full = paired.over_seeds(experiment, NAMES, "full").set_index(["Target", "Model"])
    assert full.at[("Food", "IFCDSR"), "MRR"].mean == pytest.approx(43.75)


def test_one_seed_has_no_deviation():
    table = paired.over_seeds({"IFCDSR": [made_run([2], [4])]}, NAMES, "sampled_999")
    assert [str(cell) for cell in table["MRR"]] == ["50.00", "25.00"]


def test_comparison_says_what_it_is(experiment):
    text = evidence.comparison_table(experiment, "demo", "food_kitchen", "sampled_999", "tab-x").data
    caption = (
        "Food-Kitchen (demo), test metrics in percent against 999 sampled negatives: means over "
        "seeds 0, 1, the MRR ± standard deviation; interval of the MRR over test cases; bold where better than all "
        "others by a paired test. Trained on training sequences: 10."
    )
    assert text.startswith(f":::{{table}} {caption}\n:name: tab-x\n")
    assert "| Food | SASRec | 62.50\u00a0±\u00a017.68 | 50.00\u00a0to\u00a075.00 |" in text
    assert "|  | IFCDSR | 87.50\u00a0±\u00a017.68 |" in text  # the better, but not by a test: two cases can't tell


def test_a_row_is_marked_where_training_ended_at_its_best_epoch(experiment):
    early = made_run([1, 2], [4, 4], model="gru4rec")
    early.history["selection"] = [0.1, 0.2, 0.3]
    counted = made_run([3, 3], [5, 5], model="popularity")
    counted.history["selection"] = [0.1, 0.2, 0.3]
    rows = {**experiment, "GRU4Rec": [early], "Popularity": [counted]}
    text = evidence.comparison_table(rows, "demo", "food_kitchen", "sampled_999", "tab-x").data
    assert text.splitlines()[0].endswith(" 10. † not finished: the last epoch was the best.")
    assert text.count("†") == 3 and text.count("| GRU4Rec † |") == 2


def test_bold_is_what_beats_all_others_beyond_chance():
    random = np.random.default_rng(0)
    ranks = random.integers(20, 60, 300).astype(float)
    same = made_run(ranks, ranks)
    better = made_run(ranks - random.integers(5, 15, 300), ranks)  # in Food alone
    table = paired.with_intervals({"a": [same], "b": [better], "c": [made_run(ranks + 1, ranks)]}, NAMES, "sampled_999")
    table = table.set_index(["Target", "Model"])
    assert [cell.best for cell in table["MRR"]] == [False, True, False, False, False, False]
    interval = table.at[("Food", "b"), "95 % interval"]
    assert interval.low < table.at[("Food", "b"), "MRR"].mean < interval.high
    second = paired.with_intervals({"a": [same], "b": [better], "twin": [better]}, NAMES, "sampled_999")
    assert not any(cell.best for cell in second["MRR"])  # nobody is best in a tie for the first place


def test_a_control_is_no_rival_of_the_best():
    ranks = list(range(1, 41))
    runs = {"a": [made_run(ranks, ranks)], "b": [made_run([r + 9 for r in ranks], [r + 9 for r in ranks])]}
    runs["control"] = [made_run([1] * 40, [1] * 40, model="numbering")]
    table = paired.with_intervals(runs, NAMES, "sampled_999").set_index(["Target", "Model"])["MRR"]
    assert table["Food", "a"].best and not table["Food", "control"].best and table["Food", "control"].mean == 100


def test_training_data_names_the_share_of_the_papers():
    run = made_run([1], [1], source="c2dsr")
    run.provenance["cases"]["train"] = 7356
    assert evidence.training_data(run).endswith("7,356, or 22% of the number that the paper trains on.")


def test_beside_paper_has_only_models_of_the_paper():
    runs = {"SASRec": [made_run([2], [4])], "IFCDSR (no images)": [made_run([1], [1])]}
    table = paired.beside_paper(runs, paper.PAPER_TABLE2)
    assert table["Model"].unique().tolist() == ["SASRec"]
    assert table["MRR printed"].tolist() == [7.30, 3.79]
    assert [cell.mean for cell in table["MRR here"]] == [50.0, 25.0]


def test_a_published_mrr_stands_beside_ours_by_both_protocols():
    run = made_run([2], [4], model="abxi")
    run.ranks["unseen_999"] = [1.0, 2.0]
    table = complete_data.beside_authors({"ABXI": [run], "SASRec": [run]}, paper.PUBLISHED_ABXI["food_kitchen"])
    assert table["Model"].tolist() == ["ABXI", "ABXI"] and table["MRR printed"].tolist() == [16.55, 12.19]
    here, among_all = ([cell.mean for cell in table[column]] for column in ("MRR here", "999 of all kinds"))
    assert (here, among_all) == ([100, 50], [50, 25])
    assert table["Ratio"].tolist() == pytest.approx([100 / 16.55, 50 / 12.19])
    assert len(complete_data.beside_authors({"SASRec": [run]}, paper.PUBLISHED_ABXI["food_kitchen"])) == 0


def put_run(folder: Path, configured: RunConfig, ranks=(2, 4)) -> Path:
    """A run folder with this configuration, of the code at hand, and one rank in each domain."""
    run = made_run([ranks[0]], [ranks[1]], configured.seed)
    run.provenance["code_versions"] = code_versions(MODELS[configured.model])
    folder.mkdir(parents=True)
    dataclasses.replace(run, folder=folder, config=dataclasses.asdict(configured)).save()
    return folder


def test_shipped_runs_are_those_of_the_experiment_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "results_dir", lambda: tmp_path)
    rows = lists.comparison("food_kitchen", (0, 1), "c2dsr")
    wanted = [rows["IFCDSR (no images)"][1], rows["IFCDSR (no images)"][0], rows["GRU4Rec"][0]]
    others = [
        dataclasses.replace(rows["IFCDSR (no images)"][0], train_negatives=0),  # a reading of the ledger
        dataclasses.replace(rows["SASRec"][0], train_negatives=0, epochs=6),
    ]
    for number, configured in enumerate([*wanted, *others]):
        folder = put_run(
            tmp_path / "runs" / f"c2dsr-food_kitchen-{configured.model}-seed{configured.seed}-{number}", configured
        )
    found = lists.shipped_comparison("c2dsr", "food_kitchen")
    seeds = {label: [run.config["seed"] for run in runs] for label, runs in found.items()}
    assert seeds == {"GRU4Rec": [0], "IFCDSR (no images)": [0]}  # those that all models have
    assert list(found) == ["GRU4Rec", "IFCDSR (no images)"]
    assert list(lists.shipped_comparisons("c2dsr")) == ["food_kitchen"]  # nothing of Movie-Book
    assert lists.shipped_arms(lists.domains, "merged sequence alone") == {}  # one arm is nothing to compare
    assert "ships no results" in evidence.inventory({}).data
    assert "IFCDSR (no images) (1 run)" in evidence.inventory({"food_kitchen": found}).data
    assert "\\<b\\> (1 run)" in evidence.inventory({"food_kitchen": {"<b>": found["GRU4Rec"]}}).data
    (folder / "ranks.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="ranks.parquet is damaged"):
        lists.shipped_comparison("c2dsr", "food_kitchen")


def test_more_users_count_over_the_seeds_that_both_have(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "results_dir", lambda: tmp_path)
    for users, seeds, ranks in (("both", (0, 1), (2, 4)), ("all", (1,), (1, 5))):
        rows = lists.comparison("food_kitchen", seeds, "llmcdsr", source_options={"train_users": users})
        for configured in [*rows["SASRec"], *(rows["GRU4Rec"] if users == "both" else [])]:
            name = f"llmcdsr-food_kitchen-{configured.model}-seed{configured.seed}-{users}"
            put_run(tmp_path / "runs" / name, configured, (1, 1) if configured.seed == 0 else ranks)
    table = complete_data.of_more_users()
    assert table[["Target", "Model", "Seeds"]].to_numpy().tolist() == [["Food", "SASRec", 1], ["Kitchen", "SASRec", 1]]
    assert table["Users of both domains"].tolist() == [50, 25] and table["All users"].tolist() == [100, 20]
    assert [difference.value for difference in table["Difference"]] == pytest.approx([50, -5])


def test_what_a_search_passed_over_stands_under_what_it_chose(tmp_path, monkeypatch):
    data = ("food_kitchen", "c2dsr")
    (chosen,) = lists.comparison(data[0], [0], data[1], ["sasrec"])["SASRec"]
    other, *_ = lists.passed_over(*data, ["sasrec"]).values()
    (elsewhere,) = lists.comparison(data[0], [0], data[1], ["gru4rec"])["GRU4Rec"]
    monkeypatch.setattr(store, "results_dir", lambda: tmp_path)
    for name, configured in {"a": chosen, "b": elsewhere}.items():
        put_run(tmp_path / "runs" / f"c2dsr-food_kitchen-{configured.model}-seed0-{name}", configured)
    assert budget.passed_over("c2dsr", "food_kitchen").empty
    put_run(tmp_path / "runs" / "c2dsr-food_kitchen-sasrec-seed0-c", *other)
    table = budget.passed_over("c2dsr", "food_kitchen")
    assert table["Model"].tolist() == ["SASRec"] * 2  # without what has nothing beside it
    assert table["Rate"].tolist() == [f"{chosen.learning_rate:g} (chosen)", f"{other[0].learning_rate:g}"]


def test_what_more_patience_brings_is_paired_by_seed(tmp_path, monkeypatch):
    usual = lists.comparison("movie_book", [0, 1], "c2dsr", ["sasrec", "gru4rec"])
    patient = lists.patience("movie_book", [0, 1], "c2dsr", ["sasrec", "gru4rec"])
    assert {one.patience for runs in patient.values() for one in runs} == {4 * usual["SASRec"][0].patience}
    assert usual == lists.patience("movie_book", [0, 1], "c2dsr", ["sasrec", "gru4rec"], patience=10, epochs=100)
    monkeypatch.setattr(store, "results_dir", lambda: tmp_path)
    assert budget.patience_verdict(budget.patience({}, "c2dsr", "movie_book")).startswith("Of 0 models")
    made = {"a": (usual["SASRec"][0], (4, 4)), "b": (usual["SASRec"][1], (4, 4)), "c": (usual["GRU4Rec"][0], (2, 2))}
    made |= {"d": (patient["SASRec"][1], (2, 5)), "e": (patient["GRU4Rec"][0], (2, 2))}
    for name, (configured, ranks) in made.items():
        folder = f"c2dsr-movie_book-{configured.model}-seed{configured.seed}-{name}"
        put_run(tmp_path / "runs" / folder, configured, ranks)
    table = budget.patience(budget.patient_runs("c2dsr", "movie_book"), "c2dsr", "movie_book")
    assert table["Target"].tolist() == ["Movie", "Movie", "Book", "Book"]
    assert table["Model"].tolist() == ["GRU4Rec", "SASRec"] * 2 and table["Test"].tolist() == [50, 50, 50, 20]
    assert [cell.value for cell in table["Change"]] == pytest.approx([0, 25, 0, -5])  # of the one seed that both have
    table["Best epoch"], table["With patience"] = "1", ["1", "7"] * 2
    assert budget.patience_verdict(table) == (
        "Of 2 models, 1 find a better epoch, with one seed at least. Beyond noise this raises the test MRR of "
        "SASRec (Movie) and lowers that of SASRec (Book)."
    )


def test_the_origin_of_runs_says_what_is_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "results_dir", lambda: Path())
    here, there = made_run([1], [1]), made_run([1], [1], seed=1)
    for run in (here, there):
        run.provenance.update(commit="0123456789", seconds=90.0)
    here = dataclasses.replace(here, folder=tmp_path / "mine")
    text = evidence.origin([here, there, there], "sweep ablation").data
    assert text.startswith("*2 runs, 1 of them shipped with this book (code of 0123456); 3 minutes")
    assert "`python -m ifcdsr_core sweep ablation --recompute`" in text
    assert "all made here" in evidence.origin([here], "sweep ablation").data


# --- differences ---


def test_against_rivals_by_hand(experiment):
    table = paired.against_rivals(experiment, "IFCDSR", NAMES, "sampled_999")
    assert table[["Target", "Rival"]].to_numpy().tolist() == [["Food", "SASRec"], ["Kitchen", "SASRec"]]
    food, kitchen = table["Difference"]
    assert food.value == pytest.approx(25.0)  # cases: 100 - 50 and 75 - 75
    assert food.high - 25 == 25 - food.low == pytest.approx(12.706205 * 25)  # the noise of ``gains``, below
    assert kitchen.value == pytest.approx(0.0) and kitchen.high == -kitchen.low == pytest.approx(12.706205 * 10)
    assert [p.value for p in table["p"]] == pytest.approx([0.5, 1.0])  # t = 1 with one degree of freedom, and 0
    assert table["Verdict"].tolist() == ["undecided"] * 2
    assert str(Difference(0.001, -1.5, 2)).replace("\u00a0", " ") == "+0.00 (−1.50 to +2.00)"
    shown = [str(PValue(value)).replace("\u00a0", " ") for value in (math.nan, 0.0004, 0.0123, 1.0)]
    assert shown == ["–", "< 0.001", "0.012", "1.000"]


def test_verdicts_on_rivals_have_a_direction_and_are_corrected_for_the_number_of_tests():
    random = np.random.default_rng(1)
    base = random.integers(2, 50, 400).astype(float)
    runs = {
        "Ours": [made_run(base, base)],
        "weak": [made_run(base + 10, base)],
        "strong": [made_run(base - 1, base)],
        "alike": [made_run(random.permutation(base), base)],
    }
    table = paired.against_rivals(runs, "Ours", NAMES, "sampled_999")
    verdicts = table.set_index(["Target", "Rival"])["Verdict"].to_dict()
    assert verdicts == {
        ("Food", "weak"): "better",
        ("Food", "strong"): "worse",
        ("Food", "alike"): "undecided",
        **{("Kitchen", name): "undecided" for name in ("weak", "strong", "alike")},
    }
    assert all(adjusted.value >= p.value for adjusted, p in zip(table["Holm"], table["p"], strict=True))
    text = comparison.rivals_verdict(table, "Ours")
    assert text.startswith("**Food**: Ours is better than weak; worse than strong; not told apart from alike.")
    assert "**Kitchen**: Ours is not told apart from weak, strong and alike." in text


@pytest.mark.parametrize("others, negatives", [(8, 0), (8, 1), (8, 3), (8, 8), (5, 4)])
def test_expected_reciprocal_rank_is_the_mean_over_all_draws(others, negatives):
    for above in range(others + 1):
        draws = itertools.combinations([1] * above + [0] * (others - above), negatives)
        expected = np.mean([1 / (1 + sum(drawn)) for drawn in draws])
        ours = paired.expected_reciprocal_rank(np.array([above + 1.0]), others + 1, negatives)
        assert ours[0] == pytest.approx(expected)


def test_expected_mrr_at_999_negatives_agrees_with_drawn_ones():
    from ifcdsr_core.protocol import negatives

    random = np.random.default_rng(0)
    rank = random.integers(1, 100, 4000)
    drawn = negatives(rank - 1, 5000, seed=0)  # let the target of rank r stand at position r - 1
    sampled = 1 + (drawn < (rank - 1)[:, None]).sum(axis=1)
    assert (1 / sampled).mean() == pytest.approx(paired.expected_reciprocal_rank(rank, 5000, 999).mean(), rel=0.05)


def test_both_protocols_and_what_they_say(experiment):
    for run in experiment["IFCDSR"]:
        run.ranks["full"] = 50.0 + np.arange(4)
        run.metrics.update(summarise(run.ranks))
    table = paired.both_protocols(experiment, NAMES)
    places = table.set_index(["Target", "Model"])
    assert places.at[("Food", "IFCDSR"), "Place, 999 negatives"] == 1
    assert places.at[("Food", "IFCDSR"), "Place, all items"] == 2
    assert places.at[("Food", "SASRec"), "Ratio"] == pytest.approx(2.0)
    text = protocol.protocol_verdict(table)
    assert "**Food**: IFCDSR is first against 999 negatives, SASRec among all items; 2 of 2 models" in text
    curves = paired.over_candidates(experiment, NAMES, (100, 200), points=5)
    assert curves.groupby("domain")["negatives"].max().to_dict() == {"Food": 99, "Kitchen": 199}
    last = curves[(curves["negatives"] == 99) & (curves["label"] == "SASRec")]["MRR"].iloc[0]
    assert last == pytest.approx(31.25)  # with all as negatives: what full says


def test_runs_on_other_cases_are_not_compared(experiment):
    experiment["SASRec"] = [made_run([2, 2], [4, 4], first_user=5)]
    with pytest.raises(InputError, match="tested on different cases"):
        paired.against_rivals(experiment, "IFCDSR", NAMES, "sampled_999")


def test_gains_are_paired_by_seed_and_case(experiment):
    food, kitchen = paired.gains(experiment["IFCDSR"], experiment["SASRec"], NAMES).to_dict("records")
    # Food: both seeds gain 25 points; cases gain 50 and 0 on average
    assert food["gain"] == pytest.approx(25) and food["seed_error"] == pytest.approx(0)
    assert food["case_error"] == pytest.approx(25) and food["noise"] == pytest.approx(12.706205 * 25)  # t(1)
    assert food["verdict"] == "within noise"
    # Kitchen: seeds gain -5 and +5, which is less than they do to single cases; cases +10 and -10
    assert kitchen["gain"] == pytest.approx(0) and kitchen["seed_error"] == pytest.approx(5)
    assert kitchen["case_error"] == pytest.approx(10) and kitchen["noise"] == pytest.approx(12.706205 * 10)
    with pytest.raises(InputError, match="same seeds"):
        paired.gains(experiment["IFCDSR"], experiment["SASRec"][:1], NAMES)


def test_a_domain_without_test_cases_has_no_gain_and_no_verdict():
    after, before = made_run([1, 2], []), made_run([2, 2], [])
    assert paired.gains([after], [before], NAMES)["domain"].tolist() == ["Food"]
    experiment = {"IFCDSR": [after], "SASRec": [before]}
    table = paired.against_rivals(experiment, "IFCDSR", NAMES, "sampled_999")
    assert table["Verdict"].tolist() == ["undecided", "undecided"]
    assert paired.both_protocols(experiment, NAMES)["Place, all items"].dropna().tolist() == [1, 2]


def test_seeds_that_disagree_make_no_verdict():
    base, seeds = np.full(400, 4.0), (0, 1, 2)
    better, mixed = (
        [made_run(np.resize(ranks, 400), base, seed=seed) for seed, ranks in zip(seeds, of_seeds, strict=True)]
        for of_seeds in (([2, 1], [1, 2], [2, 1]), ([2, 1], [4, 4], [4, 5]))
    )
    counting = [made_run(base, base, model="popularity")]
    for ours, verdict in ((better, "better"), (mixed, "undecided")):
        runs = {"Ours": ours, "Counts": counting, "SASRec": [made_run(base, base, seed=seed) for seed in (7, *seeds)]}
        table = paired.against_rivals(runs, "Ours", NAMES, "sampled_999")
        assert table["Verdict"].tolist() == [verdict, verdict, "undecided", "undecided"]
        pooled = paired.Difference.of(paired.paired_values(ours, counting, "sampled_999", "MRR", "x").mean(axis=0))
        assert pooled.low > 0  # over test cases alone, as if the weights were the only ones possible
    with pytest.raises(InputError, match="same seeds"):
        paired.against_rivals({"Ours": better, "SASRec": runs["SASRec"][:1]}, "Ours", NAMES, "sampled_999")


def test_runs_are_paired_over_the_seeds_of_both():
    runs = [[made_run([1], [1], seed=seed) for seed in seeds] for seeds in ((0, 1, 3), (1, 2, 3))]
    for found in paired.of_both_seeds(*runs):
        assert [run.config["seed"] for run in found] == [1, 3]


def test_verdicts_follow_the_numbers():
    base, better, worse = (made_run([rank] * 4, [rank] * 4) for rank in (2, 1, 4))
    assert paired.gains([better], [base], NAMES)["verdict"].tolist() == ["a gain"] * 2
    assert paired.gains([worse], [base], NAMES)["verdict"].tolist() == ["a loss"] * 2


def controls(nothing=2, own=1, other=2):
    """An image control at 0 and 1; ranks 2 and 1 are MRRs of 50 and 100."""
    made = {rank: [made_run([rank] * 4, [rank] * 4)] for rank in (1, 2, 4)}
    return {
        0.0: {"without images": made[2], "with images": made[nothing], "with other items' images": made[2]},
        1.0: {"without images": made[2], "with images": made[own], "with other items' images": made[other]},
    }


def test_gains_of_a_control_by_its_dial():
    table = paired.control_gains(controls(), paired.IMAGE_STEPS, NAMES)
    assert len(table) == 3 * 2 * 2
    chosen = table[(table["signal"] == 1) & (table["domain"] == "Kitchen")]
    assert dict(zip(chosen["compared"], chosen["gain"], strict=True)) == {
        "images": 50.0,
        "other items' images": 0.0,
        "images over those of other items": 50.0,
    }
    wide = evidence.control_table(table)
    assert wide.columns.tolist() == ["compared", "domain", "0", "1"]
    assert wide.iloc[0].tolist() == ["images", "Food", "+0.00\u00a0±\u00a00.00", "+50.00\u00a0±\u00a00.00"]


@pytest.mark.parametrize(
    "ranks, held", [({}, [2, 2]), ({"nothing": 1}, [0, 2]), ({"other": 1}, [2, 0]), ({"own": 4}, [2, 0])]
)
def test_the_verdict_on_images_says_which_controls_hold(ranks, held):
    table = paired.control_gains(controls(**ranks), paired.IMAGE_STEPS, NAMES)
    text = evidence.modality_verdict(table, paired.IMAGE_STEPS, "pictures")
    found = [2 if words.startswith("**holds**") else int(words.split()[2]) for words in text.split(": this ")[1:]]
    assert found == held
    assert f"pictures of other items {'+50.00' if 'other' in ranks else '+0.00'} ± 0.00 (Food)" in text
    assert ("a second opinion of every item is enough" in text) == ("other" in ranks)
    assert ("owed to what they tell" in text) == ("other" not in ranks and "own" not in ranks)
    rises = "from the dial at 0 to 1 the gain " + ("rises, from +0.00" if not ranks or "other" in ranks else "")
    assert rises in text


def test_a_placebo_that_harms_is_called_so():
    table = paired.control_gains(controls(other=4), paired.IMAGE_STEPS, NAMES)
    assert "knows nothing of it does harm" in evidence.modality_verdict(table, paired.IMAGE_STEPS, "pictures")


def test_the_reference_is_ifcdsr_wherever_it_stands():
    runs = {
        "SASRec": [made_run([1], [1], model="sasrec")],
        "IFCDSR (no images)": [made_run([1], [1])],
        "LLM-EMF": [made_run([1], [1], model="llm_emf")],
    }
    assert paired.reference(runs) == "IFCDSR (no images)"
    with pytest.raises(InputError, match="add ifcdsr"):
        paired.reference({"SASRec": runs["SASRec"]})


def test_the_verdict_on_domains_says_whether_a_gain_grows():
    one, two = [made_run([1] * 4, [2] * 4)], [made_run([2] * 4, [2] * 4)]
    runs = {
        0.0: {"merged sequence alone": two, "own domain alone": two, "multiple attention": two},
        1.0: {"merged sequence alone": two, "own domain alone": one, "multiple attention": one},
    }
    text = ablation.domain_verdict(paired.control_gains(runs, paired.DOMAIN_STEPS, NAMES))
    rises, same = text.count("rises, from +0.00 ± 0.00 to +50.00 ± 0.00 points"), text.count("changes within noise")
    assert (rises, same, "is not owed to the other domain" in text) == (1, 3, False)


def test_a_gain_where_the_domains_share_nothing_is_not_called_carried_over():
    one, two = [made_run([1] * 4, [2] * 4)], [made_run([2] * 4, [2] * 4)]
    runs = dict.fromkeys((0.0, 1.0), {"merged sequence alone": two, "own domain alone": two, "multiple attention": one})
    text = ablation.domain_verdict(paired.control_gains(runs, paired.DOMAIN_STEPS, NAMES))
    assert "add +50.00 ± 0.00 (Food) and +0.00 ± 0.00 (Kitchen): where that is beyond noise," in text


def test_step_gains_go_from_label_to_label(experiment):
    table = paired.step_gains({"a": experiment["SASRec"], "b": experiment["IFCDSR"], "c": experiment["IFCDSR"]}, NAMES)
    assert list(zip(table["step"], table["domain"], strict=True)) == list(itertools.product("bc", NAMES))
    assert table["gain"].tolist() == pytest.approx([25, 0, 0, 0])


def test_arms_are_compared_over_the_seeds_of_both_by_the_protocol_that_chose_their_epochs():
    runs = {
        "own domain alone": [made_run([4], [4], seed) for seed in (0, 1)],
        "multiple attention": [made_run([2], [4], seed) for seed in (1, 2)],
    }
    table = paired.arm_gains(runs, paired.DOMAIN_STEPS, NAMES)
    assert table["compared"].unique().tolist() == ["over each domain alone"]  # there is no arm of the other step
    assert table["gain"].tolist() == pytest.approx([25, 0]) and table["seed_error"].isna().all()  # seed 1 alone
    for run in itertools.chain(*runs.values()):
        run.config["select_protocol"] = "full"
    assert paired.arm_gains(runs, paired.DOMAIN_STEPS, NAMES)["gain"].tolist() == pytest.approx([12.5, 0])
    runs["multiple attention"] = runs["multiple attention"][1:]
    with pytest.raises(InputError, match="same seeds"):
        paired.arm_gains(runs, paired.DOMAIN_STEPS, NAMES)
    with pytest.raises(InputError, match="no two of the arms"):
        paired.arm_gains({"own domain alone": runs["own domain alone"]}, paired.DOMAIN_STEPS, NAMES)


def test_how_far_counting_leads_beside_printed_numbers():
    counted = {
        "Popularity": [made_run([12], [100], model="popularity")],
        "Co-occurrence": [made_run([20], [25], model="cooccurrence")],
        "SASRec": [made_run([1], [1], model="sasrec")],
    }
    text = evidence.baselines_verdict(counted, paper.PAPER_TABLE2)
    assert text == (
        "**Food**: Popularity, which learns nothing, has an MRR of 8.33; 3 of the 6 printed ones are lower, "
        "that of IFCDSR (9.05) is not. **Kitchen**: Co-occurrence, which learns nothing, has an MRR of 4.00; "
        "2 of the 6 printed ones are lower, that of IFCDSR (4.95) is not."
    )
    better = {"Popularity": [made_run([10], [30], model="popularity")]}
    assert evidence.baselines_verdict(better, paper.PAPER_TABLE3).count("among them") == 2
    assert evidence.baselines_verdict({"SASRec": counted["SASRec"]}, paper.PAPER_TABLE2) == ""


def test_training_course_says_how_far_each_model_got():
    runs = [made_run([1], [1], seed=seed, model="sasrec", epochs=8) for seed in (0, 4)]
    runs[0].history["seconds"], runs[1].history["seconds"] = 60.0, 20.0
    experiment = {"SASRec": runs, "Popularity": [made_run([1], [1], model="popularity")]}
    table = budget.training_course(experiment)
    assert table.to_numpy().tolist() == [["SASRec", "0,\u00a04", "3\u00a0of\u00a08", "2", 2.0]]
    runs[1].history["selection"] = [0.1, 0.2, 0.3]
    assert budget.training_course(experiment)["Best epoch"].item() == "2\u00a0to\u00a03\u00a0†"


def test_the_budget_tells_of_each_data_set_and_model_how_it_was_trained_and_searched(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "results_dir", lambda: tmp_path)
    settings = {"epochs": 8, "learning_rate": 0.1, "l2": 0.0}
    rows = {MODELS[model].title: [made_run([1], [1], model=model, **settings)] for model in ("sasrec", "gru4rec")}
    for run in [*rows["SASRec"], *rows["GRU4Rec"]]:
        run.history["seconds"] = 60.0
    (run,) = rows["SASRec"]
    longer = dataclasses.replace(run, config=run.config | {"epochs": 24})
    search.keep(search.outcome([[run, run], [longer]]), "abxi", "food_kitchen")
    counted = {"Popularity": [made_run([1], [1], model="popularity")]}
    results = {("abxi", "beauty_electronics"): rows | counted, ("c2dsr", "food_kitchen"): rows}
    table = budget.budget(results)
    assert table["Data"].tolist() == 2 * ["Beauty-Electronics (ABXI's data)"] + 2 * ["Food-Kitchen (the paper's data)"]
    assert table["Model"].tolist() == 2 * ["SASRec", "GRU4Rec"]
    assert table["Candidates"].tolist() == [2, None, None, None]  # those of ABXI's Food-Kitchen, which is trained alike
