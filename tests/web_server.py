"""A web server on loopback that misbehaves on demand and writes down what it was asked, and when, by its own clock."""

from __future__ import annotations

import gzip
import http.server
import multiprocessing
import re
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Resource:
    """What lies at a path.

    Attributes:
        content: the bytes there.
        behave: what to do with the nth request (from 1) for it: see ``WebServer``.
        headers: header fields of a good answer, such as ``ETag``; Content-Length is added.
        asked: requests so far.
    """

    content: bytes
    behave: object = lambda nth: "ok"
    headers: dict = field(default_factory=lambda: {"Content-Type": "application/octet-stream"})
    asked: int = 0


class Reply:
    """An answer with a resource, before it is sent.

    Attributes:
        length: what Content-Length will say; None: no such field.
    """

    def __init__(self, status: int, headers: dict, content: bytes) -> None:
        self.status, self.headers = status, headers
        self.replace(content)

    def replace(self, content: bytes) -> None:
        self.content, self.length = content, str(len(content))

    def begin_at(self, begin: int) -> None:
        self.headers["Content-Range"] = f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"
        self.status = 206
        self.replace(self.content[begin:])


class WebServer:
    """Use in a ``with``; ``put(path, content, behave, **headers)`` publishes.

    Behaviours: ``ok`` (Range and If-Range understood), ``whole`` (ignores Range), ``splice`` (knows Range, not
    If-Range), ``elsewhere`` (206 that begins elsewhere), ``cut:<bytes>`` (closes after those of the announced ones),
    ``reset:<bytes>`` (as cut, with a reset), ``short:<bytes>`` (announces and sends those only), ``more:<bytes>``
    (as many zeros too much, without a length), ``no_length``, ``bad_length``, ``chunked``, ``bad_chunks``, ``gzip``
    (compressed and said so), ``trickle:<bytes per second>``, ``slow_head`` (header lines for ever), ``sleep:<seconds>``
    (before the answer), ``garbage`` (no HTTP), ``cut_all`` (no answer), ``status:<code>``,
    ``status:<code>:<Retry-After>``, ``as:<code>`` (the resource with that status),
    ``redirect:<address>``, ``page`` (an HTML page with status 200), ``endless``.

    Attributes:
        log: one dict per request: ``path``, ``headers``, ``host`` (as asked for), ``at`` (seconds by the server's
            clock), ``sent`` (bytes of content), ``port`` (the client's), ``active`` (requests in progress).
    """

    def __init__(self, host: str = "127.0.0.1", certificate: Path | None = None) -> None:
        self.certificate = certificate  # a PEM file with its key: then it speaks https
        self.host, self.resources, self.log, self.delay = host, {}, [], 0.0
        self._active, self._lock = 0, threading.Lock()

    def __enter__(self) -> WebServer:
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else head and body, sent apart, wait 40 ms for each other

            def do_GET(self):
                web._answer(self)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, block_on_close, request_queue_size = True, False, 128

            def handle_error(self, request, client_address):
                pass  # a client was killed

        self._server = Server((self.host, 0), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str, host: str = "") -> str:
        return f"http{'s' if self.certificate else ''}://{host or self.host}:{self._server.server_port}{path}"

    def put(self, path: str, content: bytes = b"", behave=None, **headers: str) -> str:
        """Publish ``content``; ``behave`` is a behaviour or a function of the request's number. Returns the address."""
        known = {"Content-Type": "application/octet-stream"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        function = behave if callable(behave) else (lambda nth: behave or "ok")
        self.resources[path] = Resource(content, function, known)
        return self.url(path)

    def requests(self, path: str) -> list[dict]:
        return [entry for entry in self.log if entry["path"] == path]

    def _answer(self, handler) -> None:
        with self._lock:
            self._active += 1
            entry = {
                "path": handler.path,
                "headers": dict(handler.headers),
                "host": handler.headers["Host"],
                "at": time.monotonic(),
                "sent": 0,
                "port": handler.client_address[1],
                "active": self._active,
            }
            self.log.append(entry)
            resource = self.resources.get(handler.path)
            if resource:
                resource.asked += 1
                nth = resource.asked
        try:
            time.sleep(self.delay)
            if resource is None:
                _send(handler, entry, 404, {}, b"not here")
            else:
                _behave(handler, entry, resource, *resource.behave(nth).split(":", 1))
        except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
            handler.close_connection = True
        finally:
            with self._lock:
                self._active -= 1


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost alone, signed by itself: with its key for the server, and without."""
    pem, public = folder / "server.pem", folder / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", pem, "-out", public], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + public.read_bytes())
    return pem, public


def run_and_kill(web: WebServer, moments: list[float], function, *args, **options) -> int:
    """Run ``function`` in a process, again and again: killed (-9) after its first request, by as many seconds as
    each of ``moments`` says, and at last run to its end. Returns how often it was killed before its end."""
    context = multiprocessing.get_context("forkserver")  # a process of its own in milliseconds, nothing shared with it
    context.set_forkserver_preload(
        ["ifcdsr_core.sources.download.pictures", "ifcdsr_core.sources.download.public_web", "PIL.Image", "requests"]
    )  # for all tests
    killed = 0
    for moment in [*moments, None]:
        process, seen = context.Process(target=function, args=args, kwargs=options), len(web.log)
        process.start()
        while moment is not None and len(web.log) == seen and process.is_alive():
            time.sleep(0.001)
        process.join(60 if moment is None else moment)
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
        assert process.exitcode in (0, -9), process.exitcode
    assert process.exitcode == 0
    return killed


def _behave(handler, entry: dict, resource: Resource, what: str, value: str = "") -> None:
    if what in _INSTEAD:
        return _INSTEAD[what](handler, entry, resource, value)
    if what == "sleep":
        time.sleep(float(value))
    begin = None if what == "whole" else _asked_from(handler, resource, heeds_if_range=what != "splice")
    if begin is not None and begin >= len(resource.content):
        return _send(handler, entry, 416, {"Content-Range": f"bytes */{len(resource.content)}"}, b"")
    reply = Reply(int(value) if what == "as" else 200, dict(resource.headers), resource.content)
    if begin is not None:
        reply.begin_at(begin - (what == "elsewhere"))
    if what in _CHANGED:
        _CHANGED[what](reply, value)
    length = {} if reply.length is None else {"Content-Length": reply.length}
    _send_head(handler, reply.status, reply.headers | length)
    _SENT.get(what, _write_all)(handler, entry, reply.content, value)
    if reply.length is None and what != "chunked":
        _close(handler)


def _asked_from(handler, resource: Resource, heeds_if_range: bool) -> int | None:
    """The first byte asked for; None: the whole is to be sent."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    same = handler.headers.get("If-Range")
    facts = (None, resource.headers.get("ETag"), resource.headers.get("Last-Modified"))
    return int(asked[1]) if asked and (same in facts or not heeds_if_range) else None


# -- answers without the resource --------------------------------------------------------------------------------------


def _answer_status(handler, entry: dict, resource: Resource, value: str) -> None:
    code, _, wait = value.partition(":")
    _send(handler, entry, int(code), {"Retry-After": wait} if wait else {}, b"an error")


def _answer_redirect(handler, entry: dict, resource: Resource, value: str) -> None:
    _send(handler, entry, 302, {"Location": value} if value else {}, b"")


def _answer_page(handler, entry: dict, resource: Resource, value: str) -> None:
    _send(handler, entry, 200, dict(resource.headers), b"<!DOCTYPE html><html><title>Sorry</title></html>")


def _answer_garbage(handler, entry: dict, resource: Resource, value: str) -> None:
    handler.wfile.write(b"\x00\x01\x02 this is no HTTP\r\n\r\n")
    _close(handler)


def _answer_nothing(handler, entry: dict, resource: Resource, value: str) -> None:
    _close(handler)


def _answer_slow_head(handler, entry: dict, resource: Resource, value: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-Wait: 1\r\n")
        time.sleep(0.2)


_INSTEAD = {
    "status": _answer_status,
    "redirect": _answer_redirect,
    "page": _answer_page,
    "garbage": _answer_garbage,
    "cut_all": _answer_nothing,
    "slow_head": _answer_slow_head,
}

# -- what is changed before anything is sent ---------------------------------------------------------------------------


def _compress(reply: Reply, value: str) -> None:
    reply.headers["Content-Encoding"] = "gzip"
    reply.replace(gzip.compress(reply.content))


def _shorten(reply: Reply, value: str) -> None:
    reply.replace(reply.content[: int(value)])


def _without_length(reply: Reply, value: str) -> None:
    reply.headers["Connection"], reply.length = "close", None


def _lengthen(reply: Reply, value: str) -> None:
    reply.replace(reply.content + bytes(int(value)))
    _without_length(reply, value)


def _bad_length(reply: Reply, value: str) -> None:
    reply.length = "-5"


def _in_chunks(reply: Reply, value: str) -> None:
    reply.headers["Transfer-Encoding"], reply.length = "chunked", None


_CHANGED = {
    "gzip": _compress,
    "short": _shorten,
    "no_length": _without_length,
    "endless": _without_length,
    "more": _lengthen,
    "bad_length": _bad_length,
    "chunked": _in_chunks,
    "bad_chunks": _in_chunks,
}

# -- how the content is sent -------------------------------------------------------------------------------------------


def _write_all(handler, entry: dict, content: bytes, value: str) -> None:
    _write(handler, entry, content)


def _cut(handler, entry: dict, content: bytes, value: str) -> None:
    _write(handler, entry, content[: int(value)])
    _close(handler)


def _reset(handler, entry: dict, content: bytes, value: str) -> None:
    _write(handler, entry, content[: int(value)])
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    _close(handler)


def _trickle(handler, entry: dict, content: bytes, value: str) -> None:
    step = max(1, int(value) // 20)
    for start in range(0, len(content), step):
        _write(handler, entry, content[start : start + step])
        time.sleep(0.05)


def _repeat(handler, entry: dict, content: bytes, value: str) -> None:
    while True:
        _write(handler, entry, content or bytes(1 << 16))


def _chunks(handler, entry: dict, content: bytes, value: str, announce=lambda size: f"{size:x}") -> None:
    for start in range(0, len(content), 1000):
        piece = content[start : start + 1000]
        handler.wfile.write(f"{announce(len(piece))}\r\n".encode())
        _write(handler, entry, piece)
        handler.wfile.write(b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def _bad_chunks(handler, entry: dict, content: bytes, value: str) -> None:
    _chunks(handler, entry, content, value, announce=lambda size: "zz")


_SENT = {
    "cut": _cut,
    "reset": _reset,
    "trickle": _trickle,
    "endless": _repeat,
    "chunked": _chunks,
    "bad_chunks": _bad_chunks,
}

# -- the wire ----------------------------------------------------------------------------------------------------------


def _send(handler, entry: dict, status: int, headers: dict, content: bytes) -> None:
    _send_head(handler, status, headers | {"Content-Length": str(len(content))})
    _write(handler, entry, content)


def _send_head(handler, status: int, headers: dict) -> None:
    handler.send_response(status)
    for name, text in headers.items():
        handler.send_header(name, text)
    handler.end_headers()


def _write(handler, entry: dict, content: bytes) -> None:
    for start in range(0, len(content), 1 << 14):  # in pieces, so that ``sent`` grows with what the client took
        handler.wfile.write(content[start : start + (1 << 14)])
        entry["sent"] += len(content[start : start + (1 << 14)])


def _close(handler) -> None:
    handler.close_connection = True
    handler.wfile.flush()
