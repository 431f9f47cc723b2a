"""What models of the demo are measured by: the best possible answers (``sources.demo.ceiling``), as runs of no model.

They are ranked on the same test cases and against the same negatives as the models, and kept in ``data/ceiling``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.paired import Runs, control_gains
from ifcdsr_core.errors import InputError
from ifcdsr_core.files import new_file, reading
from ifcdsr_core.paths import data_dir
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.store import Run
from ifcdsr_core.runs.versions import HARNESS
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.settings import PROTOCOLS
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.demo import ceiling

if TYPE_CHECKING:
    from torch import Tensor

    from ifcdsr_core.batches import Batch
    from ifcdsr_core.models.base import ModelInputs

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
    options = {name: like.config[name] for name in ("scenario", "source_options", "candidate_seed")}
    config = RunConfig(source="demo", model="popularity", **options)  # any that needs no features
    scenario = prepare("demo", config.scenario, **config.source_options)
    if like.provenance["scenario_fingerprint"] != scenario.fingerprint:
        raise InputError(f"{like.folder.name} was made on another world than this version of the demo: run it again")
    return {
        label: [
            replace(
                like,
                folder=Path(label),
                config=like.config | {"model": label},
                ranks=_kept_ranks(config, scenario, label),
            )
        ]
        for label in labels
    }


def _kept_ranks(config: RunConfig, scenario: Scenario, label: str) -> pd.DataFrame:
    """The ranks of one answer, computed once for a world."""
    name = {BAYES: "bayes", ORACLE: "oracle"}.get(label, label.replace(" ", "-").lower())
    version = f"{ceiling.VERSION}-{HARNESS}-{len(PROTOCOLS)}"
    path = data_dir() / "ceiling" / f"{scenario.fingerprint[:16]}-{name}-{config.candidate_seed}-{version}.parquet"
    if not path.exists():
        with new_file(path) as staging:
            _ranks(config, label).to_parquet(staging, index=False)
    with reading(path, "delete it, and it is computed again"):
        return pd.read_parquet(path)


def _ranks(config: RunConfig, label: str) -> pd.DataFrame:
    """``protocol.rank_cases`` of one answer, with the users in front."""
    from ifcdsr_core.protocol import rank_cases
    from ifcdsr_core.runs.assembly import assemble

    scenario, inputs, cases = assemble(config)
    sequences = scenario.split("test")
    without = [part for part, of_part in _WITHOUT.items() if of_part == label]
    answer = ceiling.oracle(scenario, sequences) if label == ORACLE else ceiling.bayes(scenario, sequences, without)
    chances = dict(pair for rows, chance in answer for pair in zip(rows, chance, strict=True))  # by case
    in_y = (sequences["target_domain"] == "y").to_numpy()
    of_domain = [[chances[row] for row in np.flatnonzero(in_y == code)] for code in (False, True)]
    ranks = rank_cases(_Answer(label, inputs, of_domain), cases["test"], config.candidate_seed)
    ranks.insert(0, "user", sequences["user"].astype(str).to_numpy())
    return ranks


@dataclass
class _Answer:
    """Chances in the place of a model whose scores are asked for once, case by case.

    Attributes:
        waiting: by domain, the chances of the cases not asked for yet, (N,) each.
    """

    title: str
    inputs: ModelInputs
    waiting: list[list[np.ndarray]]
    training = False
    device = "cpu"

    def eval(self) -> None:
        """Nothing is trained."""

    def train(self, mode: bool) -> None:
        """Nothing is trained."""

    def score(self, batch: Batch, domain: int) -> Tensor:
        import torch

        asked, self.waiting[domain] = self.waiting[domain][: len(batch)], self.waiting[domain][len(batch) :]
        return torch.from_numpy(np.stack(asked))
