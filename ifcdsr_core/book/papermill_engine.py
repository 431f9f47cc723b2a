"""Lets ``papermill 03_train.ipynb -p scenario movie_book`` work as typed, without an output path.

Stock papermill (2.7) needs one: in a terminal it stops with "Missing argument 'OUTPUT_PATH'"; with a pipe on stdin, as
in CI, it reads a notebook from the pipe and would overwrite the named one. papermill imports every module registered
under the entry point ``papermill.engine`` before it reads its command line. This module uses that: if the notebook is
one of ours (in this checkout's ``notebooks/``), it adds an output path under ``notebooks/output/`` and names itself as
the engine. Every other command line stays as it is.

The engine is papermill's own, but it first refuses parameters that the notebook does not have, and it ends with a
summary on stderr. An InputError, in a cell or here, is shown as one line.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click
from papermill.engines import NBClientEngine

from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT

ENGINE = "ifcdsr"  # our name under the entry point papermill.engine, see pyproject.toml
NOTEBOOKS = ROOT / "notebooks"
QUIET_KERNEL = {"extra_arguments": ["--log-level=CRITICAL"]}  # else its start and end put log lines among ours

nb_kernel_name, nb_language = NBClientEngine.nb_kernel_name, NBClientEngine.nb_language


def execute_notebook(nb, kernel_name: str, input_path: str, **options):
    """Execute as papermill's own engine does, then summarise on stderr.

    Raises:
        InputError: a parameter was passed that the notebook does not have.
    """
    _check_parameters(nb, Path(input_path).name)
    prefer_own_kernel()
    nb = NBClientEngine.execute_notebook(nb, kernel_name, input_path=input_path, **QUIET_KERNEL, **options)
    summary = "" if nb.metadata.papermill.exception else summary_text(nb)
    print(f"\n{summary}output notebook: {nb.metadata.papermill.output_path}", file=sys.stderr)
    return nb


def summary_text(nb) -> str:
    """Text output of the last cell tagged "summary", ending in a line break; empty without one."""
    tagged = [cell for cell in nb.cells if cell.cell_type == "code" and "summary" in cell.metadata.get("tags", [])]
    texts = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in tagged[-1:]
        for output in cell.outputs
    ]
    return "".join(text.rstrip("\n") + "\n" for text in texts if text)


def prefer_own_kernel() -> None:
    """Look for kernels in this Python's own environment first: a user's "python3" may be another Python."""
    own = str(Path(sys.prefix) / "share" / "jupyter")
    others = [path for path in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if path and path != own]
    os.environ["JUPYTER_PATH"] = os.pathsep.join([own, *others])


def complete(context: click.Context, args: list[str]) -> list[str]:
    """The arguments of papermill's command, completed if the notebook is one of ours; else as they were."""
    given, _, _ = context.command.make_parser(context).parse_args(args=list(args))
    notebook = given.get("notebook_path")
    if not isinstance(notebook, str) or given.get("help_notebook") or not _is_ours(Path(notebook)):
        return args
    args = args if given.get("engine") else ["--engine", ENGINE, *args]
    if isinstance(given.get("output_path"), str):
        return args
    parameters = [*(given.get("parameters") or []), *(given.get("parameters_raw") or [])]
    output = NOTEBOOKS / "output" / default_name(Path(notebook).stem, parameters)
    output.parent.mkdir(exist_ok=True)
    return [*args, os.path.relpath(output)]


def default_name(stem: str, parameters: list[tuple[str, str]]) -> str:
    """File name of an output notebook, such as ``03_train-scenario=movie_book.ipynb``."""
    parts = [re.sub(r"[^\w.=+-]", "_", f"{name}={value}") for name, value in parameters]
    return "-".join([stem, *parts])[:200] + ".ipynb"


def _is_ours(notebook: Path) -> bool:
    return notebook.suffix == ".ipynb" and notebook.is_file() and notebook.resolve().parent == NOTEBOOKS.resolve()


def _check_parameters(nb, name: str) -> None:
    from papermill.inspection import _infer_parameters  # its public form reads the file and logs again

    known = [parameter.name for parameter in _infer_parameters(nb)]
    for given in nb.metadata.papermill.parameters:
        if given not in known and not given.startswith("PAPERMILL_"):  # --inject-paths passes these
            raise InputError(f"unknown parameter {given!r} of {name}: it has {', '.join(known) or 'none'}")


def _is_papermill_cli() -> bool:
    return Path(sys.argv[0]).stem == "papermill" or sys.orig_argv[1:3] == ["-m", "papermill"]


def _complete_command_line() -> None:
    parse_args, excepthook = click.Command.parse_args, sys.excepthook

    def one_line(kind, error, trace):
        if isinstance(error, InputError):
            print(f"error: {error}", file=sys.stderr)
        elif getattr(error, "ename", None) == InputError.__name__:  # raised in a cell
            print(f"error: {error.evalue}", file=sys.stderr)
        else:
            excepthook(kind, error, trace)

    def completed(command, context, args):
        if getattr(command.callback, "__module__", None) == "papermill.cli":
            given, args = args, complete(context, args)
            if args is not given:
                sys.excepthook = one_line
        return parse_args(command, context, args)

    click.Command.parse_args = completed


if _is_papermill_cli():
    _complete_command_line()
