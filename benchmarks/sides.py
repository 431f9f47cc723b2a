"""Sides of a comparison, measured in turns: each is a process of its own that waits until it is told to do a round.

So no side has the machine's quiet minutes for itself, none runs beside another, and each one's peak memory is its own.
A side reads one number a line, works on so many units, and answers with a line of JSON: ``seconds`` and whatever else
it has to say. When its input ends, its last line says ``peak_mib``.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "ab08813"  # the commit that this code is compared with


class Side:
    """A process that does rounds."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def round(self, units: int) -> dict:
        """What the side answers to a round of so many units.

        Raises:
            RuntimeError: it died.
        """
        try:
            self.process.stdin.write(f"{units}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # what it wrote before it died is read below
        return self._answer()

    def end(self) -> dict:
        """Its last word."""
        self.process.stdin.close()
        last = self._answer()
        self.process.wait()
        return last

    def _answer(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines() or ["nothing"]
        raise RuntimeError(f"a side died; its last words: {said[-1]}")


def in_turns(sides: Mapping[str, Side], rounds: int, seconds: float) -> dict[str, dict]:
    """Units a second of each side over ``rounds`` rounds of some ``seconds``: median, lowest, highest, peak memory.

    Two units are not counted: one warms up (``first_seconds``), the other says how many make a round.
    """
    units, first = {}, {}
    for name, side in sides.items():
        first[name] = side.round(1)["seconds"]
        units[name] = max(1, round(seconds / side.round(1)["seconds"]))
    rates: dict[str, list[float]] = {name: [] for name in sides}
    said: dict[str, dict] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            said[name] = side.round(units[name])
            rates[name].append(units[name] / said[name].pop("seconds"))
    return {
        name: {
            "per_second": statistics.median(rates[name]),
            "lowest": min(rates[name]),
            "highest": max(rates[name]),
            "first_seconds": first[name],
            **said[name],
            **side.end(),
        }
        for name, side in sides.items()
    }


def worker(side: str, job: dict) -> Side:
    """``before``, ``ours`` or ``floor`` at work on a job (``worker.py``)."""
    source = before() if side == "before" else ROOT
    environment = {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    return Side([sys.executable, Path(__file__).with_name("worker.py"), side, json.dumps(job)], environment)


def before() -> Path:
    """A worktree of the commit compared with, made at the first call."""
    folder = ROOT / "_build" / f"commit_{BEFORE}"
    if not folder.is_dir():
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "prune"], check=True)
        done = subprocess.run([*git, "add", "--detach", str(folder), BEFORE], capture_output=True, text=True)
        if done.returncode:
            sys.exit(
                f"no commit {BEFORE} to compare with ({done.stderr.strip().splitlines()[-1]}): leave out side before"
            )
    return folder


class Peer:
    """RecBole's SASRec as a side: each round is a process of its own, as its set-up belongs to no round.

    A unit is as many of our sequences, or cases, as ``count`` says; RecBole makes several samples of a sequence.
    """

    def __init__(self, data: Path, what: str, count: int, options: Sequence[str], threads: int) -> None:
        from peers.environment import peer_python

        python = peer_python()
        if python is None:
            sys.exit("no row for RecBole: its environment can't be made")
        script = Path(__file__).parent / "peers" / "recbole_sasrec.py"
        self.command = [str(python), str(script), str(data), "--threads", str(threads), *options]
        self.what, self.count, self.peak = what, count, 0.0

    def round(self, units: int) -> dict:
        asked = ["--steps", "1", "--rank-cases", str(units * self.count)]
        if self.what == "training":
            asked = ["--steps", str(10 * units), "--rank-cases", "0"]
        done = subprocess.run([*self.command, *asked], capture_output=True, text=True, check=True)
        facts = json.loads(done.stdout.splitlines()[-1])
        rate = facts["train_sequences_per_second" if self.what == "training" else "rank_cases_per_second"]
        self.peak = max(self.peak, facts["peak_mib"])
        return {"seconds": units * self.count / rate, "loss": facts["loss"]}

    def end(self) -> dict:
        return {"peak_mib": round(self.peak)}


def machine(device: str = "cpu") -> dict:
    """What the numbers depend on."""
    import torch

    from ifcdsr_core.train import products

    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}),
        "bfloat16_products": products("bfloat16", torch.device(device)) == "bfloat16",
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "commit": subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True
        ).stdout.strip(),
    }
