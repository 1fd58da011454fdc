"""A user's vault as a dataset: what is found, what is learned from it, what stands on which side, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pgcad.corpus.captions import TEXTS_PER_PART
from pgcad.corpus.metadata_texts import caption_of, series_of, texts_of
from pgcad.corpus.translation import GlossaryTranslator
from pgcad.errors import CadError
from pgcad.training.dataset import Dataset
from pgcad.training.vault import VALIDATION_SHARE, validation_series, vault_dataset
from unit.training.conftest import Vault


def dataset_of(folder: Path, cache: Path, file_names: bool = False) -> Dataset:
    return vault_dataset(folder, None, file_names, GlossaryTranslator(), cache, workers=1)


def test_every_readable_part_is_used_once(dataset: Dataset, vault: Vault) -> None:
    silent = [part for part in dataset.training if not part.texts]
    assert {part.family for part in silent} <= {"unclassified"}
    keys = [part.key for part in dataset.training] + [part.key for part in dataset.gallery[: len(dataset.queries)]]
    assert len(set(keys)) == len(keys)
    assert sum(bool(part.texts) for part in dataset.training) + len(dataset.queries) == vault.told


def test_a_part_with_text_has_all_texts_in_both_languages(dataset: Dataset) -> None:
    told = [part for part in dataset.training if part.texts]
    assert all(len(part.texts) == TEXTS_PER_PART and all(part.texts) for part in told)
    assert any("垫" in text for part in told for text in part.texts)


def test_the_gallery_begins_with_what_is_asked_for(dataset: Dataset) -> None:
    asked = dataset.gallery[: len(dataset.queries)]
    assert [part.caption for part in asked] == [query.text for query in dataset.queries]
    training = {part.key for part in dataset.training}
    assert not training & {part.key for part in asked}
    assert len(dataset.gallery) > len(dataset.queries)


def test_the_same_vault_gives_the_same_dataset(dataset: Dataset, vault: Vault) -> None:
    assert dataset_of(vault.folder, vault.cache).fingerprint() == dataset.fingerprint()


def test_sizes_of_one_series_stay_together() -> None:
    sizes = {series_of({}, "nut", stem) for stem in ("ISO4032-M8", "ISO4032-M10", "iso4032-m12.5")}
    assert len(sizes) == 1
    assert series_of({}, "nut", "DIN934-M8") not in sizes
    assert series_of({}, "bolt", "ISO4032-M8") not in sizes
    assert series_of({}, "nut", "100234") != series_of({}, "nut", "100235")
    assert series_of({"series": "A"}, "nut", "x1") == series_of({"series": "A"}, "bolt", "y2")


def test_validation_takes_whole_series_up_to_its_share() -> None:
    parts_of = {f"series {number}": number % 7 + 1 for number in range(60)}
    chosen = validation_series(parts_of)
    held_out = sum(parts_of[series] for series in chosen)
    assert 0 < held_out <= VALIDATION_SHARE * sum(parts_of.values()) + 1
    assert validation_series(dict(reversed(parts_of.items()))) == chosen
    assert validation_series({"large": 90, "small": 30}) == {"small"}


def test_a_growing_vault_hardly_changes_sides() -> None:
    parts_of = {f"series {number}": 1 for number in range(200)}
    before, after = validation_series(parts_of), validation_series({**parts_of, "one more": 1})
    assert len(before ^ after) <= 2


def test_captions_come_from_the_best_that_is_said() -> None:
    assert caption_of({"name": "Bolt", "description": "hex bolt M8", "tags": ["a"]}) == "hex bolt M8"
    assert caption_of({"name": "Bolt", "tags": ["steel", "M8"]}) == "Bolt, steel, M8"
    assert caption_of({"name_zh": "螺栓"}) == "螺栓"
    assert caption_of({"description": "\u200b\x00", "material": "steel"}) == ""


def test_nothing_said_gives_no_texts() -> None:
    import random

    assert texts_of({"material": "steel"}, "nut", "", random.Random(1)) == ()
    texts = texts_of({"description": "hex nut M8"}, "hex_nut", "六角螺母 M8", random.Random(1))
    assert len(texts) == TEXTS_PER_PART
    assert texts[2] == "六角螺母 M8"


def test_an_empty_vault_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no part")
    with pytest.raises(CadError, match=r"no part file under .*1 \.txt") as error:
        dataset_of(tmp_path, tmp_path / "cache")
    assert ".step" in error.value.hint


def test_a_vault_without_a_readable_part_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "vault"
    folder.mkdir()
    (folder / "a.step").write_text("not a part")
    with pytest.raises(CadError, match="none of the 1 part files can be read"):
        dataset_of(folder, tmp_path / "cache")
    assert "a.step: " in capsys.readouterr().out


def test_too_little_text_is_refused_with_the_number_needed(vault: Vault, tmp_path: Path) -> None:
    folder = tmp_path / "vault"
    folder.mkdir()
    for file in (vault.folder / "washer").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CadError, match=r"0 of 5 parts have a text; training needs at least 20") as error:
        dataset_of(folder, vault.cache)
    assert "parts.csv" in error.value.hint
    with pytest.raises(CadError, match=r"5 of 5 parts have a text; training needs at least 20"):
        dataset_of(folder, vault.cache, file_names=True)
