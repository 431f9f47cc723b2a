"""Lets ``papermill 03_train.ipynb -p scenario movie_book`` work as typed, without an output path.

Stock papermill (2.7) needs one: in a terminal it stops with "Missing argument 'OUTPUT_PATH'"; with a pipe on stdin, as
in CI, it reads a notebook from the pipe and would overwrite the named one. papermill imports every module registered
under the entry point ``papermill.engine`` before it reads its command line. This module uses that: if the notebook is
one of ours (in this checkout's ``notebooks/``), it adds an output path under ``notebooks/output/`` and names itself as
the engine. Every other command line stays as it is.

A notebook under ``notebooks/output/`` is replaced by a finished one alone: papermill saves beside it. The engine is
papermill's own, but it first refuses parameters that the notebook does not have, and it ends with a summary on stderr.
What went wrong is the last line.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
from jupyter_client.kernelspec import get_kernel_spec
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine

from ifcdsr_core import interrupts
from ifcdsr_core.book.kernels import cell_line, line_of, prefer_own_kernel, stoppable
from ifcdsr_core.errors import InputError, first_line, reason
from ifcdsr_core.files import new_file
from ifcdsr_core.paths import ROOT

ENGINE = "ifcdsr"  # our name under the entry point papermill.engine, see pyproject.toml
NOTEBOOKS = ROOT / "notebooks"
OUTPUT = NOTEBOOKS / "output"
LONGEST_NAME = 160  # bytes; file systems allow 255 and less, and names of staging files are longer

nb_kernel_name, nb_language = NBClientEngine.nb_kernel_name, NBClientEngine.nb_language


def execute_notebook(nb, kernel_name: str, input_path: str, **options):
    """Execute as papermill's own engine does, then print the notebook's summary on stderr.

    Raises:
        InputError: a parameter was passed that the notebook does not have; or the kernel was killed.
    """
    _check_parameters(nb, Path(input_path).name)
    options |= prefer_own_kernel()
    get_kernel_spec(kernel_name)  # of one that is not there, the start would log a traceback
    try:
        nb = NBClientEngine.execute_notebook(nb, kernel_name, input_path=input_path, **options)
    except DeadKernelError as error:  # papermill's command would end with a traceback
        raise InputError(line_of(error)) from error
    if not nb.metadata.papermill.exception:
        print(f"\n{summary_text(nb)}", end="", file=sys.stderr)
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


def _check_parameters(nb, name: str) -> None:
    from papermill.inspection import _infer_parameters  # its public form reads the file and logs again

    known = [parameter.name for parameter in _infer_parameters(nb)]
    for given in nb.metadata.papermill.parameters:
        if given not in known and not given.startswith("PAPERMILL_"):  # --inject-paths passes these
            raise InputError(f"unknown parameter {given!r} of {name}: it has {', '.join(known) or 'none'}")


# ---------------------------------------------------------------- the command line


def complete(given: dict) -> dict:
    """The arguments of papermill's command (by its names), completed if the notebook is one of ours; else as they were.

    Raises:
        InputError: parameters can't be read.
    """
    notebook = given.get("notebook_path")
    if not notebook or given.get("help_notebook") or not _is_ours(Path(notebook)):
        return given
    given = {**given, "engine": given.get("engine") or ENGINE, **_with_files_read(given)}
    parameters = _parameters(given)
    if not given.get("output_path"):
        stem = Path(notebook).stem + ("-prepared" if given.get("prepare_only") else "")
        given["output_path"] = os.path.relpath(OUTPUT / default_name(stem, parameters))
    return given


def default_name(stem: str, parameters: Mapping) -> str:
    """File name of an output notebook, such as ``03_train-scenario=movie_book.ipynb``.

    Different values have different names: where a value can't stand in one as it is, a hash of all values follows
    ``~``, a character that no value keeps.
    """
    written = "-".join([stem, *(f"{name}={value}" for name, value in parameters.items())])
    plain = "-".join([stem, *(f"{_kept(name, '')}={_kept(value, '.+-')}" for name, value in parameters.items())])
    cut = plain.encode()[:LONGEST_NAME].decode(errors="ignore")
    if cut == written and all(_is_plain(value) for value in parameters.values()):
        return f"{cut}.ipynb"
    return f"{cut}~{hashlib.sha256(repr(dict(parameters)).encode('utf-8', 'backslashreplace')).hexdigest()[:8]}.ipynb"


def _kept(value: object, marks: str) -> str:
    return re.sub(rf"[^\w{re.escape(marks)}]", "_", str(value))


def _is_plain(value: object) -> bool:
    """Whether the text of a value says which it is: the number 1 and the text "1" would have one name."""
    from papermill.cli import _resolve_type

    return type(_resolve_type(str(value))) is type(value)


def _parameters(given: Mapping) -> dict:
    """The parameters on a command line, as papermill puts them together."""
    from papermill.cli import NoDatesSafeLoader, _resolve_type, yaml

    decoded = [("-b", text, _from_base64) for text in given.get("parameters_base64") or ()]
    plain = [("-y or -f", text, str) for text in given.get("parameters_yaml") or ()]
    values: dict = {}
    for option, text, decode in [*decoded, *plain]:
        try:
            values.update(yaml.load(decode(text), Loader=NoDatesSafeLoader) or {})
        except (ValueError, TypeError, yaml.YAMLError) as error:
            shown = text if len(text) <= 60 else f"{text[:60]}..."
            raise InputError(
                f"{option} gives {shown!r}, which are no parameters ({first_line(error)}): write them in YAML, as in "
                "-y '{scenario: movie_book}'"
            ) from error
    values.update((name, _resolve_type(text)) for name, text in given.get("parameters") or ())
    return values | dict(given.get("parameters_raw") or ())


def _from_base64(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)  # else other characters are skipped


def _with_files_read(given: Mapping) -> dict:
    """Files of parameters as YAML texts: each is read once, as it may be a pipe."""
    from papermill.iorw import papermill_io

    texts = []
    for name in given.get("parameters_file") or ():
        try:
            texts.append(papermill_io.read(name, [".yaml", ".yml", ".json"]))
        except (OSError, ValueError) as error:
            raise InputError(f"-f {name} can't be read ({reason(error)}): name a file of parameters") from error
    return {"parameters_file": (), "parameters_yaml": [*texts, *(given.get("parameters_yaml") or ())]}


def _is_ours(notebook: Path) -> bool:
    return notebook.suffix == ".ipynb" and notebook.is_file() and notebook.resolve().parent == NOTEBOOKS.resolve()


class _Saves:
    """How papermill saves its output notebook: into another file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def write(self, text: str, path: str) -> None:
        """Save the notebook, called by papermill before and after each cell."""
        try:
            self.place.write_text(text, encoding="utf-8")
        except OSError as error:
            self.place.unlink(missing_ok=True)  # half a notebook
            raise _unwritable(error) from error

    def pretty_path(self, path: str) -> str:
        """The path as papermill shows it."""
        return path


