"""Chinese names and descriptions before a load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pgcad.corpus.translation import GlossaryTranslator
from pgcad_load.bilingual import in_chinese
from pgcad_load.discovery import PartFile
from pgcad_load.sidecar import Metadata


class Recorder:
    """Translates everything in the same way and remembers what it was asked."""

    name = "a recorder"

    def __init__(self, makes: str = "译") -> None:
        self.makes = makes
        self.asked: list[str] = []

    def translate(self, texts: Sequence[str], language: str) -> list[str]:
        assert language == "zh"
        self.asked += texts
        return [f"{self.makes} {text}" for text in texts]


def part(**metadata: object) -> PartFile:
    return PartFile(Path("/parts/ISO4032-M8.step"), "file:///parts/ISO4032-M8.step", "step", Metadata(metadata))


def metadata_of(parts: list[PartFile]) -> list[Metadata]:
    return [part.metadata for part in parts]


def test_what_is_missing_is_filled_in() -> None:
    known = part(name="Hex nut", description="hex nut M8", tags=["a"])
    (found,) = metadata_of(in_chinese([known], Recorder()))
    assert found == {**known.metadata, "name_zh": "译 Hex nut", "description_zh": "译 hex nut M8"}
    assert "name_zh" not in known.metadata


def test_what_is_there_stays() -> None:
    known = part(name="Hex nut", name_zh="螺母", description="六角螺母 M8")
    recorder = Recorder()
    assert in_chinese([known], recorder) == [known]
    assert recorder.asked == []


def test_the_name_of_the_file_is_no_text() -> None:
    recorder = Recorder()
    in_chinese([part(name="ISO4032-M8", description=" ")], recorder)
    assert recorder.asked == []


def test_each_text_is_asked_for_once() -> None:
    recorder = Recorder()
    in_chinese([part(name="nut", description="nut"), part(name="nut")], recorder)
    assert recorder.asked == ["nut"]


def test_what_comes_back_without_chinese_is_no_translation() -> None:
    known = part(name="Hex nut")
    assert in_chinese([known], Recorder(makes="same")) == [known]


def test_the_glossary_is_enough() -> None:
    (found,) = metadata_of(in_chinese([part(description="hex nut, 8.4 mm")], GlossaryTranslator()))
    assert "六角螺母" in found["description_zh"] and "8.4" in found["description_zh"]
