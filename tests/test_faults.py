"""What goes wrong is noticed, and is one line: damaged files, two commands at once, values that can't be."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from test_run import config, put_scenario

from ifcdsr_core.__main__ import main
from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs import store
from ifcdsr_core.runs.run import identify, run
from ifcdsr_core.runs.store import Run, find, runs_dir, ship


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    monkeypatch.delenv("IFCDSR_MIRROR", raising=False)
    put_scenario(tmp_path, seed=0)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder, to copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCDSR_DATA", str(tmp_path_factory.mktemp("trained")))
        put_scenario(Path(os.environ["IFCDSR_DATA"]), seed=0)
        return run(config(epochs=2)).folder


@pytest.fixture
def finished(trained, data):
    """The same run in this test's data folder."""
    shutil.copytree(trained, runs_dir() / trained.name)
    return Run.load(runs_dir() / trained.name)


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flipped(whole: bytes, count: int):
    """The same bytes, one bit changed at each of ``count`` places, and cut off at as many."""
    draw = random.Random(0)
    for _ in range(count):
        position, damaged = draw.randrange(len(whole)), bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        yield bytes(damaged)
        yield whole[:position]


# ---------------------------------------------------------------- what a later step trusts


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "history.csv", "metrics.csv", "ranks.parquet"])
def test_one_bit_in_a_run_is_noticed(finished, name):
    path = finished.folder / name
    whole = path.read_bytes()
    for damaged in flipped(whole, 60):
        path.write_bytes(damaged)
        try:
            assert Run.load(finished.folder).ranks.equals(finished.ranks)
            assert name == "provenance.json"  # white space of JSON says nothing
        except InputError as error:
            assert f"{name} is damaged" in str(error) and "\n" not in str(error)
    path.unlink()
    with pytest.raises(InputError, match=name):
        Run.load(finished.folder)


def test_one_bit_in_the_weights_is_noticed(finished, capsys):
    path = finished.folder / "weights.safetensors"
    for damaged in flipped(path.read_bytes(), 20):
        path.write_bytes(damaged)
        assert main(["evaluate", str(finished.folder)]) == 1
        error = capsys.readouterr().err
        assert "weights.safetensors is damaged" in error and error.count("\n") == 1


def test_weights_of_a_model_with_other_parts_are_one_line(finished, capsys):
    save_file({"other": torch.zeros(3)}, finished.folder / "weights.safetensors")
    finished.save()  # whole, and sealed
    assert main(["evaluate", str(finished.folder)]) == 1
    assert "weights.safetensors are of a model with other parts" in capsys.readouterr().err


def damaged_ranks(ranks: pd.DataFrame):
    for value in (0, -1, 0.99, float("nan"), float("inf"), 1000.5, 10**9):
        yield ranks.assign(sampled_999=[value, *ranks["sampled_999"][1:]])
    for value in (0, -3, float("nan"), float("inf")):
        yield ranks.assign(full=[*ranks["full"][:-1], value])
    yield ranks.iloc[: len(ranks) // 2]
    yield ranks.iloc[:0]
    yield pd.concat([ranks, ranks])
    for domain in ("z", "X", None, ""):
        yield ranks.assign(target_domain=[domain, *ranks["target_domain"][1:]])


def test_ranks_that_cannot_be_are_noticed_even_where_the_checksum_fits(finished):
    for number, ranks in enumerate(damaged_ranks(finished.ranks)):
        other = runs_dir() / f"other{number}"
        other.mkdir()
        Run(other, finished.config, finished.provenance, finished.history, ranks).save()
        with pytest.raises(InputError, match=f"other{number}"):
            Run.load(other)


def test_another_run_under_the_name_of_this_one_is_not_found(finished, data):
    other = run(config(epochs=1))
    shutil.rmtree(finished.folder)
    shutil.copytree(other.folder, finished.folder)
    assert find(config(epochs=2), identify(config(epochs=2))) is None
    shutil.rmtree(finished.folder)
    provenance = finished.provenance | {"scenario_fingerprint": "0" * 64}
    finished.folder.mkdir()
    Run(finished.folder, finished.config, provenance, finished.history, finished.ranks).save()
    assert find(config(epochs=2), identify(config(epochs=2))) is None


@pytest.mark.slow
def test_one_bit_in_a_checkpoint_is_noticed(data):
    def interrupt(line):
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config(), report=interrupt)
    checkpoint = next(runs_dir().glob(".unfinished/*/checkpoint.safetensors"))
    whole = checkpoint.read_bytes()
    for damaged in flipped(whole, 30):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match="checkpoint.safetensors is damaged.*delete it"):
            run(config())
    checkpoint.write_bytes(whole)
    lines = []
    run(config(), report=lines.append)
    assert lines[0].startswith("epoch   3")


