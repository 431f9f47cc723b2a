"""A tiny scenario for tests: 12 items of X, 18 of Y, histories of all shapes, no pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ifcdsr_core.scenario import Scenario

NUM_X, NUM_Y = 12, 18
SHAPES = ("mixed", "only_x", "only_y")


def tiny(num_sequences: int = 60, seed: int = 0) -> Scenario:
    """Random sequences; some users have one domain only; the first and last item of each domain occur."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(num_sequences):
        pools = {
            "mixed": np.arange(1, NUM_X + NUM_Y + 1),
            "only_x": np.arange(1, NUM_X + 1),
            "only_y": np.arange(NUM_X + 1, NUM_X + NUM_Y + 1),
        }
        items = random.permutation(pools[SHAPES[number % 3]])[: random.integers(2, 9)].astype(np.int32)
        rows.append(items)
    rows[0][:2], rows[3][-1], rows[6][-1] = (1, NUM_X + NUM_Y), NUM_X, NUM_X + 1
    items = pd.DataFrame(
        {
            "item": np.arange(1, NUM_X + NUM_Y + 1, dtype=np.int32),
            "domain": ["x"] * NUM_X + ["y"] * NUM_Y,
            "source_id": [f"i{n}" for n in range(NUM_X + NUM_Y)],
            "title": None,
            "image": None,
        }
    )
    sequences = pd.DataFrame(
        {
            "user": [f"u{n}" for n in range(num_sequences)],
            "split": [("train", "train", "valid", "test")[n % 4] for n in range(num_sequences)],
            "target_domain": ["x" if row[-1] <= NUM_X else "y" for row in rows],
            "items": rows,
            "timestamps": [np.arange(len(row)) * 86_400 for row in rows],
        }
    )
    return Scenario("food_kitchen", "demo", items, sequences)
