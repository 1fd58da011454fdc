"""Write the sample corpus: `python samples/generate.py`.

The same versions give the same bytes, but for numbering and order within files of several bodies.
"""

from __future__ import annotations

import csv
from pathlib import Path

import assemblies
import corpus
import numpy as np
import pyvista
import shapes
from build123d import Shape
from pgcad_load.generation import write_step
from pgcad_load.warehouse import StandardPart

SAMPLES = Path(__file__).resolve().parent
PARTS, QUERIES = SAMPLES / "parts", SAMPLES / "queries"
COLUMNS = [
    "file",
    "part_number",
    "name",
    "name_zh",
    "family",
    "description",
    "description_zh",
    "material",
    "tags",
    "units",
    "density_kg_m3",
]
DENSITY_KG_M3 = {
    "steel": 7850,
    "steel 12.9": 7850,
    "steel 45H": 7850,
    "steel C45": 7850,
    "spring steel": 7850,
    "cast iron": 7200,
    "stainless steel": 7900,
    "copper": 8960,
    "brass": 8500,
    "bronze": 8800,
    "aluminium": 2700,
    "ABS": 1040,
    "polyamide": 1140,
    "NBR": 1200,
    "rubber": 1200,
    "graphite": 1800,
}
CLOUD_POINTS = 3000
CLOUD_NOISE_MM = 0.05


def write_parts() -> None:
    """One STEP file a part in a folder a family, and `parts.csv` beside them."""
    rows = []
    for part in corpus.parts():
        file = Path(part.family, f"{part.part_number}.step")
        shape = part.build()
        shape.label = part.part_number
        write_step(shape, PARTS / file)
        rows.append(_row(part, file))
    with (PARTS / "parts.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_queries() -> None:
    """A picture, a STEP file and a point cloud of parts like those in the corpus, none of them in it."""
    write_step(shapes.l_bracket(35, 45, 50, 4, 6.0), QUERIES / "bracket.step")
    _picture(assemblies.standard_parts()["EN1662-M8x45"].build(), QUERIES / "flange_bolt.png")
    np.savetxt(QUERIES / "u_bracket.xyz", _cloud(shapes.u_bracket(40, 25, 35, 2.5, 7)), fmt="%.2f")


def _row(part: StandardPart, file: Path) -> dict[str, str]:
    metadata = part.metadata
    return {
        **{key: metadata[key] for key in COLUMNS if key in metadata},
        "file": file.as_posix(),
        "tags": ";".join(part.tags),
        "density_kg_m3": str(DENSITY_KG_M3[part.material]),
    }


def _mesh(shape: Shape) -> pyvista.PolyData:
    vertices, triangles = shape.tessellate(0.05, 0.2)
    return pyvista.PolyData.from_regular_faces(np.array([tuple(v) for v in vertices]), np.array(triangles))


def _picture(shape: Shape, path: Path) -> None:
    """A plain rendering from a direction that is none of the canonical views."""
    plotter = pyvista.Plotter(off_screen=True, window_size=(480, 480))
    plotter.set_background("white")
    plotter.add_mesh(_mesh(shape), color="#9aa3ad", smooth_shading=True, split_sharp_edges=True, specular=0.4)
    plotter.camera_position = [(3.0, -2.0, 1.6), (0, 0, 0), (0, 0, 1)]
    plotter.reset_camera()
    plotter.screenshot(path)
    plotter.close()


def _cloud(shape: Shape) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Points (n, 3) in mm, spread evenly over the surface, with the noise of a good scanner."""
    mesh = _mesh(shape)
    triangles = mesh.points[mesh.regular_faces]
    random = np.random.default_rng(0)
    areas = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    chosen = triangles[random.choice(len(triangles), CLOUD_POINTS, p=areas / areas.sum())]
    u, v = np.sqrt(random.random((CLOUD_POINTS, 1))), random.random((CLOUD_POINTS, 1))
    points = (1 - u) * chosen[:, 0] + u * (1 - v) * chosen[:, 1] + u * v * chosen[:, 2]
    return points + random.normal(scale=CLOUD_NOISE_MM, size=points.shape)


if __name__ == "__main__":
    QUERIES.mkdir(parents=True, exist_ok=True)
    write_parts()
    write_queries()
