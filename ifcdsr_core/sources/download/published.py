"""Published files of other people: from a mirror on this machine or by download, and always verified.

``published_files.tsv`` lists every file by ``<owner>/<repository>/<commit>/<path>``: behind ``BASE_URL`` that is its
address, below ``IFCDSR_MIRROR`` its place in a mirror. Size and SHA-256 are checked where they are known, the
git blob SHA-1, which the commit itself vouches for, always.
"""

from __future__ import annotations

import csv
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path

from ifcdsr_core.errors import InputError
from ifcdsr_core.paths import data_dir, named_folder
from ifcdsr_core.sources.download import resumable
from ifcdsr_core.sources.download.resumable import Facts, Patience

BASE_URL = "https://raw.githubusercontent.com/"
MIRROR_VARIABLE = "IFCDSR_MIRROR"


def fetch(name: str, *, base_url: str = BASE_URL, retries: int = 2) -> Path:
    """Return the path of one verified published file, downloading it on first use.

    Looked for in the mirror, then among earlier downloads, then at its address. A download appears under its name
    only once it has been verified. Of several processes that need it one downloads, the others wait.

    Args:
        name: ``<owner>/<repository>/<commit>/<path>``, one of ``published_files.tsv``.
        base_url: what to put before ``name``; another server with the same layout will do.
        retries: how often to try again after a failed download.

    Raises:
        InputError: the file is not available, or the one that is here is not the published one.
    """
    stored = data_dir() / "downloads" / name
    mirror = mirror_folder()
    for path in ([mirror / name] if mirror else []) + [stored]:
        if path.is_file():
            resumable.verified(path, Facts(**registry()[name]))
            resumable.tidy(stored)
            return path
    return _download(name, stored, base_url, retries)


def describe(name: str, path: Path) -> dict:
    """Where the file ``name`` was published and what is in it: ``url``, ``bytes``, ``sha256``, ``git_blob_sha1``."""
    return {"url": BASE_URL + name, **asdict(Facts.of(path))}


def lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file with their numbers from 1.

    Raises:
        InputError: a line is not UTF-8.
    """
    content, found = path.read_bytes(), []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], start=1):
        try:
            found.append((number, line.decode()))
        except UnicodeDecodeError:
            raise malformed(path, number, "text in UTF-8") from None
    return found


def malformed(path: Path, number: int, right: str) -> InputError:
    """The error for a line that is not what its publisher's format says."""
    return InputError(f"{path}, line {number}: expected {right}")


@cache
def registry() -> dict[str, dict]:
    """What is known of each published file: name -> ``bytes``, ``sha256`` (both may be absent), ``git_blob_sha1``."""
    table = resources.files(__package__).joinpath("published_files.tsv").read_text(encoding="utf-8")
    known = {}
    for row in csv.DictReader(table.splitlines(), delimiter="\t"):
        facts = {key: value for key, value in row.items() if key != "path" and value}
        known[row["path"]] = facts | ({"bytes": int(facts["bytes"])} if "bytes" in facts else {})
    return known


def mirror_folder() -> Path | None:
    """The folder ``IFCDSR_MIRROR`` names, None where it is not set."""
    folder = named_folder(MIRROR_VARIABLE)
    if folder is not None and not folder.is_dir():
        raise InputError(
            f"{MIRROR_VARIABLE} names {folder}, which is not a folder: "
            "name a folder laid out <owner>/<repository>/<commit>/<path>, or unset it to download"
        )
    return folder


def _download(name: str, stored: Path, base_url: str, retries: int) -> Path:
    """Download ``name`` to ``stored``. InputError, with the other ways to have it, if it is not available."""
    try:
        return resumable.fetch(base_url + name, stored, Facts(**registry()[name]), Patience(attempts=retries + 1))
    except (InputError, OSError) as error:
        mirror = mirror_folder()
        raise InputError(
            f"{f'it is not in the mirror {mirror}, and ' if mirror else ''}{error}; "
            f"set {MIRROR_VARIABLE} to a folder that holds it, or put the file at {stored}"
        ) from error
