"""Pictures given by users."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.geometry.images import decode_image
from PIL import Image


def picture_file(picture: Image.Image, fmt: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, fmt, **options)
    return stream.getvalue()


def blank_png(width: int, height: int) -> bytes:
    """A PNG that claims a size without having the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def state_of(data: bytes) -> str:
    with pytest.raises(CadError) as caught:
        decode_image(data)
    assert caught.value.hint
    return caught.value.sqlstate


@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
def test_a_picture_comes_back_as_rgb(fmt):
    pixels = decode_image(picture_file(Image.new("RGB", (6, 4), (200, 40, 40)), fmt))
    assert pixels.shape == (4, 6, 3)
    assert np.abs(pixels.astype(int) - (200, 40, 40)).max() < 8


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    pixels = decode_image(picture_file(clear))
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[3, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "I;16"])
def test_every_kind_of_png_is_read(mode):
    assert decode_image(picture_file(Image.new(mode, (5, 3)))).shape == (3, 5, 3)


def test_a_photo_is_turned_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(picture_file(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).shape == (8, 4, 3)


@pytest.mark.parametrize("size", [(8_000, 8_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_image_bombs_are_refused_by_their_size(size):
    assert state_of(blank_png(*size)) == "54000"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_pictures(share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for fmt in ("PNG", "JPEG"):
        data = picture_file(noise, fmt)
        assert state_of(data[: int(len(data) * share)]) == "22023"


def test_other_formats_are_refused():
    assert state_of(picture_file(Image.new("RGB", (4, 4)), "GIF")) == "22023"
    assert state_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "22023"
    assert state_of(np.random.default_rng(1).bytes(4096)) == "22023"
