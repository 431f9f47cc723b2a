"""The book, built from toy notebooks: what is executed again, what stops it, and that it opens offline."""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from browser import browser, opened
from conftest import make_toy_checkout, run_in

from ifcdsr_core.book import build
from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import ROOT

slow = pytest.mark.slow
STEMS = ["03_train_food_kitchen", "03_train_movie_book", "04_comparison"]  # the pages of the toy book
ODD = "it's a {toy} [checkout] ü"  # a folder's name in which much has to be quoted
MAKE = f"""
from ifcdsr_core.book import build
build.PAGES = [page for page in build.PAGES if page.output in {STEMS}]
raise SystemExit(build.main(["--jobs", "2"]))
"""


def make(root: Path) -> subprocess.CompletedProcess:
    return run_in(root, [sys.executable, "-c", MAKE])


def pages(html: Path) -> list[Path]:
    """All pages of a book: not index.html, which leads to the first, nor what the theme keeps beside its own files."""
    return sorted(path for path in html.rglob("*.html") if path.name != "index.html" and "_static" not in path.parts)


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
    root = make_toy_checkout(tmp_path_factory.mktemp("book") / ODD)
    keep_pages(root / "jupyter_book" / "_toc.yml")
    done = make(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done.stdout


@pytest.fixture
def checkout(built, tmp_path) -> Path:
    """A copy of the built toy checkout, for tests that change it."""
    return Path(shutil.copytree(built[0], tmp_path / ODD))


def test_every_page_has_a_notebook_and_a_place_in_the_table_of_contents(monkeypatch):
    monkeypatch.setattr(build, "TOC", ROOT / "jupyter_book" / "_toc.yml")
    expected = [f"notebooks/{page.output}" for page in build.PAGES]
    assert [name for name in build.toc_files() if name.startswith("notebooks/")] == expected
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

    def key(page) -> str:
        return build.page_key(page, build.common_inputs())

    seen = {key(food), key(movie)}
    for change in (
        lambda: edit_last_cell(checkout, "03_train", "print('other')"),
        lambda: (checkout / "requirements.lock").write_text("other"),
        lambda: (checkout / "ifcdsr_core" / "errors.py").write_text("other"),
        lambda: (checkout / "data" / "results" / "table.csv").write_text("other"),
    ):
        change()
        assert key(food) not in seen
        seen.add(key(food))
    (checkout / "notebooks" / "03_train.ipynb").write_text("{")
    with pytest.raises(InputError, match="03_train.ipynb can't be read"):
        key(food)


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
def test_formulas_are_set_without_a_network(built):
    page = built[0] / "_build" / "html" / "jupyter_book" / "introduction.html"
    with browser() as running, opened(running, page) as shown:
        shown.locator("mjx-container").first.wait_for(timeout=60_000)


@slow
def test_no_page_reports_an_error_and_each_is_as_dark_as_the_readers_system(built):
    with browser() as running:
        for page in pages(built[0] / "_build" / "html"):
            for scheme in ("light", "dark"):
                with opened(running, page, color_scheme=scheme) as shown:
                    shown.locator(f'html[data-theme="{scheme}"]').wait_for(timeout=60_000)
            assert "unpkg.com" not in page.read_text()  # where Thebe would come from


@pytest.mark.parametrize("host", ["github", "gitlab"])
@pytest.mark.parametrize("ending", ["", "/", ".git", ".git/"])
@pytest.mark.parametrize("branch, expected", [("", "HEAD"), ("@main", "main"), ("@fix/a-1.2", "fix/a-1.2")])
def test_address_of_a_repository(host, ending, branch, expected):
    buttons = build.repository_buttons(f"https://{host}.com/some-one/ifcdsr.book{ending}{branch}")
    assert buttons["repository"] == {"url": f"https://{host}.com/some-one/ifcdsr.book", "branch": expected}
    assert build.repository_buttons("") == {}


@pytest.mark.parametrize(
    "address",
    [
        "http://github.com/me/book",
        "git@github.com:me/book.git",
        "https://me:secret@github.com/me/book",
        "https://example.org/me/book",
        "https://github.com/book",
        "https://github.com/me/book/tree/main",
        'https://github.com/me/"><script>alert(1)</script>',
        "https://github.com/me/book@",
        'https://github.com/me/book@"x',
        "https://github.com/me/book\n",
        "javascript:alert(1)//https://github.com/me/book",
        " ",
    ],
)
def test_what_is_no_address_of_a_repository_is_one_line(address):
    with pytest.raises(InputError, match=r"^IFCDSR_REPOSITORY is .*: it must be the https address of a rep.*@branch$"):
        build.repository_buttons(address)


def links(page: Path) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="(https://[^"]*)"', page.read_text())]


