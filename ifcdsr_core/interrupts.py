"""Ctrl-C and SIGTERM: one line, and the end within two seconds, whatever is being done.

Python tells the main thread of a signal by an exception, once it is back from the library call that it is in. So that
it cleans up; where that takes too long, a thread ends the process. While a module is imported the process ends at once:
there is nothing to clean up, and compiled modules abort at an exception. Nothing is lost by either: files appear whole
or not at all, and processes that work for this one end with it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

GRACE = 1.5  # seconds to clean up
_saying, _said = threading.Lock(), threading.Event()


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


def end_soon() -> None:
    """From now on SIGINT and SIGTERM end this process so; to be called by the main thread, first of all."""
    for number, kind in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as behind nohup
            signal.signal(number, _raising(kind))
    wakes, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)  # written to at once, even while a library call lasts
    threading.Thread(target=_watch, args=(wakes,), daemon=True).start()
    os.register_at_fork(after_in_child=_forked)
    sys.excepthook, sys.unraisablehook = _excepthook, _unraisablehook


def say() -> None:
    """Print the line, once; both threads wait until it is printed."""
    with _saying:
        if not _said.is_set():
            line = "interrupted: what is finished is kept, the same command continues\n"
            os.write(2, (("\n" if os.isatty(2) else "") + line).encode())
            _said.set()


def leave(code: int) -> NoReturn:
    """End at once: to take Python's objects apart lasts a second, and threads that work are waited for."""
    atexit._run_exitfuncs()
    os._exit(code)


def exit_code(error: KeyboardInterrupt) -> int:
    """What shells make of the signal."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def _raising(kind: type[KeyboardInterrupt]):
    def handler(number, frame) -> None:
        if _imports(frame):
            say()
            leave(128 + number)
        raise kind

    return handler


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported by what runs in a frame, or by its callers."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _watch(wakes: int) -> None:
    number = os.read(wakes, 1)[0]
    say()
    time.sleep(GRACE)
    os._exit(128 + number)


def _forked() -> None:
    """A forked process is told by its parent what to do, and wakes no thread of it."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _excepthook(kind, error, trace) -> None:
    if isinstance(error, KeyboardInterrupt):  # before main(), between two imports
        say()
        leave(exit_code(error))
    sys.__excepthook__(kind, error, trace)


def _unraisablehook(unraisable) -> None:
    """Say nothing of an interrupt that a destructor swallowed: the watching thread ends all."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
