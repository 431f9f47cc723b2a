"""What a run is made of, put together: scenario, features and cases; its model, trained and tested, or restored."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ifcdsr_core
from ifcdsr_core import processes
from ifcdsr_core.batches import Batch, encode, shuffle_days
from ifcdsr_core.blocks import prepare_memory
from ifcdsr_core.errors import InputError, usable_device
from ifcdsr_core.files import locked, new_folder
from ifcdsr_core.models import MODELS
from ifcdsr_core.models.base import ModelInputs, SequenceModel
from ifcdsr_core.paths import ROOT
from ifcdsr_core.protocol import rank_cases
from ifcdsr_core.runs import gradients
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.model import model_config
from ifcdsr_core.runs.run import identify
from ifcdsr_core.runs.store import IDENTITY, WEIGHTS, Run, best_epoch, find, folder_name, runs_dir
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources import prepare
from ifcdsr_core.train import fit, products

if TYPE_CHECKING:
    from ifcdsr_core.features.cache import Features

_THREADS = torch.get_num_threads()  # what torch found


def train_and_test(config: RunConfig, identity: dict, *, anew: bool, report: Callable[[str], None]) -> Run:
    """Train and test one configuration, and leave its run's folder.

    What allowed epochs ended also leaves its last checkpoint: the same configuration with more epochs goes on from it.

    Args:
        identity: what ``identify`` says of it.
        anew: do not continue what was interrupted.
    """
    however_long = dataclasses.replace(config, epochs=RunConfig.epochs)
    unfinished = runs_dir() / ".unfinished" / folder_name(however_long, identity)
    with _alone(unfinished.with_name(f"{unfinished.name}.lock"), report):
        if not anew and (finished := find(config, identity)):  # another process has trained it in the meantime
            report(f"found: {finished.folder}")
            return finished
        if anew and processes.rank() == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
        processes.wait()
        finished = _train_and_test(config, identity, unfinished, report)
        if processes.rank() == 0 and len(finished.history) < config.epochs:  # it would not go on; a count has left none
            shutil.rmtree(unfinished, ignore_errors=True)
    return finished


@contextmanager
def _alone(lock: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Work while no other command works on the same run; the processes of torchrun count as one."""
    waiting = partial(report, "another process trains this configuration: waiting for it")
    with locked(lock, waiting=waiting) if processes.rank() == 0 else nullcontext():
        processes.wait()
        yield
        processes.wait()