@slow
def test_buttons_appear_when_the_repository_is_given_and_lead_to_what_it_has(built, checkout, monkeypatch):
    book = checkout / "_build" / "html"
    assert not any("mybinder" in page.read_text() or "github.com/me" in page.read_text() for page in pages(book))
    monkeypatch.setenv("IFCDSR_REPOSITORY", "https://github.com/me/book@main")
    done = make(checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": unchanged") == len(STEMS)  # no notebook is executed again
    for page in build.PAGES:
        if page.output in STEMS:
            found = links(book / "notebooks" / f"{page.output}.html")
            notebook = f"notebooks/{page.notebook}.ipynb"
            assert f"https://mybinder.org/v2/gh/me/book/main?urlpath=lab/tree/{notebook}" in found
            assert (ROOT / notebook).is_file()
            assert [link for link in found if "mybinder" in link] == [found[0]]
    for page in pages(book):
        assert "https://github.com/me/book" in links(page)
    with browser() as running, opened(running, book / "notebooks" / "03_train_movie_book.html") as shown:
        shown.get_by_label("Launch interactive content").click()
        assert shown.get_by_role("link", name="Binder").is_visible()
        assert shown.locator('a[href="https://github.com/me/book"]').is_visible()


@slow
def test_a_broken_configuration_is_one_line(checkout):
    (checkout / "_config.yml").write_text("html: {favicon: a")
    done = make(checkout)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*/_config.yml can't be read as YAML: while parsing .*\n", done.stderr), done.stderr


@slow
def test_a_wrong_address_stops_the_book_before_a_notebook_runs(checkout, monkeypatch):
    monkeypatch.setenv("IFCDSR_REPOSITORY", "ftp://example.org")
    before = snapshot(checkout / "_build")
    done = make(checkout)
    assert done.returncode == 1 and "running" not in done.stdout and "Traceback" not in done.stderr
    assert re.fullmatch(r"error: IFCDSR_REPOSITORY is 'ftp://example.org': it must be .*\n", done.stderr)
    assert snapshot(checkout / "_build") == before


SLEEPS = """
import multiprocessing, pathlib, subprocess, time
workers = [multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,)) for _ in range(2)]
[worker.start() for worker in workers]
subprocess.Popen(["sleep", "300"])
pathlib.Path(f"started-{scenario}").touch()
time.sleep(300)
"""


@slow
@pytest.mark.parametrize("kind, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_all_processes(checkout, kind, code):
    """Workers, kernels and what they started; no other page begins, and what is finished is kept."""
    edit_last_cell(checkout, "03_train", SLEEPS)
    before = snapshot(checkout / "_build" / "html")
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(checkout.glob("notebooks/started-*"))) < 2:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    if kind == signal.SIGINT:  # as a terminal sends it: to all in the foreground
        os.killpg(process.pid, kind)
    else:
        process.send_signal(kind)
    _, said = process.communicate(timeout=10)
    assert process.returncode == code, said
    assert len(children) >= 10 and not psutil.wait_procs(children, timeout=10)[1]
    assert snapshot(checkout / "_build" / "html") == before
    if kind != signal.SIGKILL:
        assert said == "interrupted: what is finished is kept, the same command continues\n"


@slow
def test_two_at_once(checkout):
    edit_last_cell(checkout, "04_comparison", "import time; time.sleep(2)")
    with ThreadPoolExecutor(2) as pool:
        both = [done for done in pool.map(make, [checkout, checkout])]
    assert [done.returncode for done in both] == [0, 0], both
    assert sum(done.stdout.count(": running") for done in both) == 1  # the second finds what the first has made


@slow
def test_what_cannot_be_written_is_one_line(checkout):
    shutil.rmtree(checkout / "_build")
    (checkout / "_build").write_text("mine")
    done = make(checkout)
    assert done.returncode == 1 and (checkout / "_build").read_text() == "mine"
    assert re.fullmatch(r"error: .*/_build\S* can't be (read or )?written \(.*\): .*\n", done.stderr), done.stderr


