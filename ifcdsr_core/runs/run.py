"""A run: one configuration, trained, selected on validation, tested once, and left as a folder that explains itself.

    config.json          every setting, defaults spelled out
    provenance.json      versions of the code, fingerprints of data and features, device, versions, what was trained on
    history.csv          one row per epoch
    ranks.parquet        the rank of the target of every test case under each protocol
    metrics.csv          what follows from the ranks
    weights.safetensors  the weights of the best epoch

The folder's name ends in a hash of the configuration, the fingerprints and the versions: a finished run is found by it.
"""

from __future__ import annotations

from ifcdsr_core import processes
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.model import describe, keep
from ifcdsr_core.runs.store import Run, find
from ifcdsr_core.scenario import Scenario, read_record
from ifcdsr_core.sources import prepared


def run(config: RunConfig, *, force: bool = False, report=None) -> Run:
    """Train and test one configuration, or find the finished run of the same configuration, code and data.

    Interrupted, it continues after its last finished epoch when called again.

    Args:
        force: train again even if a finished run is there.
        report: called with one line of text per epoch.

    Raises:
        InputError: anything wrong with configuration, data or features.
    """
    say = report or (lambda line: None)
    identity = identify(config)
    finished = None if force else find(config, identity)
    if finished is not None:
        say(f"found: {finished.folder}")
    else:
        from ifcdsr_core.runs.assembly import train_and_test

        finished = train_and_test(config, identity, anew=force, report=say)
    if processes.rank() == 0:
        keep(config.model, config.model_options)
    return finished


def identify(config: RunConfig) -> dict:
    """What a run is found by besides its configuration: fingerprints of data and features, versions of the code.

    They are read from records: of data and features that are there, nothing is read or checked that only a training
    needs. What is not there is made.

    Raises:
        InputError: data or features can't be made, or a record is damaged.
    """
    folder = processes.first_alone(lambda: prepared(config.source, config.scenario, **config.source_options))
    _, features, versions = describe(config.model, config.model_options)
    scenario = Scenario.load(folder) if features else None
    return {
        "scenario_fingerprint": read_record(folder).fingerprint,
        "features_fingerprint": "+".join(_fingerprint(scenario, config, modality) for modality in features) or None,
        "code_versions": versions,
    }


def _fingerprint(scenario: Scenario, config: RunConfig, modality: str) -> str:
    """The fingerprint of the features that ``assembly.embed`` returns."""
    from ifcdsr_core.features.cache import find_fingerprint

    if modality == "image":
        from ifcdsr_core.features.images import image_record

        made_of = image_record(scenario, config.encoder)
    else:
        from ifcdsr_core.features.texts import text_record

        made_of = text_record(scenario, config.text, config.text_encoder)
    if (found := find_fingerprint(scenario, made_of)) is not None:
        return found
    from ifcdsr_core.runs.assembly import embed

    return embed(scenario, config, modality).fingerprint
