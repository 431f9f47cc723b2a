"""The one exception a user is meant to see, and the checks that raise it most often."""

from __future__ import annotations

import re
import shutil


class InputError(ValueError):
    """Something the user gave or has on disk is wrong: one line that says what, where, and what would be right.

    The command line prints it as ``error: ...`` and exits with 1; a notebook shows that line instead of a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for its own rendering before it formats a traceback.
        return [f"error: {self}"]


class Diverged(InputError):
    """A training whose loss is no longer finite."""


def choose(what: str, given: str, known) -> str:
    """Return ``given`` if it is one of ``known``; else raise an InputError that lists what would be right."""
    known = list(known)
    if given not in known:
        raise InputError(f"unknown {what} {given!r:.80}: choose one of {', '.join(map(str, known))}")
    return given


def require(holds: bool, name: str, value: object, right: str) -> None:
    """Raise an InputError that says what ``name`` must be, unless ``holds``."""
    if not holds:
        raise InputError(f"{name} is {value!s:.80}: it must be {right}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none: what fits into a line of our own."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def reason(error: BaseException) -> str:
    """Why, in a few words: the operating system's own where it has some."""
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def in_one_line(error: Exception) -> str | None:
    """What a user is told of an error that is not a fault of ours; None where it may be one."""
    if isinstance(error, InputError):
        return str(error)
    said = first_line(error)
    if isinstance(error, MemoryError) or _OF_MEMORY.search(said):
        return f"not enough memory ({said}): lower batch_size, hidden_size or --jobs, or take a larger machine"
    if isinstance(error, shutil.Error):  # of all files that could not be copied
        return f"{error.args[0][0][1]}: {error.args[0][0][2]}"
    if isinstance(error, OSError):
        what = ", ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{what or 'the operating system refuses'}: {error.strerror or said}"
    if isinstance(error, ImportError):
        return f"{said}: install what requirements.lock names, see the README"
    return None


_OF_MEMORY = re.compile(
    "can't allocate memory|out of memory|cannot allocate memory|can't start new thread|"
    "failed to map segment|Storage size calculation overflowed|Unable to allocate",
    re.IGNORECASE,
)


DEVICES = ("cpu", "cuda")


def usable_device(name: str) -> str:
    """Return ``cpu`` or ``cuda`` if torch can compute there.

    Raises:
        InputError: another name, or no GPU here.
    """
    if choose("device", name, DEVICES) == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("device is 'cuda', but torch sees no GPU here: use device=cpu")
    return name
