"""A small sample of raw files as the 2014 release has them, made up, and a shop for its pictures.

It is the demo's world, logged as Amazon logged: one rating per line, items by name, days; metadata that are Python
literals. With it comes what makes raw files raw: users of one domain only, second ratings of the same item, items that
stand in both categories, items without a title or picture, and lines that are damaged. So all steps from raw files to a
trained model can be run, and looked at, without a download.
"""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.files import new_file
from ifcdsr_core.scenario import SECONDS_A_DAY, Scenario
from ifcdsr_core.sources import prepare

SHOP = "http://pictures.example/"  # leads nowhere (RFC 2606): see ``shop``
ONE_DOMAIN, AGAIN = 0.4, 0.04  # users of one domain for each user of both; second ratings for each rating
IN_BOTH = 12  # items that both categories list
UNTITLED, UNPICTURED, GONE = 0.05, 0.03, 0.02  # shares of the items: no title, no address, an address of nothing
_BAD_RATINGS = (
    b"",
    b"A0,B0,5.0",
    b"A0,B0,five,1300000000",
    b"A0,B0,5.0,yesterday",
    b"A0,B0,5.0,1300000000000",
    b"A\xff,B0,5.0,1300000000",
    b"<html><title>503 Service Unavailable</title></html>",
)
_BAD_ITEMS = (
    b"",
    b"{'asin': 'B0', 'title': 'cut o",
    b"{'asin': __import__('os').getlogin()}",
    b"['B0', 'a list']",
    b"{'title': 'of nothing'}",
    b"{'asin': " + b"[" * 30 + b"]" * 30 + b"}",
    b"<html><title>503 Service Unavailable</title></html>",
)


def write(paths: Sequence[Path], scenario: str) -> None:
    """Write the sample of a scenario; the same files each time.

    Args:
        paths: ratings of X, ratings of Y, metadata of X, metadata of Y.
    """
    world, random = prepare("demo", scenario), np.random.default_rng(0)
    log = _log(world, random)
    both = random.permutation(np.flatnonzero(world.items["domain"] == "x"))[:IN_BOTH] + 1
    items = _described(world, random)
    for domain, ratings, metadata in zip("xy", paths[:2], paths[2:], strict=True):
        listed = items[(items["domain"] == domain) | items["item"].isin(both)]
        part = log[log["item"].isin(listed["item"])].sort_values(["item", "time", "user"])
        _write(
            ratings,
            [f"{row.user},{_asin(scenario, row.item)},5.0,{row.time}".encode() for row in part.itertuples()],
            _BAD_RATINGS,
        )
        _write(metadata, listed["line"].tolist(), _BAD_ITEMS)


@contextmanager
def shop(items: pd.DataFrame, scenario: str) -> Iterator[pd.DataFrame]:
    """A shop on this machine, open within the block: the items with addresses that lead there.

    It has the demo's pictures; for some it answers as shops do, with a "not found" or a web page.
    """
    world = prepare("demo", scenario)
    files = {
        f"/{_asin(scenario, item)}.png": world.folder / image
        for item, image in zip(world.items["item"], world.items["image"], strict=True)
    }

    class Counter(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            there = self.path in files
            page = there and int(self.path[2:11]) % 50 == 0
            content = (
                b"<!DOCTYPE html><title>Sorry</title>" if page else files[self.path].read_bytes() if there else b""
            )
            self.send_response(200 if there else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counter) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield items.assign(image_urls=[[url.replace(SHOP, here) for url in urls] for urls in items["image_urls"]])
        finally:
            server.shutdown()


def _log(world: Scenario, random: np.random.Generator) -> pd.DataFrame:
    """All ratings: ``user``, ``item``, ``time``."""
    sequences = world.sequences
    log = pd.DataFrame(
        {
            "user": np.repeat(sequences["user"], sequences["items"].map(len)),
            "item": np.concatenate([*sequences["items"]]),
            "time": np.concatenate([*sequences["timestamps"]]),
        }
    ).drop_duplicates()
    users = np.sort(log["user"].unique())
    likes_of = random.choice(users, round(ONE_DOMAIN * len(users)), replace=False)
    stays_in_y = dict(zip(likes_of, random.random(len(likes_of)) < 0.5, strict=True))
    alike = log[log["user"].isin(likes_of)]
    alike = alike[alike["user"].map(stays_in_y) == (alike["item"] > world.num_items_x)]
    again = log.sample(frac=AGAIN, random_state=0)
    again = again.assign(time=again["time"] + SECONDS_A_DAY * random.integers(1, 30, len(again)))
    return pd.concat(
        [
            log.assign(user="A" + log["user"].str.upper()),
            again.assign(user="A" + again["user"].str.upper()),
            alike.assign(user="AONLY" + alike["user"].str.upper()),
        ],
        ignore_index=True,
    )


def _described(world: Scenario, random: np.random.Generator) -> pd.DataFrame:
    """The items with their lines of metadata."""
    items = world.items
    untitled, unpictured, gone = (random.random(len(items)) < share for share in (UNTITLED, UNPICTURED, GONE))
    lines = []
    for row, no_title, no_picture, is_gone in zip(items.itertuples(), untitled, unpictured, gone, strict=True):
        title = {} if no_title else {"title": row.title.replace("Night", "Night &amp; Day")}
        asin = _asin(world.name, row.item)
        address = {} if no_picture else {"imUrl": f"{SHOP}{'gone-' if is_gone else ''}{asin}.png"}
        lines.append(
            repr(
                {
                    "asin": asin,
                    **title,
                    "price": 9.5,
                    **address,
                    "related": {"also_viewed": ["B0"]},
                    "salesRank": {row.kind: row.item},
                }
            ).encode()
        )
    return items.assign(line=lines)


def _asin(scenario: str, item: int) -> str:
    """An item's id: another one in each scenario, as pictures are kept by it."""
    return f"{scenario[0].upper()}{item:09d}"


def _write(path: Path, lines: list[bytes], bad: Sequence[bytes]) -> None:
    """Write lines, the bad ones evenly among them."""
    for number, line in enumerate(bad):
        lines.insert(number * len(lines) // len(bad), line)
    content = b"".join(line + b"\n" for line in lines)
    with new_file(path) as staging:
        staging.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
