"""Downloads pictures by their addresses: every item ends with a file or with a named reason; nothing is asked twice.

They are kept by ``source_id``, apart from the scenarios, which are built again and number the same items differently.

The addresses come from other people's metadata, so they are not trusted (see ``public_web``), and what arrives is
believed by its content alone.

One thread decides what is asked next and writes the manifest; a pool of threads asks, one request at a time each, so
that a redirect or a second try waits for its turn at its host like any other request.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import itertools
import os
import queue
import re
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from ifcdsr_core.errors import InputError, choose, require
from ifcdsr_core.files import Journal, link_file, new_file, tidy
from ifcdsr_core.settings import check_ranges, setting, typed
from ifcdsr_core.sources.download.decoding import as_shown
from ifcdsr_core.sources.download.resumable import back_off, cause, retry_after

if TYPE_CHECKING:  # the command line reads PictureLimits: it should wait neither for pandas nor for tqdm
    import pandas as pd

    from ifcdsr_core.scenario import Scenario

MANIFEST = "manifest.jsonl"
TEMPORARY = {  # another try, now or by a later call, may do
    "rate_limited": "status 429",
    "server_error": "status 408, 425 or 5xx",
    "timeout": "no connection, no byte, or no end in time",
    "unresolved": "the name of the host has no address",
    "unreachable": "connection refused, reset or not possible",
    "cut_off": "fewer bytes than announced",
    "no_http": "an answer that is no HTTP",
    "tls": "no trustworthy connection",
    "host_down": "not asked: too many requests in a row have not reached this host",
    "unexpected": "an error nobody foresaw",
}
PERMANENT = {
    "no_address": "the item has none",
    "bad_address": "not http or https, malformed, or with a user name",
    "private_address": "not an address of the public internet",
    "not_found": "status 404 or 410",
    "denied": "another status 4xx",
    "bad_status": "neither 200 nor an error",
    "bad_redirect": "too many, or to nowhere",
    "too_big": "more bytes than allowed",
    "too_many_pixels": "more pixels than allowed: a decompression bomb",
    "too_many_frames": "more frames than allowed: a bomb by animation",
    "too_small": "a side shorter than allowed: a placeholder",
    "empty": "no bytes",
    "web_page": "HTML served as a picture",
    "svg": "a drawing, which is a program",
    "other_type": "neither JPEG, PNG, WebP nor GIF",
    "damaged": "can't be decoded to the end",
}
KINDS = {"ok": "a picture"} | TEMPORARY | PERMANENT
_SUFFIX = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
_BEGINNINGS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF", b"GIF89a": "GIF"}
_ACCEPT = "image/webp,image/jpeg,image/png,image/gif;q=0.9,*/*;q=0.1"
_WINDOW = 10_000  # pictures under way or waiting, so that a million items do not lie in memory


@dataclass(frozen=True)
class PictureLimits:
    """How fast, how long and for how much pictures are asked.

    Raises:
        InputError: a value out of its range.
    """

    workers: int = setting(32, "requests at a time", minimum=1)
    per_host: int = setting(8, "requests at a time to one host", minimum=1)
    rate: float = setting(25.0, "requests per second to one host", minimum=0.001)
    addresses: int = setting(8, "addresses of an item that are tried, the first ones", minimum=1)
    attempts: int = setting(4, "requests for an address before it is given up", minimum=1)
    wait: float = setting(1.0, "seconds before the second of them, doubled for each further one", minimum=0)
    max_wait: float = setting(120.0, "seconds to wait at most, also where a server asks for more", minimum=0)
    connect_timeout: float = setting(10.0, "seconds to connect", minimum=0.001)
    read_timeout: float = setting(20.0, "seconds without a byte", minimum=0.001)
    total_timeout: float = setting(60.0, "seconds for a request in all", minimum=0.001)
    max_bytes: int = setting(20_000_000, "bytes of a picture", minimum=1)
    max_pixels: int = setting(40_000_000, "width times height of a picture", minimum=1)
    max_frames: int = setting(1_000, "frames of an animation, of which the first is used", minimum=1)
    min_side: int = setting(16, "pixels of the shorter side; smaller ones are placeholders", minimum=1)
    max_redirects: int = setting(5, "redirects followed for an address", minimum=0)
    host_failures: int = setting(
        50, "requests in a row that do not reach a host before it is left alone until the next call", minimum=1
    )

    def __post_init__(self) -> None:
        check_ranges(self)


def download_images(
    items: pd.DataFrame,
    folder: Path,
    limits: PictureLimits = PictureLimits(),
    *,
    retry_failures: Iterable[str] = tuple(TEMPORARY),
    limit: int = 0,
    allow_private: bool = False,
) -> pd.DataFrame:
    """Download the picture of every item of which the manifest in ``folder`` does not know the outcome.

    An item's addresses are tried in order until one gives a picture. Its file is ``<source_id, quoted>.<type>``, as it
    came. The manifest ``manifest.jsonl`` gets one line per item: ``source_id``, ``kind`` (see ``KINDS``), ``address``,
    ``status``, ``bytes``, ``width``, ``height``, ``format``, ``sha256``, ``file``, ``detail``, ``tried`` (address, kind
    and status of those that failed), ``asked`` (which addresses it is about) and ``time``. Proxies of the environment
    are not used: they would resolve names by themselves, and the check of addresses would check nothing.

    Args:
        items: columns ``source_id`` (of rows with the same the first counts) and ``image_urls`` (a list of addresses,
            the preferred first).
        folder: where pictures and manifest go; it may hold those of earlier calls, killed or not, also of other items.
        retry_failures: kinds of failure that are asked again.
        limit: how many items to ask for at most; 0 for all.
        allow_private: also ask addresses that are not of the public internet.

    Returns:
        The table of ``summary``: of all items that the folder knows.

    Raises:
        InputError: a column is missing, an unknown kind, a limit below 0, another process at work in the folder, a
            full disk.
    """
    from tqdm import tqdm

    require(typed("limit", limit, int) >= 0, "limit", limit, "at least 0")
    again = {choose("kind of failure", kind, [*TEMPORARY, *PERMANENT]) for kind in retry_failures}
    for column in ("source_id", "image_urls"):
        if column not in items.columns:
            raise InputError(f"the items have no column {column!r}: pictures need source_id and image_urls")
    items = items.drop_duplicates("source_id")  # an item that both domains have is two rows
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _Manifest(folder).open() as manifest, _ignored_warnings():

        def wanted() -> Iterator[_Picture]:
            unknown = (picture for picture in _pictures(items, limits.addresses) if manifest.is_wanted(picture, again))
            return itertools.islice(unknown, limit or None)

        count = sum(1 for _ in wanted())
        with tqdm(total=count, desc="downloading pictures", unit="picture", disable=None) as bar:  # in a terminal only

            def report(line: dict) -> None:
                manifest.add(line)
                counts[line["kind"]] += 1
                bar.update()
                bar.set_postfix(counts, refresh=False)

            counts: Counter = Counter()
            with _Crew(folder, limits, allow_private) as crew:
                _Schedule(wanted(), limits, crew, report).run()
    return summary(folder)


def read_manifest(folder: Path) -> pd.DataFrame:
    """The last outcome of every item, in order of ``source_id``: the columns ``download_images`` names.

    Raises:
        InputError: no manifest there.
    """
    import pandas as pd

    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{path} is not there: download the pictures first")
    lines = _Manifest(Path(folder)).outcomes()
    columns = list(_line(_Picture("", ()), _Answer("empty")))
    return pd.DataFrame([lines[source_id] for source_id in sorted(lines)], columns=columns)


def summary(folder: Path) -> pd.DataFrame:
    """Outcomes of a folder's manifest, the most frequent first: ``outcome``, ``meaning``, ``items``, ``share``,
    ``megabytes``."""
    import pandas as pd

    manifest = read_manifest(folder)
    table = manifest.groupby("kind").agg(items=("kind", "size"), megabytes=("bytes", "sum")).reset_index()
    table = table.sort_values(["items", "kind"], ascending=[False, True], ignore_index=True)
    return pd.DataFrame(
        {
            "outcome": table["kind"],
            "meaning": table["kind"].map(KINDS),
            "items": table["items"],
            "share": table["items"] / max(len(manifest), 1),
            "megabytes": table["megabytes"].astype(float) / 1e6,
        }
    )


def with_images(scenario: Scenario, store: Path) -> Scenario:
    """Put the downloaded pictures into a saved scenario, as ``link_images`` does; its fingerprint does not change.

    Args:
        store: the folder of ``download_images``.

    Raises:
        InputError: the scenario is in no folder, or the store has no manifest.
    """
    if scenario.folder is None:
        raise InputError(f"scenario {scenario.source}/{scenario.name} is in no folder: save it first")
    items = link_images(scenario.items, store, scenario.folder)
    with new_file(scenario.folder / "items.parquet") as path:
        items.to_parquet(path, index=False)
    return replace(scenario, items=items)


def link_images(items: pd.DataFrame, store: Path, folder: Path) -> pd.DataFrame:
    """Put the pictures that ``store`` has of ``items`` into ``folder/images``, and their paths into column ``image``:
    None where it has none; where it does not know the item, what was there. InputError if it has no manifest."""
    import pandas as pd

    known = {line.source_id: line for line in read_manifest(store).itertuples()}
    images = []
    (folder / "images").mkdir(exist_ok=True)
    for source_id, image in zip(items["source_id"].map(str), items["image"], strict=True):
        if line := known.get(source_id):
            image = None
            if line.kind == "ok" and _is_there(store, line.file, line.bytes):
                image = f"images/{line.file}"
                link_file(store / line.file, folder / image)
        images.append(image if isinstance(image, str) else None)
    return items.assign(image=pd.Series(images, index=items.index, dtype=object))


@dataclass
class _Picture:
    """An item whose picture is under way."""

    source_id: str
    addresses: tuple[str, ...]
    place: int = 0  # which of its addresses
    address: str = ""  # what is asked now: that one, or where it redirects to
    failures: int = 0
    redirects: int = 0
    failed: list[_Answer] = field(default_factory=list)  # of the addresses before ``place``

    @property
    def asked(self) -> str:
        return hashlib.sha256("\n".join(self.addresses).encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True)
class _Answer:
    """What one request came to; ``redirect`` is where to go on."""

    kind: str
    detail: str = ""
    status: int | None = None
    redirect: str | None = None
    wait: float | None = None  # seconds the server asks for
    facts: dict = field(default_factory=dict)


def _pictures(items: pd.DataFrame, most: int) -> Iterator[_Picture]:
    for source_id, addresses in zip(items["source_id"], items["image_urls"], strict=True):
        several = addresses is not None and not isinstance(addresses, (str, float))
        listed = list(addresses) if several else [addresses] if isinstance(addresses, str) else []
        given = dict.fromkeys(address.strip() for address in listed if isinstance(address, str) and address.strip())
        yield _Picture(str(source_id), tuple(given)[:most])


def _file_name(source_id: str) -> str:
    """A name of its own for every id, also where a file system takes small letters for capitals: all but capitals,
    digits, - and _ as %XX. So none leaves the folder, hides (``.lock``, half-written files) or is the manifest's."""
    return re.sub("[^0-9A-Z_-]", lambda sign: "".join(f"%{byte:02X}" for byte in sign[0].encode()), source_id)