def _unwritable(error: OSError) -> InputError:
    return InputError(
        f"{OUTPUT} can't be written ({reason(error)}): make it a folder with room that you may write, or give an "
        "output path after the notebook"
    )


@contextmanager
def _beside(path: str) -> Iterator[None]:
    """Let papermill save beside its output notebook, which is replaced at the end, and not by a failed one."""
    from papermill.iorw import papermill_io

    final = Path(path).resolve()
    try:
        OUTPUT.mkdir(exist_ok=True)
    except OSError as error:
        raise _unwritable(error) from error
    with new_file(final) as staging:
        papermill_io.register(path, _Saves(staging))
        try:
            yield
        except BaseException:
            if staging.is_file():
                free = _is_marked(staging) and (_is_marked(final) or not final.exists())
                kept = final if free else final.with_suffix(".failed.ipynb")
                os.replace(staging, kept)
                print(f"\noutput notebook, as far as it came: {os.path.relpath(kept)}", file=sys.stderr)
            raise


def _is_marked(notebook: Path) -> bool:
    """Whether a notebook is there in which papermill has marked a cell as failed."""
    try:
        return bool(json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["papermill"]["exception"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _carry_out(command: Callable[[], None], output: str) -> int:
    """Carry out papermill's command; the exit code, after a last line that says what went wrong."""
    try:
        with stoppable(), _beside(output) if Path(output).resolve().parent == OUTPUT.resolve() else nullcontext():
            command()
    except KeyboardInterrupt as error:
        interrupts.say()
        return interrupts.exit_code(error)
    except Exception as error:
        if (line := line_of(error)) is None:
            traceback.print_exc()
            line = cell_line(error) if hasattr(error, "ename") else f"{type(error).__name__}: {first_line(error)}"
        print(f"error: {line}", file=sys.stderr)
        return 1
    print(f"output notebook: {output}", file=sys.stderr)
    return 0


def _is_papermill_cli() -> bool:
    return Path(sys.argv[0]).stem == "papermill" or sys.orig_argv[1:3] == ["-m", "papermill"]


def _take_part() -> None:
    """Put ``complete`` and ``_carry_out`` around papermill's command."""
    invoke = click.Command.invoke

    def with_ours(command: click.Command, context: click.Context):
        if getattr(command.callback, "__module__", None) != "papermill.cli":
            return invoke(command, context)
        try:
            given = complete(context.params)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        if given is context.params:
            return invoke(command, context)
        context.params = given
        sys.exit(_carry_out(lambda: invoke(command, context), given["output_path"]))

    click.Command.invoke = with_ours


if _is_papermill_cli():
    _take_part()
