"""Bad files end in a CadError that says what was wrong: never in another exception, never in a file being opened."""

from __future__ import annotations

import base64
import builtins
import io
import json
import random
import socket
import struct
import zipfile

import numpy as np
import pytest
import trimesh
from pgcad.errors import CadError
from pgcad.geometry import limits
from pgcad.geometry.analyse import analyse, cloud_points
from pgcad.geometry.formats import FORMATS, MESHES

from .files import cloud_file, mesh_file


def refused(data, fmt, sqlstate="22023"):
    """The error that a file is refused with."""
    with pytest.raises(CadError) as caught:
        analyse(data, fmt, {})
    assert caught.value.sqlstate == sqlstate
    assert caught.value.hint and len(caught.value.message) < 500
    return caught.value.message


@pytest.fixture(scope="module")
def good(box_step):
    """A good file of every format."""
    sphere = trimesh.creation.icosphere(subdivisions=1, radius=10)
    meshes = {fmt: mesh_file(sphere, fmt) for fmt in MESHES}
    return {"step": box_step, **meshes, **{fmt: cloud_file(sphere.vertices, fmt) for fmt in ("xyz", "npy")}}


@pytest.mark.parametrize("fmt", FORMATS)
def test_empty_files(fmt):
    assert "empty" in refused(b"", fmt)


@pytest.mark.parametrize("fmt", FORMATS)
def test_random_bytes(fmt):
    for seed in range(3):
        refused(random.Random(seed).randbytes(3000), fmt)


# A text of points or of OBJ lines that was cut between two lines is a whole file by itself.
@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt not in ("obj", "xyz")])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.97])
def test_truncated_files(fmt, share, good):
    refused(good[fmt][: int(len(good[fmt]) * share)], fmt)


