"""The sweep: skips what is done, loses nothing to a failure or a kill, shares GPUs out, and goes to a cluster alike."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from test_run import SMALL, put_scenario, same

from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs import search, store
from ifcdsr_core.runs import sweep as sweep_module
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.store import Run, runs_dir, ship
from ifcdsr_core.runs.sweep import submit, sweep
from ifcdsr_core.scenario import Scenario

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    put_scenario(tmp_path, seed=0)
    return tmp_path


def configs(seeds=(0, 1, 2), **changes) -> list[RunConfig]:
    return [
        RunConfig(**{"seed": seed, "epochs": 2, "batch_size": 8, "model_options": SMALL, **changes}) for seed in seeds
    ]


def test_runs_come_in_order_are_found_again_and_equal_those_run_here(monkeypatch):
    lines = []
    twice = sweep([*configs(), *configs([1, 0])], jobs=2, report=lines.append)
    assert [finished.config["seed"] for finished in twice] == [0, 1, 2, 1, 0]
    assert len(list(runs_dir().glob("[!.]*"))) == 3  # equal configurations are one run
    assert sorted(line.split(":")[0] for line in lines) == ["1 of 3", "2 of 3", "3 of 3"]
    runs = twice[:3]
    monkeypatch.setattr(sweep_module, "_pool", lambda *a: pytest.fail("ran again"))
    monkeypatch.setattr(Scenario, "load", lambda *a: pytest.fail("reads the data"))
    again = sweep(configs())
    assert all(same(a, b) for a, b in zip(runs, again, strict=True))


def test_a_shipped_run_is_taken_as_finished_unless_told_otherwise(data, monkeypatch):

    (first,) = sweep(configs([0]), jobs=1)
    monkeypatch.setattr(store, "shipped_dir", lambda: data / "shipped")
    shipped = ship(first, data / "shipped")
    monkeypatch.setattr(store, "runs_dir", lambda: data / "elsewhere")
    (found,) = sweep(configs([0]), jobs=1)
    assert found.folder == shipped
    monkeypatch.setattr(sweep_module, "_pool", lambda *a: pytest.fail("runs anew"))
    with pytest.raises(BaseException, match="runs anew"):
        sweep(configs([0]), shipped=False)


@pytest.mark.parametrize("jobs", [0, -2, 10**6])
def test_a_number_of_jobs_that_cannot_be(jobs):
    with pytest.raises(InputError, match=f"jobs is {jobs}: it must be between"):
        sweep(configs([0]), jobs=jobs)


def test_gpus_are_for_runs_on_gpus():
    with pytest.raises(InputError, match="device is cpu: it must be cuda"):
        sweep(configs([0]), gpus=["0"])


def test_a_failing_run_does_not_cost_the_others():
    mixed = configs([0]) + configs([1], learning_rate=1e30) + configs([2])
    with pytest.raises(InputError, match="1 of 3 runs failed.*seed 1.*diverged"):
        sweep(mixed, jobs=2)
    assert len(list(runs_dir().glob("[!.]*"))) == 2


def test_a_search_outlives_a_candidate_that_diverges(data, monkeypatch):
    monkeypatch.setattr(search, "results_dir", lambda: data / "results")
    candidates, lines = configs([0, 0, 0], epochs=9), []
    candidates[1] = dataclasses.replace(candidates[1], learning_rate=1e30)
    candidates[2] = dataclasses.replace(candidates[2], learning_rate=0.002)
    rounds = search.halve(candidates, functools.partial(sweep, jobs=2, may_diverge=True, report=lines.append))
    assert [len(runs) for runs in rounds] == [3, 1, 1] and sum("seed 0: diverged" in line for line in lines) == 1
    table = search.outcome(rounds)
    assert search.num_candidates(table) == 3 and (table["validation_mrr"] > 0).tolist() == [True] * 4 + [False]
    search.keep(table, "demo", "food_kitchen")
    pd.testing.assert_frame_equal(search.load("demo", "food_kitchen"), table, check_dtype=False)
    others = search.others_by_rate(table)["learning_rate"]
    assert 1e30 not in others.tolist() and len(others) == 1
    with pytest.raises(InputError, match="no candidate of ifcdsr can be trained, all diverge"):
        search.halve([candidates[1]], functools.partial(sweep, jobs=1, may_diverge=True))


def test_a_process_that_is_killed_is_told_in_one_line():
    def kill(line):
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(InputError, match="a process was killed.*the same command goes on"):
        sweep(configs([0]) + configs(range(1, 9), epochs=200), jobs=1, report=kill)


def children(parent: int) -> list[int]:
    """Worker processes, without multiprocessing's resource tracker."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if (
                int(stat.read_text().rpartition(")")[2].split()[1]) == parent
                and "spawn_main" in (stat.parent / "cmdline").read_text()
            ):
                found.append(int(stat.parent.name))
        except (OSError, ValueError):
            pass  # it has ended meanwhile
    return found


