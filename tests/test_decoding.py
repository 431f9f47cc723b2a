"""Pictures are decoded as a browser shows them on a white page, and pictures that look alike give the same features."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ifcdsr_core.features.images import open_picture
from ifcdsr_core.sources.download.decoding import as_shown, marked
from ifcdsr_core.sources.download.pictures import examine

HEIGHT, WIDTH = 24, 32
GREY = np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))
GREY_8 = (GREY >> 8).astype(np.uint8)
HALF = np.zeros((HEIGHT, WIDTH), dtype=bool)
HALF[:, WIDTH // 2 :] = True  # what is transparent
COLOUR = np.dstack([GREY_8, GREY_8[:, ::-1], np.full_like(GREY_8, 60)])


def encoded(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def seen(content: bytes) -> np.ndarray:
    return np.asarray(as_shown(Image.open(io.BytesIO(content))))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits: int, colours: int, rows: list[bytes], width: int, clear: bytes) -> bytes:
    """A PNG as PIL does not write it: any depth, with a transparent value."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colours, 0, 0, 0)
    body = chunk(b"tRNS", clear) + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    "values, form",
    [
        (GREY_8, "PNG"),
        (GREY, "PNG"),
        (GREY, "TIFF"),
        (GREY.astype(np.int32), "TIFF"),
        (GREY_8.astype(np.int32), "TIFF"),
        (GREY_8.astype(np.float32), "TIFF"),
        (GREY.astype(np.float32), "TIFF"),
        (GREY_8.astype(np.float32) / 255, "TIFF"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.dtype),
)
def test_grey_of_any_depth_looks_like_grey_of_8_bits(values, form):
    np.testing.assert_array_equal(seen(encoded(Image.fromarray(values), form)), grey(GREY_8))


