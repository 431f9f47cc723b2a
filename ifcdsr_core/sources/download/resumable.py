"""One file over HTTP: resumed after a break, verified, and under its name only when it is whole.

Of the pinned packages only huggingface_hub resumes a download, and only from its own servers. So the exchange of
RFC 9110 (ranges, section 14; If-Range, 13.1.5) is done here, with requests for connection, redirects and TLS. Until
``<name>`` is whole, ``<name>.part`` and ``<name>.part.json``, which says what it is a part of, lie beside it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ifcdsr_core.errors import InputError
from ifcdsr_core.files import file_hash, locked

if TYPE_CHECKING:
    import requests

USER_AGENT = "ifcdsr_core/0.1 (reproducibility book of cross-domain sequential recommendation)"
MAX_REDIRECTS = 10
_CHUNK = 1 << 16  # bytes; what a kill can lose
_PROGRESS = 1 << 20  # bytes; a try that got so far does not count among the failures in a row
_SPARE = 64 << 20  # bytes that stay free on the disk
_BEGINNINGS = {".gz": b"\x1f\x8b", ".zip": b"PK"}
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Facts:
    """What is known of a whole file: its size and its checksums (hexadecimal), None where not known."""

    bytes: int | None = None
    sha256: str | None = None
    git_blob_sha1: str | None = None  # what git calls the file

    @classmethod
    def of(cls, path: Path) -> Facts:
        return cls(**{kind: measured(path) for kind, measured in _MEASURED.items()})

    @property
    def checked(self) -> bool:
        return bool(self.sha256 or self.git_blob_sha1)

    def difference(self, path: Path) -> str | None:
        """How the file at ``path`` differs from what is known; None where it does not."""
        for kind, expected in asdict(self).items():
            try:
                if expected is not None and (found := _MEASURED[kind](path)) != expected:
                    return f"{kind} should be {expected}, is {found}"
            except OSError as error:
                return f"it can't be read: {error.strerror}"
        return None


@dataclass(frozen=True)
class Patience:
    """How long a transfer is tried.

    Attributes:
        attempts: tries in a row without progress before it is given up.
        wait, max_wait: seconds before the second try, doubled for each further one; and at most. A server's
            Retry-After goes before, up to ``max_wait``.
        timeout: seconds to connect, and seconds without a byte.
    """

    attempts: int = 6
    wait: float = 1.0
    max_wait: float = 300.0
    timeout: tuple[float, float] = (10.0, 60.0)


def fetch(url: str, path: Path, facts: Facts = Facts(), patience: Patience = Patience()) -> Path:
    """Return ``path`` with the content of ``url``, transferring only what is missing of it.

    A file that is there is verified and not asked for. A part is continued if the server vouches that it is of the same
    file (strong ETag, or Last-Modified) or, where it names neither, if a checksum will tell; else it is begun anew.
    Where no size and no checksum is known, the server's own Content-Length is all that tells a whole file.
    While another process downloads the same file, this one waits, and says so on stderr.

    Args:
        url: an http or https address.

    Raises:
        InputError: the file is not available, is not the published one, or does not fit on the disk. A part is kept
            wherever the same call could continue it.
    """
    import requests

    path = Path(path)
    if path.is_file():
        verified(path, facts)
        tidy(path)
        return path
    busy = f"{path} is being downloaded by another process: waiting for it"
    say = partial(print, busy, file=sys.stderr, flush=True)
    with locked(_lock(path), waiting=say), requests.Session() as session:
        if path.is_file():  # another process has been faster
            return verified(path, facts)
        session.max_redirects = MAX_REDIRECTS
        with open(_part(path), "ab", buffering=0) as part:
            try:
                _persist(_Transfer(url, path, part, facts, session, patience), patience)
                os.fsync(part.fileno())
                os.replace(_part(path), path)
                _record(path).unlink(missing_ok=True)
            finally:
                if os.fstat(part.fileno()).st_size == 0:
                    _part(path).unlink(missing_ok=True)
    return path


def verified(path: Path, facts: Facts) -> Path:
    """Return ``path``. Raises InputError if the file there is not the published one."""
    if problem := facts.difference(path):
        raise InputError(f"{path} is not the published file ({problem}): delete it, or put a good copy in its place")
    return path


def tidy(path: Path) -> None:
    """Remove what a killed transfer left beside a file that is there, unless one is under way."""
    if path.is_file() and (_part(path).exists() or _record(path).exists()):
        with suppress(InputError, OSError), locked(_lock(path), "a transfer is under way"):
            _part(path).unlink(missing_ok=True)
            _record(path).unlink(missing_ok=True)


def fetch_all(
    files: Iterable[tuple[str, str, int | None, str | None]],
    folder: Path,
    *,
    elsewhere: Path | None = None,
    dry_run: bool = False,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Fetch a table of files into a folder, one after the other.

    Args:
        files: name, address, bytes and SHA-256 of each, None where not known.
        elsewhere: another folder; what is there is not fetched.
        dry_run: only say what there is to do.
        report: gets one line for each file, and one for all.

    Raises:
        InputError: as ``fetch``, or there is no room for all that is known to come.
    """
    paths, missing, unknown = [], 0, 0
    for name, url, size, sha256 in files:
        there = elsewhere is not None and (elsewhere / name).is_file()
        path = (elsewhere if there else folder) / name
        have = path.stat().st_size if path.is_file() else _part(path).stat().st_size if _part(path).is_file() else 0
        state = "there" if path.is_file() else f"{have / 1e6:.1f} MB there" if have else "missing"
        report(
            f"{path}: {state}; {'size not recorded' if size is None else f'{size / 1e6:.1f} MB'}, "
            f"{'checked by SHA-256' if sha256 else 'no checksum known'}, from {url}"
        )
        paths.append((path, url, size, sha256, there))
        if not path.is_file():
            missing, unknown = missing + max((size or 0) - have, 0), unknown + (size is None)
    above = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(above).free
    report(
        f"to transfer: {missing / 1e9:.2f} GB"
        + (f" and {unknown} files of unknown size" if unknown else "")
        + f"; {free / 1e9:.2f} GB are free"
    )
    if missing and missing + _SPARE > free:
        raise InputError(
            f"{folder} needs {(missing + _SPARE) / 1e9:.2f} GB, {free / 1e9:.2f} GB are free: make room, "
            "or set IFCDSR_DATA to a folder on another disk"
        )
    if dry_run:
        return []
    return [
        path if there else fetch(url, path, Facts(bytes=size, sha256=sha256))
        for path, url, size, sha256, there in paths
    ]