def test_a_sweep_killed_hard_leaves_no_process_and_goes_on(data):
    path = data / "mine.json"
    path.write_text(
        json.dumps(
            [{"seed": seed, "epochs": 8, "patience": 8, "batch_size": 8, "model_options": SMALL} for seed in range(3)]
        )
    )
    command = [sys.executable, "-m", "ifcdsr_core", "sweep", str(path), "--jobs", "1"]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(runs_dir().glob(".unfinished/*/checkpoint*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = children(first.pid)
    first.kill()
    first.wait()
    assert workers
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 of 3" in done.stderr and len(done.stdout.splitlines()) == 3
    assert len([Run.load(folder) for folder in runs_dir().glob("[!.]*")]) == 3


def test_gpus_are_shared_out_among_the_processes():
    with sweep_module._pool(2, ("3", "7")) as pool:
        seen = set(pool.map(_place, range(12)))
    assert {gpu for _, gpu in seen} == {"3", "7"} and len(seen) == 2


def test_processors_are_shared_out_among_the_processes(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(sweep_module, "processors", lambda: 8)
    with sweep_module._pool(2, []) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what a user says goes
    with sweep_module._pool(2, []) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"


def _place(number):
    time.sleep(0.1)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_cluster_gives_the_same_runs(data, monkeypatch):
    lines = []
    there = submit(configs([0, 1]), "local", {"timeout_min": 5}, report=lines.append)
    assert len(lines) == 2 and [finished.config["seed"] for finished in there] == [0, 1]
    monkeypatch.setenv("IFCDSR_DATA", str(data / "other"))
    put_scenario(data / "other", seed=0)
    assert all(same(a, b) for a, b in zip(there, sweep(configs([0, 1]), jobs=1), strict=True))


def test_a_failing_job_of_a_cluster_does_not_cost_the_others(data):
    mixed = configs([0]) + configs([1], learning_rate=1e30)
    with pytest.raises(InputError, match=r"1 of 2 runs failed.*seed 1: Diverged: .*diverged.* \(see /.*\.err\)$"):
        submit(mixed, "local", {"timeout_min": 5})
    assert len(list(runs_dir().glob("[!.]*"))) == 1


def test_what_sbatch_refuses_is_told_in_one_line(data, monkeypatch):
    for name in ("sbatch", "srun"):
        (data / name).write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1\n")
        (data / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{data}:{os.environ['PATH']}")
    with pytest.raises(InputError, match="^submitit can't start jobs: sbatch: error: invalid partition$"):
        submit(configs([0]), "slurm", {"slurm_partition": "nosuch"})


@pytest.mark.parametrize("cluster, options", [("slurm", {"slurm_partition": "gpu"}), ("local", {"time_out": 5})])
def test_a_cluster_that_is_not_there_or_an_unknown_option_is_told_in_one_line(data, monkeypatch, cluster, options):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="submitit can't start jobs") as caught:
        submit(configs([0]), cluster, options)
    assert "\n" not in str(caught.value)
