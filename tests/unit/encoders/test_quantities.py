"""Numbers are read off text as an engineer reads them."""

from __future__ import annotations

import pytest
import torch
from pgcad.encoders.log_grid import log_grid
from pgcad.encoders.quantities import quantities
from pgcad.encoders.quantity_features import WIDTH, quantity_features


@pytest.mark.parametrize(
    ("text", "role", "numbers"),
    [
        ("M8x40 screw", "thread_mm", [8.0]),
        ("M8x40 screw", "length_mm", [40.0]),
        ("M8 × 40 六角螺栓", "thread_mm", [8.0]),
        ("pin header 2x05", "rows", [2.0]),
        ("pin header 2x05", "columns", [5.0]),
        ("pin header 2x05", "pins", [10.0]),
        ("PinHeader_2x05_P1.27mm_Vertical", "pitch_mm", [1.27]),
        ("1.27mm pitch", "pitch_mm", [1.27]),
        ("排针，间距2.54毫米", "pitch_mm", [2.54]),
        ("2.54mm间距", "pitch_mm", [2.54]),
        ("2x05 pitch 2.54 mm", "pitch_mm", [2.54]),
        ("排针 2x05 间距2.54mm", "pitch_mm", [2.54]),
        ("3.5mm pitch 5 pins", "pitch_mm", [3.5]),
        ("3.5mm pitch 5 pins", "pins", [5.0]),
        ("pin pitch=7.62*12.70mm^2", "pitch_mm", [7.62]),
        ("DIP-16 socket", "pins", [16.0]),
        ("number of pins: 15", "pins", [15.0]),
        ("16脚双列直插", "pins", [16.0]),
        ("body 6.1x11mm", "length_mm", [6.1, 11.0]),
        ("4 cm long", "length_mm", [40.0]),
        ('1/2" pipe, 2 inch', "length_mm", [50.8, 50.8]),
    ],
)
def test_roles(text: str, role: str, numbers: list[float]) -> None:
    assert quantities(text)[role] == pytest.approx(numbers)


def test_a_screw_is_no_grid_of_pins() -> None:
    assert quantities("M8x40").keys() == {"thread_mm", "length_mm", "number"}


def test_a_model_number_is_no_pitch() -> None:
    assert "pitch_mm" not in quantities("Bourns 3299P")


def test_a_length_is_no_grid_of_pins() -> None:
    assert "pins" not in quantities("QFN 4x4mm")


def test_chinese_and_english_give_the_same_features() -> None:
    english, chinese = quantity_features(["pin header 2x05 2.54mm pitch", "排针 2x05 间距2.54mm"])
    assert torch.allclose(english, chinese)


def test_width_and_empty_text() -> None:
    features = quantity_features(["a bolt"])
    assert features.shape == (1, WIDTH)
    assert not features.any()


def test_grid_splits_one_between_neighbours() -> None:
    encoded = log_grid(torch.tensor([0.01, 3.7, 5e6]), 0.1, 1000.0, 32)
    assert encoded.sum(1) == pytest.approx(1.0, abs=1e-5)
    assert (encoded > 0).sum(1).max() <= 2
    assert encoded[0, 0] == 1
    assert encoded[2, -1] == pytest.approx(1.0, abs=1e-5)
