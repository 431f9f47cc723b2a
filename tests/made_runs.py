"""Finished runs made by hand, for tests of what is computed from runs and said of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ifcdsr_core.runs.store import Run

NAMES = ("Food", "Kitchen")


def made_run(ranks_x: list[float], ranks_y: list[float], seed: int = 0, first_user: int = 0, **config) -> Run:
    """A finished run with these ranks under both protocols."""
    ranks = [*ranks_x, *ranks_y]
    frame = pd.DataFrame(
        {
            "user": [f"u{first_user + number}" for number in range(len(ranks))],
            "target_item": range(1, len(ranks) + 1),
            "target_domain": ["x"] * len(ranks_x) + ["y"] * len(ranks_y),
            "sampled_999": ranks,
            "full": [2 * rank for rank in ranks],
        }
    )
    config = {
        "source": "demo",
        "scenario": "food_kitchen",
        "model": "ifcdsr",
        "seed": seed,
        "select_protocol": "sampled_999",
        "source_options": {},
        "model_options": {},
        **config,
    }
    provenance = {
        "trained_on": "training sequences",
        "cases": {"train": 10, "valid": 2, "test": len(ranks)},
        "parameters": 1234,
    }
    history = pd.DataFrame({"epoch": [1, 2, 3], "selection": [0.1, 0.3, 0.2]})
    return Run(Path("runs") / f"run{seed}", config, provenance, history, frame)
