"""What publishes the book and opens its notebooks elsewhere: the workflow, by actionlint, and the Dockerfile."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from conftest import run_in

from ifcdsr_core.paths import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "book.yml"
DOCKERFILE = ROOT / "Dockerfile"


def workflow() -> dict:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def steps() -> list[dict]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def faults(text: str, folder: Path) -> list[str]:
    """What actionlint says of a workflow, a line each. It knows the inputs of actions by version, not by commit."""
    path = folder / "workflow.yml"
    path.write_text(re.sub(r"@[0-9a-f]{40} # (v\d+)\S*", r"@\1", text), encoding="utf-8")
    done = run_in(ROOT, ["actionlint", "-oneline", "-no-color", "-shellcheck=", "-pyflakes=", str(path)])
    assert done.returncode == bool(done.stdout) and not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_actionlint_finds_no_fault(tmp_path):
    assert faults(WORKFLOW.read_text(encoding="utf-8"), tmp_path) == []


@pytest.mark.parametrize(
    "right, wrong, said",
    [
        ("needs: [test, book]", "needs: [tests, book]", 'needs job "tests"'),
        ("timeout-minutes: 15", "timeout-minuets: 15", 'unexpected key "timeout-minuets"'),
        ("persist-credentials: false", "persist-credential: false", 'input "persist-credential" is not defined'),
        ("${{ matrix.python }}", "${{ matrix.pythons }}", 'property "pythons" is not defined'),
        ("run: make lint", "run: make ${{ github.event.pull_request.title }}", "potentially untrusted"),
        ("pages: write", "pages: wirte", '"wirte" is invalid as permission'),
        ("ubuntu-24.04", "ubuntu-24.40", 'label "ubuntu-24.40" is unknown'),
        ("  pull_request:", "  pull_requests:", 'unknown Webhook event "pull_requests"'),
    ],
)
def test_actionlint_finds_a_planted_fault(right, wrong, said, tmp_path):
    text = WORKFLOW.read_text(encoding="utf-8")
    assert right in text
    assert any(said in fault for fault in faults(text.replace(right, wrong), tmp_path))


def test_actions_are_named_by_commit():
    used = re.findall(r"uses: (.*)", WORKFLOW.read_text(encoding="utf-8"))
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


def test_only_the_default_branch_is_published_and_only_that_job_may_write():
    jobs = workflow()["jobs"]
    assert workflow()["permissions"] == {}
    assert [name for name, job in jobs.items() if "write" in job["permissions"].values()] == ["publish"]
    of_default_branch = "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)"
    upload = next(step for step in jobs["book"]["steps"] if "upload-pages-artifact" in step.get("uses", ""))
    assert jobs["publish"]["if"] == upload["if"] == of_default_branch
    assert sorted(jobs["publish"]["needs"]) == ["book", "test"]


def test_a_cache_is_restored_by_its_own_key_alone():
    caches = [step["with"] for step in steps() if "actions/cache@" in step.get("uses", "")]
    assert len(caches) == 3
    for cache in caches:
        assert set(cache) == {"path", "key"} and "hashFiles('" in cache["key"] and "requirements.lock')" in cache["key"]
        for pattern in re.findall(r"'([^']+)'", cache["key"]):
            assert any(ROOT.glob(pattern)), f"{pattern} names nothing"


def test_the_oldest_python_is_the_one_that_the_package_asks_for():
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert f">={workflow()['jobs']['test']['strategy']['matrix']['python'][0]}" == oldest


# ---------------------------------------------------------------- Dockerfile


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, in order."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [tuple(line.split(maxsplit=1)) for line in text.replace("\\\n", "").splitlines() if line.strip()]


def test_every_make_target_that_is_named_exists():
    commands = [step["run"] for step in steps() if "run" in step]
    commands += [argument for instruction, argument in instructions() if instruction == "RUN"]
    targets = {name for command in commands for name in re.findall(r"\bmake ([\w./]+)", command)}
    assert targets == {"lint", "test", "book", ".venv/.ready"}
    for target in targets:
        done = subprocess.run(["make", "-n", "-C", str(ROOT), target], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_image_runs_jupyterlab_of_the_lock_as_a_user_who_is_not_root():
    found = instructions()
    assert found[0][0] == "FROM" and re.fullmatch(r"python:3\.\d+-slim-\w+", found[0][1])
    assert {"NB_USER", "NB_UID"} <= {arg.split("=")[0] for name, arg in found if name == "ARG"}
    names = [name for name, _ in found]
    user, install = names.index("USER"), next(i for i, line in enumerate(found) if "make .venv/.ready" in line[1])
    assert found[user][1] == "${NB_USER}" and names.count("USER") == 1 and user < install
    command = json.loads(found[-1][1])
    assert found[-1][0] == "CMD" and command[:2] == ["jupyter", "lab"]
    assert ("ENV", "PATH=${HOME}/.venv/bin:${PATH}") in found
    assert re.search("^jupyterlab==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)


def left_out(path: str) -> bool:
    """Whether .dockerignore leaves a file out: the last line that names it, or a folder above it, decides."""
    out = False
    folders = [path, *(str(folder) for folder in Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.lstrip("!")
        names = [pattern, pattern.removeprefix("**/")]
        if line and line[0] != "#" and any(fnmatch(folder, name) for folder in folders for name in names):
            out = line[0] != "!"
    return out


def test_the_image_gets_what_the_repository_has():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout: nothing says what belongs to the repository")
    files = listed.stdout.splitlines()
    assert len(files) > 100 and [path for path in files if left_out(path)] == []
    for made in (
        ".git/HEAD",
        ".venv/bin/python",
        "_build/html/index.html",
        "data/runs/a/ranks.parquet",
        "figures/a.svg",
    ):
        assert left_out(made), made
