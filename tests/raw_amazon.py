"""Raw Amazon files made up for tests and benchmarks: a planted world that is known by construction, and large ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

DAY = 86_400
START = 15_000  # a day in 2011
NAMES = {"food_kitchen": ("Grocery_and_Gourmet_Food", "Home_and_Kitchen"), "movie_book": ("Movies_and_TV", "Books")}

Interaction = tuple[str, str, int]  # user, item, unix seconds


# ---------------------------------------------------------------------------- a planted world


class Planted:
    """Users that lie exactly at and just beyond every threshold of the default rules.

    Attributes:
        x, y: the interactions of each domain.
        expected: user -> the sequences that the default rules but for ties=by_name give, each a list of item names, the
            latest last.
    """

    def __init__(self) -> None:
        self.x: list[Interaction] = []
        self.y: list[Interaction] = []
        self.expected: dict[str, list[list[str]]] = {}
        common = [f"{domain}{number:02d}" for domain in "XY" for number in range(40)]
        # Ten users of both domains make these items common; X and Y lie too far apart to be in one window.
        for crowd in range(10):
            for name in common:
                self.add(f"CROWD{crowd}", name, 1_000 if name[0] == "X" else 2_000)
        for crowd in range(8):
            for name in ("XNINE", "XSOLO"):
                self.add(f"CROWD{crowd}", name, 1_000)
        for crowd in range(9):
            self.add(f"CROWD{crowd}", "XTEN", 1_000)
            self.add(f"CROWD{crowd}", "XBOTH", 1_000)
            self.y.append((f"CROWD{crowd}", "XBOTH", (START + 2_000) * DAY))
        self.add("ONLYX", "XSOLO", 1_000)
        six = ["X00", "X01", "X02", "Y00", "Y01", "Y02"]
        fifteen = [f"{'XY'[number % 2]}{number:02d}" for number in range(15)]
        sixteen = [f"{'XY'[number % 2]}{number:02d}" for number in range(16)]

        self.case("NINE", six, total=9, expected=[])
        self.case("TEN", six, total=10, expected=[six])
        self.case("DAY365", six, days=[0, 1, 2, 3, 4, 365], expected=[six])
        self.case("DAY366", six, days=[0, 1, 2, 3, 4, 366], expected=[])
        self.case("FIVE", six[1:], expected=[])
        self.case("FIFTEEN", fifteen, expected=[fifteen])
        self.case("SIXTEEN", sixteen, expected=[sixteen[:15], sixteen[1:]])
        self.case("TWOY", ["X00", "X01", "X02", "X03", "Y00", "Y01"], expected=[])
        self.case("TWOX", ["Y00", "Y01", "Y02", "Y03", "X00", "X01"], expected=[])
        self.case(
            "TIES",
            ["Y01", "X05", "Y00", "X02", "X09", "Y09"],
            days=[0, 0, 0, 0, 7, 7],
            expected=[["X02", "X05", "Y00", "Y01", "X09", "Y09"]],
        )
        self.case("REPEAT", [*six, "X00"], total=11, expected=[six])
        self.case("COMMON", ["XTEN", *six], expected=[["XTEN", *six]])  # the tenth of XTEN
        self.case("RARE", ["XNINE", *six], expected=[six])  # the ninth of XNINE
        # in both domains only by an item that is too rare
        self.case("THINX", ["XRARE", *(f"Y{number:02d}" for number in range(12))], total=13, expected=[])
        self.case("SOLO", ["XSOLO", *six], expected=[six])  # with ONLYX it has ten, without nine
        self.case("SHARED", ["XBOTH", *six], total=11, expected=[six])
        self.y.append(("SHARED", "XBOTH", (START + 4_000) * DAY))
        years = [[f"{domain}{year}{number}" for domain in "XY" for number in range(3)] for year in range(3)]
        self.case(
            "YEARS",
            [name for year in years for name in year],
            expected=years,
            days=[500 * year + day for year in range(3) for day in range(6)],
        )

    def add(self, user: str, item: str, day: int) -> None:
        (self.x if item[0] == "X" else self.y).append((user, item, (START + day) * DAY))

    def case(
        self, user: str, names: list[str], expected: list[list[str]], days: list[int] | None = None, total: int = 10
    ) -> None:
        """A user with these items, one a day from day 4,000 on, and ``total`` by earlier ones of X alone."""
        for name, day in zip(names, days or range(len(names)), strict=True):
            self.add(user, name, 4_000 + day)
        for number in range(total - len(names)):
            self.add(user, f"X{39 - number}", 3_000)
        self.expected[user] = expected


# ---------------------------------------------------------------------------- raw files in Amazon's formats


def write_raw(
    folder: Path,
    scenario: str,
    interactions: tuple[list[Interaction], list[Interaction]],
    form: tuple[str, str] = ("2014", "ratings"),
    *,
    titles: dict[str, str] | None = None,
    web: str = "http://ecx.images-amazon.com/",
) -> list[Path]:
    """Write the four raw files of a scenario (reviews of X and Y, metadata of X and Y) and return their paths.

    Args:
        interactions: those of X and those of Y.
        form: the release, and which of its files of reviews: ``ratings`` or ``5core``.
        titles: item -> title; an item with a title gets a picture address, too. None: those of all items.
        web: where the pictures of the 2014 release are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (release, reviews), paths = form, []
    for name, rows in zip(NAMES[scenario], interactions, strict=True):
        if release == "2023":
            lines = [
                json.dumps(
                    {
                        "rating": 5.0,
                        "title": "ok",
                        "images": [],
                        "asin": item + "V",
                        "parent_asin": item,
                        "user_id": user,
                        "timestamp": time * 1000 + 7,
                    }
                )
                for user, item, time in rows
            ]
            paths.append(_write(folder / f"{name}.jsonl.gz", lines))
        elif reviews == "5core":
            lines = [
                json.dumps(
                    {
                        "reviewerID": user,
                        "asin": item,
                        "overall": 5.0,
                        "unixReviewTime": time,
                        "reviewText": "naïve, 'quoted'",
                    }
                )
                for user, item, time in rows
            ]
            paths.append(_write(folder / f"reviews_{name}_5.json.gz", lines))
        else:
            paths.append(_write(folder / f"ratings_{name}.csv", [f"{u},{i},5.0,{t}" for u, i, t in rows]))
    for name, rows in zip(NAMES[scenario], interactions, strict=True):
        known = sorted({item for _, item, _ in rows})
        table = {
            item: (titles or {}).get(item, f"Title of {item}") for item in known if titles is None or item in titles
        }
        if release == "2023":
            lines = [
                json.dumps({"parent_asin": item, "title": title, "images": pictures(item)})
                for item, title in table.items()
            ]
            paths.append(_write(folder / f"meta_{name}.jsonl.gz", lines))
        else:
            lines = [
                repr(
                    {
                        "asin": item,
                        "title": title,
                        "imUrl": f"{web}{item}.jpg",
                        "salesRank": {"Books": 12},
                        "categories": [["Books", "It's"]],
                        "price": 9.5,
                    }
                )
                for item, title in table.items()
            ]
            paths.append(_write(folder / f"meta_{name}.json.gz", lines))
    return paths


