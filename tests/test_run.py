"""Runs: same seed same bits, found again, continued after a kill, and honest about damaged or other data."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from worlds import tiny

from ifcdsr_core import train
from ifcdsr_core.errors import InputError
from ifcdsr_core.features import cache
from ifcdsr_core.metrics import summarise
from ifcdsr_core.runs import assembly, store
from ifcdsr_core.runs.assembly import evaluate
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.run import identify, run
from ifcdsr_core.runs.store import Run, ship
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.settings import PROTOCOLS
from ifcdsr_core.sources import complete_options
from ifcdsr_core.sources.demo import world

SMALL = {"hidden_size": 8, "inner_size": 8, "image_fusion": False}


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """A data folder whose demo scenario is the tiny world."""
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    put_scenario(tmp_path, seed=0)
    return tmp_path


def put_scenario(data: Path, seed: int, titles: bool = False) -> None:
    scenario = tiny(80, seed)
    if titles:
        names = [f"thing {'abcdefg'[n % 7] * 3} {'hijkl'[n % 5] * 3}" for n in range(scenario.num_items)]
        scenario.items["title"] = names
    scenario.provenance.update(version=world.VERSION, options=complete_options("demo", {}))
    scenario.save(data / "scenarios" / "demo" / "food_kitchen")


def config(**changes) -> RunConfig:
    return RunConfig(**{"epochs": 4, "batch_size": 8, "learning_rate": 0.01, "model_options": SMALL, **changes})


def same(a: Run, b: Run) -> bool:
    weights = [(r.folder / "weights.safetensors").read_bytes() for r in (a, b)]
    history = [r.history.drop(columns="seconds") for r in (a, b)]
    return weights[0] == weights[1] and a.ranks.equals(b.ranks) and history[0].equals(history[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, options",
    [("ifcdsr", SMALL), ("sasrec", {"hidden_size": 8, "inner_size": 8}), ("gru4rec", {"hidden_size": 8})],
)
def test_same_seed_same_bits_other_seed_other_numbers(tmp_path, monkeypatch, model, options):
    first = run(config(model=model, model_options=options))
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "other"))
    put_scenario(tmp_path / "other", seed=0)
    assert same(first, run(config(model=model, model_options=options)))
    assert not same(first, run(config(model=model, model_options=options, seed=1)))


@pytest.mark.slow
def test_a_finished_run_is_found_by_its_configuration(monkeypatch):
    first = run(config())
    monkeypatch.setattr(assembly, "fit", lambda *a, **k: pytest.fail("trained again"))
    again = run(config(model_options={**SMALL, "alpha": 0.7}))  # a default spelled out is the same configuration
    assert again.folder == first.folder and again.ranks.equals(first.ranks)


def test_the_number_of_threads_is_recorded_and_names_no_run():
    first = run(config(model="popularity", model_options={}, threads=1))
    assert first.provenance["threads"] == 1 and first.provenance["products"] == "float32"
    for threads in (0, 2):
        again = run(config(model="popularity", model_options={}, threads=threads))
        assert again.folder == first.folder
    found = []
    for threads in (2, 0):
        assembly._use_processor(threads)
        found.append(torch.get_num_threads())
    assert found == [2, assembly._THREADS]  # 0: not those of the run before
    assert store.key(config(threads=2)) == store.key(config())


def test_a_gpu_names_no_run_and_its_run_can_be_used_without_one(monkeypatch):
    first = run(config(epochs=1))
    assert run(config(epochs=1, device="cuda")).folder == first.folder
    assert store.key(config(device="cuda")) == store.key(config())
    dataclasses.replace(first, config=first.config | {"device": "cuda"}).save()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert evaluate(Run.load(first.folder)).equals(first.ranks)
    with pytest.raises(InputError, match="torch sees no GPU here"):
        run(config(epochs=2, device="cuda"))
    with pytest.raises(InputError, match="unknown device 'tpu'"):
        config(device="tpu")


def test_weights_of_another_version_of_the_model_are_not_used():
    first = run(config(epochs=1))
    provenance = first.provenance | {"code_versions": first.provenance["code_versions"] | {"HARNESS": 0}}
    dataclasses.replace(first, provenance=provenance).save()
    with pytest.raises(InputError, match="made by other code: its code_versions is"):
        evaluate(Run.load(first.folder))


def test_bfloat16_is_not_imitated(monkeypatch):
    cpu = torch.device("cpu")
    for known, used in (
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"avx2": True}, "float32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known)
        assert train.products("bfloat16", cpu) == used and train.products("float32", cpu) == "float32"
    assert train.products("bfloat16", torch.device("cuda")) == "bfloat16"


def test_a_run_is_found_without_its_data(tmp_path, monkeypatch):
    first = run(config(model="popularity", model_options={}))
    for owner, name in ((Scenario, "load"), (assembly, "prepare"), (assembly, "encode")):
        monkeypatch.setattr(owner, name, lambda *a, **k: pytest.fail("reads the data"))
    assert run(config(model="popularity", model_options={})).folder == first.folder
    with pytest.raises(BaseException, match="reads the data"):
        run(config(model="popularity", model_options={}, seed=1))


@pytest.mark.slow
def test_a_run_is_found_without_the_matrix_of_its_features(tmp_path, monkeypatch):
    put_scenario(tmp_path, seed=0, titles=True)
    of_texts = config(model="llm_emf", epochs=1)
    first = run(of_texts)
    monkeypatch.setattr(cache, "load_features", lambda *a: pytest.fail("reads the matrix"))
    assert run(of_texts).folder == first.folder
    assert identify(of_texts).items() <= first.provenance.items()


def test_a_run_of_other_data_is_not_found(tmp_path):
    counts = config(model="popularity", model_options={})
    first = run(counts)
    put_scenario(tmp_path, seed=5)
    second = run(counts)
    assert second.folder != first.folder and not second.ranks.equals(first.ranks)
    assert second.provenance["scenario_fingerprint"] == tiny(80, 5).fingerprint


def test_a_damaged_table_is_noticed_before_a_training(tmp_path):
    """A finished run is found by the scenario's record; what is trained reads the tables, and these must be its own."""
    counts = config(model="popularity", model_options={})
    first = run(counts)
    folder = tmp_path / "scenarios" / "demo" / "food_kitchen"
    tiny(80, seed=5).sequences.to_parquet(folder / "sequences.parquet")
    assert run(counts).folder == first.folder
    for again in (lambda: run(counts, force=True), lambda: evaluate(first)):
        with pytest.raises(InputError, match="its tables are not those scenario.json describes"):
            again()
    assert [path.name for path in (tmp_path / "runs").glob("[!.]*")] == [first.folder.name]


