"""The loaded space: shapes, unit length, determinism, and which checkpoints it takes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pgcad.encoders.checkpoint import SUMS_FILE, TOWERS_FILE, load_checkpoint, save_checkpoint
from pgcad.encoders.fusion import FusionWeights
from pgcad.encoders.prior import TextPrior
from pgcad.encoders.space import PRIOR, TOWERS, WEIGHTS, CadSpace
from pgcad.encoders.text import passage
from pgcad.errors import CadError
from unit.encoders.conftest import box_cloud

PICTURE = np.full((120, 90, 3), 255, np.uint8)
PICTURE[30:80, 20:60] = 90


def test_every_tower_gives_unit_rows(space: CadSpace) -> None:
    vectors = [
        space.embed_text(["M8 hex nut", "六角螺母 M8"]),
        space.embed_image([PICTURE, PICTURE[:50]]),
        space.embed_points(np.stack([box_cloud(1, 2, 3), box_cloud(10, 20, 5)])),
    ]
    for rows in vectors:
        assert rows.shape == (2, 512)
        assert rows.dtype == np.float32
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-4)


def test_no_input_gives_no_rows(space: CadSpace) -> None:
    assert space.embed_text([]).shape == (0, 512)
    assert space.embed_image([]).shape == (0, 512)
    assert space.embed_points(np.zeros((0, 2048, 6), np.float32)).shape == (0, 512)


def test_same_input_same_vector_alone_and_in_a_batch(space: CadSpace) -> None:
    cloud = box_cloud(3, 4, 5)
    alone = space.embed_points(cloud[None])
    batch = space.embed_points(np.stack([cloud, box_cloud(1, 1, 9)]))
    assert np.array_equal(alone, space.embed_points(cloud[None]))
    assert batch[0] == pytest.approx(alone[0], abs=1e-4)
    text = space.embed_text(["pin header 2x05"])
    assert space.embed_text(["pin header 2x05", "a long sentence about something else entirely"])[0] == pytest.approx(
        text[0], abs=2e-3
    )


def test_short_numbers_hardly_change_a_picture_s_vector(space: CadSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = []
    for short in (False, True):
        monkeypatch.setattr(space, "_short_numbers", short)
        vectors.append(space.embed_image([PICTURE])[0])
    assert 0.99 < vectors[0] @ vectors[1] < 1 - 1e-7  # another number, and nearly the same


def test_fuse_is_unit_and_uses_what_is_given(space: CadSpace) -> None:
    text, shape = space.embed_text(["washer"])[0], space.embed_points(box_cloud(1, 2, 3)[None])[0]
    fused = space.fuse(text=text, shape=shape)
    assert np.linalg.norm(fused) == pytest.approx(1.0, abs=1e-5)
    assert space.fuse(shape=shape) == pytest.approx(shape, abs=1e-5)
    assert not np.allclose(fused, shape, atol=1e-3)
    with pytest.raises(CadError, match="nothing to fuse"):
        space.fuse()


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x01"])
def test_empty_text_is_refused(space: CadSpace, text: str) -> None:
    with pytest.raises(CadError) as error:
        space.embed_text(["bolt", text])
    assert error.value.sqlstate == "22023"


def test_control_characters_and_lone_surrogates_do_no_harm(space: CadSpace) -> None:
    dirty, plain = space.embed_text(["M8\x00 bolt\ud800\x1b", "M8 bolt"])
    assert dirty == pytest.approx(plain, abs=1e-4)


def test_wrong_clouds_are_refused(space: CadSpace) -> None:
    with pytest.raises(CadError, match="shape"):
        space.embed_points(np.zeros((1, 100, 6), np.float32))
    with pytest.raises(CadError, match="not finite"):
        space.embed_points(np.full((1, 2048, 6), np.nan, np.float32))


def test_a_cloud_without_extent_still_gives_a_vector(space: CadSpace) -> None:
    assert np.isfinite(space.embed_points(np.zeros((1, 2048, 6), np.float32))).all()


def test_version_names_the_weights(untrained: Path, tmp_path: Path) -> None:
    version = CadSpace.load(untrained, "cpu").version
    assert re.fullmatch(r"cad-[0-9a-f]{12}", version)
    assert CadSpace.load(shutil.copytree(untrained, tmp_path / "copy"), "cpu").version == version
    towers = {name: tower() for name, tower in TOWERS.items()}
    tensors, fusion, _ = load_checkpoint(untrained)
    for name, tower in towers.items():
        tower.load_state_dict(tensors[name])
    with torch.no_grad():
        next(towers["shape"].parameters())[0] += 0.25
    save_checkpoint(tmp_path / "changed", towers, fusion)
    assert CadSpace.load(tmp_path / "changed", "cpu").version != version


def test_weights_survive_a_round_trip(untrained: Path) -> None:
    tensors, fusion, _ = load_checkpoint(untrained)
    assert fusion == FusionWeights(1.0, 1.0, 1.0)
    for name, tower in TOWERS.items():
        assert tensors[name].keys() == tower().state_dict().keys()


def test_a_damaged_checkpoint_is_refused(untrained: Path) -> None:
    file = untrained / TOWERS_FILE
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CadError, match="damaged") as error:
        CadSpace.load(untrained)
    assert error.value.sqlstate == "55000"
    assert "pgcad train" in error.value.hint


@pytest.mark.parametrize("missing", [TOWERS_FILE, SUMS_FILE])
def test_an_incomplete_folder_is_refused(untrained: Path, missing: str) -> None:
    (untrained / missing).unlink()
    with pytest.raises(CadError, match="no usable encoder weights"):
        CadSpace.load(untrained)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"text": TOWERS["text"](hidden=64)}, FusionWeights(1.0, 1.0, 1.0))
    with pytest.raises(CadError, match="does not fit"):
        CadSpace.load(tmp_path)


def test_weights_for_other_backbones_are_refused(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgcad.encoders.checkpoint.backbone_hashes", lambda: {"text_backbone": "0" * 64})
    with pytest.raises(CadError, match="another text backbone"):
        CadSpace.load(untrained)


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    towers = {name: tower() for name, tower in TOWERS.items()}
    for folder in (tmp_path / "one", tmp_path / "other"):
        save_checkpoint(folder, towers, FusionWeights(1.0, 2.0, 3.0, 4.0))
    assert (tmp_path / "one" / SUMS_FILE).read_text() == (tmp_path / "other" / SUMS_FILE).read_text()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    towers = {name: tower() for name, tower in TOWERS.items()}
    with torch.no_grad():
        towers["brep"].numbers.weight[0, 0] = torch.nan
    save_checkpoint(tmp_path, towers, FusionWeights(1.0, 1.0, 1.0))
    with pytest.raises(CadError, match=r"not finite, in brep\.numbers\.weight") as error:
        CadSpace.load(tmp_path, device="cpu")
    assert error.value.sqlstate == "55000"


def test_shipped_weights_are_small_and_have_a_card() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 35e6
    assert (WEIGHTS / "MODEL_CARD.md").is_file()
    assert PRIOR in load_checkpoint(WEIGHTS)[0]


def test_passage_joins_what_is_known() -> None:
    report = {"name": "Hex nut M8.", "description": None, "description_zh": "六角螺母"}
    assert passage(report) == "Hex nut M8. 六角螺母"
    assert passage({"name": None}) == ""
    known = {"name": "N-8", "description": "N-8. Part, 1 face.", "description_zh": "N-8。零件，1 个面。"}
    assert passage(known) == "N-8. Part, 1 face. N-8。零件，1 个面。"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Hex nut 8", "Hex nut 8"),
        ("六角螺母", "六角螺母"),
        ("гайка", "гайка"),
        ("N-8", ""),
        ("100_4711-B", ""),
        ("unnamed part", ""),
    ],
)
def test_of_a_part_that_nobody_described_the_name_is_said_where_it_has_a_word(name: str, said: str) -> None:
    generated = {"name": name, "description": f"{name}. Part, 1 face.", "description_zh": f"{name}。零件，1 个面。"}
    assert passage({**generated, "description_generated": True}) == said


def test_a_prior_supposes_texts_of_what_is_known(untrained: Path, tmp_path: Path) -> None:
    assert CadSpace.load(untrained, "cpu").prior is None
    towers = {name: tower() for name, tower in TOWERS.items()}
    prior = TextPrior()
    with torch.no_grad():
        prior.with_brep.weight[0, 2 * 512] = 1  # the first number of the B-rep
        prior.without_brep.weight[1, 512] = 1  # that of the shape
    save_checkpoint(tmp_path, {**towers, PRIOR: prior}, FusionWeights(1.0, 1.0, 1.0))
    space = CadSpace.load(tmp_path, "cpu")
    image, shape, brep = np.eye(512, dtype=np.float32)[[0, 0, 0]]
    first, second = np.eye(512, dtype=np.float32)[:2]
    np.testing.assert_array_equal(space.suppose_text(image, shape, brep), first)
    np.testing.assert_array_equal(space.suppose_text(image, shape, None), second)


def test_a_prior_of_another_architecture_is_refused(tmp_path: Path) -> None:
    towers = {name: tower() for name, tower in TOWERS.items()}
    save_checkpoint(tmp_path, {**towers, PRIOR: TextPrior(64)}, FusionWeights(1.0, 1.0, 1.0))
    with pytest.raises(CadError, match=r"the prior tower in .* does not fit"):
        CadSpace.load(tmp_path, "cpu")
