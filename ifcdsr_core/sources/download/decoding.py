"""A picture's pixels as a browser shows them on a white page, whatever way they are stored.

All that decodes pictures asks here: the check of what a store sent, the encoders, the figures. Colour profiles are not
applied.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# ``marked`` puts this before the bytes of a picture for its hash. Another text: such pictures are embedded anew.
_MARK = b"as a browser shows it\n"


def as_shown(picture: Image.Image) -> Image.Image:
    """The first frame of an opened picture as RGB: white where it is transparent, upright as its EXIF says.

    Grey of more than 8 bits is scaled to 8: 16 bits by their upper half, as PIL does with colours; other numbers by
    the least of 1, 255 and 65535 that none of them exceeds, or else by the largest.

    Raises:
        Exception: of many kinds, from PIL, for what it can't decode.
    """
    from PIL import Image

    if picture.info.get("default_image"):  # an animated PNG, shown in place of this first picture
        picture.seek(1)
    stored_as = picture.tile[0].args if getattr(picture, "tile", None) else None
    picture.load()
    turn, extent = _turn(picture), getattr(picture, "dispose_extent", None)
    _scale_transparency(picture, stored_as)
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    if picture.has_transparency_data:
        picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    if extent and extent != (0, 0, *picture.size):  # a GIF whose first frame does not fill it
        page = Image.new("RGB", picture.size, "white")
        page.paste(picture.crop(extent), extent)
        picture = page
    return picture if turn is None else picture.transpose(turn)


def marked(content: bytes) -> bytes:
    """A picture's bytes for its hash: marked where ``as_shown`` may give others than a plain ``convert("RGB")`` does.

    So features that were made with the latter stay valid for PNGs of 8-bit RGB or grey and for JPEGs, where nothing is
    transparent, moves, or is turned by EXIF. Read from the bytes, as features are found without PIL.
    """
    if content.startswith(b"\xff\xd8\xff"):
        plain = b"Exif\0\0" not in content
    else:
        png = content.startswith(b"\x89PNG\r\n\x1a\n") and content[24:26] in (b"\x08\x00", b"\x08\x02")
        plain = png and not any(chunk in content for chunk in (b"tRNS", b"eXIf", b"acTL"))
    return content if plain else _MARK + content


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """How EXIF says that a picture is to be turned. XMP and comments, which PIL would read as well, turn nothing."""
    from PIL import Image
    from PIL.ExifTags import Base

    to = Image.Transpose
    turns = (None, to.FLIP_LEFT_RIGHT, to.ROTATE_180, to.FLIP_TOP_BOTTOM)
    turns += (to.TRANSPOSE, to.ROTATE_270, to.TRANSVERSE, to.ROTATE_90)
    exif = Image.Exif()
    with suppress(Exception):  # what is no EXIF turns nothing
        exif.load(picture.info.get("exif", b""))
        return dict(enumerate(turns, start=1)).get(exif.get(Base.Orientation))
    return None


def _scale_transparency(picture: Image.Image, stored_as: object) -> None:
    """The transparent value of a PNG as its pixels are after loading; PIL leaves it as it is in the file."""
    clear = picture.info.get("transparency")
    if clear is not None and stored_as in ("L;2", "L;4"):
        picture.info["transparency"] = clear * (85 if stored_as == "L;2" else 17)
    elif clear is not None and stored_as == "RGB;16B":
        picture.info["transparency"] = tuple(value >> 8 for value in clear)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of whole numbers or floats as L, or as LA where one of its values is transparent."""
    import numpy as np
    from PIL import Image

    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        scale = 1 << 16
    else:
        most = values.max(initial=0, where=np.isfinite(values))
        scale = next((scale for scale in (1, 1 << 8, 1 << 16) if most <= max(1, scale - 1)), most)
        values = np.nan_to_num(np.clip(values, 0, most))
    grey = np.clip(np.floor(values * (256.0 / scale)), 0, 255).astype(np.uint8)
    if (clear := picture.info.get("transparency")) is None:
        return Image.fromarray(grey)
    return Image.fromarray(np.dstack([grey, np.where(values == clear, 0, 255).astype(np.uint8)]))
