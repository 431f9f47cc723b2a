"""Pictures from a real server that misbehaves: every item ends with a file or a named reason, whatever happens."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import pandas as pd
import pytest
from PIL import Image
from web_server import WebServer, make_certificate, run_and_kill
from worlds import tiny

from ifcdsr_core.__main__ import main
from ifcdsr_core.errors import InputError
from ifcdsr_core.features.images import open_picture
from ifcdsr_core.files import locked
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources import complete_options
from ifcdsr_core.sources.demo import world
from ifcdsr_core.sources.download import pictures, public_web
from ifcdsr_core.sources.download.pictures import (
    KINDS,
    PERMANENT,
    TEMPORARY,
    PictureLimits,
    download_images,
    examine,
    gif_frames,
    read_manifest,
    summary,
    with_images,
)
from ifcdsr_core.sources.download.public_web import checked_address, is_public

QUICK = {"rate": 10_000.0, "wait": 0.01, "attempts": 2, "read_timeout": 10.0, "total_timeout": 20.0}
HASTY = {"connect_timeout": 1.0, "read_timeout": 1.0, "total_timeout": 2.0}


@pytest.fixture
def web():
    with WebServer() as server:
        yield server


def picture(form: str = "JPEG", size: tuple[int, int] = (80, 60), seed: int = 1, **options) -> bytes:
    file = io.BytesIO()
    noise = Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))
    noise.save(file, form, **options)
    return file.getvalue()


def plain(mode: str, form: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (80, 60)).save(file, form)
    return file.getvalue()


def png(width: int, height: int, *, before: bytes = b"", rows: bytes = b"", bits: int = 8) -> bytes:
    """A PNG whose header says what it likes; black where ``rows`` are not given and it is not too large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", rows or zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def bomb() -> bytes:
    """30,000 x 30,000 pixels, which would take PIL 900 MB, in a tenth of a megabyte."""
    packer, row = zlib.compressobj(9), bytes(1 + 30_000 // 8)
    return png(30_000, 30_000, rows=b"".join(packer.compress(row) for _ in range(30_000)) + packer.flush(), bits=1)


def gif(frames: int) -> bytes:
    """An animation, its frames of 40 x 40 written by hand: PIL would join equal ones."""
    still = io.BytesIO()
    Image.new("P", (40, 40)).save(still, "GIF")
    content = still.getvalue()
    start = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1) if content[10] & 128 else 13)
    return content[:start] + content[start:-1] * frames + b";"


def items_of(addresses: list) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "source_id": [f"B{number:04d}" for number in range(1, len(addresses) + 1)],
            "image_urls": pd.Series(addresses, dtype=object),
        }
    )


def get(addresses: list, folder, allow_private: bool = True, limits: dict | None = None, **options):
    """Download; the manifest, numbered from 1."""
    limits = PictureLimits(**QUICK | (limits or {}))
    download_images(items_of(addresses), folder, limits, allow_private=allow_private, **options)
    manifest = read_manifest(folder)
    return manifest.set_index(manifest["source_id"].str[1:].astype(int))


def asking_web(total_timeout: float = 60.0) -> public_web.PublicWeb:
    """Requests to any address, loopback as well."""
    return public_web.PublicWeb(8, 10.0, 20.0, total_timeout, allow_private=True)


