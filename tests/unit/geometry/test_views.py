"""The ten pictures of a part: the right side, framed, white around it, always the same."""

from __future__ import annotations

import io

import numpy as np
import pytest
from build123d import Box, Cylinder, Pos
from pgcad.geometry.analyse import Analysis, analyse
from pgcad.geometry.views import VIEWS, camera_axes
from PIL import Image


@pytest.fixture(scope="module")
def bracket(to_step) -> Analysis:
    """A plate of 40 × 20 × 4 mm with a post on its right end and a small block at its front."""
    plate = Box(40, 20, 4) + Pos(16, 0, 12) * Cylinder(3, 20) + Pos(0, -12, 0) * Box(6, 4, 4)
    return analyse(to_step(plate), "step", {})


def silhouette(picture: np.ndarray) -> tuple[int, int]:
    """Width and height in pixels of what is not white."""
    rows, columns = np.nonzero((picture < 250).any(axis=2))
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def test_there_are_ten_views_with_white_around_the_part(bracket):
    assert bracket.views.shape == (10, 224, 224, 3)
    border = np.concatenate(
        [bracket.views[:, 0], bracket.views[:, -1], bracket.views[:, :, 0], bracket.views[:, :, -1]]
    )
    assert (border == 255).all()
    assert all((view < 250).any() for view in bracket.views)


@pytest.mark.parametrize(("view", "ratio"), [(0, 40 / 24), (2, 24 / 24), (4, 40 / 24), (3, 24 / 24)])
def test_each_side_shows_its_own_proportions(bracket, view, ratio):
    width, height = silhouette(bracket.views[view])
    assert width / height == pytest.approx(ratio, rel=0.06)


@pytest.mark.parametrize(("view", "side"), [(0, 1), (1, -1)])
def test_the_post_on_the_right_is_on_the_right_from_the_front_and_on_the_left_from_behind(bracket, view, side):
    upper_half = bracket.views[view][:100]
    columns = np.nonzero((upper_half < 250).any(axis=(0, 2)))[0]
    assert np.sign(columns.mean() - 112) == side


def test_all_views_share_one_scale(bracket):
    front, top = silhouette(bracket.views[0]), silhouette(bracket.views[4])
    assert front[0] == pytest.approx(top[0], abs=3)


def test_cameras_stand_where_their_angles_say():
    towards = {view.name: camera_axes(view)[0].round(6).tolist() for view in VIEWS}
    assert towards["front"] == [0, -1, 0]
    assert towards["right"] == [1, 0, 0]
    assert towards["top"] == [0, 0, 1]
    assert towards["isometric 45"] == pytest.approx([3**-0.5, -(3**-0.5), 3**-0.5], abs=1e-4)


def test_pngs_hold_the_same_pictures(bracket):
    for view, png in zip(bracket.views, bracket.view_pngs, strict=True):
        assert (np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) == view).all()


def test_the_thumbnail_has_the_colours_of_the_part(assembly_step):
    thumbnail = np.asarray(Image.open(io.BytesIO(analyse(assembly_step, "step", {}).thumbnail_png)).convert("RGB"))
    assert thumbnail.shape == (256, 256, 3)
    red, green, blue = thumbnail.reshape(-1, 3).astype(int).T
    assert ((red > blue + 60) & (red > green + 60)).sum() > 500
    assert ((blue > red + 60) & (blue > green + 60)).sum() > 100
