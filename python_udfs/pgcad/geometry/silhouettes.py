"""What a part looks like from all around as silhouettes, and how well the outline of a picture agrees with them.

Vectors tell which family a picture shows; proportions and what sticks out tell which part of it. A part is drawn from
directions all over the sphere, the best of them are refined, and the overlap counts. After Chen, Tian, Shen and
Ouhyoung 2003, "On Visual Similarity Based 3D Model Retrieval".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pgcad.geometry.outlines import FINE_SIDE, MARGIN, SIDE, Masks, Outline, packed

DIRECTIONS = 150
"""A silhouette from the opposite side is the mirror image: these cover half the sphere and stand for all of it."""
CAMERAS = 2 * DIRECTIONS
_KEPT, _REFINED = 4, 2
_STEPS_DEG = (5.0, 2.5, 1.2)
_LEAST_MM = 1e-9

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class _Cameras:
    """Unit vectors (m, 3): to the right and upwards in the picture, and to where the camera stands."""

    right: Floats
    up: Floats
    towards: Floats

    def __getitem__(self, which: NDArray[np.intp]) -> _Cameras:
        return _Cameras(self.right[which], self.up[which], self.towards[which])

    def around(self, step_deg: float) -> _Cameras:
        """Nine cameras for each: itself, and those a step away in eight directions."""
        turns = Rotation.from_rotvec(np.radians(step_deg) * _NEIGHBOURS).as_matrix()
        axes = np.stack([self.right, self.up, self.towards], 1)  # rows of (m, 3, 3)
        turned = (turns[None] @ axes[:, None]).reshape(-1, 3, 3)
        return _Cameras(turned[:, 0], turned[:, 1], turned[:, 2])


_NEIGHBOURS = np.array([(x, y, 0.0) for x in (-1, 0, 1) for y in (-1, 0, 1)])


def _cameras() -> _Cameras:
    """All over the sphere, z up in the picture; the second half looks from where the first looks to, mirrored."""
    azimuth = np.arange(CAMERAS) * np.pi * (3 - np.sqrt(5))
    height = 1 - (2 * np.arange(CAMERAS) + 1) / CAMERAS
    level = np.sqrt(1 - height**2)
    towards = np.stack([level * np.sin(azimuth), -level * np.cos(azimuth), height], 1)[:DIRECTIONS]
    right = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(CAMERAS)], 1)[:DIRECTIONS]
    up = np.cross(towards, right)
    return _Cameras(np.concatenate([right, -right]), np.concatenate([up, up]), np.concatenate([towards, -towards]))


_ALL = _cameras()


def silhouettes(points: Floats) -> NDArray[np.uint32]:
    """(DIRECTIONS, SIDE): rows of the silhouettes of points (n, 3 or more), a bit for each pixel."""
    masks: NDArray[np.uint32] = _drawn(points, _ALL[np.arange(DIRECTIONS)], SIDE)
    return masks


def overlaps(outline: Outline, parts: Sequence[NDArray[np.uint32]]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """How well an outline agrees with the best silhouette of each of n parts, 0 to 1 (n,), and the numbers of the
    cameras of their best silhouettes (n, 4), which `refined_overlap` wants.
    """
    plain_and_mirrored = np.concatenate([outline.coarse, outline.mirrored])
    rolls = len(outline.coarse)
    fits, best = [], []
    for part in parts:
        agreement = _intersection_over_union(part, plain_and_mirrored)
        by_camera = np.concatenate([agreement[:, :rolls].max(1), agreement[:, rolls:].max(1)])
        first = (-by_camera).argsort(kind="stable")[:_KEPT]
        fits.append(by_camera[first[0]])
        best.append(first)
    return np.array(fits), np.array(best)


def refined_overlap(outline: Outline, points: Floats, cameras: NDArray[np.intp]) -> float:
    """How well an outline agrees with the silhouette of points (n, 3 or more), 0 to 1, as seen from where, near one of
    the cameras, it agrees best.
    """
    near = _ALL[cameras]
    for step_deg in _STEPS_DEG:
        near = near.around(step_deg)
        agreement = _intersection_over_union(_drawn(points, near, FINE_SIDE), outline.fine).max(1)
        near = near[(-agreement).argsort(kind="stable")[:_REFINED]]
    return float(agreement.max())


def _drawn(points: Floats, cameras: _Cameras, side: int) -> Masks:
    """(m, side): silhouettes of points, each in a frame of its own size, with the gaps between the points closed."""
    xyz = np.asarray(points[:, :3], np.float32)
    across, upwards = (xyz @ axes.T.astype(np.float32) for axes in (cameras.right, cameras.up))
    low, high = (np.stack([edge(across, axis=0), edge(upwards, axis=0)]) for edge in (np.min, np.max))
    scale = side / np.maximum((high - low).max(0) * (1 + 2 * MARGIN), _LEAST_MM)
    middle = (low + high) / 2
    column = ((across - middle[0]) * scale + side / 2).astype(np.int32).clip(0, side - 1)
    row = (side / 2 - (upwards - middle[1]) * scale).astype(np.int32).clip(0, side - 1)
    pixels = np.zeros((len(cameras.right), side * side), bool)
    pixels[np.arange(len(pixels)), row * side + column] = True
    return _closed(packed(pixels.reshape(-1, side, side)))


def _closed(masks: Masks) -> Masks:
    return ~_grown(~_grown(masks))


def _grown(masks: Masks) -> Masks:
    """Masks with the eight neighbours of each pixel."""
    wider = masks | (masks << masks.dtype.type(1)) | (masks >> masks.dtype.type(1))
    grown = wider.copy()
    grown[:, 1:] |= wider[:, :-1]
    grown[:, :-1] |= wider[:, 1:]
    return grown


def _intersection_over_union(masks: Masks, others: Masks) -> NDArray[np.float64]:
    """(m, n) of masks (m, side) and others (n, side)."""
    common = np.bitwise_count(masks[:, None] & others[None]).sum(2, dtype=np.int64)
    areas, other_areas = (np.bitwise_count(some).sum(1, dtype=np.int64) for some in (masks, others))
    return common / np.maximum(areas[:, None] + other_areas[None] - common, 1)