def outcome(folder) -> tuple[dict, list]:
    """Everything in the folder, the manifest up to order and time."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.stem != "manifest"}
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return files, sorted(json.dumps(line | {"time": ""}) for line in lines)


# -- what is accepted, and what is refused -----------------------------------------------------------------------------

GOOD = {
    "jpeg": (picture("JPEG"), "JPEG"),
    "progressive": (picture("JPEG", progressive=True), "JPEG"),
    "cmyk": (plain("CMYK", "JPEG"), "JPEG"),
    "png": (picture("PNG"), "PNG"),
    "grey16": (plain("I;16", "PNG"), "PNG"),
    "webp": (picture("WEBP"), "WEBP"),
    "gif": (picture("GIF"), "GIF"),
    "animation": (gif(12), "GIF"),
}
JPEG, PNG = GOOD["jpeg"][0], GOOD["png"][0]


def bad_pictures() -> dict[str, tuple[str, bytes, str]]:
    """name -> kind of outcome, content, behaviour of the server."""
    tiff, icon, bitmap = picture("TIFF"), picture("ICO", (32, 32)), picture("BMP")
    text_bomb = zlib.compress(bytes(80_000_000), 9)
    text = b"zTXt" + b"Comment\0\0" + text_bomb
    text_chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return {
        "empty": ("empty", b"", "ok"),
        "web page": ("web_page", b"", "page"),
        "web page with a BOM": ("web_page", b"\xef\xbb\xbf\n<html><body>no</body></html>", "ok"),
        "drawing": ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "ok"),
        "drawing in XML": ("svg", b'<?xml version="1.0"?>\n<!-- x --><svg width="9"></svg>', "ok"),
        "tiff": ("other_type", tiff, "ok"),
        "icon": ("other_type", icon, "ok"),
        "bitmap": ("other_type", bitmap, "ok"),
        "pdf": ("other_type", b"%PDF-1.7\n%...", "ok"),
        "postscript": ("other_type", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n", "ok"),
        "json": ("other_type", b'{"error": "no such picture"}', "ok"),
        "one pixel": ("too_small", picture("GIF", (1, 1)), "ok"),
        "a line": ("too_small", picture("PNG", (400, 3)), "ok"),
        "bomb": ("too_many_pixels", bomb(), "ok"),
        "bomb below PIL's own limit": ("too_many_pixels", png(10_000, 9_000), "ok"),
        "bomb by animation": ("too_many_frames", gif(1_500), "ok"),
        "bomb in a text chunk": ("damaged", png(64, 64, before=text_chunk), "ok"),
        "jpeg cut": ("damaged", JPEG[: len(JPEG) // 2], "ok"),
        "png cut": ("damaged", PNG[: len(PNG) // 2], "ok"),
        "png with a wrong checksum": ("damaged", PNG[:60] + b"\0\0\0\0" + PNG[64:], "ok"),
        "jpeg of noise": ("damaged", b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(5000), "ok"),
        "a header only": ("damaged", JPEG[:4], "ok"),
        "webp of noise": ("damaged", b"RIFF\x99\0\0\0WEBPVP8 " + random.Random(2).randbytes(200), "ok"),
        "EXIF and nothing else": (
            "damaged",
            b"\xff\xd8\xff\xe1\0\x20Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(16),
            "ok",
        ),
        "too big": ("too_big", bytes(3_000_000), "ok"),
        "too big without a length": ("too_big", JPEG, "endless"),
        "too big once unpacked": ("too_big", bytes(5_000_000), "gzip"),
        "cut off": ("cut_off", PNG, "cut:500"),
        "reset": ("cut_off", PNG, "reset:0"),
        "no answer": ("unreachable", PNG, "cut_all"),
        "no HTTP": ("no_http", PNG, "garbage"),
        "bad chunks": ("cut_off", PNG, "bad_chunks"),
        "silence": ("timeout", PNG, "sleep:1.5"),
        "trickle": ("timeout", PNG, "trickle:2000"),
        "trickling header": ("timeout", PNG, "slow_head"),
        "gone": ("not_found", PNG, "status:410"),
        "not found": ("not_found", PNG, "status:404"),
        "forbidden": ("denied", PNG, "status:403"),
        "failing": ("server_error", PNG, "status:500"),
        "busy": ("rate_limited", PNG, "status:429"),
        "no content": ("bad_status", PNG, "status:204"),
        "part": ("bad_status", PNG, "status:206"),
        "redirect to nowhere": ("bad_redirect", PNG, "redirect:"),
        "redirect to a file": ("bad_redirect", PNG, "redirect:file:///etc/hostname"),
        "redirect with a password": ("bad_redirect", PNG, "redirect:http://me:secret@127.0.0.1/"),
        "redirect that is none": ("bad_redirect", PNG, "redirect:http://[::1"),
    }


@pytest.mark.slow
def test_every_bad_picture_is_counted_and_named(web, tmp_path):
    bad = bad_pictures()
    expected = {name: kind for name, (kind, _, _) in bad.items()}
    addresses = {
        name: [web.put(f"/{number}", content, behave)]
        for number, (name, (_, content, behave)) in enumerate(bad.items())
    }
    addresses["circle"] = [web.put("/circle", b"", "redirect:/circle")]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        for name, kind, given in [
            ("circle", "bad_redirect", addresses["circle"]),
            ("refused", "unreachable", [f"http://127.0.0.1:{unused.getsockname()[1]}/"]),
            ("not known", "unresolved", ["http://no-such-host.invalid/"]),
            ("no TLS", "tls", [web.url("/0").replace("http:", "https:")]),
            ("none", "no_address", None),
            ("an empty list", "no_address", []),
            ("blank", "no_address", [" "]),
            ("file", "bad_address", ["file:///etc/hostname"]),
            ("ftp", "bad_address", ["ftp://127.0.0.1/x.jpg"]),
            ("data", "bad_address", ["data:image/png;base64,AAAA"]),
            ("no scheme", "bad_address", ["//host/x.jpg"]),
            ("password", "bad_address", ["http://me:secret@127.0.0.1/x.jpg"]),
            ("control sign", "bad_address", ["http://127.0.0.1/\r\nX: 1"]),
            ("long", "bad_address", ["http://127.0.0.1/" + 3000 * "x"]),
            ("odd name", "bad_address", ["http://" + 80 * "x" + ".com/"]),
        ]:
            expected[name], addresses[name] = kind, given
        limits = HASTY | {"max_bytes": 2_000_000, "max_pixels": 30_000_000}
        for name, (content, _) in GOOD.items():
            expected[name], addresses[name] = "ok", [web.put(f"/good/{name}", content)]
        found = get(list(addresses.values()), tmp_path / "a", limits=limits)
    assert dict(zip(expected, found["kind"], strict=True)) == expected, found["detail"].tolist()
    assert len(found) == len(expected) >= 20 + len(GOOD) and found["source_id"].is_unique
    table = summary(tmp_path / "a")
    assert table["items"].sum() == len(expected) and table["share"].sum() == pytest.approx(1)
    assert table.set_index("outcome")["items"].to_dict() == pd.Series(expected).value_counts().to_dict()
    assert table["meaning"].notna().all()
    assert set(found["kind"]) | {"host_down", "private_address", "unexpected"} == set(KINDS)  # every kind has been seen
    for place, (content, form) in enumerate(GOOD.values(), start=len(expected) - len(GOOD) + 1):
        line = found.loc[place]
        stored = (tmp_path / "a" / line["file"]).read_bytes()
        assert stored == content and line["format"] == form and line["file"].startswith(f"B{place:04d}.")
        assert (line["bytes"], line["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert open_picture(tmp_path / "a" / line["file"]).size == (line["width"], line["height"])
    assert len(list((tmp_path / "a").iterdir())) == len(GOOD) + 1  # and the manifest


def test_type_is_that_of_the_content(web, tmp_path):
    """A header may call a JPEG a web page, and an address may lead anywhere in the file system."""
    url = web.put("/..%2F..%2Fevil.sh%00.html", JPEG, Content_Type="text/html; charset=utf-8")
    assert get([[url]], tmp_path)["file"].tolist() == ["B0001.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B0001.jpg", "manifest.jsonl"]


@pytest.mark.parametrize(
    "limit, name, kind",
    [
        ({"max_bytes": len(JPEG) - 1}, "jpeg", "too_big"),
        ({"max_bytes": len(JPEG)}, "jpeg", "ok"),
        ({"max_pixels": 80 * 60 - 1}, "jpeg", "too_many_pixels"),
        ({"max_pixels": 80 * 60}, "jpeg", "ok"),
        ({"min_side": 61}, "jpeg", "too_small"),
        ({"min_side": 60}, "jpeg", "ok"),
        ({"max_frames": 11}, "animation", "too_many_frames"),
        ({"max_frames": 12}, "animation", "ok"),
    ],
)
def test_limits_are_exact(web, tmp_path, limit, name, kind):
    assert get([[web.put("/a", GOOD[name][0])]], tmp_path, limits=limit)["kind"].tolist() == [kind]


def test_frames_of_a_gif():
    assert [gif_frames(gif(number)) for number in (1, 2, 40)] == [1, 2, 40]
    assert [Image.open(io.BytesIO(gif(number))).n_frames for number in (1, 2, 40)] == [1, 2, 40]
    content = gif(3)
    for end in range(len(content)):  # cut anywhere: no endless loop, no exception
        assert 0 <= gif_frames(content[:end]) <= 3


def test_every_cut_of_a_picture_is_named():
    for form in ("JPEG", "PNG", "WEBP", "GIF"):
        content = picture(form, (40, 30))
        kinds = {examine(content[:end])[0] for end in range(0, len(content) - 20, 37)}
        assert kinds <= {"empty", "damaged", "other_type"}, (form, kinds)


@pytest.mark.slow
def test_a_bomb_costs_no_memory(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb())
    code = f"""
