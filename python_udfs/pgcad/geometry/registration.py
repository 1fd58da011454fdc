"""How well two clouds fit: one is moved onto the other, and what is left between them is measured.

Vectors tell what a part is like; whether a scan is of this very part or of one with a pin more shows only when the two
are laid on top of each other. Starting from the poses in which their smallest boxes agree, points are moved onto the
planes of their nearest neighbours: Chen and Medioni 1992, "Object modelling by registration of multiple range images".
Points without a counterpart do not pull, so a scan of one side finds its place too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]
_REACH = 0.03
"""How far a point may lie from its counterpart, of the diagonal of the scan's box; what lies farther has none."""
_LEAST_REACH_MM = 1e-6
_LOOKED_AT, _MOVED = 192, 384
_STARTS, _TRIED, _KEPT, _STEPS = 4, 4, 2, 12  # starts; steps until only so many are kept; steps in all
_WIDER, _NARROWED_AFTER = 4.0, 0.6  # so many times the reach at first, and the share of the steps until it is alone
_FEWEST = 12
_DAMPING = 1e-6
_TURN_STEP_DEG = 3.0
_DIRECTIONS = 128
_NONE = -1


@dataclass(frozen=True)
class _Pose:
    """Axes in rows (3, 3), and where the centre of the box lies along them (3,)."""

    axes: Floats
    centre: Floats


@dataclass(frozen=True)
class _Posed:
    """A cloud in the pose with the smallest box: points and normals (n, 3), and its second pose as seen from there."""

    points: Floats
    normals: Floats
    tree: cKDTree
    second: _Pose

    def nearest(self, moved: Floats, reach_mm: float) -> tuple[NDArray[np.intp], Floats]:
        """(m, n): the nearest point to each of points (m, n, 3) within reach, _NONE where there is none; and (m,): how
        far away they are in the mean, the reach where there is none.
        """
        away_mm, index = self.tree.query(moved, distance_upper_bound=reach_mm)
        return np.where(np.isfinite(away_mm), index, _NONE), np.minimum(away_mm, reach_mm).mean(1)


@dataclass(frozen=True)
class _Moves:
    """Rigid motions: rotations (m, 3, 3), then shifts (m, 3)."""

    rotations: Floats
    shifts: Floats

    def __call__(self, points: Floats) -> Floats:
        """(m, n, 3) of points (n, 3)."""
        return points @ self.rotations.transpose(0, 2, 1) + self.shifts[:, None]

    def of_least(self, away_mm: Floats, count: int) -> _Moves:
        """The motions that leave least."""
        least = away_mm.argsort(kind="stable")[:count]
        return _Moves(self.rotations[least], self.shifts[least])


def fits(scan: NDArray[np.floating], parts: Sequence[NDArray[np.floating]]) -> Floats:
    """How well each of the parts fits a scan, from 0 to 1: at 1 both are samples of one surface.

    Clouds are (n, 6), mm and unit normals. What is left between them counts both ways, so what a part has too much
    counts as much as what it lacks; the noise of the scan counts against all parts alike.
    """
    posed = _posed(scan)
    reach_mm = max(_REACH * float(np.linalg.norm(np.ptp(posed.points, axis=0))), _LEAST_REACH_MM)
    return np.array([_fit(posed, _posed(part), reach_mm) for part in parts])


def _fit(scan: _Posed, part: _Posed, reach_mm: float) -> float:
    moves = _settled(scan, part, _starts(scan, part, reach_mm), reach_mm)
    there = moves(scan.points)
    there_near, _ = part.nearest(there, reach_mm)
    back = (part.points - moves.shifts[:, None]) @ moves.rotations
    back_near, _ = scan.nearest(back, reach_mm)
    # Both ways the part's own normals measure: those of a scan are estimated.
    forth = _agreement(there, part.points, there_near, part.normals[there_near], reach_mm)
    return float((forth + _agreement(back, scan.points, back_near, part.normals @ moves.rotations, reach_mm)).max() / 2)


def _posed(cloud: NDArray[np.floating]) -> _Posed:
    points, normals = np.asarray(cloud[:, :3], float), np.asarray(cloud[:, 3:], float)
    first, second = _poses(points, normals)
    turn = second.axes @ first.axes.T
    seen = _Pose(turn, second.centre - turn @ first.centre)
    local = points @ first.axes.T - first.centre
    return _Posed(local, normals @ first.axes.T, cKDTree(local), seen)


def _poses(points: Floats, normals: Floats) -> tuple[_Pose, _Pose]:
    """Two poses, that with the smaller box first: principal axes of the points and of the normals, turned on from there
    to the smallest box, which principal axes miss where a part is square or round.
    """
    outermost = _outermost(points)
    poses = []
    for spread in (np.cov(points.T), normals.T @ normals):
        axes = _turned_to_smallest_box(outermost, np.linalg.eigh(spread)[1].T)
        extents = np.ptp(outermost @ axes.T, axis=0)
        axes = axes[np.argsort(extents)]
        axes[2] *= np.sign(np.linalg.det(axes))
        along = outermost @ axes.T
        centre = (along.min(0) + along.max(0)) / 2
        poses.append((float(np.prod(extents + 1e-3 * extents.max())), _Pose(axes, centre)))
    (_, first), (_, second) = sorted(poses, key=lambda pose: pose[0])
    return first, second


