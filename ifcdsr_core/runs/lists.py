"""The book's experiments: named lists of runs, and the settings they share.

An experiment is a dict from the label of a table's row or column to its configurations, one per seed.
``sweep.run_all`` carries one out; finished runs are found again, so it can be killed and continued.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ifcdsr_core.errors import InputError, choose, first_line
from ifcdsr_core.models import CONTROLS, COUNTING, MODELS
from ifcdsr_core.runs.config import Experiment, RunConfig
from ifcdsr_core.runs.search import OPTIONS, SETTINGS, chosen, found, others_by_rate, settings_of
from ifcdsr_core.runs.store import Run, shipped
from ifcdsr_core.settings import SEEDS
from ifcdsr_core.sources import SOURCES, source_module

# What one needs to know to redo the numbers.
DEMO = dict(source="demo", epochs=100, patience=8, batch_size=64, learning_rate=1e-2)
# To the plateau: small models, for which two processors have the time, and whose products gain nothing from bfloat16.
REAL = dict(
    epochs=100,
    patience=10,
    batch_size=64,
    learning_rate=1e-3,
    train_negatives=1024,
    precision="float32",
    text_encoder="wordllama",
)
# What is other for a source, or for one scenario of it. LLMCDSR's histories reach 150 items, C2DSR's 14. On ABXI's data
# epochs are chosen as the authors test.
AS_ABXI_TESTS = dict(select_protocol="unseen_999")
OF_COUNTS = ("source", "train_on", "max_seq_len")  # settings that decide what a model counts: nothing is trained
REAL_OF = {("c2dsr", "movie_book"): dict(train_on="valid"), "llmcdsr": dict(max_seq_len=20), "abxi": AS_ABXI_TESTS}
# Source options. The paper's Food-Kitchen has its training file rebuilt. Most users that LLMCDSR trains on have one
# domain alone, as none of the paper's has; with them there are seven times as many sequences.
DATA_OF = {("c2dsr", "food_kitchen"): {"train": "rebuilt"}, "llmcdsr": {"train_users": "both"}}
# Model options, of models that have them: a quarter of the paper's width, and the pre-training of Tri-CDR's authors.
# The paper's Food-Kitchen has three times as many sequences as other data.
SMALL = dict(hidden_size=64, inner_size=64)
OPTIONS_OF = {
    "demo": SMALL,
    "real": SMALL | dict(pretrain_epochs=8),
    ("c2dsr", "food_kitchen"): SMALL | dict(pretrain_epochs=3),
}
# Rivals on data of their own authors, by these authors' recipe (``recipes``): run settings, and model options, by
# source, scenario and model. It takes hundreds of epochs, and no search changes it.
ABXI_RECIPE = dict(
    epochs=500,
    patience=62,
    batch_size=256,
    max_seq_len=47,
    learning_rate=1e-4,
    decay="decoupled",
    l2=3.0,
    warmup_epochs=10,
    plateau_epochs=31,
    plateau_factor=0.3162,
    **AS_ABXI_TESTS,
)
RECIPES = {
    ("abxi", "food_kitchen", "abxi"): (ABXI_RECIPE, dict(domain_rank=16, invariant_rank=64)),
    ("abxi", "beauty_electronics", "abxi"): (ABXI_RECIPE | dict(l2=2.0), dict(domain_rank=64, invariant_rank=64)),
    ("abxi", "movie_book", "abxi"): (ABXI_RECIPE, dict(domain_rank=4, invariant_rank=4)),
}

# What a search draws candidates from. The paper's rates are 1e-3, 5e-4 and 1e-4. These reach higher: an epoch of the
# demo has 36 training steps, one of ABXI's Food-Kitchen 112, one of the paper's 376.
CANDIDATES = 12  # of each model, the first with its own defaults
LEARNING_RATES = {"demo": (1e-2, 5e-3, 2e-3, 1e-3), "real": (1e-3, 3e-3, 1e-2, 3e-4)}  # the default first
SEARCHED = {"l2": (1e-5, 1e-4, 1e-6, 0.0), "dropout": (0.3, 0.1, 0.5), "temperature": (0.07, 0.05, 0.1, 0.2)}
SEARCH_EPOCHS = {"demo": 36, "real": 27, ("c2dsr", "food_kitchen"): 9}  # of the last round: as many steps on real data
PATIENT = {"patience": 4 * REAL["patience"], "epochs": 200}
SIGNALS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the control curves
MAKERS = 24  # named by titles in the worlds where titles are to tell something
# Source options by which items get titles, where they have none by default; scenarios for which there are no titles.
TITLED = {"c2dsr": {"titles": True}, "abxi": {"titles": True}}
UNTITLED = {"abxi": ("beauty_electronics",)}


def settings(source: str, scenario: str, model: str) -> tuple[dict, dict]:
    """Run settings and model options of the book for a source, a scenario and a model.

    What was searched is as the search found it, where its outcome is shipped (``search.chosen``). What only counts has
    no settings of a training, so that its runs stay when these change.
    """
    encoder = encoder_of(source)
    tuned, options = chosen(source, trained_alike(source, scenario), model)
    known = MODELS[choose("model", model, MODELS)].Config.__dataclass_fields__
    given = {name: value for name, value in _of(OPTIONS_OF, source, scenario).items() if name in known}
    real = REAL | _of(REAL_OF, source, scenario) | ({"encoder": encoder} if encoder else {})
    common = DEMO if source == "demo" else real | dict(source=source)
    if model in COUNTING:
        return {name: common[name] for name in OF_COUNTS if name in common}, {}
    return common | tuned, given | options


def _of(mapping: dict, source: str, scenario: str):
    """What a mapping has for a scenario, else for its source, else for its kind, demo or real; {} for nothing."""
    return mapping.get((source, scenario), mapping.get(source, mapping.get(_kind(source), {})))


def _kind(source: str) -> str:
    return "demo" if source == "demo" else "real"


def trained_alike(source: str, scenario: str) -> list[str]:
    """A scenario, then those of the source that are trained alike: the outcome of a search on one serves the others."""
    others = [name for name in source_module(source).SCENARIOS if name != scenario]

    def alike(name: str) -> bool:
        return all(_of(part, source, name) == _of(part, source, scenario) for part in (REAL_OF, DATA_OF, OPTIONS_OF))

    return [scenario, *filter(alike, others)]


def encoder_of(source: str) -> str | None:
    """The encoder of a source's pictures in these lists, its module's ``ENCODER``. None: they have none here.

    Raises:
        InputError: unknown source.
    """
    return getattr(source_module(source), "ENCODER", None)


def configurations(
    model: str,
    scenario: str,
    seeds: Iterable[int],
    source: str = "demo",
    *,
    source_options: dict | None = None,
    model_options: dict | None = None,
    **changes,
) -> list[RunConfig]:
    """The book's configuration of one model, for each seed, with ``changes`` to it."""
    common, options = settings(source, scenario, model)
    return [
        RunConfig(
            scenario=scenario,
            model=model,
            seed=seed,
            source_options={**_of(DATA_OF, source, scenario), **(source_options or {})},
            model_options={**options, **(model_options or {})},
            **{**common, **changes},
        )
        for seed in seeds
    ]