import resource, threading
import PIL.Image, PIL.PngImagePlugin
from pathlib import Path
from ifcdsr_core.sources.download.pictures import PictureLimits, examine
content = Path({str(tmp_path / "bomb.png")!r}).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(examine(content)[0], examine(content, PictureLimits(max_pixels=10**12))[0])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    kinds, more = done.stdout.splitlines()
    assert kinds == "too_many_pixels too_many_pixels" and int(more) < 20_000, done.stderr  # kilobytes


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, public",
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:1::", False),
        ("2001:db8::1", False),
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "LOCALHOST.",
        "127.0.0.1.",
        "1２7.0.0.1",
    ],
)
def test_private_addresses_in_all_disguises(web, tmp_path, host):
    url = web.put("/a", JPEG).replace("127.0.0.1", host)
    line = get([[url]], tmp_path, allow_private=False).loc[1]
    assert line["kind"] in ("private_address", "unresolved", "bad_address") and not web.log
    if host in ("127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0", "[::ffff:127.0.0.1]"):
        assert line["kind"] == "private_address"


def resolve(monkeypatch, names: dict[str, list]):
    """Give names addresses; a list of lists is answered one after the other."""
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host, port, *args, **kwargs):
        if host not in names:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        several = names[host][min(asked.count(host), len(names[host])) - 1]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in several
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_that_resolves_to_a_private_address(web, tmp_path, monkeypatch):
    resolve(monkeypatch, {"pictures.example": [["127.0.0.1"]], "six.example": [["::ffff:127.0.0.1"]]})
    web.put("/a", JPEG)
    found = get([[web.url("/a", name)] for name in ("pictures.example", "six.example")], tmp_path, allow_private=False)
    assert found["kind"].tolist() == ["private_address"] * 2 and not web.log


def test_a_redirect_to_a_private_address(tmp_path, monkeypatch):
    """The first host counts as public, the second does not."""
    monkeypatch.setattr(public_web, "is_public", lambda address: address == "127.0.0.2")
    with WebServer("127.0.0.2") as public, WebServer("127.0.0.1") as private:
        inside = private.put("/a", JPEG)
        found = get(
            [
                [public.put("/ok", JPEG)],
                [public.put("/in", b"", f"redirect:{inside}")],
                [public.put("/twice", b"", "redirect:/in")],
            ],
            tmp_path,
            allow_private=False,
        )
        assert found["kind"].tolist() == ["ok", "private_address", "private_address"] and not private.log


def test_what_was_checked_is_what_is_connected_to(tmp_path, monkeypatch):
    """A name that is public when looked at and private when connected to: there is only one look."""
    monkeypatch.setattr(public_web, "is_public", lambda address: address == "127.0.0.2")
    with WebServer("127.0.0.2") as public, socket.create_server(("127.0.0.1", public._server.server_port)) as private:
        private.settimeout(0.01)
        asked = resolve(
            monkeypatch,
            {"pictures.example": [["127.0.0.2"], ["127.0.0.1"]], "mixed.example": [["127.0.0.1", "127.0.0.2"]]},
        )
        public.put("/a", JPEG)
        found = get(
            [[public.url("/a", name)] for name in ("pictures.example", "mixed.example")], tmp_path, allow_private=False
        )
        assert found["kind"].tolist() == ["ok", "ok"] and sorted(asked) == ["mixed.example", "pictures.example"]
        with pytest.raises(TimeoutError):
            private.accept()  # nobody has knocked
        assert {entry["host"].split(":")[0] for entry in public.log} == {"pictures.example", "mixed.example"}