def _outermost(points: Floats) -> Floats:
    """The points that lie farthest in each of many directions: their box is that of all, and they are few."""
    turn, height = np.arange(_DIRECTIONS) * np.pi * (3 - np.sqrt(5)), np.linspace(-1, 1, _DIRECTIONS)
    radius = np.sqrt(1 - height**2)
    directions = np.stack([radius * np.cos(turn), radius * np.sin(turn), height])
    return points[np.unique((directions.T @ points.T).argmax(1))]


def _turned_to_smallest_box(points: Floats, axes: Floats) -> Floats:
    """Axes turned about each of them, twice over, to where the box across it is smallest."""
    angles = np.radians(np.arange(0, 90, _TURN_STEP_DEG))
    for about in (0, 1, 2, 0, 1, 2):
        one, other = axes[(about + 1) % 3], axes[(about + 2) % 3]
        ones = np.outer(np.cos(angles), one) + np.outer(np.sin(angles), other)
        others = np.outer(np.cos(angles), other) - np.outer(np.sin(angles), one)
        best = (np.ptp(points @ ones.T, axis=0) * np.ptp(points @ others.T, axis=0)).argmin()
        axes = np.roll(np.stack([axes[about], ones[best], others[best]]), about, axis=0)
    return axes


def _proper_turns() -> Floats:
    """The 24 rotations that take axes to axes."""
    signed = [
        np.diag(signs)[list(order)] for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
    ]
    return np.array([turn for turn in signed if np.linalg.det(turn) > 0])


_TURNS = _proper_turns()


def _starts(scan: _Posed, part: _Posed, reach_mm: float) -> _Moves:
    """Of the ways to lay the scan's box, in either pose, into the part's, those that bring most points close."""
    moves = _Moves(
        np.concatenate([_TURNS, _TURNS @ scan.second.axes]),
        np.concatenate([np.zeros((len(_TURNS), 3)), -_TURNS @ scan.second.centre]),
    )
    looked_at = scan.points[:: max(1, len(scan.points) // _LOOKED_AT)]
    _, away_mm = part.nearest(moves(looked_at), _WIDER * reach_mm)
    return moves.of_least(away_mm, _STARTS)


def _settled(scan: _Posed, part: _Posed, moves: _Moves, reach_mm: float) -> _Moves:
    """The motions after a few steps, each to the least squares of the distances from the planes of the neighbours."""
    points = scan.points[:: max(1, len(scan.points) // _MOVED)]
    for step in range(_STEPS):
        limit_mm = reach_mm * max(1.0, _WIDER * (1 - step / (_NARROWED_AFTER * _STEPS)))
        moved = moves(points)
        nearest, away_mm = part.nearest(moved, limit_mm)
        better = [
            _step(there[near != _NONE], part.points[near[near != _NONE]], part.normals[near[near != _NONE]])
            for there, near in zip(moved, nearest, strict=True)
        ]
        rotations, shifts = (np.stack(arrays) for arrays in zip(*better, strict=True))
        moves = _Moves(rotations @ moves.rotations, np.einsum("mij,mj->mi", rotations, moves.shifts) + shifts)
        if step == _TRIED - 1:
            moves = moves.of_least(away_mm, _KEPT)
    return moves


def _step(points: Floats, nearest: Floats, normals: Floats) -> tuple[Floats, Floats]:
    """The small motion (rotation, shift) that brings points (n, 3) closest to the planes through `nearest`."""
    if len(points) < _FEWEST:
        return np.eye(3), np.zeros(3)
    away = ((nearest - points) * normals).sum(1)
    jacobian = np.hstack([np.cross(points, normals), normals])
    square = jacobian.T @ jacobian
    # A sphere may turn and a plane may slide: what nothing holds stays where it is.
    held = square + _DAMPING * np.diag(np.repeat([np.trace(square[:3, :3]), np.trace(square[3:, 3:])], 3) + 1e-12)
    motion = np.linalg.solve(held, jacobian.T @ away)
    return Rotation.from_rotvec(motion[:3]).as_matrix(), motion[3:]


def _agreement(moved: Floats, points: Floats, near: NDArray[np.intp], normals: Floats, reach_mm: float) -> Floats:
    """(m,): 1 less the mean distance of moved points (m, n, 3) from the planes through their neighbours, in reaches."""
    across = np.abs(((points[near] - moved) * normals).sum(2)) / reach_mm
    return 1 - np.where(near == _NONE, 1.0, np.minimum(across, 1.0)).mean(1)
