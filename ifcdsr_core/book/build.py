"""The book: changed notebooks are executed; then it is built, checked and put in its place.

    python -m ifcdsr_core.book.build [--output _build/html] [--jobs N]

    _build/running/   notebooks being executed; a failed one stays there, its error marked
    _build/stage/     what Jupyter Book builds: _config.yml, jupyter_book/, and notebooks/ with the executed copies
    _build/html/      the book, replaced only by a complete new one

A page is executed again when its notebook's cells, its parameters, the package, the pinned versions or the shipped
results have changed. (Jupyter Book's own execution cache does not notice a changed package.)

The environment variable ``IFCDSR_REPOSITORY``, such as ``https://github.com/owner/name`` or ``…/name@branch``, gives
every page a button to the repository, and the notebooks' pages one that opens the notebook on Binder.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from ifcdsr_core import interrupts
from ifcdsr_core.book.kernels import end_with, line_of, prefer_own_kernel, stoppable
from ifcdsr_core.errors import InputError, in_one_line, require
from ifcdsr_core.files import file_hash, locked, new_folder
from ifcdsr_core.paths import ROOT, processors, results_dir


@dataclass(frozen=True, eq=False)
class Page:
    """A page of the book made by a notebook: ``notebooks/<notebook>.ipynb`` with ``parameters``."""

    notebook: str
    output: str  # stem of the executed copy and of the HTML page
    parameters: dict = field(default_factory=dict)


PAGES = [
    Page("00_verdict", "00_verdict"),
    Page("00b_explorer", "00b_explorer"),
    Page("01_data_statistics", "01_data_statistics"),
    Page("01b_raw_files", "01b_raw_files"),
    Page("02_clip_embedding", "02_clip_embedding"),
    Page("03_train", "03_train_food_kitchen", {"scenario": "food_kitchen"}),
    Page("03_train", "03_train_movie_book", {"scenario": "movie_book"}),
    Page("04_comparison", "04_comparison"),
    Page("04b_protocol", "04b_protocol"),
    Page("04c_numbering", "04c_numbering"),
    Page("04d_complete_data", "04d_complete_data"),
    Page("04e_budget", "04e_budget"),
    Page("05_ablation", "05_ablation"),
    Page("05b_ledger", "05b_ledger"),
    Page("05c_sensitivity", "05c_sensitivity"),
    Page("05d_where_it_helps", "05d_where_it_helps"),
    Page("05e_attention", "05e_attention"),
    Page("06_llm_emf", "06_llm_emf"),
    Page("07_what_it_costs", "07_what_it_costs"),
]
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "_build"
STAGE = BUILD / "stage"
TOC = STAGE / "jupyter_book" / "_toc.yml"
AT_A_TIME = 4  # notebooks, as each may need 2 GB of memory
MATHJAX = "tex-svg-full.js"  # one file that needs no other, so it works from the file system
BINDER = "https://mybinder.org"
REPOSITORY = re.compile(  # where the theme's launch button finds both Binder's name of a repository and its files
    r"(?P<url>https://(github|gitlab)\.com/[\w.-]+/[\w.-]+?)(\.git)?/?(@(?P<branch>\w[\w./-]*))?", re.ASCII
)


def main(argv: list[str] | None = None) -> int:
    """Make the book and say where it is, or print one clear error and return 1; 130 after Ctrl-C, 143 after SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m ifcdsr_core.book.build", description="Execute the notebooks that changed and build the book."
    )
    parser.add_argument("--output", type=Path, default=BUILD / "html", help="folder of the finished book (_build/html)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(AT_A_TIME, processors()),
        help=f"notebooks executed at the same time (one per processor, at most {AT_A_TIME})",
    )
    options = parser.parse_args(argv)
    try:
        with stoppable(), locked(BUILD / ".lock", waiting=lambda: _say("another book is being made: waiting for it")):
            make_book(options.output.resolve(), max(1, options.jobs))
    except KeyboardInterrupt as error:
        interrupts.say()
        return interrupts.exit_code(error)
    except Exception as error:
        line = in_one_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
    return 0


def make_book(output: Path, jobs: int = 1) -> None:
    """Execute what changed, build the book and put it at ``output``; an earlier book stays until the new one is whole.

    Raises:
        InputError: ``output`` is a folder with other content, or ``IFCDSR_REPOSITORY`` no repository's address; a
            notebook failed, Jupyter Book warned, a page is missing, or one loads something from the network.
    """
    buttons = repository_buttons(os.environ.get("IFCDSR_REPOSITORY", ""))
    if output.is_dir() and any(output.iterdir()) and not (output / ".stage").is_file():
        raise InputError(f"{output} is not a book and not empty: name an empty or a new folder")
    execute_pages(jobs)
    stage_prose(buttons)
    state = digest(STAGE)
    if _read(output / ".stage") == state:
        print("book: unchanged")
    else:
        started = time.perf_counter()
        html = build()
        check(html)
        (html / ".stage").write_text(state, encoding="utf-8")
        with new_folder(output) as staging:
            shutil.copytree(html, staging, dirs_exist_ok=True)
        shutil.rmtree(STAGE / "_build")
        print(f"book: built in {time.perf_counter() - started:.0f} s")
    print(f"\nThe book is at {output / 'index.html'}\nOpen it in a browser: {(output / 'index.html').as_uri()}")


