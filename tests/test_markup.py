"""A table on a page: numbered, and what is in it shown as it is."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from ifcdsr_core.analysis.paired import Measured
from ifcdsr_core.book import markup


def test_show_makes_a_numbered_table():
    table = pd.DataFrame({"Name": ["a|b", "c_d"], "Count": [1234, 5], "Share": [-0.5, math.nan]})
    assert markup.show(table, "All *of* it\nat once", "tab-x").data == (
        ":::{table} All \\*of\\* it at once\n:name: tab-x\n\n"
        "| Name | Count | Share |\n| :-- | --: | --: |\n| a\\|b | 1,234 | −0.50 |\n| c\\_d | 5 | – |\n\n:::"
    )


def test_show_sets_bold_what_is_marked():
    table = pd.DataFrame({"Target": ["Food", "Food"], "MRR": [Measured(1.0, math.nan), Measured(2.0, 0.1, best=True)]})
    lines = markup.show(table, "c").data.splitlines()
    assert lines[4:6] == ["| Food | 1.00 |", "|  | **2.00\u00a0±\u00a00.10** |"]


def test_code_cannot_end_its_box():
    assert markup.code("a\n```\n# no heading", "json").data == "````json\na\n```\n# no heading\n````"
    assert markup.code("plain").data.startswith("```text\n")
    assert markup.code("one two\n\nthree four", width=8).data == "```text\none two\n\nthree\nfour\n```"


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "*x* _y_ **z**",
        "`code` $math$",
        "[link](http://x.org)",
        "{numref}`tab-x`",
        "<script>alert(1)</script>",
        "a & b &amp; c",
        "back\\slash",
        "~~gone~~ ^up^",
        "% no comment",
        "```\n:::",
        "$$\\alpha$$ \\$5",
        "[^1] {{x}} (label)=",
        "{eq}`a` {term}`b`",
        "line\u2028end\x0b\x0c\x85next",
        "bell\x07\x1b[0m\x00",
        "مرحبا \u202e日本 👩‍👧",
        "--- *** # +",
        "<img src=x onerror=y> &lt; &#36;",
    ],
)
def test_escaped_text_is_shown_as_it_is(text):
    """Escaped, parsed by the parser of the book, and read again."""
    from myst_parser.config.main import MdParserConfig
    from myst_parser.mdit_to_docutils.base import DocutilsRenderer
    from myst_parser.parsers.mdit import create_md_parser

    config = MdParserConfig(enable_extensions={"dollarmath", "colon_fence", "attrs_inline", "substitution"})
    shown = markup.show(pd.DataFrame({"Name": pd.Series([text], dtype=object), "Other": ["x"]}), "caption").data
    shown.encode()
    tokens = create_md_parser(config, DocutilsRenderer).parse("\n".join(shown.splitlines()[2:-1]))
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    parts = cells[2].children
    assert {part.type for part in parts} <= {"text", "text_special"}
    right = "".join(sign for sign in " ".join(text.split()) if sign >= " " and sign != "\x85")
    assert "".join(part.content for part in parts) == right
