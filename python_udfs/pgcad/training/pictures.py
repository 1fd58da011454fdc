"""Pictures to learn from: every view of the prepared parts, framed and grey, in one array on disk; and what may
happen to a picture before somebody searches with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from pgcad.corpus.parts import Part
from pgcad.corpus.records import RANDOM_LOOKS, VIEWS_PER_LOOK, load_record
from pgcad.encoders.image import frame
from pgcad.geometry.views import VIEWS

CANONICAL = len(VIEWS)
PICTURES = CANONICAL + RANDOM_LOOKS * VIEWS_PER_LOOK
_MAX_ROLL_RAD = 0.25
_MAX_SHIFT = 0.08
_SCALES = (0.75, 1.15)
_WHITE = 0.97
_BLUR_SHARE, _BACKGROUND_SHARE, _WARP_SHARE = 0.4, 0.4, 0.3
_WARP = 0.02
_WARP_GRID = 6


def load_pictures(parts: Sequence[Part], side: int, file: Path, workers: int) -> NDArray[np.uint8]:
    """(n, PICTURES, side, side) grey, canonical views first; mapped from `file`, which is made when it is not there."""
    shape = (len(parts), PICTURES, side, side)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".partial")
        pictures = np.memmap(unfinished, np.uint8, "w+", shape=shape)
        with get_context("spawn").Pool(workers) as pool:
            for row, views in enumerate(pool.imap(partial(_framed, side), parts, chunksize=8)):
                pictures[row] = views
                if row % 500 == 0:
                    print(f"pictures {row}/{len(parts)}", flush=True)
        pictures.flush()
        unfinished.rename(file)
    return np.memmap(file, np.uint8, "r", shape=shape)


def _framed(side: int, part: Part) -> NDArray[np.uint8]:
    views = load_record(part.folder, part.key).views()
    pictures = torch.from_numpy(np.stack([frame(view)[..., 1] for view in views]))
    return interpolate(pictures.unsqueeze(1), (side, side), mode="bilinear", antialias=True).squeeze(1).numpy()


def disturbed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (n, 1, h, w) in 0 … 1 as a user may have them: rolled, cropped loosely or tightly, warped as by hand,
    out of focus, under other light, before another background, with noise.
    """
    n = len(pictures)
    background = (pictures > _WHITE).float()
    picture = torch.cat([pictures, background], 1)
    picture = grid_sample(picture, _grid(picture, generator), padding_mode="border", align_corners=False)
    pictures, background = picture[:, :1], picture[:, 1:]
    dull = torch.empty(n, 1, 1, 1).uniform_(0.5, 1.0, generator=generator)
    gamma = torch.empty(n, 1, 1, 1).uniform_(0.6, 1.6, generator=generator)
    pictures = (pictures.clamp(1e-3, 1) ** gamma) * dull + (1 - dull) * torch.rand(n, 1, 1, 1, generator=generator)
    pictures = torch.where(_chosen(n, _BACKGROUND_SHARE, generator), _before(pictures, background, generator), pictures)
    pictures = torch.where(_chosen(n, _BLUR_SHARE, generator), _blurred(pictures), pictures)
    noise = torch.empty(n, 1, 1, 1).uniform_(0, 0.05, generator=generator)
    return (pictures + noise * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)


def _grid(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Where each pixel is taken from: roll, scale, shift and, for some, a smooth warp."""
    n = len(pictures)
    roll = torch.empty(n).uniform_(-_MAX_ROLL_RAD, _MAX_ROLL_RAD, generator=generator)
    scale = torch.empty(n, 2).uniform_(*_SCALES, generator=generator).mean(1)
    shift = torch.empty(n, 2).uniform_(-_MAX_SHIFT, _MAX_SHIFT, generator=generator)
    cos, sin = roll.cos() / scale, roll.sin() / scale
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = affine_grid(theta, list(pictures.shape), align_corners=False)
    bend = torch.randn(n, 2, _WARP_GRID, _WARP_GRID, generator=generator) * _WARP
    bend = bend * _chosen(n, _WARP_SHARE, generator)
    return grid + interpolate(bend, pictures.shape[2:], mode="bicubic").permute(0, 2, 3, 1)


def _before(pictures: Tensor, background: Tensor, generator: torch.Generator) -> Tensor:
    """Instead of white, a plain or uneven background."""
    coarse = torch.rand(len(pictures), 1, 3, 3, generator=generator)
    uneven = interpolate(coarse, pictures.shape[2:], mode="bilinear", align_corners=True)
    return pictures * (1 - background) + uneven * background


def _blurred(pictures: Tensor) -> Tensor:
    return avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)


def _chosen(n: int, share: float, generator: torch.Generator) -> Tensor:
    """(n, 1, 1, 1) bool, true for about `share` of them."""
    return torch.rand(n, 1, 1, 1, generator=generator) < share
