"""What a drawing of a part would say is read off its faces and edges."""

from __future__ import annotations

import numpy as np
import pytest
from build123d import Box, Compound, Cylinder, Pos, Rot
from pgcad.geometry.measures import MOST_VALUES, measures, short_measures
from unit.geometry.conftest import graph_of


def header(pins: int, pitch_mm: float) -> Compound:
    """A row of pins on a bar."""
    bar = Box(pins * pitch_mm, 2.5, 2.5)
    return Compound(children=[bar, *(Pos(i * pitch_mm, 0, 5) * Box(0.6, 0.6, 6) for i in range(pins))])


def test_pins_and_pitch_are_counted_and_measured() -> None:
    found = measures(graph_of(header(7, 2.54)))
    assert np.isclose(found["pitch_mm"], 2.54, rtol=1e-4).any()
    assert set(found["count"]) >= {14, 28}  # each pin has two ends and four sides


def test_diameters_are_read_off_round_faces() -> None:
    assert measures(graph_of(Box(20, 20, 5) - Cylinder(3.2, 5)))["diameter_mm"] == pytest.approx(6.4)


def test_lengths_are_those_of_faces_and_straight_edges_however_the_part_is_turned() -> None:
    part = Pos(30, -7, 4) * Rot(25, 130, 70) * Box(20, 12, 5)
    assert np.unique(measures(graph_of(part))["length_mm"].round(3)).tolist() == [5, 12, 20]


def test_of_many_values_the_common_ones_are_kept() -> None:
    odd = [Pos(0, 10 * i, 0) * Box(1, 1.0, 2 + i / 100) for i in range(2 * MOST_VALUES)]
    short = short_measures(graph_of(Compound(children=odd)))
    assert len(short["length_mm"]) == MOST_VALUES
    assert short["length_mm"] == sorted(short["length_mm"])
    assert 1.0 in short["length_mm"]