@pytest.mark.parametrize(
    "address", ["http://a.b/c", "HTTPS://a.b:8/c?d#e", "http://[2001:db8::1]/x", "http://a.b/ü d.jpg"]
)
def test_addresses_that_will_do(address):
    assert checked_address(address).host


def test_no_cookies_no_proxies_no_passwords(web, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    urls = [[web.put(f"/{n}", JPEG, Set_Cookie="who=me")] for n in range(5)]
    assert set(get(urls, tmp_path / "images")["kind"]) == {"ok"}
    for entry in web.log:
        assert set(entry["headers"]) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}
        assert entry["headers"]["User-Agent"].startswith("ifcdsr_core/")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_https(tmp_path, monkeypatch):
    """A certificate that is trusted and one that is not; and the total time also holds for a trickle through TLS."""
    pem, public = make_certificate(tmp_path)
    with WebServer(certificate=pem) as web:
        urls = [[web.url(path, "localhost")] for path in ("/a", "/b", "/slow", "/head")]
        web.put("/a", JPEG), web.put("/b", PNG)
        web.put("/slow", PNG, "trickle:100"), web.put("/head", PNG, "slow_head")
        assert set(get(urls, tmp_path / "not")["kind"]) == {"tls"} and not web.log
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(public))
        assert get([[web.url("/a")]], tmp_path / "name")["kind"].tolist() == ["tls"]  # it is not 127.0.0.1's
        begin = time.monotonic()
        found = get(urls, tmp_path / "yes", limits={"attempts": 1, "total_timeout": 2.0})
        assert found["kind"].tolist() == ["ok", "ok", "timeout", "timeout"] and time.monotonic() - begin < 6
        assert get(urls[:1], tmp_path / "private", allow_private=False)["kind"].tolist() == ["private_address"]
        web.log.clear()
        get(
            [[web.put(f"/{n}", JPEG).replace("127.0.0.1", "localhost")] for n in range(10)],
            tmp_path / "kept",
            limits={"per_host": 1},
        )
        assert len({entry["port"] for entry in web.log}) == 1  # one handshake


# -- which address, when, and how often --------------------------------------------------------------------------------


def test_the_next_address_is_tried(web, tmp_path):
    good, gone, busy = web.put("/g", JPEG), web.put("/n", b"", "status:404"), web.put("/b", b"", "status:503")
    small = web.put("/s", picture("GIF", (1, 1)))
    found = get(
        [
            [gone, small, good],
            [busy, good, gone],
            [gone, busy, small],
            [small, gone],
            [good, gone],
            ["ftp://x/y", "http://me@h/x", good],
        ],
        tmp_path,
    )
    assert found["kind"].tolist() == ["ok", "ok", "server_error", "too_small", "ok", "ok"]
    assert found["address"].tolist() == [good, good, busy, small, good, good]
    assert [[tried["kind"] for tried in line] for line in found["tried"]] == [
        ["not_found", "too_small"],
        ["server_error"],
        ["not_found", "server_error", "too_small"],
        ["too_small", "not_found"],
        [],
        ["bad_address", "bad_address"],
    ]
    assert found["status"].tolist() == [200, 200, 503, 200, 200, 200]


def test_connections_are_kept_also_after_failures(web, tmp_path):
    urls = [
        [web.put(f"/{n}", JPEG, ("ok", "status:404", "status:500", f"redirect:/{n - 1}")[n % 4])] for n in range(12)
    ]
    get(urls, tmp_path, limits={"per_host": 1})
    assert len(web.log) > 12 and len({entry["port"] for entry in web.log}) == 1


def test_a_picture_that_is_announced_too_big_is_not_read(web, tmp_path):
    found = get([[web.put("/a", bytes(50_000_000))]], tmp_path)
    assert found["detail"].tolist() == ["50000000 bytes announced"] and web.log[0]["sent"] < 20_000_000


def test_many_bad_addresses_of_one_item(tmp_path):
    found = get([["ftp://x/" + str(n) for n in range(5000)]], tmp_path, limits={"addresses": 3})
    assert len(found["tried"][1]) == 3


def test_what_is_known_is_not_asked_again(web, tmp_path):
    states = {"/gone": "status:404", "/busy": "status:503", "/good": "ok"}
    urls = [[web.put(path, JPEG, lambda nth, path=path: states[path])] for path in states]
    assert get(urls, tmp_path)["kind"].tolist() == ["not_found", "server_error", "ok"]
    first = [len(web.requests(path)) for path in states]
    assert first == [1, 2, 1]
    states.update({"/gone": "ok", "/busy": "ok"})
    assert get(urls, tmp_path, retry_failures=())["kind"].tolist() == ["not_found", "server_error", "ok"]
    assert [len(web.requests(path)) for path in states] == first
    assert get(urls, tmp_path)["kind"].tolist() == ["not_found", "ok", "ok"]
    assert [len(web.requests(path)) for path in states] == [1, 3, 1]
    assert get(urls, tmp_path, retry_failures=["not_found"])["kind"].tolist() == ["ok", "ok", "ok"]
    assert [len(web.requests(path)) for path in states] == [2, 3, 1]
    (tmp_path / "B0002.jpg").write_bytes(b"")  # lost by a crash of the machine
    assert get(urls, tmp_path)["bytes"].tolist() == [len(JPEG)] * 3 and (tmp_path / "B0002.jpg").read_bytes() == JPEG
    other = [urls[0], urls[1], [web.put("/new", PNG)]]  # other addresses, another question
    assert get(other, tmp_path)["file"].tolist() == ["B0001.jpg", "B0002.jpg", "B0003.png"]
    with pytest.raises(InputError, match="unknown kind of failure 'gone'"):
        get(urls, tmp_path, retry_failures=["gone"])