def _is_outcome(line: dict) -> bool:
    """Whether a record is one that ``_line`` may have made; a file of another name could lie anywhere."""
    source_id, kind, file, size = (line.get(key) for key in ("source_id", "kind", "file", "bytes"))
    if not (isinstance(source_id, str) and isinstance(kind, str) and kind in KINDS and isinstance(size, int | None)):
        return False
    named = isinstance(file, str) and file.rpartition(".")[0] == _file_name(source_id)
    return kind != "ok" or (named and size is not None and isinstance(line.get("sha256"), str))


def _is_there(folder: Path, file: str, size: int) -> bool:
    """Whether a picture the manifest knows is in the folder: a crash of the machine can lose it."""
    try:
        return (folder / file).stat().st_size == size
    except OSError:
        return False


def _line(picture: _Picture, answer: _Answer) -> dict:
    """An outcome as the manifest has it."""
    address = picture.addresses[picture.place] if picture.addresses else None
    facts = dict.fromkeys(("bytes", "width", "height", "format", "sha256", "file")) | answer.facts
    tried = [
        {"address": address, "kind": failed.kind, "status": failed.status, "detail": failed.detail}
        for address, failed in zip(picture.addresses, picture.failed, strict=False)
    ]
    return {
        "source_id": picture.source_id,
        "kind": answer.kind,
        "address": address,
        "status": answer.status,
        **facts,
        "detail": answer.detail,
        "tried": tried,
        "asked": picture.asked,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class _Manifest(Journal):
    """The journal of a folder of pictures; of several outcomes of an item the last counts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / MANIFEST)
        self.folder, self._known = folder, {}

    def outcomes(self) -> dict[str, dict]:
        """The last outcome of every item; the item of a line that was torn, or edited, is asked again."""
        return {line["source_id"]: line for line in self.read() if _is_outcome(line)}

    @contextmanager
    def open(self) -> Iterator[_Manifest]:
        """Allow ``add``, and clear away what a killed process left half done."""
        with self.writing(f"another process is downloading pictures into {self.folder}: wait for its end"):
            tidy(self.folder)
            self._known = {
                source_id: (line["kind"], line.get("asked"), line.get("file"), line.get("bytes"))
                for source_id, line in self.outcomes().items()
            }
            yield self

    def is_wanted(self, picture: _Picture, again: set[str]) -> bool:
        """Whether an item is to be asked."""
        kind, asked, file, size = self._known.get(picture.source_id, (None, None, None, None))
        if kind is None or asked != picture.asked or kind in again:
            return True
        return kind == "ok" and not _is_there(self.folder, file, size)


@dataclass
class _Host:
    waiting: deque[_Picture] = field(default_factory=deque)
    active: int = 0
    free_at: float = 0.0  # monotonic seconds; not asked before
    failures: int = 0  # in a row that did not reach it


class _Schedule:
    """Gives requests to the crew as the limits allow, and decides what an answer means for its picture."""

    def __init__(
        self, pictures: Iterable[_Picture], limits: PictureLimits, crew: _Crew, report: Callable[[dict], None]
    ) -> None:
        self.pictures, self.limits, self.crew, self.report = iter(pictures), limits, crew, report
        self.hosts: dict[str, _Host] = {}
        self.later: list[tuple[float, int, _Picture]] = []  # heap of those that wait for another try
        self.under_way, self.active, self.count = 0, 0, itertools.count()

    def run(self) -> None:
        while self._fill() or self.under_way:
            now = time.monotonic()
            while self.later and self.later[0][0] <= now:
                self._enqueue(heapq.heappop(self.later)[2])
            moment = self._hand_out()
            if not self.under_way:
                continue
            try:
                host, picture, answer = self.crew.answers.get(timeout=max(0.0, min(moment - time.monotonic(), 1.0)))
            except queue.Empty:
                continue
            self.active, host.active = self.active - 1, host.active - 1
            if isinstance(answer, BaseException):
                raise answer
            self._judge(host, picture, answer)

    def _fill(self) -> bool:
        """Take new pictures while there is room; whether any was left."""
        while self.under_way < _WINDOW:
            picture = next(self.pictures, None)
            if picture is None:
                return False
            self.under_way += 1
            self._begin(picture)
        return True

    def _begin(self, picture: _Picture) -> None:
        """Turn to the picture's address number ``place``."""
        picture.failures = picture.redirects = 0
        if not picture.addresses:
            return self._done(picture, _Answer("no_address"))
        picture.address = picture.addresses[picture.place]
        self._enqueue(picture)

    def _enqueue(self, picture: _Picture) -> None:
        try:
            name = self.crew.web.host(picture.address)
        except ValueError as error:
            return self._failed(picture, _Answer("bad_redirect" if picture.redirects else "bad_address", str(error)))
        self.hosts.setdefault(name, _Host()).waiting.append(picture)

    def _hand_out(self) -> float:
        """Give out what may be asked now; when (monotonic seconds) the next may be."""
        now, moment = time.monotonic(), self.later[0][0] if self.later else float("inf")
        for name, host in list(self.hosts.items()):
            while host.waiting and host.failures >= self.limits.host_failures:
                self._failed(host.waiting.popleft(), _Answer("host_down"), final=True)
            while (
                host.waiting
                and host.active < self.limits.per_host
                and self.active < self.limits.workers
                and host.free_at <= now
            ):
                picture = host.waiting.popleft()
                host.free_at = max(host.free_at, now - 1 / self.limits.rate) + 1 / self.limits.rate
                host.active, self.active = host.active + 1, self.active + 1
                self.crew.ask(host, picture)
            if host.waiting and host.free_at > now:
                moment = min(moment, host.free_at)
            if not host.waiting and not host.active and host.free_at <= now and not host.failures:
                del self.hosts[name]
        return moment

    def _judge(self, host: _Host, picture: _Picture, answer: _Answer) -> None:
        """Keep a picture, follow a redirect, try again, or turn to the next address."""
        host.failures = host.failures + 1 if answer.kind in ("timeout", "unresolved", "unreachable") else 0
        if answer.kind == "ok":
            return self._done(picture, answer)
        if answer.redirect:
            picture.redirects += 1
            if picture.redirects > self.limits.max_redirects:
                return self._failed(
                    picture, replace(answer, redirect=None, detail=f"more than {self.limits.max_redirects} redirects")
                )
            picture.address = answer.redirect
            return self._enqueue(picture)
        if answer.wait is not None:  # the host asks for quiet, not only this picture
            host.free_at = max(host.free_at, time.monotonic() + answer.wait)
        self._failed(picture, answer)

    def _failed(self, picture: _Picture, answer: _Answer, final: bool = False) -> None:
        if answer.kind in TEMPORARY and not final:
            picture.failures += 1
            if picture.failures < self.limits.attempts:
                wait = (
                    0.0
                    if answer.wait is not None
                    else back_off(picture.failures, self.limits.wait, self.limits.max_wait)
                )
                return heapq.heappush(self.later, (time.monotonic() + wait, next(self.count), picture))
        picture.failed.append(answer)
        if picture.place + 1 < len(picture.addresses):
            picture.place += 1
            return self._begin(picture)
        # Of several failures a temporary one counts, so that a later call tries again; else that of the first address.
        picture.place = next((place for place, failed in enumerate(picture.failed) if failed.kind in TEMPORARY), 0)
        self._done(picture, picture.failed[picture.place])

    def _done(self, picture: _Picture, answer: _Answer) -> None:
        self.under_way -= 1
        self.report(_line(picture, answer))


class _Crew:
    """The threads that ask, and the files they write. ``answers`` gets (host, picture, answer)."""

    def __init__(self, folder: Path, limits: PictureLimits, allow_private: bool) -> None:
        from ifcdsr_core.sources.download.public_web import PublicWeb

        self.folder, self.limits, self.answers = folder, limits, queue.SimpleQueue()
        self.web = PublicWeb(
            limits.per_host, limits.connect_timeout, limits.read_timeout, limits.total_timeout, allow_private
        )
        self.threads = ThreadPoolExecutor(limits.workers, "picture")
        # decoding fills processors and memory, not the line: no more at a time than there are processors
        self.decoding = threading.BoundedSemaphore(os.cpu_count() or 1)

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_) -> None:
        self.web.close()  # what is still under way breaks off at once
        self.threads.shutdown(cancel_futures=True)

    def ask(self, host: _Host, picture: _Picture) -> None:
        self.threads.submit(self._ask, host, picture)

    def _ask(self, host: _Host, picture: _Picture) -> None:
        try:
            answer = self._request(picture)
        except BaseException as error:  # not a picture's failure but ours, such as a full disk: the schedule raises it
            answer = error
        self.answers.put((host, picture, answer))

    def _request(self, picture: _Picture) -> _Answer:
        reply = self.web.get(picture.address, self.limits.max_bytes, _ACCEPT)
        if reply.failure:
            return _Answer(reply.failure, reply.detail, reply.status)
        if reply.status != 200:
            return _refusal(reply.status, reply.header, picture.address, self.limits)
        with self.decoding:
            kind, detail, facts = examine(reply.content, self.limits)
        facts |= {"bytes": len(reply.content)}
        if kind == "ok":
            facts |= {
                "sha256": hashlib.sha256(reply.content).hexdigest(),
                "file": f"{_file_name(picture.source_id)}.{_SUFFIX[facts['format']]}",
            }
            with new_file(self.folder / facts["file"]) as path:
                path.write_bytes(reply.content)
        return _Answer(kind, detail, reply.status, facts=facts)


