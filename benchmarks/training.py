"""How fast training is: ours beside the code of an earlier commit, a peer, and the matrix products alone.

    python benchmarks/training.py --out data/results/benchmarks/training.json

On the sequences of the paper's Food-Kitchen files (64,093 items), at the paper's size (q 256; e 512, random features).
All sides of a row take turns (``sides.py``), and train with the same numbers of processor threads. The *floor* is our
own step's matrix products and nothing else; *today* is commit ab08813; the peer is RecBole's SASRec (``peers/``).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sides import in_turns, machine, worker

ROWS = {
    "IFCDSR without images": ("ifcdsr", {"image_fusion": False}),
    "IFCDSR": ("ifcdsr", {}),
    "LLM-EMF": ("llm_emf", {}),
    "GRU4Rec": ("gru4rec", {}),
    "SASRec": ("sasrec", {}),
    "SR-GNN": ("srgnn", {}),
    "PSJNet": ("psjnet", {}),
    "MIFN": ("mifn", {}),
    "Tri-CDR": ("tricdr", {}),
    "C2DSR": ("c2dsr", {}),
}
SAMPLED = 8192  # items that the sampled loss draws a step


def scenario_folder() -> Path:
    """The paper's Food-Kitchen files, as a scenario; its validation sequences are what is trained on."""
    from ifcdsr_core.sources import prepare

    return prepare("c2dsr", "food_kitchen", train_file=False).folder


def jobs(names: list[str], losses: list[str], precisions: list[str], batch: int) -> list[dict]:
    """The rows to measure."""
    return [
        {"row": name, "model": ROWS[name][0], "options": ROWS[name][1], "loss": loss, "precision": precision}
        | {"what": "training", "negatives": SAMPLED if loss == "sampled" else 0, "batch": batch}
        for name in names
        for loss in losses
        for precision in precisions
    ]


def measure(job: dict, sides: list[str], rounds: int, seconds: float) -> dict:
    """A row: each side's sequences a second and peak memory, and ours as a multiple of the others'."""
    found = in_turns({side: worker(side, job) for side in sides}, rounds, seconds)
    for facts in found.values():
        for name in ("per_second", "lowest", "highest"):
            facts[name] *= job["batch"]
    return {name: job[name] for name in ("row", "loss", "precision", "batch")} | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--losses", nargs="+", default=["exact", "sampled"], choices=["exact", "sampled"])
    parser.add_argument("--precisions", nargs="+", default=None, choices=["float32", "bfloat16"])
    parser.add_argument("--sides", nargs="+", default=["floor", "today", "ours"], choices=["floor", "today", "ours"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round; a round has one step at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", action="store_true", help="measure RecBole's SASRec beside our SASRec, too")
    parser.add_argument("--out", type=Path, help="write the results there as JSON; rows that are there are replaced")
    given = parser.parse_args()
    about = machine()
    precisions = given.precisions or ["float32", *(["bfloat16"] if about["bfloat16_products"] else [])]
    folder = str(scenario_folder())
    for job in jobs(given.rows, given.losses, precisions, given.batch):
        row = measure(job | {"scenario": folder, "threads": given.threads}, given.sides, given.rounds, given.seconds)
        print(json.dumps(row), flush=True)
        if given.out:
            keep(given.out, row, about | {"threads": given.threads, "rounds": given.rounds})


def keep(path: Path, row: dict, about: dict) -> None:
    """Put a row into the file, in place of the same one of an earlier call."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    key = [row[name] for name in ("row", "loss", "precision", "batch") if name in row]
    others = [r for r in record["rows"] if [r[n] for n in ("row", "loss", "precision", "batch") if n in r] != key]
    record = {"machine": about, "rows": [*others, row]}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