# --- the lists --------------------------------------------------------------------------------------------------------


def comparison(
    scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", models: Iterable[str] | None = None, **changes
) -> Experiment:
    """Tables 2 and 3: all models, or some, under the names that tables give them.

    Real data have no pictures here, unless their source names an ``ENCODER``: models with images then run without.
    LLM-EMF's texts are plain titles, which the paper's data and ABXI's take from LLMCDSR's; where there are none
    (``UNTITLED``), all models are all others. What only counts has no seed and is run once.

    Raises:
        InputError: unknown model or source; two models have the same title.
    """
    rows: Experiment = {}
    for model in dict.fromkeys(models or _compared(source, scenario)):
        images = "image_fusion" in MODELS[choose("model", model, MODELS)].Config.__dataclass_fields__
        without = []
        more = dict(changes)
        if model == "llm_emf":
            without.append("plain titles")
            more["source_options"] = {**TITLED.get(source, {}), **changes.get("source_options", {})}
        if images and not encoder_of(source):
            without.append("no images")
            more["model_options"] = {"image_fusion": False}
        label = MODELS[model].title + (f" ({', '.join(without)})" if without else "")
        if label in rows:
            raise InputError(f"{rows[label][0].model} and {model} have the same title, {label}: give each its own")
        rows[label] = configurations(model, scenario, [0] if model in COUNTING else seeds, source, **more)
    return rows


