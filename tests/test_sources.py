"""Published files, and the two sources read from them: tiny files in the publishers' formats, then the real ones."""

from __future__ import annotations

import os
import pickle
import re
import socket
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from web_server import WebServer

from ifcdsr_core import sources
from ifcdsr_core.errors import InputError
from ifcdsr_core.files import locked
from ifcdsr_core.paths import ROOT
from ifcdsr_core.sources import c2dsr, llmcdsr, prepare
from ifcdsr_core.sources.download import published
from ifcdsr_core.sources.download.resumable import Facts

MIRROR = Path(os.environ.get("IFCDSR_MIRROR") or ROOT.parent / "shared" / "mirror")
needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason="no real data: IFCDSR_MIRROR names no mirror of it")
DAY = 86_400
START = 12_000  # a day in 2002


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    """Every test has its own data folder, no mirror, and reaches loopback without a proxy."""
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("IFCDSR_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "data"


def facts_of(path: Path) -> dict:
    return asdict(Facts.of(path))


def register(monkeypatch, contents: dict[str, bytes], root: Path) -> None:
    """Make ``contents`` (name -> bytes) the published files, and put them into a mirror at ``root``."""
    facts = {}
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        facts[name] = facts_of(path)
    monkeypatch.setattr(published, "registry", lambda: facts)
    monkeypatch.setenv("IFCDSR_MIRROR", str(root))


def left_behind(folder: Path) -> list[Path]:
    """All files below ``folder``, locks left out."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


# ---------------------------------------------------------------------------- files


NAME = "owner/repository/commit/folder/file.txt"
CONTENT = b"what was published\n" * 100


@pytest.fixture
def web():
    with WebServer() as server:
        yield server


def get(web, content: bytes = CONTENT, behave=None, retries: int = 0) -> Path:
    """NAME, from a server that has ``content`` there."""
    web.put(f"/{NAME}", content, behave)
    return published.fetch(NAME, base_url=web.url("/"), retries=retries)


@pytest.fixture(params=["sha256", "git_blob_sha1"])
def known_file(request, tmp_path, monkeypatch):
    """NAME is published: once with all its facts known, once with no more than git's hash."""
    path = tmp_path / "original"
    path.write_bytes(CONTENT)
    facts = facts_of(path)
    known = facts if request.param == "sha256" else {"git_blob_sha1": facts["git_blob_sha1"]}
    monkeypatch.setattr(published, "registry", lambda: {NAME: known})
    return facts


def test_git_blob_sha1_is_gits(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"what is up, doc?")  # the example of git's own book
    assert facts_of(path)["git_blob_sha1"] == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_registry_names_every_file_the_sources_read():
    known = published.registry()
    for repository, subfolder, module in ((c2dsr.REPOSITORY, "data/raw", c2dsr), (llmcdsr.REPOSITORY, "data", llmcdsr)):
        for folder in module.FOLDERS.values():
            names = (
                [*c2dsr.SPLIT_FILES.values(), "items_x.txt", "items_y.txt", "userlist.txt"]
                if module is c2dsr
                else [*llmcdsr.ITEM_FILES, *llmcdsr.SEQUENCE_FILES]
            )
            assert {f"{repository}/{subfolder}/{folder}/{name}" for name in names} <= set(known)
    assert all(len(facts["git_blob_sha1"]) == 40 for facts in known.values())


def test_download_once(web, known_file, own_data):
    path = get(web)
    assert path.read_bytes() == CONTENT and left_behind(own_data) == [path]
    assert get(web, behave="status:404") == path and len(web.log) == 1  # not asked again


@pytest.mark.parametrize(
    "content, behave, says",
    [
        (CONTENT, "status:404", "404"),
        (CONTENT, "status:500", "500"),
        (CONTENT, "short:1899", "should be|were published"),  # a short file that looks whole
        (b"x" * len(CONTENT), "ok", "should be"),  # right size, other content
        (CONTENT, "short:0", "sends nothing"),
    ],
)
def test_a_failed_download_leaves_nothing(web, known_file, own_data, content, behave, says):
    with pytest.raises(InputError) as caught:
        get(web, content, behave)
    message = str(caught.value)
    assert re.search(says, message) and web.url("/") + NAME in message and "IFCDSR_MIRROR" in message
    assert str(own_data / "downloads" / NAME) in message and "\n" not in message
    assert left_behind(own_data) == []


def test_a_failed_download_is_tried_again(web, known_file):
    assert get(web, behave=lambda nth: "status:500" if nth == 1 else "ok", retries=1).read_bytes() == CONTENT


def test_a_download_that_breaks_off_is_continued(web, known_file, own_data):
    with pytest.raises(InputError, match="broken off after 1000 bytes"):
        get(web, behave="cut:1000")
    assert not (own_data / "downloads" / NAME).exists()
    assert get(web).read_bytes() == CONTENT and web.log[-1]["headers"]["Range"] == "bytes=1000-"


def test_what_a_killed_download_left_is_removed(web, known_file, own_data):
    path = get(web)
    path.with_name(f"{path.name}.part.json").write_text("{}")
    assert get(web) == path and left_behind(own_data) == [path]


def test_two_processes_that_need_the_same_file(known_file, own_data):
    """The second waits, and finds what the first has brought."""
    path = own_data / "downloads" / NAME
    with ThreadPoolExecutor() as threads:
        with locked(path.with_name(f".{path.name}.lock")):
            second = threads.submit(published.fetch, NAME, base_url="http://127.0.0.1:1/")
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            path.write_bytes(CONTENT)
        assert second.result(timeout=10) == path


def test_two_files_load_side_by_side(web, monkeypatch, tmp_path, own_data):
    """Neither is sent before the other has been asked for."""
    names = [NAME, f"{NAME}.too"]
    register(monkeypatch, dict.fromkeys(names, CONTENT), tmp_path / "original")
    monkeypatch.delenv("IFCDSR_MIRROR")
    both = threading.Barrier(2, timeout=5)

    def behave(nth: int) -> str:
        both.wait()
        return "ok"

    for name in names:
        web.put(f"/{name}", CONTENT, behave)
    with ThreadPoolExecutor() as threads:
        paths = list(threads.map(lambda name: published.fetch(name, base_url=web.url("/"), retries=0), names))
    assert paths == [own_data / "downloads" / name for name in names]
    assert sorted(left_behind(own_data)) == paths


def test_connection_refused(known_file, own_data):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        with pytest.raises(InputError, match="refused"):
            published.fetch(NAME, base_url=f"http://127.0.0.1:{unused.getsockname()[1]}/", retries=0)
    assert left_behind(own_data) == []


def test_mirror_is_read_in_place(known_file, tmp_path, own_data, monkeypatch):
    register(monkeypatch, {NAME: CONTENT}, tmp_path / "mirror")
    assert published.fetch(NAME) == tmp_path / "mirror" / NAME
    assert left_behind(own_data) == []


def test_a_file_the_mirror_lacks_is_downloaded(web, known_file, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("IFCDSR_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(InputError, match="not in the mirror .*404"):
        get(web, behave="status:404")
    assert get(web).read_bytes() == CONTENT


def test_damaged_mirror_file(known_file, tmp_path, monkeypatch):
    path = tmp_path / "mirror" / NAME
    path.parent.mkdir(parents=True)
    damaged = CONTENT.replace(b"w", b"v", 1)
    path.write_bytes(damaged)
    monkeypatch.setenv("IFCDSR_MIRROR", str(tmp_path / "mirror"))
    key = "sha256" if "sha256" in published.registry()[NAME] else "git_blob_sha1"
    with pytest.raises(InputError, match=f"{key} should be {known_file[key]}, is {facts_of(path)[key]}"):
        published.fetch(NAME)
    assert path.read_bytes() == damaged


def test_damaged_download_is_not_used(known_file, own_data):
    path = own_data / "downloads" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT + b"more")
    with pytest.raises(InputError, match="is not the published file"):
        published.fetch(NAME)


def test_mirror_must_be_a_folder(known_file, tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="IFCDSR_MIRROR names .*nowhere"):
        published.fetch(NAME)


# ---------------------------------------------------------------------------- c2dsr


def interactions(*pairs: tuple[int, int]) -> str:
    """``<item>|<unix time>|<date>|`` of each (item, day from START on)."""
    return "\t".join(f"{item}|{(START + day) * DAY}|2002-11-{day + 9:02d} 08:00:00|" for item, day in pairs)


TINY_C2DSR = {
    "items_x.txt": "7\tASINX0\t0\n9\tASINX1\t1\n3\tASINX2\t2\n",
    "items_y.txt": "70\tASINY0\t0\n90\tASINY1\t1\n",
    "userlist.txt": "first\t0\nsecond\t1\nthird\t2\n",
    "train_new.txt": f"0\t5\t{interactions((0, 1), (3, 2), (1, 3), (4, 4))}\n",
    # the last X and the last Y of a line stand at its end, whenever they happened
    "val_new.txt": f"1\t6\t{interactions((0, 1), (3, 2), (1, 9), (4, 5))}\n",
    "test_new.txt": f"2\t7\t{interactions((4, 3), (0, 3), (1, 3), (2, 8), (3, 8))}\n",
}


@pytest.fixture
def tiny_c2dsr(tmp_path, monkeypatch):
    """``put(**changed files)`` publishes a tiny Food-Kitchen."""

    def put(**changed: bytes) -> None:
        contents = {name: text.encode() for name, text in TINY_C2DSR.items()}
        contents |= {f"{name}.txt": content for name, content in changed.items()}
        register(
            monkeypatch,
            {f"{c2dsr.REPOSITORY}/data/raw/Food-Kitchen/{name}": content for name, content in contents.items()},
            tmp_path / "mirror",
        )

    put()
    return put


def test_c2dsr_sorts_by_time_and_numbers_from_one(tiny_c2dsr):
    scenario = prepare("c2dsr", "food_kitchen")
    assert (scenario.num_items_x, scenario.num_items_y) == (3, 2)
    assert scenario.items["source_id"].tolist() == ["ASINX0", "ASINX1", "ASINX2", "ASINY0", "ASINY1"]
    assert scenario.items["title"].isna().all() and scenario.items["image"].isna().all()
    rows = scenario.sequences
    assert rows["user"].tolist() == ["0", "1", "2"]
    assert rows["split"].tolist() == ["train", "valid", "test"]
    assert [list(items) for items in rows["items"]] == [[1, 4, 2, 5], [1, 4, 5, 2], [5, 1, 2, 3, 4]]
    assert rows["target_domain"].tolist() == ["y", "x", "y"]  # a tie keeps the file's order
    assert list(rows["timestamps"][1]) == [(START + day) * DAY for day in (1, 2, 5, 9)]
    assert scenario.provenance["lines_not_in_time_order"] == {"train_new.txt": 0, "val_new.txt": 1, "test_new.txt": 0}
    assert scenario.provenance["sequences_numbered"] == 8
    facts = scenario.provenance["files"]["val_new.txt"]
    assert facts["url"].startswith("https://") and facts["bytes"] == len(TINY_C2DSR["val_new.txt"])


def test_c2dsr_without_the_training_file_only_on_request(tiny_c2dsr, tmp_path, monkeypatch):
    (tmp_path / "mirror" / c2dsr.REPOSITORY / "data/raw/Food-Kitchen/train_new.txt").unlink()
    monkeypatch.setattr(published, "_download", lambda name, *_: (_ for _ in ()).throw(InputError(f"no {name}")))
    with pytest.raises(InputError, match="train_new.txt.*train_file=false"):
        prepare("c2dsr", "food_kitchen")
    assert not (sources.data_dir() / "scenarios" / "c2dsr" / "food_kitchen").exists()
    scenario = prepare("c2dsr", "food_kitchen", train_file=False)
    assert scenario.sequences["split"].tolist() == ["valid", "test"]
    assert scenario.provenance["options"] == c2dsr.OPTIONS | {"train_file": False}
    assert "train_new.txt" not in scenario.provenance["files"]


def test_c2dsr_takes_titles_from_llmcdsr_by_asin(tiny_c2dsr, tmp_path, monkeypatch):
    plain = prepare("c2dsr", "food_kitchen")
    titles = {
        "text_A.pkl": {"ASINX1": "Salt &amp; Pepper", "other": "Soup"},
        "text_B.pkl": {"ASINY0": "Bowl", "ASINY1": " "},
    }
    register(
        monkeypatch,
        {
            **{f"{c2dsr.REPOSITORY}/data/raw/Food-Kitchen/{name}": text.encode() for name, text in TINY_C2DSR.items()},
            **{f"{llmcdsr.REPOSITORY}/data/food-kitchen/{name}": pickle.dumps(table) for name, table in titles.items()},
        },
        tmp_path / "mirror",
    )
    titled = prepare("c2dsr", "food_kitchen", titles=True)
    assert titled.items["title"].fillna("").tolist() == ["", "Salt & Pepper", "", "Bowl", ""]
    assert titled.provenance["files"]["text_A.pkl"]["url"].endswith("food-kitchen/text_A.pkl")
    assert titled.folder != plain.folder and titled.sequences.equals(plain.sequences)
    assert prepare("c2dsr", "food_kitchen").items["title"].isna().all()


def test_titles_of_other_items_are_no_titles(tiny_c2dsr, tmp_path, monkeypatch):
    files = {
        f"{llmcdsr.REPOSITORY}/data/food-kitchen/text_{part}.pkl": pickle.dumps({"other": "Soup"}) for part in "AB"
    }
    files |= {f"{c2dsr.REPOSITORY}/data/raw/Food-Kitchen/{name}": text.encode() for name, text in TINY_C2DSR.items()}
    register(monkeypatch, files, tmp_path / "mirror")
    with pytest.raises(InputError, match="text_A.pkl and text_B.pkl have no title of c2dsr's items"):
        prepare("c2dsr", "food_kitchen", titles=True)


def line(*pairs: tuple[int, int], head: str = "1\t8") -> str:
    return f"{head}\t{interactions(*pairs)}\n"


SHAPE = "'<user> <sequence>' and two or more"
TWO = line((0, 1), (3, 2))


@pytest.mark.parametrize(
    "file, text, number, says",
    [
        ("val_new", TWO.replace("\t", " "), 2, SHAPE),  # blanks for tabs
        ("val_new", line((0, 1)), 2, SHAPE),  # no history
        ("val_new", line(head="1\t8"), 2, SHAPE),
        ("val_new", line((0, 1), (-3, 2)), 2, SHAPE),
        ("val_new", TWO.replace("|1036", "|soon", 1), 2, SHAPE),
        ("val_new", TWO.replace("|1036", "|-1036", 1), 2, SHAPE),
        ("val_new", TWO.replace("|1036", "|1036.", 1), 2, SHAPE),
        ("val_new", TWO.removesuffix("|\n") + "\n", 2, SHAPE),  # cut off
        ("val_new", TWO.replace("1\t8", "8"), 2, SHAPE),  # no user
        ("val_new", TWO.replace("\n", "\r\n"), 2, SHAPE),
        ("val_new", TWO.replace("\n", "\t\n"), 2, SHAPE),
        ("val_new", "\n" + TWO, 2, SHAPE),
        ("val_new", TWO + "\n\n", 3, SHAPE),
        ("val_new", TWO.replace("1\t8", "\ufeff1\t8"), 2, SHAPE),
        ("val_new", TWO.replace("3|", "३|"), 2, SHAPE),  # digits, but not those of ASCII
        ("val_new", "<html>404: Not Found</html>\n", 2, SHAPE),
        ("val_new", b"1\t8\t\xff\n", 2, "text in UTF-8"),
        ("val_new", TWO.encode().replace(b"2002", b"\xff002", 1), 2, "text in UTF-8"),  # in what is not used
        ("val_new", TWO.encode("utf-16"), 2, "text in UTF-8"),
        ("val_new", line((0, 1), (5, 2)), 2, "items from 0 to 4, found 5"),
        ("val_new", line((0, 1), (3, 2), head="3\t8"), 2, "a user from 0 to 2, found 3"),
        ("val_new", line((0, 1), (3, 2), head="1\t6"), 2, "each sequence once, found 6 again"),
        ("val_new", line((0, -START), (3, 1)), 2, "times of 1995 to 2099, found 0 to "),
        ("val_new", line((0, 1), (3, 40_000)), 2, "times of 1995 to 2099, found "),
        (
            "val_new",
            line((0, 9131 - START), (3, 9130 - START)),
            2,
            "times of 1995 to 2099, found 788832000 to 788918400",
        ),
        ("val_new", line((0, 3), (3, 2), (1, 4), (4, 5)), 2, "all but the last two in the order of time"),
        ("items_x", "7\tASINX0\t0\n9\tASINX1\t2\n", 2, "'<old id> <ASIN> 1'"),  # an index left out
        ("items_x", "7\tASINX0\t0\n9\tASINX1\t-1\n", 2, "'<old id> <ASIN> 1'"),
        ("items_x", "7\tASINX0\t0\n9\tASINX0\t1\n", 2, "each name once, found ASINX0 again"),
        ("items_x", b"7\tASIN\xe9\t0\n", 1, "text in UTF-8"),
        ("items_y", "7\tASINX0\n", 1, "'<old id> <ASIN> 0'"),
        ("userlist", "first\t0\nsecond\t0\n", 2, "'<user> 1'"),
        ("userlist", "first\t0\n\nsecond\t1\n", 2, "'<user> 1'"),
        ("userlist", "first\t0\nfirst\t1\n", 2, "each name once, found first again"),
    ],
)
def test_c2dsr_names_the_malformed_line(tiny_c2dsr, file, text, number, says):
    text = text if isinstance(text, bytes) else text.encode()
    tiny_c2dsr(**{file: (TINY_C2DSR["val_new.txt"].encode() if file == "val_new" else b"") + text})
    with pytest.raises(InputError, match=rf"{file}\.txt, line {number}: expected {re.escape(says)}") as caught:
        prepare("c2dsr", "food_kitchen")
    assert "\n" not in str(caught.value)
    assert not (sources.data_dir() / "scenarios" / "c2dsr" / "food_kitchen").exists()


def test_c2dsr_empty_file(tiny_c2dsr):
    tiny_c2dsr(val_new=b"")
    with pytest.raises(InputError, match="val_new.txt holds no sequence"):
        prepare("c2dsr", "food_kitchen")


# ---------------------------------------------------------------------------- llmcdsr


TINY_LLMCDSR = {
    "num.txt": b"2\n3\n",
    "item_set_A.pkl": pickle.dumps({"A0": 0, "A1": 1}),
    "item_set_B.pkl": pickle.dumps({"B2": 2, "B0": 0, "B1": 1}),
    "text_A.pkl": pickle.dumps({"A0": "Salt &amp; Pepper\n", "A1": "Caf&amp;#233; <b>"}),
    "text_B.pkl": pickle.dumps({"B0": "Bowl", "B1": " ", "B2": "A &quot;pot&quot;"}),
    "train_A.txt": b"1\t0,1\n2\t1\n3\t0,1\n",
    "train_B.txt": b"1\t2,3,4\n",
    "train_overlap.txt": b"1\t0,2,1\n",
    "valid.txt": b"1\t0,2,4\n",
    "test.txt": b"1\t0,4,1\n",
}


@pytest.fixture
def tiny_llmcdsr(tmp_path, monkeypatch):
    """``put({file: bytes})`` publishes a tiny Food-Kitchen with these files changed."""

    def put(changed: dict[str, bytes]) -> None:
        register(
            monkeypatch,
            {
                f"{llmcdsr.REPOSITORY}/data/food-kitchen/{name}": content
                for name, content in (TINY_LLMCDSR | changed).items()
            },
            tmp_path / "mirror",
        )

    put({})
    return put


def test_llmcdsr_titles_users_and_short_sequences(tiny_llmcdsr):
    scenario = prepare("llmcdsr", "food_kitchen")
    assert scenario.items["source_id"].tolist() == ["A0", "A1", "B0", "B1", "B2"]
    titles = scenario.items["title"].tolist()
    assert titles[:3] == ["Salt & Pepper", "Caf&#233; <b>", "Bowl"]  # decoded once, not twice
    assert scenario.items["title"].isna().tolist() == [False, False, False, True, False]
    assert titles[4] == 'A "pot"'
    rows = scenario.sequences
    assert rows["user"].tolist() == ["train_A/1", "train_A/3", "train_B/1", "train_overlap/1", "valid/1", "test/1"]
    assert rows["split"].tolist() == ["train"] * 4 + ["valid", "test"]
    assert [list(items) for items in rows["items"]][2:] == [[3, 4, 5], [1, 3, 2], [1, 3, 5], [1, 5, 2]]
    assert rows["timestamps"].isna().all()
    assert scenario.provenance["sequence_files"]["train_A.txt"] == {
        "lines": 3,
        "one_item_dropped": 1,
        "repeated": 1,
        "longest": 2,
    }


def test_llmcdsr_trains_on_users_of_both_domains_alone(tiny_llmcdsr, tmp_path):
    everyone = prepare("llmcdsr", "food_kitchen")
    for file in llmcdsr.ONE_DOMAIN:  # not even read
        (tmp_path / "mirror" / llmcdsr.REPOSITORY / "data/food-kitchen" / file).unlink()
    both = prepare("llmcdsr", "food_kitchen", train_users="both")
    assert both.sequences["user"].tolist() == ["train_overlap/1", "valid/1", "test/1"]
    assert both.items.equals(everyone.items) and both.fingerprint != everyone.fingerprint
    assert [*both.provenance["sequence_files"]] == ["train_overlap.txt", "valid.txt", "test.txt"]
    with pytest.raises(InputError, match="unknown train_users 'one': choose one of all, both"):
        prepare("llmcdsr", "food_kitchen", train_users="one")


@pytest.mark.parametrize(
    "content, says",
    [
        (b"1\t0,2,1\n2\t0,5\n", "train_overlap.txt, line 2: expected items from 0 to 4, found 5"),
        (b"1\t0,2,1\n3\t0,2\n", "train_overlap.txt, line 2: expected user 2, a tab"),
        (b"1\t0,2,\n", "train_overlap.txt, line 1: expected user 1, a tab"),  # cut off
        (b"1\t0,1\n2\t0,2,1\n", "train_overlap.txt, line 1: expected items of both domains"),
        (b"", "train_overlap.txt holds no sequence"),
    ],
)
def test_llmcdsr_says_what_is_wrong_with_users_of_both(tiny_llmcdsr, content, says):
    tiny_llmcdsr({"train_overlap.txt": content})
    with pytest.raises(InputError, match=says):
        prepare("llmcdsr", "food_kitchen", train_users="both")


class Trap:
    """Unpickled the ordinary way it makes a folder; ours must refuse before."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("file", ["item_set_A.pkl", "text_B.pkl"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_llmcdsr_refuses_a_pickle_that_names_anything(tiny_llmcdsr, tmp_path, file, protocol):
    sprung = tmp_path / "sprung"
    tiny_llmcdsr({file: pickle.dumps({"A0": Trap(sprung)}, protocol)})
    with pytest.raises(InputError, match=rf"{file} is not a pickle of plain values: it names \w+\.mkdir"):
        prepare("llmcdsr", "food_kitchen")
    assert not sprung.exists()


@pytest.mark.parametrize(
    "file, content, says",
    [
        ("item_set_A.pkl", pickle.dumps(OrderedDict(A0=0, A1=1)), "collections.OrderedDict"),
        ("item_set_A.pkl", b"not a pickle", "is not a pickle of plain values"),
        ("item_set_A.pkl", TINY_LLMCDSR["item_set_A.pkl"][:-5], "is not a pickle of plain values"),
        ("item_set_A.pkl", b"", "is not a pickle of plain values"),
        ("item_set_A.pkl", pickle.dumps({"A0": 0, "A1": 0}), "0 to 1 each once"),
        ("item_set_A.pkl", pickle.dumps(["A0", "A1"]), "a dict from ASIN to index"),
        ("text_A.pkl", pickle.dumps({"A0": 3}), "a dict from ASIN to title"),
        ("num.txt", b"2\n", "expected two lines"),
        ("num.txt", b"2\nthree\n", "expected two lines"),
        ("test.txt", b"1\t0,4,1\n2\t0;1\n", "test.txt, line 2"),
        ("test.txt", b"1\t0,4,1\n2\t0,5\n", "test.txt, line 2: expected items from 0 to 4, found 5"),
        ("test.txt", b"1\t0,4,\n", "test.txt, line 1"),
        ("test.txt", b"1\t0,-4\n", "test.txt, line 1: expected user 1, a tab"),
        ("test.txt", b"1\t0,4\n\n2\t0,4\n", "test.txt, line 2: expected user 2, a tab"),
        ("test.txt", b"1\t0,4\n3\t0,4\n", "test.txt, line 2: expected user 2, a tab"),  # a user is missing
        ("test.txt", b"1\t0,4\n1\t0,4\n", "test.txt, line 2: expected user 2, a tab"),
        ("test.txt", b"0,4\n", "test.txt, line 1: expected user 1, a tab"),
        ("test.txt", b"1\t0,4\t9\n", "test.txt, line 1: expected user 1, a tab"),
        ("test.txt", b"1\t0,4\r\n", "test.txt, line 1: expected user 1, a tab"),
        ("test.txt", b"1\t0,4\n2\t0,\xff\n", "test.txt, line 2: expected text in UTF-8"),
        ("test.txt", b"", "test.txt holds no sequence"),
        ("test.txt", b"1\t4\n", "test.txt holds no sequence"),
        ("num.txt", b"2\n-3\n", "expected two lines"),
        ("item_set_A.pkl", pickle.dumps({"A0": 0, "A 1": 1}), "item_set_A.pkl: expected ASINs, found 'A 1'"),
        ("item_set_A.pkl", pickle.dumps({"A0": 0, "A1": -1}), "0 to 1 each once"),
        ("text_A.pkl", pickle.dumps({"other": "Salt"}), "text_A.pkl has no title of an item of item_set_A.pkl"),
    ],
)
def test_llmcdsr_says_what_is_wrong(tiny_llmcdsr, file, content, says):
    tiny_llmcdsr({file: content})
    with pytest.raises(InputError, match=says):
        prepare("llmcdsr", "food_kitchen")


# ---------------------------------------------------------------------------- the real files


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("IFCDSR_MIRROR", str(MIRROR))


@pytest.mark.slow
@needs_mirror
@pytest.mark.parametrize(
    "name, printed, days",
    [
        (
            "food_kitchen",
            {"items": (29_207, 34_886), "train": 34_117, "valid": (2_722, 5_451), "test": (2_747, 5_659)},
            365,
        ),
        (
            "movie_book",
            {"items": (36_845, 63_937), "train": 58_515, "valid": (2_032, 5_612), "test": (1_978, 5_730)},
            30,
        ),
    ],
)
def test_real_c2dsr_is_that_of_table_1(mirror, name, printed, days):
    scenario = prepare("c2dsr", name, train_file=False)
    assert (scenario.num_items_x, scenario.num_items_y) == printed["items"]
    targets = scenario.sequences.groupby(["split", "target_domain"]).size()
    assert (targets["valid", "x"], targets["valid", "y"]) == printed["valid"]
    assert (targets["test", "x"], targets["test", "y"]) == printed["test"]
    assert scenario.provenance["sequences_numbered"] - len(scenario.sequences) == printed["train"]
    assert scenario.sequences["user"].is_unique

    flat, length = scenario.flat_items
    assert 6 <= length.min() and length.max() <= 15
    owner = np.repeat(np.arange(len(length)), length)
    in_x = np.bincount(owner, flat <= scenario.num_items_x)
    assert min(in_x.min(), (length - in_x).min()) >= 3
    assert len(np.unique(owner * (scenario.num_items + 1) + flat)) == len(flat)  # no item twice in a sequence
    times = np.stack([(stamps[0], stamps[-1], np.diff(stamps).min()) for stamps in scenario.sequences["timestamps"]])
    assert (times[:, 2] >= 0).all() and (times[:, 1] - times[:, 0]).max() <= days * DAY


@pytest.mark.slow
@needs_mirror
def test_real_llmcdsr_has_titles(mirror):
    scenario = prepare("llmcdsr", "food_kitchen")
    assert (scenario.num_items_x, scenario.num_items_y) == (8_661, 27_637)
    assert scenario.items["title"].notna().all() and scenario.items["source_id"].is_unique
    assert scenario.sequences["split"].value_counts().to_dict() == {"train": 51_164, "valid": 960, "test": 937}
    assert scenario.sequences["user"].is_unique
    assert not scenario.items["title"].str.contains("&amp;|&quot;|&reg;").any()
