"""The model of a configuration: its options, checked, and what a run is found by.

Only the model itself can answer that, and importing it imports torch, which takes seconds: too long to find a finished
run. So what the models of such runs have answered is kept in ``data/runs/.models.json``, until a line of the package
changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
import typing
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.files import new_file, sealed, unsealed
from ifcdsr_core.models import MODELS
from ifcdsr_core.paths import ROOT, data_dir
from ifcdsr_core.runs.versions import code_versions
from ifcdsr_core.settings import typed

_IMPORTED = time.time()  # about when this process read the package's code


class Description(NamedTuple):
    """What a model says of some of its options."""

    options: dict  # all of them
    features: list[str]  # modalities that it needs
    versions: dict[str, int | str]  # of its code


def describe(model: str, options: dict) -> Description:
    """What a model says of ``options``; those left out have their defaults.

    Raises:
        InputError: no such model, an unknown option, or one of the wrong type or outside its choices or range.
    """
    if f"ifcdsr_core.models.{choose('model', model, MODELS)}" not in sys.modules:
        kept = _kept().get(model, {"versions": {}, "defaults": {}, "features": {}})
        complete = kept["defaults"] | options
        if complete.keys() == kept["defaults"].keys() and _key(complete) in kept["features"]:
            return Description(complete, kept["features"][_key(complete)], kept["versions"])
    config = model_config(model, options)
    features = list(MODELS[model].required_features(config))
    return Description(dataclasses.asdict(config), features, code_versions(MODELS[model]))


def keep(model: str, options: dict) -> None:
    """Keep what the model says of its defaults and of ``options``, where the data folder can be written to."""
    models = _kept()
    if _key(options) in models.get(model, {"features": {}})["features"]:
        return
    if max(path.stat().st_ctime for path in _files()) >= _IMPORTED:
        return  # edited since: what answers here may not be what the files say
    defaults, described = describe(model, {}), describe(model, options)
    known = models.setdefault(model, {"versions": defaults.versions, "defaults": defaults.options, "features": {}})
    known["features"] |= {_key(one.options): one.features for one in (defaults, described)}
    with suppress(InputError), new_file(_place()) as path:
        path.write_text(sealed({"code": _code(), "models": models}), encoding="utf-8")


def _kept() -> dict[str, dict]:
    """What is kept of each model: ``versions``, ``defaults``, and ``features`` by all options as text."""
    try:
        record = unsealed(_place(), "")
    except InputError:
        return {}  # it can be made again
    return record["models"] if record["code"] == _code() else {}


def _place() -> Path:
    return data_dir() / "runs" / ".models.json"


@cache
def _code() -> str:
    """SHA-256 of the package's code."""
    digest = hashlib.sha256()
    for path in _files():
        digest.update(f"{path}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _files() -> list[Path]:
    return sorted((ROOT / "ifcdsr_core").rglob("*.py"))


def _key(options: dict) -> str:
    return json.dumps(options, sort_keys=True, default=repr)


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
            raise InputError(f"unknown option {name!r:.80} of model {model!r}: it has {', '.join(known)}")
    return config_class(**{name: typed(name, value, known[name]) for name, value in options.items()})
