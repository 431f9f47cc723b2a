"""Amazon's raw review files as tidy Parquet, read as a stream.

Three formats of reviews and two of metadata, each told by the file's name:

- 2014, ``ratings_<Category>.csv``: ``user,item,rating,unix time``, no header, fields quoted or not;
- 2014, ``reviews_<Category>_5.json.gz``: JSON lines (``reviewerID``, ``asin``, ``overall``, ``unixReviewTime``);
- 2023, ``<Category>.jsonl[.gz]``: JSON lines (``user_id``, ``parent_asin``, ``rating``, ``timestamp`` in milliseconds);
- 2014, ``meta_<Category>.json.gz``: lines that are *Python literals*, or JSON, as some copies have them (``asin``,
  ``title``, ``imUrl``);
- 2023, ``meta_<Category>.jsonl[.gz]``: JSON lines (``parent_asin``, ``title``, ``images``).

Releases: https://jmcauley.ucsd.edu/data/amazon/index_2014.html and https://amazon-reviews-2023.github.io.

Nothing in a file is ever executed. A bad line is never fatal and never lost silently: it is counted under its kind,
with the number of the first such line, and the counts stay with the Parquet file. Whether a file is compressed is told
by its first bytes; a byte order mark is passed over. Memory does not grow with a file of
reviews; of metadata one small entry an item is kept, to know a repeated one.
"""

from __future__ import annotations

import ast
import codecs
import gzip
import html
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ifcdsr_core.errors import InputError
from ifcdsr_core.files import file_hash, new_file
from ifcdsr_core.sources.amazon import EARLIEST, LATEST

VERSION = 2
MAX_LINE = 1 << 20  # bytes; the longest of the published metadata lines are some 100 kB
MAX_DEPTH = 20  # brackets within brackets; the published lines have 4
MAX_PICTURES = 6  # addresses kept of one item

_GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_CHUNK = 1 << 24
_BATCH = 200_000  # rows
_QUOTED = r"""(?:'[^'\\]*+(?:\\.[^'\\]*+)*+'|"[^"\\]*+(?:\\.[^"\\]*+)*+")"""
_STRING = re.compile(_QUOTED, re.DOTALL)
_CLOSED = re.compile(rf"(?:[^'\"]++|{_QUOTED})*+", re.DOTALL)  # every string ends; takes time in proportion to the line
_ATOM = re.compile(r"(?<![\w.])(?:None|True|False|-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w.])")
_KEPT = re.compile(r"^item again|\(item kept\)$")  # kinds of lines whose item is there all the same
_BRACKET = re.compile(r"[\[\](){}]")
_IDENTIFIER = re.compile(r"#?[A-Za-z0-9_-]{1,64}")  # "#oc-R1" is a user of 2014, "AE22_1" one of 2023
_ADDRESS = re.compile(r"https?://[!-~]{1,2000}")
_REVIEWS = pa.schema({"user": pa.string(), "item": pa.string(), "time": pa.int64()})
_ITEMS = pa.schema({"source_id": pa.string(), "title": pa.string(), "image_urls": pa.list_(pa.string())})


class _Bad(Exception):
    """A line that can't be used; its text is the kind."""


class Problems(dict):
    """Kind of bad line -> ``{"lines": how many, "first": number of the first}``, lines counted from 1."""

    def note(self, kind: str, first: int, lines: int = 1) -> None:
        seen = self.setdefault(kind, {"lines": 0, "first": first})
        self[kind] = {"lines": seen["lines"] + lines, "first": min(seen["first"], first)}


def interactions(raw: Path, folder: Path) -> tuple[Path, dict]:
    """Convert a file of reviews, unless ``folder`` already has it, from these bytes and by this version.

    Args:
        raw: a file of reviews whose name tells its format.
        folder: where ``<name of raw>.parquet`` goes, with columns ``user``, ``item`` (text), ``time`` (unix seconds).

    Returns:
        The Parquet file, and what is known of it: ``file``, ``bytes`` and ``sha256`` of the raw file, ``reader``
        (VERSION), ``rows``, ``problems``.

    Raises:
        InputError: the raw file can't be read, its compression is damaged, or it holds no review at all.
    """
    if raw.name.endswith(".csv"):
        return _convert(raw, folder, _REVIEWS, _csv_tables)
    read = _review_2014 if _is_2014(raw) else _review_2023
    return _convert(raw, folder, _REVIEWS, lambda raw, problems: _tables(raw, _REVIEWS, problems, read))


