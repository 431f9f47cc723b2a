"""Pages with the book's own style sheets and scripts, for tests of what these do."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import pydata_sphinx_theme
import sphinx_book_theme
import yaml

from ifcdsr_core.paths import ROOT

ASSETS = ROOT / "jupyter_book" / "book_assets"
STYLES = [
    Path(theme.__file__).parent
    / "theme"
    / theme.__name__
    / "static"
    / "styles"
    / f"{theme.__name__}.css".replace("_", "-")
    for theme in (pydata_sphinx_theme, sphinx_book_theme)
]


def settings() -> dict:
    """Sphinx's settings in the book's _config.yml."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]


def themed_page(folder: Path, body: str, theme: str = "light", scripts: bool = True) -> Path:
    """Write ``page-<theme>.html``: ``body`` as the article of a page that loads what the book's pages load.

    Args:
        theme: light or dark.
        scripts: whether it loads the book's scripts.
    """
    given = settings()
    styles = [*STYLES, *(ASSETS / name for name in given["html_css_files"])]
    links = "\n".join(f'<link rel="stylesheet" href="{path.as_uri()}">' for path in styles)
    loaded = [f'<script defer src="{(ASSETS / name).as_uri()}"></script>' for name, _ in given["html_js_files"]]
    page = folder / f"page-{theme}{'' if scripts else '-plain'}.html"
    page.write_text(
        f"""<!DOCTYPE html>
<html lang="en" data-theme="{theme}" data-mode="{theme}"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
{links}
{"".join(loaded) if scripts else ""}</head>
<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container"><article class="bd-article">
<h1>A page</h1>{body}</article></div></div></main></body></html>""",
        encoding="utf-8",
    )
    return page


def output(shown: str) -> str:
    """HTML that a cell of a notebook displays, as MyST-NB writes it."""
    return f'<div class="cell"><div class="cell_output"><div class="output text_html">{shown}</div></div></div>'


def table(headings: Sequence[str], *rows: Sequence[str], name: str = "table") -> str:
    """A table as Sphinx writes those of ``markup.show``; ``**…**`` is bold."""
    head = "".join(f'<th class="head text-left"><p>{html.escape(heading)}</p></th>' for heading in headings)
    cells = [[f'<td class="text-left"><p>{_bold(cell)}</p></td>' for cell in row] for row in rows]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return (
        f'<div class="pst-scrollable-table-container"><table class="table" id="{name}"><caption>A table</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _bold(cell: str) -> str:
    text = html.escape(cell.strip("*"))
    return f"<strong>{text}</strong>" if cell.startswith("**") else text


def boxes(shown, selector: str) -> list[list[float]]:
    """Left, top, width and height of what a selector finds."""
    script = """found => found.map(one => {
        const box = one.getBoundingClientRect();
        return [box.x, box.y + scrollY, box.width, box.height].map(number => Math.round(10 * number) / 10);
    })"""
    return shown.locator(selector).evaluate_all(script)