# ---------------------------------------------------------------- notebooks


def execute_pages(jobs: int) -> None:
    """Execute every page whose key changed into the stage, ``jobs`` at a time, and report each.

    Raises:
        InputError: a notebook is missing or failed; pages executed before it are kept.
    """
    common = common_inputs()
    keys = {page: page_key(page, common) for page in PAGES}
    changed = [page for page in PAGES if not (_executed(page).is_file() and _read(_key_file(page)) == keys[page])]
    for page in PAGES:
        if page not in changed:
            _say(f"{page.output}: unchanged")
    if jobs > 1:  # threads of two pages would wait for each other
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // jobs)))
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _start, (os.getpid(),)) as pool:
        running = {pool.submit(execute, page, keys[page]): page for page in changed}
        for future in as_completed(running):
            page = running[future]
            try:
                _say(f"{page.output}: {future.result():.0f} s")
            except Exception as error:  # whatever a notebook or its kernel failed with
                pool.shutdown(cancel_futures=True)
                raise InputError(_failure(page, error)) from error


def _start(parent: int) -> None:
    """What a process that executes pages does first: leave Ctrl-C to the one that started it, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(parent)


def execute(page: Page, key: str) -> float:
    """Execute one page into the stage, from the folder a reader would run it in, and note its key.

    Returns:
        Seconds.
    """
    import papermill

    started = time.perf_counter()
    _say(f"{page.output}: running")
    running = BUILD / "running" / f"{page.output}.ipynb"
    for folder in (running.parent, _executed(page).parent):
        folder.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        _literal(NOTEBOOKS / f"{page.notebook}.ipynb"),
        _literal(running),
        page.parameters,
        cwd=NOTEBOOKS,
        progress_bar=False,
        **prefer_own_kernel(),
    )
    _key_file(page).unlink(missing_ok=True)
    os.replace(running, _executed(page))
    _key_file(page).write_text(key, encoding="utf-8")
    return time.perf_counter() - started


def _literal(path: Path) -> str:
    """A path for papermill, which fills in parameters between braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def common_inputs() -> list:
    """What all pages are made from: the package, the pinned versions, the shipped results."""
    return [digest(ROOT / "ifcdsr_core"), _read(ROOT / "requirements.lock"), digest(results_dir())]


def page_key(page: Page, common: list) -> str:
    """SHA-256 of everything that a page is made from.

    Args:
        common: of ``common_inputs``.

    Raises:
        InputError: the notebook is missing or cannot be read.
    """
    path = NOTEBOOKS / f"{page.notebook}.ipynb"
    try:
        cells = [
            [cell["cell_type"], cell["source"], cell["metadata"].get("tags")]
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        ]
    except (OSError, ValueError, LookupError) as error:
        raise InputError(f"{path} can't be read as a notebook ({type(error).__name__})") from error
    inputs = [cells, page.parameters, *common]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below ``folder``, except compiled and built ones."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not {"__pycache__", "_build"} & set(path.relative_to(folder).parts):
            total.update(f"{path.relative_to(folder).as_posix()}\0{file_hash(path)}\n".encode())
    return total.hexdigest()


def _say(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # in one piece: several processes speak at the same time


def _failure(page: Page, error: Exception) -> str:
    where = f"notebooks/{page.notebook}.ipynb (page {page.output}) failed"
    line = line_of(error)
    if getattr(error, "ename", None) is None:
        return f"{where}: {line or f'{type(error).__name__}: {error}'}"
    where += f" in cell [{error.exec_count}]; it is kept, the error marked, in {BUILD / 'running' / page.output}.ipynb"
    if line is not None:
        return f"{where}\n  {line}"
    lines = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).splitlines()[-12:]
    return "\n  ".join([where, *lines])


def _executed(page: Page) -> Path:
    return STAGE / "notebooks" / f"{page.output}.ipynb"


def _key_file(page: Page) -> Path:
    return _executed(page).with_suffix(".key")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


# ---------------------------------------------------------------- pages


def repository_buttons(address: str) -> dict:
    """What Jupyter Book's configuration needs for buttons to a repository and to Binder; nothing for no address.

    Raises:
        InputError: ``address`` is not ``https://github.com/owner/name`` (or gitlab.com), with ``@branch`` or without.
    """
    if not address:
        return {}
    found = REPOSITORY.fullmatch(address)
    right = "the https address of a repository at github.com or gitlab.com, such as https://github.com/owner/name"
    require(found is not None, "IFCDSR_REPOSITORY", repr(address), f"{right} or https://github.com/owner/name@branch")
    return {
        "repository": {"url": found["url"], "branch": found["branch"] or "HEAD"},  # HEAD: of the default branch
        "launch_buttons": {"binderhub_url": BINDER, "notebook_interface": "jupyterlab"},
        "html": {"use_repository_button": True},
    }


