"""Scores of many items for ranking, block by block: inner products, and the mixture of softmaxes (5) and (8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ifcdsr_core.blocks import blocks, work_area

LARGEST_EXPONENT = 75.0  # exp of this, summed over millions of items, is below float32's largest number


@torch.no_grad()
def inner_products(queries: Tensor, items: Tensor) -> Tensor:
    """(B, D) and (V, D) to (B, V)."""
    found = queries.new_empty(len(queries), len(items))
    for block in blocks(len(items), items.device):
        torch.mm(queries, items[block].T, out=found[:, block])
    return found


@dataclass(frozen=True)
class Softmax:
    """One part of a mixture that ranks: softmax(query @ items.T), of which some neighbouring items are asked for.

    Attributes:
        query: (B, D), already divided by the temperature.
        items: (V, D) unit vectors, all that the softmax is over.
        log_weight: of its weight in the mixture, a scalar.
        first: row of ``items`` that is the first asked for.
    """

    query: Tensor
    items: Tensor
    log_weight: Tensor
    first: int = 0


@torch.no_grad()
def mixture_log_p(softmaxes: Sequence[Softmax], count: int) -> Tensor:
    """log sum_b weight_b softmax_b, of ``count`` items, (B, count).

    What is added up are probabilities times the first softmax's denominator: they underflow only where a temperature
    below 1 / LARGEST_EXPONENT meets an item that looks away.

    >>> mixture_log_p([Softmax(torch.eye(2), torch.eye(2), torch.tensor(0.0))], count=2).exp()
    tensor([[0.7311, 0.2689],
            [0.2689, 0.7311]])
    """
    like, reference = softmaxes[0].query, None
    rows = len(like)
    total, asked = like.new_zeros(rows * count), work_area("asked", 1, rows * count, like)[0]

    def within(area: Tensor, start: int, stop: int) -> Tensor:
        """(B, items) of the asked items from ``start`` on: an area holds block after block, each in one piece."""
        return area[rows * start : rows * stop].view(rows, -1)

    for part in softmaxes:
        largest = part.query.norm(dim=1, keepdim=True)  # of the scores, as items have length 1
        excess = (largest - LARGEST_EXPONENT).clamp_(min=0) if bool(largest.max() > LARGEST_EXPONENT) else None
        denominator = torch.zeros_like(largest)
        for block in blocks(len(part.items), like.device, part.first, part.first + count):
            start, stop = block.start - part.first, block.stop - part.first
            is_asked = 0 <= start < count
            exps = within(asked, start, stop) if is_asked else work_area("exps", rows, stop - start, like)
            torch.mm(part.query, part.items[block].T, out=exps)
            if excess is not None:
                exps -= excess
            denominator += exps.exp_().sum(dim=1, keepdim=True)
        log_denominator = denominator.log()
        reference = log_denominator if reference is None else reference
        weight = (part.log_weight + reference - log_denominator).exp()
        for block in blocks(count, like.device):
            within(total, block.start, block.stop).addcmul_(within(asked, block.start, block.stop), weight)
    log_p = like.new_empty(rows, count)
    for block in blocks(count, like.device):
        torch.log(within(total, block.start, block.stop), out=log_p[:, block]).sub_(reference)
    return log_p
