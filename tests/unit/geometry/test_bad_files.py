"""Bad files end in a CadError that says what was wrong: never in another exception, never in a file being opened."""

from __future__ import annotations

import base64
import builtins
import io
import json
import random
import socket
import struct
import time
import zipfile
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import trimesh
from build123d import Box, Pos
from OCP.BRep import BRep_Builder
from OCP.gp import gp_Dir, gp_Trsf, gp_Vec
from OCP.Standard import Standard_OutOfMemory
from OCP.STEPCAFControl import STEPCAFControl_Writer
from OCP.TCollection import TCollection_ExtendedString
from OCP.TDocStd import TDocStd_Document
from OCP.TopLoc import TopLoc_Location
from OCP.TopoDS import TopoDS_Compound
from OCP.XCAFDoc import XCAFDoc_DocumentTool
from part_files import cloud_file, mesh_file
from pgcad.errors import CadError
from pgcad.geometry import limits
from pgcad.geometry.analyse import analyse, cloud_points
from pgcad.geometry.formats import FORMATS, MESHES
from pgcad.geometry.images import decode_image
from pgcad.geometry.step import kernel_errors, placed_faces


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
    refused_in_step(number, box_step)
    assert "finite" in refused(f"0 0 0\n1 0 0\n0 1 0\n0 0 {number}\n".encode(), "xyz")
    assert "finite" in refused(f"v 0 0 0\nv 1 0 0\nv 0 {number} 0\nf 1 2 3\n".encode(), "obj")
    box = trimesh.creation.box()
    box.vertices[0, 0] = float(number)
    assert "finite" in refused(mesh_file(box, "stl"), "stl")


def refused_in_step(number, box_step):
    data = box_step.replace(b"(-5.,", f"({number},".encode())
    assert data != box_step
    assert "finite" in refused(data, "step")


# Beyond 1E308 there is no such number, and OpenCASCADE does not end; products of lesser ones get there, too.
@pytest.mark.parametrize(
    "number", ["1.E+999", "1e999", "-2.E0400", "1.E+100", "1.#QNAN", "-1.#IND00", "1.#INF", "-nan(ind)"]
)
def test_numbers_that_overflow_or_come_from_microsoft(number, box_step):
    refused_in_step(number, box_step)


@pytest.mark.parametrize("number", ["-5.E+000", "-5.0000E+00", "-500.E-002", "-5.E0"])
def test_numbers_with_long_exponents_are_numbers(number, box_step):
    report = analyse(box_step.replace(b"(-5.,", f"({number},".encode()), "step", {}).report
    assert report["size_mm"] == pytest.approx([10, 20, 30])


def test_a_number_next_to_nothing_is_nothing(to_step):
    data = to_step(Pos(5, 0, 0) * Box(10, 20, 30)).replace(b"(0.,-10.", b"(1.E-300,-10.")
    assert analyse(data, "step", {}).report["size_mm"] == pytest.approx([10, 20, 30])


@pytest.mark.parametrize("name", ["Bolt (NAN)", "Resistor, Inf, 10k", "A, nan, it's, (inf)", "1.#QNAN 1.E+999", "/* '"])
def test_a_name_may_say_what_a_number_must_not(name, to_step):
    box = Box(1, 2, 3)
    box.label = "PLACE-OF-NAME"
    data = to_step(box).replace(b"PLACE-OF-NAME", name.replace("'", "''").encode())
    assert analyse(data, "step", {}).report["name"] == name
    assert "finite" in refused(data.replace(b"(-0.5,", b"(nan,"), "step")


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


def write_instances(path, counts):
    """A STEP file of a cube, placed counts[0] times in an assembly that is placed counts[1] times in another …"""
    document = TDocStd_Document(TCollection_ExtendedString("XmlXCAF"))
    shapes = XCAFDoc_DocumentTool.ShapeTool_s(document.Main())
    part, pitch = shapes.AddShape(Box(1, 1, 1).wrapped, False), 2.0
    for count in counts:
        whole = shapes.NewShape()
        for index in range(count):
            place = gp_Trsf()
            place.SetTranslation(gp_Vec(index * pitch, 0, 0))
            shapes.AddComponent(whole, part, TopLoc_Location(place))
        shapes.UpdateAssemblies()
        part, pitch = whole, pitch * count
    writer = STEPCAFControl_Writer()
    writer.SetColorMode(False)
    assert writer.Transfer(document)
    writer.Write(str(path))
    return path.read_bytes()


def test_a_small_file_with_six_hundred_thousand_faces(tmp_path):
    data = write_instances(tmp_path / "many.step", [10] * 5)
    assert len(data) < 100_000
    started = time.monotonic()
    assert "600,000 faces" in refused(data, "step", "54000")
    assert time.monotonic() - started < 5