def retry_after(value: str | None, at_most: float) -> float | None:
    """Seconds a Retry-After header asks for (RFC 9110, section 10.2.3: a number, or a date); None without one."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return None if value is None else min(Retry().parse_retry_after(value), at_most)
    except (InvalidHeader, OverflowError, ValueError):
        return None


def back_off(failures: int, wait: float, max_wait: float) -> float:
    """Seconds to wait after a number of failures in a row: doubled each time, with jitter."""
    return min(wait * 2 ** (failures - 1), max_wait) * random.uniform(0.75, 1.0)


def causes(error: BaseException) -> list[BaseException]:
    """A network error, the one it wraps, and so on, the innermost last: requests and urllib3 wrap several times."""
    chain = [error]
    while len(chain) < 12:
        inner = [part for part in (getattr(chain[-1], "reason", None), *chain[-1].args) if isinstance(part, Exception)]
        if not inner:
            break
        chain.append(inner[0])
    return chain


def cause(error: BaseException) -> str:
    """The innermost cause of a network error in one line: those around it repeat the address."""
    innermost = causes(error)[-1]
    return " ".join(str(innermost).split())[:200] or type(innermost).__name__


class _Broken(Exception):
    """A try failed that another may mend; ``wait`` in seconds, where it is the server's wish or no wait is needed."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def _persist(transfer: _Transfer, patience: Patience) -> None:
    """Try until the part is whole and verified."""
    from requests import exceptions

    failures = 0
    while True:
        before, asked = transfer.received, None
        try:
            return transfer.step()
        except exceptions.TooManyRedirects:
            raise transfer.failed(f"more than {MAX_REDIRECTS} redirects") from None
        except (exceptions.InvalidSchema, exceptions.InvalidURL, exceptions.MissingSchema) as error:
            raise transfer.failed(f"only http and https addresses will do: {cause(error)}") from None
        except _Broken as error:
            reason, asked = str(error), error.wait
        except OSError as error:  # the errors of requests are kinds of it
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise transfer.failed(f"the disk takes no more: {error.strerror}") from error
            reason = cause(error)
        failures = 1 if transfer.received - before >= _PROGRESS else failures + 1
        if failures >= patience.attempts:
            reason = f"{reason}; tried {patience.attempts} times"
            raise transfer.failed(reason, ": the same call continues where this stopped")
        time.sleep(back_off(failures, patience.wait, patience.max_wait) if asked is None else asked)


