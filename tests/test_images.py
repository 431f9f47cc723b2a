"""Features of pictures in shards: the same after kills, from several processes, by workers, in other precisions."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from worlds import tiny

from ifcdsr_core.errors import InputError
from ifcdsr_core.features import images
from ifcdsr_core.features.images import embed_images
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import Scenario

PICTURES = 150
BATCH = 4  # 32 pictures per shard, five shards
EMBED = ["-m", "ifcdsr_core", "embed", "--source", "demo", "--batch-size", str(BATCH)]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def put_scenario(data) -> Scenario:
    """150 items in a data folder, where the demo's scenario would be: four without a picture, two with a bad one."""
    from ifcdsr_core.sources.demo import world

    rng, folder = np.random.default_rng(7), data / "scenarios" / "demo" / "food_kitchen"
    (folder / "images").mkdir(parents=True)
    for item in range(1, PICTURES + 1):
        blocks = rng.integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((80, 80)).save(folder / "images" / f"{item}.png")
    (folder / "images" / "3.png").write_text("no picture")
    (folder / "images" / "90.png").unlink()
    items = pd.DataFrame(
        {
            "item": np.arange(1, PICTURES + 1, dtype=np.int32),
            "domain": ["x"] * 70 + ["y"] * 80,
            "source_id": [f"id{item}" for item in range(1, PICTURES + 1)],
            "title": None,
            "image": [f"images/{item}.png" for item in range(1, PICTURES + 1)],
        }
    )
    items.loc[[9, 10, 60, 149], "image"] = None
    sequences = pd.DataFrame(
        {
            "user": ["u"],
            "split": ["train"],
            "target_domain": ["y"],
            "items": [np.array([1, 71], dtype=np.int32)],
            "timestamps": [None],
        }
    )
    Scenario("food_kitchen", "demo", items, sequences, {"version": world.VERSION, "options": world.OPTIONS}).save(
        folder
    )
    return Scenario.load(folder)


@pytest.fixture
def scenario(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    return put_scenario(tmp_path)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Batches of four gain nothing from more threads, and on a busy machine these wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def start(data, *command, **more) -> subprocess.Popen:
    environment = {**os.environ, "IFCDSR_DATA": str(data), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **more,
    )


def embed(data, *command) -> str:
    """Run to the end; what it prints."""
    process = start(data, *command)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return out


def cache_file(data):
    """The only file; no half-written file and no shards lie beside it."""
    (file,) = (data / "features").iterdir()
    return file


@pytest.mark.slow
def test_kill_9_at_random_moments_ends_in_the_same_bytes(tmp_path):
    for name in ("whole", "killed"):
        put_scenario(tmp_path / name)
    embed(tmp_path / "whole", *EMBED)
    whole, folder = cache_file(tmp_path / "whole").read_bytes(), tmp_path / "killed" / "features"
    # a slower model, so that kills come at every stage; it computes the same
    slow = (
        "import sys, time; from ifcdsr_core import __main__; from ifcdsr_core.features import clip, images\n"
        "tower = images.image_tower\n"
        "def slower(*given):\n"
        "    made = tower(*given); encode = made.encode\n"
        "    object.__setattr__(made, 'encode', lambda pixels: (time.sleep(0.02), encode(pixels))[1])\n"
        "    return made\n"
        "images.image_tower = slower\n"
        f"sys.exit(__main__.main({EMBED[2:]}))"
    )
    moments, kills, shards_kept = random.Random(), 0, []
    while True:
        process = start(tmp_path / "killed", "-c", slow)
        while process.poll() is None and not list(folder.glob(".*")):  # until its work has begun
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.4))
        if kills == 3 or process.poll() is not None:
            _, err = process.communicate(timeout=300)
            assert process.returncode == 0, err[-3000:]
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        shards_kept.append(len(list(folder.glob(".*/[0-9]*"))))
    assert kills and shards_kept == sorted(shards_kept), "a shard was lost"
    assert cache_file(tmp_path / "killed").read_bytes() == whole