def _compared(source: str, scenario: str) -> list[str]:
    """The models of a comparison that names none."""
    left_out = {*CONTROLS, *(["llm_emf"] if scenario in UNTITLED.get(source, ()) else [])}
    return [name for name in MODELS if name not in left_out]


def recipes(scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes) -> Experiment:
    """Rivals by their authors' recipe, on these authors' data: no rows of a comparison, where all are trained alike.

    Raises:
        InputError: there is none for these data.
    """
    found = {model: recipe for (*data, model), recipe in RECIPES.items() if data == [source, scenario]}
    if not found:
        raise InputError(f"no rival's authors have a recipe for {scenario} of {source!r}: choose abxi")
    seeds = list(seeds)
    return {
        MODELS[model].title: [
            RunConfig(
                source=source, scenario=scenario, model=model, seed=seed, model_options=options, **{**run, **changes}
            )
            for seed in seeds
        ]
        for model, (run, options) in found.items()
    }


def controls(scenario: str, source: str = "demo") -> Experiment:
    """The controls, on the data with items numbered as published: rows below a comparison, which they do not enter."""
    published = {"numbering": "published"} if "numbering" in source_module(source).OPTIONS else {}
    return {
        f"{MODELS[name].title} (control)": configurations(name, scenario, [0], source, source_options=published)
        for name in CONTROLS
    }


def ablation(scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes) -> Experiment:
    """Table 4: its three columns.

    Raises:
        InputError: the source has no pictures here (``encoder_of``): ``domains`` has the last step without them.
    """
    if not encoder_of(source):
        raise InputError(
            f"source {source!r} has no pictures here (its module names no ENCODER): choose demo, "
            "or domains for what needs none"
        )
    columns = {
        "original framework": {"image_fusion": False, "multiple_attention": False},
        "+ image fusion": {"image_fusion": True, "multiple_attention": False},
        "+ multiple attention": {"image_fusion": True, "multiple_attention": True},
    }
    return {
        label: configurations("ifcdsr", scenario, seeds, source, model_options=options, **changes)
        for label, options in columns.items()
    }


def image_control(scenario: str, visual_signal: float, seeds: Iterable[int] = SEEDS, **changes) -> Experiment:
    """IFCDSR without images, with them, and with those of other items, at one position of the pictures' dial.

    Images of other items are a placebo: as many parameters and as many distinct vectors, but nothing to be learned from
    them about an item. What they bring is not owed to pictures.
    """
    arms = {
        "without images": ({"image_fusion": False}, {}),
        "with images": ({}, {}),
        "with other items' images": ({}, {"shuffle_pictures": 1}),
    }
    return {
        label: configurations(
            "ifcdsr",
            scenario,
            seeds,
            source_options={"visual_signal": visual_signal},
            model_options=options,
            **{**changes, **settings},
        )
        for label, (options, settings) in arms.items()
    }


def domains(scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes) -> Experiment:
    """IFCDSR on the merged sequence alone, on each domain alone, and on all three; with images where there are any."""
    arms = {
        "merged sequence alone": {"multiple_attention": False},
        "own domain alone": {"lambda_1": 0.0, "lambda_2": 0.0},
        "multiple attention": {},
    }
    return {
        label: _changed("ifcdsr", scenario, seeds, source, {**changes, **_options(**options)})
        for label, options in arms.items()
    }


def domain_control(scenario: str, cross_domain_signal: float, seeds: Iterable[int] = SEEDS, **changes) -> Experiment:
    """``domains`` at one position of the dial."""
    return domains(scenario, seeds, source_options={"cross_domain_signal": cross_domain_signal}, **changes)


def modalities(scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes) -> Experiment:
    """The model over ID, ID and image, ID and text, and all three; where there are no pictures, without images.

    Without text it is IFCDSR; all arms are trained with its learning rate and L2.
    """
    arms = {
        "ID": ("ifcdsr", False),
        "ID + image": ("ifcdsr", True),
        "ID + text": ("llm_emf", False),
        "ID + image + text": ("llm_emf", True),
    }
    given, (alike, shared) = changes.pop("source_options", {}), _tuned(source, scenario)
    return {
        label: configurations(
            model,
            scenario,
            seeds,
            source,
            model_options=shared | ({} if images else {"image_fusion": False}),
            source_options=(TITLED.get(source, {}) if model == "llm_emf" else {}) | given,
            **{**alike, **changes},
        )
        for label, (model, images) in arms.items()
        if encoder_of(source) or not images
    }


