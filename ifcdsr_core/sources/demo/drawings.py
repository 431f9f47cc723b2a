"""The demo's item pictures: flat little illustrations of things whose look (kind, colour, pattern) is known.

A picture is a stack of layers on a soft background. A layer is a polygon in the object's own frame (x to the right, y
down, the object within about -1 to 1) and a paint: ``skin`` is the look's colour with its pattern in cream, the other
paints are fixed or shades of the colour. Everything is drawn at three times the size and then reduced, to be smooth.
What a look leaves open (place, size, tilt, background, pitch and phase of the pattern) comes from a random generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

COLOURS = {
    "red": (211, 53, 59),
    "orange": (240, 128, 42),
    "yellow": (243, 190, 38),
    "green": (76, 153, 84),
    "turquoise": (44, 181, 178),
    "blue": (49, 92, 184),
    "purple": (126, 78, 165),
    "pink": (238, 124, 165),
    "brown": (130, 84, 54),
    "black": (56, 60, 72),
}
PATTERNS = ("plain", "stripes", "dots", "checks", "zigzag", "diamonds")
KINDS = {
    "Food": ("jam jar", "tea tin", "chocolate bar", "bottle", "cupcake", "bonbon", "cookie", "ice cream"),
    "Kitchen": ("mug", "plate", "teapot", "pan", "apron", "pitcher", "bowl", "mitten"),
    "Movie": (
        "rocket poster",
        "mountain poster",
        "reel poster",
        "skyline poster",
        "mask poster",
        "ship poster",
        "ghost poster",
        "palm poster",
    ),
    "Book": (
        "star novel",
        "moon novel",
        "heart novel",
        "tree novel",
        "book stack",
        "book row",
        "notebook",
        "open book",
    ),
}

_SUPERSAMPLE = 3
_UNIT = 0.46  # one unit of the object's frame, as a share of the picture's side
_CREAM, _INK = (255, 250, 238), (52, 48, 66)
_FIXED_PAINTS = {
    "cream": _CREAM,
    "ink": _INK,
    "wood": (211, 164, 110),
    "cocoa": (92, 58, 42),
    "cocoa_light": (128, 84, 58),
    "steel": (176, 184, 196),
    "flame": (250, 204, 112),
}
_BACKGROUNDS = ((244, 236, 224), (226, 234, 240), (238, 228, 233), (228, 237, 228), (236, 234, 242), (246, 239, 218))


@dataclass(frozen=True)
class Look:
    """What a picture shows: a kind of its domain (``KINDS``), a colour (``COLOURS``) and a pattern (``PATTERNS``)."""

    domain_name: str
    kind: str
    colour: str
    pattern: str


def all_looks(domain_name: str) -> list[Look]:
    """Every look of a domain, kinds slowest, patterns fastest."""
    return [
        Look(domain_name, kind, colour, pattern)
        for kind in KINDS[domain_name]
        for colour in COLOURS
        for pattern in PATTERNS
    ]


def draw(look: Look, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """Draw a look.

    Args:
        look: what to draw.
        rng: decides what the look leaves open; the same state gives the same picture.
        size: side in pixels.

    Returns:
        RGB image of ``size`` x ``size``.
    """
    side = size * _SUPERSAMPLE
    centre = side * (0.5 + rng.uniform(-0.035, 0.035, 2))
    unit, tilt = side * _UNIT * rng.uniform(0.90, 1.04), rng.uniform(-0.14, 0.14)
    frame = unit * np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])  # row vectors times frame
    layers = [
        ([tuple(point) for point in (points @ frame + centre).tolist()], paint) for points, paint in _layers(look.kind)
    ]
    outline = Image.new("L", (side, side))
    pen = ImageDraw.Draw(outline)
    for polygon, _ in layers:
        pen.polygon(polygon, fill=255)

    picture = _background(outline, rng)
    skin = _skin(look, frame, centre, side, rng)
    colour = COLOURS[look.colour]
    paints = {
        **_FIXED_PAINTS,
        "colour": colour,
        "shade": _mix(colour, _INK, 0.45),
        "deep": _mix(colour, _INK, 0.70),
        "tint": _mix(colour, _CREAM, 0.55),
    }
    pen = ImageDraw.Draw(picture)
    for polygon, paint in layers:
        if paint == "skin":
            mask = Image.new("L", (side, side))
            ImageDraw.Draw(mask).polygon(polygon, fill=255)
            picture.paste(skin, mask=mask)
            pen.line([*polygon, polygon[0]], fill=paints["shade"], width=max(1, side // 90))  # where cream meets cream
        else:
            pen.polygon(polygon, fill=paints[paint])
    return _light(picture, outline).reduce(_SUPERSAMPLE)


def caption(look: Look, rng: np.random.Generator) -> str:
    """A sentence a seller might put under the picture, such as "a red mug with white dots"."""
    adjective, phrase = _PATTERN_WORDS[look.pattern][rng.integers(len(_PATTERN_WORDS[look.pattern]))]
    template = _CAPTIONS[rng.integers(len(_CAPTIONS))]
    text = template.format(
        colour=look.colour, kind=look.kind, adjective=adjective, phrase=phrase, domain=look.domain_name.lower()
    )
    return text.replace("a orange", "an orange")


_CAPTIONS = (
    "a {colour} {kind} {phrase}",
    "{adjective} {colour} {kind}",
    "{colour} {kind} {phrase}",
    "a {adjective} {kind} in {colour}",
    "{adjective} {colour} {kind}, {domain}",
    "picture of a {colour} {kind} {phrase}",
    "{kind}, {colour}, {adjective}",
    "the {kind} is {colour} and {adjective}",
    "{domain}: {colour} {kind} {phrase}",
)
_PATTERN_WORDS = {  # (adjective, phrase)
    "plain": (("plain", "without a pattern"), ("plain", "in one plain colour")),
    "stripes": (("striped", "with white stripes"), ("striped", "with stripes")),
    "dots": (("dotted", "with white dots"), ("dotted", "with dots"), ("spotted", "with spots")),
    "checks": (("checked", "with white checks"), ("checked", "with a check pattern")),
    "zigzag": (("zigzag", "with white zigzag lines"), ("zigzag", "with a zigzag")),
    "diamonds": (("diamond-patterned", "with white diamonds"), ("diamond-patterned", "with diamonds")),
}

# --- surface: background, pattern, light ------------------------------------------------------------------------------


def _background(outline: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A soft shade with a paler disc, and the object's blurred shadow on it."""
    side = outline.width
    shade = np.array(_BACKGROUNDS[rng.integers(len(_BACKGROUNDS))]) + rng.integers(-5, 6)
    picture = Image.new("RGB", (side, side), _rgb(shade))
    x, y = side * (0.5 + rng.uniform(-0.04, 0.04, 2))
    radius = side * rng.uniform(0.44, 0.48)
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=_mix(shade, _CREAM, 0.55))
    small = outline.reduce(_SUPERSAMPLE).filter(ImageFilter.BoxBlur(side / 160))  # blurring the small one is as soft
    shadow = _moved(small, round(small.width / 40), round(small.width / 20)).point(lambda v: v * 0.5)
    picture.paste(_mix(shade, _INK, 0.55), mask=shadow.resize((side, side), Image.BILINEAR))
    return picture


