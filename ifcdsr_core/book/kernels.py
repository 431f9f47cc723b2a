"""The processes that execute notebooks: kernels of this environment, one line for what stops them, a quick end."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from traitlets.config import Config

from ifcdsr_core.errors import InputError, first_line, in_one_line
from ifcdsr_core.interrupts import Terminated

# Else a kernel's start and end put log lines among ours: its own, and those of tornado, to which a socket that closes
# while the kernel ends is an error with a traceback.
QUIET = (
    "--log-level=CRITICAL",
    "--IPKernelApp.exec_lines=__import__('logging').getLogger('tornado').setLevel('CRITICAL')",
)
LONGEST_SOCKET = 90  # bytes of its path; systems allow 104 and more

_THEIRS = ("MPLBACKEND", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONOPTIMIZE")
_RUNNERS = ("papermill.", "nbclient.", "jupyter_client.", "nbformat.", "jsonschema.")
_own_folders: list[tempfile.TemporaryDirectory] = []  # removed when this process ends


def prefer_own_kernel() -> dict:
    """Let kernels be this Python's own, whatever the user has set for his.

    A kernel named "python3" elsewhere may be another Python. Start-up files of IPython, a graphical backend or warnings
    as errors would change what a notebook shows, and a home folder that can't be written would keep a kernel from
    starting.

    Returns:
        Options for papermill: a kernel that logs nothing, reached through files where the system has such sockets.
        A port is chosen before it is bound, so that of kernels that start together two may get the same
        (https://github.com/nteract/papermill/issues/511).
    """
    own = str(Path(sys.prefix) / "share" / "jupyter")
    others = [path for path in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if path and path != own]
    os.environ["JUPYTER_PATH"] = os.pathsep.join([own, *others])
    for name in _THEIRS:
        os.environ.pop(name, None)
    if not _own_folders:
        _own_folders.append(tempfile.TemporaryDirectory(prefix="ifcdsr-"))
        os.environ["IPYTHONDIR"] = os.environ["JUPYTER_RUNTIME_DIR"] = _own_folders[0].name
    sockets = str(Path(_own_folders[0].name) / str(os.getpid()))
    has_files = os.name == "posix" and len(os.fsencode(sockets)) <= LONGEST_SOCKET
    config = Config({"KernelManager": {"transport": "ipc", "ip": sockets} if has_files else {}})
    return {"extra_arguments": [*QUIET], "config": config}


def line_of(error: BaseException) -> str | None:
    """What stopped a notebook, in one line; None for a fault of the code, whose traceback tells more.

    Args:
        error: raised by papermill. Of an error in a cell it knows name and text alone.
    """
    if type(error).__name__ == "DeadKernelError":
        return "the notebook's process was killed, perhaps for lack of memory: what is finished is kept"
    name = getattr(error, "ename", None)
    if name is None:
        from_runner = type(error).__module__.startswith(_RUNNERS)  # no such kernel or engine, a damaged notebook
        return in_one_line(error) or (first_line(error) if from_runner else None)
    if name == InputError.__name__:
        return error.evalue
    return cell_line(error) if name.endswith("MemoryError") or name in _OF_THE_SYSTEM else None


def cell_line(error: BaseException) -> str:
    """Which cell failed, and with what."""
    said = (error.evalue.strip().splitlines() or [""])[0]
    return f"cell [{error.exec_count}] failed: {error.ename}{said and ': '}{said}"


def _with_subclasses(kind: type) -> Iterator[str]:
    yield kind.__name__
    for part in kind.__subclasses__():
        yield from _with_subclasses(part)


_OF_THE_SYSTEM = {"KeyboardInterrupt", *_with_subclasses(OSError)}


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end all processes started from here at once, then interrupt what is done.

    Left to itself, a kernel sits in a session of its own and does not notice Ctrl-C, and a pool waits for its workers.
    """

    def stop(number: int, _frame) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # the end takes no time, and is not to be interrupted itself
        end_children()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    numbers = signal.SIGINT, signal.SIGTERM
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)


def end_children() -> None:
    """End all processes that this one and those below it started."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def end_with(parent: int) -> None:
    """End this process and those it started soon after ``parent``, which started it, has gone, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        end_children()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
