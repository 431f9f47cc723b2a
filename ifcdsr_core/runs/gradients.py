"""Several processes, one training: each works on its rows of every batch, and the gradients are added up.

    torchrun --nproc-per-node 4 -m ifcdsr_core train --scenario movie_book --device cuda

The global batch stays ``batch_size``, so that a run's configuration and its steps are those of one process; without
dropout and with the exact loss, so are its numbers, but for the order of sums. Every process holds the whole model and
ranks the validation cases; the first one alone writes the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ifcdsr_core.batches import IGNORE, Batch
from ifcdsr_core.models.base import SequenceModel
from ifcdsr_core.processes import rank, size


@contextmanager
def shared(model: SequenceModel) -> Iterator[None]:
    """Within the block, ``model.loss`` works on this process's rows of a batch, and optimiser steps use all gradients.

    ``loss`` returns the value for the whole batch. It has to be a mean over the predicted positions of the merged
    sequence, as those of IFCDSR, SASRec and GRU4Rec are; what others add per sequence is weighted likewise. Nothing
    happens where there is one process only.
    """
    if size() == 1:
        yield
        return
    whole_loss = model.loss

    def loss(batch: Batch) -> torch.Tensor:
        step = int(torch.randint(2**62, ()))  # the same in all processes, as their generators are
        part = batch[slice(rank(), None, size())]
        weight = (part.labels != IGNORE).sum() / (batch.labels != IGNORE).sum()
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(step + rank())  # dropout and negatives of its own
            value = (
                whole_loss(part) * weight if weight > 0 else torch.zeros((), device=model.device, requires_grad=True)
            )  # rows for the others only: no gradients
        total = value.detach().clone()
        dist.all_reduce(total)
        return value + (total - value.detach())  # the value of all, the gradient of its own part

    model.loss = loss
    hook = register_optimizer_step_pre_hook(_add_up)
    try:
        yield
    finally:
        hook.remove()
        del model.loss  # the class's own again


def _add_up(optimiser: torch.optim.Optimizer, args, kwargs) -> None:
    """Add up the gradients of all processes. What has one in none of them keeps none: the step leaves it alone."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    known = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    dist.all_reduce(known)
    for parameter, count in zip(parameters, known.tolist(), strict=True):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