def test_instances_of_instances_are_counted_without_being_gone_through():
    shape = Box(1, 1, 1).wrapped
    for _ in range(60):
        pair, builder = TopoDS_Compound(), BRep_Builder()
        builder.MakeCompound(pair)
        for _ in range(2):
            builder.Add(pair, shape)
        shape = pair
    assert placed_faces(shape) == 6 * 2**60
    for _ in range(200):
        pair = TopoDS_Compound()
        builder.MakeCompound(pair)
        builder.Add(pair, shape)
        shape = pair
    with pytest.raises(CadError, match="levels"):
        placed_faces(shape)


def test_more_components_than_are_read(tmp_path):
    data = write_instances(tmp_path / "few.step", [3])
    line = b"#9=NEXT_ASSEMBLY_USAGE_OCCURRENCE('1','','',#5,#6,$);\n"
    assert "components" in refused(
        data.replace(b"ENDSEC;\nEND-ISO", 60_000 * line + b"ENDSEC;\nEND-ISO"), "step", "54000"
    )


@pytest.mark.parametrize("kind", ["TRIANGULATED_FACE('',$,3,$", "FACE_SURFACE('',(#1)", "POLY_LOOP('',(#1)"])
def test_every_kind_of_face_is_counted(kind, box_step):
    line = f"#9={kind});\n".encode()
    assert "faces" in refused(
        box_step.replace(b"ENDSEC;\nEND-ISO", 200_001 * line + b"ENDSEC;\nEND-ISO"), "step", "54000"
    )


def test_a_machine_without_memory_is_not_taken_for_a_bad_file(monkeypatch, good, box_step):
    def fail(*args, **kwargs):
        raise MemoryError

    for target, fmt in [
        ("pgcad.geometry.mesh.trimesh.load_scene", "stl"),
        ("pgcad.geometry.points.np.load", "npy"),
        ("pgcad.geometry.points.np.loadtxt", "xyz"),
    ]:
        with monkeypatch.context() as patch, pytest.raises(MemoryError):
            patch.setattr(target, fail)
            analyse(good[fmt], fmt, {})
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr("pgcad.geometry.images.Image.open", fail)
        decode_image(b"\x89PNG")
    with pytest.raises(MemoryError), kernel_errors():
        raise Standard_OutOfMemory


def test_every_error_of_the_kernel_is_about_the_file():
    with pytest.raises(CadError, match="OpenCASCADE cannot work with") as caught, kernel_errors():
        gp_Dir(0, 0, 0)
    assert caught.value.sqlstate == "22023"
    with pytest.raises(KeyError), kernel_errors():
        raise KeyError("not the kernel's")


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


HOSTILE_NAMES = ("../../etc/passwd", "/etc/passwd", "a\x1b[2J\n.model", "x" * 5000, "3D/\u202e.model", "C:\\\\evil.dll")


def test_entries_of_an_archive_with_hostile_names_are_never_unpacked(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = io.BytesIO(good["3mf"])
    with zipfile.ZipFile(out, "a") as archive:
        for name in HOSTILE_NAMES:
            archive.writestr(name, b"evil")
    report = analyse(out.getvalue(), "3mf", {}).report
    assert report["closed"] and report["size_mm"] == pytest.approx([20, 20, 20], rel=0.1)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("fmt", ["3mf", "glb", "obj"])
def test_objects_with_hostile_names_have_harmless_ones(name, fmt):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1, 2, 3)), geom_name="PLACE-OF-NAME")
    data = scene.export(file_type=fmt)
    data = data.encode() if isinstance(data, str) else bytes(data)
    data = named(data, fmt, name)
    found = analyse(data, fmt, {}).report
    for text in (found["name"], *found["names"]):
        assert text.isprintable() and len(text) <= 300


def named(data, fmt, name):
    """The file with its object called `name`, as far as the format can say it."""
    if fmt == "obj":
        return data.replace(b"PLACE-OF-NAME", name.encode())
    if fmt == "glb":
        length = int.from_bytes(data[12:16], "little")
        tree = json.loads(data[20 : 20 + length])
        text = json.dumps(tree).replace("PLACE-OF-NAME", json.dumps(name)[1:-1])
        return glb(json.loads(text), data[28 + length :])
    return repacked(data, b"PLACE-OF-NAME", quoteattr("".join(c for c in name if c >= " "))[1:-1].encode())


def repacked(archive, old, new):
    """A zip archive with a text in its files replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry).replace(old, new))
    return out.getvalue()


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