@pytest.mark.parametrize("change", ["name", "source", "options", "version and options"])
def test_another_scenarios_folder_is_not_trained_on(data, change, capsys):
    from ifcdsr_core.scenario import Scenario
    from ifcdsr_core.sources.demo import world

    folder = data / "scenarios" / "demo" / "food_kitchen"
    there = Scenario.load(folder)
    options = there.provenance["options"] | ({"visual_signal": 0.5} if "options" in change else {})
    provenance = {"version": world.VERSION, "options": options}
    name, source = "movie_book" if change == "name" else there.name, "c2dsr" if change == "source" else there.source
    Scenario(name, source, there.items, there.sequences, provenance).save(folder)
    assert main(["train", "--model", "popularity"]) == 1
    assert "food_kitchen holds" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["items.parquet", "sequences.parquet", "scenario.json"])
def test_one_bit_in_a_scenario_changes_no_result(data, name):
    reference = run(config(model="popularity", model_options={}))
    path = data / "scenarios" / "demo" / "food_kitchen" / name
    whole = path.read_bytes()
    for damaged in flipped(whole, 40):
        path.write_bytes(damaged)
        try:
            again = run(config(model="popularity", model_options={}), force=True)
            assert again.ranks.equals(reference.ranks) and again.folder == reference.folder
        except InputError as error:
            assert "food_kitchen" in str(error) and "prepare the scenario again" in str(error)


# ---------------------------------------------------------------- what replaces a folder


def test_ship_refuses_every_place_where_it_would_destroy(finished, data, monkeypatch, capsys):
    monkeypatch.setattr(store, "results_dir", lambda: data / "results")
    kept = ship(finished)
    (data / "link").symlink_to(finished.folder)
    (kept.parent / "note.txt").write_text("mine")
    foreign = data / "elsewhere" / finished.folder.name
    other = run(config(epochs=1, seed=5))
    shutil.copytree(other.folder, foreign)
    (data / "taken" / finished.folder.name).mkdir(parents=True)
    before, name = listing(data), finished.folder.name
    refused = [
        (finished.folder, ["."]),
        (finished.folder, ["./"]),
        (finished.folder, [f"../{name}", "--to", ".."]),
        (finished.folder, [f"../{name}", "--to", "."]),
        (finished.folder, [f"../{name}", "--to", "deep/er"]),
        (kept, [".."]),
        (kept, ["."]),
        (data, ["link"]),
        (data, ["/"]),
        (data, [""]),
        (data, ["runs"]),
        (data, ["results/runs"]),
        (data, [str(foreign)]),
        (data, [f"runs/{name}", "--to", "runs"]),
        (data, [f"runs/{name}", "--to", f"runs/../runs/{name}/.."]),
        (data, [f"runs/{name}", "--to", "taken"]),
        (data, [f"runs/{name}", "--to", "elsewhere"]),
        (data, [f"runs/{name}", "--to", "results/runs/note.txt"]),
        (data, [str(kept)]),
        (data, [str(kept), "--to", "runs"]),
    ]
    for place, arguments in refused:
        monkeypatch.chdir(place)
        assert main(["ship", *arguments]) == 1, (place, arguments)
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert listing(data) == before
    monkeypatch.chdir(data)
    assert main(["ship", f"runs/{name}/."]) == 0  # once more, in its own place
    assert main(["ship", f"runs/../runs/{name}", "--to", "new"]) == 0
    assert Run.load(data / "new" / name).ranks["full"].equals(finished.ranks["full"])


def test_runs_passes_over_what_is_no_run(finished, data, capsys):
    (runs_dir() / "old").mkdir()
    shutil.copytree(finished.folder, runs_dir() / "old" / "kept")
    shutil.copytree(finished.folder, runs_dir() / "damaged")
    (runs_dir() / "damaged" / "ranks.parquet").write_bytes(b"")
    assert main(["runs"]) == 0
    out, error = capsys.readouterr()
    assert out.startswith(finished.folder.name) and len(out.splitlines()) == 1
    assert len(error.splitlines()) == 2 and "delete" not in error.splitlines()[1]


