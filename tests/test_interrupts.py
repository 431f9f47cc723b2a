"""Ctrl-C and SIGTERM: one line, exit code 130 or 143, and no process left after two seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ifcdsr_core.paths import ROOT, data_dir
from ifcdsr_core.sources import prepare

pytestmark = pytest.mark.slow
LINE = "interrupted: what is finished is kept, the same command continues\n"
LONG = {"scenario": "food_kitchen", "model": "sasrec", "epochs": 500, "patience": 500}
SMALL = {"hidden_size": 16, "inner_size": 16}


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory):
    """A data folder with the demo's scenario."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_DATA", str(tmp_path_factory.mktemp("data")))
        prepare("demo", "food_kitchen")
        yield


def of_group(group: int) -> list[str]:
    """Command lines of the living processes of a group, but for the one that frees semaphores and then ends."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, in_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(in_group) == group and state != "Z" and "resource_tracker" not in command:
            found.append(command)
    return found


def interrupted(arguments: list[str], number: signal.Signals, ready) -> tuple[int, str, float]:
    """Exit code, stderr and seconds of a command that gets a signal as soon as ``ready()``: as a terminal sends Ctrl-C,
    to the whole group, and as an administrator sends SIGTERM, to the command alone."""
    command = [sys.executable, "-m", "ifcdsr_core", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, process.stderr.read()
    started = time.monotonic()
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    error = process.communicate(timeout=60)[1]
    seconds = time.monotonic() - started
    while of_group(process.pid) and time.monotonic() < started + 2:
        time.sleep(0.05)
    assert of_group(process.pid) == []
    return process.returncode, error, seconds


def checkpoints() -> list[Path]:
    return list(data_dir().glob("runs/.unfinished/*/checkpoint.safetensors"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training(number):
    arguments = ["train", "--model", "sasrec", "--epochs", "500", "--patience", "500", "--seed", str(int(number))]
    before = len(checkpoints())
    code, error, seconds = interrupted(arguments, number, lambda: len(checkpoints()) > before)
    assert code == 128 + number and error.endswith(LINE) and seconds < 2
    assert [line for line in error.splitlines() if not line.startswith("epoch ")] == [LINE.strip()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep(tmp_path, number):
    configs = [LONG | {"seed": 100 + 10 * number + seed, "model_options": SMALL} for seed in range(3)]
    (tmp_path / "list.json").write_text(json.dumps(configs))
    before = len(checkpoints())
    arguments = ["sweep", str(tmp_path / "list.json"), "--jobs", "2"]
    code, error, seconds = interrupted(arguments, number, lambda: len(checkpoints()) >= before + 2)
    assert (code, error) == (128 + number, LINE) and seconds < 2


@pytest.mark.parametrize("wait", [0.25, 0.4, 0.8, 1.6])
def test_a_command_that_has_just_begun(wait):
    arguments = ["train", "--model", "sasrec", "--epochs", "500", "--patience", "500", "--seed", "7"]
    error = "Fatal Python error"
    while error.startswith("Fatal Python error"):  # on a busy machine Python itself is still starting
        due, wait = time.monotonic() + wait, wait + 0.1
        code, error, seconds = interrupted(arguments, signal.SIGINT, lambda due=due: time.monotonic() > due)
    assert (code, error) == (130, LINE) and seconds < 2


def test_a_destructor_that_is_being_run():
    """Python doesn't pass on what is raised there, and would print it after the line."""
    code = """
import os, signal, time
from ifcdsr_core import interrupts

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

interrupts.end_soon()
Interrupted()
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", LINE)


def test_a_module_that_is_being_imported(tmp_path):
    """Compiled ones, as torch's, abort the process where an exception passes through them."""
    (tmp_path / "compiled.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
        "except BaseException:\n    os.abort()\n"
    )
    code = f"import sys; sys.path.append({str(tmp_path)!r}); from ifcdsr_core import interrupts; interrupts.end_soon()"
    command = [sys.executable, "-c", f"{code}; import compiled"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", LINE)


def test_nobody_reads_the_output():
    command = [sys.executable, "-m", "ifcdsr_core", "prepare"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "error: the operating system refuses: No space left on device\n")
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=writes, stderr=subprocess.PIPE)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, "")
