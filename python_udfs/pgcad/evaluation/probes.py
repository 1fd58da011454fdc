"""What somebody who looks for a part may hold in hands: a picture, a drawing, other files of it, a scan.

Made from the part's own STEP file with random numbers that are drawn anew in every run.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import trimesh
from numpy.typing import NDArray
from OCP.BRepBuilderAPI import BRepBuilderAPI_Transform
from OCP.gp import gp_Trsf
from OCP.TopoDS import TopoDS_Shape

from pgcad.corpus.clouds import facing, noisy, random_rotation
from pgcad.corpus.records import random_look, random_view
from pgcad.geometry.analyse import cloud_points
from pgcad.geometry.brep import brep_graph
from pgcad.geometry.brep_graph import BrepGraph
from pgcad.geometry.faces import faces_of
from pgcad.geometry.reading import read
from pgcad.geometry.sampling import sample_surface
from pgcad.geometry.step import read_step
from pgcad.geometry.surface import Surface
from pgcad.geometry.tessellate import tessellate
from pgcad.geometry.units import MILLIMETRES
from pgcad.geometry.views import DRAWING, render

COARSER = (2.0, 5.0)
"""How much coarser another program may triangulate than pgcad does."""
MESH_FORMATS = ("stl", "ply", "obj", "off", "glb")
SHAPE_PROBES = ("turned, other format", "turned, other triangles", "turned, noise", "all of it, in inches")
_METRES = ("glb",)


@dataclass(frozen=True)
class Probe:
    """Pictures uint8 (224, 224, 3); clouds float32 (2048, 6) in mm by the names of SHAPE_PROBES; a scan of one side;
    the exact faces of the part, turned.
    """

    picture: NDArray[np.uint8]
    drawing: NDArray[np.uint8]
    clouds: dict[str, NDArray[np.float32]]
    scan: NDArray[np.float32]
    brep: BrepGraph


def probes(files: Sequence[Path], seed: int, workers: int) -> Iterator[Probe]:
    """One probe per file, in their order."""
    jobs = [(file, f"{seed} {number}") for number, file in enumerate(files)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_probe_of, jobs, chunksize=4)


def probe(file: Path, seed: str) -> Probe:
    """A probe of one STEP file; the same for the same seed. Raises CadError as reading does."""
    rng = Random(seed)
    data = file.read_bytes()
    model = read_step(data)
    surface = tessellate(model)
    coarse = tessellate(read_step(data), rng.uniform(*COARSER))
    view = [random_view(rng)]
    clouds = [
        read(_file(turned(surface, rng), fmt := rng.choice(MESH_FORMATS), "mm"), fmt).points,
        sample_surface(turned(coarse, rng), seed=rng.getrandbits(32)),
        cloud_points(noisy(sample_surface(turned(surface, rng), seed=rng.getrandbits(32))[:, :3], rng)),
        cloud_points(noisy(_in_inches(turned(coarse, rng), rng)[:, :3], rng)),
    ]
    return Probe(
        picture=render(surface, view, look=random_look(rng))[0],
        drawing=render(surface, view, look=DRAWING)[0],
        clouds=dict(zip(SHAPE_PROBES, clouds, strict=True)),
        scan=_scan(turned(surface, rng), rng),
        brep=brep_graph(faces_of(_turned_solid(model.shape, rng))),
    )


def turned(surface: Surface, rng: Random) -> Surface:
    """The surface in a random orientation (uniform on SO(3)) and place."""
    rotation, shift_mm = random_rotation(rng), _random_place_mm(rng)
    return replace(surface, vertices_mm=rotation.apply(surface.vertices_mm) + shift_mm)


def _turned_solid(shape: TopoDS_Shape, rng: Random) -> TopoDS_Shape:
    """The same of exact geometry."""
    rotation, shift_mm = random_rotation(rng).as_matrix(), _random_place_mm(rng)
    move = gp_Trsf()
    move.SetValues(*np.column_stack([rotation, shift_mm]).flatten().tolist())
    return BRepBuilderAPI_Transform(shape, move, True).Shape()


def _random_place_mm(rng: Random) -> list[float]:
    return [rng.uniform(-50, 50) for _ in range(3)]


def _probe_of(job: tuple[Path, str]) -> Probe:
    return probe(*job)


def _file(surface: Surface, fmt: str, unit: str) -> bytes:
    """The surface as another program would export it."""
    scale = 1 / MILLIMETRES["m" if fmt in _METRES else unit]
    mesh = trimesh.Trimesh(surface.vertices_mm * scale, surface.triangles, process=False, validate=False)
    written = (trimesh.Scene(mesh) if fmt in _METRES else mesh).export(file_type=fmt)
    return written if isinstance(written, bytes) else written.encode()


def _in_inches(surface: Surface, rng: Random) -> NDArray[np.float32]:
    """Points of the surface after a trip through an STL file in inches whose reader was told so."""
    return read(_file(surface, "stl", "inch"), "stl", "inch").points


def _scan(surface: Surface, rng: Random) -> NDArray[np.float32]:
    """What a scanner on one side sees, with noise: points whose surface faces it."""
    points = sample_surface(surface, seed=rng.getrandbits(32))
    return cloud_points(noisy(facing(points, rng), rng))
