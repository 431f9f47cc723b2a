"""How files and folders appear on disk: whole, or not at all; sealed; and by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import filecmp
import hashlib
import itertools
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ifcdsr_core.errors import InputError, first_line, reason
from ifcdsr_core.paths import data_dir, figures_dir

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSALS = (*_NO_ROOM, errno.EROFS)  # of the disk: whatever is written then, it is not for its name


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give an empty staging folder beside ``final`` and rename it to ``final`` when the block ends well.

    On an exception nothing is left behind and an existing ``final`` stays as it was. What a killed process left is
    removed by the next one that stages in the same folder.

    Raises:
        InputError: the folder can't be written.
    """
    with _writes(final):
        staging = _staging(final)
        staging.mkdir()
        try:
            yield staging
            while True:
                try:
                    staging.rename(final)
                    break
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                retired = _staging(final, _RETIRED)
                with suppress(FileNotFoundError):  # another process has taken it away
                    final.rename(retired)
                    shutil.rmtree(retired)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Give a temporary path beside ``final`` to write to, and rename it to ``final`` when the block ends well.

    Raises:
        InputError: the file can't be written.
    """
    if final.exists() and not final.is_file():  # a device would be replaced, a folder be in the way
        raise InputError(f"{final} can't be written: it is there, and is not a file")
    with _writes(final):
        staging = _staging(final)
        try:
            yield staging
            os.replace(staging, final)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise


_STAGED, _RETIRED = "staged", "retired"
_NAME = 150  # bytes of a name that the name of its staging place repeats
_numbers = itertools.count()
_tidied: set[Path] = set()  # folders that this process has freed from what killed ones left


def _staging(final: Path, kind: str = _STAGED) -> Path:
    """A new name beside ``final`` that tells whose it is: ``.<name>.<machine>.<process>-<number>.<kind>``."""
    folder = final.parent
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _tidied:
        _tidied.add(folder)
        tidy(folder)
    name = final.name.encode()[:_NAME].decode(errors="ignore")
    return folder / f".{name}.{os.uname().nodename[:30]}.{os.getpid()}-{next(_numbers)}.{kind}"


def tidy(folder: Path) -> None:
    """Remove what processes of this machine left that are gone; a folder that one was about to replace comes back."""
    ours = re.compile(rf"\.(.+)\.{re.escape(os.uname().nodename[:30])}\.(\d+)-\d+\.({_STAGED}|{_RETIRED})")
    for path in list(folder.iterdir()):
        found = ours.fullmatch(path.name)
        if not found or _is_alive(int(found[2])):
            continue
        with suppress(OSError):  # another process tidies, too
            if found[3] == _RETIRED and len(found[1].encode()) < _NAME and not (folder / found[1]).exists():
                path.rename(folder / found[1])
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


@contextmanager
def _writes(final: Path) -> Iterator[None]:
    """Turn what the operating system says against writing ``final`` into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # libraries wrap the system's words in errors of their own
        said, named = first_line(error), Path(str(getattr(error, "filename", None) or final))
        ours = final.is_relative_to(named) or named.is_relative_to(final.parent) or str(final.parent) in said
        if any(os.strerror(number) in said for number in _REFUSALS) or (isinstance(error, OSError) and ours):
            raise unwritable(final, error) from error
        raise


def unwritable(path: Path, error: Exception) -> InputError:
    """That a file or folder can't be written: why, and the way out."""
    said = "a file is in the way" if isinstance(error, (FileExistsError, NotADirectoryError)) else reason(error)
    way_out = "make it writable, or name another place"
    if any(os.strerror(number) in said for number in _NO_ROOM):
        way_out = "make room, the same command continues"
    elif path.is_relative_to(data_dir()):
        way_out = "make it writable, or name another folder by IFCDSR_DATA"
    elif path.is_relative_to(figures_dir()):
        way_out = "make it writable, or name another folder by IFCDSR_FIGURES"
    return InputError(f"{path} can't be written ({said}): {way_out}")


def unreadable(path: Path, error: Exception, remedy: str) -> InputError:
    """That a file can't be read. ``remedy`` is for damaged content; what is only closed to us must not be deleted."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path} is not there: {remedy}")
    if isinstance(error, (ImportError, MemoryError)) or (isinstance(error, OSError) and error.errno):
        return InputError(f"{path} can't be opened ({reason(error)})")
    return InputError(f"{path} is damaged ({reason(error)}): {remedy}")


@contextmanager
def reading(path: Path, remedy: str = "restore it from the repository") -> Iterator[Path]:
    """Turn whatever goes wrong while a file is read into one line; the default remedy is for files of the checkout.

    Raises:
        InputError: it is not there, can't be opened, or is damaged; then ``remedy`` says what to do.
    """
    try:
        yield path
    except Exception as error:  # json, pandas and pyarrow have many kinds
        raise unreadable(path, error, remedy) from error


def link_file(source: Path, final: Path) -> None:
    """Let ``final`` be ``source`` as well: a hard link, or a copy where the file system has none."""
    try:
        os.link(source, final)
    except OSError:  # no hard links, or a file is there
        if not (final.is_file() and filecmp.cmp(source, final)):
            with new_file(final) as staging:
                shutil.copy2(source, staging)  # with its time, by which the next call knows it


def file_hash(path: Path) -> str:
    """A file's SHA-256 in hexadecimal, read in parts."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(record: dict) -> str:
    """A record as JSON text that also holds its own SHA-256."""
    return json.dumps(record | {"sha256": _record_hash(record)}, indent=2) + "\n"


def unsealed(path: Path, remedy: str) -> dict:
    """The record in a file that ``sealed`` made.

    Raises:
        InputError: as ``reading``; a file that is not what was written is damaged.
    """
    with reading(path, remedy):
        record = json.loads(path.read_text(encoding="utf-8"))
        seal = record.pop("sha256", None)
        if _record_hash(record) != seal:
            raise ValueError("it is not what was written")
    return record


def _record_hash(record: dict) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------- one process at a time


@contextmanager
def locked(path: Path, busy: str = "", waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a file for as long as the block lasts. It goes with the process, however that ends.

    Args:
        path: the lock file, made if need be and removed at the end.
        busy: what to tell a user while another process holds it; empty: wait for that process.
        waiting: called before waiting.

    Raises:
        InputError: another process holds it, and ``busy`` is given; or the file can't be written.
    """
    with _writes(path):
        lock = _lock(path, busy, waiting)
    with lock:
        try:
            yield
        finally:
            if _is_file_of(lock, path):
                path.unlink(missing_ok=True)


def _lock(path: Path, busy: str, waiting: Callable[[], None]) -> TextIO:
    """The lock file, open and locked."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if busy:
                lock.close()
                raise InputError(busy) from None
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_file_of(lock, path):
            return lock
        lock.close()  # who held it has removed it


def _is_file_of(opened, path: Path) -> bool:
    """Whether an opened file is the one that is there under this name."""
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


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
            InputError: another process is writing, ``busy`` says so; or the file can't be written.
        """
        with locked(self.path.with_suffix(".lock"), busy):
            with _writes(self.path):
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