def _refusal(status: int, header, address: str, limits: PictureLimits) -> _Answer:
    if status in (301, 302, 303, 307, 308):
        try:
            where = urljoin(address, header["Location"])
        except (KeyError, ValueError):
            where = None
        return _Answer("bad_redirect", "" if where else "redirected to nowhere", status, redirect=where)
    if status == 429:
        return _Answer("rate_limited", "", status, wait=retry_after(header.get("Retry-After"), limits.max_wait))
    if status in (408, 425) or status >= 500:
        return _Answer("server_error", "", status, wait=retry_after(header.get("Retry-After"), limits.max_wait))
    return _Answer("not_found" if status in (404, 410) else "denied" if status >= 400 else "bad_status", "", status)


def examine(content: bytes, limits: PictureLimits = PictureLimits()) -> tuple[str, str, dict]:
    """Judge a picture by its content: kind of outcome, detail, and ``format``, ``width``, ``height`` where known.

    Only the first frame is decoded, in full, and only after the header has shown that it is not too large. Width and
    height are those of the stored pixels, which EXIF may turn.
    """
    from PIL import Image

    form = _format(content)
    if form is None:
        return *_other_content(content), {}
    facts = {"format": form}
    try:
        with Image.open(io.BytesIO(content), formats=[form]) as picture:
            width, height = picture.size
            facts |= {"format": picture.format, "width": width, "height": height}
            if width * height > limits.max_pixels:
                return "too_many_pixels", "", facts
            if min(width, height) < limits.min_side:
                return "too_small", "", facts
            frames = gif_frames(content) if form == "GIF" else getattr(picture, "n_frames", 1)
            if frames > limits.max_frames:
                return "too_many_frames", f"{frames} frames", facts
            as_shown(picture)  # what the encoders will ask for
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return "too_many_pixels", cause(error), facts
    except Exception as error:  # PIL raises many kinds for what it can't decode
        return "damaged", cause(error), facts
    return "ok", "", facts


