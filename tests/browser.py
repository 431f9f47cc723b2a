"""A browser for tests of pages: Debian's chromium or another Chrome, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def browser() -> Iterator:
    """A headless browser of playwright's; where there is none the test is skipped."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no chromium or chrome to open the book with")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(running, page: Path, width: int = 1280, height: int = 900, fragment: str = "", **options) -> Iterator:
    """A page opened from the file system, with the network off; leaving it fails if the page reported an error.

    Args:
        running: of ``browser``.
        options: of a context, such as ``color_scheme="dark"`` or ``java_script_enabled=False``.
    """
    context = running.new_context(viewport={"width": width, "height": height}, offline=True, **options)
    try:
        shown, errors = context.new_page(), []
        shown.on("pageerror", lambda error: errors.append(str(error)))
        shown.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        shown.goto(page.as_uri() + fragment)
        yield shown
        assert errors == []
    finally:
        context.close()


def serious_faults(shown) -> list[str]:
    """What axe-core finds on a page that is serious or critical, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(shown, options={"preload": False}).response["violations"]  # a file's styles can't be fetched
    return [
        f"{fault['id']}: {node['html'][:160]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
