"""A run: one configuration, trained, selected on validation, tested once, and left as a folder that explains itself.

    config.json          every setting, defaults spelled out
    provenance.json      versions of the code, fingerprints of data and features, device, versions, what was trained on
    history.csv          one row an epoch
    ranks.parquet        the rank of the target of every test case under both protocols
    metrics.csv          what follows from the ranks
    weights.safetensors  the weights of the best epoch

The folder's name ends in a hash of the configuration and of the fingerprints: a finished run is found by it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shutil
import subprocess
import time
import typing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ifcdsr_core
from ifcdsr_core import parallel
from ifcdsr_core.batches import Batch, encode, shuffle_days
from ifcdsr_core.errors import InputError, choose, usable_device
from ifcdsr_core.metrics import PROTOCOLS, summarise
from ifcdsr_core.models import MODELS, ModelInputs, SequenceModel
from ifcdsr_core.paths import ROOT, data_dir, new_folder, results_dir
from ifcdsr_core.protocol import rank_cases
from ifcdsr_core.runs.versions import code_versions
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources import complete_options, prepare
from ifcdsr_core.train import best_epoch, fit

if TYPE_CHECKING:
    from ifcdsr_core.features import Features


def _setting(default, text: str, **more):
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's numbers. Unknown or ill-typed values are an InputError.

    ``source_options`` and ``model_options`` are those of the source and of the model's Config; both are completed with
    their defaults, so that a run has one configuration however briefly it was written.
    """

    scenario: str = _setting("food_kitchen", "food_kitchen or movie_book")
    source: str = _setting("demo", "demo, c2dsr, llmcdsr or amazon")
    model: str = _setting("ifcdsr", f"one of {', '.join(MODELS)}")
    seed: int = _setting(0, "seed of initial weights, order and dropout")
    epochs: int = _setting(100, "at most so many epochs", minimum=1)
    patience: int = _setting(10, "stop after so many epochs without a better validation MRR", minimum=1)
    batch_size: int = _setting(256, "sequences a step", minimum=1)
    learning_rate: float = _setting(1e-3, "of Adam; the paper's grid is 1e-3, 5e-4, 1e-4")
    l2: float = _setting(1e-5, "L2 coefficient; the paper's grid is 1e-4, 5e-5, 1e-5")
    max_seq_len: int = _setting(50, "newest items of a history that are used", minimum=1)
    shuffle_days: int = _setting(
        0, "seed to shuffle the items of a day in each history with; 0: as the source has them", minimum=0
    )
    shuffle_pictures: int = _setting(
        0, "seed to deal the pictures out anew within each domain with; 0: each item its own", minimum=0
    )
    train_on: str = _setting("train", "split to train on; 'valid' for c2dsr without its training file")
    holdout: float = _setting(0.1, "with train_on=valid: share of its sequences kept for selection")
    select_protocol: str = _setting("sampled_999", f"protocol of the validation MRR: {' or '.join(PROTOCOLS)}")
    select_domain: str = _setting("both", "select by the mean of both domains, or by x or y alone")
    candidate_seed: int = _setting(0, "seed of the 999 negatives, the same for all models")
    train_negatives: int = _setting(0, "items that the training loss draws a step; 0: all, the exact loss", minimum=0)
    encoder: str = _setting("small_clip", "image encoder: small_clip, or <open_clip model>/<weights>")
    text: str = _setting("title", "text of an item: title, rules (the demo's), or llm:<model>, what it was asked for")
    text_encoder: str = _setting("lexical", "lexical, small_clip, or <open_clip model>/<weights>")
    shuffle_texts: int = _setting(
        0, "seed to deal the texts out anew within each domain with; 0: each item its own", minimum=0
    )
    device: str = _setting("cpu", "cpu or cuda")
    precision: str = _setting("float32", "float32, or bfloat16 for the matrix products of training")
    threads: int = _setting(1, "processor threads; another number may change the last digits", minimum=1)
    source_options: dict = field(default_factory=dict)
    model_options: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            value = _typed(spec.name, getattr(self, spec.name), spec.type)
            if "minimum" in spec.metadata and value < spec.metadata["minimum"]:
                raise InputError(f"{spec.name} is {value}: it must be at least {spec.metadata['minimum']}")
            object.__setattr__(self, spec.name, value)
        choose("model", self.model, MODELS)
        choose("train_on", self.train_on, ("train", "valid"))
        choose("select_protocol", self.select_protocol, PROTOCOLS)
        choose("select_domain", self.select_domain, ("both", "x", "y"))
        choose("precision", self.precision, ("float32", "bfloat16"))
        if not 0 < self.holdout < 1:
            raise InputError(f"holdout is {self.holdout}: it must lie between 0 and 1")
        if self.learning_rate <= 0 or self.l2 < 0:
            raise InputError("learning_rate must be positive and l2 must not be negative")
        if self.source == "c2dsr" and self.train_on == "valid":
            object.__setattr__(self, "source_options", {"train_file": False, **self.source_options})
        object.__setattr__(self, "source_options", complete_options(self.source, self.source_options))
        options = dataclasses.asdict(model_config(self.model, self.model_options))
        object.__setattr__(self, "model_options", options)


