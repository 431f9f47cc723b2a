"""``papermill 03_train.ipynb -p scenario movie_book``, as typed: in a terminal, with a pipe, with output redirected."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from conftest import run_in
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ifcdsr_core.book.papermill_engine import NOTEBOOKS, complete, default_name, summary_text
from ifcdsr_core.errors import InputError

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


@pytest.mark.parametrize("notebook", ["nowhere.ipynb", "-", None, __file__])
def test_complete_leaves_alone(notebook):
    given = {"notebook_path": notebook, "output_path": None, "parameters": (("scenario", "movie_book"),)}
    assert complete(given) is given


@slow
def test_complete_reports_nonsense_as_papermill_does(toy_checkout):
    done = shell(toy_checkout, "papermill notebooks/03_train.ipynb --nonsense")
    assert done.returncode == 2 and done.stderr.startswith("Usage: papermill [OPTIONS] NOTEBOOK_PATH")
    assert "No such option" in done.stderr


def test_output_is_named_after_all_parameters(tmp_path):
    """However they are given: -p, -r, -y, -f and -b."""
    (tmp_path / "other.yaml").write_text("{scenario: movie_book}")
    encoded = base64.encodebytes(b"{scenario: movie_book}").decode()

    def named(**given) -> str:
        return Path(complete({"notebook_path": str(NOTEBOOKS / "03_train.ipynb"), **given})["output_path"]).name

    for given in (
        {"parameters": [("scenario", "movie_book")]},
        {"parameters_raw": [("scenario", "movie_book")]},
        {"parameters_yaml": ["scenario: movie_book"]},
        {"parameters_file": [str(tmp_path / "other.yaml")]},
        {"parameters_base64": [encoded]},
    ):
        assert named(**given) == "03_train-scenario=movie_book.ipynb"
    both = {"parameters": [("epochs", "1")], "parameters_yaml": ["{scenario: movie_book, epochs: 2}"]}
    assert named(**both) == "03_train-scenario=movie_book-epochs=1.ipynb"  # -p counts last, as for papermill
    assert named() == "03_train.ipynb" and named(prepare_only=True) != named()


@pytest.mark.parametrize(
    "given, says",
    [
        ({"parameters_yaml": ["{scenario: "]}, "which are no parameters"),
        ({"parameters_yaml": ["movie_book"]}, "which are no parameters"),
        ({"parameters_yaml": ["[1]"]}, "which are no parameters"),
        ({"parameters_base64": ["%%%"]}, "which are no parameters"),
        ({"parameters_file": ["nowhere.yaml"]}, "-f nowhere.yaml can't be read"),
        ({"parameters_file": ["."]}, "-f . can't be read"),
    ],
)
def test_parameters_that_cannot_be_read(given, says):
    with pytest.raises(InputError, match=says) as caught:
        complete({"notebook_path": str(NOTEBOOKS / "03_train.ipynb"), **given})
    assert "\n" not in str(caught.value)


def test_different_values_have_different_names():
    values = [
        "a b",
        "a_b",
        "a/b",
        "a\\b",
        "A",
        "../a",
        "é",
        "e\u0301",
        "",
        " ",
        "1-epochs=2",
        1,
        "1",
        1.0,
        True,
        "True",
    ]
    values += [
        None,
        "None",
        [1, 2],
        [1, 3],
        {"a": 1},
        "y" * 500,
        "y" * 501,
        "é" * 300,
        "é" * 301,
        "\udcff",
        "~",
        "a\nb",
    ]
    several = [{"source": value} for value in values] + [{"source": 1, "epochs": 2}, {"sour": "ce=1"}]
    names = [default_name("03_train", parameters) for parameters in several]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name.encode()) < 200 and "/" not in name and name.isprintable() and name.endswith(".ipynb")
    assert default_name("03_train", {"encoder": "ViT-B-32", "seed": 1}) == "03_train-encoder=ViT-B-32-seed=1.ipynb"


def test_summary_is_the_last_tagged_cells_text():
    outputs = [new_output("stream", text="a\n"), new_output("display_data", {"text/plain": "b"})]
    tagged = new_code_cell(metadata={"tags": ["summary"]}, outputs=outputs)
    assert summary_text(new_notebook(cells=[tagged, new_code_cell()])) == "a\nb\n"
    assert summary_text(new_notebook()) == ""


# ---------------------------------------------------------------- what goes wrong


def in_a_cell(code: str, before: str = "", output: str = "") -> str:
    """A papermill command whose notebook carries out ``code``."""
    return f"cd notebooks && {before} papermill 03_train.ipynb {output} -p scenario code -r source {shlex.quote(code)}"


@slow
def test_failed_call_leaves_the_earlier_notebook(toy_checkout):
    code = "import os; 1 / int(os.environ['GOOD'])"
    done = shell(toy_checkout, in_a_cell(code, "GOOD=1"))
    [good] = toy_checkout.glob("notebooks/output/*")
    before = good.read_bytes()
    failed = good.with_suffix(".failed.ipynb")
    for _ in range(2):
        done = shell(toy_checkout, in_a_cell(code, "GOOD=0"))
        assert done.returncode == 1 and good.read_bytes() == before
        assert f"output notebook, as far as it came: output/{failed.name}" in done.stderr
        assert "ZeroDivisionError" in failed.read_text()
    assert sorted(good.parent.iterdir()) == sorted([good, failed])
    good.write_bytes(failed.read_bytes())  # a failed one is not worth keeping
    done = shell(toy_checkout, in_a_cell(code, "GOOD=1"))
    assert done.returncode == 0 and "ZeroDivisionError" not in good.read_text()


@slow
def test_two_at_once(toy_checkout):
    commands = ["papermill notebooks/03_train.ipynb", COMMAND, COMMAND]
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(lambda command: shell(toy_checkout, command), commands):
            assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (toy_checkout / "notebooks/output").iterdir())
    assert names == [OUTPUT.name, "03_train.ipynb"]
    assert SUMMARY in nbformat.read(toy_checkout / OUTPUT, as_version=4).cells[-1].outputs[0].text


@slow
def test_a_temporary_folder_may_be_deep(toy_checkout, tmp_path):
    """Deeper than a socket's path can be."""
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()
    done = shell(toy_checkout, f"TMPDIR={shlex.quote(str(deep))} papermill notebooks/03_train.ipynb")
    assert done.returncode == 0, done.stderr
    assert not list(deep.iterdir())


