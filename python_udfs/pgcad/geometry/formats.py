"""The file formats that are read, and what a file really is."""

from __future__ import annotations

import re

from pgcad.errors import CadError

STEP, MESHES, CLOUDS = ("step",), ("stl", "obj", "ply", "glb", "gltf", "3mf", "off"), ("xyz", "npy")
FORMATS = (*STEP, *MESHES, *CLOUDS)
_ALIASES = {"stp": "step", "p21": "step"}

_SIGNATURES: tuple[tuple[str, bytes], ...] = (
    ("step", rb"\s*(?:/\*.*?\*/\s*)*ISO-10303-21"),
    ("glb", rb"glTF"),
    ("3mf", rb"PK\x03\x04"),
    ("npy", rb"\x93NUMPY"),
    ("ply", rb"ply\s"),
    ("off", rb"\s*(?:#[^\n]*\n\s*)*(?:ST)?C?N?4?OFF\b"),
    ("gltf", rb"\s*\{"),
    ("PNG", rb"\x89PNG"),
    ("JPEG", rb"\xff\xd8\xff"),
    ("PDF", rb"%PDF"),
    ("gzip", rb"\x1f\x8b"),
    ("XML", rb"\s*<\?xml"),
    ("IGES", rb"[^\n]{72}S {0,6}\d"),
    ("DXF", rb"\s*0\s+SECTION"),
    ("VRML", rb"#VRML"),
    ("BREP", rb"\s*(?:CASCADE Topology|DBRep_DrawableShape)"),
)
_PICTURES = ("PNG", "JPEG")


def format_name(fmt: str) -> str:
    """The registered name of a format: lower case, no dot, `stp` read as `step`.

    Raises CadError 22023 for one that is not read.
    """
    name = str(fmt).strip().lower().removeprefix(".")
    name = _ALIASES.get(name, name)
    if name not in FORMATS:
        raise CadError("22023", f"unknown file format {str(fmt)[:40]!r}", f"Use one of: {', '.join(FORMATS)}.")
    return name


def sniff(data: bytes) -> str | None:
    """What the first bytes say a file is; None when they say nothing (ASCII meshes and points, binary STL)."""
    head = data[:4096].removeprefix(b"\xef\xbb\xbf")
    return next((name for name, pattern in _SIGNATURES if re.match(pattern, head, re.DOTALL)), None)


def check_format(data: bytes, fmt: str) -> str:
    """The registered format name, once the content does not plainly contradict it.

    Raises CadError 22023 when the file is plainly something else.
    """
    name, found = format_name(fmt), sniff(data)
    # A binary STL may begin with any 80 bytes, so its length decides.
    if found is None or found == name or (name == "stl" and is_binary_stl(data)) or {name, found} == {"glb", "gltf"}:
        return name
    if found in _PICTURES:
        hint = "Search with a picture through search_cad_image."
    elif found in FORMATS:
        hint = f"Give the format {found!r}."
    else:
        hint = f"Export the part as one of: {', '.join(FORMATS)}."
    raise CadError("22023", f"the file is {found}, not {name}", hint)


def is_binary_stl(data: bytes) -> bool:
    """Whether the length is the one that the triangle count after the 80-byte header asks for."""
    return len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little")
