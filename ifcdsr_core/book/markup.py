"""A table on a page of the book: numbered, captioned, escaped; and how pages call data sets and models."""

from __future__ import annotations

import json
import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifcdsr_core.errors import choose
from ifcdsr_core.scenario import DOMAIN_NAMES

if TYPE_CHECKING:
    from IPython.display import Markdown


SOURCE_NAMES = {
    "demo": "demo",
    "c2dsr": "the paper's data",
    "llmcdsr": "LLMCDSR's data",
    "abxi": "ABXI's data",
    "amazon": "raw files",
}


def model_name(model: str) -> str:
    """How a page names a model."""
    from ifcdsr_core.models import MODELS

    return MODELS[choose("model", model, MODELS)].title


def data_title(source: str, scenario: str) -> str:
    """How a heading or an axis names a data set, such as "Food-Kitchen (demo)"."""
    return f"{'-'.join(DOMAIN_NAMES.get(scenario, [scenario]))} ({SOURCE_NAMES.get(source, source)})"


_GAIN_HEADINGS = {
    "step": "Step",
    "compared": "What is gained",
    "domain": "Target",
    "gain": "Gain in MRR",
    "seed_error": "Std. error over seeds",
    "case_error": "Std. error over cases",
    "noise": "Noise (±)",
    "verdict": "Verdict",
}


def show(table: pd.DataFrame, caption: str, name: str | None = None) -> Markdown:
    """A table for a page, numbered and captioned in the book: a MyST table directive.

    The cell that shows it carries the metadata ``mystnb: {markdown_format: myst}``. Text is set left, all else right.
    What neighbouring rows have in common in the first column is said once.

    Args:
        table: an index with a name becomes the first column.
        name: label for references, unique in the book.
    """
    from IPython.display import Markdown

    table = (table.reset_index() if table.index.name else table).rename(columns=_GAIN_HEADINGS)
    cells = table.map(_text).map(escape)
    group = table.iloc[:, 0]
    cells = cells.mask(table.map(lambda cell: getattr(cell, "best", False)).astype(bool), "**" + cells + "**")
    cells.isetitem(0, cells.iloc[:, 0].where(group != group.shift(), ""))
    rule = [":--" if table[heading].map(lambda cell: isinstance(cell, str)).any() else "--:" for heading in table]
    lines = [[escape(heading) for heading in table.columns], rule, *cells.to_numpy().tolist()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    option = f":name: {name}\n" if name else ""
    return Markdown(f":::{{table}} {escape(caption)}\n{option}\n{body}\n\n:::")


def escape(text: str) -> str:
    """``text`` so that MyST shows it as it is, on one line."""
    line = re.sub(r"[^\S\u00a0\u2007\u202f]+", " ", text).strip()  # no-break spaces stay
    line = "".join(sign for sign in line if unicodedata.category(sign) not in ("Cc", "Cs"))  # no page can hold them
    special = r"\`*_{}[]<>|$~^&"
    return "".join(f"\\{character}" if character in special else character for character in line)


def listed(words: Iterable[str]) -> str:
    """``a, b and c``, each escaped."""
    *front, end = map(escape, words)
    return f"{', '.join(front)} and {end}" if front else end


def script_json(data) -> str:
    """``data`` as JSON inside a ``<script>`` of a page, where no text of it can end the script."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def code(text: str, language: str = "text", width: int = 0) -> Markdown:
    """``text`` word for word in a box, lines folded at ``width`` characters (0: not); no line of it can end the box."""
    from IPython.display import Markdown

    if width:
        text = "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in text.split("\n"))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{text}\n{fence}")


def _text(cell) -> str:
    if isinstance(cell, float):
        return "–" if math.isnan(cell) else f"{cell:z,.2f}".replace("-", "−")
    if isinstance(cell, (int, np.integer)) and not isinstance(cell, bool):
        return f"{cell:,}".replace("-", "−")
    return "–" if cell is None else str(cell)


def unbroken(text: str) -> str:
    """A cell, such as the title of a data set, so that a narrow column breaks it before a bracket only."""
    return text.replace("-", "\u2011").replace(" ", "\u00a0").replace("\u00a0(", " (")


def whole(column: pd.Series) -> pd.Series:
    """Floats that are all whole or NaN as whole numbers, so that they show without decimals; else as it is."""
    if column.dtype != float or not (column.dropna() % 1 == 0).all():
        return column
    return pd.Series([value if math.isnan(value) else int(value) for value in column], column.index, dtype=object)
