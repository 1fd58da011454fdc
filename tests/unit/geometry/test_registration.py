"""Two clouds of one surface fit better than those of two surfaces, however they lie, with noise and from one side."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from pgcad.corpus.clouds import facing, noisy, random_rotation
from pgcad.geometry.analyse import cloud_points
from pgcad.geometry.registration import fits
from pgcad.geometry.sampling import sample_surface
from pgcad.geometry.surface import Surface

Cloud = NDArray[np.float32]


def cloud_of(*boxes: tuple[tuple[float, float, float], tuple[float, float, float]], seed: int = 0) -> Cloud:
    """Points on boxes of these sizes at these places, in mm."""
    mesh = trimesh.util.concatenate([
        trimesh.creation.box(size, trimesh.transformations.translation_matrix(at)) for size, at in boxes
    ])  # fmt: skip
    return sample_surface(Surface(mesh.vertices, mesh.faces.astype(np.int32)), seed=seed)


def comb(teeth: int, seed: int = 0, length: float = 20.0) -> Cloud:
    """A bar with so many teeth along one side, and a nose at one end."""
    places = np.linspace(-length / 2 + 1, length / 2 - 1, teeth)
    parts = [((1.0, 1.0, 4.0), (float(x), 0.0, 3.0)) for x in places]
    return cloud_of(((length, 4, 2), (0, 0, 0)), ((2, 2, 3), (length / 2, 1, 2.5)), *parts, seed=seed)


def turned(cloud: Cloud, rng: Random) -> Cloud:
    rotation = random_rotation(rng)
    return np.hstack([rotation.apply(cloud[:, :3]) + 30, rotation.apply(cloud[:, 3:])]).astype(np.float32)


def test_another_sample_of_the_same_surface_fits_however_it_lies() -> None:
    for seed in range(6):
        [fit] = fits(turned(comb(6, seed=1), Random(seed)), [comb(6)])
        assert fit > 0.97


@pytest.mark.parametrize("teeth", [5, 6, 7])
def test_a_noisy_scan_fits_its_own_part_best(teeth: int) -> None:
    rng = Random(teeth)
    scan = cloud_points(noisy(turned(comb(teeth, seed=1), rng)[:, :3], rng))
    assert 5 + int(fits(scan, [comb(5), comb(6), comb(7)]).argmax()) == teeth


def test_so_does_a_scan_of_one_side() -> None:
    for seed in range(4):
        rng = Random(seed)
        scan = cloud_points(noisy(facing(turned(comb(6, seed=1), rng), rng), rng, 0.003))
        assert int(fits(scan, [comb(5), comb(6), comb(7)]).argmax()) == 1


def test_what_a_part_has_too_much_counts_as_what_it_lacks() -> None:
    bar, with_block = cloud_of(((20, 5, 4), (0, 0, 0))), cloud_of(((20, 5, 4), (0, 0, 0)), ((5, 5, 4), (0, 0, 4)))
    for scan, same, other in ((bar, bar, with_block), (with_block, with_block, bar)):
        right, wrong = fits(turned(scan, Random(2)), [same, other])
        assert right > wrong + 0.1


def test_sizes_and_mirror_images_are_told_apart() -> None:
    scan, mirrored = turned(comb(6, seed=1), Random(3)), comb(6) * [-1, 1, 1, -1, 1, 1]
    right, longer, other_hand = fits(scan, [comb(6), comb(6, length=20.6), mirrored])
    assert right > longer + 0.02
    assert right > other_hand + 0.02


def test_a_square_part_has_no_principal_axes_and_still_fits() -> None:
    corners = [((1.0, 1.0, 1.0), (x, y, 1.0)) for x in (-9.5, 9.5) for y in (-9.5, 9.5)]
    plate = (((20.0, 20.0, 1.0), (0.0, 0.0, 0.0)), *corners)
    for seed in range(4):
        [fit] = fits(turned(cloud_of(*plate, seed=1), Random(seed)), [cloud_of(*plate)])
        assert fit > 0.97


@pytest.mark.parametrize(
    "flat",
    [
        np.tile([1, 2, 3, 0, 0, 1], (2048, 1)),
        np.hstack([np.linspace(0, 9, 2048)[:, None] * [1, 0, 0], np.tile([0, 0, 1], (2048, 1))]),
        np.hstack([np.random.default_rng(1).random((2048, 2)), np.tile([0, 0, 0, 1], (2048, 1))]),
    ],
    ids=["one place", "a line", "a plane"],
)
def test_clouds_without_volume_get_a_number(flat: NDArray[np.float64]) -> None:
    found = fits(flat.astype(np.float32), [flat.astype(np.float32), comb(5)])
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(1.0, abs=1e-3)
    assert found[1] < 0.9


def test_the_same_clouds_fit_the_same_every_time() -> None:
    scan = turned(comb(7), Random(1))
    np.testing.assert_array_equal(fits(scan, [comb(5), comb(6)]), fits(scan, [comb(5), comb(6)]))
