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


class WebServer:
    """Use in a ``with``; ``put(path, content, behave, **headers)`` publishes.

    Behaviours: ``ok`` (Range and If-Range understood), ``whole`` (ignores Range), ``splice`` (knows Range, not
    If-Range), ``elsewhere`` (206 that begins elsewhere), ``cut:<bytes>`` (closes after so many of the announced bytes),
    ``reset:<bytes>`` (as cut, with a reset), ``short:<bytes>`` (announces and sends only so many), ``more:<bytes>``
    (as many zeros too much, without a length), ``no_length``, ``bad_length``, ``chunked``, ``bad_chunks``, ``gzip``
    (compressed and said so), ``trickle:<bytes per second>``, ``slow_head`` (header lines for ever), ``sleep:<seconds>``
    (before the answer), ``garbage`` (no HTTP), ``cut_all`` (no answer), ``status:<code>``,
    ``status:<code>:<Retry-After>``, ``as:<code>`` (the resource with that status),
    ``redirect:<address>``, ``page`` (an HTML page with status 200), ``endless``.

    Attributes:
        log: one dict a request: ``path``, ``headers``, ``host`` (as asked for), ``at`` (seconds by the server's clock),
            ``sent`` (bytes of content), ``port`` (the client's), ``active`` (requests then in progress, it included).
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
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            str(pem),
            "-out",
            str(public),
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ],
        check=True,
        capture_output=True,
    )
    pem.write_bytes(pem.read_bytes() + public.read_bytes())
    return pem, public


def run_and_kill(web: WebServer, moments: list[float], function, *args, **options) -> int:
    """Run ``function`` in a process, again and again: killed (-9) so many seconds after its first request for each of
    ``moments``, at last to its end. Returns how often it was killed before its end."""
    context = multiprocessing.get_context("forkserver")  # a process of its own in milliseconds, nothing shared with it
    context.set_forkserver_preload(
        ["ifcdsr_core.sources.image_download", "ifcdsr_core.sources.public_web", "PIL.Image", "requests"]
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
    content, headers, status = resource.content, dict(resource.headers), 200
    if what == "sleep":
        time.sleep(float(value))
    if what == "status":
        code, _, wait = value.partition(":")
        return _send(handler, entry, int(code), {"Retry-After": wait} if wait else {}, b"an error")
    if what == "as":
        status = int(value)
    if what == "redirect":
        return _send(handler, entry, 302, {"Location": value} if value else {}, b"")
    if what == "page":
        return _send(handler, entry, 200, headers, b"<!DOCTYPE html><html><title>Sorry</title></html>")
    if what == "garbage":
        handler.wfile.write(b"\x00\x01\x02 this is no HTTP\r\n\r\n")
        return _close(handler)
    if what == "cut_all":
        return _close(handler)
    if what == "slow_head":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            handler.wfile.write(b"X-Wait: 1\r\n")
            time.sleep(0.2)
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if asked and what != "whole":
        begin, same = int(asked[1]), handler.headers.get("If-Range")
        if what == "splice" or same in (None, headers.get("ETag"), headers.get("Last-Modified")):
            if begin >= len(content):
                return _send(handler, entry, 416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            begin -= what == "elsewhere"
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            content, status = content[begin:], 206
    if what == "gzip":
        content, headers["Content-Encoding"] = gzip.compress(content), "gzip"
    length = str(len(content))
    if what == "short":
        content = content[: int(value)]
        length = str(len(content))
    if what in ("no_length", "more", "endless"):
        headers["Connection"] = "close"
        length = None
    if what in ("chunked", "bad_chunks"):
        headers["Transfer-Encoding"], length = "chunked", None
    if what == "bad_length":
        length = "-5"
    handler.send_response(status)
    for name, text in (headers | ({"Content-Length": length} if length else {})).items():
        handler.send_header(name, text)
    handler.end_headers()
    if what == "more":
        content += bytes(int(value))
    if what in ("cut", "reset"):
        _write(handler, entry, content[: int(value)])
        if what == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        return _close(handler)
    if what == "trickle":
        for start in range(0, len(content), max(1, int(value) // 20)):
            _write(handler, entry, content[start : start + max(1, int(value) // 20)])
            time.sleep(0.05)
    elif what == "endless":
        while True:
            _write(handler, entry, content or bytes(1 << 16))
    elif what in ("chunked", "bad_chunks"):
        for start in range(0, len(content), 1000):
            piece = content[start : start + 1000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() if what == "chunked" else b"zz\r\n")
            _write(handler, entry, piece)
            handler.wfile.write(b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")
    else:
        _write(handler, entry, content)
    if length is None and what != "chunked":
        _close(handler)


def _send(handler, entry: dict, status: int, headers: dict, content: bytes) -> None:
    handler.send_response(status)
    for name, text in (headers | {"Content-Length": str(len(content))}).items():
        handler.send_header(name, text)
    handler.end_headers()
    _write(handler, entry, content)


def _write(handler, entry: dict, content: bytes) -> None:
    for start in range(0, len(content), 1 << 14):  # in pieces, so that ``sent`` grows with what the client took
        handler.wfile.write(content[start : start + (1 << 14)])
        entry["sent"] += len(content[start : start + (1 << 14)])


def _close(handler) -> None:
    handler.close_connection = True
    handler.wfile.flush()