@pytest.mark.slow
def test_a_new_default_or_setting_never_passes_off_an_old_run(monkeypatch):
    """Names leave defaults out, so that a new setting changes none; what the old default made must not be found."""
    first = run(config())
    record = {name: value for name, value in first.config.items() if name != "shuffle_days"}
    dataclasses.replace(first, config=record).save()  # as if written before there was such a setting
    assert run(config()).provenance["seconds"] == first.provenance["seconds"]
    dataclasses.replace(first, config={**record, "patience": 3}).save()  # as if that had been the default
    assert run(config()).config["patience"] == 10


def test_the_names_of_runs_tell_all_settings_apart():
    names = [
        store.folder_name(one, {})
        for one in (
            config(),
            config(patience=3),
            config(shuffle_days=1),
            config(model_options={**SMALL, "alpha": 0.2}),
            config(model_options={**SMALL, "lambda_1": 0.2}),
            config(source_options={"visual_signal": 0.2}),
            config(source_options={"cross_domain_signal": 0.2}),
        )
    ]
    assert len(set(names)) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"decay": "decoupled", "l2": 3.0, "warmup_epochs": 1, "plateau_epochs": 1, "plateau_factor": 0.1}],
    ids=["default", "schedule"],
)
def test_an_interrupted_run_continues_to_the_same_bits(tmp_path, monkeypatch, settings):
    whole = run(config(**settings))
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "other"))
    put_scenario(tmp_path / "other", seed=0)

    def interrupt(line):
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    def let_looks_at_the_clock_take(seconds: float) -> None:
        clock = itertools.count(step=seconds)
        monkeypatch.setattr(time, "perf_counter", lambda: next(clock))

    let_looks_at_the_clock_take(10.0)
    with pytest.raises(KeyboardInterrupt):
        run(config(**settings), report=interrupt)
    assert not list((tmp_path / "other" / "runs").glob("[!.]*"))
    let_looks_at_the_clock_take(1.0)
    lines = []
    continued = run(config(**settings), report=lines.append)
    assert lines[0].startswith("epoch   3") and same(whole, continued)
    assert continued.history["seconds"].tolist() == [10, 10, 1, 1] and continued.provenance["seconds"] == 22 + 1


