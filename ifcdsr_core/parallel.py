"""Several processes, one training: each takes its rows of every batch, and the gradients are added up.

    torchrun --nproc-per-node 4 -m ifcdsr_core train --scenario movie_book --device cuda

The global batch stays ``batch_size``, so that a run's configuration and its steps are those of one process; without
dropout and with the exact loss, so are its numbers, but for the order of sums. Every process holds the whole model and
ranks the validation cases; the first one alone writes the run. torchrun tells each process its place in the
environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ifcdsr_core.batches import IGNORE, Batch
from ifcdsr_core.models import SequenceModel


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def started() -> int:
    """How many processes torchrun started, joined yet or not; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def processes() -> Iterator[None]:
    """Join the processes that torchrun started for as long as the block lasts; nothing happens where there are none."""
    if started() == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" is from now on this one
    # one process may prepare data for long while the others wait; where one fails, torchrun ends all
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=12))
    try:
        yield
    finally:
        dist.destroy_process_group()


T = TypeVar("T")


def of_first(ask: Callable[[], T]) -> T:
    """What ``ask`` gives in the first process, in all of them; there alone it is called."""
    if size() == 1:
        return ask()
    answer = [ask() if rank() == 0 else None]
    dist.broadcast_object_list(answer)
    return answer[0]


def first_alone(do: Callable[[], T]) -> T:
    """``do`` in the first process, then in the others, which find what it left."""
    if rank() == 0:
        done = do()
    wait()
    return done if rank() == 0 else do()


def wait() -> None:
    """Until all processes are here."""
    if dist.is_initialized():
        dist.barrier()


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
