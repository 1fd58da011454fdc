"""What describes a cloud as a whole: its size, at which distances it repeats, and how its points lie to each other.

The last is the same however the part is turned and hardly changes with the triangles it was sampled from: histograms
of surflet pairs (Wahl, Hillenbrand and Hirzinger 2003, "Surflet-Pair-Relation Histograms") and the spread of the
points about their centre.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.encoders.log_grid import WAVES_WIDTH, log_grid, log_waves

_LOW_MM, _HIGH_MM, _SIZE_BINS, _SPREAD_BINS = 0.05, 2000.0, 96, 48
_HARMONICS = 64
# IPC-7351, IEC 60297 and common connector practice: distances at which pins, leads and holes repeat.
STANDARD_PITCHES_MM = (
    0.35, 0.4, 0.5, 0.635, 0.65, 0.8, 0.95, 1.0, 1.25, 1.27, 1.5, 2.0, 2.29, 2.5, 2.54, 2.77, 3.5, 3.81, 3.96, 5.0,
    5.08, 7.5, 7.62, 10.0, 10.16, 15.0, 20.0,
)  # fmt: skip
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SPREADS = 3 + len(_QUANTILES)
_PAIR_POINTS = 512
_DISTANCES, _ANGLES = 16, 5  # with 5, no edge of a bin lies at 30, 45 or 60 degrees
_FARTHEST = 3.2  # of the root mean square distance from the centre
_HISTOGRAM = _DISTANCES * _ANGLES * _ANGLES
SIGNATURE_WIDTH = (
    3 * (_SIZE_BINS + _HARMONICS + len(STANDARD_PITCHES_MM)) + _SPREADS * (_SPREAD_BINS + WAVES_WIDTH) + _HISTOGRAM
)


def signature(own: Tensor, extents_mm: Tensor) -> Tensor:
    """(n, SIGNATURE_WIDTH) of clouds (n, m, 6) in their own frames and their extents (n, 3)."""
    xyz, normals = own[..., :3], own[..., 3:]
    size = log_grid(extents_mm, _LOW_MM, _HIGH_MM, _SIZE_BINS).flatten(1)
    spread_mm = spreads(xyz)
    places = log_grid(spread_mm, _LOW_MM, _HIGH_MM, _SPREAD_BINS).flatten(1)
    waves = log_waves(spread_mm).flatten(1)
    return torch.cat([size, periods(xyz, extents_mm), places, waves, surflet_pairs(xyz, normals)], 1)


def periods(xyz: Tensor, extents_mm: Tensor) -> Tensor:
    """|characteristic function| of the coordinates along each axis, (n, 3 × (harmonics + pitches)).

    A row of N pins peaks at harmonic N of its axis and at its own pitch; position and direction do not matter.
    """
    harmonic = torch.arange(1, _HARMONICS + 1, device=xyz.device) / extents_mm.clamp_min(1e-6).unsqueeze(2)
    pitch = (1.0 / torch.tensor(STANDARD_PITCHES_MM, device=xyz.device)).expand(len(xyz), 3, -1)
    phase = (2 * torch.pi) * xyz.transpose(1, 2).unsqueeze(3) * torch.cat([harmonic, pitch], 2).unsqueeze(2)
    return torch.hypot(phase.cos().mean(2), phase.sin().mean(2)).flatten(1)


def spreads(xyz: Tensor) -> Tensor:
    """(n, 8) mm: standard deviations along the principal axes, ascending, and quantiles of the distance from the mean
    point.
    """
    centred = xyz - xyz.mean(1, keepdim=True)
    deviations = torch.linalg.eigvalsh(centred.transpose(1, 2) @ centred / xyz.shape[1]).clamp_min(0).sqrt()
    quantiles = torch.tensor(_QUANTILES, dtype=xyz.dtype, device=xyz.device)
    radii = centred.norm(dim=2).quantile(quantiles, dim=1).T
    return torch.cat([deviations, radii], 1)


def surflet_pairs(xyz: Tensor, normals: Tensor) -> Tensor:
    """(n, 400): how often pairs of points have a distance, an angle between their normals, and an angle of the steeper
    normal with the way from one to the other; square roots of shares. Which side a normal points to does not count.
    """
    n, m, _ = xyz.shape
    step = max(1, m // _PAIR_POINTS)
    points, at = xyz[:, ::step][:, :_PAIR_POINTS], normals[:, ::step][:, :_PAIR_POINTS]
    k = points.shape[1]
    first, second = torch.triu_indices(k, k, 1, device=xyz.device)
    way = points[:, second] - points[:, first]
    distance = way.norm(dim=2)
    way = normalize(way, dim=2)
    rms = (xyz - xyz.mean(1, keepdim=True)).pow(2).sum(2).mean(1).sqrt().clamp_min(1e-9)
    far = (distance / rms.unsqueeze(1) * (_DISTANCES / _FARTHEST)).long().clamp_max(_DISTANCES - 1)
    between = _angle((at[:, first] * at[:, second]).sum(2))
    steep = _angle(torch.maximum((at[:, first] * way).sum(2).abs(), (at[:, second] * way).sum(2).abs()))
    place = (far * _ANGLES + between) * _ANGLES + steep + _HISTOGRAM * torch.arange(n, device=xyz.device).unsqueeze(1)
    counts = torch.bincount(place.flatten(), minlength=n * _HISTOGRAM).view(n, _HISTOGRAM).to(xyz)
    return (counts / len(first)).sqrt()


def _angle(cosine: Tensor) -> Tensor:
    """Bins 0 … _ANGLES − 1 of angles between lines, of equal width."""
    return (cosine.abs().clamp_max(1).acos() * (2 * _ANGLES / torch.pi)).long().clamp_max(_ANGLES - 1)