def stage_prose(buttons: dict) -> None:
    """Copy configuration and prose beside the executed notebooks, with MathJax taken from its package.

    Args:
        buttons: of ``repository_buttons``.

    Raises:
        InputError: the configuration is not YAML.
    """
    import yaml

    path = ROOT / "_config.yml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from error
    config.update({part: {**(config.get(part) or {}), **settings} for part, settings in buttons.items()})
    (STAGE / path.name).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    shutil.rmtree(TOC.parent, ignore_errors=True)
    shutil.copytree(ROOT / "jupyter_book", TOC.parent)
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    (TOC.parent / "book_assets" / "mathjax").mkdir()
    shutil.copy2(package / "static" / "mathjax" / MATHJAX, TOC.parent / "book_assets" / "mathjax")


def build() -> Path:
    """Build the stage from scratch: Sphinx reports a warning only for pages it reads anew.

    Returns:
        Folder of the HTML.

    Raises:
        InputError: Jupyter Book warned or failed.
    """
    shutil.rmtree(STAGE / "_build", ignore_errors=True)
    ends = f"from ifcdsr_core.book.kernels import end_with; end_with({os.getpid()})"
    jupyter_book = [sys.executable, "-c", f"{ends}; from jupyter_book.cli.main import main; main()"]
    options = ["--toc", str(TOC), "-W", "-n", "--keep-going"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([*jupyter_book, "build", str(STAGE), *options], text=True, **pipes)
    if done.returncode:
        log = BUILD / "jupyter-book.log"
        log.write_text(done.stdout, encoding="utf-8")
        lines = [line.replace(f"{STAGE}/", "") for line in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).splitlines()]
        warnings = [line for line in lines if re.search("WARNING|ERROR|CRITICAL", line)]
        raise InputError("\n  ".join([f"Jupyter Book failed, all it said is in {log}", *(warnings or lines[-12:])]))
    html = STAGE / "_build" / "html"
    for page in PAGES:
        launch_notebook(html / "notebooks" / f"{page.output}.html", page)
    return html


def launch_notebook(path: Path, page: Page) -> None:
    """Lead the theme's launch button, which names the executed copy, to the notebook that the repository has."""
    if page.output != page.notebook and path.is_file():
        prefix = "urlpath=lab/tree/notebooks/"
        text = path.read_text(encoding="utf-8")
        text = text.replace(f"{prefix}{page.output}.ipynb", f"{prefix}{page.notebook}.ipynb")
        path.write_text(text, encoding="utf-8")


def check(html: Path) -> None:
    """Make sure that every page of the table of contents is there and that none needs the network.

    Raises:
        InputError: a page is missing, or one loads something from elsewhere.
    """
    missing = [name for name in toc_files() if not (html / f"{name}.html").is_file()]
    if missing:
        raise InputError(f"Jupyter Book made no page for {', '.join(missing)}")
    loaded = [f"{path.relative_to(html)} loads {url}" for path in sorted(html.rglob("*")) for url in remote_urls(path)]
    if loaded:
        raise InputError("\n  ".join(["the book must open offline, but", *loaded]))


def toc_files() -> list[str]:
    """Pages named in the table of contents, without suffix, in order."""
    import yaml

    def files(entry) -> Iterator[str]:
        if isinstance(entry, list):
            for part in entry:
                yield from files(part)
        elif isinstance(entry, dict):
            yield from (entry[key] for key in ("root", "file") if key in entry)
            yield from files([part for part in entry.values() if isinstance(part, list)])

    return list(files(yaml.safe_load(TOC.read_text(encoding="utf-8"))))


def remote_urls(path: Path) -> list[str]:
    """URLs that a browser fetches from the network to show an HTML or CSS file; mere links do not count."""
    if path.suffix == ".css":
        return _urls_in_css(path.read_text(encoding="utf-8"))
    if path.suffix != ".html":
        return []
    page = _Loads()
    page.feed(path.read_text(encoding="utf-8"))
    return page.urls


class _Loads(HTMLParser):
    """Collects what a page loads by itself from http(s)."""

    _QUIET_LINKS = {"canonical", "author", "license", "search", "index", "next", "prev", "alternate"}

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag, attrs) -> None:
        self._in_style = tag == "style"
        values = dict(attrs)
        self.urls += _urls_in_css(values.get("style") or "")
        loads = [values.get("src"), values.get("poster"), values.get("data") if tag == "object" else None]
        loads += [part.split()[0] for part in (values.get("srcset") or "").split(",") if part.split()]
        if tag == "link" and not set((values.get("rel") or "").split()) <= self._QUIET_LINKS:
            loads.append(values.get("href"))
        if tag in ("image", "use"):  # of an inline SVG
            loads += [values.get("href"), values.get("xlink:href")]
        self.urls += [url for url in loads if url and re.match(r"(https?:)?//", url)]

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.urls += _urls_in_css(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def _urls_in_css(text: str) -> list[str]:
    return re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", text)


if __name__ == "__main__":
    sys.exit(main())
