"""Scores for ranking, made block by block, against the dense computation; and what the base of all models offers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ifcdsr_core import blocks
from ifcdsr_core.models.base import look_up, unit
from ifcdsr_core.models.ranking import Softmax, inner_products, mixture_log_p


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_inner_products_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 7)
    queries, items = vectors(3, 5), vectors(50, 5, seed=1)
    torch.testing.assert_close(inner_products(queries, items), queries @ items.T)


@pytest.mark.parametrize("temperature", [1.0, 0.07, 0.01])
def test_a_mixture_of_softmaxes_is_the_dense_one(monkeypatch, temperature):
    monkeypatch.setattr(blocks, "BLOCK", 7)
    queries = [F.normalize(vectors(4, size, seed=size), dim=1) / temperature for size in (8, 12, 8)]
    items = [F.normalize(vectors(50, size, seed=1), dim=1) for size in (8, 12, 8)]
    items[2] = items[2][20:40]  # a softmax over what is asked for alone
    weights, first = (0.6, 0.3, 0.1), (20, 20, 0)
    parts = [
        Softmax(query, item, torch.tensor(weight).log(), start)
        for query, item, weight, start in zip(queries, items, weights, first, strict=True)
    ]
    expected = torch.stack(
        [
            weight * (query.double() @ item.double().T).softmax(dim=1)[:, start : start + 20]
            for query, item, weight, start in zip(queries, items, weights, first, strict=True)
        ]
    ).sum(dim=0)
    torch.testing.assert_close(mixture_log_p(parts, 20).double(), expected.log(), rtol=1e-5, atol=2e-5)


def test_parts_of_weight_0_say_nothing():
    query, items = vectors(2, 4), F.normalize(vectors(9, 4, seed=1), dim=1)
    silent, only = (
        Softmax(vectors(2, 4, seed=2), items, torch.tensor(-torch.inf)),
        Softmax(query, items, torch.zeros(())),
    )
    torch.testing.assert_close(mixture_log_p([silent, only], 9), (query @ items.T).log_softmax(dim=1))


def test_scores_are_not_overwritten_by_the_next_ones():
    items = F.normalize(vectors(9, 4, seed=1), dim=1)
    first = mixture_log_p([Softmax(vectors(2, 4), items, torch.zeros(()))], 9)
    kept = first.clone()
    mixture_log_p([Softmax(vectors(2, 4, seed=5), items, torch.zeros(()))], 9)
    assert torch.equal(first, kept)


def test_unit_is_normalize_in_value_and_gradient(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 7)
    matrix = vectors(20, 5)
    matrix[3] = 0
    one, other, upstream = matrix.clone().requires_grad_(), matrix.clone().requires_grad_(), vectors(20, 5, seed=1)
    upstream[3] = 0  # nothing looks at padding
    torch.testing.assert_close(unit(one), F.normalize(other, dim=1))
    unit(one).backward(upstream)
    F.normalize(other, dim=1).backward(upstream)
    torch.testing.assert_close(one.grad, other.grad)


def test_one_look_up_serves_several_sequences():
    matrix = vectors(9, 4).requires_grad_()
    ids = torch.tensor([[1, 2, 0], [8, 0, 0]]), torch.tensor([[3], [3]])
    for found, wanted in zip(look_up(matrix, *ids), ids, strict=True):
        assert torch.equal(found, matrix[wanted])
