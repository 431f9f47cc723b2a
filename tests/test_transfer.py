"""Big downloads against a real server that misbehaves: what arrives is the published file, or one clear line."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from web_server import WebServer, make_certificate, run_and_kill

from ifcdsr_core.__main__ import main
from ifcdsr_core.errors import InputError
from ifcdsr_core.files import locked
from ifcdsr_core.paths import ROOT
from ifcdsr_core.sources.amazon import source
from ifcdsr_core.sources.download import resumable
from ifcdsr_core.sources.download.resumable import Facts, Patience

CONTENT = random.Random(5).randbytes(3_000_000)
OTHER = random.Random(6).randbytes(3_000_000)
FACTS = {
    "bytes": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "git_blob_sha1": hashlib.sha1(b"blob 3000000\0" + CONTENT).hexdigest(),
}


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with WebServer() as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "raw.bin"


def get(url, path, bytes=None, sha256=None, git_blob_sha1=None, **patience):
    patience = {"attempts": 3, "wait": 0.01, "timeout": (5, 10)} | patience
    return resumable.fetch(url, path, Facts(bytes, sha256, git_blob_sha1), Patience(**patience))


def by_number(*behaviours):
    """The nth request meets the nth behaviour, the last one from then on."""
    return lambda nth: behaviours[min(nth, len(behaviours)) - 1]


def left(path):
    """What is beside the lock."""
    return sorted(found.name for found in path.parent.iterdir() if found.suffix != ".lock")


@pytest.mark.parametrize("facts", [FACTS, {"git_blob_sha1": FACTS["git_blob_sha1"]}, {"bytes": FACTS["bytes"]}, {}])
@pytest.mark.parametrize("behave", ["ok", "no_length", "chunked", "whole"])
def test_a_whole_file_in_one_request(web, path, facts, behave):
    assert get(web.put("/f", CONTENT, behave), path, **facts).read_bytes() == CONTENT
    assert left(path) == ["raw.bin"] and len(web.log) == 1
    assert web.log[0]["headers"]["Accept-Encoding"] == "identity" and "IFCDSR" not in web.log[0]["headers"]
    assert web.log[0]["headers"]["User-Agent"].startswith("ifcdsr_core/")
    assert get(web.url("/f"), path, **facts) == path and len(web.log) == 1  # not asked again


@pytest.mark.parametrize("header", [{"ETag": '"one"'}, {"Last_Modified": "Sat, 01 Nov 2014 10:00:00 GMT"}])
@pytest.mark.parametrize("broken", ["cut:1000000", "reset:1000000"])
def test_only_what_is_missing_is_transferred_again(web, path, header, broken):
    get(web.put("/f", CONTENT, by_number(broken, broken, "ok"), **header), path)
    assert path.read_bytes() == CONTENT and left(path) == ["raw.bin"]
    asked = [int(entry["headers"].get("Range", "bytes=0-")[6:-1]) for entry in web.log]
    assert all(
        entry["headers"].get("If-Range") == (list(header.values())[0] if begin else None)
        for entry, begin in zip(web.log, asked, strict=True)
    )
    if broken.startswith("cut"):  # a reset sweeps an unknown part of what was sent from the client's buffers
        assert asked[0] == 0 < asked[1] < asked[2]
        assert sum(entry["sent"] for entry in web.log) <= len(CONTENT) + 2 * resumable._CHUNK


@pytest.mark.parametrize(
    "header, facts, resumed",
    [
        ({}, {}, False),
        ({"ETag": 'W/"weak"'}, {}, False),  # nobody vouches for the part
        ({}, FACTS, True),
        ({"ETag": 'W/"weak"'}, FACTS, True),  # the checksum will tell
    ],
)
def test_a_part_nobody_vouches_for_is_not_continued(web, path, header, facts, resumed):
    get(web.put("/f", CONTENT, by_number("cut:1000000", "ok"), **header), path, **facts)
    assert path.read_bytes() == CONTENT
    assert ("Range" in web.log[1]["headers"]) == resumed and "If-Range" not in web.log[1]["headers"]


@pytest.mark.parametrize("second", ["ok", "splice", "elsewhere", "whole"])
def test_a_file_that_changed_meanwhile_is_not_spliced(web, path, second):
    url = web.put("/f", CONTENT, "cut:1000000", ETag='"one"')
    with pytest.raises(InputError, match="tried 1 times.: the same call continues"):
        get(url, path, attempts=1)
    assert left(path) == ["raw.bin.part", "raw.bin.part.json"]
    web.put("/f", OTHER, by_number(second, "ok"), ETag='"two"')
    assert get(url, path).read_bytes() == OTHER


def test_a_server_that_continues_elsewhere(web, path):
    url = web.put("/f", CONTENT, by_number("cut:1000000", "elsewhere", "ok"), ETag='"one"')
    assert get(url, path).read_bytes() == CONTENT
    assert ["Range" in entry["headers"] for entry in web.log] == [False, True, False]


def test_an_empty_answer_does_not_make_the_part_whole(web, path):
    url = web.put("/f", CONTENT, "cut:1000000", ETag='"one"')
    with pytest.raises(InputError):
        get(url, path, attempts=1)
    web.put("/f", b"", ETag='"two"')  # so the range is not asked of the same file: status 200
    with pytest.raises(InputError, match="sends nothing; tried 3 times"):
        get(url, path)
    assert left(path) == ["raw.bin.part", "raw.bin.part.json"]
    web.put("/f", CONTENT, ETag='"two"')
    assert get(url, path).read_bytes() == CONTENT


def test_pieces_of_two_files_are_noticed_by_the_checksum(web, path):
    url = web.put("/f", OTHER, "cut:1000000")  # no validator at all
    with pytest.raises(InputError):
        get(url, path, attempts=1, **FACTS)
    web.put("/f", CONTENT)
    assert get(url, path, **FACTS).read_bytes() == CONTENT
    assert ["Range" in entry["headers"] for entry in web.log] == [False, True, False]


def test_a_whole_part_is_only_verified(web, path):
    path.parent.mkdir()
    (path.parent / "raw.bin.part").write_bytes(CONTENT)
    assert get(web.put("/f", CONTENT), path, **FACTS).read_bytes() == CONTENT and web.log == []


def test_what_a_kill_left_beside_a_whole_file_is_removed(web, path):
    """A kill between the last two steps leaves the record; a copy put in place by hand leaves the part."""
    url = web.put("/f", CONTENT)
    get(url, path, **FACTS)
    for left_over in (["raw.bin.part.json"], ["raw.bin.part"], ["raw.bin.part", "raw.bin.part.json"]):
        for name in left_over:
            (path.parent / name).write_bytes(CONTENT[:100])
        with locked(path.parent / ".raw.bin.lock"):  # another process is at it
            get(url, path, **FACTS)
            assert left(path) == ["raw.bin", *left_over]
        get(url, path, **FACTS)
        assert left(path) == ["raw.bin"] and len(web.log) == 1
    path.write_bytes(OTHER)
    (path.parent / "raw.bin.part").write_bytes(CONTENT[:100])
    with pytest.raises(InputError, match="is not the published file"):
        get(url, path, **FACTS)
    assert left(path) == ["raw.bin", "raw.bin.part"]  # the next try can go on from there


@pytest.mark.parametrize("junk", [OTHER, OTHER + b"more", OTHER[:77]])
def test_a_wrong_part_is_begun_anew(web, path, junk):
    path.parent.mkdir()
    (path.parent / "raw.bin.part").write_bytes(junk)
    assert get(web.put("/f", CONTENT), path, **FACTS).read_bytes() == CONTENT


def test_no_such_range(web, path):
    path.parent.mkdir()
    (path.parent / "raw.bin.part").write_bytes(OTHER + b"more")
    url = web.put("/f", CONTENT)
    assert get(url, path, sha256=FACTS["sha256"]).read_bytes() == CONTENT  # 416, then anew
    assert len(web.log) == 2


@pytest.mark.parametrize(
    "behave, facts, says",
    [
        ("status:404", {}, "status 404"),
        ("status:403", {}, "status 403"),
        ("status:500", {}, "status 500; tried 3 times"),
        ("status:416", {}, "status 416"),
        ("status:204", {}, "status 204"),
        ("page", {}, "web page"),
        ("page", FACTS, "web page|published"),
        ("gzip", {}, "compressed"),
        ("short:1000", {"bytes": 3_000_000}, "it has 1000 bytes there, 3000000 were published"),
        ("more:5", {"bytes": 3_000_000}, "more than the 3000000 bytes"),
        ("short:0", {}, "sends nothing"),
        ("cut:0", {}, "broken off after 0"),
        ("garbage", {}, "tried 3 times"),
        ("bad_chunks", {}, "tried 3 times"),
        ("sleep:1", {}, "timed out"),
        ("ok", {"git_blob_sha1": "0" * 40}, "not the published file: git_blob_sha1 should be 000"),
        ("ok", {"sha256": "0" * 64}, "not the published file: sha256 should be 000"),
        ("redirect:file:///etc/hostname", {}, "only http and https"),
        ("redirect:ftp://127.0.0.1/f", {}, "only http and https"),
        ("redirect:/f", {}, "more than 10 redirects"),
        ("redirect:http://127.0.0.1:1/f", {}, "refused"),
    ],
)
def test_one_clear_line_for_each_failure(web, path, behave, facts, says):
    url = web.put("/f", CONTENT, behave)
    with pytest.raises(InputError, match=says) as caught:
        get(url, path, timeout=(2, 0.2 if behave.startswith("sleep") else 10), **facts)
    assert "\n" not in str(caught.value) and "raw.bin" in str(caught.value) and url in str(caught.value)
    assert not path.exists() and left(path) == []


def test_a_header_that_is_wrong_about_a_file(web, tmp_path):
    url = web.put("/f.csv", b"user,item\n1,2\n", Content_Type="text/html; charset=utf-8")
    assert get(url, tmp_path / "f.csv").read_bytes() == b"user,item\n1,2\n"


def test_an_error_page_does_not_cost_the_part(web, path):
    url = web.put("/f", CONTENT, by_number("cut:1000000", "page", "ok"), ETag='"one"')
    with pytest.raises(InputError, match="web page"):
        get(url, path)
    kept = (path.parent / "raw.bin.part").stat().st_size
    assert kept > 900_000
    assert get(url, path).read_bytes() == CONTENT
    assert web.log[-1]["headers"]["Range"] == f"bytes={kept}-"


def test_a_stored_gz_that_is_sent_as_gzip_coded(web, tmp_path):
    plain = b"line\n" * 100
    web.put("/f.gz", plain, "gzip")  # compressed on the wire: that is the file
    assert gzip.decompress(get(web.url("/f.gz"), tmp_path / "f.gz").read_bytes()) == plain
    web.put("/g.gz", b'{"error": "sorry"}')
    with pytest.raises(InputError, match="no .gz file"):
        get(web.url("/g.gz"), tmp_path / "g.gz")


def test_another_host_by_redirect(web, path):
    with WebServer("127.0.0.2") as other:
        url = web.put("/f", b"", "redirect:" + other.put("/moved", CONTENT, by_number("cut:1000000", "ok"), ETag='"x"'))
        assert get(url, path, **FACTS).read_bytes() == CONTENT
        assert other.log[1]["headers"]["If-Range"] == '"x"'


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_no_step_of_the_way_may_leave_https_without_a_checksum(web, tmp_path, path, monkeypatch):
    pem, public = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(public))
    with WebServer(certificate=pem) as safe:
        safe.put("/g", CONTENT)
        safe.put("/f", b"", "redirect:" + web.put("/plain", b"", "redirect:" + safe.url("/g", "localhost")))
        with pytest.raises(InputError, match="redirected from https to http, and no checksum is known"):
            get(safe.url("/f", "localhost"), path)
        assert left(path) == []
        assert get(safe.url("/f", "localhost"), path, **FACTS).read_bytes() == CONTENT


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept_by_the_servers_clock(web, path, status):
    get(web.put("/f", CONTENT, by_number(f"status:{status}:1", "ok")), path)
    assert 1.0 <= web.log[1]["at"] - web.log[0]["at"] < 4.0


def test_retry_after_has_a_limit(web, path):
    get(web.put("/f", CONTENT, by_number("status:503:7200", "ok")), path, max_wait=0.2)
    assert 0.2 <= web.log[1]["at"] - web.log[0]["at"] < 4.0
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert 57 < resumable.retry_after(later, 300) <= 60
    assert resumable.retry_after("soon", 300) is None and resumable.retry_after("-3", 300) is None
    assert resumable.retry_after("9" * 400, 300) == 300


def test_waits_grow(web, path):
    with pytest.raises(InputError):
        get(web.put("/f", CONTENT, "status:500"), path, attempts=4, wait=0.1)
    waits = [later["at"] - sooner["at"] for sooner, later in itertools.pairwise(web.log)]
    assert len(waits) == 3 and waits[0] >= 0.075 and waits[1] >= 0.15 and waits[2] >= 0.3


def test_progress_counts_as_success(web, path, monkeypatch):
    monkeypatch.setattr(resumable, "_PROGRESS", 200_000)
    get(web.put("/f", CONTENT, by_number(*["cut:400000"] * 6, "ok"), ETag='"one"'), path, attempts=2)
    assert path.read_bytes() == CONTENT and len(web.log) == 7


@pytest.mark.parametrize("facts, requests", [(FACTS, 0), ({}, 1)])
def test_free_space(web, path, monkeypatch, facts, requests):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=50_000_000))
    with pytest.raises(InputError, match=r"raw.bin needs 0.07 GB more in .*, 0.05 GB are free: make room"):
        get(web.put("/f", CONTENT), path, **facts)
    assert len(web.log) == requests and left(path) == []


@pytest.mark.slow
def test_a_full_disk(web, path):
    """The file system itself says no: a limit on the size of files stands for it."""
    code = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); "
        f"from ifcdsr_core.sources.download.resumable import fetch; fetch({web.put('/f', CONTENT)!r}, {str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "the disk takes no more: File too large" in done.stderr.splitlines()[-1], done.stderr


def test_a_damaged_file_is_named_and_left_alone(web, path):
    path.parent.mkdir()
    path.write_bytes(OTHER)
    with pytest.raises(InputError, match="is not the published file .sha256 should be"):
        get(web.put("/f", CONTENT), path, **FACTS)
    assert path.read_bytes() == OTHER and web.log == []


def test_two_processes_do_not_write_the_same_part(web, path, capsys):
    """The second waits and says so; where the first has given up, it goes on from there."""
    url = web.put("/f", CONTENT, by_number("cut:1000000", "ok"), ETag='"one"')
    with pytest.raises(InputError, match="broken off"):
        get(url, path, attempts=1)
    assert not capsys.readouterr().err
    with ThreadPoolExecutor() as threads:
        with locked(path.parent / ".raw.bin.lock"):
            second = threads.submit(get, url, path)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert len(web.log) == 1 and left(path) == ["raw.bin.part", "raw.bin.part.json"]
        assert second.result(timeout=10).read_bytes() == CONTENT
    assert len(web.log) == 2 and "Range" in web.log[1]["headers"] and left(path) == ["raw.bin"]
    assert capsys.readouterr().err == f"{path} is being downloaded by another process: waiting for it\n"


@pytest.mark.slow
@pytest.mark.parametrize("facts", [FACTS, {}])
def test_killed_at_random_moments(web, path, facts):
    """The file is the published one, and no more came twice than was on its way when the process was killed."""
    moments = random.Random(11)
    url = web.put("/f", CONTENT, "trickle:2000000", ETag='"one"')
    killed = run_and_kill(
        web, [moments.uniform(0.0, 0.12) for _ in range(8)], resumable.fetch, url, path, Facts(**facts)
    )
    assert killed == 8 and path.read_bytes() == CONTENT and left(path) == ["raw.bin"]
    starts = [int(entry["headers"].get("Range", "bytes=0-")[6:-1]) for entry in web.log]
    assert starts == sorted(starts) and starts[-1] > 0
    for entry, (start, after) in zip(web.log[:-1], itertools.pairwise(starts), strict=True):
        assert after >= start + entry["sent"] - 2 * 100_000 - resumable._CHUNK  # 100,000 bytes every 0.05 s


def test_a_table_of_files(web, tmp_path, monkeypatch):
    files = [
        ("a.bin", web.put("/a", CONTENT), FACTS["bytes"], FACTS["sha256"]),
        ("b.bin", web.put("/b", OTHER), None, None),
        ("c.bin", web.put("/c", OTHER), None, None),
    ]
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "c.bin").write_bytes(OTHER)
    said = []
    assert resumable.fetch_all(files, tmp_path / "new" / "er", elsewhere=mirror, dry_run=True, report=said.append) == []
    assert not web.log and not (tmp_path / "new").exists()
    assert "a.bin: missing; 3.0 MB, checked by SHA-256" in said[0] and "c.bin: there; size not recorded" in said[2]
    assert said[3].startswith("to transfer: 0.00 GB and 1 files of unknown size; ")
    paths = resumable.fetch_all(files, tmp_path / "new" / "er", elsewhere=mirror, report=said.append)
    assert [path.read_bytes() for path in paths] == [CONTENT, OTHER, OTHER] and paths[2] == mirror / "c.bin"
    assert [entry["path"] for entry in web.log] == ["/a", "/b"]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=50_000_000))
    with pytest.raises(InputError, match="needs 0.07 GB, 0.05 GB are free"):
        resumable.fetch_all(files[:1], tmp_path / "other", report=said.append)


def test_the_command(tmp_path, monkeypatch, capsys, web):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    monkeypatch.delenv("IFCDSR_MIRROR", raising=False)
    amazon = ["download", "--source", "amazon"]
    assert main([*amazon, "--scenario", "movie_book", "--source-option", "release=2023", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("missing") == 4 and "meta_Books.jsonl.gz" in said and not list(tmp_path.iterdir())
    assert main(["download"]) == 1 and main(["download", "--source", "c2dsr"]) == 1
    assert main([*amazon, "--source-option", "release=2020"]) == 1
    assert main([*amazon, "--source-option", "releases=2023"]) == 1
    assert main([*amazon, "--scenario", "beauty_electronics"]) == 1
    says = [
        "source 'demo' needs no download of its own, prepare makes or fetches what it reads: choose amazon",
        "source 'c2dsr' needs no download of its own, prepare makes or fetches what it reads: choose amazon",
        "unknown release '2020': choose one of 2014, 2023, sample",
        "unknown option 'releases' of source 'amazon': it has release, reviews, ",
        "unknown scenario 'beauty_electronics': choose one of food_kitchen, movie_book",
    ]
    for error, expected in zip(capsys.readouterr().err.splitlines(), says, strict=True):
        assert error.startswith(f"error: {expected}")
    monkeypatch.setattr(source, "raw_files", lambda *_: [("a.bin", web.put("/a", CONTENT), None, FACTS["sha256"])])
    assert main(amazon) == 0
    assert (tmp_path / "amazon" / "2014" / "a.bin").read_bytes() == CONTENT


def test_killed_between_the_last_byte_and_the_name(web, path):
    url = web.put("/f", CONTENT, ETag='"one"')
    resumable.fetch(url, path)
    path.rename(path.parent / "raw.bin.part")
    (path.parent / "raw.bin.part.json").write_text('{"validator": "\\"one\\"", "bytes": 3000000}')
    assert get(url, path).read_bytes() == CONTENT and len(web.log) == 1 and left(path) == ["raw.bin"]
