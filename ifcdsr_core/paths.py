"""Where things live."""

from __future__ import annotations

import os
from pathlib import Path

from ifcdsr_core.errors import InputError, reason

ROOT = Path(__file__).resolve().parent.parent  # the checkout


def data_dir() -> Path:
    """Folder of scenarios, features and runs: ``IFCDSR_DATA`` if set, else ``data/`` of the checkout."""
    return named_folder("IFCDSR_DATA") or ROOT / "data"


def results_dir() -> Path:
    """Folder of the result files that are shipped with the checkout."""
    return ROOT / "data" / "results"


def figures_dir() -> Path:
    """Folder the notebooks save their figures to: ``IFCDSR_FIGURES`` if set, else ``figures/`` of the checkout."""
    return named_folder("IFCDSR_FIGURES") or ROOT / "figures"


def named_folder(variable: str) -> Path | None:
    """The folder that a variable of the environment names, None where it is not set.

    A relative one is meant from the checkout's root: notebooks, the book and the command line work in other folders.

    Raises:
        InputError: no folder can be there.
    """
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not text.isprintable():  # control characters, or bytes that are no text in this locale
        raise InputError(f"{variable} is {text!a}: it must name a folder in printable characters of this locale")
    try:
        folder = (ROOT / Path(text).expanduser()).resolve()
        usable = folder.is_dir() or not folder.exists()
    except (OSError, RuntimeError) as error:  # a name too long, links in a circle, no such user
        raise InputError(f"{variable} is {text!r}, which can't be a folder ({reason(error)})") from error
    if not usable:
        raise InputError(f"{variable} names {folder}, which is not a folder")
    return folder


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def picture_store(source: str, ids_of: str) -> Path:
    """Folder of the pictures of a source's items, whatever scenarios they are in: ``data/pictures/<source>-<ids_of>``.

    Args:
        ids_of: what a ``source_id`` names one item in: Amazon's release; the scenario, where a source has no releases.
    """
    return data_dir() / "pictures" / f"{source}-{ids_of}"