def test_limit(web, tmp_path):
    urls = [[web.put(f"/{n}", JPEG)] for n in range(5)]
    assert len(get(urls, tmp_path, limit=2)) == 2 and len(get(urls, tmp_path, limit=2)) == 4
    assert len(web.log) == 4
    for wrong, right in ((-1, "at least 0"), (10**30, "a number of at most 64 bits"), (1.5, "of type int")):
        with pytest.raises(InputError, match=f"limit is {re.escape(str(wrong))}: it must be {right}"):
            get(urls, tmp_path / "other", limit=wrong)
    assert len(web.log) == 4 and not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_quiets_the_whole_host(web, tmp_path, status):
    """By the server's clock: nothing is asked of it for a second once it has said so."""

    def behave(nth):
        return f"status:{status}:1" if nth == 1 else "ok"

    urls = [[web.put(f"/{n}", JPEG, behave if n == 0 else None)] for n in range(10)]
    found = get(urls, tmp_path, limits={"per_host": 1, "workers": 4})
    assert set(found["kind"]) == {"ok"} and len(web.log) == 11
    assert 1.0 <= web.log[1]["at"] - web.log[0]["at"] < 4.0


def test_retry_after_has_a_limit(web, tmp_path):
    url = web.put("/a", JPEG, lambda nth: "status:503:86400" if nth == 1 else "ok")
    assert get([[url]], tmp_path, limits={"max_wait": 0.3})["kind"].tolist() == ["ok"]
    assert 0.3 <= web.log[1]["at"] - web.log[0]["at"] < 4.0


@pytest.mark.slow
def test_limits_per_host_as_the_servers_see_them(tmp_path):
    with WebServer("127.0.0.1") as one, WebServer("127.0.0.2") as two:
        one.delay = two.delay = 0.03
        urls = [[server.put(f"/{n}", JPEG)] for n in range(40) for server in (one, two)]
        get(urls, tmp_path / "a", limits={"per_host": 3, "workers": 5})
        active = [max(entry["active"] for entry in server.log) for server in (one, two)]
        assert max(active) <= 3 and sum(active) >= 5
        assert all(len({entry["port"] for entry in server.log}) <= 3 for server in (one, two))  # connections are kept
        one.log.clear(), two.log.clear()
        one.delay = two.delay = 0.0
        get(urls, tmp_path / "b", limits={"rate": 50.0})
        for server in (one, two):
            moments = [entry["at"] for entry in server.log]
            assert 50 * 0.2 < (len(moments) - 1) / (moments[-1] - moments[0]) <= 50 * 1.2
            for begin in moments:  # in every tenth of a second
                assert sum(begin <= moment < begin + 0.1 for moment in moments) <= 5 + 9


@pytest.mark.slow
def test_a_slow_host_does_not_hold_up_the_others(tmp_path):
    with WebServer("127.0.0.1") as slow, WebServer("127.0.0.2") as fast:
        slow.delay = 0.2
        urls = [[slow.put(f"/{n}", JPEG)] for n in range(12)] + [[fast.put(f"/{n}", JPEG)] for n in range(12)]
        get(urls, tmp_path, limits={"per_host": 2, "workers": 4})
        assert fast.log[-1]["at"] < slow.log[5]["at"]


def test_a_dead_host_is_left_alone(web, tmp_path):
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        address = f"http://localhost:{dead.getsockname()[1]}/"
        good = web.put("/g", JPEG)
        found = get([[address + str(n), good] for n in range(60)], tmp_path, limits={"host_failures": 10})
    kinds = [line[0]["kind"] for line in found["tried"]]
    assert set(found["kind"]) == {"ok"} and kinds.count("unreachable") + kinds.count("host_down") == 60
    assert kinds.count("host_down") >= 30


def test_the_total_time_of_a_request(web, tmp_path):
    begin = time.monotonic()
    names = ["trickle:100", "slow_head", "sleep:5"]
    found = get(
        [[web.put(f"/{n}", PNG, behave)] for n, behave in enumerate(names)],
        tmp_path,
        limits={"attempts": 1, "total_timeout": 0.5},
    )
    assert set(found["kind"]) == {"timeout"} and time.monotonic() - begin < 4


@pytest.mark.slow
def test_an_answer_after_which_the_server_closes_is_broken_off_too(web):
    """http.client gives such a connection away before the content is read."""
    address = web.put("/a", bytes(1000), "trickle:100", Connection="close")
    asking, begin = asking_web(total_timeout=0.5), time.monotonic()
    assert asking.get(address, 10_000).failure == "timeout" and time.monotonic() - begin < 4
    asking.close()
    asking, begin = asking_web(), time.monotonic()
    threading.Timer(0.3, asking.close).start()
    assert asking.get(address, 10_000).failure == "cut_off" and time.monotonic() - begin < 4


def test_three_addresses_of_a_host_are_tried(web, monkeypatch):
    """Each may take the whole time to connect."""
    dead = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
    resolve(monkeypatch, {"three.example": [[*dead[:2], "127.0.0.1"]], "four.example": [[*dead, "127.0.0.1"]]})
    web.put("/a", JPEG)
    asking = asking_web()
    assert asking.get(web.url("/a", "three.example"), 1 << 20).content == JPEG
    assert asking.get(web.url("/a", "four.example"), 1 << 20).failure == "unreachable" and len(web.log) == 1
    asking.close()