TEXT_ENCODERS = ("lexical", "wordllama", "minilm")  # of titles; the second is what real ones want


def text_encoders(scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes) -> Experiment:
    """The ID alone, and with plain titles by each encoder; a placebo gives each item the title of another one of its
    domain, by the second encoder.
    """

    def with_text(encoder: str, **more) -> list[RunConfig]:
        return modalities(scenario, seeds, source, **changes, text_encoder=encoder, **more)["ID + text"]

    arms = {"ID": modalities(scenario, seeds, source, **changes)["ID"]}
    arms |= {f"ID + {encoder}": with_text(encoder) for encoder in TEXT_ENCODERS}
    return arms | {"ID + other items' text": with_text("wordllama", shuffle_texts=1)}


def _tuned(source: str, scenario: str) -> tuple[dict, dict]:
    """What was searched of IFCDSR's run settings and model options, for arms that are to be trained alike."""
    common, options = settings(source, scenario, "ifcdsr")
    return (
        {name: common[name] for name in SETTINGS if name in common},
        {name: options[name] for name in OPTIONS if name in options},
    )


def text_control(scenario: str, text_signal: float, seeds: Iterable[int] = SEEDS, **changes) -> Experiment:
    """The model without texts, with them, and with those of other items, at one position of the titles' dial.

    Pictures explain nothing here (titles name the kind, which pictures show), and no arm has them. Titles name makers.
    """
    dials = {"visual_signal": 0.0, "text_signal": text_signal, "makers": MAKERS}
    arms = {
        "without text": ("ifcdsr", {}),
        "with text": ("llm_emf", {}),
        "with other items' text": ("llm_emf", {"shuffle_texts": 1}),
    }
    alike, shared = _tuned("demo", scenario)
    return {
        label: configurations(
            model,
            scenario,
            seeds,
            source_options=dials,
            model_options={**shared, "image_fusion": False},
            **{**alike, **changes, **more},
        )
        for label, (model, more) in arms.items()
    }


PLANTED = tuple((visual, text) for visual in (0.0, 1.0) for text in (0.0, 1.0))


def planted(
    scenario: str, visual_signal: float, text_signal: float, seeds: Iterable[int] = SEEDS, **changes
) -> Experiment:
    """``modalities`` in a world with given positions of the dials of pictures and titles."""
    dials = {"visual_signal": visual_signal, "text_signal": text_signal, "makers": MAKERS}
    return modalities(scenario, seeds, source_options=dials, **changes)


@dataclass(frozen=True)
class Reading:
    """Another way to read a place where the papers are silent.

    Attributes:
        gap: its number in the ledger.
        label: what is different, in words.
        changes: to the model's configuration, as ``configurations`` takes them.
        changes_y: those for target domain Y, where each domain has a run of its own.
        kinds: data on which the reading can be told from ours: the demo, and real data.
        model: whose configuration is changed.
    """

    gap: int
    label: str
    changes: dict
    changes_y: dict | None = None
    kinds: tuple[str, ...] = ("demo", "real")
    model: str = "ifcdsr"


def _options(**options) -> dict:
    return {"model_options": options}


BARE = "bare attention: no positions, no feed-forward part"  # equation (1) as printed
OURS_BARE = "IFCDSR, bare attention"
OURS, OURS_TEXT = "as in this book", "LLM-EMF as in this book"  # what readings of either model are compared with
READINGS = (
    Reading(1, "temperature 1, the formula as printed", _options(temperature=1.0)),
    Reading(1, "temperature 0.2", _options(temperature=0.2)),
    Reading(1, "temperature 0.03", _options(temperature=0.03)),
    Reading(1, "temperature learned", _options(learn_temperature=True)),
    Reading(2, "the source domain's branch gives nothing", _options(source_branch="zero")),
    Reading(5, "items of the same day in random order", {"shuffle_days": 1}),
    Reading(5, "histories cut to the last 5 items", {"max_seq_len": 5}),
    Reading(7, "2 layers", _options(num_layers=2)),
    Reading(7, "1 head", _options(num_heads=1)),
    Reading(7, "no positions", _options(positions=False)),
    Reading(7, BARE, _options(positions=False, inner_size=0)),
    Reading(8, "half of the items without a picture", {"source_options": {"missing_pictures": 0.5}}, kinds=("demo",)),
    Reading(9, "a learned projection of the images", _options(image_projection="linear"), kinds=("demo",)),
    Reading(10, "a model of its own for each target domain", _options(target="x"), _options(target="y")),
    Reading(11, "each domain at its own best epoch", {"select_domain": "x"}, {"select_domain": "y"}),
    Reading(11, "epoch chosen by the rank among all items", {"select_protocol": "full"}),
    *(
        Reading(12, label, changes, kinds=("demo",), model="llm_emf")
        for label, changes in (
            ("LLM-EMF: a quarter of the rest to the text", _options(text_share=0.25)),
            ("LLM-EMF: three quarters of the rest to the text", _options(text_share=0.75)),
            ("LLM-EMF: weights learned", _options(learn_mixing=True)),
            ("LLM-EMF: titles enhanced by rules", {"text": "rules"}),
            ("LLM-EMF: titles embedded by the small CLIP", {"text_encoder": "small_clip"}),
        )
    ),
    Reading(15, "loss from 256 sampled items a step", {"train_negatives": 256}, kinds=("demo",)),
    Reading(15, "exact loss", {"train_negatives": 0}, kinds=("real",)),
)


