"""Requests to addresses that nobody vouches for: http and https only, the public internet only, limits on everything.

Names are resolved here, once for every connection, and the address that was checked is the one connected to. Redirects
are not followed but handed back. There are no cookies, passwords, or proxies of the environment (a proxy would resolve
names by itself, and the check would check nothing). The addresses come from metadata and may name any host, so there is
no list of allowed hosts. Three attacks would pass a check that comes only after the connection has been made:

- ``http://10.0.0.1:9100/`` as the address of a picture: the connection is what the attacker wants, from inside a
  private network, to thousands of ports. So the check comes before (``_Checked._new_conn``).
- A name with a thousand addresses where nothing answers: each costs the whole time to connect, and urllib3 tries them
  all. So there are at most three (``_ADDRESSES``).
- A public server that sends one byte of its header every few seconds: no time-out between bytes ever fires, and
  http.client returns to nobody before the header ends. So another thread breaks off what is too long (``_Watch``).
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import certifi
import urllib3
from urllib3.util import Timeout, Url, parse_url
from urllib3.util.connection import create_connection

from ifcdsr_core.sources.download.resumable import USER_AGENT, cause, causes

_CHUNK = 1 << 16  # bytes
_ADDRESSES = 3  # of a host; each may take the whole time to connect, which nobody can break off


@dataclass(frozen=True)
class Reply:
    """What a request came to: ``failure`` names the kind of a failure, else there are status, header and content.

    Content is there for status 200 only. Kinds: private_address, bad_address, unresolved, unreachable, timeout, tls,
    cut_off, no_http, too_big, damaged (it can't be unpacked), unexpected.
    """

    status: int | None = None
    header: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    failure: str = ""
    detail: str = ""


class PublicWeb:
    """Connections that are kept and used again, per host, by any number of threads. ``close`` ends all requests.

    Args:
        per_host: connections to a host that are kept.
        connect_timeout, read_timeout, total_timeout: seconds to connect, without a byte, and for a request in all. The
            resolution of a name is bounded by the system's resolver only.
        allow_private: connect to any address.
    """

    def __init__(
        self, per_host: int, connect_timeout: float, read_timeout: float, total_timeout: float, allow_private: bool
    ) -> None:
        self.timeout, self.total_timeout = Timeout(connect=connect_timeout, read=read_timeout), total_timeout
        self._watch = _Watch()
        self._watch.start()
        self._connections = _connections(self._watch, per_host, allow_private)

    def close(self) -> None:
        self._watch.end()
        self._connections.clear()

    @staticmethod
    def host(address: str) -> str:
        """The host an address names. Raises ValueError as ``checked_address``."""
        return checked_address(address).host.lower().rstrip(".")

    def get(self, address: str, max_bytes: int, accept: str = "*/*") -> Reply:
        """Ask for one address; all failures are replies, too."""
        with self._watch.during(self.total_timeout) as late:
            try:
                reply = self._get(checked_address(address), max_bytes, accept, late)
            except ValueError as error:
                reply = Reply(failure="bad_address", detail=str(error)) if type(error) is ValueError else _failed(error)
            except Exception as error:  # whatever a server can provoke must not end the work on the others
                reply = _failed(error)
        if late():
            return Reply(reply.status, failure="timeout", detail=f"not whole after {self.total_timeout:g} s")
        return reply

    def _get(self, address: Url, max_bytes: int, accept: str, late: Callable[[], bool]) -> Reply:
        response = self._connections.request(
            "GET",
            address.url,
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=self.timeout,
            headers={"User-Agent": USER_AGENT, "Accept": accept, "Accept-Encoding": "identity"},
        )
        try:
            status, length = response.status, response.length_remaining
            if status != 200:
                if length is not None and length <= _CHUNK:
                    response.read(_CHUNK, decode_content=False)  # so that the connection can be used again
                return Reply(status, response.headers)
            if (length or 0) > max_bytes:
                return Reply(status, failure="too_big", detail=f"{length} bytes announced")
            parts, size = [], 0
            for part in response.stream(_CHUNK, decode_content=True):  # a compression nobody asked for counts unpacked
                size += len(part)
                if size > max_bytes:
                    return Reply(status, failure="too_big", detail=f"more than {max_bytes} bytes")
                parts.append(part)
                if late():
                    break
            return Reply(status, response.headers, b"".join(parts))
        finally:
            if not response.closed:  # an answer that was not read to its end takes its connection with it
                response.close()
            response.release_conn()


def _failed(error: Exception) -> Reply:
    """The kind of an exception: the first in the list below that it or one of its causes belongs to."""
    chain = causes(error)
    errors = urllib3.exceptions
    named = (
        ("private_address", PrivateAddress),
        ("bad_address", (UnicodeError, errors.LocationValueError)),
        ("unresolved", (socket.gaierror, errors.NameResolutionError)),
        ("tls", ssl.SSLCertVerificationError),
        ("unreachable", errors.NewConnectionError),  # which urllib3 counts among the time-outs
        ("timeout", (errors.TimeoutError, TimeoutError)),
        ("cut_off", (http.client.IncompleteRead, ssl.SSLEOFError)),
        ("tls", (ssl.SSLError, errors.SSLError)),
        ("unreachable", ConnectionError),  # also http.client's for a server that hangs up without an answer
        ("damaged", errors.DecodeError),
        ("no_http", (http.client.HTTPException, errors.InvalidHeader, errors.ProtocolError)),
        ("unreachable", OSError),
    )
    for kind, types in named:
        if any(isinstance(found, types) for found in chain):
            return Reply(failure=kind, detail=cause(error))
    return Reply(failure="unexpected", detail=f"{type(error).__name__}: {cause(error)}")


class PrivateAddress(urllib3.exceptions.HTTPError):
    """The host has no address of the public internet."""


def checked_address(address: str) -> Url:
    """An http or https address in its parts, as urllib3 will understand it.

    Raises:
        ValueError: another scheme, no host, a user name or password, or no address at all.
    """
    try:
        if len(address) > 2048 or any(ord(sign) < 32 or sign in "\x7f\\" for sign in address):
            raise ValueError("longer than 2048 signs, or with backslashes or control characters")
        parts = parse_url(address)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError("no http or https address")
        if parts.auth is not None:
            raise ValueError("with a user name or password")
        parts.host.encode("idna")
        if parts.port == 0:
            raise ValueError("port 0")
    except (urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise ValueError(cause(error)) from None
    return parts


def is_public(address: str) -> bool:
    """Whether a numeric address is one of the public internet, and stands for no other address that is not.

    Not so: private, loopback, link-local, shared, reserved and multicast ones (RFC 6890), and of IPv6 all but global
    unicast without the tunnels 6to4 and Teredo. IPv4 within IPv6 (mapped, RFC 4291; NAT64, RFC 6052) is judged itself.
    """
    number = ipaddress.ip_address(address.partition("%")[0])
    if number.version == 6:
        if number in ipaddress.ip_network("64:ff9b::/96"):
            number = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        elif number.ipv4_mapped:
            number = number.ipv4_mapped
        elif number not in ipaddress.ip_network("2000::/3") or number.sixtofour or number.teredo:
            return False
    return number.is_global and not (number.is_multicast or number.is_reserved or number.is_private)


class _Checked:
    """What our connections do beyond urllib3's: connect to public addresses only, and be known to the watch."""

    watch: _Watch
    allow_private: bool
    handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        """Resolve once, check, and connect to what was checked: no second resolution can give another answer."""
        watched, error = self.watch, None
        found = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        allowed = [place[4] for place in found if self.allow_private or is_public(place[4][0])]
        if not allowed:
            raise PrivateAddress(f"{self._dns_host} is {found[0][4][0]}, which is not of the public internet")
        for place in allowed[:_ADDRESSES]:
            try:
                connected = create_connection(
                    (place[0], place[1]), self.timeout, self.source_address, self.socket_options
                )
            except TimeoutError:
                error = urllib3.exceptions.ConnectTimeoutError(self, f"no connection in {self.timeout} s")
            except OSError as problem:
                error = urllib3.exceptions.NewConnectionError(self, str(problem))
            else:
                self.handle = connected.dup()  # TLS takes the socket over, but not this second hold of it
                watched.attach(self.handle)
                return connected
        raise error

    def request(self, *args, **kwargs) -> None:
        if self.handle is not None:  # a connection that is used again, perhaps by another thread than before
            self.watch.attach(self.handle)
        super().request(*args, **kwargs)

    def close(self) -> None:
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.close()
        super().close()


def _connections(watch: _Watch, per_host: int, allow_private: bool) -> urllib3.PoolManager:
    """urllib3's own, which knows neither cookies nor proxies nor .netrc, with our connections."""

    def pool(kind: type, connection: type) -> type:
        checked = type("Checked", (_Checked, connection), {"watch": watch, "allow_private": allow_private})
        return type("Pool", (kind,), {"ConnectionCls": checked})

    manager = urllib3.PoolManager(
        64,
        maxsize=per_host,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where(),
    )
    manager.pool_classes_by_scheme = {
        "http": pool(urllib3.HTTPConnectionPool, urllib3.connection.HTTPConnection),
        "https": pool(urllib3.HTTPSConnectionPool, urllib3.connection.HTTPSConnection),
    }
    return manager


class _Watch(threading.Thread):
    """Breaks off requests that take too long in all: a time-out between two bytes does not stop one that trickles."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._under_way: dict[int, list] = {}  # thread -> [latest end in monotonic seconds, own hold of the socket]

    @contextmanager
    def during(self, seconds: float) -> Iterator[Callable[[], bool]]:
        """Watch this thread's requests; gives a function that says whether the time is over."""
        end = time.monotonic() + seconds
        with self._lock:
            self._under_way[threading.get_ident()] = [end, None]
        try:
            yield lambda: time.monotonic() > end
        finally:
            with self._lock:
                _, handle = self._under_way.pop(threading.get_ident())
            if handle is not None:
                handle.close()

    def attach(self, handle: socket.socket) -> None:
        with self._lock:
            if self._over.is_set():
                raise ConnectionAbortedError("ended")
            entry = self._under_way[threading.get_ident()]
            # http.client closes the connection's before the content is read where the server is going to close, too
            entry[1], before = handle.dup(), entry[1]
        if before is not None:
            before.close()

    def run(self) -> None:
        while not self._over.wait(0.1):
            self._break_off(time.monotonic())

    def end(self) -> None:
        self._over.set()
        self.join()
        self._break_off(float("inf"))

    def _break_off(self, now: float) -> None:
        with self._lock:
            for end, handle in self._under_way.values():
                if end < now and handle is not None:
                    try:
                        handle.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass  # closed meanwhile
