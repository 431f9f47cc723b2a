"""Training needs torch, numpy, pandas with pyarrow, safetensors and tqdm, and nothing else of requirements.txt."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = (
    "open_clip",
    "torchvision",
    "PIL",
    "papermill",
    "matplotlib",
    "seaborn",
    "scipy",
    "sklearn",
    "IPython",
    "jinja2",
    "nbformat",
)


def test_training_imports_nothing_heavy():
    code = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # importing it raises ImportError
import ifcdsr_core.runs.sweep, ifcdsr_core.features.cache, ifcdsr_core.analysis.counts
from ifcdsr_core.__main__ import main
sys.exit(main(["runs"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