def readings(scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes) -> Experiment:
    """The ledger's runs: each model as in this book, and under each other reading that the data can tell from it.

    A reading with a run for each target domain has two rows, its label followed by the domain's letter. A reading that
    the search chose on these data is what the book has there, and no other.
    """
    rows = {OURS: ("ifcdsr", {})} | ({OURS_TEXT: ("llm_emf", {})} if source == "demo" else {})
    kind = _kind(source)
    for reading in READINGS:
        if kind in reading.kinds and reading.changes_y is None:
            rows[reading.label] = reading.model, reading.changes
        elif kind in reading.kinds:
            rows |= {
                f"{reading.label}, x": (reading.model, reading.changes),
                f"{reading.label}, y": (reading.model, reading.changes_y),
            }
    made = {
        label: _changed(model, scenario, seeds, source, {**changes, **changed})
        for label, (model, changed) in rows.items()
    }
    return {label: configs for label, configs in made.items() if label == OURS or configs != made[OURS]}


# The paper's alpha, lambdas and size are among the values; its learning rates are 1e-3, 5e-4 and 1e-4.
SENSITIVITY = {
    "alpha": (0.0, 0.3, 0.7, 0.9, 1.0),
    "lambda_1": (0.0, 0.1, 0.3, 1.0),
    "lambda_2": (0.0, 0.1, 0.4, 1.0),
    "learning_rate": (1e-3, 2e-3, 5e-3, 1e-2),
    "hidden_size": (16, 64, 256),
}


def sensitivity(
    scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes
) -> dict[str, dict[float, list[RunConfig]]]:
    """IFCDSR with one hyperparameter at a time at other values: by its name and its value."""
    return {
        name: {
            value: _changed(
                "ifcdsr",
                scenario,
                seeds,
                source,
                {**changes, **({name: value} if name == "learning_rate" else _options(**{name: value}))},
            )
            for value in values
        }
        for name, values in SENSITIVITY.items()
    }


def _changed(model: str, scenario: str, seeds: Iterable[int], source: str, changes: dict) -> list[RunConfig]:
    """The book's configuration of a model with changes, without images where the source has no pictures here."""
    images = {} if encoder_of(source) else {"image_fusion": False}
    return configurations(
        model, scenario, seeds, source, **{**changes, "model_options": {**images, **changes.get("model_options", {})}}
    )


def search(
    scenario: str, source: str = "demo", models: Iterable[str] | None = None, seed: int = 0, **changes
) -> Experiment:
    """The candidates of each model that is trained, or of some, for ``search.halve``."""
    changes = {"epochs": _of(SEARCH_EPOCHS, source, scenario)} | changes
    return {
        label: candidates(configs[0])
        for label, configs in comparison(scenario, [seed], source, models, **changes).items()
        if configs[0].model not in COUNTING
    }


