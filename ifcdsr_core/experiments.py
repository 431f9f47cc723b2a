"""The book's experiments: named lists of runs, and the pool that carries them out.

An experiment is a dict from the label of a table's row or column to its configurations, one per seed. Finished runs are
found again, so an experiment can be killed and continued.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Iterable

from tqdm import tqdm

from ifcdsr_core.errors import choose
from ifcdsr_core.run import Run, RunConfig, assemble, run

Experiment = dict[str, list[RunConfig]]

# What one needs to know to redo the numbers: small models for the small demo, the paper's sizes for the paper's data.
DEMO = dict(source="demo", epochs=10, patience=10, batch_size=64, learning_rate=5e-3)
DEMO_SIZE = dict(hidden_size=64)
DEMO_ATTENTION = dict(inner_size=64)
PAPER_SIZE = dict(patience=4, batch_size=128, learning_rate=5e-4, train_negatives=2048)
PAPER_EPOCHS = {"c2dsr": 12, "llmcdsr": 4}  # chosen for two processors; the paper trains 100 on a GPU


def settings(source: str, scenario: str, model: str) -> tuple[dict, dict]:
    """Run settings and model options of the book for a source, a scenario and a model."""
    if source == "demo":
        return dict(DEMO), dict(DEMO_SIZE, **(DEMO_ATTENTION if model != "gru4rec" else {}))
    return dict(PAPER_SIZE, epochs=PAPER_EPOCHS[choose("source", source, PAPER_EPOCHS)], source=source,
                train_on="valid" if source == "c2dsr" else "train"), {}


def configurations(model: str, scenario: str, seeds: Iterable[int], source: str = "demo", *,
                   source_options: dict | None = None, model_options: dict | None = None, **changes) -> list[RunConfig]:
    """The book's configuration of one model, for each seed, with ``changes`` to it."""
    common, options = settings(source, scenario, model)
    return [RunConfig(scenario=scenario, model=model, seed=seed, source_options=source_options or {},
                      model_options={**options, **(model_options or {})}, **{**common, **changes}) for seed in seeds]


def comparison(scenario: str, seeds: Iterable[int] = (0, 1, 2), source: str = "demo", **changes) -> Experiment:
    """Tables 2 and 3: the rivals and IFCDSR. The paper's own data have no pictures here: IFCDSR then runs without."""
    without_pictures = {} if source == "demo" else {"image_fusion": False}
    name = "IFCDSR" if source == "demo" else "IFCDSR (no images)"
    return {
        "GRU4Rec": configurations("gru4rec", scenario, seeds, source, **changes),
        "SASRec": configurations("sasrec", scenario, seeds, source, **changes),
        name: configurations("ifcdsr", scenario, seeds, source, model_options=without_pictures, **changes),
    }


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


def run_all(experiment: Experiment, jobs: int | None = None) -> dict[str, list[Run]]:
    """Run what is not yet there, ``jobs`` configurations at a time (default: one per processor and its threads).

    Returns:
        The finished runs, under the labels of the experiment.

    Raises:
        InputError: of the first run that fails; the others are finished first and are found next time.
    """
    labelled = [(label, config) for label, configs in experiment.items() for config in configs]
    threads = max(config.threads for _, config in labelled)
    jobs = jobs or max(1, (os.cpu_count() or 1) // threads)
    for config in {json.dumps([c.source, c.scenario, c.source_options, c.model_options.get("image_fusion")]): c
                   for _, c in labelled}.values():
        assemble(config)  # scenarios and features are made here, once, and not by every worker
    results = {}
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(run, config): position for position, (_, config) in enumerate(labelled)}
        for future in tqdm(as_completed(futures), total=len(futures), unit="run", disable=not sys.stderr.isatty()):
            results[futures[future]] = future.result()
    finished: dict[str, list[Run]] = {label: [] for label in experiment}
    for position, (label, _) in enumerate(labelled):
        finished[label].append(results[position])
    return finished
