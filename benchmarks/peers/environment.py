"""The environment of a peer: RecBole needs older packages than the book, so it gets a Python environment of its own.

    python benchmarks/peers/environment.py        prints its python, after installing it once

pip installs it, with pip's own settings. On Linux the usual torch brings several GB for graphics cards; a folder that
holds a wheel for processors, named by PIP_FIND_LINKS, is preferred.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PINS = HERE / "recbole.txt"
FOLDER = HERE / ".recbole"


def peer_python() -> Path | None:
    """The python of RecBole's environment, which is made the first time and whenever the pins change.

    Returns:
        Its path; None where it can't be installed, and one line on stderr says why.
    """
    python = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = FOLDER / "ready.txt"  # the pins that are installed; written last
    pins = PINS.read_text(encoding="utf-8")
    if ready.exists() and ready.read_text(encoding="utf-8") == pins and _works(python):
        return python
    lines = [line for line in pins.splitlines() if "==" in line and not line.startswith("#")]
    peer = [line for line in lines if line.startswith("recbole==")]
    needs = [line for line in lines if line not in peer]
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    print(f"installing {peer[0]} and what it runs with: minutes, the first time", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(FOLDER)],
        [*install, *needs],
        [*install, "--no-deps", *peer],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"RecBole can't be installed: {_reason(done)}", file=sys.stderr)
            return None
    ready.write_text(pins, encoding="utf-8")
    return python


def _works(python: Path) -> bool:
    """Whether it starts: the Python that it was made from may be gone."""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0
    except OSError:
        return False


def _reason(done: subprocess.CompletedProcess) -> str:
    """The last error in one line."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"exit status {done.returncode}"])[-1]


def save_sequences(path: Path, train: Sequence[np.ndarray], test: Sequence[np.ndarray], num_items: int) -> None:
    """Write what a peer reads: for each split all items in one array and the length of each sequence.

    Args:
        path: an .npz file.
        train: sequences of item ids, each position of which is learned from those before it.
        test: sequences of which the last item is ranked.
        num_items: the ids are 1 ... num_items.
    """
    arrays = {"num_items": np.int64(num_items)}
    for split, sequences in (("train", train), ("test", test)):
        arrays[f"{split}_items"] = np.concatenate(list(sequences)).astype(np.int32)
        arrays[f"{split}_lengths"] = np.array([len(sequence) for sequence in sequences], dtype=np.int32)
    np.savez(path, **arrays)


if __name__ == "__main__":
    python = peer_python()
    if python is None:
        sys.exit(1)
    print(python)
