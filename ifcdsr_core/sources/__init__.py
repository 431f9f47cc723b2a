"""Where a scenario comes from: each source is a module with ``SCENARIOS``, ``OPTIONS`` and ``build``.

``build(scenario, folder, **options)`` returns a Scenario and may write pictures into ``folder``, which is empty and
becomes the scenario's folder only if all goes well.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.files import locked, new_folder
from ifcdsr_core.paths import data_dir
from ifcdsr_core.settings import typed

if TYPE_CHECKING:
    from ifcdsr_core.scenario import Scenario

SOURCES = {
    "demo": "ifcdsr_core.sources.demo.world",
    "c2dsr": "ifcdsr_core.sources.c2dsr",
    "llmcdsr": "ifcdsr_core.sources.llmcdsr",
    "abxi": "ifcdsr_core.sources.abxi",
    "amazon": "ifcdsr_core.sources.amazon.source",
}


def prepare(source: str = "demo", scenario: str = "food_kitchen", *, force: bool = False, **options) -> Scenario:
    """Return a scenario, building it on first use and loading it from ``data/scenarios`` afterwards.

    Args:
        source: one of ``SOURCES``.
        scenario: one of the source's ``SCENARIOS``.
        force: build again even if it is there.
        options: the source's own options (see its ``OPTIONS`` for names and defaults).

    Raises:
        InputError: unknown source, scenario or option; a file that is not available or is damaged.
    """
    folder = prepared(source, scenario, force=force, **options)
    from ifcdsr_core.scenario import Scenario

    return Scenario.load(folder)


def prepared(source: str, scenario: str, *, force: bool = False, **options) -> Path:
    """The folder of the scenario that ``prepare`` returns, built if need be; of one that is there, no table is read."""
    module = source_module(source)
    choose("scenario", scenario, module.SCENARIOS)
    options = complete_options(source, options)
    folder = scenario_folder(source, scenario, options, module.OPTIONS)
    if force or not _is_current(folder, source, scenario, options):
        with locked(folder.with_name(f".{folder.name}.lock")):
            if force or not _is_current(folder, source, scenario, options):  # another process may have built it
                with new_folder(folder) as staging:
                    built = module.build(scenario, staging, **options)
                    built.provenance.update(version=module.VERSION, options=options)
                    built.save(staging)
    return folder


def _is_current(folder: Path, source: str, scenario: str, options: dict) -> bool:
    """Whether a scenario is there and was built by this version of its source.

    Raises:
        InputError: what is there is another scenario, or damaged.
    """
    from ifcdsr_core.scenario import read_record

    if not folder.exists():
        return False
    module, record = source_module(source), read_record(folder)
    if record.provenance.get("version") != module.VERSION:
        return False
    built_with = module.OPTIONS | record.provenance.get("options", {})  # an option may have been added since
    if (record.source, record.name, built_with) != (source, scenario, options):
        raise InputError(
            f"{folder} holds {record.source}/{record.name} with other options than its name says: delete the folder "
            "and prepare the scenario again"
        )
    return True


def scenario_folder(source: str, scenario: str, options: dict, defaults: dict) -> Path:
    """``data/scenarios/<source>/<scenario>``, followed by the options that differ from their defaults."""
    changed = [f"{name}={json.dumps(value)}" for name, value in sorted(options.items()) if value != defaults[name]]
    return data_dir() / "scenarios" / source / "-".join([scenario, *changed]).replace("/", "%2F")


def source_module(source: str) -> ModuleType:
    return importlib.import_module(SOURCES[choose("source", source, SOURCES)])


def complete_options(source: str, options: dict) -> dict:
    """The source's options with their defaults filled in.

    Raises:
        InputError: an option the source does not have, or a value that is not of its default's type.
    """
    defaults, complete = source_module(source).OPTIONS, {}
    for name, value in options.items():
        if name not in defaults:
            raise InputError(
                f"unknown option {name!r:.80} of source {source!r}: it has {', '.join(defaults) or 'none'}"
            )
        if type(value) is int and type(defaults[name]) is str:  # a release called 2023
            value = str(value)
        value = typed(f"option {name!r} of source {source!r}", value, type(defaults[name]))
        complete[name] = value
    return {**defaults, **complete}
