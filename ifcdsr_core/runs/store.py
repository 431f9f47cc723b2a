"""Finished runs as folders: read, found by configuration, data and code, and shipped with the checkout.

``provenance.json`` holds the SHA-256 of the folder's other files and its own: of a run that was changed after it was
written no number is shown.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError
from ifcdsr_core.files import file_hash, new_folder, reading, sealed, unsealed
from ifcdsr_core.metrics import summarise
from ifcdsr_core.paths import data_dir, results_dir
from ifcdsr_core.runs.config import Experiment, RunConfig
from ifcdsr_core.runs.model import describe
from ifcdsr_core.scenario import DOMAINS
from ifcdsr_core.settings import NUM_NEGATIVES, PROTOCOLS
from ifcdsr_core.sources import complete_options

IDENTITY = ("scenario_fingerprint", "features_fingerprint", "code_versions")  # what finds a run besides its settings
WEIGHTS = "weights.safetensors"
_PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: Path
    config: dict
    provenance: dict
    history: pd.DataFrame
    ranks: pd.DataFrame

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a run folder; its weights are left on disk.

        Raises:
            InputError: it is not one, a file is missing or can't be opened, or one is not what was written.
        """
        folder = Path(folder)
        if not (folder / _PROVENANCE).is_file():
            raise InputError(f"{folder} is not a run's folder: it has no {_PROVENANCE}")
        provenance = unsealed(folder / _PROVENANCE, _remedy(folder))
        for name in provenance["files"].keys() - {WEIGHTS}:
            _verify(folder, name, provenance)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        ranks = pd.read_parquet(folder / "ranks.parquet")
        run = cls(folder, config, provenance, pd.read_csv(folder / "history.csv"), ranks)
        run.check()
        return run

    @cached_property
    def settings(self) -> RunConfig:
        """Its configuration, checked.

        Raises:
            InputError: the code at hand does not know one of its settings.
        """
        try:
            return RunConfig(**self.config)
        except TypeError as error:
            raise InputError(f"{self.folder} was made with other settings than this code has ({error})") from error

    @property
    def weights(self) -> Path:
        """The file with its weights.

        Raises:
            InputError: it has none, as a shipped run, or they are not what was written.
        """
        if WEIGHTS not in self.provenance["files"]:
            raise InputError(f"{self.folder} has no weights: train its configuration here")
        return _verify(self.folder, WEIGHTS, self.provenance)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """What follows from the ranks, ``metrics.summarise``."""
        return summarise(self.ranks)

    def check(self) -> None:
        """Raise an InputError unless there is one possible rank per test case."""
        wanted = self.provenance["cases"]["test"]
        if len(self.ranks) != wanted:
            raise InputError(f"{self.folder}: {len(self.ranks)} ranks for {wanted} test cases: run again")
        if not self.ranks["target_domain"].isin(DOMAINS).all():
            raise InputError(f"{self.folder}: a target is of a domain other than {' and '.join(DOMAINS)}: run again")
        for protocol in (name for name in PROTOCOLS if name in self.ranks):
            rank, most = self.ranks[protocol].to_numpy(), np.inf if protocol == "full" else 1 + NUM_NEGATIVES
            if not ((rank >= 1) & (rank <= most) & (rank < np.inf)).all():
                raise InputError(f"{self.folder}: a rank of {protocol} is not one: run again")

    @property
    def best_epoch(self) -> int:
        return best_epoch(self.history)

    @property
    def validation_mrr(self) -> float:
        """That of the best epoch, the mean over domains by the protocol that chose it."""
        return float(self.history["selection"].max())

    def mrr(self, protocol: str = "sampled_999") -> dict[str, float]:
        """Test MRR of each target domain."""
        chosen = self.metrics[self.metrics["protocol"] == protocol]
        return dict(zip(chosen["domain"], chosen["MRR"], strict=True))

    def save(self) -> None:
        """Write all but the weights into the folder, which may hold them already; the provenance last."""
        (self.folder / "config.json").write_text(json.dumps(self.config, indent=2, sort_keys=True) + "\n", "utf-8")
        self.history.to_csv(self.folder / "history.csv", index=False)
        self.ranks.to_parquet(self.folder / "ranks.parquet", index=False, compression="zstd")
        self.metrics.to_csv(self.folder / "metrics.csv", index=False)
        files = {path.name: file_hash(path) for path in sorted(self.folder.iterdir()) if path.name != _PROVENANCE}
        (self.folder / _PROVENANCE).write_text(sealed(self.provenance | {"files": files}), "utf-8")

    @property
    def is_of_this_code(self) -> bool:
        """Whether the versions of the code that made it are those of the code at hand."""
        return self.provenance.get("code_versions") == describe(self.config["model"], {}).versions


