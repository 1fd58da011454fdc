"""Pictures given by users: PNG and JPEG, decoded within limits."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pgcad.errors import CadError
from pgcad.geometry.limits import MAX_PIXELS, check_count, check_file_bytes

_HINT = "Give a PNG or JPEG file."
_SMALLER_HINT = "Scale it down: 1000 × 1000 is ample."
_OPAQUE = ("RGB", "L", "1", "CMYK", "YCbCr", "I;16", "I", "F")


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """A PNG or JPEG file as RGB, uint8 (H, W, 3): turned as its EXIF says, transparency laid on white.

    Raises CadError 22023 when it is not a whole PNG or JPEG, 54000 when it has too many pixels or bytes.
    """
    check_file_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit on pixels follows
            picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        check_count(picture.width * picture.height, MAX_PIXELS, "pixels", _SMALLER_HINT)
        picture.load()
        return _rgb(ImageOps.exif_transpose(picture))
    except (CadError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # Pillow's limit lies above ours and is looked at first
        raise CadError("54000", f"the picture is too large: {error}", _SMALLER_HINT) from error
    except UnidentifiedImageError as error:
        raise CadError("22023", "the picture is neither PNG nor JPEG", _HINT) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error …
        raise CadError("22023", f"the picture cannot be decoded: {error}", _HINT) from error


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):
        return np.repeat((np.asarray(picture) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode in _OPAQUE and "transparency" not in picture.info:
        return np.array(picture.convert("RGB"))
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return np.array(Image.alpha_composite(paper, layer).convert("RGB"))
