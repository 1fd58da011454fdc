"""Names and descriptions: what was given wins, what is generated is true of the geometry."""

from __future__ import annotations

import pytest
from build123d import Box, Cylinder
from pgcad.encoders.text import passage
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


@pytest.mark.parametrize("given", ["Part 10023", "PART-1002", "Assembly 7", "part"])
@pytest.mark.parametrize("key", ["name", "part_number"])
def test_a_given_name_is_a_name_whatever_it_says(given, key, to_step):
    box = Box(1, 2, 3)
    box.label = "Spacer"
    assert report(to_step(box), **{key: given})["name"] == given


def test_the_name_is_given_or_the_product_s_or_the_file_s(to_step):
    box = Box(1, 2, 3)
    box.label = "Spacer"
    named, nameless = to_step(box), to_step(Box(1, 2, 3))
    assert report(named, file_name="SP-12")["name"] == "Spacer"
    assert report(named, file_name="SP-12", part_number="4711")["name"] == "4711"
    assert report(nameless, file_name="SP-12")["name"] == "SP-12"
    assert report(nameless, file_name="my%20bolt%C3%A9")["name"] == "my bolté"
    assert report(nameless, file_name="Part1")["name"] == "unnamed part"
    assert report(nameless, name="", file_name=None)["name"] == "unnamed part"


def test_the_name_of_the_file_is_not_kept_twice(box_step):
    assert report(box_step, file_name="SP-12", drawing="D-7")["genome"] == {"metadata": {"drawing": "D-7"}}


def test_a_hidden_name_is_in_nothing_that_is_searched(assembly_step):
    found = report(assembly_step, name="part", file_name="bracket")
    searched = f"{found['name']} {found['description']} {found['description_zh']} {passage(found)}"
    assert found["name"] == "part"
    assert not any(name in searched for name in ("bracket", "plate", "pin"))


def test_control_characters_are_taken_out_of_text(box_step):
    found = report(box_step, name="Blo\x00ck\x1b[31m\u202e", description="one\x07 two")
    assert not any(ord(character) < 32 for character in found["name"] + found["description"])
    assert "\u202e" not in found["name"]


def test_ten_megabytes_of_description_are_refused(box_step):
    with pytest.raises(CadError) as caught:
        report(box_step, description="x" * 10_000_000)
    assert caught.value.sqlstate == "54000"
