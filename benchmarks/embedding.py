"""Pictures to features per second: in batches with worker processes against a plain loop, one picture at a time.

    python benchmarks/embedding.py [--pictures 2000] [--encoders small_clip ViT-B-32-quickgelu] [--device cuda]

The pictures are JPEGs as large as a shop's. An open_clip model gets random weights, which need the same time. Each way
is measured in a fresh process. ``model_share`` is the share of the time in which the model works; in the rest it waits
for pictures. ``decoding`` is the loader alone, ``model`` the model alone on one batch again and again: the loader keeps
up where it is the faster of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ifcdsr_core.features import clip, images
from ifcdsr_core.paths import processors
from ifcdsr_core.runs.assembly import device_name
from ifcdsr_core.scenario import Scenario

LOOP = 200  # pictures of the plain loop, which is slow


def put_pictures(folder: Path, count: int, side: int = 500) -> Scenario:
    """A scenario of ``count`` items, with 30 different JPEGs of about 40 KB, each linked under many names."""
    (folder / "images").mkdir(parents=True)
    for item in range(1, count + 1):
        name = folder / "images" / f"{item}.jpg"
        if item <= 30:
            coarse = np.random.default_rng(item).integers(0, 256, (side // 10, side // 10, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(name, "JPEG", quality=90)
        else:
            os.link(folder / "images" / f"{(item - 1) % 30 + 1}.jpg", name)
    items = pd.DataFrame(
        {
            "item": np.arange(1, count + 1, dtype=np.int32),
            "domain": "x",
            "title": None,
            "source_id": [f"b{item}" for item in range(1, count + 1)],
            "image": [f"images/{item}.jpg" for item in range(1, count + 1)],
        }
    )
    items.loc[count - 1, "domain"] = "y"
    sequences = pd.DataFrame(
        {"user": ["u"], "split": ["train"], "target_domain": ["y"], "items": [[1, count]], "timestamps": [None]}
    )
    return Scenario("food_kitchen", "benchmark", items, sequences, {}, folder)


class Timed:
    """A tower whose model's seconds are counted."""

    def __init__(self, tower: clip.ImageTower, device: str) -> None:
        self.tower, self.device, self.seconds = tower, device, 0.0

    def __getattr__(self, name: str):
        return getattr(self.tower, name)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        begin = time.perf_counter()
        features = self.tower.encode(pixels)
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - begin
        return features


def one_by_one(scenario: Scenario, tower: Timed, given: argparse.Namespace) -> tuple[int, float]:
    """What one would write first."""
    begin = time.perf_counter()
    with torch.inference_mode():
        for image in scenario.items["image"][:LOOP]:
            picture = Image.open(scenario.folder / image).convert("RGB")
            tower.encode(tower.preprocess(picture)[None]).cpu()
    return min(LOOP, scenario.num_items), time.perf_counter() - begin


def shards(scenario: Scenario, tower: Timed, given: argparse.Namespace) -> tuple[int, float]:
    """The book's way, from scenario to cache file."""
    images.image_tower = lambda *_: tower
    begin = time.perf_counter()
    images.embed_images(scenario, given.encoder, given.device, given.batch_size, given.precision, given.workers)
    return scenario.num_items, time.perf_counter() - begin


def decoding(scenario: Scenario, tower: Timed, given: argparse.Namespace) -> tuple[int, float]:
    """The loader alone; its processes have started."""
    rows = list(range(scenario.num_items))
    batches = [rows[start : start + given.batch_size] for start in range(0, len(rows), given.batch_size)]
    answers = iter(images.loader(images.picture_paths(scenario), tower, batches, given.workers))
    next(answers)
    begin = time.perf_counter()
    return sum(len(there) for there, _ in answers), time.perf_counter() - begin


def model(scenario: Scenario, tower: Timed, given: argparse.Namespace) -> tuple[int, float]:
    """The model alone, on one batch again and again."""
    pixels = torch.stack([tower.preprocess(Image.open(scenario.folder / "images" / "1.jpg"))] * given.batch_size)
    with torch.inference_mode(), images._autocast(given.device, given.precision):
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < 5:
            tower.encode(pixels).cpu()
            count += given.batch_size
    return count, time.perf_counter() - begin


WAYS = {"one by one": one_by_one, "shards": shards, "decoding": decoding, "model": model}


def child(given: argparse.Namespace) -> None:
    """Measure one way and print the figures."""
    scenario = Scenario.load(given.folder)
    tower = Timed(clip.image_tower(given.encoder, given.device), given.device)
    with torch.inference_mode():  # warm
        tower.encode(tower.preprocess(Image.open(scenario.folder / "images" / "1.jpg"))[None])
    tower.seconds = 0.0
    count, seconds = WAYS[given.way](scenario, tower, given)
    share = {"model_share": round(tower.seconds / seconds, 3)} if given.way in ("one by one", "shards") else {}
    print(json.dumps({"pictures_per_second": round(count / seconds, 1), "pictures": count} | share))


def measure(folder: Path, arguments: list[str]) -> dict:
    """One way in a process of its own; the cache is empty."""
    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            [sys.executable, __file__, "--folder", str(folder / "scenario"), *arguments],
            env={**os.environ, "IFCDSR_DATA": data},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def random_weights(name: str, folder: Path) -> str:
    """The encoder's name with random weights in a file."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = open_clip.create_model(name).state_dict()
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / f"{name}.safetensors")
    return f"{name}/{folder}/{name}.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--encoders", nargs="+", default=["small_clip", "ViT-B-32-quickgelu"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=images.PRECISIONS)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, processors()])
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    for name, kind in (("way", str), ("folder", Path), ("encoder", str)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        (given.workers,) = given.workers
        return child(given)
    results = []
    with tempfile.TemporaryDirectory() as name:
        put_pictures(Path(name) / "scenario", given.pictures).save(Path(name) / "scenario")
        for encoder in given.encoders:
            encoder = encoder if encoder == clip.SMALL_CLIP else random_weights(encoder, Path(name))
            for way in WAYS:
                for workers in given.workers if way in ("shards", "decoding") else [0]:
                    facts = measure(
                        Path(name),
                        [
                            "--way",
                            f"{way}",
                            "--encoder",
                            encoder,
                            "--device",
                            given.device,
                            "--precision",
                            given.precision,
                            "--batch-size",
                            str(given.batch_size),
                            "--workers",
                            str(workers),
                        ],
                    )
                    loop = next((r for r in results if r["encoder"] == encoder.split("/")[0]), facts)
                    results.append(
                        {
                            "encoder": encoder.split("/")[0],
                            "way": way,
                            "workers": workers,
                            **facts,
                            "times_the_loop": round(facts["pictures_per_second"] / loop["pictures_per_second"], 2),
                        }
                    )
                    print(json.dumps(results[-1]), flush=True)
    if given.out:
        given.out.write_text(
            json.dumps(
                {
                    "results": results,
                    "device": device_name(given.device),
                    "precision": given.precision,
                    "batch_size": given.batch_size,
                    "processors": processors(),
                    "load": os.getloadavg()[0],
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                },
                indent=2,
            )
            + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