def test_only_a_picture_is_unpacked(web):
    """A bomb may come with any status; content that is not gzip tells whether somebody tried."""
    asking = asking_web()
    reply = asking.get(web.put("/a", b"no gzip", "as:404", Content_Encoding="gzip"), 1 << 20)
    assert (reply.status, reply.failure, reply.content) == (404, "", b"")
    asking.close()


# -- whatever happens --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_random_moments(web, tmp_path):
    web.delay = 0.01
    contents = [picture("JPEG", seed=n) if n % 3 else PNG for n in range(60)]
    urls = [[web.put(f"/{n}", content, "status:404" if n % 10 == 9 else None)] for n, content in enumerate(contents)]
    urls[5] = [urls[9][0], urls[6][0]]
    get(urls, tmp_path / "quiet")
    web.log.clear()
    moments = random.Random(7)
    killed = run_and_kill(
        web,
        [moments.uniform(0.0, 0.08) for _ in range(10)],
        download_images,
        items_of(urls),
        tmp_path / "killed",
        PictureLimits(**QUICK | {"per_host": 2}),
        allow_private=True,
    )
    assert killed >= 5 and outcome(tmp_path / "killed") == outcome(tmp_path / "quiet")
    asked = pd.Series([entry["path"] for entry in web.log]).value_counts()
    assert asked.sum() <= 61 + 1 + 2 * 2 * killed  # what was known was not asked again


def test_a_torn_line_is_mended(web, tmp_path):
    urls = [[web.put(f"/{n}", JPEG)] for n in range(4)]
    get(urls, tmp_path)
    whole, manifest = outcome(tmp_path), tmp_path / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    half = f".B0004.jpg.{os.uname().nodename[:30]}.999999999-0.staged"  # of a killed process
    (tmp_path / half).write_bytes(JPEG[:9])
    get(urls, tmp_path)
    text = manifest.read_bytes().splitlines()
    assert len(text) == 4 and len(web.log) == 5 and outcome(tmp_path) == whole
    (tmp_path / "manifest.jsonl").write_bytes(b"\n".join([*text[:1], b"{", b'{"kind": "ok"}', *text[1:], b""]))
    get(urls, tmp_path)  # a line damaged in the middle costs no other one
    assert len(web.log) == 5


def test_an_interruption_ends_at_once_and_loses_nothing(web, tmp_path, monkeypatch):
    urls = [[web.put(f"/{n}", JPEG, "ok" if n < 4 else "sleep:8")] for n in range(8)]
    real, begin = pictures._Manifest.add, time.monotonic()

    def add(self, line):
        real(self, line)
        if line["source_id"] == "B0004":
            raise KeyboardInterrupt

    monkeypatch.setattr(pictures._Manifest, "add", add)
    with pytest.raises(KeyboardInterrupt):
        get(urls, tmp_path, limits={"per_host": 8, "read_timeout": 30, "total_timeout": 30})
    assert time.monotonic() - begin < 3 and "B0004" in read_manifest(tmp_path)["source_id"].tolist()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("picture", "watch"))]


