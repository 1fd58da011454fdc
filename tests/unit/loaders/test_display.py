"""Names from files are shown without effect on the terminal."""

import os

import pytest
from pgcad_load.display import printable, valid_text
from pgcad_load.loading import readable_uri


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("螺栓 M8.step", "螺栓 M8.step"),
        ("a\nb\x1b[2Jc", r"a\nb\x1b[2Jc"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        (os.fsdecode(b"caf\xe9"), r"caf\udce9"),
    ],
)
def test_printable_escapes_what_moves_hides_or_cannot_be_written(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_valid_text_can_be_stored() -> None:
    stored = valid_text(os.fsdecode(b"caf\xe9\0"))
    assert stored == "caf\ufffd"
    stored.encode("utf-8")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("file:///tmp/caf%E9%0A.stl", r"/tmp/caf\udce9\n.stl"),
        ("kicad:LED.3dshapes/red.step", "kicad:LED.3dshapes/red.step"),
        ("x:\x1b[2J", r"x:\x1b[2J"),
    ],
)
def test_readable_uri(uri: str, shown: str) -> None:
    assert readable_uri(uri) == shown
