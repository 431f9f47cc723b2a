"""The book, built from toy notebooks: what is executed again, what stops it, and that it opens offline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import make_toy_checkout, run_in

from ifcdsr_core.book import build
from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT

slow = pytest.mark.slow
STEMS = ["03_train_food_kitchen", "03_train_movie_book", "04_comparison"]  # the pages of the toy book
MAKE = f"""
from ifcdsr_core.book import build
build.PAGES = [page for page in build.PAGES if page.output in {STEMS}]
raise SystemExit(build.main(["--jobs", "2"]))
"""


def make(root: Path) -> subprocess.CompletedProcess:
    return run_in(root, [sys.executable, "-c", MAKE])


def keep_pages(toc: Path) -> None:
    """Leave the notebooks of the toy book alone in a table of contents."""
    contents = yaml.safe_load(toc.read_text())
    pages = [entry["file"] for entry in contents["chapters"]]
    kept = [{"file": page} for page in pages if page.startswith("jupyter_book/") or Path(page).name in STEMS]
    toc.write_text(yaml.safe_dump({**contents, "chapters": kept}))


def edit_last_cell(root: Path, name: str, source: str) -> None:
    path = root / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source = source
    nbformat.write(notebook, path)


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, str]:
    """A toy checkout with its book, and what making it said. Tests leave the book as it was."""
    root = make_toy_checkout(tmp_path_factory.mktemp("book") / "toy checkout")
    keep_pages(root / "jupyter_book" / "_toc.yml")
    done = make(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done.stdout


@pytest.fixture
def checkout(built, tmp_path) -> Path:
    """A copy of the built toy checkout, for tests that change it."""
    return Path(shutil.copytree(built[0], tmp_path / "toy checkout"))


def test_every_page_has_a_notebook_and_a_place_in_the_table_of_contents(monkeypatch):
    monkeypatch.setattr(build, "TOC", ROOT / "jupyter_book" / "_toc.yml")
    pages = [f"notebooks/{page.output}" for page in build.PAGES]
    assert [name for name in build.toc_files() if name.startswith("notebooks/")] == pages
    assert all((build.NOTEBOOKS / f"{page.notebook}.ipynb").is_file() for page in build.PAGES)


def test_another_folder_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    command = [sys.executable, "-m", "ifcdsr_core.book.build", "--output", str(tmp_path)]
    done = run_in(ROOT, command)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {tmp_path} is not a book")


@slow
def test_book_is_complete(built):
    root, said = built
    html = root / "_build" / "html"
    for stem in STEMS:
        assert re.search(rf"^{stem}: \d+ s$", said, re.MULTILINE)
        assert (html / "notebooks" / f"{stem}.html").is_file()
    assert "MRR 1.23 % on movie_book" in (html / "notebooks" / "03_train_movie_book.html").read_text()
    assert f"{(html / 'index.html').as_uri()}" in said


@slow
def test_second_call_does_nothing(built):
    root, _ = built
    before = snapshot(root / "_build" / "html")
    done = make(root)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "unchanged" in line] == [
        f"{stem}: unchanged" for stem in [*STEMS, "book"]
    ]
    assert snapshot(root / "_build" / "html") == before


@slow
def test_failing_notebook_leaves_the_book(checkout):
    """Only the changed notebook runs; it, its cell and its last lines are named; the earlier book stays."""
    edit_last_cell(checkout, "04_comparison", "raise KeyError('no such run')")
    before = snapshot(checkout / "_build" / "html")
    done = make(checkout)
    assert done.returncode == 1
    assert "notebooks/04_comparison.ipynb (page 04_comparison) failed in cell [3]" in done.stderr
    assert done.stderr.rstrip().endswith("KeyError: 'no such run'") and "Traceback (most" not in done.stderr[:200]
    assert done.stdout.count(": running") == 1 and done.stdout.count(": unchanged") == len(STEMS) - 1
    assert snapshot(checkout / "_build" / "html") == before


@slow
def test_warning_stops_the_book_every_time(checkout):
    with (checkout / "jupyter_book" / "reproduce.md").open("a") as page:
        page.write("\n{ref}`nowhere`\n")
    before = snapshot(checkout / "_build" / "html")
    for _ in range(2):
        done = make(checkout)
        assert done.returncode == 1
        assert "reproduce.md" in done.stderr and "nowhere" in done.stderr
    assert snapshot(checkout / "_build" / "html") == before


@slow
def test_key_follows_everything_a_page_is_made_of(checkout, monkeypatch):
    monkeypatch.setattr(build, "ROOT", checkout)
    monkeypatch.setattr(build, "NOTEBOOKS", checkout / "notebooks")
    monkeypatch.setattr(build, "results_dir", lambda: checkout / "data" / "results")
    (checkout / "data" / "results").mkdir(parents=True)
    food, movie = (page for page in build.PAGES if page.notebook == "03_train")
    seen = {build.page_key(food), build.page_key(movie)}
    for change in (
        lambda: edit_last_cell(checkout, "03_train", "print('other')"),
        lambda: (checkout / "requirements.lock").write_text("other"),
        lambda: (checkout / "ifcdsr_core" / "errors.py").write_text("other"),
        lambda: (checkout / "data" / "results" / "table.csv").write_text("other"),
    ):
        change()
        assert build.page_key(food) not in seen
        seen.add(build.page_key(food))
    (checkout / "notebooks" / "03_train.ipynb").write_text("{")
    with pytest.raises(InputError, match="03_train.ipynb can't be read"):
        build.page_key(food)


@slow
def test_missing_page_and_remote_asset_stop_the_book(built, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "TOC", built[0] / "jupyter_book" / "_toc.yml")
    html = shutil.copytree(built[0] / "_build" / "html", tmp_path / "html")
    build.check(html)
    page = html / "notebooks" / "04_comparison.html"
    page.write_text(page.read_text().replace("</body>", '<script src="//cdn.example.org/a.js"></script></body>'))
    with pytest.raises(InputError, match="04_comparison.html loads //cdn.example.org/a.js"):
        build.check(html)
    page.unlink()
    with pytest.raises(InputError, match="made no page for notebooks/04_comparison"):
        build.check(html)


@pytest.mark.parametrize(
    "html, loads",
    [
        ('<a href="https://x.org">x</a>', []),
        ('<link rel="canonical" href="https://x.org">', []),
        ('<img src="_static/a.png"><script src="a.js"></script>', []),
        ('<img src="https://x.org/a.png">', ["https://x.org/a.png"]),
        ('<img srcset="a.png 1x, https://x.org/b.png 2x">', ["https://x.org/b.png"]),
        ('<link rel="stylesheet" href="https://x.org/a.css">', ["https://x.org/a.css"]),
        ("<p style=\"background: url('https://x.org/a.png')\">", ["https://x.org/a.png"]),
        ("<style>@import '//x.org/a.css'; b {c: url(d.png)}</style>", ["//x.org/a.css"]),
    ],
)
def test_remote_urls(tmp_path, html, loads):
    (tmp_path / "page.html").write_text(html)
    assert build.remote_urls(tmp_path / "page.html") == loads


@slow
def test_formulas_are_set_without_a_network(built, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no chromium or chrome to open the book with")
    page = built[0] / "_build" / "html" / "jupyter_book" / "introduction.html"
    offline = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run(
        [browser, *offline, f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "<mjx-container" in done.stdout, done.stderr[-1000:]


@pytest.mark.parametrize(
    "python, message",
    [
        ("nowhere/python3", "error: nowhere/python3 not found"),
        ("old-python", "error: ./old-python is older than Python 3.11"),
        ("bare-python", "error: ./bare-python has no venv module"),
    ],
)
def test_set_up_says_what_is_missing(tmp_path, python, message):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    for name, fails_on in (("old-python", "version_info"), ("bare-python", "ensurepip")):
        (tmp_path / name).write_text(f'#!/bin/sh\ncase "$2" in *{fails_on}*) exit 1;; esac\n')
        (tmp_path / name).chmod(0o755)
    given = python if "/" in python else f"./{python}"
    done = subprocess.run(
        ["make", "test", f"PYTHON={given}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode and len(errors) == 1 and errors[0].startswith(message), done.stderr