@slow
def test_what_the_system_refuses_in_a_cell_is_one_line(checkout):
    edit_last_cell(checkout, "04_comparison", "raise OSError(28, 'No space left on device')")
    done = make(checkout)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("OSError: [Errno 28] No space left on device")


# Plays Python, uv and ruff for make: notes its environment, and makes a .venv of copies of itself.
PLAYED = """#!/bin/sh
case "$*" in
  *"venv --clear"*) rm -rf .venv; mkdir -p .venv/bin; echo "command = $(pwd -P)/.venv" > .venv/pyvenv.cfg
    cp "$0" .venv/bin/python;;
  *"-m pip"*) env >> seen.env; echo pip >> calls; cp "$0" .venv/bin/uv; cp "$0" .venv/bin/ruff;;
  *"pip sync"*) env >> seen.env; echo uv >> calls;;
  *"import pip"*) [ -e .venv/broken ] && exit 1;;
esac
exit 0
"""


def played_make(root: Path, **environment: str) -> list[str]:
    """Which of pip and uv a ``make lint`` called, and with what in their environment: ``seen.env``."""
    for name in ("calls", "seen.env"):
        (root / name).unlink(missing_ok=True)
    command = ["make", "-C", str(root), "lint", "PYTHON=./python"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "MAKEFLAGS": "", **environment}, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return (root / "calls").read_text().split() if (root / "calls").exists() else []


@pytest.fixture
def made(tmp_path) -> Path:
    """A folder, with an odd name, for ``played_make``."""
    root = tmp_path / "it's a 'ü' \"checkout\""
    root.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, root)
    (root / "python").write_text(PLAYED)
    (root / "python").chmod(0o755)
    return root


def test_set_up_does_not_depend_on_a_users_settings(made):
    theirs = ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN", "PIP_PYTHON", "UV_SYSTEM_PYTHON", "UV_CONSTRAINT"]
    theirs += ["UV_NO_BINARY", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONWARNINGS"]
    theirs += ["VIRTUAL_ENV", "CONDA_PREFIX", "JUPYTER_PATH", "IPYTHONDIR", "MPLBACKEND", "TMPDIR"]
    kept = {"PIP_INDEX_URL": "https://index.example.org", "PIP_CERT": "/c.pem", "PIP_CONFIG_FILE": "/pip.conf"}
    kept |= {"UV_INDEX_OURS_USERNAME": "me", "UV_DEFAULT_INDEX": "https://uv.example.org", "HTTPS_PROXY": "p"}
    overruled = {"PIP_USER": "0", "PIP_REQUIRE_HASHES": "0", "PIP_NO_BINARY": ":none:", "PIP_CONSTRAINT": "/dev/null"}
    given = dict.fromkeys(theirs, "/nowhere") | kept | dict.fromkeys(overruled, "1")
    assert played_make(made, **given) == ["pip", "uv", "pip"]
    seen = (made / "seen.env").read_text().splitlines()
    assert not [line for line in seen if line.partition("=")[0] in theirs]
    for name, value in (kept | overruled).items():
        assert seen.count(f"{name}={value}") == 3


def test_a_virtual_environment_that_does_not_run_is_made_anew(made):
    (made / ".venv").write_text("no folder")
    assert played_make(made) == ["pip", "uv", "pip"]
    assert played_make(made) == []
    moved = made.rename(made.with_name("moved"))
    assert played_make(moved) == ["pip", "uv", "pip"]
    assert played_make(moved) == []
    (moved / ".venv" / "broken").touch()
    assert played_make(moved) == ["pip", "uv", "pip"]
    shutil.rmtree(moved / ".venv" / "bin")
    assert played_make(moved) == ["pip", "uv", "pip"]
    assert played_make(moved, MAKEFLAGS="-j8 -k") == []


@pytest.mark.parametrize(
    "python, message",
    [
        ("nowhere/python3", "error: nowhere/python3 not found"),
        ("old-python", "error: ./old-python is older than Python 3.11"),
        ("new-python", "error: ./new-python is newer than Python 3.13"),
        ("bare-python", "error: ./bare-python has no venv module"),
    ],
)
def test_set_up_says_what_is_missing(tmp_path, python, message):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    for name, fails_on in (("old-python", "version_info <"), ("new-python", "<= sys"), ("bare-python", "ensurepip")):
        (tmp_path / name).write_text(f'#!/bin/sh\ncase "$2" in *"{fails_on}"*) exit 1;; esac\n')
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