def items(raw: Path, folder: Path) -> tuple[Path, dict]:
    """Convert a file of metadata; arguments, result and errors as for ``interactions``.

    Columns: ``source_id`` (each once: its first good line counts), ``title`` or null (HTML entities decoded once, white
    space made single blanks), ``image_urls`` (list of addresses, the preferred one first).
    """
    read, title_of = _item_2014 if _is_2014(raw) else _item_2023, {}

    def read_new(text: str, note: Callable[[str], None]) -> tuple:
        source_id, title, urls = read(text, note)
        if source_id in title_of:
            same = title_of[source_id] == hash(title)
            raise _Bad("item again, " + ("same title" if same else "other title"))
        title_of[source_id] = hash(title)
        return source_id, title, urls

    return _convert(raw, folder, _ITEMS, lambda raw, problems: _tables(raw, _ITEMS, problems, read_new))


def require_usable(raw: Path, facts: dict) -> None:
    """Raise an InputError if more than half of a raw file's lines could not be used: it is not what its name says.

    An item that is there again counts neither way.

    Args:
        facts: as ``interactions`` or ``items`` returned them.
    """
    lost = {kind: seen for kind, seen in facts["problems"].items() if not _KEPT.search(kind)}
    lines = sum(seen["lines"] for seen in lost.values())
    if lines > facts["rows"]:
        raise InputError(
            f"{raw}: {lines} of {lines + facts['rows']} lines can't be used ({_in_words(lost)}): {_remedy(raw)}"
        )


# ---------------------------------------------------------------------------- from raw file to Parquet


def _convert(raw: Path, folder: Path, schema: pa.Schema, tables: Callable) -> tuple[Path, dict]:
    """Write the tables of ``raw`` to one Parquet file that carries its facts; a file that is there and fits is kept."""
    final = folder / f"{raw.name}.parquet"
    facts = {"file": raw.name, "reader": VERSION, **_fingerprint(raw)}
    known = _known_facts(final)
    if facts == {name: known.get(name) for name in facts}:
        return final, known
    problems, rows = Problems(), 0
    with new_file(final) as staging:
        with pq.ParquetWriter(staging, schema, compression="zstd") as writer:
            for table in tables(raw, problems):
                rows += table.num_rows
                writer.write_table(table.cast(schema))
            facts |= {"rows": rows, "problems": dict(sorted(problems.items()))}
            writer.add_key_value_metadata({"ifcdsr": json.dumps(facts)})
        if not rows:
            raise InputError(f"{raw} holds no line that can be used ({_in_words(problems)}): {_remedy(raw)}")
    return final, facts


def _known_facts(parquet: Path) -> dict:
    """The facts a Parquet file of ours carries; none where there is no such file."""
    try:
        return json.loads(pq.read_metadata(parquet).metadata[b"ifcdsr"])
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return {}


def _fingerprint(raw: Path) -> dict:
    try:
        return {"bytes": raw.stat().st_size, "sha256": file_hash(raw)}
    except OSError as error:
        raise InputError(f"{raw} can't be read: {error.strerror}") from error


def _in_words(problems: dict) -> str:
    found = "; ".join(f"{seen['lines']} x {kind}, first in line {seen['first']}" for kind, seen in problems.items())
    return found or "it is empty"


def _remedy(raw: Path) -> str:
    if raw.name.startswith("meta_"):
        right = "a Python literal or JSON, with asin" if _is_2014(raw) else "JSON with parent_asin"
    elif raw.name.endswith(".csv"):
        right = "<user>,<item>,<rating>,<unix time in seconds>"
    elif _is_2014(raw):
        right = "JSON with reviewerID, asin, overall and unixReviewTime in seconds"
    else:
        right = "JSON with user_id, parent_asin, rating and timestamp in milliseconds"
    return f"a line should be {right}; fetch it again"


def _is_2014(raw: Path) -> bool:
    return raw.name.removesuffix(".gz").endswith(".json")


