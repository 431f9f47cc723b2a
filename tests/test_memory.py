"""A training step of the paper's size (q 256, e 512, batch 256, all 64,093 items of Food-Kitchen) stays under 4 GB."""

from __future__ import annotations

import subprocess
import sys

import pytest

STEP = """
import resource
import numpy as np, pandas as pd, torch
import torch.nn.functional as F
from ifcdsr_core.batches import encode
from ifcdsr_core.models import MODELS
from ifcdsr_core.models.base import ModelInputs

X, Y = 29_207, 34_886
random = np.random.default_rng(0)
sequences = pd.DataFrame({"items": [random.integers(1, X + Y + 1, size=15) for _ in range(256)]})
features = F.normalize(torch.randn(X + Y, 512), dim=1)
model = MODELS["ifcdsr"](MODELS["ifcdsr"].Config(), ModelInputs(X, Y, 15, {"image": features}))
optimiser = torch.optim.Adam(model.parameters(), weight_decay=1e-5, fused=True)
for parameter in model.parameters():
    parameter.grad = torch.zeros_like(parameter)
optimiser.step()  # from now on the optimiser has its state
optimiser.zero_grad(set_to_none=True)
loss = model.loss(encode(sequences, X, 15))
loss.backward()
optimiser.step()
print(loss.item(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_step_of_the_papers_size_stays_under_4_gb():
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    loss, gigabytes = map(float, done.stdout.split())
    assert 0 < loss < 20
    assert gigabytes < 4, f"{gigabytes:.2f} GB"