# ---------------------------------------------------------------- two at once


@pytest.mark.slow
def test_the_same_training_twice_at_once_is_one_run(data):
    arguments = ["--model", "sasrec", "--epochs", "30", "--patience", "30", "--batch-size", "4"]
    command = [
        sys.executable,
        "-m",
        "ifcdsr_core",
        "train",
        *arguments,
        "--set",
        "hidden_size=8",
        "--set",
        "inner_size=8",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    said = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
    assert sum("epoch   1 " in error for _, error in said) == 1
    (left,) = (data / "runs" / ".unfinished").iterdir()  # no lock: what more epochs would go on from
    assert [path.name for path in left.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.slow
def test_the_same_scenario_prepared_twice_at_once(data):
    command = [sys.executable, "-m", "ifcdsr_core", "prepare", "--scenario", "movie_book"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=200)[1] for process in both] == [b"", b""]
    assert sorted(path.name for path in (data / "scenarios" / "demo").iterdir()) == ["food_kitchen", "movie_book"]


@pytest.mark.slow
def test_a_killed_prepare_leaves_nothing_once_the_next_one_is_done(data):
    command = [sys.executable, "-m", "ifcdsr_core", "prepare", "--scenario", "movie_book"]
    place = data / "scenarios" / "demo"
    for _ in range(2):
        killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while not any(path.is_dir() and any(path.iterdir()) for path in place.glob(".movie_book.*")):
            assert killed.poll() is None
        killed.kill()
        killed.wait()
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
    assert sorted(path.name for path in place.iterdir()) == ["food_kitchen", "movie_book"]


# ---------------------------------------------------------------- values that can't be

INT = [
    "-1",
    "99999999999999999999",
    "-99999999999999999999",
    "1e3",
    "1.5",
    "nan",
    "inf",
    "",
    " ",
    "0x10",
    "9" * 5000,
    "١٢x",
]
FLOAT = ["nan", "inf", "-inf", "1e999", "-1", "", "x", "0x1p3", "9" * 5000, "1,5", "\udcff"]
TEXT = ["", " ", "../..", "a\nb", "\x1b[2J", "\udcff", "x" * 5000, "NaN", "{}", "null", "-", "é"]
JSON = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "[" * 20_000,
    '{"a":' * 20_000,
    "9" * 5000,
    "null",
    "[]",
    "{}",
    '""',
    "-5",
]
JSON += [
    "1e400",
    "true1",
    "\udcff",
    "\x00"[:0] + "a\nb",
    '"' + "x" * 3000 + '"',
    "[1,[2]]",
    "-0.5",
    "12345678901234567890",
]
TRAIN = ["train", "--model", "sasrec", "--epochs", "1"]
NAMES = [
    "force",
    "source",
    "scenario",
    "folder",
    "options",
    "self",
    "",
    "a b",
    "visual_signal ",
    "__class__",
    "x" * 3000,
    "\udcff",
]


def bad_inputs() -> list[list[str]]:
    """Command lines that can't be right."""
    cases = []
    for name in ("seed", "epochs", "patience", "batch-size", "candidate-seed", "threads", "max-seq-len"):
        cases += [[*TRAIN, f"--{name}={value}"] for value in INT]
    for name in ("train-negatives", "shuffle-days", "shuffle-pictures", "shuffle-texts"):
        cases += [[*TRAIN, f"--{name}={value}"] for value in INT]
    for name in ("learning-rate", "l2", "holdout"):
        cases += [[*TRAIN, f"--{name}={value}"] for value in FLOAT]
    for name in ("scenario", "source", "model", "train-on", "precision", "select-protocol", "select-domain", "device"):
        cases += [["train", f"--{name}={value}"] for value in TEXT]
    for name in (
        "alpha",
        "lambda_1",
        "temperature",
        "hidden_size",
        "num_layers",
        "num_heads",
        "image_fusion",
        "target",
    ):
        cases += [["train", "--set", f"{name}={value}"] for value in JSON]
    for name in ("visual_signal", "seed", *NAMES):
        cases += [["prepare", "--source-option", f"{name}={value}"] for value in JSON[:8]]
    cases += [["train", "--set", f"{name}=1"] for name in NAMES] + [["train", "--set", name] for name in TEXT]
    cases += [["sweep", "comparison", f"--jobs={value}"] for value in [*INT, "0"]]
    cases += [["sweep", "comparison", f"--seeds={value}"] for value in [*INT, "0,0", "0,,1", "a", "1;2"]]
    cases += [["sweep", "comparison", f"--gpus={value}"] for value in ["abc", "0,x", "-1", "1.5", "\udcff", "9" * 50]]
    cases += [["sweep", value] for value in TEXT] + [["evaluate", value] for value in TEXT]
    cases += [["ship", value] for value in TEXT] + [["embed", f"--modality={value}"] for value in TEXT]
    cases += [["embed", f"--encoder={value}"] for value in TEXT[1:]] + [[value] for value in TEXT]
    cases += [["embed", f"--batch-size={value}"] for value in INT] + [["embed", f"--device={value}"] for value in TEXT]
    cases += [["embed", f"--workers={value}"] for value in INT if value != "-99999999999999999999"]
    cases += [["pictures", f"--limit={value}"] for value in INT] + [["pictures", f"--rate={value}"] for value in FLOAT]
    cases += [["enhance", "--dry-run", f"--max-cost={value}"] for value in FLOAT]
    cases += [["enhance", "--dry-run", f"--{name}={value}"] for name in ("attempts", "answer-limit") for value in INT]
    return cases


