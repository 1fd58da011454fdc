"""What may happen to a part before somebody searches with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from build123d import Box, Compound, Pos
from pgcad.encoders.brep import brep_features
from pgcad.encoders.shape import shape_features
from pgcad.training import tensors
from pgcad.training.pictures import disturbed
from pgcad.training.shapes import cloud_variants
from pgcad.training.tensors import augmented, breps, thinned_breps
from unit.encoders.conftest import box_cloud
from unit.geometry.conftest import graph_of


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distances(cloud: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(cloud[:, :3], axis=0), axis=1)


def deviations(cloud: np.ndarray) -> np.ndarray:
    return np.linalg.svd(cloud[:, :3] - cloud[:, :3].mean(0), compute_uv=False) / len(cloud) ** 0.5


def rod_with_many_grooves() -> Compound:
    return Compound(children=[Pos(0, 0, 3 * i) * Box(4, 4, 2) for i in range(40)])


def test_variants_are_the_part_turned_noisy_and_seen_from_one_side() -> None:
    cloud = box_cloud(10, 20, 30)
    own, turned, noisy, one_sided = cloud_variants(cloud, "a part")
    assert (own == cloud).all()
    assert distances(turned) == pytest.approx(distances(cloud), abs=1e-3)
    assert np.abs(turned[:, :3] - cloud[:, :3]).max() > 1
    assert distances(noisy) != pytest.approx(distances(cloud), abs=1e-3)
    assert deviations(noisy) == pytest.approx(deviations(cloud), rel=0.05)
    assert len(np.unique(one_sided[:, :3], axis=0)) < 0.7 * len(cloud)
    assert (cloud_variants(cloud, "a part") == np.stack([own, turned, noisy, one_sided])).all()


def test_some_curves_of_large_graphs_are_left_out_and_no_faces() -> None:
    graphs = [brep_features([graph_of(shape)]) for shape in (Box(1, 2, 3), rod_with_many_grooves())]
    whole, thinned = breps(graphs, [0, 1]), thinned_breps(graphs, [0, 1], generator())
    assert len(thinned.faces) == len(whole.faces)
    assert len(thinned.pairs) == len(graphs[0].pairs) + tensors._CURVES_PER_GRAPH
    assert len(whole.pairs) > len(thinned.pairs)
    assert torch.equal(thinned.measures, whole.measures)


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
