"""What a configuration asks of its model, and how that is kept: for the same code, and for nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from test_run import SMALL, config, put_scenario

from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs import model
from ifcdsr_core.runs.model import Description, describe, keep
from ifcdsr_core.runs.run import run


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    put_scenario(tmp_path, seed=0)
    return tmp_path


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not imported IFCDSR, and can't."""
    monkeypatch.delitem(sys.modules, "ifcdsr_core.models.ifcdsr")
    monkeypatch.setattr(model, "model_config", lambda *of: pytest.fail("imports the model"))


def test_a_model_describes_its_options():
    options, features, versions = describe("llm_emf", {"image_fusion": False})
    assert options["hidden_size"] == 256 and not options["image_fusion"]
    assert features == ["text"] and versions.keys() == {"HARNESS", "IFCDSR", "LLMEMF"}


def test_what_is_kept_is_what_the_model_says(request):
    said = [describe("ifcdsr", options) for options in ({}, SMALL)]
    keep("ifcdsr", said[1].options)
    request.getfixturevalue("fresh")
    assert [describe("ifcdsr", options) for options in ({}, SMALL)] == said
    assert describe("ifcdsr", {**SMALL, "alpha": 0.7}) == said[1]  # a default spelled out
    assert list(describe("ifcdsr", {}).options) == list(said[0].options)


OTHERS = ({**SMALL, "hidden_size": 16}, {**SMALL, "hidden_size": 8.0}, {**SMALL, "image_fusion": 0}, {"alpa": 1})


@pytest.mark.parametrize("options", OTHERS, ids=str)
def test_other_options_are_asked_of_the_model(request, options):
    keep("ifcdsr", describe("ifcdsr", SMALL).options)
    request.getfixturevalue("fresh")
    with pytest.raises(BaseException, match="imports the model"):
        describe("ifcdsr", options)


def test_wrong_options_are_never_kept(data):
    with pytest.raises(InputError, match="alpha is 2.0: it must be at least 0 and at most 1"):
        keep("ifcdsr", {"alpha": 2})
    assert not (data / "runs").exists()


def test_of_other_code_nothing_is_known(request, monkeypatch):
    keep("ifcdsr", describe("ifcdsr", {}).options)
    monkeypatch.setattr(model, "_code", lambda: "other")
    request.getfixturevalue("fresh")
    with pytest.raises(BaseException, match="imports the model"):
        describe("ifcdsr", {})


def test_after_an_edit_nothing_is_kept(data, monkeypatch):
    """The models of this process may then be other code than that of the files."""
    path = model._files()[0]
    monkeypatch.setattr(model, "_IMPORTED", path.stat().st_ctime)
    keep("sasrec", describe("sasrec", {}).options)
    assert not (data / "runs").exists()


def test_every_edit_of_the_package_is_other_code(tmp_path, monkeypatch):
    package = tmp_path / "ifcdsr_core" / "models"
    package.mkdir(parents=True)
    monkeypatch.setattr(model, "ROOT", tmp_path)
    seen = {model._code.__wrapped__()}
    for name, text in (("a.py", "version = 1"), ("a.py", "version = 2"), ("b.py", "")):
        (package / name).write_text(text)
        seen.add(model._code.__wrapped__())
    assert len(seen) == 4


@pytest.mark.parametrize("content", [b"", b"\x00damaged", b"[]", b"null", b'{"code": 1}'])
def test_a_damaged_file_is_as_good_as_none(data, content):
    path = data / "runs" / ".models.json"
    keep("sasrec", describe("sasrec", {}).options)
    path.write_bytes(content)
    assert isinstance(describe("sasrec", {}), Description)
    keep("sasrec", describe("sasrec", {}).options)
    assert json.loads(path.read_text())["models"].keys() == {"sasrec"}


@pytest.mark.slow
@pytest.mark.parametrize("name, options", [("popularity", {}), ("ifcdsr", SMALL)])
def test_a_finished_run_is_found_where_torch_can_not_be_imported(data, name, options):
    finished = run(config(model=name, model_options=options, epochs=1))
    code = f"""
import sys
for name in ("torch", "tqdm", "safetensors"): sys.modules[name] = None
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.run import run
print(run(RunConfig(model={name!r}, epochs=1, batch_size=8, learning_rate=0.01, model_options={options!r})).folder)
"""
    environment = {**os.environ, "IFCDSR_DATA": str(data)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(finished.folder), done.stderr
