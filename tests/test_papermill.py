"""``papermill 03_train.ipynb -p scenario movie_book``, as typed: in a terminal, with a pipe, with output redirected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import nbformat
import papermill.cli
import pytest
from conftest import run_in
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ifcdsr_core.book.papermill_engine import complete, default_name, summary_text

slow = pytest.mark.slow
COMMAND = "cd notebooks && papermill 03_train.ipynb -p scenario movie_book"
OUTPUT = Path("notebooks/output/03_train-scenario=movie_book.ipynb")
SUMMARY = "MRR 1.23 % on movie_book after 3 epochs"


def in_terminal(root: Path, command: str) -> subprocess.CompletedProcess:
    """Run in a pseudo-terminal; stdout is all that a user sees."""
    pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=root,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(root)},
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # on Linux: the other side is closed
        pass
    os.close(ours)
    return subprocess.CompletedProcess(command, process.wait(), seen.decode(), "")


def shell(root: Path, command: str) -> subprocess.CompletedProcess:
    return run_in(root, ["sh", "-c", command])


def assert_done(root: Path, seen: str) -> None:
    executed = nbformat.read(root / OUTPUT, as_version=4)
    assert SUMMARY in executed.cells[-1].outputs[0].text
    assert SUMMARY in seen and "output notebook: output/03_train-scenario=movie_book.ipynb" in seen
    assert [path.name for path in (root / OUTPUT).parent.iterdir()] == [OUTPUT.name]


@pytest.fixture(autouse=True)
def source_is_unchanged(toy_checkout):
    source = toy_checkout / "notebooks" / "03_train.ipynb"
    before = source.read_bytes()
    yield
    assert source.read_bytes() == before


@slow
def test_in_a_terminal(toy_checkout):
    done = in_terminal(toy_checkout, COMMAND)
    assert done.returncode == 0, done.stdout
    assert_done(toy_checkout, done.stdout)


@slow
def test_with_a_pipe_on_stdin(toy_checkout):
    done = shell(toy_checkout, COMMAND.replace("papermill", ": | papermill"))
    assert done.returncode == 0, done.stderr
    assert_done(toy_checkout, done.stderr)


@slow
def test_with_output_redirected(toy_checkout):
    done = shell(toy_checkout, f"{COMMAND} > ../out.txt 2> ../err.txt")
    assert done.returncode == 0
    assert (toy_checkout / "out.txt").read_text() == ""
    assert_done(toy_checkout, (toy_checkout / "err.txt").read_text())


@slow
def test_unknown_parameter(toy_checkout):
    done = shell(toy_checkout, "papermill notebooks/03_train.ipynb -p scenaro movie_book")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: unknown parameter 'scenaro' of 03_train.ipynb: it has scenario, source, epochs"
    )
    assert "Traceback" not in done.stderr
    assert not list(toy_checkout.glob("notebooks/output/*"))


@slow
def test_input_error_in_a_cell(toy_checkout):
    done = shell(toy_checkout, "papermill notebooks/03_train.ipynb -p scenario unknown")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: unknown scenario 'unknown': choose one of food_kitchen, movie_book"
    assert "Traceback" not in done.stderr
    marked = (toy_checkout / "notebooks/output/03_train-scenario=unknown.ipynb").read_text()
    assert "An Exception was encountered" in marked


@slow
def test_other_errors_keep_their_traceback(toy_checkout):
    done = shell(toy_checkout, "papermill notebooks/03_train.ipynb -p scenario zero")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError: division by zero" in done.stderr


@slow
def test_explicit_output_path(toy_checkout):
    done = shell(toy_checkout, "papermill notebooks/03_train.ipynb mine.ipynb -p scenario movie_book")
    assert done.returncode == 0, done.stderr
    assert (toy_checkout / "mine.ipynb").is_file() and not (toy_checkout / "notebooks/output").exists()


@slow
def test_other_notebooks_are_left_alone(toy_checkout):
    other = toy_checkout / "other.ipynb"
    other.write_bytes((toy_checkout / "notebooks/03_train.ipynb").read_bytes())
    done = in_terminal(toy_checkout, "papermill other.ipynb")
    assert done.returncode == 2 and "Missing argument 'OUTPUT_PATH'" in done.stdout
    done = shell(toy_checkout, "papermill other.ipynb done.ipynb -p scenaro x -p scenario unknown")
    assert done.returncode == 1 and "Traceback" in done.stderr and "output notebook:" not in done.stderr


@slow
def test_notebook_from_stdin_is_left_alone(toy_checkout):
    done = shell(toy_checkout, "cat notebooks/03_train.ipynb | papermill - - --prepare-only -p epochs 7")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metadata"]["papermill"]["parameters"] == {"epochs": 7}


@slow
def test_help_and_version_are_left_alone(toy_checkout):
    done = shell(toy_checkout, "cd notebooks && papermill --help-notebook 03_train.ipynb && papermill --version")
    assert done.returncode == 0, done.stderr
    assert "scenario" in done.stdout and papermill.__version__ in done.stdout
    assert not (toy_checkout / "notebooks/output").exists()


@slow
def test_kernel_is_the_environments_own(toy_checkout):
    """A user's kernel named python3, even one put first in the search path, does not run our notebooks."""
    spec = toy_checkout / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "theirs", "language": "python"}))
    theirs = "JUPYTER_PREFER_ENV_PATH=0 JUPYTER_PATH=../jupyter JUPYTER_DATA_DIR=../jupyter papermill"
    done = shell(toy_checkout, COMMAND.replace("papermill", theirs))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("args", [["nowhere.ipynb"], ["-"], [], ["--version"]])
def test_complete_leaves_alone(args):
    assert complete(click.Context(papermill.cli.papermill), args) == args


@slow
def test_complete_reports_nonsense_as_papermill_does(toy_checkout):
    done = shell(toy_checkout, "papermill notebooks/03_train.ipynb --nonsense")
    assert done.returncode == 2 and done.stderr.startswith("Usage: papermill [OPTIONS] NOTEBOOK_PATH")
    assert "No such option" in done.stderr


def test_default_name_is_a_file_name():
    assert (
        default_name("03_train", [("encoder", "ViT-B-32/{laion}"), ("seed", "1")])
        == "03_train-encoder=ViT-B-32__laion_-seed=1.ipynb"
    )
    assert len(default_name("03_train", [("x", "y" * 500)])) < 255


def test_summary_is_the_last_tagged_cells_text():
    outputs = [new_output("stream", text="a\n"), new_output("display_data", {"text/plain": "b"})]
    tagged = new_code_cell(metadata={"tags": ["summary"]}, outputs=outputs)
    assert summary_text(new_notebook(cells=[tagged, new_code_cell()])) == "a\nb\n"
    assert summary_text(new_notebook()) == ""
