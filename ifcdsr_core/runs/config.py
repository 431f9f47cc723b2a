"""The configuration of a run: every setting that decides its numbers, checked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from ifcdsr_core.errors import DEVICES, choose, require
from ifcdsr_core.models import MODELS
from ifcdsr_core.runs.model import describe
from ifcdsr_core.settings import TrainSettings, setting
from ifcdsr_core.sources import SOURCES, complete_options, source_module


@dataclass(frozen=True)
class RunConfig(TrainSettings):
    """Everything that decides a run's numbers. Unknown or ill-typed values are an InputError.

    ``source_options`` and ``model_options`` are those of the source and of the model's Config; both are completed with
    their defaults, so that a run has one configuration however briefly it was written.
    """

    # what is trained, on what
    scenario: str = setting("food_kitchen", "food_kitchen, movie_book, or beauty_electronics of abxi")
    source: str = setting("demo", f"one of {', '.join(SOURCES)}")
    model: str = setting("ifcdsr", f"one of {', '.join(MODELS)}")
    train_on: Literal["train", "valid", "both"] = setting(
        "train", "split to train on: train, valid (as for c2dsr without its training file), or both"
    )
    holdout: float = setting(
        0.1, "with train_on=valid or both: share of the validation sequences kept for selection", above=0, below=1
    )
    max_seq_len: int = setting(50, "newest items of a history that are used", minimum=1, maximum=65_536)
    train_negatives: int = setting(0, "items that the training loss draws per step; 0: all, the exact loss", minimum=0)
    encoder: str = setting("small_clip", "image encoder: small_clip, or <open_clip model>/<weights>")
    text: str = setting("title", "text of an item: title, rules (the demo's), or llm:<model>, the model asked")
    text_encoder: str = setting(
        "lexical", "lexical; wordllama, for real titles; minilm; small_clip; or <open_clip model>/<weights>"
    )
    # controls: what is shuffled on purpose, by a seed; 0 shuffles nothing
    shuffle_days: int = setting(0, "seed that shuffles the items of the same day in each history; 0: none", minimum=0)
    shuffle_pictures: int = setting(0, "seed that gives items each other's pictures, by domain; 0: none", minimum=0)
    shuffle_texts: int = setting(0, "seed that gives items each other's texts, by domain; 0: none", minimum=0)
    # where it runs
    device: str = setting("cpu", "cpu or cuda; a GPU may change the last digits", compare=False)
    threads: int = setting(
        0,
        "processor threads, 0: as many as there are, in a sweep its share; their number may change the last digits",
        minimum=0,
        maximum=1024,
        compare=False,
    )
    source_options: dict = field(default_factory=dict)
    model_options: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("model", self.model, MODELS)
        choose("device", self.device, DEVICES)
        choose("scenario", self.scenario, source_module(self.source).SCENARIOS)
        if self.source == "c2dsr" and self.train_on == "valid":
            rebuilt = self.source_options.get("train") == "rebuilt"
            require(not rebuilt, "train_on", "valid", "train or both where the source has train=rebuilt")
            object.__setattr__(self, "source_options", {"train_file": False, **self.source_options})
        object.__setattr__(self, "source_options", complete_options(self.source, self.source_options))
        object.__setattr__(self, "model_options", describe(self.model, self.model_options).options)

    @property
    def deciding(self) -> dict:
        """All settings but those that change no more than the last digits."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.compare}


Experiment = dict[str, list[RunConfig]]  # by the label of a row or column of a table; one configuration per seed
