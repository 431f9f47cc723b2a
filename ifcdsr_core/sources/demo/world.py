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
- ``cross_domain_signal`` (0 to 1) is the chance that a user's wanted value of an attribute (colour, pattern, theme,
  maker) in Y is the one in X; otherwise it is drawn anew. At 0 the history in one domain tells nothing about the other.
- ``missing_pictures`` (0 to 1) is the share of items that have no picture, as for many of Amazon's; behaviour stays.

Validation and test are the latest sequences. Each user has a sequence in each of ``WINDOWS`` periods; of all these
``HELD_OUT``, those that end last, are held out, and the others are the training sequences: none of them ends later than
one held out. So few would make noisy tests; other users, who come late, complete them to ``VALID_CASES`` and
``TEST_CASES`` of each target domain. They have one sequence each, in the last period, which ends when those held out
do: it is like theirs, but its user has none to train on, and no model is told the user. The columns ``liked_*`` of the
sequences hold what the user wants in the target's domain; only ``ceiling``, the best possible answer, may look at them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.files import link_file, new_file
from ifcdsr_core.paths import data_dir
from ifcdsr_core.scenario import DOMAIN_NAMES, SECONDS_A_DAY, Scenario
from ifcdsr_core.settings import check_ranges, setting
from ifcdsr_core.sources.demo.titles import THEMES

VERSION = 2
PICTURES_VERSION = 1  # of catalogue and drawings

POPULARITY, COLOUR, PATTERN, KIND, THEME, MAKER, STAGE = 0.4, 3.5, 3.0, 3.0, 4.0, 3.5, 1.5
NUM_STAGES = 6
LATE_ITEMS = 0.9  # share of the items that come out on a random day; as in Amazon's data, many test items are new
MIN_LENGTH, MAX_LENGTH, MIN_PER_DOMAIN = 6, 15, 3
WINDOWS = 2  # sequences per user
HELD_OUT = 0.36  # share of the sequences, the latest, that are not trained on
VALID_CASES, TEST_CASES = 1_000, 2_000  # of each target domain
FIRST_DAY, YEARS = 1_577_836_800, 4  # 2020-01-01, in unix seconds
AT_A_TIME = 64  # cases that are drawn for at once: their weights stay in the processor's cache


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

    seed: int = setting(0, minimum=0)
    visual_signal: float = setting(1.0, minimum=0, maximum=1)
    text_signal: float = setting(0.625, minimum=0, maximum=1)
    cross_domain_signal: float = setting(1.0, minimum=0, maximum=1)
    missing_pictures: float = setting(0.0, minimum=0, maximum=1)
    makers: int = setting(0, minimum=0, maximum=len(_MAKERS))

    def __post_init__(self) -> None:
        check_ranges(self)


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
    sequences = _behaviour(items, world, dials, stream)
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

    store = data_dir() / "pictures" / f"demo-{scenario}-seed{stream[0]}-{PICTURES_VERSION}"
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


@dataclass(frozen=True)
class Attribute:
    """One attribute of a domain's items, and what it does to a choice.

    Attributes:
        values: (N,) the value of each item, 0 ... size - 1.
        size: number of values, the same in both domains.
        gain: the chance of an item is multiplied by 1 + gain where its value is the wanted one.
    """

    values: np.ndarray
    size: int
    gain: float

    @cached_property
    def factors(self) -> np.ndarray:
        """By the wanted value, what the chance of each item is multiplied by, (size, N)."""
        return 1 + self.gain * (self.values == np.arange(self.size)[:, None])


