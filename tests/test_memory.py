"""Training at the paper's size (q 256, e 512, batch 256, all 64,093 items of Food-Kitchen) stays under 2.5 GiB."""

from __future__ import annotations

import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np, pandas as pd, torch
import torch.nn.functional as F
from ifcdsr_core.batches import encode
from ifcdsr_core.blocks import prepare_memory
from ifcdsr_core.models import MODELS
from ifcdsr_core.models.base import ModelInputs
from ifcdsr_core.train import step

X, Y = 29_207, 34_886
prepare_memory()
random = np.random.default_rng(0)
features = F.normalize(torch.randn(X + Y, 512), dim=1)
model = MODELS["ifcdsr"](MODELS["ifcdsr"].Config(), ModelInputs(X, Y, 15, {"image": features}))
del features
optimiser = torch.optim.Adam(model.parameters(), weight_decay=1e-5, fused=True)
for _ in range(8):
    items = [random.integers(1, X + Y + 1, size=size) for size in random.integers(4, 16, size=256)]
    loss = step(model, encode(pd.DataFrame({"items": items}), X, 15), optimiser, "float32")
    print(loss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_steps_of_the_papers_size_stay_under_two_and_a_half_gib():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    losses, gib = zip(*(map(float, line.split()) for line in done.stdout.splitlines()), strict=True)
    assert all(0 < loss < 20 for loss in losses)
    assert max(gib) < 2.5, f"{gib} GiB"
