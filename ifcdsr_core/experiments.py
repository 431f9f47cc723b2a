"""The book's experiments: named lists of runs, and the settings they share.

An experiment is a dict from the label of a table's row or column to its configurations, one per seed. ``run_all`` carries
one out; finished runs are found again, so it can be killed and continued.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterable

import pandas as pd

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.models import COUNTING, MODELS
from ifcdsr_core.paths import new_file, results_dir
from ifcdsr_core.run import Run, RunConfig
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.sources import source_module
from ifcdsr_core.sweep import sweep

Experiment = dict[str, list[RunConfig]]

# What one needs to know to redo the numbers: small models for the small demo, the paper's sizes for the paper's data.
DEMO = dict(source="demo", epochs=30, patience=8, batch_size=64, learning_rate=1e-2)
DEMO_SIZE = dict(hidden_size=64, inner_size=64)
REAL = dict(patience=3, batch_size=128, learning_rate=1e-3, train_negatives=8192, precision="bfloat16")
REAL_EPOCHS = {"c2dsr": 8, "llmcdsr": 2}  # chosen for two processors; the paper trains 100 on a GPU

# The paper's grid. The demo has a hundredth of the paper's training steps, so its learning rates are ten times larger.
GRID_L2 = (1e-4, 5e-5, 1e-5)
GRID_LEARNING_RATES = {"demo": (1e-2, 5e-3, 1e-3), "c2dsr": (1e-3, 5e-4, 1e-4), "llmcdsr": (1e-3, 5e-4, 1e-4)}


def settings(source: str, scenario: str, model: str) -> tuple[dict, dict]:
    """Run settings and model options of the book for a source, a scenario and a model.

    Learning rate and L2 are those that ``grid`` found, where its outcome is shipped: that of the scenario, or else of the
    source's other one.
    """
    tuned = _chosen(source, scenario, model)
    if source == "demo":
        known = MODELS[choose("model", model, MODELS)].Config.__dataclass_fields__
        return DEMO | tuned, {name: value for name, value in DEMO_SIZE.items() if name in known}
    epochs = REAL_EPOCHS[choose("source", source, REAL_EPOCHS)]
    return REAL | dict(epochs=epochs, source=source, train_on="valid" if source == "c2dsr" else "train") | tuned, {}


def configurations(model: str, scenario: str, seeds: Iterable[int], source: str = "demo", *,
                   source_options: dict | None = None, model_options: dict | None = None, **changes) -> list[RunConfig]:
    """The book's configuration of one model, for each seed, with ``changes`` to it."""
    common, options = settings(source, scenario, model)
    return [RunConfig(scenario=scenario, model=model, seed=seed, source_options=source_options or {},
                      model_options={**options, **(model_options or {})}, **{**common, **changes}) for seed in seeds]


# --- the lists --------------------------------------------------------------------------------------------------------


def comparison(scenario: str, seeds: Iterable[int] = (0, 1, 2), source: str = "demo",
               models: Iterable[str] | None = None, **changes) -> Experiment:
    """Tables 2 and 3: all models, or some, under the names that tables give them.

    Real data have no pictures here: IFCDSR then runs without. What only counts has no seed and is run once.
    """
    rows: Experiment = {}
    for model in models or MODELS:
        image_fusion = {"image_fusion": False} if model == "ifcdsr" and source != "demo" else {}
        label = MODELS[choose("model", model, MODELS)].title + (" (no images)" if image_fusion else "")
        rows[label] = configurations(model, scenario, [0] if model in COUNTING else seeds, source,
                                     model_options=image_fusion, **changes)
    return rows


def ablation(scenario: str, seeds: Iterable[int] = (0, 1, 2), source: str = "demo", **changes) -> Experiment:
    """Table 4: its three columns."""
    columns = {
        "original framework": {"image_fusion": False, "multiple_attention": False},
        "+ image fusion": {"image_fusion": True, "multiple_attention": False},
        "+ multiple attention": {"image_fusion": True, "multiple_attention": True},
    }
    return {label: configurations("ifcdsr", scenario, seeds, source, model_options=options, **changes)
            for label, options in columns.items()}


