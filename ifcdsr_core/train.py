"""Training: exact loss, selection on the validation split, early stopping, a checkpoint after every epoch."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ifcdsr_core import processes
from ifcdsr_core.batches import Batch, shuffled
from ifcdsr_core.errors import Diverged, InputError, require
from ifcdsr_core.files import new_file, unreadable
from ifcdsr_core.metrics import summarise
from ifcdsr_core.models.base import SequenceModel
from ifcdsr_core.protocol import rank_cases
from ifcdsr_core.settings import PROTOCOLS, TrainSettings

WARMUP_START = 1e-5  # share of the learning rate in the first epoch of a warm-up
NOT_RANKED = -math.inf  # ``selection`` of an epoch of pre-training
_CHECKPOINT = "checkpoint.safetensors"
_MRRS = [f"{protocol}_mrr_{domain}" for protocol in PROTOCOLS for domain in "xy"]
_COLUMNS = ["epoch", "loss", *_MRRS, "selection", "seconds"]


def fit(
    model: SequenceModel,
    train: Batch,
    valid: Batch,
    settings: TrainSettings,
    checkpoint_folder: Path | None = None,
    report: Callable[[dict], None] | None = None,
) -> pd.DataFrame:
    """Train ``model`` in place and leave it with the weights of its best epoch; one without parameters is ranked once.

    Randomness is seeded anew at the start of each epoch from the seed and the epoch, so that a run continued from its
    checkpoint gives the numbers of one that was never interrupted. Ranking is always in float32.

    Args:
        train, valid: encoded cases, on any device; they are moved batch by batch to the model's.
        checkpoint_folder: where to keep the state after each epoch, and to continue from if it is there, unless it is
            of more epochs than are wanted. Of several processes the first one writes.
        report: called with each epoch's row of the history.

    Returns:
        History, one row per epoch: ``epoch``, ``loss``, ``<protocol>_mrr_<domain>``, ``selection``, ``seconds``.
        Epochs of pre-training are not ranked: no MRRs, and -inf as ``selection``.

    Raises:
        InputError: no validation target is of the domain to select by; all epochs are pre-training; the loss is no
            scalar; the checkpoint is damaged or of another model.
        Diverged: the loss is no longer finite.
    """
    chosen = {"both": {0, 1}, "x": {0}, "y": {1}}[settings.select_domain]
    if not chosen & set(valid.target_domain.tolist()):
        raise InputError(f"no validation target is of select_domain {settings.select_domain!r}: select by the other")
    pretrain, epochs = model.pretrain_epochs, settings.epochs
    require(pretrain < epochs, "pretrain_epochs", pretrain, f"less than epochs ({epochs})")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:  # a count: nothing to train, and nothing to select
        row = {"epoch": 1, "loss": float("nan"), **_validation(model, valid, settings)}
        return pd.DataFrame([row], columns=_COLUMNS)
    kind = {"l2": torch.optim.Adam, "decoupled": torch.optim.AdamW}[settings.decay]
    optimiser = kind(parameters, lr=settings.learning_rate, weight_decay=settings.l2, fused=True)
    history: list[dict] = []
    best = copy.deepcopy(model.state_dict())
    if checkpoint_folder is not None and (checkpoint_folder / _CHECKPOINT).exists():
        history, best = _restore(checkpoint_folder / _CHECKPOINT, model, optimiser, settings.epochs) or (history, best)

    while len(history) < settings.epochs and not _should_stop(history, settings.patience):
        epoch, started = len(history) + 1, time.perf_counter()
        model.pretraining = epoch <= model.pretrain_epochs
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, [row["selection"] for row in history])
        loss = _train_epoch(model, train, optimiser, settings, epoch)
        row = {"epoch": epoch, "loss": loss, **_validation(model, valid, settings)}
        row["seconds"] = time.perf_counter() - started
        if not history or row["selection"] > max(h["selection"] for h in history):
            best = copy.deepcopy(model.state_dict())
        history.append(row)
        if checkpoint_folder is not None and processes.rank() == 0:
            _keep(checkpoint_folder / _CHECKPOINT, model, optimiser, best, history)
        if report is not None:
            report(row)
    model.load_state_dict(best)
    return pd.DataFrame(history, columns=_COLUMNS)


def learning_rate(settings: TrainSettings, selections: list[float]) -> float:
    """Learning rate of the next epoch. It follows from what was selected by so far, so that a checkpoint keeps no more.

    Through ``warmup_epochs`` it rises linearly, from almost 0. Later it is multiplied by ``plateau_factor`` as often as
    ``plateau_epochs`` have passed without a better validation MRR, or since it was last lowered; those of the warm-up
    and of pre-training, which are not ranked, do not count.

    Args:
        selections: ``selection`` of the finished epochs.

    >>> settings = TrainSettings(learning_rate=0.1, warmup_epochs=2, plateau_epochs=2, plateau_factor=0.5)
    >>> found = [0.1, 0.2, 0.3, 0.2, 0.2, 0.2, 0.4]
    >>> [round(learning_rate(settings, found[:epoch]), 3) for epoch in range(8)]
    [0.0, 0.05, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05]
    """
    rate, warmup = settings.learning_rate, settings.warmup_epochs
    if len(selections) < warmup:
        return rate * (WARMUP_START + (1 - WARMUP_START) * len(selections) / warmup)
    best, waited = NOT_RANKED, 0
    for selection in filter(_is_ranked, selections[warmup:]):
        waited = 0 if selection > best else waited + 1
        best = max(best, selection)
        if settings.plateau_epochs and waited == settings.plateau_epochs:
            rate, waited = rate * settings.plateau_factor, 0
    return rate


def _train_epoch(
    model: SequenceModel, train: Batch, optimiser: torch.optim.Optimizer, settings: TrainSettings, epoch: int
) -> float:
    """One pass over the training cases; the mean loss of a case."""
    seed = (settings.seed * 100_003 + epoch) % 2**63
    torch.manual_seed(seed)
    model.train()
    total = 0.0
    for batch in shuffled(train, settings.batch_size, torch.Generator().manual_seed(seed)):
        total += step(model, batch, optimiser, settings.precision) * len(batch)
    if not total < float("inf"):
        raise Diverged(f"the loss of epoch {epoch} is {total}: training diverged; lower learning_rate")
    return total / len(train)


def step(model: SequenceModel, batch: Batch, optimiser: torch.optim.Optimizer, precision: str) -> float:
    """One step on a batch; its loss."""
    device = model.device
    with torch.autocast(device.type, torch.bfloat16, enabled=products(precision, device) == "bfloat16"):
        loss = model.loss(batch.to(device))
    if loss.numel() != 1:
        raise InputError(f"loss() of {model.title} gave a tensor of shape {tuple(loss.shape)}: it must be a scalar")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.item()


def products(precision: str, device: torch.device) -> str:
    """The type in which products are computed: what was asked for, or float32 where bfloat16 would be imitated.

    A processor without instructions for bfloat16 takes 200 times as long as for float32.
    """
    if device.type == "cpu":
        known = torch.cpu.get_capabilities()
        if not any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16")):
            return "float32"
    return precision


def _validation(model: SequenceModel, valid: Batch, settings: TrainSettings) -> dict:
    """Validation MRR of each domain under all protocols, and ``selection``, by which the best epoch is chosen."""
    if model.pretraining:  # it can't rank yet
        return dict.fromkeys(_MRRS, math.nan) | {"selection": NOT_RANKED}
    summary = summarise(rank_cases(model, valid, settings.candidate_seed))
    row = {
        f"{protocol}_mrr_{domain}": mrr
        for protocol, domain, mrr in zip(summary["protocol"], summary["domain"], summary["MRR"], strict=True)
    }
    domains = [*"xy"] if settings.select_domain == "both" else [settings.select_domain]
    chosen = (summary["protocol"] == settings.select_protocol) & summary["domain"].isin(domains)
    return row | {"selection": float(summary.loc[chosen, "MRR"].mean())}


def _is_ranked(selection: float) -> bool:
    return selection != NOT_RANKED


def _should_stop(history: list[dict], patience: int) -> bool:
    scores = [row["selection"] for row in history if _is_ranked(row["selection"])]
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def _keep(path: Path, model: SequenceModel, optimiser: torch.optim.Optimizer, best: dict, history: list[dict]) -> None:
    """Weights, best weights and optimiser state as one safetensors file; its header has the history and a checksum."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    told = json.dumps(history)
    with new_file(path) as staging:
        save_file(tensors, staging, metadata={"history": told, "sha256": _checksum(tensors, told)})


def _restore(
    path: Path, model: SequenceModel, optimiser: torch.optim.Optimizer, epochs: int
) -> tuple[list[dict], dict] | None:
    """History and best weights of a checkpoint, its state loaded; None, and nothing, if it is of more epochs."""
    try:
        with safe_open(path, "pt") as opened:
            header = opened.metadata()
        tensors = load_file(path)
        if _checksum(tensors, header["history"]) != header["sha256"]:
            raise ValueError("it is not what was written")
        history = json.loads(header["history"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise unreadable(path, error, "delete it to start this run anew") from error
    if len(history) > epochs:
        return None
    part = {
        kind: {name.removeprefix(kind + "."): value for name, value in tensors.items() if name.startswith(kind + ".")}
        for kind in ("model", "best", "optimiser")
    }
    try:
        model.load_state_dict(part["model"])
    except RuntimeError as error:
        raise InputError(f"{path} is of a model with other parts: delete it to start this run anew") from error
    state: dict[int, dict] = {}
    for name, value in part["optimiser"].items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return history, part["best"]


def _checksum(tensors: dict[str, Tensor], history: str) -> str:
    """SHA-256 of all that a checkpoint holds; safetensors itself has no checksum."""
    digest = hashlib.sha256(history.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
