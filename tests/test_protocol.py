"""Ranks, negatives and metrics; metrics are checked against ir-measures."""

from __future__ import annotations

import ir_measures
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.batches import encode
from ifcdsr_core.errors import InputError
from ifcdsr_core.metrics import METRICS, per_case, summarise
from ifcdsr_core.models.base import ModelInputs, SequenceModel
from ifcdsr_core.protocol import _smallest, negatives, rank_among, rank_cases
from ifcdsr_core.scenario import Scenario


class Fixed(SequenceModel):
    """Scores every case with the given row of scores."""

    def __init__(self, scores):
        super().__init__(None, ModelInputs(NUM_X, NUM_Y, 20))
        self.weight, self.scores = nn.Parameter(torch.zeros(1)), scores

    def score(self, batch, domain):
        return self.scores[domain].expand(len(batch), -1)


WIDTHS = (NUM_X, NUM_Y)
WRONG_SCORES = {
    "a column more": (lambda domain: torch.rand(1, WIDTHS[domain] + 1), "gave torch.float32 (11, 13): it must give"),
    "a column less": (lambda domain: torch.rand(1, WIDTHS[domain] - 1), "(11, 12), a column for each item"),
    "both domains": (lambda domain: torch.rand(1, NUM_X + NUM_Y), "(11, 12), a column for each item"),
    "whole numbers": (lambda domain: torch.ones(1, WIDTHS[domain], dtype=torch.int64), "torch.int64"),
    "truths": (lambda domain: torch.ones(1, WIDTHS[domain], dtype=torch.bool), "torch.bool"),
    "a NaN among the others": (
        lambda domain: torch.tensor([float("nan")] + [0.0] * (WIDTHS[domain] - 1)),
        "NaN for 11 of",
    ),
    "all NaN": (lambda domain: torch.full((WIDTHS[domain],), float("nan")), "NaN for 132 of 132 scores"),
    "NaN beside infinity": (lambda domain: torch.tensor([float("inf"), *[float("nan")] * (WIDTHS[domain] - 1)]), "NaN"),
}


@pytest.mark.parametrize("case", WRONG_SCORES)
def test_scores_that_cannot_be_ranked_are_refused(case):
    scores, says = WRONG_SCORES[case]
    model, cases = Fixed([scores(0), scores(1)]), encode(tiny().sequences, NUM_X, 20)
    with pytest.raises(InputError, match=r"^score\(\) of Fixed gave ") as caught:
        rank_cases(model, cases[cases.target_domain == 0][:11], 0)
    assert says in str(caught.value)


def test_of_a_model_without_parameters_no_learning_rate_is_spoken():
    model, cases = Fixed([torch.full((NUM_X,), float("nan")), torch.zeros(NUM_Y)]), encode(tiny().sequences, NUM_X, 20)
    with pytest.raises(InputError, match="NaN .*lower learning_rate"):
        rank_cases(model, cases, 0)
    model.weight.requires_grad_(False)
    with pytest.raises(InputError, match="NaN .*each item needs a number"):
        rank_cases(model, cases, 0)


@pytest.mark.parametrize("domain", [0, 1])
def test_a_split_without_targets_of_a_domain_is_ranked_in_the_other(domain):
    model, cases = Fixed([torch.rand(NUM_X), torch.rand(NUM_Y)]), encode(tiny().sequences, NUM_X, 20)
    whole = rank_cases(model, cases, 0)
    kept = cases.target_domain == domain
    pd.testing.assert_frame_equal(
        rank_cases(model, cases[kept], 0)[["full"]], whole.loc[kept.numpy(), ["full"]].reset_index(drop=True)
    )
    assert set(summarise(rank_cases(model, cases[kept], 0))["domain"]) == {"xy"[domain]}