def image_control(scenario: str, visual_signal: float, seeds: Iterable[int] = (0, 1, 2), **changes) -> Experiment:
    """The controls: IFCDSR with and without images where pictures explain behaviour (1) or nothing of it (0)."""
    return {label: configurations("ifcdsr", scenario, seeds, source_options={"visual_signal": visual_signal},
                                  model_options={"image_fusion": fusion}, **changes)
            for label, fusion in (("without images", False), ("with images", True))}


def grid(scenario: str, source: str = "demo", models: Iterable[str] | None = None, seed: int = 0, **changes
         ) -> Experiment:
    """The paper's grid of learning rate and L2 for each model that is trained, or for some."""
    rates = GRID_LEARNING_RATES[choose("source", source, GRID_LEARNING_RATES)]
    return {label: [config for learning_rate in rates for l2 in GRID_L2
                    for config in comparison(scenario, [seed], source, [model], learning_rate=learning_rate, l2=l2,
                                             **changes)[label]]
            for model in models or MODELS if model not in COUNTING
            for label in comparison(scenario, [seed], source, [model])}


def named_list(what: str, scenario: str, source: str, seeds: list[int], models: list[str], **changes) -> list[RunConfig]:
    """The configurations of an experiment of the book by its name, or of a JSON file that lists them.

    Raises:
        InputError: no such experiment or file, or a configuration in it is wrong.
    """
    if what.endswith(".json"):
        return _listed(Path(what))
    choose("experiment", what, ("comparison", "ablation", "control", "grid"))
    if models and what in ("ablation", "control"):
        raise InputError(f"{what} is about IFCDSR alone: it takes no models")
    if what == "grid":
        experiment = grid(scenario, source, models or None, seeds[0], **changes)
    elif what == "comparison":
        experiment = comparison(scenario, seeds, source, models or None, **changes)
    elif what == "ablation":
        experiment = ablation(scenario, seeds, source, **changes)
    elif source != "demo" or changes.pop("source_options", None):
        raise InputError("control sets visual_signal itself, on the demo: it takes no other source and no source options")
    else:
        experiment = {f"{label}, {signal:g}": configs for signal in (0.0, 1.0)
                      for label, configs in image_control(scenario, signal, seeds, **changes).items()}
    return [config for configs in experiment.values() for config in configs]


def _listed(path: Path) -> list[RunConfig]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as JSON ({error})") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records) or not records:
        raise InputError(f"{path} must hold a list of configurations, each as in the config.json of a run")
    configs = []
    for number, record in enumerate(records):
        try:
            configs.append(RunConfig(**record))
        except TypeError as error:  # an unknown setting
            raise InputError(f"{path}, configuration {number}: {str(error).partition(' ')[2]}") from error
        except InputError as error:
            raise InputError(f"{path}, configuration {number}: {error}") from error
    return configs


def run_all(experiment: Experiment, jobs: int | None = None) -> dict[str, list[Run]]:
    """Run what is not yet there: the finished runs, under the labels of the experiment (``sweep.sweep``)."""
    return regroup(experiment, sweep([config for configs in experiment.values() for config in configs], jobs))


