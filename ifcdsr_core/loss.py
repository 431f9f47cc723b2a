"""The training loss: the exact likelihood of mixtures of softmaxes over all items, without materialising them.

Equations (3) to (6) of the paper score every position of every sequence against every item, once per modality, and
mix the resulting distributions:

    P(j) = sum_m mixing_m * softmax_j(query_m . item_mj)            L = sum_rows -log P(target)

Only log-sum-exps are needed for L, and the gradient with respect to the scores of modality m is
``responsibility_m * (softmax_m - onehot(target))``, where responsibility_m is the share of P(target) that modality m
explains. Both are made in one sweep over chunks of rows, so that memory is one buffer that the modalities share,
whatever the batch, and no score is computed twice. Within a chunk, items go block by block: what happens to a block's
scores between the products happens in the processor's cache.

Where even one sweep over all items is too long (a processor, 100,000 items), the denominator of the softmax can be
estimated: the targets of the step count as they are, and ``num_negatives`` items drawn evenly from all others each
stand for an equal share of them. The estimate is unbiased for the denominator and exact once all items are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ifcdsr_core.blocks import blocks, chunks, work_area

BUFFER_ELEMENTS = 2**25  # scores held at a time, of all modalities: 128 MiB in float32
SAFE_EXPONENT = 40.0  # exp of this, summed over all items, is far from float32's largest number


@dataclass(frozen=True)
class Predictions:
    """R next items to be predicted by a softmax over some of the items.

    Attributes:
        queries: per modality (R, D_m), already divided by the temperature; D_m may differ between modalities.
        targets: (R,) where among the competing items each target is, from 0.
        items: rows of the item matrices that compete, a slice or a sample of row numbers.
        log_weights: (V,) log of how many items each of them stands for (``sample``). None: each for itself.
        weight: of these predictions in the loss.
        log_open: (R,) log-probability that the softmax is asked at all. None: it always is.
        log_other: (R,) log-probability that the target comes from elsewhere. None: it never does.
    """

    queries: Sequence[Tensor]
    targets: Tensor
    items: slice | Tensor
    log_weights: Tensor | None = None
    weight: float = 1.0
    log_open: Tensor | None = None
    log_other: Tensor | None = None


def sample(targets: Tensor, num_items: int, num_negatives: int) -> tuple[Tensor, Tensor, Tensor]:
    """Items to estimate the denominators from: all targets, and others drawn evenly by torch's global generator.

    Args:
        targets: (R,) row numbers, 0 ... num_items - 1.

    Returns:
        (V',) row numbers of the sample; (R,) where in it each target is; (V',) log of how many items each stands for.

    >>> rows, position, log_weights = sample(torch.tensor([7, 2, 7]), num_items=10, num_negatives=4)
    >>> rows[position].tolist(), len(rows), log_weights.exp().tolist()
    ([7, 2, 7], 6, [1.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    """
    wanted, position = targets.unique(return_inverse=True)
    other = torch.ones(num_items, dtype=torch.bool, device=targets.device)
    other[wanted] = False
    others = other.nonzero().squeeze(1)
    drawn = others[torch.randperm(len(others), device=targets.device)[:num_negatives]]
    log_weights = torch.zeros(len(wanted) + len(drawn), device=targets.device)
    if len(drawn):
        log_weights[len(wanted) :] = math.log(len(others) / len(drawn))
    return torch.cat([wanted, drawn]), position, log_weights


def mixture_nll(predictions: Sequence[Predictions], items: Sequence[Tensor], log_mixing: Tensor) -> Tensor:
    """Weighted sum over all predictions of -log P(target), with P(target) =
    exp(log_open) sum_m exp(log_mixing_m) softmax(queries_m @ items_m.T)[target] + exp(log_other).

    Args:
        predictions: one for each softmax; their ``items`` are slices.
        items: per modality (V, D_m). A matrix that needs no gradient (frozen features) costs two products, not three.
        log_mixing: (M,) logarithms of the mixing weights.

    Returns:
        Scalar, differentiable with respect to all of these but weights; exact up to rounding. Under autocast the
        products and the held scores are of its lower precision, sums and gradients remain float32.

    >>> one = Predictions([torch.eye(2)], torch.tensor([0, 1]), slice(0, 2))
    >>> mixture_nll([one], [torch.eye(2)], torch.zeros(1))  # twice log(1 + 1/e)
    tensor(0.6265)
    """
    device = log_mixing.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else log_mixing.dtype
    tensors = [
        part if part is None else part.to(log_mixing.dtype)
        for one in predictions
        for part in (*one.queries, one.log_open, one.log_other)
    ]
    with torch.autocast(device, enabled=False):
        return _MixtureNLL.apply(predictions, dtype, log_mixing, *items, *tensors)


class _MixtureNLL(torch.autograd.Function):
    """The gradients are made on the way forward, where the scores are at hand; on the way back they are only scaled."""

    @staticmethod
    def forward(
        ctx, predictions: Sequence[Predictions], dtype: torch.dtype, log_mixing: Tensor, *tensors: Tensor
    ) -> Tensor:
        count = len(log_mixing)
        needed = ctx.needs_input_grad[3:]
        grads = [torch.zeros_like(t) if need else None for t, need in zip(tensors, needed, strict=True)]
        mixing_grad, total = torch.zeros_like(log_mixing), log_mixing.new_zeros(())
        matrices = [item.to(dtype) for item in tensors[:count]]
        longest = [item.norm(dim=1).max() for item in tensors[:count]]
        for number, one in enumerate(predictions):
            at = slice(count + number * (count + 2), count + (number + 1) * (count + 2))
            (*queries, log_open, log_other), (*query_grads, open_grad, other_grad) = tensors[at], grads[at]
            modalities = [
                _Modality(one, (queries[m], matrices[m]), (query_grads[m], grads[m]), longest[m]) for m in range(count)
            ]
            for rows in chunks(len(one.targets), BUFFER_ELEMENTS // (count * len(modalities[0].matrix))):
                joint = torch.cat([part.target_log_p(rows, m) for m, part in enumerate(modalities)], dim=1) + log_mixing
                if log_open is not None:
                    joint += log_open[rows, None]
                if log_other is not None:
                    joint = torch.cat([joint, log_other[rows, None]], dim=1)
                log_p = joint.logsumexp(dim=1, keepdim=True)
                share = one.weight * (joint - log_p).exp()  # what each part of the sum explains of P(target)
                total -= one.weight * log_p.sum()
                mixing_grad -= share[:, :count].sum(dim=0)
                if open_grad is not None:
                    open_grad[rows] = -share[:, :count].sum(dim=1)
                if other_grad is not None:
                    other_grad[rows] = -share[:, count]
                for m, part in enumerate(modalities):
                    part.add_gradients(rows, share[:, m, None])
        ctx.save_for_backward(mixing_grad, *(grad for grad in grads if grad is not None))
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor):
        mixing_grad, *saved = ctx.saved_tensors
        grads = iter(saved)
        inner = (next(grads) * upstream if need else None for need in ctx.needs_input_grad[3:])
        return None, None, mixing_grad * upstream, *inner


class _Modality:
    """One modality of some predictions: its softmax, chunk of rows by chunk of rows, and the gradients it adds up."""

    def __init__(
        self,
        one: Predictions,
        factors: tuple[Tensor, Tensor],
        grads: tuple[Tensor | None, Tensor | None],
        longest: Tensor,
    ) -> None:
        """Queries and items, and where their gradients go; ``longest`` is the length of the longest item vector."""
        (self.query, matrix), (self.query_grad, item_grad) = factors, grads
        self.targets, self.matrix = one.targets, matrix[one.items]
        self.item_grad = None if item_grad is None else item_grad[one.items]
        self.weights = None if one.log_weights is None else one.log_weights.exp().to(self.query.dtype)
        # no product exceeds the lengths' product: where exp can't overflow, it needs no maximum to be subtracted
        self.bounded = bool(self.query.norm(dim=1).max() * longest < SAFE_EXPONENT)
        self.blocks: list[tuple[slice, Tensor, Tensor]] = []

    def target_log_p(self, rows: slice, slot: int) -> Tensor:
        """Log-probability of the targets of these rows, (R', 1); the exponentials of all scores are held for later."""
        query, target = self.query[rows], self.targets[rows]
        low = query.to(self.matrix.dtype)
        (area,) = work_area(slot, 1, len(query) * len(self.matrix), low)
        self.blocks, log_sums = [], []
        for block in blocks(len(self.matrix), self.matrix.device):
            held = area[len(query) * block.start : len(query) * block.stop].view(len(query), -1)
            exps = torch.mm(low, self.matrix[block].T, out=held)
            if exps.dtype != query.dtype:
                exps = work_area("exps", *held.shape, query).copy_(held)
            shift = exps.new_zeros(()) if self.bounded else exps.amax(dim=1, keepdim=True)
            if not self.bounded:
                exps -= shift
            exps.exp_()
            if self.weights is not None:
                exps *= self.weights[block]
            log_sums.append(exps.sum(dim=1, keepdim=True).log_().add_(shift))
            held.copy_(exps)  # nothing to do where they are the same
            self.blocks.append((block, held, shift))
        self.log_sum = torch.cat(log_sums, dim=1).logsumexp(dim=1, keepdim=True)
        score = (low.to(query.dtype) * self.matrix[target].to(query.dtype)).sum(dim=1, keepdim=True)
        return score - self.log_sum

    def add_gradients(self, rows: slice, share: Tensor) -> None:
        """Of the rows that ``target_log_p`` was called for last; ``share`` is (R', 1)."""
        query, target = self.query[rows], self.targets[rows]
        if self.query_grad is not None:
            self.query_grad[rows] -= share * self.matrix[target]
        if self.item_grad is not None:
            self.item_grad.index_add_(0, target, share * query, alpha=-1)
        for block, held, shift in self.blocks:
            scale = share * (shift - self.log_sum).exp()  # turns exps into share * softmax
            if self.query_grad is not None:
                self.query_grad[rows] += scale * (held @ self.matrix[block])
            if self.item_grad is not None:
                _add_product(self.item_grad[block], held.T, (scale * query).to(held.dtype))


def _add_product(total: Tensor, one: Tensor, other: Tensor) -> None:
    if total.dtype == one.dtype:
        total.addmm_(one, other)
    else:
        total += one @ other
