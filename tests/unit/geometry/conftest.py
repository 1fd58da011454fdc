"""Parts with known properties, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from build123d import Box, Color, Compound, Cylinder, Pos, Shape, export_step
from pgcad.geometry.brep import brep_graph
from pgcad.geometry.brep_graph import BrepGraph
from pgcad.geometry.faces import faces_of

MILLIMETRE = b"( LENGTH_UNIT() NAMED_UNIT(*) SI_UNIT(.MILLI.,.METRE.) );"
UNITS = {
    "mm": MILLIMETRE,
    "m": b"( LENGTH_UNIT() NAMED_UNIT(*) SI_UNIT($,.METRE.) );",
    "inch": b"( CONVERSION_BASED_UNIT('INCH',#90001) LENGTH_UNIT() NAMED_UNIT(#90003) );",
}
INCH = b"""#90001 = LENGTH_MEASURE_WITH_UNIT(LENGTH_MEASURE(25.4),#90002);
#90002 = ( LENGTH_UNIT() NAMED_UNIT(*) SI_UNIT(.MILLI.,.METRE.) );
#90003 = DIMENSIONAL_EXPONENTS(1.,0.,0.,0.,0.,0.,0.);
"""

StepMaker = Callable[..., bytes]


def graph_of(shape: Shape) -> BrepGraph:
    return brep_graph(faces_of(shape.wrapped))


@pytest.fixture(scope="session")
def to_step(tmp_path_factory: pytest.TempPathFactory) -> StepMaker:
    """A function from a build123d shape to the bytes of a STEP file whose numbers are in a unit."""
    folder: Path = tmp_path_factory.mktemp("step")

    def export(shape: Shape, unit: str = "mm") -> bytes:
        path = folder / "part.step"
        assert export_step(shape, path)
        data = path.read_bytes()
        assert MILLIMETRE in data
        return data.replace(MILLIMETRE, UNITS[unit]).replace(b"DATA;\n", b"DATA;\n" + INCH)

    return export


@pytest.fixture(scope="session")
def box_step(to_step: StepMaker) -> bytes:
    """A box of 10 × 20 × 30 mm around the origin."""
    return to_step(Box(10, 20, 30))


@pytest.fixture(scope="session")
def assembly_step(to_step: StepMaker) -> bytes:
    """A red plate and two blue pins, 20 mm apart along x."""
    plate = Box(40, 10, 2)
    plate.label, plate.color = "plate", Color("red")
    pins = []
    for index, x in enumerate((-10, 10)):
        pin = Pos(x, 0, 6) * Cylinder(1, 10)
        pin.label, pin.color = f"pin {index}", Color("blue")
        pins.append(pin)
    return to_step(Compound(label="bracket", children=[plate, *pins]))
