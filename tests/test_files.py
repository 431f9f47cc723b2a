"""Files and folders appear whole or not at all, one process at a time, and what a kill leaves does not stay."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ifcdsr_core import files
from ifcdsr_core.errors import InputError
from ifcdsr_core.files import locked, new_file, new_folder, sealed, unreadable, unsealed
from ifcdsr_core.paths import ROOT, named_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_process(code: str, *arguments: object) -> subprocess.Popen:
    """A Python process in the checkout that says "ready" when it is."""
    command = [sys.executable, "-c", f"import sys, time\nfrom pathlib import Path\n{code}", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_folder_is_replaced_whole(tmp_path):
    for text in ("one", "two"):
        with new_folder(tmp_path / "final") as staging:
            (staging / "file").write_text(text)
            assert (tmp_path / "final").exists() == (text == "two")
    assert names(tmp_path) == ["final"] and (tmp_path / "final" / "file").read_text() == "two"


def test_an_error_leaves_nothing_and_changes_nothing(tmp_path):
    with new_file(tmp_path / "file") as staging:
        staging.write_text("one")
    for new in (new_file, new_folder):
        with pytest.raises(RuntimeError), new(tmp_path / "file"):
            raise RuntimeError
    assert names(tmp_path) == ["file"]


def test_a_file_in_the_place_of_a_folder_stays(tmp_path):
    (tmp_path / "final").write_text("mine")
    with pytest.raises(InputError, match="final can't be written"), new_folder(tmp_path / "final"):
        pass
    assert names(tmp_path) == ["final"] and (tmp_path / "final").read_text() == "mine"


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"{name} can't be written"), new_file(tmp_path / name) as staging:
            staging.touch()
    assert names(tmp_path) == ["folder", "pipe"] and (tmp_path / "pipe").is_fifo()


STAGE = """
from ifcdsr_core.files import new_file, new_folder
with new_folder(Path(sys.argv[1]) / "folder") as folder, new_file(Path(sys.argv[1]) / "file") as file:
    (folder / "part").write_text("half"), file.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_works_on_is_not(tmp_path, monkeypatch):
    living, killed = in_process(STAGE, tmp_path), in_process(STAGE, tmp_path)
    mine = tmp_path / ".mine.1234"
    mine.touch()
    kill(killed)
    assert len(names(tmp_path)) == 5
    monkeypatch.setattr(files, "_tidied", set())
    with new_file(tmp_path / "other") as staging:
        staging.touch()
    left = [name for name in names(tmp_path) if name not in (".mine.1234", "other")]
    assert len(left) == 2 and all(f".{living.pid}-" in name for name in left)
    kill(living)


def test_a_folder_that_a_killed_process_was_about_to_replace_comes_back(tmp_path, monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".final.{os.uname().nodename[:30]}.{gone.pid}-0.retired"
    left.mkdir()
    (left / "file").write_text("old")
    monkeypatch.setattr(files, "_tidied", set())
    with pytest.raises(RuntimeError), new_folder(tmp_path / "final"):
        raise RuntimeError
    assert names(tmp_path) == ["final"] and (tmp_path / "final" / "file").read_text() == "old"


HOLD = """
from ifcdsr_core.files import locked
with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_lock_is_waited_for_and_goes_with_its_process(tmp_path):
    lock, waited = tmp_path / "lock", []
    holder = in_process(HOLD, lock, 60)
    with pytest.raises(InputError, match="busy"), locked(lock, "busy"):
        pass
    kill(holder)
    with locked(lock, "busy"):
        pass
    assert names(tmp_path) == []
    holder, started = in_process(HOLD, lock, 1), time.monotonic()
    with locked(lock, waiting=lambda: waited.append(1)):
        assert waited == [1] and time.monotonic() - started > 0.5
    kill(holder)
    assert names(tmp_path) == []


COUNT = """
from ifcdsr_core.files import locked
print("ready", flush=True)
for _ in range(100):
    with locked(Path(sys.argv[1]).with_name("lock")):
        number = int(Path(sys.argv[1]).read_text())
        Path(sys.argv[1]).write_text(str(number + 1))
"""


@pytest.mark.slow
def test_one_process_at_a_time_although_the_lock_file_comes_and_goes(tmp_path):
    (tmp_path / "count").write_text("0")
    for process in [in_process(COUNT, tmp_path / "count") for _ in range(3)]:
        assert process.wait() == 0
        process.stdout.close()
    assert (tmp_path / "count").read_text() == "300" and names(tmp_path) == ["count"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_one_line(tmp_path, number, wrapped):
    error = OSError(number, os.strerror(number))
    with pytest.raises(InputError, match="file can't be written .*: make room") as caught, new_file(tmp_path / "file"):
        raise ValueError(f"I/O error: {error.strerror} (os error {number})") if wrapped else error
    assert "\n" not in str(caught.value) and names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_one_line_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for inside in ("folder", "a/b/c/folder"):
        with (
            pytest.raises(InputError, match="a file is in the way.*name another place"),
            new_folder(tmp_path / "file" / inside),
        ):
            pass
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "runs").touch()
    with pytest.raises(InputError, match="IFCDSR_DATA"), new_file(tmp_path / "data" / "runs" / "file"):
        pass
    with pytest.raises(PermissionError), new_file(tmp_path / "other"):
        raise PermissionError(errno.EACCES, "no", "/elsewhere")  # not about the file: none of our words


def test_a_record_that_was_changed_is_noticed(tmp_path):
    record, path = {"a": [1, 2.5, None], "b": {"c": "ä"}}, tmp_path / "record.json"
    path.write_text(sealed(record), encoding="utf-8")
    assert unsealed(path, "") == record
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 3, 6):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                assert unsealed(path, "do this") == record  # white space
            except InputError as error:
                assert "record.json is damaged" in str(error) and str(error).endswith("do this")
    for text in ("", "{}", "[]", "null", "[" * 100_000, '{"sha256": 1}', json.dumps(record)):
        path.write_text(text)
        with pytest.raises(InputError, match="is damaged"):
            unsealed(path, "")


def test_deleting_is_advised_where_content_is_damaged_only(tmp_path):
    for error in (PermissionError(errno.EACCES, "Permission denied"), ImportError("no pyarrow"), MemoryError()):
        assert "delete" not in str(unreadable(tmp_path, error, "delete it"))
    for error in (OSError("Corrupt snappy compressed data"), ValueError("bad"), FileNotFoundError(2, "not there")):
        assert "delete it" in str(unreadable(tmp_path, error, "delete it"))


@pytest.mark.parametrize("value", ["x\ny", "\x1b[2J", "\udcff", "a" * 5000, "~nobody-of-this-name/x", "{file}"])
def test_a_variable_that_can_name_no_folder_is_one_line(tmp_path, monkeypatch, value):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IFCDSR_DATA", value.format(file=tmp_path / "file"))
    with pytest.raises(InputError, match="^IFCDSR_DATA") as caught:
        named_folder("IFCDSR_DATA")
    assert str(caught.value).isprintable()


def test_one_variable_names_one_place(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", "my data")
    assert named_folder("IFCDSR_DATA") == ROOT / "my data"
    monkeypatch.chdir(tmp_path)
    assert named_folder("IFCDSR_DATA") == ROOT / "my data"
    monkeypatch.setenv("IFCDSR_DATA", "~/data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert named_folder("IFCDSR_DATA") == tmp_path / "data"
    monkeypatch.setenv("IFCDSR_DATA", "")
    assert named_folder("IFCDSR_DATA") is None
