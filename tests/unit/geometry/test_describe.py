"""Names and descriptions: what was given wins, what is generated is true of the geometry."""

from __future__ import annotations

import pytest
from build123d import Box, Cylinder
from pgcad.errors import CadError
from pgcad.geometry.analyse import analyse


def report(data: bytes, **metadata: object) -> dict:
    return analyse(data, "step", metadata).report


def test_a_generated_description_says_size_and_faces_in_both_languages(to_step):
    found = report(
        to_step(Box(10, 20, 30) - Cylinder(2, 30)), name="Guide block", name_zh="导向块", family="guide_block"
    )
    assert found["description_generated"]
    for fact in (
        "Guide block",
        "guide block",
        "30 x 20 x 10 mm",
        "1 solid",
        "7 faces",
        "6 planar",
        "1 cylindrical",
        "closed",
    ):
        assert fact in found["description"]
    for fact in ("导向块", "30 × 20 × 10 mm", "1 个实体", "7 个面", "6 个平面", "1 个圆柱面", "封闭"):
        assert fact in found["description_zh"]


def test_an_assembly_says_how_many_components_it_has(assembly_step):
    found = report(assembly_step)
    assert "Assembly" in found["description"]
    assert "3 components" in found["description"]
    assert "由 3 个组件组成" in found["description_zh"]


def test_a_given_description_is_kept(box_step):
    found = report(box_step, name="Block", description="Spacer block for the gearbox")
    assert found["description"] == "Spacer block for the gearbox"
    assert not found["description_generated"]


def test_the_given_name_wins_and_the_part_number_serves_without_one(box_step):
    assert report(box_step, name="Block", part_number="B-1")["name"] == "Block"
    assert report(box_step, part_number="B-1")["name"] == "B-1"


def test_control_characters_are_taken_out_of_text(box_step):
    found = report(box_step, name="Blo\x00ck\x1b[31m\u202e", description="one\x07 two")
    assert not any(ord(character) < 32 for character in found["name"] + found["description"])
    assert "\u202e" not in found["name"]


def test_ten_megabytes_of_description_are_refused(box_step):
    with pytest.raises(CadError) as caught:
        report(box_step, description="x" * 10_000_000)
    assert caught.value.sqlstate == "54000"
