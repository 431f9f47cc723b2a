"""What is imported when.

Training needs torch, numpy, pandas with pyarrow, safetensors and tqdm, and nothing else of requirements.txt. Help and
the line about a wrong argument need none of them: importing torch and pandas takes seconds.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from ifcdsr_core.models import MODELS

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
SLOW = ("torch", "pandas", "numpy", "pyarrow", *BLOCKED)


def without(modules: tuple[str, ...], code: str) -> subprocess.CompletedProcess:
    """Run code in a process where these modules can't be imported."""
    block = f"import sys\nfor name in {modules!r}: sys.modules[name] = None  # importing it raises ImportError\n"
    return subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True)


def command(*arguments: str) -> str:
    """Code that runs a command and exits with its exit code."""
    return f"from ifcdsr_core.__main__ import main\nsys.exit(main({list(arguments)!r}))"


def test_training_imports_nothing_heavy():
    modules = "import ifcdsr_core.runs.sweep, ifcdsr_core.features.cache, ifcdsr_core.analysis.counts\n"
    done = without(BLOCKED, modules + command("runs"))
    assert done.returncode == 0, done.stderr


COMMANDS = (
    "prepare",
    "embed",
    "download",
    "pictures",
    "enhance",
    "train",
    "sweep",
    "evaluate",
    "runs",
    "ship",
    "export",
)


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in COMMANDS)], ids=" ".join)
def test_help_needs_neither_torch_nor_pandas(arguments):
    done = without(SLOW, command(*arguments))
    assert done.returncode == 0 and done.stdout.startswith("usage:"), done.stderr


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("trian",), "invalid choice: 'trian'"),
        (("train", "--rate", "1"), "unrecognized arguments: --rate 1"),
        (("train", "--epochs", "many"), "invalid int value: 'many'"),
        (("train", "--epochs", "0"), "epochs is 0: it must be at least 1"),
        (("train", "--precision", "float8"), "unknown precision 'float8': choose one of float32, bfloat16"),
        (("train", "--model", "sasrek"), "unknown model 'sasrek': choose one of popularity, cooccurrence"),
        (("train", "--set", "alpha"), "'alpha' is not NAME=VALUE"),
        (("pictures", "--workers", "0"), "workers is 0: it must be at least 1"),
        (("enhance", "--dry-run", "--attempts", "0"), "attempts is 0: it must be at least 1"),
        (("embed", "--modality", "sound"), "unknown modality 'sound': choose one of image, text"),
        *(
            (
                (*name.split(), "--source", "amazn"),
                "unknown source 'amazn': choose one of demo, c2dsr, llmcdsr, abxi, amazon",
            )
            for name in ("prepare", "embed", "download", "pictures", "train", "sweep comparison")
        ),
        (("sweep", "comparison", "--models", "sasrec,sasrek"), "unknown model 'sasrek': choose one of popularity"),
    ],
)
def test_a_wrong_argument_is_named_without_torch_and_pandas(arguments, says):
    done = without(SLOW, command(*arguments))
    assert done.returncode == 1 and done.stderr.startswith("error: ") and says in done.stderr, done.stderr


def test_the_names_of_the_models_need_no_torch():
    code = "from ifcdsr_core.models import MODELS\nassert 'ifcdsr' in MODELS and len(MODELS) == len(list(MODELS))"
    assert without(SLOW, code).returncode == 0
    assert MODELS["sasrec"] is MODELS["sasrec"] and MODELS.get("sasrek") is None