def model_config(model: str, options: dict):
    """The model's Config with ``options``, checked.

    Raises:
        InputError: an unknown option, or one of the wrong type or outside its choices.
    """
    config_class = MODELS[choose("model", model, MODELS)].Config
    types = typing.get_type_hints(config_class)
    known = {spec.name: types[spec.name] for spec in dataclasses.fields(config_class)}
    for name in options:
        if name not in known:
            raise InputError(f"unknown option {name!r} of model {model!r}: it has {', '.join(known)}")
    return config_class(**{name: _typed(name, value, known[name]) for name, value in options.items()})


def _typed(name: str, value, kind):
    """``value`` as ``kind`` (a type, its name, or a Literal); an int is taken where a float is wanted."""
    if typing.get_origin(kind) is typing.Literal:
        return choose(name, value, typing.get_args(kind))
    kind = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}.get(kind, kind)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{name} is {value!r}: it must be of type {kind.__name__}")
    return value


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: Path
    config: dict
    provenance: dict
    history: pd.DataFrame
    ranks: pd.DataFrame
    metrics: pd.DataFrame

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a run folder (weights are left on disk).

        Raises:
            InputError: a file is missing or damaged.
        """
        folder = Path(folder)
        path = folder
        try:
            records = {}
            for name in ("config", "provenance"):
                path = folder / f"{name}.json"
                records[name] = json.loads(path.read_text(encoding="utf-8"))
            path = folder / "history.csv"
            history = pd.read_csv(path)
            best_epoch(history)
            path = folder / "ranks.parquet"
            ranks = pd.read_parquet(path)
            return cls(folder, records["config"], records["provenance"], history, ranks, summarise(ranks))
        except Exception as error:  # json, pandas and pyarrow raise many kinds
            raise InputError(f"{path} can't be read ({type(error).__name__}): delete {folder} and run again") from error

    @property
    def best_epoch(self) -> int:
        return best_epoch(self.history)

    def mrr(self, protocol: str = "sampled_999") -> dict[str, float]:
        """Test MRR of each target domain."""
        chosen = self.metrics[self.metrics["protocol"] == protocol]
        return dict(zip(chosen["domain"], chosen["MRR"]))


def runs_dir() -> Path:
    return data_dir() / "runs"


def run(config: RunConfig, *, force: bool = False, report=None) -> Run:
    """Train and test one configuration, or find the finished run of the same configuration, code and data.

    Interrupted, it continues after its last finished epoch when called again.

    Args:
        force: train again even if a finished run is there.
        report: called with one line of text per epoch.

    Raises:
        InputError: anything wrong with configuration, data or features.
    """
    say = report or (lambda line: None)
    device = usable_device(config.device)
    torch.set_num_threads(config.threads)
    scenario, inputs, cases, fingerprints = assemble(config)
    record = dataclasses.asdict(config)
    if not force and (finished := find(config, fingerprints)) is not None:
        say(f"found: {finished.folder}")
        return finished
    folder = runs_dir() / folder_name(config, fingerprints)
    unfinished = runs_dir() / ".unfinished" / folder.name
    if force and parallel.rank() == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
    parallel.wait()
    unfinished.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    torch.manual_seed(config.seed)
    model = build_model(config, inputs).to(device)

    def line(row: dict) -> None:
        say(
            f"epoch {row['epoch']:>3}  loss {row['loss']:.4f}  validation MRR ({config.select_protocol}) "
            f"{100 * row['selection']:.2f} %  {row['seconds']:.1f} s"
        )

    with parallel.shared(model):
        history = fit(
            model,
            cases["train"],
            cases["valid"],
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            l2=config.l2,
            patience=config.patience,
            select_protocol=config.select_protocol,
            select_domain=config.select_domain,
            seed=config.seed,
            candidate_seed=config.candidate_seed,
            precision=config.precision,
            checkpoint_folder=unfinished,
            report=line,
        )
    ranks = rank_cases(model, cases["test"], config.candidate_seed)
    ranks.insert(0, "user", scenario.split("test")["user"].astype(str).to_numpy())
    provenance = {
        **fingerprints,
        **code_version(),
        "trained_on": _trained_on(config),
        "best_epoch": best_epoch(history),
        "cases": {split: len(part) for split, part in cases.items()},
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "device": device_name(device),
        "processes": parallel.size(),
        "seconds": round(time.perf_counter() - started, 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    parallel.wait()
    if parallel.rank() == 0:
        with new_folder(folder) as staging:
            for name, value in (("config", record), ("provenance", provenance)):
                (staging / f"{name}.json").write_text(
                    json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8"
                )
            history.to_csv(staging / "history.csv", index=False)
            ranks.to_parquet(staging / "ranks.parquet", index=False, compression="zstd")
            summarise(ranks).to_csv(staging / "metrics.csv", index=False)
            save_file(
                {name: value.contiguous() for name, value in model.state_dict().items()},
                staging / "weights.safetensors",
            )
        shutil.rmtree(unfinished)
    parallel.wait()
    return Run.load(folder)


def find(config: RunConfig, fingerprints: dict, shipped: bool = False) -> Run | None:
    """The finished run of a configuration, or None.

    Args:
        fingerprints: of data and features, and the versions of the code, as ``assemble`` gives them.
        shipped: look among the runs shipped with the checkout, too.

    Raises:
        InputError: its folder is damaged.
    """
    name = folder_name(config, fingerprints)
    for parent in (runs_dir(), shipped_dir())[: 1 + shipped]:
        if (parent / name).is_dir():
            finished = Run.load(parent / name)
            if RunConfig(**finished.config) == config:  # the name does not spell out defaults, and these may change
                return finished
    return None


def shipped_dir() -> Path:
    return results_dir() / "runs"


def ship(finished: Run, to: Path | None = None) -> Path:
    """Copy a run to the results that go with the checkout, without weights, users and items: numbers, no data.

    Returns:
        The new folder, in ``to`` (default: ``data/results/runs``).
    """
    target = (to or shipped_dir()) / finished.folder.name
    with new_folder(target) as staging:
        for name in ("config.json", "provenance.json", "history.csv", "metrics.csv"):
            shutil.copyfile(finished.folder / name, staging / name)
        finished.ranks.drop(columns=["user", "target_item"]).to_parquet(
            staging / "ranks.parquet", index=False, compression="zstd"
        )
    return target


def evaluate(folder: Path) -> pd.DataFrame:
    """Score the test cases again with a run's saved weights.

    Returns:
        Ranks as in ``ranks.parquet``, made anew.

    Raises:
        InputError: the folder is no run, or data or features are not those it was trained on.
    """
    model, scenario, cases = restore(folder)
    ranks = rank_cases(model, cases["test"], Run.load(folder).config["candidate_seed"])
    ranks.insert(0, "user", scenario.split("test")["user"].astype(str).to_numpy())
    return ranks


def restore(folder: Path) -> tuple[SequenceModel, Scenario, dict[str, Batch]]:
    """A run's model with its saved weights, ready to score; its scenario; its encoded cases by split.

    Raises:
        InputError: the folder is no run, it has no weights, or data or features are not those it was trained on.
    """
    finished = Run.load(folder)
    config = RunConfig(**finished.config)
    torch.set_num_threads(config.threads)
    scenario, inputs, cases, fingerprints = assemble(config)
    for name in ("scenario_fingerprint", "features_fingerprint"):
        if fingerprints[name] != finished.provenance[name]:
            raise InputError(
                f"{folder} was made with other data: its {name} is {finished.provenance[name]}, "
                f"here it is {fingerprints[name]}"
            )
    model = build_model(config, inputs)
    try:
        model.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    except Exception as error:
        raise InputError(
            f"{Path(folder) / 'weights.safetensors'} can't be read ({type(error).__name__}): "
            "run the configuration again with --force"
        ) from error
    return model.to(usable_device(config.device)).eval(), scenario, cases


def assemble(config: RunConfig) -> tuple[Scenario, ModelInputs, dict[str, Batch], dict[str, str | None]]:
    """Scenario, model inputs, encoded cases per split, and the fingerprints that identify them."""
    scenario = parallel.first_alone(lambda: prepare(config.source, config.scenario, **config.source_options))
    splits = training_splits(scenario, config)
    if config.shuffle_days:
        splits = {name: shuffle_days(part, config.shuffle_days) for name, part in splits.items()}
    cases = {name: encode(part, scenario.num_items_x, config.max_seq_len) for name, part in splits.items()}
    settings = model_config(config.model, config.model_options)
    features, made_of = {}, []
    for modality in MODELS[config.model].required_features(settings):
        embedded = _embedded(scenario, config, modality)
        made_of.append(embedded.fingerprint)
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
    fingerprints = {
        "scenario_fingerprint": scenario.fingerprint,
        "features_fingerprint": "+".join(made_of) or None,
        "code_versions": code_versions(MODELS[config.model]),
    }
    return scenario, inputs, cases, fingerprints


def _embedded(scenario: Scenario, config: RunConfig, modality: str) -> Features:
    """Frozen features of a scenario's items, ``image`` or ``text``."""
    if modality == "image":
        from ifcdsr_core.images import embed_images

        return embed_images(scenario, config.encoder, device=config.device)
    from ifcdsr_core.texts import embed_texts

    return embed_texts(scenario, config.text, config.text_encoder, device=config.device)


