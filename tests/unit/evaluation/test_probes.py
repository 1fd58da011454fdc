"""What stands for somebody's own files of a part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pgcad.evaluation.probes import probe
from pgcad.geometry.reading import read

SAMPLE = min((Path(__file__).parents[3] / "samples").rglob("*.step"), key=lambda file: file.stat().st_size)


def test_the_exact_faces_of_a_part_are_turned_and_otherwise_the_same() -> None:
    faces = read(SAMPLE.read_bytes(), "step", with_brep=True).brep
    turned = probe(SAMPLE, "a seed").brep
    assert faces is not None
    assert turned.area_mm2 == pytest.approx(faces.area_mm2, rel=1e-4)
    assert turned.face_type.tolist() == faces.face_type.tolist()
    apart = [np.linalg.norm(graph.centroid_mm[:, None] - graph.centroid_mm, axis=2) for graph in (faces, turned)]
    assert apart[1] == pytest.approx(apart[0], abs=1e-2)
    assert np.abs(turned.centroid_mm - faces.centroid_mm).max() > 1
