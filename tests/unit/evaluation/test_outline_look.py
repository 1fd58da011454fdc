"""The second look at the first hits of a picture: whose outline agrees comes first, as far as any is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from pgcad.corpus.records import record_file
from pgcad.corpus.split import Row
from pgcad.evaluation import outline_look
from pgcad.evaluation.gallery import Gallery
from pgcad.evaluation.outline_look import look_at_outlines
from pgcad.geometry.sampling import sample_surface
from pgcad.geometry.surface import Surface
from pgcad.geometry.views import View, render

PARTS = 6


def bar(number: int) -> Surface:
    """Each a third longer than the one before."""
    mesh = trimesh.creation.box((10 * 1.33**number, 8, 3))
    return Surface(mesh.vertices, mesh.faces.astype(np.int32))


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    rows = [Row(f"bar/{number}.step", "test", "bar", "", "") for number in range(PARTS)]
    for number, row in enumerate(rows):
        file = record_file(tmp_path, row.path)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, points=sample_surface(bar(number), seed=number))
    none = torch.zeros(PARTS, 1)
    return Gallery(rows, none, none, none, none, none, [], [], torch.arange(PARTS), tmp_path)


def picture(number: int) -> np.ndarray:
    return render(bar(number), [View("above", 20, 60)])[0]


def test_the_part_whose_outline_agrees_comes_first(gallery: Gallery) -> None:
    scores = torch.linspace(0.9, 0.8, PARTS).repeat(2, 1)
    plain, weighted = look_at_outlines(scores, [picture(4), picture(1)], gallery, workers=1, weights=(0.0, 8.0))
    assert plain.mixed(0.0).argmax(1).tolist() == [0, 0]
    assert weighted.mixed(8.0).argmax(1).tolist() == [4, 1]
    assert weighted.fit.max() > 0.95


def test_only_the_best_by_then_are_refined(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline_look, "COMPARED", 4)
    monkeypatch.setattr(outline_look, "REFINED", 2)
    calls = []
    monkeypatch.setattr(outline_look, "refined_overlap", lambda *_: calls.append(1) or 0.5)
    shelf = outline_look._Shelf(gallery.folder, [row.path for row in gallery.rows], gallery.folder / "all.npy")
    np.save(shelf.silhouettes, [outline_look._silhouettes(gallery.folder, key) for key in shelf.keys])
    question = outline_look._Question(picture(3), np.arange(4), np.array([0.9, 0.8, 0.7, 0.6], np.float32))
    [fits] = outline_look._fits(shelf, (8.0,), question)
    assert len(calls) == 2
    assert sorted(fits) == [0.5] * 4  # the others are no better than the worst of these


def test_a_picture_without_an_outline_agrees_with_all_alike(gallery: Gallery) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    scores = torch.linspace(0.9, 0.8, PARTS).unsqueeze(0)
    [look] = look_at_outlines(scores, [noise], gallery, workers=1)
    assert look.mixed().argsort(descending=True).tolist() == [list(range(PARTS))]