def _skin(look: Look, frame: np.ndarray, centre: np.ndarray, side: int, rng: np.random.Generator) -> Image.Image:
    """The look's colour all over, with its pattern in cream in the object's frame."""
    colour = Image.new("RGB", (side, side), COLOURS[look.colour])
    pitch, phase, turn = rng.uniform(0.30, 0.38), rng.uniform(0, 1, 2), rng.integers(4)
    if look.pattern == "plain":
        return colour
    across = np.arange(side, dtype=np.float32)
    inverse = (np.linalg.inv(frame) / pitch).astype(np.float32)
    x, y = across - np.float32(centre[0]), (across - np.float32(centre[1]))[:, None]
    u = x * inverse[0, 0] + y * inverse[1, 0] + np.float32(phase[0])  # (side, side), in pitches
    v = x * inverse[0, 1] + y * inverse[1, 1] + np.float32(phase[1])
    mask = Image.fromarray(_PATTERN_MASKS[look.pattern](u, v, turn).astype(np.uint8) * 255)
    colour.paste(_CREAM, mask=mask)
    return colour


def _stripes(u: np.ndarray, v: np.ndarray, turn: int) -> np.ndarray:
    across = (u, v, (u + v) * 0.7071, (u - v) * 0.7071)[turn]
    return _saw(across * 1.1) < 0.42