def test_negatives_are_distinct_in_range_seeded_and_without_the_target():
    target = np.array([0, 4_999, 17, 2_500])
    drawn = negatives(target, 5_000, seed=3)
    assert drawn.shape == (4, 999)
    for row, wanted in zip(drawn, target, strict=True):
        assert len(set(row)) == 999 and wanted not in row and row.min() >= 0 and row.max() < 5_000
    assert np.array_equal(drawn, negatives(target, 5_000, seed=3))
    assert not np.array_equal(drawn, negatives(target, 5_000, seed=4))


def test_of_equal_keys_the_first_are_drawn_on_every_processor():
    keys = np.array([[0.5, 0.1, 0.5, 0.5, 0.2], [0.3, 0.3, 0.3, 0.3, 0.3], [0.5, 0.4, 0.3, 0.2, 0.1]], np.float32)
    assert _smallest(keys, 3).tolist() == [[0, 1, 4], [0, 1, 2], [2, 3, 4]]


def test_negatives_are_uniform():
    drawn = negatives(np.full(3_000, 10), 2_000, seed=0)
    counts = np.bincount(drawn.ravel(), minlength=2_000)
    expected = 3_000 * 999 / 1_999
    assert counts[10] == 0
    assert abs(np.delete(counts, 10) - expected).max() < 6 * np.sqrt(expected * 0.5)


def test_a_small_domain_gives_all_others():
    assert sorted(negatives(np.array([2]), 5, seed=0)[0]) == [0, 1, 3, 4]


def test_what_the_user_knows_comes_last():
    target, known = np.array([3, 0, 4_999]), np.array([[3, 5, 4_999], [0, 1, -1], [7, 4_998, 9_999]])
    drawn, others = negatives(target, 5_000, 3, known), negatives(target, 5_000, 3)
    for row, taken, wanted, of_user in zip(drawn, others, target, known, strict=True):
        assert len(set(row)) == 999 and wanted not in row and not set(row) & set(of_user)
        assert len(set(taken) - set(row)) <= 3  # the others stay: the two protocols are compared on equal draws
    everything_but = negatives(np.array([2]), 5, 0, np.array([[0, 4]]))
    assert sorted(everything_but[0]) == [0, 1, 3, 4]  # too few others: what is known fills the places


def test_unseen_negatives_are_uniform_over_what_is_not_known():
    known = np.tile([[3, 1_999]], (3_000, 1))
    counts = np.bincount(negatives(np.full(3_000, 10), 2_000, 0, known).ravel(), minlength=2_000)
    expected = 3_000 * 999 / 1_997
    assert counts[[3, 10, 1_999]].tolist() == [0, 0, 0]
    assert abs(np.delete(counts, [3, 10, 1_999]) - expected).max() < 6 * np.sqrt(expected * 0.5)


def test_a_scorer_that_likes_what_the_user_has_seen_loses_nothing_against_unseen_items():
    """The history above the target costs ranks among all items and among 999 others, none among unseen ones."""
    world = wide_world()
    scores = torch.zeros(len(world.sequences), world.num_items_x)
    for row, items in enumerate(world.sequences["items"]):
        scores[row, items[:-1] - 1] = 2.0
        scores[row, items[-1] - 1] = 1.0
    model = Fixed([None, None])
    model.inputs = ModelInputs(world.num_items_x, world.num_items_y, 20)
    model.score = lambda batch, domain: scores[: len(batch)]
    split = world.split("test")
    ranks = rank_cases(model, encode(split, world.num_items_x, 20, world.sequences), 0)
    assert (ranks["unseen_999"] == 1).all() and (ranks["full"] == 4).all()
    assert 1 < ranks["sampled_999"].mean() < 4
    without = rank_cases(model, encode(split, world.num_items_x, 20), 0)
    assert (without["unseen_999"] == without["sampled_999"]).all()
    assert (without[["sampled_999", "full"]] == ranks[["sampled_999", "full"]]).all(axis=None)


