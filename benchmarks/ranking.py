"""How fast ranking is: ours beside the code of an earlier commit, a peer, and the matrix products alone.

    python benchmarks/ranking.py --out data/results/benchmarks/ranking.json

Both protocols for the test cases of the paper's Food-Kitchen files, in float32; the rest is as in ``training.py``. The
negatives of the sampled protocol are drawn in every round by *before*, and once a process by ours: ``first_seconds``,
of the round that warms up, has the drawing in it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from sides import Peer, in_turns, machine, worker
from training import RELIEVED, ROWS, add_common, keep, peer_data, per_unit, scenario_folder

ROWS = {**ROWS, "Co-occurrence": ("cooccurrence", {})}


def measure(job: dict, sides: list[str], rounds: int, seconds: float) -> dict:
    """A row: each side's cases a second and peak memory."""
    found = in_turns({side: worker(side, job) for side in sides}, rounds, seconds)
    return {"row": job["row"], "cases": job["cases"]} | per_unit(found, job["cases"])


def beside_the_peer(job: dict, rounds: int, seconds: float) -> dict:
    """Our SASRec and RecBole's, which ranks among the items of both domains, for the ten best only."""
    with tempfile.TemporaryDirectory() as folder:
        data = peer_data(Path(folder), job["scenario"])
        sides = {
            "ours": worker("ours", job),
            "floor": worker("floor", job),
            "RecBole": Peer(data, "ranking", job["cases"], [], job["threads"]),
            "RecBole, relieved": Peer(data, "ranking", job["cases"], RELIEVED, job["threads"]),
        }
        found = in_turns(sides, rounds, seconds)
    return {"row": "SASRec beside RecBole's", "cases": job["cases"]} | per_unit(found, job["cases"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--sides", nargs="+", default=["floor", "before", "ours"], choices=["floor", "before", "ours"])
    parser.add_argument("--cases", type=int, default=2048, help="the first test cases; there are 8,406")
    parser.add_argument("--peer", action="store_true", help="measure our SASRec beside RecBole's, too")
    add_common(parser)
    given = parser.parse_args()
    about, common = machine(), {"scenario": str(scenario_folder()), "threads": given.threads, "device": "cpu"}
    common |= {"what": "ranking", "negatives": 0, "cases": given.cases}
    for name in given.rows:
        model, options = ROWS[name]
        job = {"row": name, "model": model, "options": options} | common
        sides = [side for side in given.sides if (side, model) != ("floor", "cooccurrence")]  # it has no products
        keep(given.out, measure(job, sides, given.rounds, given.seconds), about, given)
    if given.peer:
        job = {"row": "SASRec", "model": "sasrec", "options": {}} | common
        keep(given.out, beside_the_peer(job, given.rounds, given.seconds), about, given)


if __name__ == "__main__":
    main()