@slow
@pytest.mark.parametrize(
    "code, says",
    [
        (
            "raise OSError(28, 'No space left on device')",
            r"error: cell \[3\] failed: OSError: .*No space left on device",
        ),
        ("open('/nowhere/x')", r"error: cell \[3\] failed: FileNotFoundError: .*'/nowhere/x'"),
        ("raise MemoryError", r"error: cell \[3\] failed: MemoryError"),
        ("import numpy; numpy.zeros(10**15)", r"error: cell \[3\] failed: \w*MemoryError: Unable to allocate .*"),
        ("raise KeyboardInterrupt", r"error: cell \[3\] failed: KeyboardInterrupt"),
        ("import os; os.kill(os.getpid(), 9)", r"error: the notebook's process was killed, .*memory.*"),
    ],
)
def test_what_the_system_refuses_is_one_line(toy_checkout, code, says):
    done = shell(toy_checkout, in_a_cell(code))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.fullmatch(says, done.stderr.splitlines()[-1]), done.stderr


@slow
def test_what_tornado_logs_while_a_kernel_ends_is_not_among_our_lines(toy_checkout):
    code = "import atexit, logging; atexit.register(lambda: logging.getLogger('tornado.general').error('late'))"
    done = shell(toy_checkout, in_a_cell(code))
    assert done.returncode == 0 and "ERROR:tornado.general:late" not in done.stderr