def candidates(config: RunConfig) -> list[RunConfig]:
    """``CANDIDATES`` settings of one model: its defaults, then draws that are the same for all models.

    Of a draw a model takes the settings that it has; draws that it can't tell apart are one. Temperatures are in
    proportion to the model's own: only where scores are cosines is it near 0.07.
    """
    values = {"learning_rate": _of(LEARNING_RATES, config.source, config.scenario), **SEARCHED}
    defaults = MODELS[config.model].Config()
    options = {name: getattr(defaults, name) for name in OPTIONS if name in config.model_options}
    if own := options.get("temperature"):
        first = values["temperature"][0]
        values["temperature"] = tuple(float(f"{own * value / first:.2g}") for value in values["temperature"])
    points = [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]
    drawn = [points[0] | options, *(points[place] for place in np.random.default_rng(0).permutation(len(points)))]
    names = [name for name in values if name in options or name not in OPTIONS]
    distinct = dict.fromkeys(tuple(point[name] for name in names) for point in drawn)
    made = []
    for point in itertools.islice(distinct, CANDIDATES):
        told = dict(zip(names, point, strict=True))
        chosen_options = config.model_options | {name: told.pop(name) for name in options}
        made.append(replace(config, **told, model_options=chosen_options))
    return made


def passed_over(
    scenario: str, source: str = "demo", models: Iterable[str] | None = None, seed: int = 0, **changes
) -> Experiment:
    """What the search on these data passed over: of each rate but the chosen one the best candidate of its first round.

    They are trained like a comparison's models, to the plateau. A first round is short, and may prefer what learns fast
    to what gets far. Without those of a model that was not searched on these data.
    """
    rows: Experiment = {}
    for label, (config,) in comparison(scenario, [seed], source, models, **changes).items():
        outcome = found(source, [scenario], config.model)
        for _, row in () if outcome is None else others_by_rate(outcome).iterrows():
            tuned, options = settings_of(row)
            told = replace(config, **tuned, model_options=config.model_options | options)
            rows[f"{label}, rate {row['learning_rate']:g}"] = [told]
    return rows


def patience(
    scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", models: Collection[str] | None = None, **changes
) -> Experiment:
    """A comparison's trained models, and IFCDSR with bare attention, with four times the patience of real data.

    Where validation cases are few, a model that still learns may bring no better epoch for a while. With ``patience``
    and ``epochs`` as in a comparison, these are the comparison's own configurations.
    """
    changes = PATIENT | changes
    rows = comparison(scenario, seeds, source, models, **changes)
    rows = {label: configs for label, configs in rows.items() if configs[0].model not in COUNTING}
    if models is None or "ifcdsr" in models:
        rows[OURS_BARE] = readings(scenario, seeds, source, **changes)[BARE]
    return rows


# --- lists by name ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Named:
    """How a list is made from scenario, seeds and ``changes``, and which changes it accepts."""

    make: Callable[..., list[Experiment]]
    accepts: tuple[str, ...]  # of source, source_options and models


def _controls(scenario: str, seeds: Iterable[int], **changes) -> list[Experiment]:
    return [make(scenario, signal, seeds, **changes) for make in (image_control, domain_control) for signal in SIGNALS]


def _text(scenario: str, seeds: Iterable[int], **changes) -> list[Experiment]:
    curves = [text_control(scenario, signal, seeds, **changes) for signal in SIGNALS]
    return curves + [planted(scenario, *dials, seeds, **changes) for dials in PLANTED]


_ONLY_DEMO: tuple[str, ...] = ()
_OWN_OPTIONS = ("source",)
_OWN_MODELS = ("source", "source_options")
_ANY = ("source", "source_options", "models")
_NAMED = {
    "comparison": _Named(lambda *of, **changes: [comparison(*of, **changes)], _ANY),
    "ablation": _Named(lambda *of, **changes: [ablation(*of, **changes)], _OWN_MODELS),
    "recipes": _Named(lambda *of, **changes: [recipes(*of, **changes)], _OWN_OPTIONS),
    "domains": _Named(lambda *of, **changes: [domains(*of, **changes)], _OWN_MODELS),
    "control": _Named(_controls, _ONLY_DEMO),
    "readings": _Named(lambda *of, **changes: [readings(*of, **changes)], _OWN_OPTIONS),
    "sensitivity": _Named(lambda *of, **changes: [*sensitivity(*of, **changes).values()], _OWN_OPTIONS),
    "modalities": _Named(lambda *of, **changes: [modalities(*of, **changes)], _OWN_MODELS),
    "text_encoders": _Named(lambda *of, **changes: [text_encoders(*of, **changes)], _OWN_MODELS),
    "text": _Named(_text, _ONLY_DEMO),
    "patience": _Named(lambda *of, **changes: [patience(*of, **changes)], _OWN_OPTIONS + ("models",)),
    "search": _Named(lambda scenario, seeds, **changes: [search(scenario, seed=seeds[0], **changes)], _ANY),
    "passed_over": _Named(lambda scenario, seeds, **changes: [passed_over(scenario, seed=seeds[0], **changes)], _ANY),
}


