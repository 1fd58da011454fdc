"""The report of a part: what was read, measured and given, ready for JSON. Its keys are listed in docs/design.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from pgcad.errors import CadError
from pgcad.geometry.assembly import cut_names, cut_tree, tree_size
from pgcad.geometry.describe import describe
from pgcad.geometry.measures import short_measures
from pgcad.geometry.reading import Reading
from pgcad.geometry.surface import Surface, dominant_colours
from pgcad.geometry.text import UNNAMED, clean_name, clean_text, is_placeholder
from pgcad.geometry.views import VIEWS

KNOWN_METADATA = frozenset(
    (
        "part_number",
        "revision",
        "name",
        "file_name",
        "name_zh",
        "family",
        "description",
        "description_zh",
        "material",
        "tags",
        "units",
        "mass_kg",
        "density_kg_m3",
    )
)
MAX_DESCRIPTION_CHARACTERS = 20_000


def make_report(reading: Reading, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Everything known about a part. What the caller gave wins over what the file or the geometry says."""
    surface = reading.shape if isinstance(reading.shape, Surface) else None
    name = _name(reading, metadata)
    names = [name for name in reading.names if not is_placeholder(name)]
    return {
        "kind": reading.kind,
        "name": name,
        **_descriptions(reading, name, metadata),
        "unit_as_read": reading.unit_as_read,
        **asdict(reading.properties),
        "size_mm": reading.properties.size_mm,
        "measures": short_measures(reading.brep) if reading.brep else None,
        "component_count": reading.component_count,
        "names": cut_names(names),
        "colours": dominant_colours(surface) if surface else [],
        "triangle_count": len(surface.triangles) if surface else None,
        "views": [{"view": index, **asdict(view)} for index, view in enumerate(VIEWS)],
        "genome": _genome(reading, names, metadata),
    }


def _name(reading: Reading, metadata: Mapping[str, Any]) -> str:
    given = [clean_name(metadata.get(key) or "") for key in ("name", "part_number")]
    # The database takes the name of the file from its URI, where it may be percent-encoded.
    found = [*reading.names, clean_name(unquote(str(metadata.get("file_name") or "")))]
    # What the caller gives is a name whatever it says.
    meant = [name for name in given if name] + [name for name in found if name and not is_placeholder(name)]
    return next(iter(meant), f"{UNNAMED} {reading.kind}")


def _descriptions(reading: Reading, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: _description(metadata, key) for key in ("description", "description_zh")}
    if any(given.values()):
        return {**given, "description_generated": False}
    name_zh, family = (clean_name(metadata.get(key) or "") for key in ("name_zh", "family"))
    english, chinese = describe(reading, name, name_zh or name, family)
    return {"description": english, "description_zh": chinese, "description_generated": True}


def _description(metadata: Mapping[str, Any], key: str) -> str | None:
    text = clean_text(metadata.get(key) or "")
    if len(text) > MAX_DESCRIPTION_CHARACTERS:
        raise CadError(
            "54000",
            f"{key} has {len(text):,} characters; the limit is {MAX_DESCRIPTION_CHARACTERS:,}",
            "Give a description of a few sentences.",
        )
    return text or None


def _genome(reading: Reading, names: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    unknown = {key: value for key, value in metadata.items() if key not in KNOWN_METADATA}
    genome: dict[str, Any] = {}
    if reading.tree:
        genome["assembly"], kept = cut_tree(reading.tree)
        genome |= _cut("assembly_cut", kept, tree_size(reading.tree))
    if unknown:
        genome["metadata"] = unknown
    genome |= _cut("names_cut", len(cut_names(names)), len(names))
    return genome or None


def _cut(key: str, kept: int, of: int) -> dict[str, dict[str, int]]:
    return {key: {"kept": kept, "of": of}} if kept < of else {}