def _format(content: bytes) -> str | None:
    """The format of a picture by its first bytes; None where it is not one of ours."""
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    return next((form for beginning, form in _BEGINNINGS.items() if content.startswith(beginning)), None)


def _other_content(content: bytes) -> tuple[str, str]:
    """Kind of outcome and detail for content in none of our formats."""
    begin = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not content:
        return "empty", ""
    if begin.startswith(b"<svg") or begin.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in begin:
        return "svg", ""
    if begin.startswith(b"<") and b"html" in begin:
        return "web_page", ""
    return "other_type", f"begins with {content[:8].hex()}"


def gif_frames(content: bytes) -> int:
    """Number of frames of a GIF, read from its blocks (GIF89a, appendix A): PIL would decode them to count them."""
    frames = 0
    try:
        place = 13 + (3 << (content[10] & 7) + 1 if content[10] & 128 else 0)
        while content[place] in (0x21, 0x2C):
            if content[place] == 0x2C:
                frames += 1
                packed = content[place + 9]
                place += 10 + (3 << (packed & 7) + 1 if packed & 128 else 0) + 1  # colour table, then the code size
            else:
                place += 2
            while content[place]:
                place += content[place] + 1
            place += 1
    except IndexError:  # it ends early, as many do
        pass
    return frames


@contextmanager
def _ignored_warnings() -> Iterator[None]:
    """PIL warns of what ``examine`` names; set here once, as warning filters are not each thread's own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield
