"""The catalogue of standard parts."""

from collections import Counter

import pytest
from pgcad_load.generation import write_step
from pgcad_load.warehouse import StandardPart, catalogue


@pytest.fixture(scope="module")
def parts() -> dict[str, StandardPart]:
    return {part.part_number: part for part in catalogue()}


def test_part_numbers_are_unique_and_safe_as_file_names() -> None:
    numbers = Counter(part.part_number for part in catalogue())
    assert set(numbers.values()) == {1}
    assert not [number for number in numbers if set(number) & set("/ *\\")]


def test_the_first_parts_show_every_family() -> None:
    parts = catalogue()
    families = {part.family for part in parts}
    assert {part.family for part in parts[: len(families)]} == families


def test_parameters_stand_in_both_languages(parts: dict[str, StandardPart]) -> None:
    screw = parts["ISO4762-M8x40"].metadata
    assert screw["name"] == "Hexagon socket head cap screw ISO 4762 M8 x 40"
    assert screw["name_zh"] == "内六角圆柱头螺钉 M8 x 40"
    assert "thread M8 x 1.25, length 40 mm" in screw["description"]
    assert "螺纹M8 x 1.25，长度40 mm" in screw["description_zh"]


@pytest.mark.parametrize(
    ("number", "size_mm"),
    [
        ("ISO4032-M8", (13.0, 15.01, 6.8)),
        ("ISO15-608", (22.0, 22.0, 7.0)),
        ("DIN6885-A6x6x30", (30.0, 6.0, 6.0)),
        ("ISO3601-110", (14.43, 14.43, 2.62)),
    ],
)
def test_built_parts_have_the_size_of_the_standard(
    parts: dict[str, StandardPart], number: str, size_mm: tuple[float, ...]
) -> None:
    box = parts[number].build().bounding_box().size
    assert sorted((box.X, box.Y, box.Z)) == pytest.approx(sorted(size_mm), abs=0.1)


def test_the_same_part_is_the_same_bytes(parts: dict[str, StandardPart], tmp_path) -> None:  # type: ignore[no-untyped-def]
    files = [tmp_path / "first.step", tmp_path / "second.step"]
    for file in files:
        shape = parts["EN1662-M8x40"].build()
        shape.label = "EN1662-M8x40"
        write_step(shape, file)
    assert files[0].read_bytes() == files[1].read_bytes()