def test_a_full_disk_is_one_clear_line(web, tmp_path, monkeypatch):
    def full(self, content):
        self.open("wb").write(content[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(InputError, match="B0001.jpg can't be written .No space left on device.: make room"):
        get([[web.put("/a", JPEG)]], tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.jpg"))  # half a picture never stands under its name
    assert get([[web.url("/a")]], tmp_path)["kind"].tolist() == ["ok"]


def test_two_processes_do_not_work_in_one_folder(web, tmp_path):
    with locked(tmp_path / "manifest.lock"):
        with pytest.raises(InputError, match="another process is downloading pictures into"):
            get([[web.put("/a", JPEG)]], tmp_path)
    assert not web.log


def test_wrong_input(tmp_path):
    with pytest.raises(InputError, match="no column 'image_urls'"):
        download_images(items_of([[]]).drop(columns="image_urls"), tmp_path)
    with pytest.raises(InputError, match="workers is 0: it must be at least 1"):
        PictureLimits(workers=0)
    with pytest.raises(InputError, match="download the pictures first"):
        summary(tmp_path)
    assert not set(TEMPORARY) & set(PERMANENT)


@pytest.mark.slow
def test_the_command(web, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    scenario = tiny(80)
    urls = [[web.put(f"/{n}", JPEG, "status:404" if n == 4 else None)] for n in range(scenario.num_items)]
    scenario.provenance.update(version=world.VERSION, options=complete_options("demo", {}))
    folder = tmp_path / "scenarios" / "demo" / "food_kitchen"
    Scenario(
        scenario.name, scenario.source, scenario.items.assign(image_urls=urls), scenario.sequences, scenario.provenance
    ).save(folder)
    assert main(["pictures", "--rate", "10000"]) == 0
    said = capsys.readouterr().out
    assert "private_address" in said and "0 of 30 items have a picture" in said and not web.log
    assert main(["pictures", "--rate", "10000", "--retry", "private_address", "--allow-private"]) == 0
    assert "29 of 30 items have a picture" in capsys.readouterr().out
    assert Scenario.load(folder).items["image"].notna().sum() == 29
    assert len(read_manifest(tmp_path / "pictures" / "demo-food_kitchen")) == 30
    wrong = (("--retry", "sometimes"), ("--workers", "0"), ("--limit", "-1"))
    assert [main(["pictures", *arguments]) for arguments in wrong] == [1, 1, 1]
    errors = capsys.readouterr().err.splitlines()
    assert "unknown kind of failure 'sometimes'" in errors[0] and "workers is 0" in errors[1] and len(errors) == 3
    assert errors[2] == "error: limit is -1: it must be at least 0"


# -- the store, and the scenarios that have its pictures ---------------------------------------------------------------


def saved(folder, urls: list, **columns) -> Scenario:
    """The scenario of 30 items in a folder, with these addresses."""
    scenario = tiny(80)
    items = scenario.items.assign(image_urls=pd.Series(urls, dtype=object), **columns)
    return Scenario(scenario.name, scenario.source, items, scenario.sequences, {"version": 1}).save(folder)


def fetch(scenario: Scenario, store) -> Scenario:
    download_images(scenario.items, store, PictureLimits(**QUICK), allow_private=True)
    return with_images(scenario, store)


def shown(scenario: Scenario) -> list:
    """The content of every item's picture, of the scenario as it lies on disk."""
    images = Scenario.load(scenario.folder).items["image"]
    return [(scenario.folder / image).read_bytes() if isinstance(image, str) else None for image in images]


def no_links(source, final):
    raise OSError(1, "Operation not permitted")


def test_pictures_of_a_scenario(web, tmp_path):
    urls = [[web.put(f"/{n}", JPEG if n % 3 == 0 else PNG, "status:404" if n == 4 else None)] for n in range(30)]
    scenario, store = saved(tmp_path / "scenario", urls), tmp_path / "store"
    before = {path.name: path.read_bytes() for path in scenario.folder.iterdir()}
    after = fetch(scenario, store)
    loaded = Scenario.load(scenario.folder)
    assert loaded.fingerprint == scenario.fingerprint == after.fingerprint and loaded.provenance == {"version": 1}
    assert loaded.items["image"].isna().tolist() == [n == 4 for n in range(30)] and after.items["image"][4] is None
    assert shown(scenario) == [None if n == 4 else JPEG if n % 3 == 0 else PNG for n in range(30)]
    assert all(
        image.startswith("images/") and (scenario.folder / image).samefile(store / image[len("images/") :])
        for image in loaded.items["image"].dropna()
    )
    assert [list(found) for found in loaded.items["image_urls"]] == urls
    assert {name: content for name, content in before.items() if name != "items.parquet"} == {
        path.name: path.read_bytes()
        for path in scenario.folder.iterdir()
        if path.is_file() and path.name != "items.parquet"
    }
    fetch(loaded, store)
    assert len(web.log) == 30  # also with the addresses as Parquet gives them back
    with pytest.raises(InputError, match="is in no folder"):
        with_images(tiny(80), store)
    with pytest.raises(InputError, match="manifest.jsonl is not there: download the pictures first"):
        with_images(loaded, tmp_path)


ODD_IDS = [
    "..",
    ".",
    "...",
    "../../../evil",
    "/",
    "/etc/passwd",
    "a/b",
    "a%2Fb",
    "A/B",
    "A%2FB",
    "%",
    "%25",
    "%2525",
    ".lock",
    "manifest.jsonl",
    "manifest.lock",
    ".B0001.jpg.4711",
    "B0001.jpg",
    "B0001",
    "b0001",
    "-rf",
    "\\..\\x",
    "C:x",
    '*?<>|"',
    "!" * 64,
    "/" * 64,
    "." * 64,
    "#oc-R1",
    "__init__",
    "CON",
]


def test_odd_source_ids_have_files_of_their_own_inside_the_store(web, tmp_path):
    assert len(set(ODD_IDS)) == 30
    contents = [picture("PNG", (20, 20), seed=n) for n in range(30)]
    urls = [[web.put(f"/{n}", content)] for n, content in enumerate(contents)]
    scenario, store = saved(tmp_path / "a" / "scenario", urls, source_id=ODD_IDS), tmp_path / "a" / "pictures" / "store"
    fetch(scenario, store)
    files = read_manifest(store).set_index("source_id")["file"]
    assert [(store / files[source_id]).read_bytes() for source_id in ODD_IDS] == contents == shown(scenario)
    assert len({name.lower() for name in files}) == 30  # where a file system takes B for b, too
    assert all(name.count(".") == 1 and not name.startswith(".") and "/" not in name for name in files)
    for folder, others in ((store, {"manifest.jsonl"}), (scenario.folder / "images", set())):
        assert {path.name for path in folder.iterdir()} == others | set(files)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        *files,
        "manifest.jsonl",
        "items.parquet",
        "sequences.parquet",
        "scenario.json",
    }
    fetch(scenario, store)
    assert len(web.log) == 30  # none is taken for half a file, or for another


def test_an_item_that_is_there_twice_is_asked_once(web, tmp_path):
    """With other addresses, too: the first row counts."""
    ids = [f"B{n if n < 12 else n - 12}" for n in range(30)]  # 12 items of X, which are also the first 12 of Y
    asked = [*range(12), *range(24, 30)]
    urls = [[web.put(f"/{n}", JPEG if n in asked else PNG, "status:404" if n == 3 else None)] for n in range(30)]
    scenario = saved(tmp_path / "scenario", urls, source_id=ids)
    for _ in range(3):
        fetch(scenario, tmp_path / "store")
    assert sorted(entry["path"] for entry in web.log) == sorted(f"/{n}" for n in asked)
    assert shown(scenario) == [None if n in (3, 15) else JPEG for n in range(30)]
    assert summary(tmp_path / "store")["items"].tolist() == [17, 1]


@pytest.mark.parametrize("links", [True, False])
def test_another_scenario_has_the_pictures_it_shares(web, tmp_path, monkeypatch, links):
    """Other numbers, other items beside them; also where the file system has no hard links."""
    if not links:
        monkeypatch.setattr("os.link", no_links)
    contents = [picture("PNG", (20, 20), seed=n) for n in range(40)]
    urls = [[web.put(f"/{n}", content)] for n, content in enumerate(contents)]
    one = saved(tmp_path / "one", urls[:30], source_id=[f"B{n}" for n in range(30)])
    two = saved(tmp_path / "two", urls[:9:-1], source_id=[f"B{n}" for n in range(39, 9, -1)])
    fetch(one, tmp_path / "store")
    assert shown(with_images(two, tmp_path / "store")) == [None] * 10 + contents[29:9:-1] and len(web.log) == 30
    assert shown(fetch(two, tmp_path / "store")) == contents[:9:-1] and len(web.log) == 40
    kept = [path.stat().st_ino for path in sorted((tmp_path / "one" / "images").iterdir())]
    assert shown(with_images(one, tmp_path / "store")) == contents[:30]
    assert kept == [path.stat().st_ino for path in sorted((tmp_path / "one" / "images").iterdir())]


def test_a_picture_that_has_changed_or_is_lost_in_the_store(web, tmp_path):
    urls = [[web.put(f"/{n}", JPEG)] for n in range(30)]
    scenario, store = fetch(saved(tmp_path / "scenario", urls), tmp_path / "store"), tmp_path / "store"
    other = picture(seed=2)
    fetch(saved(tmp_path / "scenario", [[web.put("/new", other)], *urls[1:]]), store)
    assert shown(scenario) == [other] + 29 * [JPEG] and len(web.log) == 31
    lost, cut, *_ = sorted(path for path in store.iterdir() if path.suffix == ".jpg")
    lost.unlink()
    cut.unlink()
    cut.write_bytes(b"")
    names = with_images(scenario, store).items["image"]
    assert names.isna().sum() == 2 and not {f"images/{lost.name}", f"images/{cut.name}"} & set(names)
    scenario = saved(tmp_path / "scenario", [[web.url("/new")], *urls[1:]])
    assert shown(fetch(scenario, store)) == [other] + 29 * [JPEG] and len(web.log) == 33


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("survived", [0, 17])
def test_a_kill_between_links_leaves_a_scenario(web, tmp_path, links, survived):
    """Killed before the next link, or amid the next copy: every picture that is named is there, the old or the new."""
    urls = [[web.put(f"/{n}", JPEG)] for n in range(30)]
    scenario, store = saved(tmp_path / "scenario", urls), tmp_path / "store"
    download_images(scenario.items[:20], store, PictureLimits(**QUICK), allow_private=True)
    with_images(scenario, store)
    late = [picture(seed=n) for n in range(10, 30)]
    other = [[web.put(f"/new/{n}", content)] for n, content in enumerate([PNG] * 10 + late)]
    changed = scenario.items.assign(image_urls=other)
    download_images(changed, store, PictureLimits(**QUICK), allow_private=True)
    code = f"""
import os, shutil, signal, sys
from pathlib import Path
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources.download import pictures
real, done = pictures.link_file, []

def half(source, final):
    Path(final).write_bytes(Path(source).read_bytes()[:100])
    os.kill(os.getpid(), signal.SIGKILL)

def no_links(source, final):
    raise OSError(1, "Operation not permitted")

def link_file(source, final):
    if len(done) == {survived} and {links}:
        os.kill(os.getpid(), signal.SIGKILL)
    if len(done) == {survived}:
        shutil.copy2 = half
    real(source, final)
    done.append(final)

if not {links}:
    os.link = no_links
pictures.link_file = link_file
pictures.with_images(Scenario.load(sys.argv[1]), Path(sys.argv[2]))"""
    command = [sys.executable, "-c", code, scenario.folder, store]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == -9, done.stderr
    found = shown(scenario)
    assert all(content in (JPEG, PNG, *late) for content in found[:20]) and found[20:] == [None] * 10
    assert Scenario.load(scenario.folder).fingerprint == scenario.fingerprint
    with_images(scenario, store)
    assert shown(scenario) == [PNG] * 10 + late


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: line | {"kind": "fine"},
        lambda line: line | {"kind": ["ok"]},
        lambda line: {key: line[key] for key in line if key != "kind"},
        lambda line: line | {"file": None},
        lambda line: line | {"file": "../../outside.png"},
        lambda line: line | {"file": "/etc/hostname"},
        lambda line: line | {"file": 7},
        lambda line: line | {"bytes": "many"},
        lambda line: line | {"bytes": None},
        lambda line: line | {"sha256": [1]},
        lambda line: line | {"source_id": 1},
    ],
)
def test_an_edited_line_of_the_manifest_is_no_outcome(tmp_path, edit):
    """Its item is asked again, and no file that it names is touched."""
    right = {"source_id": "B0001", "kind": "ok", "file": "B0001.png", "bytes": 3, "sha256": "0", "asked": "0"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(right) + "\n" + json.dumps(right | {"source_id": "B2"}) + "\n")
    assert list(read_manifest(tmp_path)["source_id"]) == ["B0001"]  # the file of B2 is that of another
    (tmp_path / "manifest.jsonl").write_text(json.dumps(edit(right)) + "\n")
    assert len(read_manifest(tmp_path)) == 0
