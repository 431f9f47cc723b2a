"""Where things live, and how files and folders appear on disk: whole, or not at all."""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ifcdsr_core.errors import InputError

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


def file_hash(path: Path, kind: str = "sha256") -> str:
    """A file's hash in hexadecimal, read in parts."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Hold the lock of a file for as long as the block lasts. It goes with the process, however that ends.

    Args:
        path: the lock file, made if need be and left behind.
        busy: what to tell a user while another process holds it; empty: wait for that process.

    Raises:
        InputError: another process holds it, and ``busy`` is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise InputError(busy) from None
        yield


class Journal:
    """A file of JSON records, one per line. One process at a time appends to it; a kill costs the last line at most.

    Attributes:
        damaged: numbers of the lines that ``read`` could not read; they stay in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.damaged = path, []
        self._torn, self._adding = 0, threading.Lock()

    def read(self) -> Iterator[dict]:
        """All records, in order."""
        try:
            *lines, last = self.path.read_bytes().split(b"\n") if self.path.exists() else [b""]
        except OSError as error:
            raise InputError(f"{self.path} can't be read ({error.strerror}): make it readable") from error
        self.damaged, self._torn = [], len(last)  # a line whose writing was interrupted, perhaps by its end only
        for number, line in enumerate([*lines, last], start=1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                yield record
                self._torn *= number <= len(lines)
            elif number <= len(lines):
                self.damaged.append(number)

    @contextmanager
    def writing(self, busy: str) -> Iterator[None]:
        """Allow ``add`` to this process alone; what a kill left of a last line is taken away.

        Raises:
            InputError: another process is writing; ``busy`` says so.
        """
        with locked(self.path.with_suffix(".lock"), busy):
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                for _ in self.read():
                    pass
                size = os.fstat(self._file).st_size
                if self._torn:
                    os.ftruncate(self._file, size - self._torn)
                elif size and os.pread(self._file, 1, size - 1) != b"\n":
                    os.write(self._file, b"\n")
                yield
            finally:
                os.close(self._file)

    def add(self, record: dict, sync: bool = False) -> None:
        """Append a record, from any thread; with ``sync`` it is on the disk when this returns.

        Raises:
            InputError: the disk does not take it; the file is as before.
        """
        line = json.dumps(record).encode() + b"\n"  # ASCII: whatever a title holds can be written
        with self._adding:
            end = os.fstat(self._file).st_size
            try:
                if os.write(self._file, line) != len(line):  # one call: a kill leaves a line whole, or torn at the end
                    os.ftruncate(self._file, end)  # or the next record would be written behind half a line
                    raise OSError(0, "the disk is full")
                if sync:
                    os.fsync(self._file)
            except OSError as error:
                raise InputError(
                    f"{self.path} can't be written ({error.strerror}): make room, the same command continues"
                ) from error
