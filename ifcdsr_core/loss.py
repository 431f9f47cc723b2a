"""The training loss: the exact likelihood of a mixture of softmaxes over all items, without materialising it.

Equations (3) to (6) of the paper score every position of every sequence against every item, once per modality, and
mix the resulting distributions:

    P(j) = sum_m mixing_m * softmax_j(query_m . item_mj)            L = sum_rows -log P(target)

Only log-sum-exps are needed for L, and the gradient with respect to the scores of modality m is
``responsibility_m * (softmax_m - onehot(target))``, where responsibility_m is the share of P(target) that modality m
explains. Both are made in one sweep over chunks of rows, so that memory is one (chunk, items) buffer per modality
whatever the batch, and no score is computed twice.

Where even one sweep over all items is too long (a processor, 100,000 items), the denominator of the softmax can be
estimated: the targets of the step count as they are, and ``num_negatives`` items drawn evenly from all others each
stand for an equal share of them. The estimate is unbiased for the denominator and exact once all items are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BUFFER_ELEMENTS = 2**25  # scores held at a time per modality: 128 MiB in float32
_buffers: dict[tuple, Tensor] = {}


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


def mixture_nll(
    queries: Sequence[Tensor],
    items: Sequence[Tensor],
    targets: Tensor,
    log_mixing: Tensor,
    log_weights: Tensor | None = None,
) -> Tensor:
    """Sum over rows of -log sum_m exp(log_mixing_m) softmax(queries_m @ items_m.T)[target].

    Args:
        queries: per modality (R, D_m), already divided by the temperature; D_m may differ between modalities.
        items: per modality (V, D_m). A matrix that needs no gradient (frozen features) costs two products, not three.
        targets: (R,) row numbers of ``items``.
        log_mixing: (M,) logarithms of the mixing weights.
        log_weights: (V,) log of how many items each row of ``items`` stands for, where they are a sample (``sample``);
            0 for targets. None: each for itself.

    Returns:
        Scalar, differentiable with respect to queries, items and log_mixing; exact up to rounding. Under autocast the
        products and the held scores are of its lower precision, sums and gradients remain float32.

    >>> queries, items = torch.eye(2), torch.eye(2)
    >>> mixture_nll([queries], [items], torch.tensor([0, 1]), torch.zeros(1))  # twice log(1 + 1/e)
    tensor(0.6265)
    """
    device = queries[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else queries[0].dtype
    with torch.autocast(device, enabled=False):
        return _MixtureNLL.apply(
            targets, log_mixing, log_weights, dtype, len(queries), *(t.to(log_mixing.dtype) for t in queries), *items
        )


class _MixtureNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        targets: Tensor,
        log_mixing: Tensor,
        log_weights: Tensor | None,
        dtype: torch.dtype,
        count: int,
        *tensors: Tensor,
    ) -> Tensor:
        queries, items = tensors[:count], tensors[count:]
        rows, num_items = len(targets), len(items[0])
        needs_queries, needs_items = ctx.needs_input_grad[5 : 5 + count], ctx.needs_input_grad[5 + count :]
        query_grads = [torch.empty_like(q) if need else None for q, need in zip(queries, needs_queries, strict=True)]
        item_grads = [torch.zeros_like(e) if need else None for e, need in zip(items, needs_items, strict=True)]
        responsibility_sum = torch.zeros_like(log_mixing)
        total = torch.zeros((), dtype=queries[0].dtype, device=queries[0].device)

        chunk = max(1, min(rows, BUFFER_ELEMENTS // num_items))
        buffers = [_buffer(slot, chunk, num_items, dtype, targets.device) for slot in range(count)]
        matrices = [item.to(dtype) for item in items]
        for start in range(0, rows, chunk):
            target = targets[start : start + chunk]  # (R',)
            part = [q[start : start + chunk] for q in queries]
            exps, sums, target_logs = [], [], []
            for query, matrix, buffer in zip(part, matrices, buffers, strict=True):
                scores = torch.matmul(query.to(dtype), matrix.T, out=buffer[: len(target)])  # (R', V)
                if log_weights is not None:
                    scores += log_weights  # those of targets are 0
                peak = scores.amax(dim=1, keepdim=True)
                target_score = scores.gather(1, target[:, None]) - peak
                exps.append(scores.sub_(peak).exp_())
                sums.append(exps[-1].sum(dim=1, keepdim=True, dtype=query.dtype))
                target_logs.append(target_score - sums[-1].log())
            joint = torch.cat(target_logs, dim=1) + log_mixing  # (R', M)
            log_p = joint.logsumexp(dim=1, keepdim=True)
            total -= log_p.sum()
            responsibility = (joint - log_p).exp()  # (R', M)
            responsibility_sum += responsibility.sum(dim=0)
            for m, (query, item) in enumerate(zip(part, items, strict=True)):
                share = responsibility[:, m, None]
                scale = share / sums[m]  # turns exps into responsibility * softmax
                if query_grads[m] is not None:
                    query_grads[m][start : start + chunk] = scale * (exps[m] @ matrices[m]) - share * item[target]
                if item_grads[m] is not None:
                    item_grads[m] += exps[m].T @ (scale * query).to(dtype)
                    item_grads[m].index_add_(0, target, share * query, alpha=-1)
        ctx.save_for_backward(responsibility_sum, *(g for g in (*query_grads, *item_grads) if g is not None))
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor):
        responsibility_sum, *saved = ctx.saved_tensors
        grads = iter(saved)
        inner = [next(grads) * upstream if need else None for need in ctx.needs_input_grad[5:]]
        return None, -responsibility_sum * upstream, None, None, None, *inner


def _buffer(slot: int, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A reused (rows, columns) work area: asking the allocator anew each step costs as much as the arithmetic."""
    key = (slot, dtype, device)
    held = _buffers.get(key)
    if held is None or held.numel() < rows * columns:
        _buffers[key] = held = torch.empty(rows * columns, dtype=dtype, device=device)
    return held[: rows * columns].view(rows, columns)