def _dots(u: np.ndarray, v: np.ndarray, turn: int) -> np.ndarray:
    du, dv = _staggered(u, v)
    return du * du + dv * dv < 0.30**2


def _checks(u: np.ndarray, v: np.ndarray, turn: int) -> np.ndarray:
    return (np.floor(u * 1.45) + np.floor(v * 1.45)) % 2 == 0


def _zigzag(u: np.ndarray, v: np.ndarray, turn: int) -> np.ndarray:
    return _saw(v * 1.1 + np.abs(_saw(u) - 0.5) * 1.3) < 0.42


def _diamonds(u: np.ndarray, v: np.ndarray, turn: int) -> np.ndarray:
    du, dv = _staggered(u * 0.95, v * 0.62)
    return np.abs(du) + np.abs(dv) < 0.40


def _saw(values: np.ndarray) -> np.ndarray:
    return values - np.floor(values)


def _staggered(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from the nearest point of a lattice whose every second column is half a step lower."""
    column = np.floor(u)
    return u - column - 0.5, _saw(v + 0.5 * (column % 2)) - 0.5


_PATTERN_MASKS: dict[str, Callable] = {
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "zigzag": _zigzag,
    "diamonds": _diamonds,
}


def _light(picture: Image.Image, outline: Image.Image) -> Image.Image:
    """Light from the upper left: a bright rim there and a dark one at the lower right."""
    step = outline.width // 42
    dark = ImageChops.subtract(outline, _moved(outline, -2 * step, -step))
    bright = ImageChops.subtract(outline, _moved(outline, step, step // 2 + 1))
    picture.paste(_INK, mask=dark.point(lambda v: v * 0.20))
    picture.paste((255, 255, 255), mask=bright.point(lambda v: v * 0.28))
    return picture


def _moved(mask: Image.Image, right: int, down: int) -> Image.Image:
    return mask.crop((-right, -down, mask.width - right, mask.height - down))


def _mix(colour, other, share: float) -> tuple[int, int, int]:
    return _rgb((1 - share) * np.asarray(colour) + share * np.asarray(other))


def _rgb(values) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.round(values), 0, 255).astype(int).tolist()
    return red, green, blue


# --- geometry: polygons in the object's frame -------------------------------------------------------------------------


def _ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> np.ndarray:
    """Points of an ellipse, or of the arc from start to end (degrees, clockwise from the right)."""
    angle = np.radians(np.linspace(start, end, 40))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _ring(x: float, y: float, rx: float, ry: float, width: float, *arc: float) -> np.ndarray:
    """A ring, or the arc of it from start to end."""
    return np.concatenate([_ellipse(x, y, rx, ry, *arc), _ellipse(x, y, rx - width, ry - width, *arc)[::-1]])


def _box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> np.ndarray:
    """A rectangle with rounded corners."""
    corners = ((x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180), (x1 - r, y0 + r, 270))
    return np.concatenate([_ellipse(x, y, r, r, a, a + 90)[::6] for x, y, a in corners])


def _smooth(*points: tuple[float, float]) -> np.ndarray:
    """A closed Catmull-Rom curve through the points."""
    p = np.array(points, dtype=float)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * p
        + (after - before) * t
        + (2 * before - 5 * p + 4 * after - beyond) * t**2
        + (3 * p - before - 3 * after + beyond) * t**3
    )  # (8, points, 2)
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def _mirrored(*right: tuple[float, float]) -> list[tuple[float, float]]:
    """The right half of an outline, from top to bottom, completed by its mirror image."""
    return [*right, *[(-x, y) for x, y in reversed(right)]]


def _star(x: float, y: float, radius: float) -> np.ndarray:
    angle = np.radians(np.arange(10) * 36 - 90)
    reach = np.where(np.arange(10) % 2, 0.45, 1.0) * radius
    return np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)


# --- Food -------------------------------------------------------------------------------------------------------------


def _jam_jar():
    return [
        (
            _smooth(*_mirrored((0.42, -0.50), (0.58, -0.36), (0.60, 0.0), (0.60, 0.62), (0.46, 0.80), (0.2, 0.82))),
            "skin",
        ),
        (_box(-0.50, -0.80, 0.50, -0.50, 0.07), "cream"),
        (_box(-0.50, -0.62, 0.50, -0.56), "shade"),
        (_box(-0.50, -0.50, 0.50, -0.44), "deep"),
    ]


def _tea_tin():
    return [
        (_box(-0.58, -0.52, 0.58, 0.84, 0.08), "skin"),
        (_box(-0.64, -0.66, 0.64, -0.40, 0.06), "shade"),
        (_box(-0.20, -0.84, 0.20, -0.66, 0.08), "shade"),
        (_box(-0.64, -0.44, 0.64, -0.40), "deep"),
        (_box(-0.31, 0.0, 0.31, 0.46, 0.06), "shade"),
        (_box(-0.25, 0.06, 0.25, 0.40, 0.04), "cream"),
        (_smooth((-0.14, 0.32), (-0.09, 0.15), (0.13, 0.13), (0.09, 0.30)), "shade"),
    ]


def _chocolate_bar():
    squares = [
        (_box(x, y, x + 0.33, y + 0.22, 0.04), "cocoa_light") for x in (-0.52, -0.165, 0.19) for y in (-0.90, -0.65)
    ]
    return [
        (_box(-0.56, -0.94, 0.56, 0.0, 0.04), "cocoa"),
        *squares,
        (_box(-0.60, -0.42, 0.60, 0.92, 0.03), "skin"),
        (_box(-0.60, -0.42, 0.60, -0.34), "shade"),
        (_box(-0.60, 0.56, 0.60, 0.74), "deep"),
    ]


def _bottle():
    body = _smooth(
        *_mirrored((0.17, -0.72), (0.17, -0.38), (0.40, -0.12), (0.44, 0.10), (0.44, 0.72), (0.36, 0.90), (0.14, 0.93))
    )
    return [(body, "skin"), (_box(-0.21, -0.96, 0.21, -0.72, 0.05), "wood"), (_box(-0.18, -0.72, 0.18, -0.64), "deep")]


def _cupcake():
    return [
        (
            _smooth(
                (-0.66, 0.06),
                (-0.74, -0.20),
                (-0.50, -0.36),
                (-0.42, -0.62),
                (-0.14, -0.70),
                (0.0, -0.84),
                (0.14, -0.70),
                (0.42, -0.62),
                (0.50, -0.36),
                (0.74, -0.20),
                (0.66, 0.06),
            ),
            "cream",
        ),
        (_box(-0.44, -0.38, 0.40, -0.32, 0.03), "tint"),
        (_box(-0.30, -0.66, 0.24, -0.61, 0.02), "tint"),
        (_ellipse(0, -0.84, 0.14, 0.14), "colour"),
        ([(-0.66, -0.04), (0.66, -0.04), (0.46, 0.86), (-0.46, 0.86)], "skin"),
        (_box(-0.68, -0.10, 0.68, 0.0, 0.05), "shade"),
    ]


def _bonbon():
    wing = np.array(
        [(0.44, -0.06), (0.96, -0.42), (0.86, -0.14), (0.98, 0.02), (0.86, 0.16), (0.96, 0.42), (0.44, 0.06)]
    )
    return [
        (wing, "shade"),
        (wing * (-1, 1), "shade"),
        (_ellipse(0, 0, 0.62, 0.56), "skin"),
        (_box(0.52, -0.16, 0.60, 0.16, 0.03), "deep"),
        (_box(-0.60, -0.16, -0.52, 0.16, 0.03), "deep"),
    ]


def _cookie():
    angle = np.radians(np.arange(0, 360, 3))
    rim = (0.84 + 0.035 * np.cos(14 * angle))[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return [(rim, "wood"), (_ellipse(0, 0, 0.68, 0.68), "skin")]


def _ice_cream():
    return [
        ([(-0.46, 0.04), (0.46, 0.04), (0.0, 0.98)], "wood"),
        ([(-0.29, 0.40), (0.10, 0.76), (0.06, 0.84), (-0.24, 0.50)], "cocoa_light"),
        ([(0.29, 0.40), (-0.10, 0.76), (-0.06, 0.84), (0.24, 0.50)], "cocoa_light"),
        (
            _smooth(
                (-0.58, 0.06),
                (-0.66, -0.24),
                (-0.48, -0.66),
                (0.0, -0.86),
                (0.48, -0.66),
                (0.66, -0.24),
                (0.58, 0.06),
                (0.38, 0.20),
                (0.20, 0.06),
                (0.0, 0.22),
                (-0.20, 0.06),
                (-0.38, 0.20),
            ),
            "skin",
        ),
        (_ellipse(0.0, -0.88, 0.11, 0.11), "shade"),
    ]


# --- Kitchen ----------------------------------------------------------------------------------------------------------


def _mug():
    return [
        (_ring(0.46, 0.04, 0.42, 0.40, 0.14, -100, 100), "shade"),
        (_box(-0.68, -0.66, 0.48, 0.74, 0.16), "skin"),
        (_ellipse(-0.10, -0.64, 0.58, 0.13), "shade"),
        (_ellipse(-0.10, -0.62, 0.48, 0.08), "deep"),
    ]


def _plate():
    return [
        (_ellipse(0, 0, 0.90, 0.90), "skin"),
        (_ellipse(0, 0, 0.50, 0.50), "shade"),
        (_ellipse(0.02, 0.02, 0.46, 0.46), "cream"),
        (_ring(0, 0, 0.90, 0.90, 0.05), "shade"),
    ]


def _teapot():
    return [
        (_ring(0.56, 0.10, 0.38, 0.38, 0.12, -110, 110), "shade"),
        (_smooth((-0.50, 0.30), (-0.78, 0.02), (-0.96, -0.34), (-0.80, -0.38), (-0.66, -0.10), (-0.40, 0.0)), "shade"),
        (
            _smooth(*_mirrored((0.30, -0.44), (0.56, -0.22), (0.66, 0.14), (0.54, 0.52), (0.30, 0.68), (0.1, 0.70))),
            "skin",
        ),
        (_box(-0.30, 0.64, 0.30, 0.76, 0.04), "shade"),
        (_ellipse(0, -0.42, 0.38, 0.17), "shade"),
        (_ellipse(0, -0.64, 0.11, 0.11), "deep"),
    ]


def _pan():
    return [
        (_box(0.30, -0.10, 0.98, 0.10, 0.09), "wood"),
        (_box(0.22, -0.07, 0.50, 0.07), "ink"),
        (_ellipse(-0.28, 0, 0.68, 0.68), "ink"),
        (_ellipse(-0.28, 0, 0.58, 0.58), "skin"),
        (_ellipse(0.86, 0, 0.045, 0.045), "cream"),
    ]


def _apron():
    return [
        (_ring(0, -0.66, 0.30, 0.30, 0.07, 180, 360), "shade"),
        (
            [
                (-0.32, -0.66),
                (0.32, -0.66),
                (0.40, -0.14),
                (0.66, -0.04),
                (0.66, 0.90),
                (-0.66, 0.90),
                (-0.66, -0.04),
                (-0.40, -0.14),
            ],
            "skin",
        ),
        (_box(-0.84, -0.06, -0.64, 0.02), "shade"),
        (_box(0.64, -0.06, 0.84, 0.02), "shade"),
        (_box(-0.32, -0.68, 0.32, -0.58), "shade"),
        (_box(-0.32, 0.22, 0.32, 0.60, 0.06), "shade"),
        (_box(-0.32, 0.22, 0.32, 0.29), "cream"),
        (_box(-0.66, 0.84, 0.66, 0.90), "shade"),
    ]


def _pitcher():
    return [
        (_ring(0.36, -0.10, 0.44, 0.50, 0.12, -95, 110), "shade"),
        (
            _smooth(
                (-0.30, -0.84),
                (-0.62, -0.88),
                (-0.40, -0.60),
                (-0.36, -0.36),
                (-0.58, 0.10),
                (-0.60, 0.50),
                (-0.42, 0.84),
                (0.0, 0.88),
                (0.42, 0.84),
                (0.60, 0.50),
                (0.58, 0.10),
                (0.36, -0.36),
                (0.36, -0.60),
                (0.42, -0.84),
            ),
            "skin",
        ),
        (_smooth((-0.60, -0.88), (-0.24, -0.76), (0.20, -0.74), (0.42, -0.84), (0.10, -0.94), (-0.3, -0.92)), "deep"),
    ]


def _bowl():
    half = _ellipse(0, -0.18, 0.88, 0.86, 0, 180)
    return [
        (_box(-0.36, 0.58, 0.36, 0.76, 0.05), "shade"),
        (half, "skin"),
        (_ellipse(0, -0.18, 0.88, 0.22), "shade"),
        (_ellipse(0, -0.16, 0.78, 0.15), "cream"),
    ]


def _mitten():
    return [
        (
            _smooth(
                (-0.46, 0.50),
                (-0.52, 0.0),
                (-0.50, -0.56),
                (-0.24, -0.88),
                (0.14, -0.86),
                (0.34, -0.52),
                (0.36, -0.14),
                (0.56, -0.38),
                (0.82, -0.36),
                (0.80, -0.06),
                (0.52, 0.30),
                (0.42, 0.52),
            ),
            "skin",
        ),
        (_box(-0.56, 0.46, 0.52, 0.86, 0.08), "cream"),
        (_box(-0.56, 0.62, 0.52, 0.70), "shade"),
    ]


# --- Movie: a poster with a motif -------------------------------------------------------------------------------------


def _poster(*motif):
    """A print with a cream margin; the motif is drawn about (0, 0), on a dark medallion of radius 0.5."""
    medallion = [
        (points * 1.06 + (0.0, -0.10), paint)
        for points, paint in [
            (_ellipse(0, 0, 0.53, 0.53), "cream"),
            (_ellipse(0, 0, 0.48, 0.48), "deep"),
            *((np.asarray(points), paint) for points, paint in motif),
        ]
    ]
    return [
        (_box(-0.78, -0.96, 0.78, 0.96, 0.03), "cream"),
        (_box(-0.70, -0.88, 0.70, 0.68), "skin"),
        *medallion,
        (_box(-0.46, 0.77, 0.46, 0.86, 0.02), "shade"),
    ]


def _rocket_poster():
    return _poster(
        ([(-0.24, 0.28), (0.0, 0.0), (0.24, 0.28), (0.0, 0.18)], "tint"),
        (_smooth(*_mirrored((0.0, -0.46), (0.15, -0.20), (0.16, 0.08), (0.08, 0.22))), "cream"),
        (_ellipse(0, -0.10, 0.08, 0.08), "deep"),
        (_smooth((-0.08, 0.24), (0.08, 0.24), (0.0, 0.46)), "flame"),
    )


def _mountain_poster():
    return _poster(
        (_ellipse(0.20, -0.24, 0.10, 0.10), "flame"),
        ([(-0.08, 0.24), (0.20, -0.10), (0.42, 0.24)], "tint"),
        ([(-0.42, 0.24), (-0.10, -0.34), (0.24, 0.24)], "tint"),
        ([(-0.23, -0.10), (-0.10, -0.34), (0.04, -0.10), (-0.04, -0.04), (-0.10, -0.12), (-0.17, -0.03)], "cream"),
    )


def _reel_poster():
    angles = np.radians(np.arange(5) * 72 - 90)
    holes = [(_ellipse(0.23 * np.cos(a), 0.23 * np.sin(a), 0.09, 0.09), "deep") for a in angles]
    return _poster((_ellipse(0, 0, 0.40, 0.40), "cream"), *holes, (_ellipse(0, 0, 0.05, 0.05), "deep"))


def _skyline_poster():
    towers = [
        (_box(x, top, x + width, 0.28), paint)
        for x, width, top, paint in (
            (-0.36, 0.17, 0.0, "tint"),
            (-0.17, 0.20, -0.36, "cream"),
            (0.05, 0.13, -0.04, "tint"),
            (0.20, 0.17, -0.18, "cream"),
        )
    ]
    windows = [(_box(x, y, x + 0.06, y + 0.08), "deep") for x in (-0.14, -0.05) for y in (-0.26, -0.09, 0.08)]
    return _poster(*towers, *windows, (_ellipse(0.18, -0.32, 0.07, 0.07), "flame"))


def _mask_poster():
    face = _smooth((-0.36, -0.28), (0.0, -0.22), (0.36, -0.28), (0.34, 0.06), (0.0, 0.38), (-0.34, 0.06))
    return _poster(
        (face, "cream"),
        (_ellipse(-0.15, -0.05, 0.10, 0.07), "deep"),
        (_ellipse(0.15, -0.05, 0.10, 0.07), "deep"),
        (_ring(0, 0.08, 0.17, 0.17, 0.07, 20, 160), "deep"),
    )


def _ship_poster():
    return _poster(
        ([(-0.03, -0.42), (-0.03, 0.08), (-0.32, 0.08)], "cream"),
        ([(0.03, -0.32), (0.30, 0.08), (0.03, 0.08)], "tint"),
        ([(-0.38, 0.13), (0.38, 0.13), (0.22, 0.32), (-0.22, 0.32)], "flame"),
    )


def _ghost_poster():
    sheet = _smooth(
        (-0.28, 0.36),
        (-0.28, -0.12),
        (-0.14, -0.36),
        (0.14, -0.36),
        (0.28, -0.12),
        (0.28, 0.36),
        (0.14, 0.24),
        (0.0, 0.38),
        (-0.14, 0.24),
    )
    return _poster(
        (sheet, "cream"),
        (_ellipse(-0.11, -0.10, 0.06, 0.09), "deep"),
        (_ellipse(0.11, -0.10, 0.06, 0.09), "deep"),
        (_ellipse(0.0, 0.09, 0.05, 0.05), "deep"),
    )


def _palm_poster():
    leaf = np.array([(0.02, -0.20), (0.18, -0.36), (0.38, -0.24), (0.42, -0.04), (0.24, -0.16), (0.04, -0.10)])
    return _poster(
        (_ellipse(0, 0.34, 0.36, 0.10), "flame"),
        ([(-0.05, -0.18), (0.05, -0.18), (0.10, 0.30), (-0.04, 0.30)], "tint"),
        (leaf, "cream"),
        (leaf * (-1, 1), "cream"),
        (leaf @ [[0.6, -0.5], [0.5, 0.6]] + (0.08, -0.1), "cream"),
    )


# --- Book -------------------------------------------------------------------------------------------------------------


def _novel(*motif):
    """A closed book; the motif is drawn about (0, 0), on a label of half-width 0.4."""
    label = [
        (points + (0.05, -0.08), paint)
        for points, paint in [
            (_box(-0.47, -0.47, 0.47, 0.47, 0.12), "shade"),
            (_box(-0.40, -0.40, 0.40, 0.40, 0.08), "cream"),
            *((np.asarray(points), paint) for points, paint in motif),
        ]
    ]
    return [
        (_box(-0.60, -0.82, 0.72, 0.92, 0.04), "deep"),
        (_box(-0.56, -0.80, 0.66, 0.86, 0.02), "cream"),
        (_box(-0.66, -0.90, 0.60, 0.82, 0.04), "skin"),
        (_box(-0.66, -0.90, -0.50, 0.82, 0.04), "shade"),
        *label,
    ]


def _star_novel():
    return _novel((_star(0.0, 0.02, 0.38), "shade"))


def _moon_novel():
    outer, inner = _ellipse(-0.02, 0.0, 0.32, 0.34, 40, 320), _ellipse(0.10, 0.0, 0.22, 0.25, 60, 300)[::-1]
    return _novel((np.concatenate([outer, inner]), "shade"))


def _heart_novel():
    return _novel(
        (
            _smooth(
                (0.0, -0.16),
                (0.16, -0.29),
                (0.34, -0.17),
                (0.26, 0.08),
                (0.0, 0.33),
                (-0.26, 0.08),
                (-0.34, -0.17),
                (-0.16, -0.29),
            ),
            "shade",
        )
    )


def _tree_novel():
    return _novel(
        (_box(-0.06, 0.14, 0.06, 0.35), "deep"),
        ([(0.0, -0.36), (0.19, -0.10), (-0.19, -0.10)], "shade"),
        ([(0.0, -0.18), (0.27, 0.18), (-0.27, 0.18)], "shade"),
    )


def _book_stack():
    layers = []
    for x0, y0, x1, height in ((-0.78, 0.32, 0.74, 0.46), (-0.66, -0.16, 0.80, 0.46), (-0.80, -0.64, 0.60, 0.46)):
        layers += [
            (_box(x0, y0, x1, y0 + height, 0.06), "deep"),
            (_box(x1 - 0.2, y0 + 0.07, x1 - 0.02, y0 + height - 0.07), "cream"),
            (_box(x0, y0, x1 - 0.16, y0 + height, 0.10), "skin"),
            (_box(x0 + 0.14, y0, x0 + 0.22, y0 + height), "shade"),
        ]
    return layers


def _book_row():
    layers = []
    for x0, x1, top in ((-0.84, -0.40, -0.62), (-0.38, 0.10, -0.88), (0.12, 0.46, -0.50), (0.48, 0.86, -0.74)):
        layers += [
            (_box(x0, top, x1, 0.84, 0.05), "skin"),
            (_box(x0, top + 0.14, x1, top + 0.22), "shade"),
            (_box(x0, 0.60, x1, 0.68), "shade"),
            (_box(x1 - 0.02, top + 0.02, x1 + 0.02, 0.82), "deep"),
        ]
    return layers


def _notebook():
    rings = [(_box(-0.78, y - 0.035, -0.46, y + 0.035, 0.03), "steel") for y in np.linspace(-0.68, 0.68, 7)]
    return [
        (_box(-0.56, -0.84, 0.70, 0.90, 0.06), "cream"),
        (_box(-0.62, -0.88, 0.64, 0.84, 0.10), "skin"),
        (_box(0.40, -0.88, 0.50, 0.84), "deep"),
        *rings,
    ]


def _open_book():
    left = [(0.0, -0.44), (-0.92, -0.70), (-0.92, 0.56), (0.0, 0.82)]
    right = [(-x, y) for x, y in left]
    pages = [(0.0, -0.50), (-0.84, -0.76), (-0.84, 0.40), (0.84, 0.40), (0.84, -0.76)]
    return [
        (pages, "cream"),
        (left, "skin"),
        (right, "skin"),
        ([(-0.09, -0.47), (0.09, -0.47), (0.09, 0.80), (0, 0.84), (-0.09, 0.80)], "shade"),
    ]


_SHAPES: dict[str, Callable[[], list]] = {
    "jam jar": _jam_jar,
    "tea tin": _tea_tin,
    "chocolate bar": _chocolate_bar,
    "bottle": _bottle,
    "cupcake": _cupcake,
    "bonbon": _bonbon,
    "cookie": _cookie,
    "ice cream": _ice_cream,
    "mug": _mug,
    "plate": _plate,
    "teapot": _teapot,
    "pan": _pan,
    "apron": _apron,
    "pitcher": _pitcher,
    "bowl": _bowl,
    "mitten": _mitten,
    "rocket poster": _rocket_poster,
    "mountain poster": _mountain_poster,
    "reel poster": _reel_poster,
    "skyline poster": _skyline_poster,
    "mask poster": _mask_poster,
    "ship poster": _ship_poster,
    "ghost poster": _ghost_poster,
    "palm poster": _palm_poster,
    "star novel": _star_novel,
    "moon novel": _moon_novel,
    "heart novel": _heart_novel,
    "tree novel": _tree_novel,
    "book stack": _book_stack,
    "book row": _book_row,
    "notebook": _notebook,
    "open book": _open_book,
}


@cache
def _layers(kind: str) -> list[tuple[np.ndarray, str]]:
    """Layers of a kind from back to front: points (P, 2) and paint."""
    return [(np.asarray(points, dtype=float), paint) for points, paint in _SHAPES[kind]()]
