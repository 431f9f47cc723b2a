"""The notebooks: stored clean, paired, short, and giving the same output twice."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import toy_notebook

from ifcdsr_core.book.kernels import prefer_own_kernel
from ifcdsr_core.paths import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SANITIZE = Path(__file__).with_name("nbval_sanitize.cfg")

# The smallest setting under which a notebook still shows what it shows: what nbval executes, twice. The runs of 04 to
# 06 are shipped; where the code has changed since, they are trained, which takes minutes.
SMALL = {
    "00_verdict": {"seeds": "0"},
    "00b_explorer": {"epochs": 1},
    "01_data_statistics": {},
    "01b_raw_files": {"epochs": 1},
    "02_clip_embedding": {},
    "03_train": {"epochs": 1},
    "04_comparison": {"scenarios": "food_kitchen", "seeds": "0"},
    "04b_protocol": {"scenarios": "food_kitchen", "seeds": "0"},
    "04c_numbering": {},
    "04d_complete_data": {},
    "04e_budget": {"scenarios": "food_kitchen", "seeds": "0"},
    "05_ablation": {"scenarios": "food_kitchen", "seeds": "0", "signals": "0,1"},
    "05b_ledger": {"seeds": "0"},
    "05c_sensitivity": {"seeds": "0"},
    "05d_where_it_helps": {"scenarios": "food_kitchen", "seeds": "0"},
    "05e_attention": {"epochs": 1},
    "06_llm_emf": {"seeds": "0", "signals": "0,1"},
    "07_what_it_costs": {},
}

each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def read(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_has_a_small_setting():
    assert sorted(SMALL) == NOTEBOOKS


@each_notebook
def test_stored_without_outputs(name):
    for cell in code_cells(read(name)):
        assert not cell.outputs and cell.execution_count is None, f"clear the outputs of: {cell.source[:80]}"


def test_pairs_say_the_same(tmp_path):
    for path in [*(FOLDER / f"{name}.ipynb" for name in NOTEBOOKS), ROOT / "pyproject.toml"]:  # which has the filters
        shutil.copy2(path, tmp_path)
    command = [sys.executable, "-m", "jupytext", "-q", "--to", "py:percent", *(f"{name}.ipynb" for name in NOTEBOOKS)]
    subprocess.run(command, cwd=tmp_path, check=True)
    for name in NOTEBOOKS:
        expected, stored = ((folder / f"{name}.py").read_text(encoding="utf-8") for folder in (tmp_path, FOLDER))
        assert stored == expected, f"run: jupytext --to py:percent notebooks/{name}.ipynb"


@each_notebook
def test_has_one_parameters_cell(name):
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code_cells(read(name))) == 1


@each_notebook
def test_imports_runs_shows(name):
    """Cells are short and define nothing: functions live in the package."""
    for cell in code_cells(read(name)):
        assert len(cell.source.splitlines()) < 25, f"split the cell: {cell.source[:80]}"
        python = "\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!")))
        defined = [
            node.name
            for node in ast.walk(ast.parse(python))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        ]
        assert not defined, f"move to ifcdsr_core: {defined}"


@each_notebook
def test_names_no_absolute_path(name):
    for cell in read(name).cells:
        found = re.search(r"(?<![\w.:/<)])/(?:home|root|tmp|work|usr|opt|mnt|var|Users)/|\b[A-Z]:\\", cell.source)
        assert not found, cell.source


# ---------------------------------------------------------------- nbval: a second execution gives the stored outputs


def nbval(executed: Path) -> subprocess.CompletedProcess:
    """Execute again and compare every cell with what is stored."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with",
        str(SANITIZE),
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(executed.parent),
        "-c",
        "/dev/null",
        executed.name,
    ]
    return subprocess.run(command, cwd=executed.parent, capture_output=True, text=True)


def execute(notebook: Path, output: Path, parameters: dict) -> Path:
    papermill.execute_notebook(notebook, output, parameters, progress_bar=False, **prefer_own_kernel())
    return output


def drawn(scratch: Path) -> dict[str, bytes]:
    """The figures that are there, which nbval does not compare."""
    return {path.name: path.read_bytes() for path in (scratch / "figures").glob("*.png")}


@pytest.fixture(scope="session")
def scratch(tmp_path_factory) -> Path:
    """Folder of the data and figures that the notebooks make, shared by them as data/ and figures/ are."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_DATA", str(folder / "data"))
        patch.setenv("IFCDSR_FIGURES", str(folder / "figures"))
        yield folder


@pytest.mark.slow
@each_notebook
def test_same_output_twice(name, scratch):
    executed = execute(FOLDER / f"{name}.ipynb", scratch / f"{name}.ipynb", SMALL[name])
    cells = code_cells(nbformat.read(executed, as_version=4))
    assert all(cell.execution_count for cell in cells), "nbval compares executed cells only"
    assert any(cell.outputs for cell in cells), "nothing to compare"
    if name == "03_train":  # what was trained has to be trained again
        shutil.rmtree(scratch / "data" / "runs")
    figures = drawn(scratch)
    done = nbval(executed)
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{len(cells)} passed" in done.stdout
    assert drawn(scratch) == figures


@pytest.mark.slow
@pytest.mark.parametrize("stored, verdict", [("MRR 1.23", 0), ("MRR 1.24", 1)])
def test_nbval_compares(tmp_path, stored, verdict):
    """The check above can fail: an altered stored output does not pass."""
    nbformat.write(toy_notebook("toy"), tmp_path / "toy.ipynb")
    executed = execute(tmp_path / "toy.ipynb", tmp_path / "executed.ipynb", {"epochs": 2})
    notebook = nbformat.read(executed, as_version=4)
    output = notebook.cells[-1].outputs[0]
    assert "MRR 1.23" in output.text
    output.text = output.text.replace("MRR 1.23", stored)
    nbformat.write(notebook, executed)
    done = nbval(executed)
    assert done.returncode == verdict, done.stdout[-4000:]
    assert (f"{verdict} failed" in done.stdout) == bool(verdict)