@dataclass
class _Transfer:
    """One file's transfer into ``part``; ``received`` counts its bytes over all tries."""

    url: str
    path: Path
    part: BinaryIO
    facts: Facts
    session: requests.Session
    patience: Patience
    received: int = 0

    def failed(self, reason: str, remedy: str = "") -> InputError:
        return InputError(f"{self.path.name} is not available from {self.url} ({reason}){remedy}")

    def step(self) -> None:
        """One request, unless the part is whole already; then verify."""
        have, said = os.fstat(self.part.fileno()).st_size, self._said()
        in_one_go = False
        if not have or have != (self.facts.bytes or said.get("bytes")):
            in_one_go = self._receive(have, said)
        if problem := self.facts.difference(_part(self.path)):
            self._begin_anew()
            if in_one_go:
                raise self.failed(f"it is not the published file: {problem}")
            raise _Broken(problem, 0.0)  # pieces that do not fit together, or a damaged disk: now in one go

    def _said(self) -> dict:
        """What the server said of the file the part is of: ``validator``, ``bytes``; empty where that is not known."""
        try:
            said = json.loads(_record(self.path).read_text(encoding="utf-8"))
            return said if isinstance(said, dict) else {}
        except (OSError, ValueError):
            return {}

    def _begin_anew(self) -> None:
        self.part.truncate(0)
        _record(self.path).unlink(missing_ok=True)

    def _receive(self, have: int, said: dict) -> bool:
        """Ask for what is missing and append it; whether it was the whole file."""
        if have and not (said.get("validator") or self.facts.checked) or have > (self.facts.bytes or have):
            self._begin_anew()
            have, said = 0, {}
        self._need(self.facts.bytes, have)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if said.get("validator"):
                headers["If-Range"] = said["validator"]
        with self.session.get(self.url, headers=headers, stream=True, timeout=self.patience.timeout) as response:
            steps = [step.url.startswith("https:") for step in (*response.history, response)]
            if not self.facts.checked and self.url.startswith("https:") and not all(steps):
                raise self.failed("redirected from https to http, and no checksum is known")
            total, validator = self._opening(response.status_code, response.headers, have, said)
            continued = response.status_code == 206
            self._need(total, have if continued else 0)
            self._body(response.raw, have if continued else 0, total, None if continued else validator)
        return not continued

    def _opening(self, status: int, header, have: int, said: dict) -> tuple[int | None, str | None]:
        """Check an answer before any byte is touched: the whole file's size and validator, None where not named."""
        if status in _TEMPORARY:
            raise _Broken(f"status {status}", retry_after(header.get("Retry-After"), self.patience.max_wait))
        if status == 416 and have:  # what is here is longer than what is there
            self._begin_anew()
            raise _Broken("the server has no such range", 0.0)
        if status != 200 and not (status == 206 and have):
            raise self.failed(f"status {status}")
        coding = header.get("Content-Encoding", "").lower()
        # A stored .gz is often sent as a gzip-coded page: the bytes on the wire are the file's. Those of any other file
        # would be of a compression of the moment, which can't be continued.
        if coding not in ("", "identity") and not (coding in ("gzip", "x-gzip") and self.path.suffix == ".gz"):
            raise self.failed(f"the server sends it compressed ({coding}), though asked not to")
        length = header.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        # what If-Range may carry: a strong ETag, or Last-Modified (sections 13.1.5 and 8.8)
        etag = header.get("ETag", "")
        validator = etag if etag.startswith('"') else header.get("Last-Modified")
        if status == 206:
            range_ = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", header.get("Content-Range", "").strip())
            total = int(range_[2]) if range_ and range_[2] != "*" else said.get("bytes")
            other = validator and validator != said.get("validator", validator)
            # a server that knows Range but not If-Range would splice two files
            if not range_ or int(range_[1]) != have or total != (said.get("bytes") or total) or other:
                self._begin_anew()
                raise _Broken("the server continues another file, or elsewhere", 0.0)
        total = total or self.facts.bytes
        if self.facts.bytes not in (None, total):
            raise self.failed(f"it has {total} bytes there, {self.facts.bytes} were published")
        return total, validator

    def _body(self, raw, have: int, total: int | None, validator: str | None) -> None:
        from tqdm import tqdm
        from urllib3.exceptions import HTTPError

        begun = have > 0
        in_a_terminal = {"disable": None}
        with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=self.path.name, **in_a_terminal) as bar:
            try:
                for chunk in raw.stream(_CHUNK, decode_content=False):
                    if not begun:  # only now is it sure that the answer is worth more than the part
                        self._look_at(chunk)
                        self._begin_anew()  # before the record: a kill between must not give old bytes a new validator
                        _record(self.path).write_text(json.dumps({"validator": validator, "bytes": total}))
                        begun = True
                    if have + len(chunk) > (total or have + len(chunk)):
                        self._begin_anew()
                        raise self.failed(f"the server sends more than the {total} bytes of the file")
                    rest = memoryview(chunk)
                    while rest:  # an unbuffered write may take less than it is given
                        rest = rest[self.part.write(rest) :]
                    have, self.received = have + len(chunk), self.received + len(chunk)
                    bar.update(len(chunk))
            except HTTPError as error:  # urllib3's, as the stream is read below requests
                raise _Broken(f"broken off after {have} bytes: {cause(error)}") from error
        if not begun and self.facts.bytes != 0:  # what is in the part is of an earlier answer
            raise _Broken("the server sends nothing")
        if have < (total or 0):
            raise _Broken(f"broken off after {have} of {total} bytes")

    def _look_at(self, chunk: bytes) -> None:
        """Refuse an error page with status 200, by its content: headers are often wrong about files."""
        expected = _BEGINNINGS.get(self.path.suffix, b"")
        page = chunk.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<html" in chunk[:2000].lower()
        if chunk[: len(expected)] != expected[: len(chunk)] or page and self.path.suffix not in (".html", ".htm"):
            raise self.failed("the server sends " + (f"no {self.path.suffix} file" if expected else "a web page"))

    def _need(self, total: int | None, have: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if total is not None and total - have + _SPARE > free:
            raise InputError(
                f"{self.path.name} needs {(total - have + _SPARE) / 1e9:.2f} GB more in "
                f"{self.path.parent}, {free / 1e9:.2f} GB are free: make room, or set IFCDSR_DATA to a "
                "folder on another disk"
            )


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.json")


def _git_blob_sha1(path: Path) -> str:
    """What git calls a file: the hash of its content behind a small header."""
    found = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


_MEASURED = {"bytes": lambda path: path.stat().st_size, "sha256": file_hash, "git_blob_sha1": _git_blob_sha1}