@slow
@pytest.mark.parametrize("option", ["--kernel nowhere", "--engine nowhere", "--cwd /nowhere"])
def test_options_of_papermill_that_cannot_be(toy_checkout, option):
    done = shell(toy_checkout, f"papermill notebooks/03_train.ipynb {option}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and "nowhere" in done.stderr.splitlines()[-1]


@slow
@pytest.mark.parametrize("way", ["a file", "a dangling link", "a full disk"])
def test_output_that_cannot_be_written(toy_checkout, monkeypatch, way):
    output = toy_checkout / "notebooks" / "output"
    options = {}
    if way == "a file":
        output.write_text("mine")
    elif way == "a dangling link":
        output.symlink_to("/nowhere/output")
    else:  # the system refuses what is larger, as a full disk does
        options["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # Python itself would keep half a file
    done = run_in(toy_checkout, ["sh", "-c", in_a_cell("print('x' * 9000)")], **options)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {output} can't be written (") and "give an output path" in last
    if way == "a file":
        assert output.read_text() == "mine"
    elif way == "a full disk":
        assert not list(output.iterdir())  # nothing half-written
    options.clear()
    done = run_in(toy_checkout, ["sh", "-c", in_a_cell("pass", output="../mine.ipynb")])
    assert done.returncode == 0 and (toy_checkout / "mine.ipynb").is_file()


@slow
def test_figure_that_cannot_be_kept_costs_no_notebook(toy_checkout):
    (toy_checkout / "figures").write_text("mine")
    code = (
        "from ifcdsr_core.book import figures; fig, _ = figures.subplots(1); display(figures.save_figure(fig, 'one'))"
    )
    done = shell(toy_checkout, in_a_cell(code, f"IFCDSR_FIGURES={shlex.quote(str(toy_checkout / 'figures'))}"))
    assert done.returncode == 0, done.stderr
    [path] = toy_checkout.glob("notebooks/output/*")
    outputs = nbformat.read(path, as_version=4).cells[-2].outputs
    assert any("image/png" in output.get("data", {}) for output in outputs)
    [warning] = [output.text for output in outputs if output.get("name") == "stderr"]
    assert warning.startswith("warning: one.png is shown, but not kept") and "IFCDSR_FIGURES" in warning
    assert warning.count("\n") == 1


@slow
@pytest.mark.parametrize("kind, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_all_processes(toy_checkout, kind, code):
    sleeping = "print(open('started', 'w').write('x')); import time; time.sleep(300)"
    command = [sys.executable, "-m", "papermill", "03_train.ipynb", "-p", "scenario", "code", "-r", "source", sleeping]
    folder = toy_checkout / "notebooks"
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(toy_checkout)}, stderr=subprocess.PIPE, text=True
    )
    while not (folder / "started").exists():
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(kind)
    _, said = process.communicate(timeout=10)
    assert children and process.returncode == code, said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    if kind != signal.SIGKILL:
        assert said.splitlines()[-1].startswith("interrupted: ") and "Traceback" not in said


@slow
def test_a_users_start_up_files_and_backend_stay_out(toy_checkout):
    startup = toy_checkout / "ipython" / "profile_default" / "startup" / "00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("raise SystemExit('start-up file')")
    (toy_checkout / "ipython" / "profile_default" / "ipython_config.py").write_text(
        "c.InteractiveShell.ast_node_interactivity = 'none'; c.InteractiveShellApp.exec_lines = ['epochs = 99']"
    )
    (toy_checkout / "start.py").write_text("print('started')")
    theirs = "IPYTHONDIR=../ipython PYTHONSTARTUP=../start.py MPLBACKEND=tkagg JUPYTER_RUNTIME_DIR=/nowhere/runtime "
    theirs += "PYTHONWARNINGS=error papermill"
    done = shell(toy_checkout, COMMAND.replace("papermill", theirs))
    assert done.returncode == 0, done.stderr
    assert_done(toy_checkout, done.stderr)