@dataclass(frozen=True)
class Rules:
    """The rules of one domain of N items.

    Attributes:
        appeal: (N,) what popularity makes of the chance of each item.
        released: (N,) the time from which each is there, unix seconds.
        tastes: attributes of which every user wants one value: ``colour``, ``pattern``, ``theme``, ``maker``.
        courses: attributes of which the value after that of the last item is wanted: ``kind``, ``stage``.
    """

    appeal: np.ndarray
    released: np.ndarray
    tastes: dict[str, Attribute]
    courses: dict[str, Attribute]

    @classmethod
    def of(cls, items: pd.DataFrame, domain: str, dials: Dials) -> Rules:
        """The rules of domain ``x`` or ``y`` of a catalogue."""
        inside = (items["domain"] == domain).to_numpy()

        def attribute(name: str, strength: float, values: pd.Series) -> Attribute:
            coded = values.factorize(sort=True)[0]
            return Attribute(coded[inside[values.index]], int(coded.max()) + 1, float(np.expm1(strength)))

        visual, text = dials.visual_signal, dials.text_signal
        tastes = {"colour": visual * COLOUR, "pattern": visual * PATTERN, "theme": text * THEME, "maker": text * MAKER}
        courses = {"kind": visual * KIND, "stage": STAGE}
        return cls(
            items.loc[inside, "popularity"].to_numpy() ** POPULARITY,
            items.loc[inside, "released"].to_numpy(),
            {name: attribute(name, strength, items[name]) for name, strength in tastes.items() if name in items},
            {name: attribute(name, strength, items.loc[inside, name]) for name, strength in courses.items()},
        )

    def weights(self, available: np.ndarray, wanted: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the chances of the items are proportional to, (B, N), 0 for an item that is not ``available`` (B, N).

        Args:
            wanted: by attribute, the wanted value of each case, (B,); an attribute without one plays no part.
        """
        weights = self.appeal * available
        for name, attribute in (self.tastes | self.courses).items():
            if name in wanted and attribute.gain:
                weights *= attribute.factors[wanted[name]]
        return weights

    def draw(self, available: np.ndarray, wanted: Mapping[str, np.ndarray], chance: np.ndarray) -> np.ndarray:
        """The item that each case buys, (B,), by its number in the domain; ``chance`` (B, 1) is from [0, 1)."""
        drawn = np.empty(len(available), dtype=np.int64)
        for first in range(0, len(drawn), AT_A_TIME):
            rows = slice(first, first + AT_A_TIME)
            part = {name: values[rows] for name, values in wanted.items()}
            cumulated = self.weights(available[rows], part).cumsum(axis=1)
            drawn[rows] = (cumulated > chance[rows] * cumulated[:, -1:]).argmax(axis=1)
        return drawn


@dataclass(frozen=True)
class _Plan:
    """When S sequences buy in which domain, before anything is chosen.

    Attributes:
        user: (S,); length: (S,); in_y: (S, MAX_LENGTH) the domain of each position; times: (S, MAX_LENGTH).
    """

    user: np.ndarray
    length: np.ndarray
    in_y: np.ndarray
    times: np.ndarray

    @classmethod
    def draw(cls, user: np.ndarray, window: np.ndarray, share_y: float, random: np.random.Generator) -> _Plan:
        return cls(user, *_domains_in_order(len(user), share_y, random), _times(window, random))

    def __getitem__(self, rows: np.ndarray) -> _Plan:
        return _Plan(self.user[rows], self.length[rows], self.in_y[rows], self.times[rows])

    def last(self, values: np.ndarray) -> np.ndarray:
        """The value of each sequence at its last position, (S,)."""
        return values[np.arange(len(self.length)), self.length - 1]


def _behaviour(items: pd.DataFrame, world: _World, dials: Dials, stream: list[int]) -> pd.DataFrame:
    """Sequences of all users: those with training sequences, and those who come late."""
    rules = tuple(Rules.of(items, domain, dials) for domain in "xy")
    random, late_random = (np.random.default_rng([*stream, number]) for number in (2, 5))
    user = np.repeat(np.arange(world.num_users), WINDOWS)
    plan = _Plan.draw(user, np.tile(np.arange(WINDOWS), world.num_users), world.share_y, random)
    end = plan.last(plan.times)
    held_out = np.zeros(len(user), dtype=bool)
    held_out[np.argsort(-end, kind="stable")[: round(HELD_OUT * len(user))]] = True
    late = _late(plan[held_out], world, late_random)
    sequences = pd.concat(
        [_sequences(plan, rules, dials, random), _sequences(late, rules, dials, late_random)], ignore_index=True
    )
    sequences.insert(1, "split", _split(np.append(held_out, np.ones(len(late.user), bool)), sequences, late_random))
    return sequences


def _late(held_out: _Plan, world: _World, random: np.random.Generator) -> _Plan:
    """Plans of users who come late: as many as complete the test and validation cases of each domain."""
    count = 8 * (VALID_CASES + TEST_CASES)  # more than are needed; plans are cheap
    plan = _Plan.draw(np.arange(count), np.full(count, WINDOWS - 1), world.share_y, random)
    in_time = plan.last(plan.times) >= held_out.last(held_out.times).min()
    wanted = VALID_CASES + TEST_CASES - np.bincount(held_out.last(held_out.in_y), minlength=2)
    domain = plan.last(plan.in_y)
    rows = [np.flatnonzero(in_time & (domain == code))[: wanted[code]] for code in (0, 1)]
    chosen = plan[np.sort(np.concatenate(rows))]
    return replace(chosen, user=world.num_users + np.arange(len(chosen.user)))


def _split(held_out: np.ndarray, sequences: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """The split of each sequence, (S,): those held out are dealt out at random within each target domain."""
    split = np.where(held_out, "test", "train").astype(object)
    for domain in "xy":
        rows = random.permutation(np.flatnonzero(held_out & (sequences["target_domain"] == domain)))
        split[rows[:VALID_CASES]] = "valid"
    return split


def _sequences(plan: _Plan, rules: tuple[Rules, Rules], dials: Dials, random: np.random.Generator) -> pd.DataFrame:
    """The choices of all sequences of a plan, one step at a time: step t draws the t-th item of all at once."""
    users, user = np.unique(plan.user, return_inverse=True)
    tastes = rules[0].tastes
    likes = {  # each from a stream of its own, so that makers change nothing else
        name: _preferences(len(users), taste.size, dials.cross_domain_signal, own)[user]
        for (name, taste), own in zip(tastes.items(), random.spawn(len(tastes)), strict=True)
    }  # (S, 2) per attribute
    last = {
        name: random.integers(course.size, size=(len(user), 2)) for name, course in rules[0].courses.items()
    }  # before the first item
    num_items = [len(of_domain.appeal) for of_domain in rules]
    chosen = np.zeros((len(user), MAX_LENGTH), dtype=np.int64)
    available = [of_domain.released <= plan.times[:, :1] for of_domain in rules]  # (S, N), without those chosen before
    for step in range(MAX_LENGTH):
        for domain, of_domain in enumerate(rules):
            rows = np.flatnonzero((plan.length > step) & (plan.in_y[:, step] == domain))
            wanted = {name: liked[rows, domain] for name, liked in likes.items()}
            for name, course in of_domain.courses.items():
                wanted[name] = (last[name][rows, domain] + 1) % course.size
            drawn = of_domain.draw(available[domain][rows], wanted, random.random((len(rows), 1)))
            chosen[rows, step] = 1 + drawn + domain * num_items[0]
            available[domain][rows, drawn] = False
            for name, course in of_domain.courses.items():
                last[name][rows, domain] = course.values[drawn]
    target_domain = plan.last(plan.in_y)
    liked = {f"liked_{name}": values[np.arange(len(user)), target_domain] for name, values in likes.items()}
    return pd.DataFrame(
        {
            "user": [f"u{number:04d}" for number in plan.user],
            "target_domain": np.where(target_domain == 0, "x", "y"),
            "items": [row[:n].astype(np.int32) for row, n in zip(chosen, plan.length, strict=True)],
            "timestamps": [row[:n] for row, n in zip(plan.times, plan.length, strict=True)],
            **liked,
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


def _times(window: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Unix seconds with the resolution of a day, as in Amazon's data; windows (S,) lie in separate periods."""
    period = YEARS * 365 // WINDOWS
    start = window * period + random.integers(period - 90, size=len(window))
    gaps = random.integers(0, 6, size=(len(window), MAX_LENGTH))
    gaps[:, 0] = 0
    return FIRST_DAY + SECONDS_A_DAY * (start[:, None] + gaps.cumsum(axis=1))
