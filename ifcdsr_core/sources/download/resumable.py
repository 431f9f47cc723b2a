"""One big file over HTTP: resumed after a break, verified, and under its name only when it is whole.

pooch, which fetches this book's small files, begins anew after a break; of the pinned packages only huggingface_hub
resumes, and only from its own servers. So the exchange of RFC 9110 (ranges, section 14; If-Range, 13.1.5) is done here,
with requests for connection, redirects and TLS. Beside ``<name>`` lie, until it is whole, ``<name>.part`` and
``<name>.part.json``, which says what it is a part of.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tqdm import tqdm

from ifcdsr_core.errors import InputError

if TYPE_CHECKING:
    import requests


USER_AGENT = "ifcdsr_core/0.1 (reproducibility book of cross-domain sequential recommendation)"
MAX_REDIRECTS = 10
_CHUNK = 1 << 16  # bytes; what a kill can lose
_PROGRESS = 1 << 20  # bytes; a try that got so far does not count among the failures in a row
_SPARE = 64 << 20  # bytes that stay free on the disk
_BEGINNINGS = {".gz": b"\x1f\x8b", ".zip": b"PK"}
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class _Broken(Exception):
    """A try failed that another may mend; ``wait`` in seconds, where it is the server's wish or no wait is needed."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(
    url: str,
    path: Path,
    *,
    bytes: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    session: requests.Session | None = None,
    attempts: int = 6,
    wait: float = 1.0,
    max_wait: float = 300.0,
    timeout: tuple[float, float] = (10.0, 60.0),
    progress: bool = True,
) -> Path:
    """Return ``path`` with the content of ``url``, transferring only what is missing of it.

    A file that is there is verified and not asked for. A part is continued if the server vouches that it is of the same
    file (strong ETag, or Last-Modified) or, where it names neither, if a checksum will tell; else it is begun anew.
    Where neither ``bytes`` nor a checksum is known, the server's own Content-Length is all that tells a whole file.

    Args:
        url: an http or https address.
        bytes: size of the whole file.
        sha256, md5: its checksums, hexadecimal.
        session: a requests session to use; without one, a new one.
        attempts: tries in a row without progress before it is given up.
        wait, max_wait: seconds before the second try, doubled for each further one; and at most. A server's
            Retry-After goes before, up to ``max_wait``.
        timeout: seconds to connect, and seconds without a byte.
        progress: show a bar in a terminal.

    Raises:
        InputError: the file can't be had, is not the published one, does not fit on the disk, or is being transferred
            by another process. A part is kept wherever the same call could continue it.
    """
    import requests

    path, known = Path(path), {"bytes": bytes, "sha256": sha256, "md5": md5}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        return _verified(path, known)
    with _locked(path) as part:
        if path.is_file():  # another process has been faster
            return _verified(path, known)
        own = session or requests.Session()
        own.max_redirects = MAX_REDIRECTS if session is None else own.max_redirects
        try:
            transfer = _Transfer(url, path, part, known, own, timeout, max_wait, progress)
            _persist(transfer, attempts, wait, max_wait)
        finally:
            if session is None:
                own.close()
        os.fsync(part.fileno())
        os.replace(_part(path), path)
        _record(path).unlink(missing_ok=True)
    return path


