"""The outline of what a picture shows, where the background is plain enough to tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

SIDE, FINE_SIDE = 32, 64
"""Pixels along the frame of a mask: a row is one integer."""
MARGIN = 0.06
ROLLS_DEG = (-15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0)
"""Nobody holds a camera quite level."""
_LOOKED_AT = 256
_TOLERANCE = 12
_PLAIN_SHARE = 0.9
_DRAWN_SHARE = 0.6
"""What covers less than this of what it encloses are the lines of a drawing."""
_GAPS = (0.006, 0.012, 0.024, 0.04)
"""How far the lines of a drawing may lie apart where they should meet, of the picture's side; tried in turn."""
_FINER = 2

Masks = NDArray[np.unsignedinteger]
"""(n, side): silhouettes in square frames, a bit for each pixel of a row, the leftmost the lowest."""


@dataclass(frozen=True)
class Outline:
    """Masks of one picture rolled by each of ROLLS_DEG: `coarse` uint32 (n, SIDE), `fine` uint64 (n, FINE_SIDE)."""

    coarse: NDArray[np.uint32]
    fine: NDArray[np.uint64]

    def tobytes(self) -> bytes:
        """Little-endian: the coarse masks, then the fine ones."""
        return self.coarse.astype("<u4").tobytes() + self.fine.astype("<u8").tobytes()

    @classmethod
    def frombytes(cls, data: bytes) -> Outline:
        """Raises ValueError for bytes that are no outline."""
        split = len(ROLLS_DEG) * SIDE * 4
        coarse = np.frombuffer(data[:split], "<u4").reshape(len(ROLLS_DEG), SIDE)
        return cls(coarse, np.frombuffer(data[split:], "<u8").reshape(len(ROLLS_DEG), FINE_SIDE))

    @property
    def mirrored(self) -> NDArray[np.uint32]:
        """The coarse masks, left and right exchanged."""
        masks: NDArray[np.uint32] = packed(_unpacked(self.coarse)[..., ::-1])
        return masks


def outline(picture: NDArray[np.uint8]) -> Outline | None:
    """The outline in a picture (h, w, 3); None where it shows nothing, or its background is not plain."""
    small = Image.fromarray(picture)
    small.thumbnail((_LOOKED_AT, _LOOKED_AT))
    shown = _shown(np.asarray(small).astype(np.int16))
    if shown is None:
        return None
    rows, columns = np.nonzero(shown)
    inked = np.stack([columns, rows], 1) + 0.5 - np.array(shown.shape[::-1]) / 2
    frames = [_framed(shown, inked, np.radians(roll)) for roll in ROLLS_DEG]
    coarse, fine = (packed(np.stack([_touched(frame, side) for frame in frames])) for side in (SIDE, FINE_SIDE))
    return Outline(coarse, fine)


def packed(masks: NDArray[np.bool_]) -> Masks:
    """Masks (n, side, side) with a row in each integer."""
    side = masks.shape[-1]
    bits = np.packbits(masks, axis=-1, bitorder="little")
    return np.ascontiguousarray(bits).view(f"<u{side // 8}")[..., 0]


def _unpacked(masks: Masks) -> NDArray[np.bool_]:
    """(n, side, side)."""
    some = np.ascontiguousarray(masks)[..., None].view(np.uint8)
    return np.unpackbits(some, axis=-1, bitorder="little").astype(bool)


def _shown(pixels: NDArray[np.int16]) -> NDArray[np.bool_] | None:
    """(h, w): what differs from the background, the colour of the border; of a drawing, what its lines enclose."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = np.median(border, 0)
    plain = (np.abs(border - background) <= _TOLERANCE).all(1)
    differs = (np.abs(pixels - background) > _TOLERANCE).any(2)
    if plain.mean() < _PLAIN_SHARE or not differs.any():
        return None
    for gap in _GAPS:
        enclosed = _enclosed(differs, gap * max(differs.shape))
        if differs.sum() < _DRAWN_SHARE * enclosed.sum():
            return enclosed
    return differs


def _enclosed(inked: NDArray[np.bool_], gap: float) -> NDArray[np.bool_]:
    """(h, w): all but where a disc of the width of the gap comes from outside without touching what is inked."""
    reach = gap / 2
    around = np.pad(inked, int(reach) + 2)
    kept_off = ndimage.binary_fill_holes(ndimage.distance_transform_edt(~around) <= reach)
    enclosed: NDArray[np.bool_] = ndimage.distance_transform_edt(kept_off) > reach
    return enclosed[int(reach) + 2 : -int(reach) - 2, int(reach) + 2 : -int(reach) - 2]


def _framed(shown: NDArray[np.bool_], inked: NDArray[np.float64], roll_rad: float) -> NDArray[np.bool_]:
    """What is shown, rolled, in a square frame with a margin, finer than any mask."""
    cos, sin = np.cos(roll_rad), np.sin(roll_rad)
    turn = np.array([[cos, -sin], [sin, cos]])
    rolled = inked @ turn.T
    low, high = rolled.min(0) - 0.5, rolled.max(0) + 0.5
    side, count = (high - low).max() * (1 + 2 * MARGIN), _FINER * FINE_SIDE
    steps = ((np.arange(count) + 0.5) / count - 0.5) * side
    x, y = np.meshgrid((low[0] + high[0]) / 2 + steps, (low[1] + high[1]) / 2 + steps)
    column, row = (np.stack([x, y], -1) @ turn + np.array(shown.shape[::-1]) / 2).transpose(2, 0, 1)
    inside = (column >= 0) & (row >= 0) & (column < shown.shape[1]) & (row < shown.shape[0])
    row, column = (at.clip(0, most - 1).astype(int) for at, most in zip((row, column), shown.shape, strict=True))
    return inside & shown[row, column]


def _touched(frame: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Pixels of a mask that what is shown touches anywhere, as a silhouette of points has them."""
    cells = len(frame) // side
    touched: NDArray[np.bool_] = np.any(frame.reshape(side, cells, side, cells), axis=(1, 3))
    return touched
