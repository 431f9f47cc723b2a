"""The numbers this code gives, as ``golden.json`` keeps them, and whose version to raise when they move.

    python tests/golden.py    # after raising a version: write golden.json anew

Every number comes from a tiny world and one thread. Runs go through ``run`` as all runs do. What all models share is
measured piece by piece besides, so that a change there is told from a change of every model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from test_models import COUNTING, VARIANTS
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.batches import encode, shuffle_days
from ifcdsr_core.errors import InputError
from ifcdsr_core.files import new_file
from ifcdsr_core.loss import Predictions, mixture_nll, sample
from ifcdsr_core.metrics import METRICS, per_case
from ifcdsr_core.models import MODELS
from ifcdsr_core.models.base import SequenceModel
from ifcdsr_core.protocol import negatives, rank_among
from ifcdsr_core.runs.assembly import deal_out, restore, training_splits
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.run import run
from ifcdsr_core.runs.versions import HARNESS, code_versions
from ifcdsr_core.sources import complete_options
from ifcdsr_core.sources.demo import world

GOLDEN = Path(__file__).with_suffix(".json")
RTOL = 1e-4  # of a value, or of the largest one beside it: what other processors round differently stays below it
SMALL = {"hidden_size": 8, "dropout": 0.1}
PATHS = {  # what a run does besides its model: settings, and the model that shows it
    "train_on": ("sasrec", {"train_on": "valid", "holdout": 0.3}),
    "shuffle_days": ("sasrec", {"shuffle_days": 1}),
    "max_seq_len": ("sasrec", {"max_seq_len": 3}),
    "train_negatives": ("ifcdsr", {"train_negatives": 5}),
    "train_negatives, one softmax": ("gru4rec", {"train_negatives": 5}),
    "shuffle_pictures": ("ifcdsr", {"shuffle_pictures": 1}),
    "shuffle_texts": ("llm_emf", {"shuffle_texts": 1}),
    "l2": ("sasrec", {"l2": 0.1}),
    "seed": ("sasrec", {"seed": 1}),
    "selection": ("sasrec", {"select_protocol": "full", "select_domain": "x", "epochs": 4, "learning_rate": 0.1}),
}

Values = dict[str, list]  # numbers, or the digest of what is whole and has to be equal


# --- measuring --------------------------------------------------------------------------------------------------------


def measure() -> dict[str, Values]:
    """All numbers, by what they are of: ``harness/<piece>``, ``path/<setting>`` or ``<model>/<options>``."""
    found = {f"harness/{name}": piece() for name, piece in PIECES.items()}
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("IFCDSR_DATA")
        os.environ["IFCDSR_DATA"] = folder
        try:
            picture_world(Path(folder) / "scenarios" / "demo" / "food_kitchen")
            for name, options in VARIANTS:
                found[f"{name}/{json.dumps(options)}"] = of_run(name, options)
            found |= {f"path/{name}": of_run(model, {}, **settings) for name, (model, settings) in PATHS.items()}
        finally:
            os.environ.pop("IFCDSR_DATA") if before is None else os.environ.update(IFCDSR_DATA=before)
    return found


def picture_world(folder: Path) -> None:
    """The tiny world with a picture and a title for most items, as the demo's scenario."""
    scenario, random = tiny(), np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    names, titles = [], []
    for item in range(1, NUM_X + NUM_Y + 1):
        pixels = np.kron(random.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{item}.png")
        names.append(f"images/{item}.png" if item % 5 else None)
        titles.append(f"{'abcdefg'[item % 7] * 3} {'hijkl'[item % 5] * 3} {'mno'[item % 3] * 3}" if item % 4 else None)
    scenario.items["image"], scenario.items["title"] = names, titles
    scenario.provenance.update(version=world.VERSION, options=complete_options("demo", {}))
    scenario.save(folder)


def of_run(model: str, options: dict, **settings) -> Values:
    """Losses, validation MRRs and the scores of one test case after two epochs."""
    options = options if model in COUNTING else {**SMALL, **options}
    config = RunConfig(model=model, model_options=options, **{"epochs": 2, "batch_size": 8, **settings})
    finished = run(config)
    trained, _, cases = restore(finished)
    with torch.no_grad():
        scores = [trained.score(cases["test"][:1], domain)[0] for domain in (0, 1)]
    losses = [] if model in COUNTING else finished.history["loss"].tolist()
    return {"losses": losses, "scores": torch.cat(scores).tolist()}


def digest(*arrays) -> list[str]:
    """What is whole numbers is equal or not."""
    data = b"".join(np.ascontiguousarray(array, dtype="<i8").tobytes() for array in arrays)
    return [hashlib.sha256(data).hexdigest()[:16]]


def _encoded() -> Values:
    scenario = tiny()
    shuffled = encode(
        shuffle_days(scenario.sequences.assign(timestamps=[t // 3 for t in scenario.sequences["timestamps"]]), 1),
        NUM_X,
        4,
    )
    return {
        "encode": digest(*vars(encode(scenario.sequences, NUM_X, 4)).values()),
        "shuffle_days": digest(*vars(shuffled).values()),
    }


def _protocol() -> Values:
    scores = torch.tensor([[0.1, 0.5, 0.5, 0.9], [0.2, 0.2, 0.2, 0.2]])
    rank, equal = rank_among(torch.tensor([0.5, 0.2]), scores)
    return {"negatives": digest(negatives(np.array([3, 1500]), 2000, 0)), "rank_among": rank.tolist() + equal.tolist()}


def _metrics() -> Values:
    return {metric: per_case(np.array([1, 2, 4.5, 5, 6, 10, 11]), metric).tolist() for metric in METRICS}


def _loss() -> Values:
    random = torch.Generator().manual_seed(0)
    queries = [torch.randn(5, size, generator=random, requires_grad=True) for size in (3, 4)]
    items = [torch.randn(9, size, generator=random, requires_grad=True) for size in (3, 4)]
    targets, mixing = torch.tensor([0, 8, 3, 3, 1]), torch.tensor([0.3, 0.7]).log().requires_grad_()
    total = mixture_nll([Predictions(queries, targets, slice(0, 9))], items, mixing)
    total.backward()
    torch.manual_seed(0)
    rows, position, log_weights = sample(targets, 400, 20)
    return {
        "mixture_nll": [total.item()],
        "gradients": torch.cat([t.grad.flatten() for t in (*queries, *items, mixing)]).tolist(),
        "sample": digest(rows, position),
        "log_weights": log_weights.tolist(),
    }


def _splits() -> Values:
    scenario = tiny(200)
    chosen = training_splits(scenario, RunConfig(train_on="valid"))
    missing = np.arange(scenario.num_items) % 4 == 0
    return {
        "training_splits": digest(*(part.index.to_numpy() for part in chosen.values())),
        "deal_out": digest(deal_out(scenario, missing, 1).numpy()),
    }


PIECES: dict[str, Callable[[], Values]] = {
    "batches": _encoded,
    "loss": _loss,
    "protocol": _protocol,
    "metrics": _metrics,
    "run": _splits,
}


# --- comparing --------------------------------------------------------------------------------------------------------


def moved(kept: Mapping[str, Values], now: Mapping[str, Values]) -> list[str]:
    """What has other numbers than were kept; what was not kept has none to differ from."""
    return [name for name in kept if name in now and not _same(kept[name], now[name])]


def _same(kept: Values, now: Values) -> bool:
    if kept.keys() != now.keys():
        return False
    for name, values in kept.items():
        if any(isinstance(value, str) for value in values):
            if values != now[name]:
                return False
        elif len(values) != len(now[name]):
            return False
        elif values and not np.allclose(now[name], values, rtol=RTOL, atol=RTOL * np.abs(values).max()):
            return False
    return True


def owners(names: Iterable[str]) -> list[str]:
    """Whose numbers those are: ``HARNESS`` alone, or classes of models, a parent instead of all its models.

    Whatever moves a piece of the harness, or every model that is trained, is of all models. A path counts only where
    the numbers of its model alone did not move.
    """
    names = list(names)
    models = {name.partition("/")[0] for name in names} & set(MODELS)
    trained = set(MODELS) - set(COUNTING)
    paths = [PATHS[name.removeprefix("path/")][0] for name in names if name.startswith("path/")]
    if any(name.startswith("harness/") for name in names) or models >= trained or set(paths) - models:
        return ["HARNESS"]
    found = []
    for name in (name for name in MODELS if name in models):
        parents = [one for one in MODELS[name].__mro__ if issubclass(one, SequenceModel) and one is not SequenceModel]
        whole = [one for one in parents if {other for other in MODELS if issubclass(MODELS[other], one)} <= models]
        found.append(whole[-1].__name__ if whole else parents[0].__name__)
    return list(dict.fromkeys(found))


def versions() -> dict[str, int | str]:
    """All versions there are, by owner."""
    return {owner: version for model in MODELS.values() for owner, version in code_versions(model).items()}


def not_raised(names: Iterable[str], kept: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """The owners of what moved whose version, and HARNESS, are still those kept."""
    raised = {owner for owner, version in now.items() if version != kept.get(owner)}
    return [] if "HARNESS" in raised else [owner for owner in owners(names) if owner not in raised]


def advice(names: Iterable[str]) -> str:
    """What to do about numbers that moved."""
    names = list(names)
    whose = [
        f"{owner}.version" if owner != "HARNESS" else "HARNESS in ifcdsr_core/runs/versions.py"
        for owner in owners(names)
    ]
    return (
        f"other numbers than before: {', '.join(names)}.\n"
        f"Undo the change; or, if it is meant, raise {' and '.join(whose)} "
        "by one and run: python tests/golden.py"
    )


# --- keeping ----------------------------------------------------------------------------------------------------------


def load() -> dict:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def keep() -> str:
    """Write ``golden.json`` anew.

    Raises:
        InputError: numbers moved, and the version of their owner was not raised.
    """
    now = measure()
    if GOLDEN.is_file():
        kept = load()
        names = moved(kept["values"], now)
        if missing := not_raised(names, kept["versions"], versions()):
            raise InputError(f"{', '.join(missing)} not raised, but there are {advice(names)}")
        now |= {name: value for name, value in kept["values"].items() if name in now and name not in names}
    record = {"versions": versions(), "values": now}
    lines = json.dumps(record, indent=1, default=float)
    with new_file(GOLDEN) as staging:
        staging.write_text(_compact(lines) + "\n", encoding="utf-8")
    return f"{GOLDEN.name}: {len(now)} entries, HARNESS {HARNESS}"


def _compact(text: str) -> str:
    """Lists on one line each, numbers with eight digits."""

    def line(found: re.Match) -> str:
        flat = re.sub(r"\s+", " ", found[0])
        return re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.8g}", flat)

    return re.sub(r"\[[^\[\]{}]*\]", line, text)


if __name__ == "__main__":
    try:
        print(keep())
    except InputError as error:
        sys.exit(f"error: {error}")