def fetch_all(
    files: Iterable[tuple[str, str, int | None, str | None]],
    folder: Path,
    *,
    elsewhere: Path | None = None,
    dry_run: bool = False,
    report: Callable[[str], None] = print,
    **options,
) -> list[Path]:
    """Fetch a table of files into a folder, one after the other.

    Args:
        files: name, address, bytes and SHA-256 of each, None where not known.
        elsewhere: another folder; what is there is not fetched.
        dry_run: only say what there is to do.
        report: gets a line for each file, and one for all.
        options: those of ``fetch``.

    Raises:
        InputError: as ``fetch``, or there is not room for all that is known to come.
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
        path if there else fetch(url, path, bytes=size, sha256=sha256, **options)
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
    """Seconds to wait after so many failures in a row: doubled each time, and spread so that many do not meet again."""
    return min(wait * 2 ** (failures - 1), max_wait) * random.uniform(0.75, 1.0)


def cause(error: BaseException) -> str:
    """The innermost cause of a network error in one line: requests and urllib3 wrap it in errors that repeat the
    address."""
    while inner := [part for part in (getattr(error, "reason", None), *error.args) if isinstance(part, Exception)]:
        error = inner[0]
    return " ".join(str(error).split())[:200] or type(error).__name__


def _persist(transfer: _Transfer, attempts: int, wait: float, max_wait: float) -> None:
    """Try until the part is whole and verified."""
    from requests import exceptions

    failures = 0
    while True:
        before, asked = transfer.received, None
        try:
            return transfer.step()
        except exceptions.TooManyRedirects:
            raise transfer.failed(f"more than {transfer.session.max_redirects} redirects") from None
        except (exceptions.InvalidSchema, exceptions.InvalidURL, exceptions.MissingSchema) as error:
            raise transfer.failed(f"only http and https addresses will do: {cause(error)}") from None
        except _Broken as error:
            reason, asked = str(error), error.wait
        except OSError as error:  # the errors of requests are kinds of it
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise transfer.failed(f"the disk takes no more: {error.strerror}") from error
            reason = cause(error)
        failures = 1 if transfer.received - before >= _PROGRESS else failures + 1
        if failures >= attempts:
            raise transfer.failed(f"{reason}; tried {attempts} times", ": the same call continues where this stopped")
        time.sleep(back_off(failures, wait, max_wait) if asked is None else asked)


class _Transfer:
    """One file's transfer; ``received`` counts its bytes over all tries."""

    def __init__(self, url, path, part, known, session, timeout, max_wait, progress) -> None:
        self.url, self.path, self.part, self.known, self.session = url, path, part, known, session
        self.timeout, self.max_wait, self.progress, self.received = timeout, max_wait, progress, 0

    def failed(self, reason: str, remedy: str = "") -> InputError:
        return InputError(f"{self.path.name} is not to be had from {self.url} ({reason}){remedy}")

    def step(self) -> None:
        """One request, unless the part is whole already; then verify."""
        have, said = os.fstat(self.part.fileno()).st_size, self._said()
        in_one_go = False
        if not have or have != (self.known["bytes"] or said.get("bytes")):
            in_one_go = self._receive(have, said)
        if problem := _difference(_part(self.path), self.known):
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
        checked = self.known["sha256"] or self.known["md5"]
        if have and not (said.get("validator") or checked) or have > (self.known["bytes"] or have):
            self._begin_anew()
            have, said = 0, {}
        self._need(self.known["bytes"], have)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if said.get("validator"):
                headers["If-Range"] = said["validator"]
        with self.session.get(self.url, headers=headers, stream=True, timeout=self.timeout) as response:
            steps = [step.url.startswith("https:") for step in (*response.history, response)]
            if not checked and self.url.startswith("https:") and not all(steps):
                raise self.failed("redirected from https to http, and no checksum is known")
            total, validator = self._opening(response.status_code, response.headers, have, said)
            continued = response.status_code == 206
            self._need(total, have if continued else 0)
            self._body(response.raw, have if continued else 0, total, None if continued else validator)
        return not continued

    def _opening(self, status: int, header, have: int, said: dict) -> tuple[int | None, str | None]:
        """Check an answer before any byte is touched: the whole file's size and validator, None where not named."""
        if status in _TEMPORARY:
            raise _Broken(f"status {status}", retry_after(header.get("Retry-After"), self.max_wait))
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
        total = total or self.known["bytes"]
        if self.known["bytes"] not in (None, total):
            raise self.failed(f"it has {total} bytes there, {self.known['bytes']} were published")
        return total, validator

    def _body(self, raw, have: int, total: int | None, validator: str | None) -> None:
        from urllib3.exceptions import HTTPError

        begun = have > 0
        # disable=None: a bar in a terminal only
        with tqdm(
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            desc=self.path.name,
            disable=None if self.progress else True,
        ) as bar:
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
        if not begun and self.known["bytes"] != 0:  # what is in the part is of an earlier answer
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


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.json")


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The part, open and this process's alone. The lock goes with the process, however that ends."""
    with open(_part(path), "ab", buffering=0) as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            others = os.fstat(part.fileno()).st_nlink == 0  # its owner deleted it between our open and our lock
        except BlockingIOError:
            others = True
        if others:
            raise InputError(f"{path} is being downloaded by another process: wait for its end")
        try:
            yield part
        finally:
            if os.fstat(part.fileno()).st_size == 0:
                _part(path).unlink(missing_ok=True)


def _verified(path: Path, known: dict) -> Path:
    if problem := _difference(path, known):
        raise InputError(f"{path} is not the published file ({problem}): delete it, or put a good copy in its place")
    return path


def _difference(path: Path, known: dict) -> str | None:
    """How the file differs from what is known of it; None where it does not."""
    if known["bytes"] not in (None, path.stat().st_size):
        return f"it should have {known['bytes']} bytes, it has {path.stat().st_size}"
    for kind in ("sha256", "md5"):
        if known[kind]:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, kind).hexdigest()
            if found != known[kind].lower():
                return f"{kind} should be {known[kind]}, is {found}"
    return None