def test_dark_grey_of_16_bits_stays_dark_and_what_is_no_number_is_black():
    assert seen(encoded(Image.fromarray(GREY // 256))).max() == 0
    values = np.array([[np.nan, -1.0, 0.5, np.inf], [0.0, 1.0, 0.25, -np.inf]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = seen(encoded(Image.fromarray(values), "TIFF"))[..., 0].tolist()
    assert shown == [[0, 0, 128, 255], [0, 255, 64, 0]]


def transparent_pictures() -> dict[str, tuple[bytes, np.ndarray]]:
    """Pictures whose right half is transparent over colours that nobody is to see; and the left half as it is shown."""
    alpha = Image.fromarray(np.where(HALF, 0, 255).astype(np.uint8))
    rgba, la = Image.fromarray(COLOUR), Image.fromarray(GREY_8)
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette = Image.fromarray(np.where(HALF, 1, 0).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 200, 0, 0])
    flat = np.full((HEIGHT, WIDTH, 3), (10, 20, 30), dtype=np.uint8)
    bit = Image.fromarray(~HALF)  # white is shown, black is transparent
    of_16 = np.where(HALF, 777, GREY).astype(np.uint16)
    rgb_16 = np.where(HALF[..., None], 30_000, COLOUR.astype(">u2") * 257).astype(">u2")
    low = [np.packbits(np.where(HALF, 1, 0).astype(np.uint8)[0]).tobytes()] * HEIGHT  # of 1 bit: 0 shown, 1 clear
    low_4 = [bytes([0x33] * (WIDTH // 4) + [0x55] * (WIDTH // 4))] * HEIGHT  # of 4 bits: 3 shown, 5 clear
    return {
        "RGBA": (encoded(rgba), COLOUR),
        "RGBA, WebP": (encoded(rgba, "WEBP", lossless=True), COLOUR),
        "LA": (encoded(la), grey(GREY_8)),
        "palette, one value": (encoded(palette, transparency=1), flat),
        "palette, alphas": (encoded(palette, transparency=b"\xff\x00"), flat),
        "GIF": (encoded(palette, "GIF", transparency=1), flat),
        "1 bit": (encoded(bit, transparency=0), np.full_like(flat, 255)),
        "1 bit, white clear": (png(1, 0, low, WIDTH, b"\0\1"), np.zeros_like(flat)),
        "4 bits": (png(4, 0, low_4, WIDTH, b"\0\5"), np.full_like(flat, 3 * 17)),
        "grey of 16 bits": (png(16, 0, [row.astype(">u2").tobytes() for row in of_16], WIDTH, b"\3\x09"), grey(GREY_8)),
        "RGB of 16 bits": (png(16, 2, [row.tobytes() for row in rgb_16], WIDTH, b"\x75\x30" * 3), COLOUR),
    }


@pytest.mark.parametrize("name", list(transparent_pictures()))
def test_what_is_transparent_is_white(name):
    content, shown = transparent_pictures()[name]
    np.testing.assert_array_equal(seen(content)[~HALF], shown[~HALF])
    assert (seen(content)[HALF] == 255).all()
    assert marked(content) != content and examine(content)[0] in ("ok", "other_type")


def test_half_transparent_is_half_white():
    rgba = Image.new("RGBA", (20, 20), (0, 100, 200, 128))
    assert np.abs(seen(encoded(rgba))[0, 0].astype(int) - [127, 177, 227]).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_as_exif_says(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = encoded(Image.fromarray(COLOUR), form)
    turned = encoded(Image.fromarray(COLOUR), form, exif=exif)
    stored = seen(plain)
    right = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }
    np.testing.assert_array_equal(seen(turned), right[orientation])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_only_exif_turns():
    """A browser looks neither into XMP nor into ImageMagick's comments, and takes no notice of damaged EXIF."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    picture = Image.fromarray(COLOUR)
    for content in (
        encoded(picture, "PNG", pnginfo=info),
        encoded(picture, "JPEG", xmp=xmp),
        encoded(picture, "JPEG", exif=b"Exif\0\0nonsense"),
        encoded(picture, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0"),
    ):
        assert seen(content).shape == COLOUR.shape


def test_of_an_animation_the_first_frame_on_its_page():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for form in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert (seen(content) == (255, 0, 0)).all() and marked(content) != content
    cover = Image.new("RGB", (20, 20), "lime")  # shown only by what knows no animations
    content = encoded(cover, "PNG", save_all=True, default_image=True, append_images=frames)
    assert (seen(content) == (255, 0, 0)).all()


def test_a_gif_whose_first_frame_is_smaller_than_its_page():
    palette = bytes([255, 0, 0, 0, 0, 255])
    frame = Image.new("P", (10, 10), 1)
    frame.putpalette(palette)
    whole = encoded(frame, "GIF", optimize=False)
    data = whole[whole.index(b"\x2c") + 9 : -1]
    placed = b"GIF89a" + struct.pack("<HHBBB", 20, 20, 0x80, 0, 0) + palette
    placed += b"\x2c" + struct.pack("<HHHH", 5, 5, 10, 10) + data + b";"
    shown = seen(placed).copy()
    assert (shown[5:15, 5:15] == (0, 0, 255)).all()
    shown[5:15, 5:15] = 255
    assert (shown == 255).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "1", "P", "RGB"])
def test_other_modes_are_those_of_a_plain_conversion(mode):
    picture = Image.fromarray(COLOUR).convert(mode)
    content = encoded(picture, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    np.testing.assert_array_equal(seen(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_features_of_plain_pictures_stay_valid():
    """The hash of a picture is that of its bytes where it was decoded as it is now: shipped runs are found by it."""
    for content in (
        encoded(Image.fromarray(COLOUR)),
        encoded(Image.fromarray(GREY_8)),
        encoded(Image.fromarray(COLOUR), "JPEG"),
        encoded(Image.fromarray(GREY_8), "JPEG"),
        encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    ):
        assert marked(content) == content
        np.testing.assert_array_equal(seen(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    for content in (encoded(Image.fromarray(GREY)), encoded(Image.fromarray(COLOUR), "GIF"), b"no picture"):
        assert marked(content).endswith(content) and marked(content) != content


def test_a_warning_makes_no_picture_unusable(tmp_path: Path):
    """PIL warns of transparency in bytes and of odd EXIF, which is an error under python -W error."""
    palette = Image.fromarray(HALF.astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.save(tmp_path / "a.png", transparency=b"\xff\x00")
    Image.fromarray(COLOUR).save(tmp_path / "b.jpg", exif=b"Exif\0\0nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(tmp_path / "a.png") is not None and open_picture(tmp_path / "b.jpg") is not None
