"""The configuration of a run: every setting that decides its numbers, checked."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.metrics import PROTOCOLS
from ifcdsr_core.models import MODELS
from ifcdsr_core.sources import complete_options


def setting(default, text: str, **more):
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's numbers. Unknown or ill-typed values are an InputError.

    ``source_options`` and ``model_options`` are those of the source and of the model's Config; both are completed with
    their defaults, so that a run has one configuration however briefly it was written.
    """

    scenario: str = setting("food_kitchen", "food_kitchen or movie_book")
    source: str = setting("demo", "demo, c2dsr, llmcdsr or amazon")
    model: str = setting("ifcdsr", f"one of {', '.join(MODELS)}")
    seed: int = setting(0, "seed of initial weights, order and dropout")
    epochs: int = setting(100, "at most so many epochs", minimum=1)
    patience: int = setting(10, "stop after so many epochs without a better validation MRR", minimum=1)
    batch_size: int = setting(256, "sequences a step", minimum=1)
    learning_rate: float = setting(1e-3, "of Adam; the paper's grid is 1e-3, 5e-4, 1e-4")
    l2: float = setting(1e-5, "L2 coefficient; the paper's grid is 1e-4, 5e-5, 1e-5")
    max_seq_len: int = setting(50, "newest items of a history that are used", minimum=1)
    shuffle_days: int = setting(
        0, "seed to shuffle the items of a day in each history with; 0: as the source has them", minimum=0
    )
    shuffle_pictures: int = setting(
        0, "seed to deal the pictures out anew within each domain with; 0: each item its own", minimum=0
    )
    train_on: str = setting("train", "split to train on; 'valid' for c2dsr without its training file")
    holdout: float = setting(0.1, "with train_on=valid: share of its sequences kept for selection")
    select_protocol: str = setting("sampled_999", f"protocol of the validation MRR: {' or '.join(PROTOCOLS)}")
    select_domain: str = setting("both", "select by the mean of both domains, or by x or y alone")
    candidate_seed: int = setting(0, "seed of the 999 negatives, the same for all models")
    train_negatives: int = setting(0, "items that the training loss draws a step; 0: all, the exact loss", minimum=0)
    encoder: str = setting("small_clip", "image encoder: small_clip, or <open_clip model>/<weights>")
    text: str = setting("title", "text of an item: title, rules (the demo's), or llm:<model>, what it was asked for")
    text_encoder: str = setting("lexical", "lexical, small_clip, or <open_clip model>/<weights>")
    shuffle_texts: int = setting(
        0, "seed to deal the texts out anew within each domain with; 0: each item its own", minimum=0
    )
    device: str = setting("cpu", "cpu or cuda")
    precision: str = setting("float32", "float32, or bfloat16 for the matrix products of training")
    threads: int = setting(1, "processor threads; another number may change the last digits", minimum=1)
    source_options: dict = field(default_factory=dict)
    model_options: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            value = _typed(spec.name, getattr(self, spec.name), spec.type)
            if "minimum" in spec.metadata and value < spec.metadata["minimum"]:
                raise InputError(f"{spec.name} is {value}: it must be at least {spec.metadata['minimum']}")
            object.__setattr__(self, spec.name, value)
        choose("model", self.model, MODELS)
        choose("train_on", self.train_on, ("train", "valid"))
        choose("select_protocol", self.select_protocol, PROTOCOLS)
        choose("select_domain", self.select_domain, ("both", "x", "y"))
        choose("precision", self.precision, ("float32", "bfloat16"))
        if not 0 < self.holdout < 1:
            raise InputError(f"holdout is {self.holdout}: it must lie between 0 and 1")
        if self.learning_rate <= 0 or self.l2 < 0:
            raise InputError("learning_rate must be positive and l2 must not be negative")
        if self.source == "c2dsr" and self.train_on == "valid":
            object.__setattr__(self, "source_options", {"train_file": False, **self.source_options})
        object.__setattr__(self, "source_options", complete_options(self.source, self.source_options))
        options = dataclasses.asdict(model_config(self.model, self.model_options))
        object.__setattr__(self, "model_options", options)


def model_config(model: str, options: dict):
    """The model's Config with ``options``, checked.

    Raises:
        InputError: an unknown option, or one of the wrong type or outside its choices.
    """
    config_class = MODELS[choose("model", model, MODELS)].Config
    types = typing.get_type_hints(config_class)
    known = {spec.name: types[spec.name] for spec in dataclasses.fields(config_class)}
    for name in options:
        if name not in known:
            raise InputError(f"unknown option {name!r} of model {model!r}: it has {', '.join(known)}")
    return config_class(**{name: _typed(name, value, known[name]) for name, value in options.items()})


def _typed(name: str, value, kind):
    """``value`` as ``kind`` (a type, its name, or a Literal); an int is taken where a float is wanted."""
    if typing.get_origin(kind) is typing.Literal:
        return choose(name, value, typing.get_args(kind))
    kind = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}.get(kind, kind)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{name} is {value!r}: it must be of type {kind.__name__}")
    return value


Experiment = dict[str, list[RunConfig]]  # by the label of a table row or column, one for each seed
