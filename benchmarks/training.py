"""How fast training is: ours beside the code of an earlier commit, a peer, and the matrix products alone.

    python benchmarks/training.py --out data/results/benchmarks/training.json

On the sequences of the paper's Food-Kitchen files (64,093 items), at the paper's size (q 256; e 512, random features).
All sides of a row take turns (``sides.py``), and train with the same numbers of processor threads. The *floor* is our
own step's matrix products and nothing else; *before* is commit ab08813; the peer is RecBole's SASRec (``peers/``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from sides import Peer, in_turns, machine, worker

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
RELIEVED = ["--max-length", "14", "--no-anomaly-detection"]  # no padding beyond the longest history; no debugging aid


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
    """A row: each side's sequences a second and peak memory."""
    found = in_turns({side: worker(side, job) for side in sides}, rounds, seconds)
    return named(job) | per_unit(found, job["batch"])


def beside_the_peer(job: dict, rounds: int, seconds: float) -> dict:
    """Our SASRec, exact and sampled, and RecBole's, as it comes and without what makes it slow."""
    with tempfile.TemporaryDirectory() as folder:
        data = peer_data(Path(folder), job["scenario"])
        sides = {
            "ours": worker("ours", job | {"negatives": 0}),
            "ours, sampled": worker("ours", job | {"negatives": SAMPLED}),
            "floor": worker("floor", job | {"negatives": 0}),
            "RecBole": Peer(data, "training", job["batch"], [], job["threads"]),
            "RecBole, relieved": Peer(data, "training", job["batch"], RELIEVED, job["threads"]),
        }
        found = in_turns(sides, rounds, seconds)
    return named(job) | {"row": "SASRec beside RecBole's"} | per_unit(found, job["batch"])


def peer_data(folder: Path, scenario: str) -> Path:
    """The sequences as the peer reads them."""
    from peers.environment import save_sequences

    from ifcdsr_core.scenario import Scenario

    whole, path = Scenario.load(Path(scenario)), folder / "sequences.npz"
    save_sequences(path, whole.split("valid")["items"], whole.split("test")["items"], whole.num_items)
    return path


def named(job: dict) -> dict:
    """What a row is found by."""
    return {name: job[name] for name in ("row", "loss", "precision", "batch") if name in job}


def per_unit(found: dict[str, dict], count: int) -> dict[str, dict]:
    """Rates of what a unit has ``count`` of."""
    for facts in found.values():
        for name in ("per_second", "lowest", "highest"):
            facts[name] *= count
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--losses", nargs="+", default=["exact", "sampled"], choices=["exact", "sampled"])
    parser.add_argument("--precisions", nargs="+", default=None, choices=["float32", "bfloat16"])
    parser.add_argument("--sides", nargs="+", default=["floor", "before", "ours"], choices=["floor", "before", "ours"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--peer", action="store_true", help="measure our SASRec beside RecBole's, too")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="cuda: sides floor and ours alone")
    add_common(parser)
    given = parser.parse_args()
    if given.device == "cuda" and (given.peer or "before" in given.sides):
        parser.error("with --device cuda there are --sides floor and ours alone, and no --peer")
    about = machine(given.device)
    precisions = given.precisions or ["float32", *(["bfloat16"] if about["bfloat16_products"] else [])]
    common = {"scenario": str(scenario_folder()), "threads": given.threads, "device": given.device}
    wanted = [job | common for job in jobs(given.rows, given.losses, precisions, given.batch)]
    for job in wanted:
        keep(given.out, measure(job, given.sides, given.rounds, given.seconds), about, given)
    if given.peer:
        (job,) = jobs(["SASRec"], ["exact"], ["float32"], given.batch)
        keep(given.out, beside_the_peer(job | common, given.rounds, given.seconds), about, given)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of both benchmarks."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round; it has one unit at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the results there as JSON; rows that are there are replaced")


def keep(path: Path | None, row: dict, about: dict, given: argparse.Namespace) -> None:
    """Print a row and put it into the file, in place of the same one of an earlier call."""
    print(json.dumps(row), flush=True)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    rows = [other for other in record["rows"] if named(other) != named(row)]
    row["measured"] = about | {"threads": given.threads, "rounds": given.rounds}
    path.write_text(json.dumps({"rows": [*rows, row]}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
