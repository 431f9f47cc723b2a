"""What models of the demo are measured by: the best possible answers (``sources.demo.ceiling``), as runs of no model.

They are ranked on the same test cases and against the same negatives as the models, and kept in ``data/ceiling``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.paired import Runs, control_gains
from ifcdsr_core.errors import InputError
from ifcdsr_core.files import new_file, unreadable
from ifcdsr_core.paths import data_dir
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.demo import ceiling

BAYES, ORACLE = "Bayes (the best possible answer)", "Oracle (knows the user's taste)"
_WITHOUT = {part: f"Bayes without {part}" for part in ceiling.PARTS}


def bounds(experiment: Runs) -> dict[str, list[Run]]:
    """Bayes and oracle on the test cases of runs; empty if these are not of the demo.

    Raises:
        InputError: the runs were made on another world than the code at hand makes.
    """
    run = _first(experiment)
    return _as_runs(run, BAYES, ORACLE) if run.config["source"] == "demo" else {}


def beside_ceiling(
    gains: pd.DataFrame, controls: Mapping[float, Runs], part: str, names: tuple[str, str]
) -> pd.DataFrame:
    """The gains of a control, and below them what a part of its knowledge brings to Bayes (``gain_of``).

    Args:
        gains: of ``paired.control_gains``.
        controls: by signal, the runs that they are of.
        part: one of ``ceiling.PARTS``.

    Raises:
        InputError: as for ``bounds``.
    """
    without = _WITHOUT[part]
    of_bayes = {signal: _as_runs(_first(experiment), BAYES, without) for signal, experiment in controls.items()}
    steps = [(gain_of(part), BAYES, without)]
    return pd.concat([gains, control_gains(of_bayes, steps, names)], ignore_index=True)


def gain_of(part: str) -> str:
    """The name of Bayes's gain among the gains of a control."""
    return f"{part}, to Bayes"


def _first(experiment: Runs) -> Run:
    return next(run for runs in experiment.values() for run in runs)


def _as_runs(like: Run, *labels: str) -> dict[str, list[Run]]:
    """Best possible answers as runs on the test cases of another run, whose data and seed they have."""
    config = like.config
    scenario = prepare("demo", config["scenario"], **config["source_options"])
    if like.provenance["scenario_fingerprint"] != scenario.fingerprint:
        raise InputError(f"{like.folder.name} was made on another world than this version of the demo: run it again")
    return {
        label: [
            replace(
                like,
                folder=Path(label),
                config=config | {"model": label},
                ranks=_ranks(scenario, label, config["candidate_seed"]),
            )
        ]
        for label in labels
    }


def _ranks(scenario: Scenario, label: str, seed: int) -> pd.DataFrame:
    """``protocol.rank_cases`` of one answer, with the users in front; computed once for a world."""
    name = {BAYES: "bayes", ORACLE: "oracle"}.get(label, label.replace(" ", "-").lower())
    path = data_dir() / "ceiling" / f"{scenario.fingerprint[:16]}-{name}-{seed}-{ceiling.VERSION}.parquet"
    if not path.exists():
        cases = scenario.split("test")
        without = [part for part, of_part in _WITHOUT.items() if of_part == label]
        chances = ceiling.oracle(scenario, cases) if label == ORACLE else ceiling.bayes(scenario, cases, without)
        with new_file(path) as staging:
            _ranked(scenario, cases, chances, seed).to_parquet(staging, index=False)
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        raise unreadable(path, error, "delete it, and it is computed again") from error


def _ranked(
    scenario: Scenario, cases: pd.DataFrame, chances: Iterator[tuple[np.ndarray, np.ndarray]], seed: int
) -> pd.DataFrame:
    """Rank the targets of a split by the chances of all items, as ``protocol.rank_cases`` does by scores."""
    import torch

    from ifcdsr_core.batches import encode
    from ifcdsr_core.metrics import PROTOCOLS
    from ifcdsr_core.protocol import negatives, rank_among

    known = encode(cases, scenario.num_items_x, 1, scenario.sequences).known.numpy()

    domain = cases["target_domain"].to_numpy()
    target = np.array([items[-1] for items in cases["items"]], dtype=np.int64)
    first = 1 + scenario.num_items_x * (domain == "y")
    place, drawn = target - first, {"sampled_999": {}, "unseen_999": {}}  # place within the domain
    for code, num_items in (("x", scenario.num_items_x), ("y", scenario.num_items_y)):
        rows = np.flatnonzero(domain == code)
        for protocol, of_user in (("sampled_999", None), ("unseen_999", known[rows] - first[rows, None])):
            drawn[protocol] |= dict(zip(rows, negatives(place[rows], num_items, seed, of_user), strict=True))
    found = {name: np.zeros(len(cases)) for protocol in PROTOCOLS for name in (protocol, f"{protocol}_ties")}
    for rows, chance in chances:
        scores = torch.from_numpy(chance)
        wanted = scores.gather(1, torch.from_numpy(place[rows, None])).squeeze(1)
        for protocol in PROTOCOLS:
            itself = int(protocol == "full")  # there the target is one of those it is compared with
            among = scores
            if not itself:
                among = scores.gather(1, torch.from_numpy(np.stack([drawn[protocol][row] for row in rows])))
            rank, equal = rank_among(wanted, among)
            found[protocol][rows], found[f"{protocol}_ties"][rows] = rank - itself / 2, equal - itself
    user = cases["user"].astype(str).to_numpy()
    return pd.DataFrame({"user": user, "target_item": target, "target_domain": domain, **found})
