"""Which files are parts, what they are called and which family they belong to."""

import os
from pathlib import Path

import pytest
from pgcad_load.discovery import discover


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_formats_go_by_extension_and_the_rest_is_counted(tmp_path: Path) -> None:
    for name in ("a.STEP", "b.stp", "c.Stl", "d.npy", "readme.txt", "e.pdf", "f.pdf", ".hidden/g.stl"):
        touch(tmp_path / name)
    found = discover([tmp_path])
    assert [part.format for part in found.parts] == ["step", "step", "stl", "npy"]
    assert found.other_types == {".txt": 1, ".pdf": 2}


def test_family_of_sidecar_before_option_before_folder(tmp_path: Path) -> None:
    for name in ("top.stl", "bolts/hex/a.stl", "bolts/hex/b.stl"):
        touch(tmp_path / name)
    touch(tmp_path / "parts.csv", "file,family\nbolts/hex/a.stl,named\n")

    def families(option: str | None = None) -> dict[str, object]:
        return {part.path.stem: part.metadata["family"] for part in discover([tmp_path], option).parts}

    assert families() == {"top": "unclassified", "a": "named", "b": "hex"}
    assert families("option") == {"top": "option", "a": "named", "b": "option"}


def test_the_nearer_sidecar_wins(tmp_path: Path) -> None:
    touch(tmp_path / "sub/a.stl")
    touch(tmp_path / "parts.csv", "file,name,material,revision,description\nsub/a.stl,far,far,far,far\n")
    touch(tmp_path / "sub/parts.csv", "file,name,material,revision\na.stl,near,near,near\n")
    explicit = touch(tmp_path / "given.csv", "file,name,material\nsub/a.stl,given,given\n")
    touch(tmp_path / "sub/a.stl.json", '{"name": "own"}')
    (part,) = discover([tmp_path], metadata_file=explicit).parts
    known = {key: part.metadata[key] for key in ("name", "material", "revision", "description")}
    assert known == {"name": "own", "material": "given", "revision": "near", "description": "far"}


def test_a_row_without_its_file_is_reported(tmp_path: Path) -> None:
    touch(tmp_path / "a.stl")
    touch(tmp_path / "parts.csv", "file,name\na.stl,A\ngone.stl,B\n")
    assert discover([tmp_path]).named_but_missing == [tmp_path / "gone.stl"]


def test_one_file_takes_its_folders_sidecar_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path / "a.stl"), touch(tmp_path / "b.stl")
    touch(tmp_path / "parts.csv", "file,name\na.stl,A\nb.stl,B\n")
    found = discover([tmp_path / "a.stl"])
    assert [(part.metadata["name"], part.metadata["family"]) for part in found.parts] == [("A", "unclassified")]
    assert found.named_but_missing == []


def test_a_file_reached_by_two_paths_is_one_part(tmp_path: Path) -> None:
    touch(tmp_path / "sub/a.stl")
    assert len(discover([tmp_path, tmp_path / "sub", tmp_path / "sub/../sub/a.stl"]).parts) == 1


def test_hostile_names_become_valid_text(tmp_path: Path) -> None:
    for name in (b"new\nline.stl", b"quote'\";drop.stl", b"caf\xe9.stl", b"\x1b[2J.stl"):
        (tmp_path / os.fsdecode(name)).touch()
    parts = {part.metadata["name"]: part.source_uri for part in discover([tmp_path]).parts}
    assert set(parts) == {"new line", "quote'\";drop", "caf\ufffd", "\x1b[2J"}
    assert parts["caf\ufffd"].endswith("caf%E9.stl")
    assert all(uri.isascii() and uri.isprintable() for uri in parts.values())


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        discover([tmp_path / "nowhere"])
