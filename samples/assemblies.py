"""Products of several parts: each part a node with a name, a placement and a colour."""

from __future__ import annotations

from functools import cache

import shapes
from build123d import Color, Compound, Cylinder, PolarLocations, Pos, Rot, Shape
from pgcad_load.warehouse import StandardPart, catalogue, gear

STEEL, BRASS, BLACK = Color(0.62, 0.64, 0.67), Color(0.8, 0.64, 0.3), Color(0.12, 0.12, 0.14)


@cache
def standard_parts() -> dict[str, StandardPart]:
    """The catalogue by part number."""
    return {part.part_number: part for part in catalogue()}


def bolted_joint() -> Shape:
    """Grip of 20 mm."""
    bolt, washer, nut = _standard("ISO4014-M8x40"), _standard("ISO7089-M8"), _standard("ISO4032-M8")
    plate = shapes.plate(60, 40, 10, 1, 1, 20, 9)
    return _compound(
        _node("lower plate", plate, STEEL),
        _node("upper plate", Pos(0, 0, 10) * plate, STEEL),
        _node("bolt", Pos(0, 0, 21.6) * bolt, BLACK),
        _node("washer under head", Pos(0, 0, 20) * washer, BRASS),
        _node("washer under nut", Pos(0, 0, -1.6) * washer, BRASS),
        _node("nut", Pos(0, 0, -1.6) * Rot(180, 0, 0) * nut, BRASS),
    )


def pillow_block_unit() -> Shape:
    """Axis along y, 25 mm above the foot."""
    axis = Pos(0, 0, 25) * Rot(90, 0, 0)
    return _compound(
        _node("housing", shapes.pillow_block(22, 14, 80, 25, 9), STEEL),
        _node("bearing", axis * Pos(0, 0, -3.5) * _standard("ISO15-608"), BRASS),
        _node("shaft", axis * Cylinder(4, 70), BLACK),
    )


def gear_pair() -> Shape:
    """Module 2 and 18 teeth against module 2 and 12 teeth: centre distance 30 mm."""
    return _compound(
        _node("base plate", Pos(15, 0, -12) * shapes.plate(90, 50, 6, 1, 1, 20, 6), STEEL),
        _node("gear 18", gear(2, 18, 12, 8), BRASS),
        _node("gear 12", Pos(30, 0, 0) * Rot(0, 0, 15) * gear(2, 12, 12, 8), BRASS),
        _node("shaft 1", Pos(0, 0, 0) * Cylinder(4, 40), BLACK),
        _node("shaft 2", Pos(30, 0, 0) * Cylinder(4, 40), BLACK),
    )


def flange_joint() -> Shape:
    """Raised faces at z = 1 and z = -1, gasket between them, bolts from above."""
    flange, bolt, nut = _standard("ASMEB16.5-SO-150-NPS2"), _standard("ISO4014-M16x80"), _standard("ISO4032-M16")
    seat = 1 + 19.1  # half the gasket and the flange's thickness with its face
    joint = [
        _node("gasket", Pos(0, 0, -1) * shapes.gasket(62, 92, 2, 0, 0, 0), BLACK),
        _node("upper flange", Pos(0, 0, 1) * flange, STEEL),
        _node("lower flange", Pos(0, 0, -1) * Rot(180, 0, 0) * flange, STEEL),
    ]
    for number, place in enumerate(PolarLocations(120.7 / 2, 4), start=1):
        joint.append(_node(f"bolt {number}", place * Pos(0, 0, seat) * bolt, BRASS))
        joint.append(_node(f"nut {number}", place * Pos(0, 0, -seat) * Rot(180, 0, 0) * nut, BRASS))
    return _compound(*joint)


def castor() -> Shape:
    """Axle along x at z = 0."""
    turn = Rot(0, 90, 0)
    return _compound(
        _node("fork", shapes.caster_fork(34, 55, 4, 10), STEEL),
        _node("wheel", turn * shapes.wheel(80, 30, 10), BLACK),
        _node("axle bolt", Pos(21, 0, 0) * turn * _standard("ISO4014-M10x60"), BRASS),
        _node("nut", Pos(-21, 0, 0) * Rot(0, -90, 0) * _standard("ISO4032-M10"), BRASS),
    )


def _standard(part_number: str) -> Shape:
    return standard_parts()[part_number].build()


def _node(label: str, shape: Shape, colour: Color) -> Shape:
    node = Compound(shape.solids()) if len(shape.solids()) > 1 else shape.solid()
    node.label, node.color = label, colour
    return node


def _compound(*nodes: Shape) -> Shape:
    return Compound(children=nodes)
