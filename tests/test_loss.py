"""The chunked mixture loss against the dense computation it stands for."""

from __future__ import annotations

import pytest
import torch

from ifcdsr_core import blocks, loss
from ifcdsr_core.loss import Predictions, mixture_nll, sample


def dense(queries, items, targets, log_mixing):
    log_p = torch.stack([(q @ e.T).log_softmax(dim=1) for q, e in zip(queries, items, strict=True)])
    log_p = log_p + log_mixing[:, None, None]
    return -log_p.logsumexp(dim=0).gather(1, targets[:, None]).sum()


def chunked(queries, items, targets, log_mixing, log_weights=None):
    return mixture_nll([Predictions(queries, targets, slice(0, len(items[0])), log_weights)], items, log_mixing)


def case(rows=23, num_items=50, widths=(8, 12), mixing=(0.7, 0.3), dtype=torch.float32):
    random = torch.Generator().manual_seed(0)
    queries = [torch.randn(rows, width, generator=random, dtype=dtype, requires_grad=True) for width in widths]
    items = [torch.randn(num_items, width, generator=random, dtype=dtype, requires_grad=True) for width in widths]
    targets = torch.randint(num_items, (rows,), generator=random)
    targets[:2] = torch.tensor([0, num_items - 1])
    return queries, items, targets, torch.tensor(mixing, dtype=dtype).log().requires_grad_()


@pytest.mark.parametrize("chunk_rows", [1, 7, 23, 1000])
@pytest.mark.parametrize("widths, mixing", [((8,), (1.0,)), ((8, 12), (0.7, 0.3)), ((4, 5, 6), (0.5, 0.3, 0.2))])
def test_equals_the_dense_loss_in_value_and_gradient(monkeypatch, chunk_rows, widths, mixing):
    monkeypatch.setattr(loss, "BUFFER_ELEMENTS", len(widths) * chunk_rows * 50)
    queries, items, targets, log_mixing = case(widths=widths, mixing=mixing)
    inputs = [*queries, *items, log_mixing]
    ours, naive = chunked(queries, items, targets, log_mixing), dense(queries, items, targets, log_mixing)
    torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-5)
    for a, b in zip(torch.autograd.grad(2 * ours, inputs), torch.autograd.grad(2 * naive, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 30])  # where no maximum has to be subtracted, and where one has
def test_several_predictions_share_items_and_have_weights_and_other_ways_to_the_target(monkeypatch, factor):
    monkeypatch.setattr(blocks, "BLOCK", 16)
    queries, items, targets, log_mixing = case(rows=8)
    queries = [(factor * query).detach().requires_grad_() for query in queries]
    log_open = torch.tensor([0.9, 0.5, 0.1]).log().requires_grad_()
    log_other = torch.tensor([0.05, 0.2, 0.0]).log().requires_grad_()
    early, late = ([query[rows] for query in queries] for rows in (slice(0, 5), slice(5, 8)))
    inside = targets[5:] % 30  # among items 10 to 39
    ours = mixture_nll(
        [
            Predictions(early, targets[:5], slice(0, 50), weight=0.3),
            Predictions(late, inside, slice(10, 40), log_open=log_open, log_other=log_other),
        ],
        items,
        log_mixing,
    )
    part = [item[10:40] for item in items]
    p = torch.stack([-dense([q[[r]] for q in late], part, inside[[r]], log_mixing) for r in range(3)])
    naive = 0.3 * dense(early, items, targets[:5], log_mixing) - torch.logaddexp(log_open + p, log_other).sum()
    torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-5)
    inputs = [*queries, *items, log_mixing, log_open, log_other]
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(naive, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * factor)


def test_gradient_by_finite_differences():
    queries, items, targets, log_mixing = case(rows=5, num_items=7, widths=(3, 2), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *t: chunked(t[:2], t[2:4], targets, t[4]), (*queries, *items, log_mixing))


def test_large_logits_neither_overflow_nor_vanish():
    queries, items, targets, log_mixing = case()
    queries = [(100 * q).detach().requires_grad_() for q in queries]
    value = chunked(queries, items, targets, log_mixing)
    torch.testing.assert_close(value, dense(queries, items, targets, log_mixing))
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, queries))


def test_frozen_items_get_no_gradient_and_a_weight_of_zero_is_allowed():
    queries, items, targets, _ = case()
    frozen = items[1].detach()
    chunked(queries, [items[0], frozen], targets, torch.tensor([1.0, 0.0]).log()).backward()
    assert frozen.grad is None and items[0].grad.isfinite().all()
    torch.testing.assert_close(queries[1].grad, torch.zeros_like(queries[1]))


def test_modalities_share_one_buffer_of_the_set_size(monkeypatch):
    monkeypatch.setattr(loss, "BUFFER_ELEMENTS", 2 * 4 * 50)
    blocks._areas.clear()
    chunked(*case(rows=200)).backward()
    assert [held.numel() for held in blocks._areas.values()] == [200, 200]


def test_bfloat16_is_close_and_keeps_float32_gradients():
    queries, items, targets, log_mixing = case()
    exact = chunked(queries, items, targets, log_mixing)
    with torch.autocast("cpu", torch.bfloat16):
        value = chunked(queries, items, targets, log_mixing)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=0.02, atol=0)
    assert torch.autograd.grad(value, items)[0].dtype == torch.float32


def sampled(queries, items, targets, log_mixing, num_negatives):
    rows, position, log_weights = sample(targets, len(items[0]), num_negatives)
    return chunked(queries, [item[rows] for item in items], position, log_mixing, log_weights)


def test_sampled_negatives_estimate_the_denominator_without_bias_and_exactly_when_all_are_drawn():
    queries, items, targets, log_mixing = case(rows=6, num_items=40, widths=(8,), mixing=(1.0,), dtype=torch.float64)
    exact = chunked(queries, items, targets, log_mixing)
    whole = sampled(queries, items, targets, log_mixing, num_negatives=40)
    torch.testing.assert_close(whole, exact)
    for a, b in zip(
        torch.autograd.grad(whole, [*queries, *items]), torch.autograd.grad(exact, [*queries, *items]), strict=True
    ):
        torch.testing.assert_close(a, b)
    scores = queries[0] @ items[0].T
    one = (
        [queries[0][:1]],
        items,
        targets[:1],
        log_mixing,
    )  # exp(loss) is denominator / exp(target's score): linear in it
    torch.manual_seed(0)
    ratios = torch.stack([sampled(*one, num_negatives=5).exp() for _ in range(4000)])
    wanted = (scores[0] - scores[0, targets[0]]).exp().sum()
    assert abs(ratios.mean() - wanted) < 4 * ratios.std() / 4000**0.5


def test_a_step_with_sampled_negatives_has_gradients_in_what_was_drawn_only():
    queries, items, targets, log_mixing = case(rows=4, num_items=1000, widths=(8,), mixing=(1.0,))
    sampled(queries, items, targets, log_mixing, num_negatives=10).backward()
    touched = (items[0].grad != 0).any(dim=1)
    assert touched[targets].all() and int(touched.sum()) == len(targets.unique()) + 10