def _verify(folder: Path, name: str, provenance: dict) -> Path:
    """The path of a file in a run's folder that is what was written."""
    with reading(folder / name, _remedy(folder)):
        if file_hash(folder / name) != provenance["files"][name]:
            raise ValueError("it is not what was written")
    return folder / name


def _remedy(folder: Path) -> str:
    return f"delete {folder} and run again"


def best_epoch(history: pd.DataFrame) -> int:
    """The epoch whose weights were kept."""
    return int(history["epoch"].iloc[history["selection"].argmax()])


def runs_dir() -> Path:
    """Folder of the runs made here."""
    return data_dir() / "runs"


def shipped_dir() -> Path:
    """Folder of the runs that go with the checkout."""
    return results_dir() / "runs"


def find(config: RunConfig, identity: dict, shipped: bool = False) -> Run | None:
    """The finished run of a configuration, or None.

    Args:
        identity: fingerprints of data and features, and the versions of the code, as ``run.identify`` gives them.
        shipped: look among the runs shipped with the checkout, too.

    Raises:
        InputError: its folder is damaged.
    """
    name = folder_name(config, identity)
    for parent in (runs_dir(), shipped_dir())[: 1 + shipped]:
        if (parent / name).is_dir():
            finished = Run.load(parent / name)
            same_data = all(finished.provenance.get(part) == value for part, value in identity.items())
            if same_data and finished.settings == config:  # its name spells out no default, and these change
                return finished
    return None


def ship(finished: Run, to: Path | None = None) -> Path:
    """Copy a run to the results that go with the checkout, without weights, users and items: numbers, no data.

    Returns:
        The new folder, in ``to`` (default: ``data/results/runs``).

    Raises:
        InputError: the run's folder is given as ``.`` or ``..``, or has another run's name; ``to`` holds the run itself
            or is one; what stands in the place of the new folder is another run or none.
    """
    folder, to = finished.folder.resolve(), (to or shipped_dir()).resolve()
    target = to / folder.name
    if finished.folder.name != folder.name:
        raise InputError(f"{finished.folder} is not a run's name: name the folder itself, {folder}")
    identity = {part: finished.provenance[part] for part in IDENTITY}
    if folder.name != (right := folder_name(finished.settings, identity)):
        raise InputError(f"{folder} holds the run {right}: give it its name back")
    if to in (folder.parent, runs_dir()) or to.is_relative_to(folder):
        raise InputError(f"{to} is no place for shipped runs: {folder} must keep its weights")
    if target.exists() and Run.load(target).settings != finished.settings:
        raise InputError(f"{target} holds another run: delete it first, if it is to be replaced")
    with new_folder(target) as staging:
        ranks = finished.ranks.drop(columns=["user", "target_item"], errors="ignore")
        dataclasses.replace(finished, folder=staging, ranks=ranks).save()
    return target


def folder_name(config: RunConfig, identity: dict) -> str:
    """Source, scenario, model, seed, and a hash of the identity and of what is not left at its default.

    So a setting, an option or a dial that is added later changes no name.
    """
    defaults = {spec.name: spec.default for spec in dataclasses.fields(config)} | {
        "source_options": complete_options(config.source, {}),
        "model_options": describe(config.model, {}).options,
    }
    text = json.dumps([_changes(config.deciding, defaults), identity], sort_keys=True)
    return (
        f"{config.source}-{config.scenario}-{config.model}-seed{config.seed}-"
        f"{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    )


def _changes(values: dict, defaults: dict) -> dict:
    """Those of ``values`` that are not the defaults, likewise within dicts."""
    return {
        name: _changes(value, defaults[name]) if isinstance(value, dict) else value
        for name, value in values.items()
        if value != defaults[name]
    }


def shipped_runs(name: str = "*") -> list[Run]:
    """The runs that go with the checkout and are of this code, in the order of their folders' names.

    Args:
        name: how the folder's name begins, as for ``Path.glob``.

    Raises:
        InputError: a run folder is damaged.
    """
    return [run for folder in sorted(shipped_dir().glob(f"{name}/")) if (run := Run.load(folder)).is_of_this_code]


def shipped(experiment: Experiment) -> dict[str, list[Run]]:
    """The runs of an experiment that go with the checkout; labels without any are left out.

    For data that are not at hand, where nothing can be run and fingerprints can't be made.
    """
    wanted = {
        f"{config.source}-{config.scenario}-{config.model}-*" for group in experiment.values() for config in group
    }
    runs = {key(run.settings): run for name in wanted for run in shipped_runs(name)}
    found = {
        label: [runs[key(config)] for config in configs if key(config) in runs] for label, configs in experiment.items()
    }
    return {label: group for label, group in found.items() if group}


def key(config: RunConfig) -> str:
    """A configuration as a dictionary's key."""
    return json.dumps(config.deciding, sort_keys=True)