def named_list(
    what: str, scenario: str, source: str, seeds: list[int], models: list[str], **changes
) -> list[RunConfig]:
    """The configurations of an experiment of the book by its name, or of a JSON file that lists them.

    Args:
        scenario, source, seeds, models: of an experiment; a file says these itself.
        changes: to all configurations; ``source_options`` to those of an experiment alone.

    Raises:
        InputError: no such experiment or file, or a configuration in it is wrong.
    """
    if what.endswith(".json"):
        kept = {name: value for name, value in changes.items() if name != "source_options"}
        return [replace(config, **kept) for config in _listed(Path(what))]
    named, given = _NAMED[choose("experiment", what, _NAMED)], {"source": source, "models": models, **changes}
    for name, refusal in (
        ("models", f"{what} is about IFCDSR alone: it accepts no models"),
        ("source_options", f"{what} sets the source's options itself: it accepts none"),
        ("source", f"{what} turns the dials of the demo: it accepts no other source"),
    ):
        if name not in named.accepts and given.pop(name, None) not in ("demo", [], {}, None):
            raise InputError(refusal)
    if not given.get("models"):
        given.pop("models", None)  # all of them
    flat = [config for part in named.make(scenario, seeds, **given) for configs in part.values() for config in configs]
    return [config for position, config in enumerate(flat) if config not in flat[:position]]


def _listed(path: Path) -> list[RunConfig]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read as JSON ({first_line(error)})") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records) or not records:
        raise InputError(f"{path} must hold a list of configurations, each as in the config.json of a run")
    configs = []
    for number, record in enumerate(records):
        try:
            configs.append(RunConfig(**record))
        except TypeError as error:  # an unknown setting
            raise InputError(f"{path}, configuration {number}: {str(error).partition(' ')[2]}") from error
        except InputError as error:
            raise InputError(f"{path}, configuration {number}: {error}") from error
    return configs


def shipped_comparison(source: str, scenario: str) -> dict[str, list[Run]]:
    """The shipped runs of ``comparison`` on a data set: those of the seeds, up to 9, that all trained models have."""
    runs = shipped(comparison(scenario, range(10), source))
    trained = [
        {run.config["seed"] for run in group} for group in runs.values() if group[0].config["model"] not in COUNTING
    ]
    common = set.intersection(*trained) if trained else set()
    if not common:
        return runs
    return {
        label: [run for run in group if run.config["seed"] in common or run.config["model"] in COUNTING]
        for label, group in runs.items()
    }


def shipped_comparisons(source: str) -> dict[str, dict[str, list[Run]]]:
    """``shipped_comparison`` on all scenarios of a source, without those that have none."""
    found = {scenario: shipped_comparison(source, scenario) for scenario in source_module(source).SCENARIOS}
    return {scenario: runs for scenario, runs in found.items() if runs}


def shipped_arms(experiment: Callable[..., Experiment], base: str) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """Shipped runs on real data of a list such as ``domains``, by source and scenario.

    Args:
        base: the arm with which others are compared; data that have no run of it, or none of another, are left out.
    """
    found = {
        (source, scenario): shipped(experiment(scenario, range(10), source))
        for source in SOURCES
        if source != "demo"
        for scenario in source_module(source).SCENARIOS
    }
    return {data: arms for data, arms in found.items() if base in arms and len(arms) > 1}


FULL, NO_IMAGES, NO_MULTIPLE, NEITHER = "IFCDSR", "without images", "without multiple attention", "without both"


def parts(scenario: str, seeds: Iterable[int] = SEEDS, source: str = "demo", **changes) -> Experiment:
    """IFCDSR, and IFCDSR without one or both of its parts: what the claims compare.

    Raises:
        InputError: the source has no pictures here.
    """
    seeds = list(seeds)
    steps = ablation(scenario, seeds, source, **changes)
    without = configurations("ifcdsr", scenario, seeds, source, model_options={"image_fusion": False}, **changes)
    return {
        FULL: steps["+ multiple attention"],
        NO_IMAGES: without,
        NO_MULTIPLE: steps["+ image fusion"],
        NEITHER: steps["original framework"],
    }
