"""The demo: a planted world whose rules are known, so that the book has positive and negative controls.

Every item has a look (kind, colour, pattern), which its picture shows; a theme, which its title names; and a stage,
which nothing shows. A user has a visual taste (a colour and a pattern) and a theme per domain. In each domain kinds and
stages follow one another in a cycle. Some items are there from the first day, the others come over the years. The
chance of item j as the next item of its domain, among those out and not yet in the sequence, is proportional to

    popularity_j ** POPULARITY
    * exp(visual_signal * (COLOUR [colour_j is the user's] + PATTERN [pattern_j is the user's]
                           + KIND [kind_j follows the kind of the user's last item of that domain]))
    * exp(text_signal * (THEME [theme_j is the user's] + MAKER [maker_j is the user's]))
    * exp(STAGE [stage_j follows the stage of the user's last item of that domain])

- ``visual_signal`` (0 to 1) scales what pictures explain. At 0 behaviour does not depend on anything a picture shows,
  so image fusion must not help.
- ``text_signal`` (0 to 1) scales what titles alone explain, theme and maker. At 0 these play no part. Titles name the
  kind, too, which pictures show: where titles are to explain nothing at all, ``visual_signal`` has to be 0 as well.
- ``makers`` (0 to 24) is the number of makers, whom titles name. A dozen themes hardly tell an item from others; with
  makers titles tell as much as pictures do. By default there are none.
- ``cross_domain_signal`` (0 to 1) is the share of users whose taste and theme in Y are those they have in X; the others
  draw both anew. At 0 the history in one domain tells nothing about the other.
- ``missing_pictures`` (0 to 1) is the share of items that have no picture, as for many of Amazon's; behaviour stays.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, require
from ifcdsr_core.files import link_file, new_file
from ifcdsr_core.paths import data_dir
from ifcdsr_core.scenario import DOMAIN_NAMES, SECONDS_A_DAY, Scenario
from ifcdsr_core.sources.demo.titles import THEMES

VERSION = 1

POPULARITY, COLOUR, PATTERN, KIND, THEME, MAKER, STAGE = 0.4, 3.5, 3.0, 3.0, 4.0, 3.5, 1.5
NUM_STAGES = 6
LATE_ITEMS = 0.9  # share of the items that come out on a random day; as in Amazon's data, many test items are new
MIN_LENGTH, MAX_LENGTH, MIN_PER_DOMAIN = 6, 15, 3
WINDOWS = 2  # sequences per user
HELD_OUT = 0.36  # share of the sequences, the latest, halved into validation and test
FIRST_DAY, YEARS = 1_577_836_800, 4  # 2020-01-01, in unix seconds


@dataclass(frozen=True)
class _World:
    """Sizes of one scenario: items of X and Y, users, share of Y in behaviour, themes."""

    num_items: tuple[int, int]
    num_users: int
    share_y: float
    themes: tuple[str, ...]


_WORLDS = {
    "food_kitchen": _World((1_040, 1_420), 1_800, 0.60, tuple(THEMES)[:12]),
    "movie_book": _World((1_010, 1_480), 1_900, 0.65, tuple(THEMES)[12:]),
}
SCENARIOS = tuple(_WORLDS)
_MAKERS = (
    "Alderby Bruntwell Calvary Dorsten Elmroth Fenwick Gillespie Hartnell Ibsley Jorvik Kestrel Lindqvist "
    "Marchetti Norwood Osterman Pemberton Quillan Rossmore Sandoval Tremaine Ulvaeus Vandermeer Whitlock Yarrow"
).split()


@dataclass(frozen=True)
class Dials:
    """The options of the demo.

    Raises:
        InputError: a value out of its range.
    """

    seed: int = 0
    visual_signal: float = 1.0
    text_signal: float = 0.375
    cross_domain_signal: float = 1.0
    missing_pictures: float = 0.0
    makers: int = 0

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        shares = ("visual_signal", "text_signal", "cross_domain_signal", "missing_pictures")
        for name, most in {**dict.fromkeys(shares, 1), "makers": len(_MAKERS)}.items():
            if not 0 <= getattr(self, name) <= most:
                raise InputError(f"{name} is {getattr(self, name)}: it must lie between 0 and {most}")


OPTIONS = asdict(Dials())
ENCODER = "small_clip"  # of its pictures, which it was trained for


def build(scenario: str, folder: Path, **options) -> Scenario:
    """Generate the scenario and draw its pictures into ``folder/images``. Same arguments, same files.

    Args:
        options: the fields of ``Dials``.
    """
    dials = Dials(**options)
    world = _WORLDS[scenario]
    stream = [dials.seed, SCENARIOS.index(scenario)]  # names the random streams, which do not depend on the dials
    items = _catalogue(scenario, world, np.random.default_rng([*stream, 0]))
    if dials.makers:
        items["maker"] = np.random.default_rng([*stream, 4]).choice(_MAKERS[: dials.makers], len(items))
        items["title"] = items["maker"] + " " + items["title"]
    lost = np.random.default_rng([*stream, 3]).random(len(items)) < dials.missing_pictures
    items.loc[lost, "image"] = None
    _draw_pictures(items, scenario, folder, stream)
    sequences = _behaviour(items, world, np.random.default_rng([*stream, 2]), dials)
    return Scenario(scenario, "demo", items, sequences, {"generated": True})


def _catalogue(scenario: str, world: _World, random: np.random.Generator) -> pd.DataFrame:
    """Items with independent looks, themes, stages and popularity."""
    from ifcdsr_core.sources.demo.drawings import COLOURS, KINDS, PATTERNS

    parts = []
    for domain, domain_name, count in zip("xy", DOMAIN_NAMES[scenario], world.num_items, strict=True):
        theme, kind = random.choice(world.themes, count), random.choice(KINDS[domain_name], count)
        parts.append(
            pd.DataFrame(
                {
                    "domain": domain,
                    "source_id": [f"demo-{domain_name.lower()}-{number:04d}" for number in range(1, count + 1)],
                    "title": [
                        f"{t} {k}, no. {n}" for t, k, n in zip(theme, kind, random.permutation(count) + 1, strict=True)
                    ],
                    "kind": kind,
                    "colour": random.choice(list(COLOURS), count),
                    "pattern": random.choice(PATTERNS, count),
                    "theme": theme,
                    "stage": random.integers(NUM_STAGES, size=count),
                    "released": FIRST_DAY
                    + SECONDS_A_DAY * (random.integers(YEARS * 365, size=count) * (random.random(count) < LATE_ITEMS)),
                    "popularity": 1.0 / (1.0 + random.permutation(count)),
                }
            )
        )
    items = pd.concat(parts, ignore_index=True)
    items.insert(0, "item", np.arange(1, len(items) + 1, dtype=np.int32))
    items["image"] = [f"images/{item:05d}.png" for item in items["item"]]
    return items


def _draw_pictures(items: pd.DataFrame, scenario: str, folder: Path, stream: list[int]) -> None:
    """Put the pictures of ``items`` into ``folder/images``.

    They are drawn once for a catalogue, in ``data/pictures``: worlds that differ in their dials alone share them.
    """
    from ifcdsr_core.sources.demo.drawings import Look, draw

    store = data_dir() / "pictures" / f"demo-{scenario}-seed{stream[0]}-{VERSION}"
    names = dict(zip("xy", DOMAIN_NAMES[scenario], strict=True))
    for row in items.itertuples():
        path = store / f"{row.item:05d}.png"
        if not path.is_file() or not path.stat().st_size:  # a crash of the machine may leave it empty
            look = Look(names[row.domain], row.kind, row.colour, row.pattern)
            with new_file(path) as staging:
                draw(look, np.random.default_rng([*stream, 1, row.item])).save(staging, format="PNG")
    (folder / "images").mkdir()
    for image in items["image"].dropna():
        link_file(store / Path(image).name, folder / image)


def _behaviour(items: pd.DataFrame, world: _World, random: np.random.Generator, dials: Dials) -> pd.DataFrame:
    """Sequences, all of them one step at a time: step t draws the t-th item of every sequence at once."""
    user = np.repeat(np.arange(world.num_users), WINDOWS)  # (S,) user of each sequence
    length, in_y = _domains_in_order(len(user), world.share_y, random)
    attributes = {name: items[name].factorize(sort=True)[0] for name in ("colour", "pattern", "theme")}
    likes = {
        name: _preferences(world.num_users, values.max() + 1, dials.cross_domain_signal, random)
        for name, values in attributes.items()
    }  # (U, 2) per attribute
    weight = {
        "colour": dials.visual_signal * COLOUR,
        "pattern": dials.visual_signal * PATTERN,
        "theme": dials.text_signal * THEME,
    }
    if "maker" in items:  # last, and from a stream of its own, so that nothing else changes
        attributes["maker"], weight["maker"] = items["maker"].factorize(sort=True)[0], dials.text_signal * MAKER
        likes["maker"] = _preferences(
            world.num_users,
            attributes["maker"].max() + 1,
            dials.cross_domain_signal,
            np.random.default_rng([world.num_users, len(items)]),
        )
    base = POPULARITY * np.log(items["popularity"].to_numpy())
    courses = [(dials.visual_signal * KIND, items["kind"]), (STAGE, items["stage"])]
    courses = [
        (strength, values.groupby(items["domain"]).transform(lambda v: v.factorize(sort=True)[0]).to_numpy())
        for strength, values in courses
    ]

    times, released = _times(len(user), random), items["released"].to_numpy()
    chosen = np.zeros((len(user), MAX_LENGTH), dtype=np.int64)
    last = [random.integers(values.max() + 1, size=(len(user), 2)) for _, values in courses]  # before the first item
    offsets = (0, world.num_items[0])
    for step in range(MAX_LENGTH):
        for domain in (0, 1):
            rows = np.flatnonzero((length > step) & (in_y[:, step] == domain))
            span = slice(offsets[domain], offsets[domain] + world.num_items[domain])
            utility = np.broadcast_to(base[span], (len(rows), world.num_items[domain])).copy()
            for name, values in attributes.items():
                utility += weight[name] * (values[span] == likes[name][user[rows], domain, None])
            for (strength, values), before in zip(courses, last, strict=True):
                cycle = values[span].max() + 1
                utility += strength * (values[span] == (before[rows, domain, None] + 1) % cycle)
            utility[released[span] > times[rows, :1]] = -np.inf
            utility += random.gumbel(size=utility.shape)  # the largest of utility + Gumbel is a softmax draw
            for earlier in range(step):  # no item twice
                seen = chosen[rows, earlier] - 1 - offsets[domain]
                inside = (seen >= 0) & (seen < world.num_items[domain])
                utility[np.flatnonzero(inside), seen[inside]] = -np.inf
            drawn = utility.argmax(axis=1) + offsets[domain]
            chosen[rows, step] = drawn + 1
            for (_, values), before in zip(courses, last, strict=True):
                before[rows, domain] = values[drawn]

    end = times[np.arange(len(user)), length - 1]
    target = chosen[np.arange(len(user)), length - 1]
    held_out = np.argsort(-end, kind="stable")[: round(HELD_OUT * len(user))]
    split = np.full(len(user), "train", dtype=object)
    split[held_out] = np.where(random.permutation(len(held_out)) % 2 == 0, "valid", "test")
    return pd.DataFrame(
        {
            "user": [f"u{number:04d}" for number in user],
            "split": split,
            "target_domain": np.where(target <= world.num_items[0], "x", "y"),
            "items": [row[:n].astype(np.int32) for row, n in zip(chosen, length, strict=True)],
            "timestamps": [row[:n] for row, n in zip(times, length, strict=True)],
        }
    )


def _domains_in_order(count: int, share_y: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (S,) and the domain of each position (S, MAX_LENGTH), with at least MIN_PER_DOMAIN of each."""
    length = random.integers(MIN_LENGTH, MAX_LENGTH + 1, size=count)
    number_y = np.clip(random.binomial(length, share_y), MIN_PER_DOMAIN, length - MIN_PER_DOMAIN)
    keys = random.random((count, MAX_LENGTH))
    keys[np.arange(MAX_LENGTH) >= length[:, None]] = 2.0
    return length, (keys.argsort(axis=1).argsort(axis=1) < number_y[:, None]).astype(np.int64)


def _preferences(num_users: int, choices: int, cross_domain_signal: float, random: np.random.Generator) -> np.ndarray:
    """A liked value per user and domain, (U, 2); with chance cross_domain_signal the same in both."""
    liked = random.integers(choices, size=(num_users, 2))
    carries = random.random(num_users) < cross_domain_signal
    liked[carries, 1] = liked[carries, 0]
    return liked


def _times(count: int, random: np.random.Generator) -> np.ndarray:
    """Unix seconds with the resolution of a day, as in Amazon's data; a user's windows lie in separate periods."""
    period = YEARS * 365 // WINDOWS
    window = np.tile(np.arange(WINDOWS), count // WINDOWS)
    start = window * period + random.integers(period - 90, size=count)
    gaps = random.integers(0, 6, size=(count, MAX_LENGTH))
    gaps[:, 0] = 0
    return FIRST_DAY + SECONDS_A_DAY * (start[:, None] + gaps.cumsum(axis=1))
