"""Where things live, and how files and folders appear on disk: whole, or not at all."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the checkout


def data_dir() -> Path:
    """Folder of scenarios, features and runs: ``IFCDSR_DATA`` if set, else ``data/`` of the checkout."""
    return Path(os.environ.get("IFCDSR_DATA") or ROOT / "data").resolve()


def results_dir() -> Path:
    """Folder of the result files that are shipped with the checkout."""
    return ROOT / "data" / "results"


def figures_dir() -> Path:
    """Folder the notebooks save their figures to: ``IFCDSR_FIGURES`` if set, else ``figures/`` of the checkout."""
    return Path(os.environ.get("IFCDSR_FIGURES") or ROOT / "figures").resolve()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def picture_store(source: str, ids_of: str) -> Path:
    """Folder of the pictures of a source's items, whatever scenarios they are in: ``data/pictures/<source>-<ids_of>``.

    Args:
        ids_of: what a ``source_id`` names one item in: Amazon's release; the scenario, where a source has no releases.
    """
    return data_dir() / "pictures" / f"{source}-{ids_of}"


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give an empty staging folder beside ``final`` and rename it to ``final`` when the block ends well.

    On an exception nothing is left behind and an existing ``final`` stays as it was.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    staging.chmod(0o755)
    try:
        yield staging
        if final.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
            final.rename(retired / final.name)
            staging.rename(final)
            shutil.rmtree(retired)
        else:
            staging.rename(final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Give a temporary path beside ``final`` to write to, and rename it to ``final`` when the block ends well."""
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        yield staging
        os.replace(staging, final)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def link_file(source: Path, final: Path) -> None:
    """Let ``final`` be ``source`` as well: a hard link, or a copy where the file system has none."""
    try:
        os.link(source, final)
    except OSError:  # no hard links, or a file is there
        if not (final.is_file() and filecmp.cmp(source, final)):
            with new_file(final) as staging:
                shutil.copy2(source, staging)  # with its time, by which the next call knows it
