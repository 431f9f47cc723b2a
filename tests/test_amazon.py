"""Raw Amazon files: every format, every kind of bad line, damaged and missing files, killed conversions."""

from __future__ import annotations

import ast
import codecs
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import raw_amazon
from PIL import Image
from raw_amazon import DAY, Planted, write_raw
from web_server import WebServer

from ifcdsr_core.__main__ import main
from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.amazon import reviews, source

pl = pytest.importorskip("polars")
WORLD = Planted()
FORMATS = [("2014", "ratings"), ("2014", "5core"), ("2023", "ratings")]


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    """Every test has its own data folder and no mirror."""
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("IFCDSR_MIRROR", raising=False)
    return tmp_path / "data"


def table(path: Path) -> list[dict]:
    return pl.read_parquet(path).to_dicts()


def write(path: Path, lines: list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return path


# ---------------------------------------------------------------------------- the whole way


@pytest.mark.parametrize("release, kind", FORMATS)
def test_the_planted_world_is_recovered_from_raw_files(release, kind, own_data):
    write_raw(
        own_data / "amazon" / release,
        "food_kitchen",
        (WORLD.x, WORLD.y),
        (release, kind),
        titles={"X00": "Salt &amp; <b>Caf&amp;eacute;</b>\n 1", "Y39": "Not in a sequence"},
    )
    scenario = prepare("amazon", "food_kitchen", release=release, reviews=kind, ties="by_name", numbering="published")
    names, found = scenario.items["source_id"].tolist(), {}
    for row in scenario.sequences.itertuples():
        found.setdefault(row.user, []).append([names[item - 1] for item in row.items])
    assert {user: sorted(sequences) for user, sequences in found.items()} == {
        user: sorted(sequences) for user, sequences in WORLD.expected.items() if sequences
    }
    first = scenario.items.iloc[0]
    assert (first["source_id"], first["title"], first["image"]) == ("X00", "Salt & <b>Caf&eacute;</b> 1", None)
    assert first["image_urls"][0].endswith("/X00.jpg")
    assert scenario.items["title"].notna().sum() == 1  # an item without metadata is kept, without title and picture
    provenance = scenario.provenance
    assert provenance["items_without_title"] == len(scenario.items) - 1 == provenance["items_without_picture"]
    assert provenance["rules"]["window_days"] == 365 and provenance["options"]["window_days"] == 0
    assert provenance["funnel"][0]["interactions"] == len(WORLD.x) + len(WORLD.y)
    assert provenance["leakage_left"]["training_sequences"] == 0
    held_out = sum(map(bool, WORLD.expected.values()))
    assert provenance["target_ties"] == {"held_out_sequences": held_out, "tied": 1}  # that of TIES
    assert provenance["rules"]["ties"] == "by_name"
    assert [facts["problems"] for facts in provenance["files"].values()] == [{}] * 4
    assert {name: (facts["url"], facts["recorded_sha256"]) for name, facts in provenance["files"].items()} == {
        name: (url, sha256) for name, url, _, sha256 in source.raw_files(release, "food_kitchen", kind)
    }
    assert scenario.folder.name == "-".join(
        ["food_kitchen", 'numbering="published"']
        + ['release="2023"'] * (release == "2023")
        + ['reviews="5core"'] * (kind == "5core")
        + ['ties="by_name"']
    )


def test_rules_are_options(own_data):
    write_raw(own_data / "amazon" / "2014", "food_kitchen", (WORLD.x, WORLD.y))
    scenario = prepare("amazon", "food_kitchen", windows="pieces", min_user=9)
    assert scenario.provenance["rules"]["windows"] == "pieces"
    assert {"NINE"} < set(scenario.sequences["user"])
    for options, says in (
        ({"windows": "cut"}, "unknown windows 'cut'"),
        ({"min_user": 0}, "min_user is 0"),
        ({"ties": "shuffled"}, "unknown ties 'shuffled': choose one of drawn, by_name"),
        ({"min_user": "9"}, "must be of type int"),
        ({"cut": 1}, "unknown option 'cut'"),
    ):
        with pytest.raises(InputError, match=says):
            prepare("amazon", "food_kitchen", **options)


def test_movie_book_has_the_papers_window(own_data):
    write_raw(own_data / "amazon" / "2014", "movie_book", (WORLD.x, WORLD.y))
    assert prepare("amazon", "movie_book").provenance["rules"]["window_days"] == 30


def test_raw_files_of_a_mirror_are_read_in_place(tmp_path, own_data, monkeypatch):
    paths = write_raw(tmp_path / "mirror" / "amazon" / "2014", "food_kitchen", (WORLD.x, WORLD.y))
    monkeypatch.setenv("IFCDSR_MIRROR", str(tmp_path / "mirror"))
    assert isinstance(prepare("amazon", "food_kitchen"), Scenario)
    assert sorted(paths) == sorted((tmp_path / "mirror").rglob("*.*"))
    assert len(list((own_data / "amazon" / "2014").iterdir())) == 4


def test_pictures_outlive_a_new_build_and_serve_other_rules(own_data):
    """Every picture is asked for once, whichever scenario of the release asks first; the server counts."""

    def pictures(*options: str) -> int:
        seen = len(web.log)
        chosen = [part for option in options for part in ("--source-option", option)]
        assert main([*"pictures --source amazon --allow-private --rate 10000".split(), *chosen]) == 0
        return len(web.log) - seen

    def shown(scenario: Scenario) -> dict[str, bytes | None]:
        return {
            row.source_id: (scenario.folder / row.image).read_bytes() if isinstance(row.image, str) else None
            for row in scenario.items.itertuples()
        }

    with WebServer() as web:
        write_raw(own_data / "amazon" / "2014", "food_kitchen", (WORLD.x, WORLD.y), web=web.url("/"))
        content = {}
        for number, name in enumerate(sorted({name for _, name, _ in WORLD.x + WORLD.y})):
            file = io.BytesIO()
            Image.new("RGB", (20, 20), (number, 0, 0)).save(file, "PNG")
            content[name] = file.getvalue()
            web.put(f"/{name}.jpg", content[name], "status:404" if name == "X01" else None)
        content["X01"] = None
        before = prepare("amazon", "food_kitchen")
        assert set(shown(before).values()) == {None} and not (before.folder / "images").exists()
        assert pictures() == before.num_items and pictures() == 0
        names = before.items["source_id"].tolist()
        wanted = {name: content[name] for name in names}
        assert shown(prepare("amazon", "food_kitchen")) == wanted

        again = prepare("amazon", "food_kitchen", force=True)
        assert shown(again) == wanted and again.fingerprint == before.fingerprint and pictures() == 0

        fewer = prepare("amazon", "food_kitchen", max_length=8)
        assert shown(fewer) == {name: content[name] for name in fewer.items["source_id"]} and fewer.num_items
        more = prepare("amazon", "food_kitchen", min_item=1, shared_items="keep")
        ids = more.items["source_id"].tolist()
        assert ids.count("XBOTH") == 2 and set(ids) > set(names) and ids.index(names[-1]) != names.index(names[-1])
        assert shown(more) == {name: content[name] if name in names else None for name in ids}
        assert pictures("min_item=1", 'shared_items="keep"') == len(set(ids) - set(names))
        more = Scenario.load(more.folder)
        assert shown(more) == {name: content[name] for name in ids}
        assert more.items.loc[more.items["source_id"] == "XBOTH", "image"].notna().sum() == 2
        assert (own_data / "pictures" / "amazon-2014").is_dir()

        write_raw(own_data / "amazon" / "2023", "food_kitchen", (WORLD.x, WORLD.y), ("2023", "ratings"))
        assert set(shown(prepare("amazon", "food_kitchen", release="2023")).values()) == {None}  # a store of its own


@pytest.mark.parametrize("release, kind", FORMATS)
def test_a_missing_file_says_where_it_is_from(release, kind, own_data, capsys):
    """The command it names would fetch this file, and none but this."""
    paths = write_raw(own_data / "amazon" / release, "movie_book", (WORLD.x, WORLD.y), (release, kind))
    paths[3].unlink()
    with pytest.raises(InputError) as caught:
        prepare("amazon", "movie_book", release=release, reviews=kind)
    name, url, *_ = source.raw_files(release, "movie_book", kind)[3]
    message = str(caught.value)
    assert str(paths[3]) in message and url in message and "\n" not in message and name == paths[3].name
    command = re.search("'python -m ifcdsr_core (download --source amazon --scenario movie_book .*?)'", message)[1]
    assert main([*command.split(), "--dry-run"]) == 0
    *listed, _ = capsys.readouterr().out.splitlines()
    assert [line.partition(";")[0] for line in listed] == [
        f"{path}: {'missing' if path == paths[3] else 'there'}" for path in paths
    ]


RELEASES = [("2014", "ratings", 1), ("2014", "5core", 1), ("2023", "ratings", 1_000)]


def rewrite(path: Path, change) -> None:
    """Change the lines of a raw file, compressed or not: ``change(number from 0, line)``."""
    gz = path.suffix == ".gz"
    lines = (gzip.decompress(path.read_bytes()) if gz else path.read_bytes()).decode().splitlines()
    write(path, [change(number, line).encode() for number, line in enumerate(lines)])


@pytest.mark.parametrize("release, kind, units", RELEASES)
@pytest.mark.parametrize("factor", [0.001, 1000.0, 1 / 60, 1 / DAY, 1e6])
def test_a_file_in_another_unit_of_time_is_refused(release, kind, units, factor, own_data):
    log = [[(user, item, int(time * factor)) for user, item, time in part] for part in (WORLD.x, WORLD.y)]
    paths = write_raw(own_data / "amazon" / release, "food_kitchen", log, (release, kind))
    with pytest.raises(
        InputError, match=f"{paths[0].name} holds no line .* x time out of range.* should be "
    ) as caught:
        prepare("amazon", "food_kitchen", release=release, reviews=kind)
    assert "\n" not in str(caught.value) and ("milliseconds" if units > 1 else "seconds") in str(caught.value)


@pytest.mark.parametrize("release, kind, units", RELEASES)
def test_times_in_two_units_are_counted_or_refused(release, kind, units, own_data):
    """A third in another unit is counted; more than half, and the file is not what its name says."""
    paths = write_raw(own_data / "amazon" / release, "food_kitchen", (WORLD.x, WORLD.y), (release, kind))
    options = {"release": release, "reviews": kind, "min_item": 1, "min_length": 2, "min_per_domain": 1, "force": True}
    found = {}
    for thirds in range(3):
        for path in paths[:2]:
            rewrite(path, lambda number, line, thirds=thirds: longer(line) if number % 3 < thirds else line)
        if thirds < 2:
            facts = prepare("amazon", "food_kitchen", **options).provenance["files"]
            found[thirds] = [facts[path.name]["problems"] for path in paths[:2]]
    assert found[0] == [{}, {}]
    lines = [-(-len(part) // 3) for part in (WORLD.x, WORLD.y)]
    assert found[1] == [{"time out of range": {"lines": number, "first": 1}} for number in lines]
    with pytest.raises(InputError, match=r"lines can't be used \(\d+ x time out of range, first in line 1\): a line "):
        prepare("amazon", "food_kitchen", **options)


def longer(line: str) -> str:
    """The line, its time in a thousandth of the unit."""
    return re.sub(r"(?<=\D)(1\d{9})(\d{3})?(?=\D|$)", r"\g<0>000", line)


@pytest.mark.parametrize("release, kind", FORMATS)
def test_metadata_of_other_items_are_refused(release, kind, own_data):
    paths = write_raw(own_data / "amazon" / release, "food_kitchen", (WORLD.x, WORLD.y), (release, kind))
    rewrite(paths[3], lambda number, line: line.replace("'asin': 'Y", "'asin': 'Z").replace('asin": "Y', 'asin": "Z'))
    rewrite(paths[3], lambda number, line: line.replace("'XBOTH'", "'Z'").replace('"XBOTH"', '"Z"'))
    with pytest.raises(InputError, match=f"{paths[3].name} describes no item of {paths[1].name} .they begin with "):
        prepare("amazon", "food_kitchen", release=release, reviews=kind)
    assert not (own_data / "scenarios").exists() or not list((own_data / "scenarios").rglob("*.json"))


def test_users_and_items_in_the_wrong_columns_are_noticed(own_data):
    paths = write_raw(own_data / "amazon" / "2014", "food_kitchen", (WORLD.x, WORLD.y))
    for path in paths[:2]:
        rewrite(path, lambda number, line: ",".join(line.split(",")[n] for n in (1, 0, 2, 3)))
    with pytest.raises(InputError, match="describes no item of ratings_Grocery_and_Gourmet_Food.csv"):
        prepare("amazon", "food_kitchen")


def test_quoted_ratings_and_json_metadata_make_the_same_scenario(own_data):
    paths = write_raw(own_data / "amazon" / "2014", "food_kitchen", (WORLD.x, WORLD.y))
    plain = prepare("amazon", "food_kitchen")
    for path in paths[:2]:
        rewrite(path, lambda number, line: ",".join(f'"{field}"' for field in line.split(",")))
    for path in paths[2:]:
        rewrite(path, lambda number, line: json.dumps(ast.literal_eval(line)))
    other = prepare("amazon", "food_kitchen", force=True)
    assert other.fingerprint == plain.fingerprint and other.provenance["items_without_title"] == 0


def test_the_published_files():
    for scenario, (x, y) in raw_amazon.NAMES.items():
        assert [file[0] for file in source.raw_files("2014", scenario)] == [
            f"ratings_{x}.csv",
            f"ratings_{y}.csv",
            f"meta_{x}.json.gz",
            f"meta_{y}.json.gz",
        ]
        for release, kind in FORMATS:
            for name, url, size, checksum in source.raw_files(release, scenario, kind):
                assert url.startswith("https://") and url.endswith("/" + name)
                assert size is None or size > 10**8
                assert checksum is None or len(checksum) == 64
    with pytest.raises(InputError, match="release 2023 .* set reviews to ratings"):
        source.raw_files("2023", "food_kitchen", "5core")
    with pytest.raises(InputError, match="unknown release '2018': choose one of 2014, 2023"):
        source.raw_files("2018", "food_kitchen")


# ---------------------------------------------------------------------------- bad lines


HOSTILE = b"__import__('pathlib').Path('%s').write_text('executed')"
GOOD_2014 = b"{'asin': 'GOOD', 'title': \"It's\", 'imUrl': 'http://a/b.jpg', 'price': -1.5e-3, 'x': [(), None, True]}"
BAD_META_2014 = {
    b"": "empty",
    b"  \t": "empty",
    b"\xff\xfe{}": "not UTF-8",
    b"{'asin': 'A\0'}": "NUL byte",
    b"{'asin': 'A', 'title': '" + b"x" * reviews.MAX_LINE + b"'}": "longer than 1 MiB",
    b"<html><body>404 Not Found</body></html>": "HTML or XML",
    b"{'asin': 'A', 'title': 'cut o": "cut off or malformed",
    b"{'asin': 'A', 'title'": "cut off or malformed",
    b"{'asin': 'A',, }": "cut off or malformed",
    b"{'asin': 'A'} {'asin': 'B'}": "cut off or malformed",
    b"{['asin']: 'A'}": "cut off or malformed",
    b"{'asin' 'A'}": "cut off or malformed",
    b"{'asin': 'A', 'n': " + b"1" * 5000 + b"}": "cut off or malformed",
    b"\xef\xbb\xbf{'asin': 'A'}": "more than a literal: a name, a call or an operator",  # not at the beginning
    b'{"asin": "A", "ok": true, "no": False}': "more than a literal: a name, a call or an operator",
    b'{"asin": "A", "ok": TRUE}': "more than a literal: a name, a call or an operator",
    b'{"asin": "A", "title": "cut': "cut off or malformed",
    b'{"asin": "A"}, ': "not a dict",
    b'[{"asin": "A"}]': "not a dict",
    b'{"asin": "A\\"B"}': "asin is malformed",
    b"{'asin': 'A', 'n': nan}": "more than a literal: a name, a call or an operator",
    b"{'asin': " + b"-" * 100_000 + b"1}": "more than a literal: a name, a call or an operator",
    b"{'asin': 1" + b"+1" * 100_000 + b"}": "more than a literal: a name, a call or an operator",
    b"{'asin': 1" + b" -1" * 100_000 + b"}": "cut off or malformed",
    b"{'asin': 'a'" + b"()" * 100_000 + b"}": "cut off or malformed",
    b"{'asin': f'{open(1)}'}": "more than a literal: a name, a call or an operator",
    b"{'asin': b'A'}": "more than a literal: a name, a call or an operator",
    b"[" * 100_000 + b"]" * 100_000: "nested too deeply",
    b"{'asin': " + b"[" * 25 + b"]" * 25 + b"}": "nested too deeply",
    b"['asin', 'A']": "not a dict",
    b"'asin'": "not a dict",
    b"None": "not a dict",
    b"{'title': 'no asin'}": "asin is missing",
    b"{'asin': 17}": "asin is malformed",
    b"{'asin': 'two words'}": "asin is malformed",
    b"{'asin': ''}": "asin is malformed",
    b"{'asin': 'GOOD', 'title': \"It's\"}": "item again, same title",
    b"{'asin': 'GOOD', 'title': 'Other'}": "item again, other title",
    b"{'asin': 'T', 'title': ['a']}": "title is not text (item kept)",
    b"{'asin': 'P', 'imUrl': 'javascript:alert(1)'}": "picture address is not one (item kept)",
    b"{'asin': 'Q', 'imUrl': 5}": "picture address is not one (item kept)",
}


def test_bad_metadata_lines_of_2014_are_counted_by_kind(tmp_path, own_data):
    hostile = HOSTILE % str(tmp_path / "executed").encode()
    lines = {
        hostile: "more than a literal: a name, a call or an operator",
        b"{'asin': " + hostile + b"}": "more than a literal: a name, a call or an operator",
        **BAD_META_2014,
    }
    path, facts = reviews.items(write(tmp_path / "meta_Books.json.gz", [GOOD_2014, *lines]), own_data)
    assert not (tmp_path / "executed").exists()
    expected = {}
    for number, kind in enumerate(lines.values(), start=2):
        seen = expected.setdefault(kind, {"lines": 0, "first": number})
        seen["lines"] += 1
    assert facts["problems"] == expected and list(facts["problems"]) == sorted(expected)
    assert table(path) == [
        {"source_id": "GOOD", "title": "It's", "image_urls": ["http://a/b.jpg"]},
        {"source_id": "T", "title": None, "image_urls": []},
        {"source_id": "P", "title": None, "image_urls": []},
        {"source_id": "Q", "title": None, "image_urls": []},
    ]
    lost = sum(seen["lines"] for kind, seen in expected.items() if "item kept" not in kind)
    assert facts["rows"] + lost == 1 + len(lines)  # none lost silently


def test_metadata_of_2014_are_read_as_json_where_they_are_json(tmp_path, own_data):
    title = "Caf\u00e9 / 'It's' \U0001f600"
    lines = [
        json.dumps({"asin": "A1", "title": title, "imUrl": "http://a/b.jpg", "price": None, "new": True}),
        json.dumps({"asin": "A2", "title": title, "imUrl": "http://a/b.jpg", "salesRank": {}}, ensure_ascii=False),
        repr({"asin": "A3", "title": title, "imUrl": "http://a/b.jpg", "price": None, "new": True}),
        json.dumps({"asin": "A4", "title": title, "imUrl": "http://a/b.jpg", "price": float("nan")}).replace(
            "/", "\\/"
        ),
    ]
    text = codecs.BOM_UTF8 + "\r\n".join(lines).encode()
    for name in ("meta_Books.json.gz", "meta_Books.json"):
        for content in (text, gzip.compress(text), gzip.compress(text[:99]) + gzip.compress(text[99:])):
            (tmp_path / name).write_bytes(content)
            path, facts = reviews.items(tmp_path / name, own_data)
            assert facts["problems"] == {} and table(path) == [
                {"source_id": f"A{number}", "title": title, "image_urls": ["http://a/b.jpg"]} for number in range(1, 5)
            ]


@pytest.mark.parametrize("unit", [b'\\"', b"'\\", b"\"'", b"( ", b"a ", b"1.", b"-", b"&", b"] "])
def test_a_hostile_line_takes_no_time(unit, tmp_path, own_data):
    lines = [GOOD_2014, b"{'asin': \"" + unit * (reviews.MAX_LINE // len(unit) - 20), unit * 300_000]
    begin = time.perf_counter()
    _, facts = reviews.items(write(tmp_path / "meta_Books.json.gz", lines), own_data)
    assert facts["rows"] == 1 and sum(seen["lines"] for seen in facts["problems"].values()) == 2
    assert time.perf_counter() - begin < 20  # a quadratic pattern would take hours


BAD_META_2023 = {
    b"": "empty",
    b"{'parent_asin': 'A'}": "cut off or malformed",
    b'{"parent_asin": "A"': "cut off or malformed",
    b'{"parent_asin": "A", "n": ' + b"1" * 5000 + b"}": "cut off or malformed",
    b"[" * 100_000: "nested too deeply",
    b'["parent_asin"]': "not a dict",
    b"NaN": "not a dict",
    b'{"asin": "A"}': "parent_asin is missing",
    b'{"parent_asin": null}': "parent_asin is missing",
    b'{"parent_asin": "\\ud800"}': "parent_asin is malformed",
    b'{"parent_asin": "I", "images": {"large": []}}': "images are not a list of dicts (item kept)",
    b'{"parent_asin": "J", "images": ["http://a"]}': "images are not a list of dicts (item kept)",
    b'{"parent_asin": "K", "images": [{"large": "file:///etc/passwd"}, {"large": ["x"]}]}': (
        "picture address is not one (item kept)"
    ),
    b'{"parent_asin": "L", "title": 3}': "title is not text (item kept)",
}


def test_bad_metadata_lines_of_2023_are_counted_by_kind(tmp_path, own_data):
    good = json.dumps({"parent_asin": "GOOD", "title": " A \ud800 &amp; B ", "images": raw_amazon.pictures("GOOD")})
    path, facts = reviews.items(write(tmp_path / "meta_Books.jsonl", [good.encode(), *BAD_META_2023]), own_data)
    for number, kind in enumerate(BAD_META_2023.values(), start=2):
        assert facts["problems"][kind]["first"] <= number
    assert sum(seen["lines"] for seen in facts["problems"].values()) == len(BAD_META_2023)
    rows = {row["source_id"]: row for row in table(path)}
    assert list(rows) == ["GOOD", "I", "J", "K", "L"]
    assert rows["GOOD"]["title"] == "A ? & B"
    ends = ["GOOD.jpg", "GOOD_t.jpg", "GOOD_b.jpg", "GOOD_b_h.jpg", "GOOD_b_t.jpg"]  # the main picture first
    assert [url.rsplit("/", 1)[1] for url in rows["GOOD"]["image_urls"]] == ends


GOOD_RATING = b"A1,B1,5.0,1405987200"
BAD_RATINGS = {
    b"": "empty",
    b"\xff,B1,5.0,1405987200": "not UTF-8",
    b"A1\0,B1,5.0,1405987200": "NUL byte",
    b"A" * (reviews.MAX_LINE + 1): "longer than 1 MiB",
    b"<html>": "HTML or XML",
    b"A1,B1,5.0": "not four fields",
    b"A1,B1,5.0,1405987200,": "not four fields",
    b"A1;B1;5.0;1405987200": "not four fields",
    b",B1,5.0,1405987200": "user missing or malformed",
    b"A 1,B1,5.0,1405987200": "user missing or malformed",
    b"A\\,B1,5.0,1405987200": "user missing or malformed",
    b"'A1','B1',5.0,1405987200": "user missing or malformed",
    b'"A1,"B1",5.0,1405987200': "user missing or malformed",
    b'A1",B1,5.0,1405987200': "user missing or malformed",
    b'"A1"x,B1,5.0,1405987200': "user missing or malformed",
    b'" A1",B1,5.0,1405987200': "user missing or malformed",
    b'"A""1",B1,5.0,1405987200': "user missing or malformed",
    b'"",B1,5.0,1405987200': "user missing or malformed",
    b'"A,1",B1,5.0,1405987200': "not four fields",
    b'"A1,B1,5.0,1405987200"': "user missing or malformed",
    b"A1\tB1\t5.0\t1405987200": "not four fields",
    b"A1,,5.0,1405987200": "item missing or malformed",
    b"A1,{B1},5.0,1405987200": "item missing or malformed",
    b"A1,B1,good,1405987200": "rating is not a number",
    b"A1,B1,nan,1405987200": "rating is not a number",
    b"A1,B1,%d,1405987200" % 10**400: "rating is not a number",
    b"A1,B1,,1405987200": "rating is not a number",
    b"A1,B1,5.0,today": "time is not a whole number",
    b"A1,B1,5.0,": "time is not a whole number",
    b"A1,B1,5.0,1405987200.5": "time is not a whole number",
    b"A1,B1,5.0,1.405987200e9": "time is not a whole number",
    b"A1,B1,5.0,1405987200.0": "time is not a whole number",
    b'A1,B1,5.0,"1405987200.0"': "time is not a whole number",
    b"A1,B1,5.0,2014-07-22": "time is not a whole number",
    b"A1,B1,5.0,-5": "time out of range",
    b"A1,B1,5.0,0": "time out of range",
    b"A1,B1,5.0,14": "time out of range",  # cut off
    b"A1,B1,5.0,140598720": "time out of range",  # cut off, too: 1974
    b"A1,B1,5.0,788918399": "time out of range",
    b"A1,B1,5.0,4102444800": "time out of range",
    b"A1,B1,5.0,1405987200000": "time out of range",
    b"user,item,rating,timestamp": "rating is not a number",
}


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_bad_ratings_are_counted_by_kind(end, tmp_path, own_data):
    lines = [GOOD_RATING + end, *BAD_RATINGS, b"#oc-R1,B2,1,788918400" + end]
    path, facts = reviews.interactions(write(tmp_path / "ratings_Books.csv", lines), own_data)
    expected = {}
    for number, kind in enumerate(BAD_RATINGS.values(), start=2):
        expected.setdefault(kind, {"lines": 0, "first": number})["lines"] += 1
    assert facts["problems"] == expected
    assert table(path) == [
        {"user": "A1", "item": "B1", "time": 1405987200},
        {"user": "#oc-R1", "item": "B2", "time": 788918400},
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"A1,B1,5.0,1405987200",
        b'"A1","B1",5.0,1405987200',
        b'"A1","B1","5.0","1405987200"',
        b'A1,"B1",5.0,1405987200',
        b'"A1", "B1", 5.0, 1405987200',
        b" A1 , B1 , 5.0 , 1405987200 ",
        b'  "A1"  ,"B1",5,1405987200',
        b"A1,B1,5e0,+1405987200",
    ],
)
@pytest.mark.parametrize("before, end", [(b"", b"\n"), (b"\xef\xbb\xbf", b"\n"), (b"", b"\r\n"), (b"", b"")])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda text: gzip.compress(text[:9]) + gzip.compress(text[9:])])
def test_a_rating_is_read_in_other_dialects(line, before, end, pack, tmp_path, own_data):
    raw = tmp_path / "ratings_Books.csv"
    raw.write_bytes(pack(before + line + end))
    path, facts = reviews.interactions(raw, own_data)
    assert table(path) == [{"user": "A1", "item": "B1", "time": 1405987200}] and facts["problems"] == {}


@pytest.mark.parametrize(
    "name, good, bad",
    [
        (
            "reviews_Books_5.json.gz",
            {"reviewerID": "U", "asin": "I", "overall": 5, "unixReviewTime": 788918400},
            {
                "reviewerID": (None, 5, '"U"'),
                "asin": (None, "", "{I}"),
                "overall": (None, "5", True, float("nan"), 10**400),
                "unixReviewTime": (None, 788918400.5, "788918400", True, 0, 788918399, 4102444800, 1405987200000),
            },
        ),
        (
            "Books.jsonl",
            {"user_id": "U", "parent_asin": "I", "rating": 5.0, "timestamp": 788918400999},
            {
                "user_id": (None, 5),
                "parent_asin": (None, "a b"),
                "rating": (None, [], float("inf"), 10**400),
                "timestamp": (
                    None,
                    1405987200000.0,
                    "1405987200000",
                    -1,
                    1405987200,
                    788918399999,
                    4102444800000,
                    10**16,
                ),
            },
        ),
    ],
)
def test_bad_reviews_are_counted_by_kind(name, good, bad, tmp_path, own_data):
    wrong = [good | {field: value} for field, values in bad.items() for value in values]
    lines = [json.dumps(line).encode() for line in (good, *wrong)] + [b"{", b"[]"]
    path, facts = reviews.interactions(write(tmp_path / name, lines), own_data)
    assert table(path) == [{"user": "U", "item": "I", "time": 788918400}]
    assert sum(seen["lines"] for seen in facts["problems"].values()) == len(wrong) + 2
    assert len(facts["problems"]) >= 7


def test_lines_are_numbered_across_blocks_and_endless_lines_need_no_memory(tmp_path, own_data, monkeypatch):
    monkeypatch.setattr(reviews, "_CHUNK", 64)
    monkeypatch.setattr(reviews, "MAX_LINE", 100)
    lines = [GOOD_RATING] * 50 + [b"x" * 10_000] + [GOOD_RATING] * 50 + [b"bad"]
    path, facts = reviews.interactions(write(tmp_path / "ratings_Books.csv", lines), own_data)
    assert facts["rows"] == 100 == len(table(path))
    assert facts["problems"] == {
        "longer than 1 MiB": {"lines": 1, "first": 51},
        "not four fields": {"lines": 1, "first": 102},
    }
    longest = max(len(block) for _, block in reviews._blocks(tmp_path / "ratings_Books.csv"))
    assert longest < 500


# ---------------------------------------------------------------------------- damaged files, killed conversions


@pytest.mark.parametrize(
    "name, content",
    [
        ("meta_Books.json.gz", gzip.compress(GOOD_2014 * 1000, mtime=0)[:-20]),
        ("meta_Books.json.gz", b"<html>404</html>"),
        ("meta_Books.json.gz", gzip.compress(GOOD_2014, mtime=0)[:40] + b"\xff" * 40),
        ("meta_Books.json.gz", gzip.compress(b"", mtime=0)),
        ("meta_Books.jsonl", b"<html>404</html>"),
        ("meta_Books.json.gz", b""),
        ("meta_Books.json", b"\xef\xbb\xbf"),
        ("meta_Books.json", GOOD_2014.decode().encode("utf-16")),
        ("meta_Books.json", (GOOD_2014 + b"\n" + GOOD_2014).decode().encode("utf-16-le")),
        ("meta_Books.json.gz", gzip.compress(gzip.compress(GOOD_2014, mtime=0), mtime=0)),
        ("meta_Books.json.gz", gzip.compress(GOOD_2014, mtime=0) + b"more"),
        ("meta_Books.json.gz", b"\x1f\x8b"),
        ("meta_Books.json", b"[" + GOOD_2014 + b",\n" + GOOD_2014 + b"]"),
    ],
)
def test_a_damaged_file_is_one_clear_error(name, content, tmp_path, own_data):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} .*fetch it again"):
        reviews.items(tmp_path / name, own_data)
    assert not list(own_data.rglob("*.*"))


def test_a_conversion_is_kept_until_the_raw_file_or_the_reader_changes(tmp_path, own_data, monkeypatch):
    raw = write(tmp_path / "ratings_Books.csv", [GOOD_RATING])
    path, facts = reviews.interactions(raw, own_data)
    before = path.stat().st_mtime_ns
    assert reviews.interactions(raw, own_data) == (path, facts) and path.stat().st_mtime_ns == before
    write(raw, [GOOD_RATING, b"bad"])
    assert reviews.interactions(raw, own_data)[1]["problems"]
    monkeypatch.setattr(reviews, "VERSION", 99)
    assert reviews.interactions(raw, own_data)[1]["reader"] == 99
    path.write_bytes(b"damaged")
    assert reviews.interactions(raw, own_data)[1]["rows"] == 1 == len(table(path))


@pytest.mark.slow
def test_a_killed_conversion_leaves_nothing_half_written(tmp_path, own_data):
    random = np.random.default_rng(0)
    raw = write(
        tmp_path / "ratings_Books.csv",
        [b"A%d,B%d,5.0,%d" % tuple(row) for row in random.integers(8 * 10**8, 10**9, (150_000, 3))],
    )
    code = (
        "import sys, pathlib; from ifcdsr_core.sources.amazon import reviews; reviews._CHUNK = 1 << 16; "
        "reviews.interactions(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    final = own_data / "ratings_Books.csv.parquet"
    for killed in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, raw, own_data], cwd=ROOT)
        while process.poll() is None and not list(own_data.glob(".ratings*")):
            time.sleep(0.01)
        time.sleep(0.05 * killed)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not final.exists() or process.returncode == 0
    done = subprocess.run([sys.executable, "-c", code, raw, own_data], cwd=ROOT, env=os.environ)
    assert done.returncode == 0
    assert [path.name for path in own_data.iterdir()] == [final.name]  # what the killed ones left is swept away
    again = subprocess.run([sys.executable, "-c", code, raw, tmp_path / "other"], cwd=ROOT)
    assert again.returncode == 0
    assert final.read_bytes() == (tmp_path / "other" / final.name).read_bytes()


def test_seconds_of_2023_are_whole(tmp_path, own_data):
    line = json.dumps({"user_id": "U", "parent_asin": "I", "rating": 1, "timestamp": 12_000 * DAY * 1000 - 1})
    path, _ = reviews.interactions(write(tmp_path / "Books.jsonl.gz", [line.encode()]), own_data)
    assert table(path)[0]["time"] == 12_000 * DAY - 1