def wide_world():
    """40 users, each with three items and a target of the 1,500 of X, in one sequence."""
    random = np.random.default_rng(0)
    items = pd.DataFrame({"item": range(1, 1_511), "domain": ["x"] * 1_500 + ["y"] * 10, "title": None, "image": None})
    items["source_id"] = items["item"].astype(str)
    rows = [(f"u{user}", "test", "x", random.permutation(1_500)[:4] + 1, None) for user in range(40)]
    columns = ["user", "split", "target_domain", "items", "timestamps"]
    return Scenario("food_kitchen", "demo", items, pd.DataFrame(rows, columns=columns))


def test_known_are_the_items_of_the_user_in_all_splits():
    sequences = pd.DataFrame(
        {
            "user": ["a", "b", "a", "c"],
            "split": ["train", "test", "test", "test"],
            "items": [np.array([1, 2, 3]), np.array([4, 13]), np.array([3, 14]), np.array([5, 6])],
        }
    )
    test = sequences[sequences["split"] == "test"]
    known = encode(test, NUM_X, 20, sequences).known
    assert [sorted(set(row.tolist()) - {0}) for row in known] == [[4, 13], [1, 2, 3, 14], [5, 6]]
    assert encode(test, NUM_X, 20).known.shape == (3, 0)


def test_ties_are_averaged():
    rank, equal = rank_among(
        torch.tensor([1.0, 1.0, 0.0]), torch.tensor([[1.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    )
    assert rank.tolist() == [3.0, 1.0, 2.5] and equal.tolist() == [2, 0, 3]


def test_a_constant_scorer_gets_the_middle_rank():
    cases = encode(tiny().sequences, NUM_X, 20)
    ranks = rank_cases(Fixed((torch.zeros(NUM_X), torch.zeros(NUM_Y))), cases, seed=0)
    middle = ranks["target_domain"].map({"x": (NUM_X + 1) / 2, "y": (NUM_Y + 1) / 2})
    assert np.array_equal(ranks["full"], middle) and np.array_equal(ranks["sampled_999"], middle)
    others = ranks["target_domain"].map({"x": NUM_X - 1, "y": NUM_Y - 1})
    assert np.array_equal(ranks["full_ties"], others) and np.array_equal(ranks["sampled_999_ties"], others)


def test_first_and_last_item_of_each_domain_are_ranked():
    scores = (torch.arange(NUM_X).float(), torch.arange(NUM_Y).float())  # the last item of a domain is best
    cases = encode(tiny(300).sequences, NUM_X, 20)
    ranks = rank_cases(Fixed(scores), cases, seed=0)
    best = {1: NUM_X, NUM_X: 1, NUM_X + 1: NUM_Y, NUM_X + NUM_Y: 1}
    for item, rank in best.items():
        rows = ranks[ranks["target_item"] == item]
        assert len(rows) and set(rows["full"]) == {float(rank)}


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_equal_those_of_ir_measures(metric):
    random = np.random.default_rng(0)
    ranks = random.integers(1, 40, size=200)
    run, qrels = [], []
    for case, rank in enumerate(ranks):
        qrels.append(ir_measures.Qrel(str(case), "target", 1))
        run += [
            ir_measures.ScoredDoc(str(case), "target" if place == rank else f"other{place}", -float(place))
            for place in range(1, 41)
        ]
    name = {"MRR": "RR"}.get(metric, metric.replace("NDCG", "nDCG").replace("HR", "Success"))
    theirs = {m.query_id: m.value for m in ir_measures.iter_calc([ir_measures.parse_measure(name)], qrels, run)}
    np.testing.assert_allclose(per_case(ranks, metric), [theirs[str(case)] for case in range(200)], atol=1e-12)


def test_summary_is_per_protocol_and_domain():
    ranks = pd.DataFrame({"target_domain": ["x", "x", "y"], "sampled_999": [1.0, 4.0, 2.0], "full": [2.0, 8.0, 10.0]})
    table = summarise(ranks).set_index(["protocol", "domain"])
    assert table.loc[("sampled_999", "x"), "MRR"] == pytest.approx((1 + 1 / 4) / 2)
    assert table.loc[("full", "y"), "NDCG@10"] == pytest.approx(1 / np.log2(11))
    assert table.loc[("full", "x"), "cases"] == 2