def regroup(experiment: Experiment, runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs in the order of an experiment's configurations, under its labels."""
    remaining = iter(runs)
    return {label: [next(remaining) for _ in configs] for label, configs in experiment.items()}


# --- the outcome of the grid ------------------------------------------------------------------------------------------


def grid_table(runs: Iterable[Run]) -> pd.DataFrame:
    """What a grid says of one or several models: a row a run, best first for each model, by validation MRR alone.

    Columns: ``model, learning_rate, l2, validation_mrr, best_epoch, run``.
    """
    rows = [(run.config["model"], run.config["learning_rate"], run.config["l2"], float(run.history["selection"].max()),
             run.best_epoch, run.folder.name) for run in runs]
    table = pd.DataFrame(rows, columns=["model", "learning_rate", "l2", "validation_mrr", "best_epoch", "run"])
    order = table["model"].map(list(MODELS).index)
    return table.assign(order=order).sort_values(["order", "validation_mrr"], ascending=[True, False], kind="stable",
                                                 ignore_index=True).drop(columns="order")


def keep_grid(table: pd.DataFrame, source: str, scenario: str) -> None:
    """Write a grid's outcome to where ``settings`` looks for it; rows of models that are not in it stay."""
    path = _grid_file(source, scenario)
    before = pd.read_csv(path) if path.is_file() else table.iloc[:0]
    kept = pd.concat([table, before[~before["model"].isin(table["model"])]], ignore_index=True)
    kept["order"] = kept["model"].map(list(MODELS).index)
    with new_file(path) as staging:
        kept.sort_values("order", kind="stable").drop(columns="order").to_csv(staging, index=False)


def load_grid(source: str, scenario: str) -> pd.DataFrame | None:
    """The shipped outcome of a grid, or None.

    Raises:
        InputError: the file is damaged.
    """
    path = _grid_file(source, scenario)
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path).astype({"learning_rate": float, "l2": float, "validation_mrr": float})
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} can't be read ({error}): delete it, and run the sweep of the grid again") from error


def _grid_file(source: str, scenario: str) -> Path:
    return results_dir() / "grid" / f"{source}-{scenario}.csv"


def _chosen(source: str, scenario: str, model: str) -> dict:
    for name in (scenario, *(other for other in DOMAIN_NAMES if other != scenario)):
        table = load_grid(source, name)
        rows = table[table["model"] == model] if table is not None else ()
        if len(rows):
            best = rows.iloc[rows["validation_mrr"].argmax()]
            return {"learning_rate": float(best["learning_rate"]), "l2": float(best["l2"])}
    return {}


# --- parameters of notebooks and of the command line -----------------------------------------------------------------


def parse_scenarios(text: str) -> list[str]:
    """Scenario names separated by commas.

    Raises:
        InputError: none, an unknown or a repeated one.
    """
    names = [choose("scenario", name.strip(), DOMAIN_NAMES) for name in str(text).split(",")]
    if len(set(names)) != len(names):
        raise InputError(f"scenarios is {text!r}: it names one of them twice")
    return names


def parse_seeds(text: str | int) -> list[int]:
    """Seeds separated by commas; papermill passes a single one as a number.

    Raises:
        InputError: no list of different whole numbers.
    """
    try:
        seeds = [int(part) for part in str(text).split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds is {text!r}: give different whole numbers from 0 on, separated by commas, as in 0,1,2")
    return seeds


def source_options(source: str, **dials) -> dict:
    """Those of the dials that the source has.

    Raises:
        InputError: unknown source.
    """
    known = source_module(source).OPTIONS
    return {name: value for name, value in dials.items() if name in known}


def run_config(scenario: str, source: str, model: str, seed: int, epochs: int = 0, train_on: str = "",
               **dials) -> RunConfig:
    """The book's configuration for the parameters of notebook 03.

    Args:
        epochs: 0 stands for the book's number.
        train_on: ``train``, ``valid``, or empty for what the book does with that source.
        dials: options of the demo (``visual_signal`` ...) or of IFCDSR (``image_fusion`` ...); those that the source or
            the model does not have are left out.

    Raises:
        InputError: a value that is unknown, of the wrong type or out of range.
    """
    of_model = MODELS[choose("model", model, MODELS)].Config.__dataclass_fields__
    changes = {name: value for name, value in (("epochs", epochs), ("train_on", train_on)) if value}
    return configurations(model, scenario, [seed], source,
                          source_options=source_options(source, **dials),
                          model_options={name: value for name, value in dials.items() if name in of_model},
                          **changes)[0]