def pictures(item: str) -> list[dict]:
    """Two pictures of the 2023 release, the main one second and without a high resolution."""
    base = f"https://m.media-amazon.com/images/I/{item}"
    return [
        {"thumb": f"{base}_b_t.jpg", "large": f"{base}_b.jpg", "variant": "PT01", "hi_res": f"{base}_b_h.jpg"},
        {"thumb": f"{base}_t.jpg", "large": f"{base}.jpg", "variant": "MAIN", "hi_res": None},
    ]


def _write(path: Path, lines: list[str]) -> Path:
    text = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return path


# ---------------------------------------------------------------------------- large worlds


def write_sized(folder: Path, ratings: int, seed: int = 0, *, scenario: str = "movie_book") -> list[Path]:
    """Write ``ratings`` ratings (a sixth of them in X) as two CSV files of the 2014 release and return their paths.

    A third of the users are in both domains. How often a user rates and an item is rated has a long tail: the chance of
    rank r falls with its square root (users) and faster (items); half of the users rate three times at most. A user's
    ratings gather around a few days.
    """
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    users, paths = max(6, ratings // 3), []
    for domain, name in enumerate(NAMES[scenario]):
        number = ratings // 6 if domain == 0 else ratings - ratings // 6
        rank = (users * 2 / 3 * random.random(number) ** 2).astype(np.int64)
        # of three users the first is in both domains, the second in X, the third in Y
        user = rank // 2 * 3 + rank % 2 * (1 + domain)
        item = (max(10, number // 10) * random.random(number) ** 3).astype(np.int64)
        visit = user * 7919 % 5_000 + 300 * random.integers(0, 3, number)
        day = visit + (random.exponential(15, number)).astype(np.int64)
        table = pl.DataFrame({"user": user, "item": item, "time": (10_000 + day) * DAY})
        table = table.select(
            user=pl.lit("A") + pl.col("user").cast(pl.String).str.zfill(13),
            item=pl.lit("XY"[domain]) + pl.col("item").cast(pl.String).str.zfill(9),
            rating=pl.lit("5.0"),
            time="time",
        )
        paths.append(folder / f"ratings_{name}.csv")
        table.write_csv(paths[-1], include_header=False)
    return paths