def is_one_line(error: str) -> bool:
    lines = error.splitlines()
    return len(lines) == 1 and lines[0].startswith("error: ") and lines[0].isprintable() and len(lines[0]) < 2100


@pytest.mark.slow
def test_no_bad_input_ends_in_a_traceback(capsys, data, monkeypatch):
    monkeypatch.setenv("IFCDSR_LLM_KEY", "key")
    before, wrong, cases = listing(data), [], bad_inputs()
    for arguments in cases:
        try:
            code = main(arguments)
        except BaseException as error:
            code = f"{type(error).__name__}: {error!s:.80}"
        error = capsys.readouterr().err
        if code != 1 or not is_one_line(error):
            wrong.append((ascii(arguments)[:120], code, error[-200:]))
    assert len(cases) > 500 and wrong == []
    assert listing(data) == before


def bad_lists():
    """Contents of a file for ``sweep``."""
    values = [None, True, -1, 1e999, float("nan"), 10**400, "x", "", [], {}, [[]], {"a": {"b": []}}]
    for name in ("scenario", "source", "model", "seed", "epochs", "learning_rate", "model_options", "source_options"):
        yield from (json.dumps([{name: value}]) for value in values if not (name == "seed" and value is None))
    yield from (json.dumps(value) for value in [*values, [[]], [None], [1], ["x"], [{"no_such": 1}], [{"": 1}]])
    yield from (
        "",
        "[",
        "{",
        "[" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\xff\xfe",
        "nul\0",
        "[{}",
        "[{},]",
    )


@pytest.mark.slow
def test_no_bad_list_ends_in_a_traceback(capsys, data):
    path, wrong, contents = data / "list.json", [], list(bad_lists())
    for content in contents:
        if content in ('[{"model_options": {}}]', '[{"source_options": {}}]'):
            continue
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            code = main(["sweep", str(path), "--jobs", "1"])
        except BaseException as error:
            code = f"{type(error).__name__}: {error!s:.80}"
        error = capsys.readouterr().err
        if code != 1 or not is_one_line(error):
            wrong.append((content[:120], code, error[-200:]))
    assert len(contents) > 100 and wrong == []


ENVIRONMENT = {
    "IFCDSR_DATA": ["/dev/null", "/dev/null/x", "a\nb", "\udcff", "x" * 5000, "/proc/1/x", "~nobody-here/x"],
    "IFCDSR_MIRROR": ["/dev/null", "no/such/folder", "a\nb", "\udcff", "x" * 5000],
}


@pytest.mark.parametrize("variable, value", [(name, value) for name, values in ENVIRONMENT.items() for value in values])
def test_no_variable_ends_in_a_traceback(capsys, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    code = main(["prepare", "--source", "c2dsr", "--source-option", "train_file=false"])
    assert code == 1 and is_one_line(capsys.readouterr().err)


def test_a_limit_of_memory_is_one_line(capsys, monkeypatch):
    assert main(["train", "--model", "gru4rec", "--set", "hidden_size=65536", "--max-seq-len", "65536"]) == 1
    assert is_one_line(capsys.readouterr().err)
