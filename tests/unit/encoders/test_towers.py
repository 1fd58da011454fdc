"""What the towers must and must not react to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pgcad.encoders.image import SIDE, frame
from pgcad.encoders.own_frame import own_frame
from pgcad.encoders.shape_signature import periods, surflet_pairs
from pgcad.encoders.space import CadSpace
from scipy.spatial.transform import Rotation
from unit.encoders.conftest import box_cloud


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b)


def test_shape_ignores_where_the_part_lies(space: CadSpace) -> None:
    cloud = box_cloud(3, 7, 19)
    moved = cloud.copy()
    moved[:, :3] += [100, -50, 20]
    here, there = space.embed_points(np.stack([cloud, moved]))
    assert cosine(here, there) > 0.999


@pytest.mark.parametrize("angles", [(90, 0, 0), (0, 90, 0), (90, 90, 0), (33, -71, 120)])
def test_shape_ignores_how_the_part_is_turned(space: CadSpace, angles: tuple[float, float, float]) -> None:
    cloud = box_cloud(3, 7, 19)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().astype(np.float32)
    turned = np.hstack([cloud[:, :3] @ turn.T, cloud[:, 3:] @ turn.T])
    upright, lying = space.embed_points(np.stack([cloud, turned]))
    assert cosine(upright, lying) > 0.98


def test_shape_sees_size(space: CadSpace) -> None:
    small, same, large = space.embed_points(
        np.stack([box_cloud(3, 7, 19), box_cloud(3, 7, 19, seed=1), box_cloud(9, 21, 57)])
    )
    assert cosine(small, same) > cosine(small, large) + 0.1


def test_own_frame_keeps_lengths_and_handedness() -> None:
    cloud = torch.from_numpy(box_cloud(3, 7, 19))[None]
    own, extents_mm = own_frame(cloud)
    assert extents_mm[0].tolist() == pytest.approx([3, 7, 19], rel=0.02)
    triple = [torch.linalg.det(points[0, :3, :3] - points[0, 3:4, :3]).sign() for points in (cloud, own)]
    assert triple[0] == triple[1]


def turned_cloud(cloud: np.ndarray, seed: int) -> np.ndarray:
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix().astype(np.float32)
    return np.hstack([cloud[:, :3] @ turn.T, cloud[:, 3:] @ turn.T])


@pytest.mark.parametrize("size_mm", [(10, 10, 10), (10, 10, 30), (3, 7, 19)])
def test_a_box_stands_straight_in_its_own_frame_however_it_lies(size_mm: tuple[float, float, float]) -> None:
    # As many normals along every axis: principal axes of the normals of a cube may be any.
    clouds = torch.from_numpy(np.stack([turned_cloud(box_cloud(*size_mm), seed) for seed in range(8)]))
    for extents_mm in own_frame(clouds)[1].tolist():
        assert extents_mm == pytest.approx(size_mm, rel=0.01)


def test_surflet_pairs_know_a_part_turned_and_noisy_from_another() -> None:
    rng = np.random.default_rng(0)
    cloud = box_cloud(3, 7, 19)
    noisy = turned_cloud(cloud, 2) + np.hstack([rng.normal(0, 0.05, (2048, 3)), np.zeros((2048, 3))])
    clouds = torch.from_numpy(np.stack([cloud, turned_cloud(cloud, 1), noisy, box_cloud(7, 7, 19)])).float()
    own, turned, disturbed, other = surflet_pairs(clouds[..., :3], clouds[..., 3:])
    assert own.norm() == pytest.approx(1, abs=1e-5)
    assert own @ turned == pytest.approx(1, abs=0.01)
    assert own @ disturbed > own @ other + 0.05


def test_periods_peak_at_the_number_of_pins() -> None:
    pins = torch.arange(12.0).repeat_interleave(20) * 2.54
    xyz = torch.stack([torch.zeros(240), torch.zeros(240), pins], 1)[None]
    length_mm = 12 * 2.54
    spectrum = periods(xyz, torch.tensor([[0.0, 0.0, length_mm]]))
    harmonics = spectrum.view(1, 3, -1)[0, 2, :64]
    assert harmonics[:20].argmax() == 11


@pytest.mark.parametrize(
    ("chinese", "english", "unrelated"),
    [
        ("排针 2x05 间距2.54mm", "pin header 2x05 2.54mm pitch", "ball bearing 10 x 26 x 8 mm"),
        ("深沟球轴承", "deep groove ball bearing", "electrolytic capacitor"),
        ("电解电容", "electrolytic capacitor", "hexagon head bolt"),
        ("六角头螺栓 M8", "hexagon head bolt M8", "pin socket strip"),
        ("弹性挡圈", "retaining ring", "D-Sub connector"),
    ],
)
def test_chinese_is_near_its_english(space: CadSpace, chinese: str, english: str, unrelated: str) -> None:
    zh, en, other = space.embed_text([chinese, english, unrelated])
    assert cosine(zh, en) > cosine(zh, other) + 0.1
    assert cosine(zh, en) > cosine(en, other) + 0.1


def test_framing_ignores_scale_and_place() -> None:
    def picture(side: int, top: int, left: int, size: int) -> np.ndarray:
        canvas = np.full((side, side, 3), 250, np.uint8)
        canvas[top : top + size, left : left + size // 2] = 60
        return frame(canvas)

    near, far = picture(200, 10, 20, 160), picture(400, 300, 100, 80)
    assert near.shape == (SIDE, SIDE, 3)
    assert np.abs(near.astype(int) - far).mean() < 4


def test_framing_keeps_a_picture_without_plain_background() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    assert frame(noise).shape == (SIDE, SIDE, 3)
