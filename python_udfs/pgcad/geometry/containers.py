"""What a mesh file declares, compared with what it holds, before a parser believes it.

Parsers allocate what headers promise, follow links, and accept files that were cut off; each check here is about one
format's container and touches no geometry.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

from pgcad.errors import CadError
from pgcad.geometry.formats import is_binary_stl
from pgcad.geometry.limits import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_RATIO,
    MAX_COMPONENTS,
    MAX_TRIANGLES,
    check_count,
)

_TRUNCATED_HINT = "The file seems cut off or damaged; transfer or export it again."
_JSON_CHUNK = 0x4E4F534A


def check_container(data: bytes, fmt: str) -> None:
    """Raise CadError 22023 for a mesh file that is cut off, damaged or not self-contained, 54000 for a bomb."""
    checks = {"stl": _check_stl, "ply": _check_ply, "off": _check_off, "3mf": _check_3mf, "glb": _check_glb}
    if fmt == "gltf":
        _check_gltf(_json(data))
    elif fmt in checks:
        checks[fmt](data)


def without_comments(data: bytes) -> bytes:
    """The lines of an OFF file without what stands behind `#`."""
    return re.sub(rb"#[^\n]*", b"", data)


def _broken(fmt: str, reason: str) -> CadError:
    return CadError("22023", f"the {fmt} file cannot be read: {reason}", _TRUNCATED_HINT)


def _check_stl(data: bytes) -> None:
    if is_binary_stl(data):
        check_count(int.from_bytes(data[80:84], "little"), MAX_TRIANGLES, "triangles", "Export a coarser mesh.")
    elif data.lstrip()[:5].lower() != b"solid":
        raise _broken("stl", "its length is not the one that its header declares")
    elif b"endsolid" not in data[-4096:].lower():
        raise _broken("stl", "it ends before 'endsolid'")


def _check_ply(data: bytes) -> None:
    header, end, body = data.partition(b"end_header")
    if not end:
        raise _broken("ply", "its header does not end")
    declared = sum(int(count) for count in re.findall(rb"^element\s+\S+\s+(\d{1,18})\s*$", header, re.MULTILINE))
    held = body.strip().count(b"\n") + 1 if b"format ascii" in header else len(body)
    if declared > held:
        raise _broken("ply", f"its header declares {declared:,} elements and there are fewer")


def _check_off(data: bytes) -> None:
    text = without_comments(data)
    lines = [line for line in text.split(b"\n") if line.strip()]
    counts = re.search(rb"OFF\s+(\d{1,18})\s+(\d{1,18})", text)
    if not counts or int(counts[1]) + int(counts[2]) + 1 > len(lines):
        raise _broken("off", "it has fewer vertices and faces than its header declares")


def _check_3mf(data: bytes) -> None:
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    # NotImplementedError is zipfile's word for a zip version that it does not know.
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _broken("3mf", "it is not a whole zip archive") from error
    unpacked = sum(entry.file_size for entry in entries)
    check_count(unpacked, MAX_ARCHIVE_BYTES, "bytes once unpacked", "Export a coarser mesh.")
    if unpacked > MAX_ARCHIVE_RATIO * max(len(data), 2**20):
        raise CadError("54000", "the 3mf file unpacks to an absurd size", "Export the part again.")


def _check_glb(data: bytes) -> None:
    if len(data) < 20:
        raise _broken("glb", "it is shorter than its header")
    _, version, length, json_length, chunk = struct.unpack_from("<5I", data)
    if version != 2 or chunk != _JSON_CHUNK:
        raise CadError("22023", "the glb file is not glTF 2.0", "Export the part again as glTF 2.0 or STL.")
    if length > len(data) or 20 + json_length > len(data):
        raise _broken("glb", f"it declares {length:,} bytes and has {len(data):,}")
    _check_gltf(_json(data[20 : 20 + json_length]))


def _json(text: bytes) -> Mapping[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken("glTF", "its JSON is damaged") from error
    if not isinstance(tree, dict):
        raise _broken("glTF", "its JSON is not an object")
    return tree


def _check_gltf(tree: Mapping[str, Any]) -> None:
    try:
        links = [item["uri"] for key in ("buffers", "images") for item in tree.get(key, []) if "uri" in item]
        counts = [int(accessor["count"]) for accessor in tree.get("accessors", [])]
        nodes = len(tree.get("nodes", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken("glTF", "its structure is damaged") from error
    if any(not str(link).startswith("data:") for link in links):
        raise CadError(
            "22023",
            "the glTF file refers to other files, which are never read",
            "Export it as one GLB file with everything embedded.",
        )
    check_count(max(counts, default=0), 3 * MAX_TRIANGLES, "vertices", "Export a coarser mesh.")
    check_count(sum(counts), 12 * MAX_TRIANGLES, "numbers", "Export a coarser mesh.")
    check_count(nodes, MAX_COMPONENTS, "nodes", "Split the assembly into its sub-assemblies.")
