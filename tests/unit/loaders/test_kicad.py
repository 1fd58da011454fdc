"""Captions of KiCad models from the footprints that use them."""

from pathlib import Path

import pytest
from pgcad_load import kicad
from pgcad_load.kicad import Caption, KicadError, parse_footprint

FOOTPRINT = """(footprint "SOIC-8" (version 20211014) (generator pcbnew)
  (layer "F.Cu")
  (descr {description})
  (tags "SOIC SO")
  (fp_text reference "REF**" (at 0 -3.4) (layer "F.SilkS"))
  (model "${{KICAD6_3DMODEL_DIR}}/Package_SO.3dshapes/{model}.wrl"
    (offset (xyz 0 0 0))
  )
)"""


def footprint(description: str, model: str = "SOIC-8_3.9x4.9mm") -> str:
    return FOOTPRINT.format(description=f'"{description}"', model=model)


def test_model_key_ignores_extension_and_case_but_not_decimals() -> None:
    ((model, caption),) = parse_footprint(footprint("SOIC, 8 Pin"))
    assert model == "package_so.3dshapes/soic-8_3.9x4.9mm"
    assert caption == Caption("SOIC, 8 Pin", ("SOIC", "SO"), "")


@pytest.mark.parametrize(
    ("description", "clean", "datasheet"),
    [
        ("QFN, 36 Pin (http://a.com/x.pdf#page=4), generated with kicad-footprint-generator ipc.py", "QFN, 36 Pin", "http://a.com/x.pdf#page=4"),
        ("http://a.com/x.pdf", "", "http://a.com/x.pdf"),
        ("Crystal, http://a.com/x.pdf, hand-soldering", "Crystal hand-soldering", "http://a.com/x.pdf"),
        ("Socket strip, double cols, script generated", "Socket strip, double cols", ""),
        ('Relay \\"G6K\\" ( 5V )', 'Relay "G6K" ( 5V )', ""),
    ],
)  # fmt: skip
def test_links_and_signatures_are_not_description(description: str, clean: str, datasheet: str) -> None:
    ((_, caption),) = parse_footprint(footprint(description))
    assert (caption.description, caption.datasheet) == (clean, datasheet)


def test_unquoted_values_and_several_models() -> None:
    text = "(module X (descr Diode) (tags D) (model ${KICAD6_3DMODEL_DIR}/D.3dshapes/A.wrl) (model B.3dshapes/B.step))"
    assert [model for model, _ in parse_footprint(text)] == ["d.3dshapes/a", "b.3dshapes/b"]


def library(folder: Path) -> Path:
    """Three models in two families, and footprints for one of them."""
    for name in ("Package_SO.3dshapes/SOIC-8.step", "Package_SO.3dshapes/SOIC-8.wrl", "LED.3dshapes/red.step"):
        path = folder / "3dmodels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for number, description in enumerate(["short", "the longest of them", "longer"]):
        path = folder / f"footprints/Package_SO.pretty/{number}.kicad_mod"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(footprint(description, "SOIC-8"))
    return folder


def test_part_files_take_the_longest_caption_and_the_folder_as_family(tmp_path: Path) -> None:
    led, package = kicad.part_files(library(tmp_path))
    assert package.source_uri == "kicad:Package_SO.3dshapes/SOIC-8.step"
    assert package.metadata["description"] == "the longest of them"
    assert package.metadata["family"] == "Package_SO"
    assert package.metadata["part_number"] == "SOIC-8"
    assert "description" not in led.metadata and led.metadata["family"] == "LED"


def test_family_glob(tmp_path: Path) -> None:
    assert [part.path.stem for part in kicad.part_files(library(tmp_path), family="Package_*")] == ["SOIC-8"]


def test_hidden_captions_name_nothing(tmp_path: Path) -> None:
    parts = kicad.part_files(library(tmp_path), hide_captions=True)
    assert [part.metadata for part in parts] == [{"name": "part"}] * 2


def test_what_is_unpacked_is_not_fetched_again(tmp_path: Path) -> None:
    unpacked = library(tmp_path / "kicad/usr/share/kicad")
    assert kicad.fetch(tmp_path) == unpacked


def test_without_apt_the_message_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KicadError, match="apt-get is not on this machine"):
        kicad.fetch(tmp_path / "cache")


def test_a_damaged_package_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "kicad-packages3d_6.deb").write_text("no package")
    with pytest.raises(KicadError, match="damaged"):
        kicad.fetch(tmp_path)
    assert not (tmp_path / kicad.SHARE).exists()