def test_a_whole_shard_is_not_embedded_again(scenario, tmp_path, monkeypatch):
    seen, tower = [], images.image_tower

    def counting(*given):
        made = tower(*given)
        encode = made.encode
        return dataclasses.replace(made, encode=lambda pixels: (seen.append(len(pixels)), encode(pixels))[1])

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(images, "image_tower", counting)
    with monkeypatch.context() as broken:
        broken.setattr(images, "save_features", full)
        with pytest.raises(OSError, match="no space left"):
            embed_images(scenario, batch_size=BATCH)
    shards = sorted((tmp_path / "features").glob(".*/*.safetensors"))
    assert len(shards) == 5
    shards[3].write_bytes(shards[3].read_bytes()[:-9])  # a crash of the machine took its end
    seen.clear()
    made = embed_images(scenario, batch_size=BATCH)
    assert sum(seen) == 32  # one shard
    assert (np.flatnonzero(made.missing) + 1).tolist() == [3, 10, 11, 61, 90, 150]


@pytest.mark.slow
def test_two_processes_share_the_shards_and_embed_what_one_does(tmp_path):
    (tmp_path / "embed.py").write_text(
        "import os, sys; from ifcdsr_core import __main__; from ifcdsr_core.features import images\n"
        "save = images.save_file\n"
        "def say(tensors, path):\n"
        "    print('wrote', os.environ.get('RANK'), path.name.split('.')[1], flush=True); save(tensors, path)\n"
        "images.save_file = say\n"
        f"sys.exit(__main__.main({EMBED[2:]}))"
    )
    wrote = {}
    for name, launcher in (("one", []), ("two", TORCHRUN)):
        put_scenario(tmp_path / name)
        out = embed(tmp_path / name, *launcher, str(tmp_path / "embed.py"))
        assert out.count("150 items x 64 by small_clip, 6 without a usable picture") == 1  # one process alone reports
        wrote[name] = sorted(line.split()[1:] for line in out.splitlines() if line.startswith("wrote"))
    assert wrote["one"] == [["None", f"{shard:06d}"] for shard in range(5)]
    assert wrote["two"] == [["0", "000000"], ["0", "000002"], ["0", "000004"], ["1", "000001"], ["1", "000003"]]
    assert cache_file(tmp_path / "one").read_bytes() == cache_file(tmp_path / "two").read_bytes()


@pytest.mark.slow
def test_workers_do_not_change_the_features(scenario, tmp_path):
    made = {}
    for workers in (0, 2):
        embed_images(scenario, batch_size=BATCH, workers=workers)
        made[workers] = cache_file(tmp_path).read_bytes()
        cache_file(tmp_path).unlink()
    assert made[0] == made[2]


def test_mixed_precision_is_close_and_recorded(scenario, tmp_path):
    few = scenario.items["image"].where(scenario.items["item"] <= 20)
    scenario = dataclasses.replace(scenario, items=scenario.items.assign(image=few))
    exact = embed_images(scenario, batch_size=BATCH)
    cache_file(tmp_path).unlink()
    rounded = embed_images(scenario, batch_size=BATCH, precision="bfloat16")
    cosine = (exact.matrix * rounded.matrix).sum(axis=1)
    assert 0.999 < cosine.min() and np.abs(exact.matrix - rounded.matrix).max() > 1e-5
    assert rounded.fingerprint == exact.fingerprint
    with images.safe_open(cache_file(tmp_path), framework="numpy") as file:
        assert json.loads(file.metadata()["record"])["precision"] == "bfloat16"


def test_the_matrix_is_mapped_and_not_written_through(scenario, tmp_path):
    made = embed_images(scenario, batch_size=BATCH)
    before = cache_file(tmp_path).read_bytes()
    assert isinstance(made.matrix.base, np.memmap)
    made.matrix[0] = 9
    assert cache_file(tmp_path).read_bytes() == before
    assert embed_images(scenario).matrix[0, 0] != 9


@pytest.mark.slow
def test_processes_that_embed_the_same_wait_for_each_other(tmp_path):
    put_scenario(tmp_path)
    waiting = [start(tmp_path, *EMBED) for _ in range(2)]
    for process in waiting:
        assert process.communicate(timeout=300)[0].startswith("150 items") and process.returncode == 0
    cache_file(tmp_path)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"workers": -1}, "workers is -1: it must be at least 0"),
        ({"precision": "int8"}, "unknown precision 'int8': choose one of float32, float16, bfloat16"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(InputError, match=message):
        embed_images(tiny(), **given)


def test_settings_of_pictures_are_refused_for_texts(capsys):
    from ifcdsr_core.__main__ import main

    for more in (["--workers", "2"], ["--precision", "float16"]):
        assert main(["embed", "--modality", "text", *more]) == 1
        assert "go with --modality image" in capsys.readouterr().err
