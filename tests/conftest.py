"""What tests share: the order they run in, one thread, and a toy checkout with notebooks that take a second each."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several workers share the processors; read when torch is imported

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("stubs")))  # of modules that cost every process seconds
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))

import shutil
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ifcdsr_core.book.build import PAGES
from ifcdsr_core.book.kernels import prefer_own_kernel
from ifcdsr_core.paths import ROOT

STUBS = str(Path(__file__).with_name("stubs"))
# Files whose tests share something that takes seconds to build, the dearest first; and the longest of the notebooks.
SHARING = """
explorer build interrupts raw_files_page faults demo ceiling counts abxi partition texts tables_script negatives_page
""".split()
LONGEST = "05e_attention"
collect_ignore = ["stubs"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The notebooks go first, the longest in front; then the files of SHARING; then all others."""
    items.sort(key=lambda item: _place(item.nodeid))


def _place(nodeid: str) -> int:
    if "::test_same_output_twice" in nodeid:
        return 0 if LONGEST in nodeid else 1
    return 2 + SHARING.index(name) if (name := _file(nodeid)) in SHARING else 2 + len(SHARING)


def _file(nodeid: str) -> str:
    return Path(nodeid.partition("::")[0]).stem.removeprefix("test_")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """A file of SHARING is one unit of work, and so is any other test."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            name = _file(nodeid)
            return name if name in SHARING else nodeid

    return Scheduling(config, log)


TOY_CODE = """\
from ifcdsr_core.errors import InputError
if scenario == "unknown":
    raise InputError("unknown scenario 'unknown': choose one of food_kitchen, movie_book")
1 / (scenario != "zero")
if scenario == "code":
    exec(source)
"""


def toy_notebook(title: str):
    """A notebook with parameters, a cell that can fail, and a cell tagged "summary"."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [
        new_markdown_cell(f"# {title}\n\nA formula: $x_{{t+1}} = \\alpha x_t$. See [the web](https://example.org)."),
        new_code_cell('scenario = "food_kitchen"  # or movie_book\nsource = "demo"\nepochs = 3'),
        new_code_cell(TOY_CODE),
        new_code_cell('print(f"MRR 1.23 % on {scenario} after {epochs} epochs")'),
    ]
    cells[1].metadata["tags"], cells[3].metadata["tags"] = ["parameters"], ["summary"]
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def make_toy_checkout(root: Path) -> Path:
    """Lay out a toy checkout in ``root``."""
    ignore = shutil.ignore_patterns("__pycache__", "weights")
    shutil.copytree(ROOT / "ifcdsr_core", root / "ifcdsr_core", ignore=ignore)
    shutil.copytree(ROOT / "jupyter_book" / "book_assets", root / "jupyter_book" / "book_assets")
    for name in ("_config.yml", "jupyter_book/_toc.yml", "requirements.lock"):
        shutil.copy2(ROOT / name, root / name)
    for name in ("introduction", "reproduce", "add_your_own_model", "corrections", "references"):
        (root / "jupyter_book" / f"{name}.md").write_text(f"# {name.title()}\n\n$$P = \\alpha P_1$$\n")
    (root / "jupyter_book" / "references.bib").write_text("")
    (root / "notebooks").mkdir()
    for stem in {page.notebook for page in PAGES}:
        nbformat.write(toy_notebook(stem), root / "notebooks" / f"{stem}.ipynb")
    return root


def run_in(root: Path, command: list[str], cwd: str = ".", **options) -> subprocess.CompletedProcess:
    """Run a command that imports ``root``'s package; text output is captured."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    defaults = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        command,
        cwd=root / cwd,
        text=True,
        timeout=300,
        **{**defaults, **options},
        env={**os.environ, "PATH": path, "PYTHONPATH": f"{root}{os.pathsep}{STUBS}"},
    )


@pytest.fixture
def toy_checkout(tmp_path: Path) -> Path:
    return make_toy_checkout(tmp_path / "toy checkout")


@pytest.fixture(scope="session", autouse=True)
def own_kernel() -> None:
    prefer_own_kernel()
