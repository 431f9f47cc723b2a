"""Finished runs as folders: read, found by configuration, data and code, and shipped with the checkout."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ifcdsr_core.errors import InputError
from ifcdsr_core.metrics import summarise
from ifcdsr_core.paths import data_dir, new_folder, results_dir
from ifcdsr_core.runs.config import Experiment, RunConfig
from ifcdsr_core.runs.model import describe
from ifcdsr_core.sources import complete_options


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: Path
    config: dict
    provenance: dict
    history: pd.DataFrame
    ranks: pd.DataFrame
    metrics: pd.DataFrame

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a run folder (weights are left on disk).

        Raises:
            InputError: a file is missing or damaged.
        """
        folder = Path(folder)
        path = folder
        try:
            records = {}
            for name in ("config", "provenance"):
                path = folder / f"{name}.json"
                records[name] = json.loads(path.read_text(encoding="utf-8"))
            path = folder / "history.csv"
            history = pd.read_csv(path)
            best_epoch(history)
            path = folder / "ranks.parquet"
            ranks = pd.read_parquet(path)
            return cls(folder, records["config"], records["provenance"], history, ranks, summarise(ranks))
        except Exception as error:  # json, pandas and pyarrow raise many kinds
            raise InputError(f"{path} can't be read ({type(error).__name__}): delete {folder} and run again") from error

    @property
    def best_epoch(self) -> int:
        return best_epoch(self.history)

    def mrr(self, protocol: str = "sampled_999") -> dict[str, float]:
        """Test MRR of each target domain."""
        chosen = self.metrics[self.metrics["protocol"] == protocol]
        return dict(zip(chosen["domain"], chosen["MRR"], strict=True))

    def save(self) -> None:
        """Write all but the weights into the folder."""
        for name, record in (("config", self.config), ("provenance", self.provenance)):
            text = json.dumps(record, indent=2, sort_keys=True) + "\n"
            (self.folder / f"{name}.json").write_text(text, encoding="utf-8")
        self.history.to_csv(self.folder / "history.csv", index=False)
        self.ranks.to_parquet(self.folder / "ranks.parquet", index=False, compression="zstd")
        self.metrics.to_csv(self.folder / "metrics.csv", index=False)

    @property
    def is_of_this_code(self) -> bool:
        """Whether the versions of the code that made it are those of the code at hand."""
        return self.provenance.get("code_versions") == describe(self.config["model"], {}).versions


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
            if RunConfig(**finished.config) == config:  # the name does not spell out defaults, and these may change
                return finished
    return None


def ship(finished: Run, to: Path | None = None) -> Path:
    """Copy a run to the results that go with the checkout, without weights, users and items: numbers, no data.

    Returns:
        The new folder, in ``to`` (default: ``data/results/runs``).
    """
    target = (to or shipped_dir()) / finished.folder.name
    with new_folder(target) as staging:
        for name in ("config.json", "provenance.json", "history.csv", "metrics.csv"):
            shutil.copyfile(finished.folder / name, staging / name)
        finished.ranks.drop(columns=["user", "target_item"]).to_parquet(
            staging / "ranks.parquet", index=False, compression="zstd"
        )
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
    runs = {key(RunConfig(**run.config)): run for name in wanted for run in shipped_runs(name)}
    found = {
        label: [runs[key(config)] for config in configs if key(config) in runs] for label, configs in experiment.items()
    }
    return {label: group for label, group in found.items() if group}


def key(config: RunConfig) -> str:
    """A configuration as a dictionary's key."""
    return json.dumps(config.deciding, sort_keys=True)