@pytest.mark.slow
def test_a_longer_training_goes_on_where_a_shorter_one_ended_and_a_shorter_one_does_not(tmp_path, monkeypatch):
    whole, short = run(config(epochs=4)), run(config(epochs=2))
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "other"))
    put_scenario(tmp_path / "other", seed=0)
    lines = []
    assert same(short, run(config(epochs=2)))
    assert same(whole, run(config(epochs=4), report=lines.append))
    assert [line[:9] for line in lines] == ["epoch   3", "epoch   4"]
    assert len(run(config(epochs=3)).history) == 3  # from its start: the state after four epochs is of no use
    assert len(run(config(epochs=12, patience=1)).history) < 12  # what has stopped by itself leaves nothing
    assert len(list((tmp_path / "other" / "runs" / ".unfinished").iterdir())) == 1


@pytest.mark.slow
def test_metrics_follow_from_the_ranks_and_early_stopping_keeps_the_best_epoch():
    finished = run(config(epochs=12, patience=2))
    pd.testing.assert_frame_equal(
        pd.read_csv(finished.folder / "metrics.csv"), summarise(pd.read_parquet(finished.folder / "ranks.parquet"))
    )
    history = finished.history
    assert finished.best_epoch == history["epoch"][history["selection"].idxmax()]
    assert len(history) <= finished.best_epoch + 2
    assert finished.provenance["best_epoch"] == finished.best_epoch


@pytest.mark.slow
def test_evaluate_scores_again_with_the_saved_weights(tmp_path):
    finished = run(config())
    assert evaluate(finished).equals(finished.ranks)
    put_scenario(tmp_path, seed=5)
    with pytest.raises(InputError, match="made with other data"):
        evaluate(finished)


@pytest.mark.slow
def test_a_shipped_run_has_no_weights_and_no_data(tmp_path):
    shipped = Run.load(ship(run(config(epochs=1)), tmp_path / "shipped"))
    assert set(shipped.ranks.columns) == {"target_domain", *PROTOCOLS, *(f"{name}_ties" for name in PROTOCOLS)}
    assert not (shipped.folder / "weights.safetensors").exists()


@pytest.mark.slow
def test_training_on_the_validation_split_keeps_a_share_for_selection():
    finished = run(config(epochs=1, train_on="valid", holdout=0.25))
    cases, total = finished.provenance["cases"], int((tiny(80).sequences["split"] == "valid").sum())
    assert cases["valid"] == round(0.25 * total) and cases["train"] == total - cases["valid"]
    assert "validation sequences" in finished.provenance["trained_on"]


def test_every_setting_is_read():
    files = [*Path(assembly.__file__).parent.glob("*.py"), Path(train.__file__)]
    read = set(re.findall(r"(?<!self)\b(?:config|settings)\.(\w+)", "".join(path.read_text() for path in files)))
    unread = [spec.name for spec in dataclasses.fields(RunConfig) if spec.name not in read]
    assert unread == []


@pytest.mark.slow
def test_the_configuration_on_disk_is_the_configuration():
    finished = run(config(epochs=1))
    assert RunConfig(**json.loads((finished.folder / "config.json").read_text())) == config(epochs=1)
    assert np.isfinite(finished.history["loss"]).all()


@pytest.mark.slow
def test_heads_that_do_not_divide_the_width_of_features_are_refused(tmp_path):
    put_scenario(tmp_path, seed=0, titles=True)
    options = {**SMALL, "hidden_size": 30}
    with pytest.raises(InputError, match="num_heads is 5: it must divide the width of the text features, 12"):
        run(config(model="llm_emf", model_options={**options, "num_heads": 5}))
    assert run(config(model="llm_emf", epochs=1, model_options={**options, "num_heads": 2})).provenance[
        "features_fingerprint"
    ]


def test_pictures_are_dealt_out_anew_within_each_domain():
    scenario = tiny()
    border, missing = scenario.num_items_x, np.zeros(scenario.num_items, dtype=bool)
    order = assembly.deal_out(scenario, missing, seed=1).numpy()
    assert sorted(order) == list(range(scenario.num_items)) and (order[:border] < border).all()
    assert (order != np.arange(len(order))).mean() > 0.7
    assert not np.array_equal(order, assembly.deal_out(scenario, missing, seed=2).numpy())
    missing[::3] = True  # who has none keeps that
    order = assembly.deal_out(scenario, missing, seed=1).numpy()
    assert (order[missing] == np.flatnonzero(missing)).all() and (
        order[~missing] != np.flatnonzero(~missing)
    ).mean() > 0.6
    assert sorted(order) == list(range(scenario.num_items)) and (order[:border] < border).all()
