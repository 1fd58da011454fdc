"""What may happen to a part before somebody searches with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pgcad.encoders.shape import shape_features
from pgcad.training import tensors
from pgcad.training.pictures import disturbed
from pgcad.training.tensors import augmented
from unit.encoders.conftest import box_cloud


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_scan_from_one_side_shows_no_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_ONE_SIDE_SHARE", 1.0)
    clouds = torch.from_numpy(np.stack([box_cloud(10, 20, 30, seed) for seed in range(8)]))
    xyz, normals = tensors._from_one_side(clouds[..., :3], clouds[..., 3:], generator())
    assert torch.isin(xyz.flatten(), clouds[..., :3].flatten()).all()  # points that were there, no others
    sides = [len(torch.unique(one.round(), dim=0)) for one in normals]
    assert max(sides) <= 3  # of a box a scanner sees three faces


def test_augmented_parts_keep_their_form_and_change_their_place() -> None:
    features = shape_features(torch.from_numpy(np.stack([box_cloud(10, 20, 30)] * 64)))
    changed = augmented(features, generator())
    assert changed.points.shape == features.points.shape
    assert (changed.points[..., 3:].norm(dim=2) - 1).abs().max() < 1e-4
    assert (changed.points[..., :3].abs().amax((1, 2)) < 1.25).all()
    assert len(torch.unique(changed.points[:, 0, 0])) == 64


def test_disturbed_pictures_stay_pictures_and_differ() -> None:
    picture = torch.ones(1, 1, 64, 64)
    picture[..., 20:44, 10:54] = 0.3
    changed = disturbed(picture.expand(32, -1, -1, -1), generator())
    assert changed.shape == (32, 1, 64, 64)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert len({float(one.mean()) for one in changed}) == 32
