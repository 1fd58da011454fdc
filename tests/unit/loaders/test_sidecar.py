"""Metadata beside the files."""

import json
from pathlib import Path

import pytest
from pgcad_load.sidecar import SidecarError, read_folder, read_own, read_table


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_row_has_typed_values_and_no_empty_cells(tmp_path: Path) -> None:
    table = read_table(
        write(tmp_path / "parts.csv", "file,name,mass_kg,tags,material\nsub/a.step,Bolt,0.25,steel; M8 ;,\n")
    )
    assert table == {tmp_path / "sub/a.step": {"name": "Bolt", "mass_kg": 0.25, "tags": ["steel", "M8"]}}


def test_csv_of_a_spreadsheet_with_byte_order_mark_and_line_break_in_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "parts.csv"
    path.write_bytes('\ufefffile,description\r\na.stl,"two\r\nlines"\r\n'.encode())
    assert read_table(path)[tmp_path / "a.stl"] == {"description": "two\r\nlines"}


@pytest.mark.parametrize(
    "document",
    [[{"file": "./sub/../a.stl", "name_zh": "螺栓", "material": ""}], {"a.stl": {"name_zh": "螺栓"}}],
    ids=["list of rows", "object by file"],
)
def test_json_tables(tmp_path: Path, document: object) -> None:
    path = write(tmp_path / "parts.json", json.dumps(document))
    assert read_table(path) == {tmp_path / "a.stl": {"name_zh": "螺栓"}}


def test_json_of_a_folder_lies_over_its_csv_key_by_key(tmp_path: Path) -> None:
    write(tmp_path / "parts.csv", "file,name,material\na.stl,Old,steel\n")
    write(tmp_path / "parts.json", '{"a.stl": {"name": "New"}}')
    assert read_folder(tmp_path)[tmp_path / "a.stl"] == {"name": "New", "material": "steel"}


def test_what_postgresql_cannot_store_is_taken_out_however_deep(tmp_path: Path) -> None:
    write(tmp_path / "a.stl.json", r'{"name": "a\u0000b", "vendor": {"note\u0000": ["\ud800"]}}')
    assert read_own(tmp_path / "a.stl") == {"name": "ab", "vendor": {"note": ["\ufffd"]}}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("parts.csv", "name\nBolt\n", "column `file`"),
        ("parts.csv", "file,name\na.stl,Bolt, M8\n", "line 2: more cells"),
        ("parts.csv", "file,mass_kg\na.stl,heavy\n", "'heavy', not a number"),
        ("parts.csv", "file,mass_kg\na.stl,-1\n", "positive"),
        ("parts.csv", "file,mass_kg\na.stl,nan\n", "positive"),
        ("parts.json", "[1]", "expected a list of objects"),
        ("parts.json", '[{"name": "Bolt"}]', "no file name"),
        ("parts.json", '[{"file": "a.stl", "tags": [1]}]', "tags"),
        ("parts.json", "{", "Save it as JSON"),
        ("parts.json", "[" * 100_000, "Save it as JSON"),
    ],
)
def test_a_wrong_sidecar_says_where_and_what(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(SidecarError, match=says) as raised:
        read_table(write(tmp_path / name, text))
    assert name in str(raised.value)


def test_a_csv_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "parts.csv"
    path.write_bytes("file,name\na.stl,Gehäuse\n".encode("latin-1"))
    with pytest.raises(SidecarError, match="UTF-8"):
        read_table(path)
