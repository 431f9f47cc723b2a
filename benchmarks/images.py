"""Pictures per second: the bounded pool against a plain loop, from a server that takes 50 ms to answer.

    python benchmarks/images.py [--pictures 400] [--delay 0.05] [--out data/results/benchmarks/images.json]

The loop is what one would write first: ``requests.get`` for one address after the other, the picture opened by PIL and
written to a file; once with a new connection each time, once with a session. Client and server share the machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from web_server import WebServer  # noqa: E402

from ifcdsr_core.sources.download.pictures import PictureLimits, download_images, read_manifest


def picture(seed: int, side: int = 300) -> bytes:
    """A JPEG as large as a shop's (some 20 KB)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (side // 10, side // 10, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def plain_loop(addresses: list[str], folder: Path, get) -> None:
    for number, address in enumerate(addresses):
        content = get(address, timeout=30).content
        Image.open(io.BytesIO(content)).convert("RGB")
        (folder / f"{number}.jpg").write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds the server takes to answer")
    parser.add_argument("--out", type=Path, default=None, help="also write the figures to this JSON file")
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "*"
    rates = {}
    with WebServer() as web, tempfile.TemporaryDirectory() as name:
        web.delay = options.delay
        contents = [picture(seed) for seed in range(20)]
        addresses = [web.put(f"/{n}.jpg", contents[n % 20]) for n in range(options.pictures)]

        def measure(what: str, run, count: int) -> None:
            folder = Path(name) / str(len(rates))
            folder.mkdir()
            begin = time.perf_counter()
            run(addresses[:count], folder)
            rates[what] = count / (time.perf_counter() - begin)
            again = "" if len(rates) == 1 else f"  ({rates[what] / rates['loop']:.1f} times the loop)"
            print(f"{what:>28}: {rates[what]:7.1f} pictures/s{again}", flush=True)

        def pool(at_a_time: int):
            def run(given: list[str], folder: Path) -> None:
                items = pd.DataFrame(
                    {
                        "source_id": [str(number) for number in range(len(given))],
                        "image_urls": [[address] for address in given],
                    }
                )
                limits = PictureLimits(workers=at_a_time, per_host=at_a_time, rate=1e6)
                download_images(items, folder, limits, allow_private=True)
                assert read_manifest(folder)["kind"].tolist() == ["ok"] * len(given)

            return run

        some = min(options.pictures, 100)  # the loops are slow
        measure("loop", lambda given, folder: plain_loop(given, folder, requests.get), some)
        with requests.Session() as session:
            measure("loop with a session", lambda given, folder: plain_loop(given, folder, session.get), some)
        for at_a_time in (1, 4, 8, 16, 32):
            measure(f"pool of {at_a_time}", pool(at_a_time), options.pictures if at_a_time > 1 else some)
        mean = sum(map(len, contents)) / len(contents)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "pictures_per_second": {what: round(rate, 1) for what, rate in rates.items()},
            "times_the_loop": {what: round(rate / rates["loop"], 2) for what, rate in rates.items()},
            "delay_seconds": options.delay,
            "bytes_per_picture": round(mean),
            "pictures": options.pictures,
            "processors": os.cpu_count(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
        }
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