def _blocks(raw: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines in blocks of some 16 MB, each with the number of its first line.

    Of a line far beyond MAX_LINE only the beginning is kept, so that a file without line ends needs no memory either.
    """
    number, rest = 1, b""
    try:
        with open(raw, "rb") as stored:
            file = gzip.GzipFile(fileobj=stored) if stored.peek(2)[:2] == _GZIP else stored
            if file.peek(3)[:3] == codecs.BOM_UTF8:
                file.read(3)
            while chunk := file.read(_CHUNK):
                end = chunk.rfind(b"\n") + 1
                if not end:
                    rest = (rest + chunk)[: MAX_LINE + 2]
                    continue
                block = rest + chunk[:end]
                rest = chunk[end:]
                yield number, block[:-1]
                number += block.count(b"\n")
        if rest:
            yield number, rest
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{raw} is damaged ({error}): delete it and fetch it again") from error


# ---------------------------------------------------------------------------- ratings as CSV, a block at a time


def _csv_tables(raw: Path, problems: Problems) -> Iterator[pa.Table]:
    """Arrow tables of ``ratings_<Category>.csv``; a line is checked by expressions, not one by one."""
    import polars as pl

    line, user, item = pl.col("line"), pl.col("field_0"), pl.col("field_1")
    rating = pl.col("field_2").cast(pl.Float64, strict=False)
    time = pl.col("field_3").cast(pl.Int64, strict=False)
    kinds = {
        "not UTF-8": line.is_null(),
        "longer than 1 MiB": line.str.len_bytes() > MAX_LINE,
        "empty": line.str.strip_chars() == "",
        "NUL byte": line.str.contains("\0", literal=True),
        "HTML or XML": line.str.starts_with("<"),
        "not four fields": pl.col("field_3").is_null() | pl.col("field_4").is_not_null(),
        "user missing or malformed": ~user.str.contains(f"^{_IDENTIFIER.pattern}$"),
        "item missing or malformed": ~item.str.contains(f"^{_IDENTIFIER.pattern}$"),
        "rating is not a number": rating.is_null() | ~rating.is_finite(),
        "time is not a whole number": time.is_null(),
        "time out of range": ~time.is_between(EARLIEST, LATEST, closed="left"),
    }
    bad = pl.coalesce(*(pl.when(condition).then(pl.lit(kind)) for kind, condition in kinds.items()))
    for number, block in _blocks(raw):
        try:
            lines = block.decode().split("\n")
        except UnicodeDecodeError:
            lines = [_decoded(line) for line in block.split(b"\n")]
        table = pl.DataFrame({"line": pl.Series(lines, dtype=pl.String).str.strip_suffix("\r")})
        table = table.with_columns(line.str.splitn(",", 5).alias("part")).unnest("part")
        if b'"' in block or b" " in block:  # a field holds no comma, so that a quoted one is one still
            table = table.with_columns(pl.col("^field_.$").str.replace('^ *(?:"([^"]*)"|([^"]*?)) *$', "$1$2"))
        table = table.with_columns(bad=bad).with_row_index("number", number)
        for kind, count, first in (
            table.drop_nulls("bad").group_by("bad").agg(pl.len(), pl.col("number").min()).sort("bad").iter_rows()
        ):
            problems.note(kind, first, count)
        good = table.filter(pl.col("bad").is_null())
        yield good.select(user=user, item=item, time=time).to_arrow()


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


# ---------------------------------------------------------------------------- JSON and literals, line by line


def _tables(raw: Path, schema: pa.Schema, problems: Problems, read: Callable) -> Iterator[pa.Table]:
    """Arrow tables of what ``read(text, note)`` returns for each line; what it refuses is noted."""
    rows = []
    for first, block in _blocks(raw):
        for number, line in enumerate(block.split(b"\n"), start=first):
            try:
                rows.append(read(_text(line), lambda kind, number=number: problems.note(kind, number)))
            except _Bad as error:
                problems.note(str(error), number)
        while rows:
            batch, rows = rows[:_BATCH], rows[_BATCH:]
            yield pa.table(list(map(list, zip(*batch, strict=True))), schema=schema)


def _text(line: bytes) -> str:
    if len(line) > MAX_LINE:
        raise _Bad("longer than 1 MiB")
    if not line.strip():
        raise _Bad("empty")
    if b"\0" in line:
        raise _Bad("NUL byte")
    text = _decoded(line)
    if text is None:
        raise _Bad("not UTF-8")
    if text.lstrip().startswith("<"):
        raise _Bad("HTML or XML")
    return text.strip()


def _json(text: str) -> dict:
    try:
        value = json.loads(text)
    except RecursionError:
        raise _Bad("nested too deeply") from None
    except ValueError:
        raise _Bad("cut off or malformed") from None
    return _as_dict(value)


def _literal(text: str) -> dict:
    """A dict written as a Python literal.

    ``ast.literal_eval`` executes nothing, but long chains and deep nesting can exhaust the parser's stack. So the
    line's skeleton is looked at first: strings and numbers become a letter, and only brackets and separators may
    be left.
    """
    if not _CLOSED.fullmatch(text):
        raise _Bad("cut off or malformed")
    skeleton = _ATOM.sub("a", _STRING.sub(" a ", text))
    if re.search(r"[^\sa,:{}\[\]()]|aa", skeleton):
        raise _Bad("more than a literal: a name, a call or an operator")
    depth = deepest = 0
    for bracket in _BRACKET.findall(skeleton):
        depth += 1 if bracket in "[{(" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise _Bad("nested too deeply")
    if depth or re.search(r"[a\])}]\s*[\[({a]", skeleton):
        raise _Bad("cut off or malformed")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _Bad("cut off or malformed") from None
    return _as_dict(value)


def _as_dict(value) -> dict:
    if not isinstance(value, dict):
        raise _Bad("not a dict")
    return value


def _identifier(line: dict, name: str) -> str:
    value = line.get(name)
    if value is None:
        raise _Bad(f"{name} is missing")
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise _Bad(f"{name} is malformed")
    return value


def _review_2014(text: str, note: Callable[[str], None]) -> tuple:
    return _review(_json(text), "reviewerID", "asin", "overall", "unixReviewTime", 1)


def _review_2023(text: str, note: Callable[[str], None]) -> tuple:
    return _review(_json(text), "user_id", "parent_asin", "rating", "timestamp", 1_000)


def _review(line: dict, user: str, item: str, rating: str, time: str, units: int) -> tuple:
    """User, item and time in whole seconds, of which the file has ``units`` each."""
    found = _identifier(line, user), _identifier(line, item)
    if type(line.get(rating)) not in (int, float) or not abs(line[rating]) <= sys.float_info.max:
        raise _Bad("rating is not a number")
    if type(line.get(time)) is not int:
        raise _Bad("time is not a whole number")
    if not EARLIEST * units <= line[time] < LATEST * units:
        raise _Bad("time out of range")
    return *found, line[time] // units


def _item_2014(text: str, note: Callable[[str], None]) -> tuple:
    try:
        line = _json(text)
    except _Bad:
        line = _literal(text)
    return _identifier(line, "asin"), _title(line, note), _addresses([line.get("imUrl")], note)


def _item_2023(text: str, note: Callable[[str], None]) -> tuple:
    """Of several pictures the one called MAIN first; of its sizes 500 pixels first, which are more than CLIP's 224."""
    line = _json(text)
    source_id, title, pictures = _identifier(line, "parent_asin"), _title(line, note), line.get("images") or []
    if not isinstance(pictures, list) or not all(isinstance(picture, dict) for picture in pictures):
        note("images are not a list of dicts (item kept)")
        pictures = []
    pictures = sorted(pictures, key=lambda picture: picture.get("variant") != "MAIN")
    sizes = [picture.get(size) for picture in pictures for size in ("large", "hi_res", "thumb")]
    return source_id, title, _addresses(sizes, note)


def _title(line: dict, note: Callable[[str], None]) -> str | None:
    title = line.get("title")
    if title is not None and not isinstance(title, str):
        note("title is not text (item kept)")
        return None
    # a lone surrogate can stand in JSON, but not in a file
    tidy = " ".join(html.unescape(title or "").encode("utf-8", "replace").decode().split())
    return tidy or None


def _addresses(found: list, note: Callable[[str], None]) -> list[str]:
    """The http addresses among ``found``, each once and at most MAX_PICTURES."""
    found = [address for address in found if address not in (None, "")]
    good = [address for address in found if isinstance(address, str) and _ADDRESS.fullmatch(address)]
    if len(good) < len(found):
        note("picture address is not one (item kept)")
    return list(dict.fromkeys(good))[:MAX_PICTURES]
