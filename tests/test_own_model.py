"""The page "Add your own model", run as it stands: file and line in a copy of the checkout, then its commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_run import put_scenario

from ifcdsr_core.models import MODELS
from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs.versions import code_versions
from ifcdsr_core.settings import SEEDS

pytestmark = pytest.mark.slow

PAGE = (ROOT / "jupyter_book" / "add_your_own_model.md").read_text(encoding="utf-8")


def blocks() -> dict[str, str]:
    """The code of the page by its caption."""
    return dict(re.findall(r"```\{code-block\} \w+\n:caption: \"?`?(.+?)`?\"?\n\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the package with what the page adds; its demo data are the tiny world: training takes seconds."""
    shutil.copytree(ROOT / "ifcdsr_core", tmp_path / "ifcdsr_core", ignore=shutil.ignore_patterns("__pycache__"))
    code = blocks()
    file, line = "ifcdsr_core/models/fading_mean.py", "ifcdsr_core/models/__init__.py"
    (tmp_path / file).write_text(code[file], encoding="utf-8")
    registry = (tmp_path / line).read_text(encoding="utf-8")
    changed = registry.replace('    "ifcdsr",\n', code[line] + '    "ifcdsr",\n')
    assert changed.count("\n") == registry.count("\n") + 1  # one line
    (tmp_path / line).write_text(changed, encoding="utf-8")
    put_scenario(tmp_path / "data", seed=0)
    return tmp_path


def python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "IFCDSR_DATA": str(checkout / "data")}
    return subprocess.run([sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True)


def test_the_example_is_as_short_as_the_page_says():
    code = [line for line in blocks()["ifcdsr_core/models/fading_mean.py"].splitlines() if line.strip()]
    assert len(code) <= 32


def test_the_commands_of_the_page_work(checkout):
    commands = blocks()["in a shell"].strip().splitlines()
    assert len(commands) == 3
    for command in commands:
        done = python(checkout, *command.split()[1:])
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("fading_mean") == len(SEEDS) and done.stdout.count("popularity") == 1
    runs = list((checkout / "data" / "runs").glob("demo-food_kitchen-fading_mean-*"))
    assert len(runs) == 1 + (12 + 4 + 2) + len(SEEDS)


def test_the_model_is_a_row_of_the_comparison_and_others_stay_valid(checkout):
    code = """
from ifcdsr_core.analysis import paired
from ifcdsr_core.models import MODELS
from ifcdsr_core.runs import lists, sweep
from ifcdsr_core.runs.versions import code_versions
rows = lists.comparison("food_kitchen", [0], models=["popularity", "fading_mean"], epochs=2)
runs = sweep.run_all(rows, jobs=1)
print(*paired.with_intervals(runs, ("Food", "Kitchen"), "full")["Model"], sep="|")
print(code_versions(MODELS["sasrec"]), code_versions(MODELS["fading_mean"]), sep="\\n")
"""
    (checkout / "try.py").write_text(
        "if __name__ == '__main__':\n" + "\n".join("    " + line for line in code.splitlines())
    )
    done = python(checkout, "try.py")
    assert done.returncode == 0, done.stderr
    models, other, own = done.stdout.splitlines()
    assert models == "Popularity|Fading mean|Popularity|Fading mean"
    assert other == str(code_versions(MODELS["sasrec"])) and "'FadingMean': 'source " in own