def _train_and_test(config: RunConfig, identity: dict, unfinished: Path, report: Callable[[str], None]) -> Run:
    device = usable_device(config.device)
    _use_processor(config.threads)
    scenario, inputs, cases = assemble(config)
    torch.manual_seed(config.seed)
    model = build_model(config, inputs).to(device)
    del inputs  # a model keeps what it needs of the features

    def line(row: dict) -> None:
        found = f"validation MRR ({config.select_protocol}) {100 * row['selection']:.2f} %"
        if row["epoch"] <= model.pretrain_epochs:
            found = "pre-training"
        report(f"epoch {row['epoch']:>3}  loss {row['loss']:.4f}  {found}  {row['seconds']:.1f} s")

    with gradients.shared(model):
        history = fit(model, cases["train"], cases["valid"], config, unfinished, line)
    trained = time.perf_counter()
    ranks = _test_ranks(model, scenario, cases, config.candidate_seed)
    provenance = {
        **identity,
        **code_version(),
        "trained_on": _trained_on(config),
        "best_epoch": best_epoch(history),
        "cases": {split: len(part) for split, part in cases.items()},
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "device": device_name(device),
        "products": products(config.precision, torch.device(device)),
        "threads": torch.get_num_threads(),
        "processes": processes.size(),
        "seconds": round(history["seconds"].sum() + time.perf_counter() - trained, 1),  # before an interruption, too
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    folder = runs_dir() / folder_name(config, identity)
    processes.wait()
    if processes.rank() == 0:
        with new_folder(folder) as staging:
            save_file({name: value.contiguous() for name, value in model.state_dict().items()}, staging / WEIGHTS)
            Run(staging, dataclasses.asdict(config), provenance, history, ranks).save()
    processes.wait()
    return Run.load(folder)


def _use_processor(threads: int) -> None:
    """Work with so many threads, or with those that torch found, and keep memory for the next step."""
    torch.set_num_threads(threads or _THREADS)
    prepare_memory()


def _test_ranks(model: SequenceModel, scenario: Scenario, cases: dict[str, Batch], candidate_seed: int) -> pd.DataFrame:
    """``rank_cases`` of the test split, with the users in front."""
    ranks = rank_cases(model, cases["test"], candidate_seed)
    ranks.insert(0, "user", scenario.split("test")["user"].astype(str).to_numpy())
    return ranks


def evaluate(finished: Run) -> pd.DataFrame:
    """Score the test cases again with a run's saved weights.

    Returns:
        Ranks as in ``ranks.parquet``, made anew.

    Raises:
        InputError: the run has no weights, or data, features or code are not those it was trained with.
    """
    return _test_ranks(*restore(finished), finished.config["candidate_seed"])


def restore(finished: Run) -> tuple[SequenceModel, Scenario, dict[str, Batch]]:
    """A run's model with its saved weights, ready to score; its scenario; its encoded cases by split.

    Raises:
        InputError: the run has no weights, or data, features or code are not those it was trained with.
    """
    config, weights = finished.settings, finished.weights
    if config.device == "cuda" and not torch.cuda.is_available():  # trained on a GPU that is not here
        config = dataclasses.replace(config, device="cpu")
    _use_processor(config.threads)
    identity = identify(config)
    for name in IDENTITY:
        if identity[name] != (made_with := finished.provenance.get(name)):
            made = "by other code" if name == "code_versions" else "with other data"
            raise InputError(
                f"{finished.folder} was made {made}: its {name} is {made_with}, here it is {identity[name]}"
            )
    scenario, inputs, cases = assemble(config)
    model = build_model(config, inputs)
    try:
        model.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise InputError(f"{weights} are of a model with other parts: run the configuration again") from error
    return model.to(usable_device(config.device)).eval(), scenario, cases


def assemble(config: RunConfig) -> tuple[Scenario, ModelInputs, dict[str, Batch]]:
    """Scenario, model inputs, and encoded cases per split."""
    scenario = prepare(config.source, config.scenario, **config.source_options)
    splits = training_splits(scenario, config)
    if config.shuffle_days:
        splits = {name: shuffle_days(part, config.shuffle_days) for name, part in splits.items()}
    cases = {
        name: encode(part, scenario.num_items_x, config.max_seq_len, scenario.sequences if name != "train" else None)
        for name, part in splits.items()
    }
    settings = model_config(config.model, config.model_options)
    features = {}
    for modality in MODELS[config.model].required_features(settings):
        embedded = embed(scenario, config, modality)
        features[modality] = torch.from_numpy(embedded.matrix)
        if getattr(settings, "image_projection", "") == "none" and embedded.matrix.shape[1] % settings.num_heads:
            raise InputError(
                f"num_heads is {settings.num_heads}: it must divide the width of the {modality} features, "
                f"{embedded.matrix.shape[1]}"
            )
        if shuffle := {"image": config.shuffle_pictures, "text": config.shuffle_texts}[modality]:
            features[modality] = features[modality][deal_out(scenario, embedded.missing, shuffle)]
    inputs = ModelInputs(
        scenario.num_items_x, scenario.num_items_y, config.max_seq_len, features, cases["train"], config.train_negatives
    )
    return scenario, inputs, cases


def embed(scenario: Scenario, config: RunConfig, modality: str) -> Features:
    """Frozen features of a scenario's items, ``image`` or ``text``."""
    if modality == "image":
        from ifcdsr_core.features.images import embed_images

        return embed_images(scenario, config.encoder, device=config.device)
    from ifcdsr_core.features.texts import embed_texts

    return embed_texts(scenario, config.text, config.text_encoder, device=config.device)


def deal_out(scenario: Scenario, missing: np.ndarray, seed: int) -> Tensor:
    """A random order of the items within each domain, (V,) rows; items that have nothing of their own stay in place.

    Which items have a picture or a text stays as it is; only whose it is changes.
    """
    random, order = np.random.default_rng(seed), np.arange(scenario.num_items)
    for of_domain in (order < scenario.num_items_x, order >= scenario.num_items_x):
        rows = np.flatnonzero(of_domain & ~missing)
        order[rows] = rows[random.permutation(len(rows))]
    return torch.from_numpy(order)


def training_splits(scenario: Scenario, config: RunConfig) -> dict[str, pd.DataFrame]:
    """Train, valid and test sequences.

    With ``train_on=valid`` validation sequences are the train split, with ``both`` they follow those of the train
    split; a seeded share of them is kept for selection and is not trained on.

    Raises:
        InputError: a split, or a part of the train split, is empty.
    """
    splits = {name: scenario.split(name) for name in ("train", "valid", "test")}
    parts = [] if config.train_on == "valid" else [splits["train"]]
    if config.train_on != "train":
        shuffled = np.random.default_rng(20250428).permutation(len(splits["valid"]))  # the same split for every run
        kept = max(1, round(config.holdout * len(shuffled)))
        parts.append(splits["valid"].iloc[np.sort(shuffled[kept:])])
        splits["valid"] = splits["valid"].iloc[np.sort(shuffled[:kept])]
    splits["train"] = pd.concat(parts) if all(map(len, parts)) else parts[0].iloc[:0]
    for name, part in splits.items():
        if part.empty:
            hint = ": pass train_on=valid to train on its validation file" if name == "train" else ""
            raise InputError(f"{scenario.source}/{scenario.name} has no {name} sequences{hint}")
    return splits


def build_model(config: RunConfig, inputs: ModelInputs) -> SequenceModel:
    """A freshly initialised model (from torch's global generator)."""
    return MODELS[config.model](model_config(config.model, config.model_options), inputs)


def device_name(device: str) -> str:
    """What the last digits of a number depend on: the GPU, or the processor's kind and the instructions torch uses."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


@cache
def code_version() -> dict[str, str]:
    """Package version and, in a git checkout, its commit (with "+changes" where files differ from it)."""
    commit = "unknown"
    try:
        git = ["git", "-C", str(ROOT)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "--", "ifcdsr_core"], capture_output=True, text=True)
        commit += "+changes" if changed.stdout.strip() else ""
    except (OSError, subprocess.CalledProcessError):
        pass  # a copy without git still runs; the versions of its code identify it
    return {"package_version": ifcdsr_core.__version__, "commit": commit}


def _trained_on(config: RunConfig) -> str:
    train = "rebuilt training sequences" if config.source_options.get("train") == "rebuilt" else "training sequences"
    valid = f"validation sequences, {config.holdout:.0%} of them kept for selection"
    return {"train": train, "valid": valid, "both": f"{train}, and {valid}"}[config.train_on]
