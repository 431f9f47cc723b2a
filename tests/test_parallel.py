"""Two processes train what one would: the same global batch, the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd
import pytest
from test_run import put_scenario

from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs.store import Run

pytestmark = pytest.mark.slow

ARGUMENTS = [
    "-m",
    "ifcdsr_core",
    "train",
    "--epochs",
    "3",
    "--batch-size",
    "7",
    "--learning-rate",
    "0.01",
    "--set",
    "hidden_size=8",
    "--set",
    "dropout=0.0",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def train(data, command, *more) -> Run:
    put_scenario(data, seed=0)
    environment = {**os.environ, "IFCDSR_DATA": str(data), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *ARGUMENTS, *more], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    folders = list((data / "runs").glob("[!.]*"))
    (left,) = (data / "runs" / ".unfinished").iterdir()  # no lock: what more epochs would go on from
    assert len(folders) == 1 and [path.name for path in left.iterdir()] == ["checkpoint.safetensors"]
    assert done.stdout.count(folders[0].name) == 1  # one process alone reports
    return Run.load(folders[0])


@pytest.mark.parametrize("model, more", [("ifcdsr", ["--set", "image_fusion=false"]), ("gru4rec", [])])
def test_two_processes_train_what_one_does(tmp_path, model, more):
    one, two = (
        train(tmp_path / name, command, "--model", model, *more)
        for name, command in (("one", [sys.executable]), ("two", TORCHRUN))
    )
    assert one.folder.name == two.folder.name and (one.provenance["processes"], two.provenance["processes"]) == (1, 2)
    columns = [name for name in one.history if name != "seconds"]
    pd.testing.assert_frame_equal(one.history[columns], two.history[columns], rtol=1e-4)
    assert (one.ranks["full"] - two.ranks["full"]).abs().max() <= 1


UNUSED = """
import torch
from ifcdsr_core import processes
from ifcdsr_core.batches import Batch
from ifcdsr_core.runs.gradients import shared


class Model(torch.nn.Module):
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.used, self.unused = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))

    def loss(self, batch):
        return (self.used * 2).sum() * batch.labels.float().mean()


with processes.joined():
    model = Model()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    with shared(model):
        for rows in (2, 1):  # the second process has no row of the last batch
            whole = torch.ones(rows, 2, dtype=torch.long)
            loss = model.loss(Batch(*[whole] * 6, whole[:, 0], whole[:, 0], whole))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    if processes.rank() == 0:
        print(model.used.tolist(), model.unused.tolist(), loss.item())
"""


def test_parameters_without_gradients_keep_none_in_a_process_without_rows(tmp_path, capsys):
    exec(UNUSED, {})
    (tmp_path / "train.py").write_text(UNUSED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    two = subprocess.run(
        [*TORCHRUN, str(tmp_path / "train.py")], capture_output=True, text=True, env=environment, timeout=300
    )
    assert two.returncode == 0, two.stderr
    assert two.stdout == capsys.readouterr().out and "[1.0, 1.0, 1.0]" in two.stdout


def test_bad_input_ends_all_processes_with_its_line(tmp_path):
    environment = {**os.environ, "IFCDSR_DATA": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*TORCHRUN, "-m", "ifcdsr_core", "train", "--model", "nothing"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode != 0 and "error: unknown model 'nothing': choose one of popularity" in done.stderr
