"""The B-rep tower: blind to how a part is turned, not to its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from build123d import Box, Compound, Cylinder, Pos, Rot
from pgcad.encoders.brep import MEASURE_WIDTH, BrepTower, brep_features
from pgcad.encoders.log_grid import log_waves
from pgcad.geometry.brep_graph import BrepGraph
from unit.geometry.conftest import graph_of


def header(pins: int, pitch_mm: float) -> Compound:
    """A row of pins on a bar."""
    bar = Box(pins * pitch_mm, 2.5, 2.5)
    return Compound(children=[bar, *(Pos(i * pitch_mm, 0, 5) * Box(0.6, 0.6, 6) for i in range(pins))])


@pytest.fixture(scope="module")
def tower() -> BrepTower:
    torch.manual_seed(0)
    tower = BrepTower().eval()
    torch.nn.init.normal_(tower.numbers.weight, std=0.05)
    return tower


def vectors(tower: BrepTower, *graphs: BrepGraph) -> np.ndarray:
    with torch.inference_mode():
        return tower(brep_features(graphs)).numpy()


def test_a_turned_part_has_the_same_vector(tower: BrepTower) -> None:
    part = header(5, 2.54)
    turned = Pos(30, -7, 4) * Rot(25, 130, 70) * part
    straight, crooked = vectors(tower, graph_of(part), graph_of(turned))
    assert straight @ crooked == pytest.approx(1, abs=1e-3)


def test_alone_and_in_a_batch_the_vector_is_the_same(tower: BrepTower) -> None:
    graphs = [graph_of(shape) for shape in (header(3, 2.0), Cylinder(3, 10), Box(1, 2, 3))]
    together = vectors(tower, *graphs)
    alone = np.concatenate([vectors(tower, graph) for graph in graphs])
    assert together == pytest.approx(alone, abs=1e-5)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)


def test_waves_tell_one_pitch_from_the_next_whatever_their_size() -> None:
    inch, metric, tenfold, tenfold_metric = log_waves(torch.tensor([2.54, 2.5, 25.4, 25.0]))
    assert inch @ inch == pytest.approx(1)
    assert inch @ metric < 0.8
    assert inch @ metric == pytest.approx(float(tenfold @ tenfold_metric), abs=1e-3)


def test_a_shape_without_faces_has_a_vector_too(tower: BrepTower) -> None:
    nothing = BrepGraph(
        *(np.zeros(0, np.float32),) * 3, np.zeros((0, 3)), np.zeros((0, 5, 5, 7)), np.zeros((0, 2), np.int32),
        np.zeros(0, np.uint8), np.zeros(0), np.zeros((0, 5, 3)),
    )  # fmt: skip
    assert brep_features([nothing]).measures.shape == (1, MEASURE_WIDTH)
    both = vectors(tower, nothing, graph_of(Box(1, 2, 3)))
    assert np.isfinite(both).all()
