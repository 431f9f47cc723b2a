"""The one exception a user is meant to see, and the checks that raise it most often."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave or has on disk is wrong: one line that says what, where, and what would be right.

    The command line prints it as ``error: ...`` and exits with 1; a notebook shows that line instead of a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for its own rendering before it formats a traceback.
        return [f"error: {self}"]


def choose(what: str, given: str, known) -> str:
    """Return ``given`` if it is one of ``known``; else raise an InputError that lists what would be right."""
    known = list(known)
    if given not in known:
        raise InputError(f"unknown {what} {given!r}: choose one of {', '.join(map(str, known))}")
    return given


def require(holds: bool, name: str, value: object, right: str) -> None:
    """Raise an InputError that says what ``name`` must be, unless ``holds``."""
    if not holds:
        raise InputError(f"{name} is {value}: it must be {right}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none: what fits into a line of our own."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def usable_device(name: str) -> str:
    """Return ``cpu`` or ``cuda`` if torch can compute there.

    Raises:
        InputError: another name, or no GPU here.
    """
    if choose("device", name, ("cpu", "cuda")) == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("device is 'cuda', but torch sees no GPU here: use device=cpu")
    return name