def deal_out(scenario: Scenario, missing: np.ndarray, seed: int) -> Tensor:
    """A random order of the items within each domain, (V,) rows; those that have nothing of their own keep their places.

    So who has a picture or a text stays as it is, and only whose it is changes.
    """
    random, order = np.random.default_rng(seed), np.arange(scenario.num_items)
    for of_domain in (order < scenario.num_items_x, order >= scenario.num_items_x):
        rows = np.flatnonzero(of_domain & ~missing)
        order[rows] = rows[random.permutation(len(rows))]
    return torch.from_numpy(order)


def training_splits(scenario: Scenario, config: RunConfig) -> dict[str, pd.DataFrame]:
    """Train, valid and test sequences; with ``train_on=valid`` a seeded share of that split is kept for selection.

    Raises:
        InputError: a split is empty.
    """
    splits = {name: scenario.split(name) for name in ("train", "valid", "test")}
    if config.train_on == "valid":
        shuffled = np.random.default_rng(20250428).permutation(len(splits["valid"]))  # the same split for every run
        kept = max(1, round(config.holdout * len(shuffled)))
        splits["train"] = splits["valid"].iloc[np.sort(shuffled[kept:])]
        splits["valid"] = splits["valid"].iloc[np.sort(shuffled[:kept])]
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


def folder_name(config: RunConfig, fingerprints: dict) -> str:
    """Source, scenario, model, seed, and a hash of the fingerprints and of what is not left at its default.

    So a setting, an option or a dial that is added later changes no name.
    """
    defaults = {spec.name: spec.default for spec in dataclasses.fields(config)} | {
        "source_options": complete_options(config.source, {}),
        "model_options": dataclasses.asdict(model_config(config.model, {})),
    }
    identity = json.dumps([_changes(dataclasses.asdict(config), defaults), fingerprints], sort_keys=True)
    return (
        f"{config.source}-{config.scenario}-{config.model}-seed{config.seed}-"
        f"{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    )


def _changes(values: dict, defaults: dict) -> dict:
    """Those of ``values`` that are not the defaults, likewise within dicts."""
    return {
        name: _changes(value, defaults[name]) if isinstance(value, dict) else value
        for name, value in values.items()
        if value != defaults[name]
    }


def _trained_on(config: RunConfig) -> str:
    if config.train_on == "train":
        return "training sequences"
    return f"validation sequences, {config.holdout:.0%} of them kept for selection"