def test_truncated_text_files():
    refused(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2", "obj")
    refused(b"v 0 0 0\nv 1 0 0\nf 1 2 3\n", "obj")
    refused(b"0 0 0\n1 0 0\n0 1 0\n0 0 1\n5 5", "xyz")
    box = trimesh.creation.box()
    refused(box.export(file_type="stl_ascii").encode()[:-200], "stl")
    refused(box.export(file_type="ply", encoding="ascii")[:-60], "ply")


# Not STEP: damaged files can crash OpenCASCADE itself, which only the worker pool can contain (tests/faults).
@pytest.mark.parametrize("fmt", ["glb", "3mf", "ply", "npy"])
def test_damaged_files_end_in_an_answer_or_a_cad_error(fmt, good):
    chance = random.Random(7)
    for _ in range(6):
        data = bytearray(good[fmt])
        for _ in range(8):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            report = analyse(bytes(data), fmt, {}).report
        except CadError as error:
            assert error.sqlstate in ("22023", "54000")
        else:
            assert np.isfinite(report["size_mm"]).all()


@pytest.mark.parametrize("number", ["nan", "NaN", "inf", "-inf"])
def test_coordinates_that_are_not_finite(number, box_step):
    assert "finite" in refused(box_step.replace(b"(-5.,", f"({number},".encode()), "step")
    assert "finite" in refused(f"0 0 0\n1 0 0\n0 1 0\n0 0 {number}\n".encode(), "xyz")
    assert "finite" in refused(f"v 0 0 0\nv 1 0 0\nv 0 {number} 0\nf 1 2 3\n".encode(), "obj")
    box = trimesh.creation.box()
    box.vertices[0, 0] = float(number)
    assert "finite" in refused(mesh_file(box, "stl"), "stl")


def test_huge_and_tiny_coordinates(box_step):
    assert "units" in hint_of(box_step.replace(b"-15.", b"-1.5E+30"), "step")
    assert "units" in hint_of(b"v 0 0 0\nv 1e30 0 0\nv 0 1 0\nf 1 2 3\n", "obj")
    assert "units" in hint_of(b"0 0 0\n1e30 0 0\n0 1 0\n1 1 1\n", "xyz")
    assert "units" in hint_of(b"v 0 0 0\nv 1e-30 0 0\nv 0 1e-30 0\nf 1 2 3\n", "obj")
    box = trimesh.creation.box((1, 1, 1))
    box.apply_translation([1e6, 0, 0])
    assert analyse(box.export(file_type="ply"), "ply", {}).report["size_mm"] == pytest.approx([1, 1, 1], abs=0.1)


def hint_of(data, fmt):
    with pytest.raises(CadError) as caught:
        analyse(data, fmt, {})
    return caught.value.hint


def test_step_with_too_many_faces(box_step):
    bomb = box_step.replace(b"ENDSEC;\nEND-ISO", b"#9=ADVANCED_FACE('',(),#1,.T.);\n" * 1_000_000 + b"ENDSEC;\nEND-ISO")
    assert "faces" in refused(bomb, "step", "54000")


def test_step_without_products(box_step):
    head, _, _ = box_step.partition(b"DATA;")
    refused(head + b"DATA;\nENDSEC;\nEND-ISO-10303-21;\n", "step")


def test_meshes_without_faces_or_with_degenerate_ones():
    assert "no faces" in refused(bytes(84), "stl")
    assert "no faces" in refused(b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "obj")
    assert "no faces" in refused(b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "off")
    assert "degenerate" in refused(b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\nf 1 1 2\n", "obj")
    mixed = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 2 0 0\nf 1 2 3\nf 1 2 4\nf 1 1 1\n"
    assert analyse(mixed, "obj", {}).report["area_mm2"] == pytest.approx(0.5)


def test_files_over_the_limit_of_bytes(monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100)
    refused(bytes(200), "stl", "54000")


def test_zip_bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", bytes(300 * 2**20))
    assert "unpack" in refused(out.getvalue(), "3mf", "54000")


def glb(tree, binary=b""):
    """A GLB file of a JSON tree and a binary chunk."""
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<2I", len(text), 0x4E4F534A) + text
    if binary:
        chunks += struct.pack("<2I", len(binary), 0x004E4942) + binary
    return struct.pack("<3I", 0x46546C67, 2, 12 + len(chunks)) + chunks


def test_glb_bomb():
    accessor = {"componentType": 5126, "type": "VEC3", "count": 2_000_000_000}
    tree = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": [accessor]}
    refused(glb(tree), "glb", "54000")
    view = {"buffer": 0, "byteOffset": 0, "byteLength": 4_000_000_000}
    tree = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": 36}], "bufferViews": [view]}
    refused(glb({**tree, "accessors": [{**accessor, "count": 3, "bufferView": 0}]}, bytes(36)), "glb")


@pytest.fixture
def sealed(monkeypatch):
    """A machine where opening a file or a socket is an error."""

    def forbidden(*args, **kwargs):
        raise AssertionError(f"opened {args}")

    def arm():
        monkeypatch.setattr(builtins, "open", forbidden)
        monkeypatch.setattr(io, "open", forbidden)
        monkeypatch.setattr(socket.socket, "connect", forbidden)

    return arm


def test_a_mesh_never_reads_another_file(sealed):
    triangle = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    tree = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "accessors": [{"componentType": 5126, "type": "VEC3", "count": 3, "bufferView": 0}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
    }
    embedded = [{"byteLength": 36, "uri": "data:;base64," + base64.b64encode(triangle).decode()}]
    outside = [{"byteLength": 36, "uri": "file:///etc/passwd"}]
    material = b"mtllib /etc/passwd\nusemtl x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    analyse(material, "obj", {})  # everything that is loaded once is loaded
    analyse(json.dumps({**tree, "buffers": embedded}).encode(), "gltf", {})
    sealed()
    assert analyse(material, "obj", {}).report["area_mm2"] == pytest.approx(0.5)
    assert "other files" in refused(json.dumps({**tree, "buffers": outside}).encode(), "gltf")
    assert "other files" in refused(glb({**tree, "buffers": [{"byteLength": 36, "uri": "http://127.0.0.1/a"}]}), "glb")
    pictures = {"images": [{"uri": "../../secret.png"}]}
    assert "other files" in refused(json.dumps({**tree, **pictures, "buffers": embedded}).encode(), "gltf")


def test_npy_that_is_not_an_array_of_points():
    def npy(array):
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        return stream.getvalue()

    refused(npy(np.array([{"a": 1}], dtype=object)), "npy")
    refused(npy(np.zeros(9)), "npy")
    refused(npy(np.zeros((5, 2))), "npy")
    refused(npy(np.zeros((5, 3), complex)), "npy")
    header = npy(np.zeros((5, 3))).replace(b"(5, 3), }      ", b"(5000000000, 3)")
    refused(header.replace(b"3)", b"3)}"), "npy")


def test_clouds_that_are_too_small_too_large_or_flat(monkeypatch):
    with pytest.raises(CadError, match="at least 4"):
        cloud_points(np.zeros((2, 3), np.float32))
    with pytest.raises(CadError, match="n × 3"):
        cloud_points(np.zeros((5, 2), np.float32))
    with pytest.raises(CadError, match="large"):
        cloud_points(np.ones((10, 3), np.float32))
    line = np.linspace([0, 0, 0], [1, 0, 0], 50, dtype=np.float32)
    assert np.isfinite(cloud_points(line)).all()
    monkeypatch.setattr("pgcad.geometry.points.MAX_CLOUD_POINTS", 10)
    with pytest.raises(CadError) as caught:
        cloud_points(line)
    assert caught.value.sqlstate == "54000"
