"""Machine parts that no standard fixes, modelled with build123d. Lengths in mm; z is up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from build123d import (
    Align,
    Axis,
    Box,
    Circle,
    Cone,
    Cylinder,
    Edge,
    GeomType,
    GridLocations,
    Helix,
    Part,
    Plane,
    PolarLocations,
    Polygon,
    Polyline,
    Pos,
    RectangleRounded,
    RegularPolygon,
    Rot,
    Shape,
    SlotOverall,
    Torus,
    Wire,
    chamfer,
    extrude,
    fillet,
    make_face,
    revolve,
    sweep,
)

BOTTOM = (Align.CENTER, Align.CENTER, Align.MIN)


def l_bracket(width: float, leg: float, height: float, thickness: float, hole: float) -> Shape:
    """Bent angle with two holes in each leg."""
    part = Box(leg, width, thickness, align=Align.MIN) + Box(thickness, width, height, align=Align.MIN)
    inner = (
        part.edges()
        .filter_by(Axis.Y)
        .filter_by(lambda e: abs(e.center().X - thickness) < 1e-6 and abs(e.center().Z - thickness) < 1e-6)
    )
    part = fillet(inner, thickness)
    for fraction in (0.25, 0.75):
        part -= Pos((leg + thickness) / 2, fraction * width, 0) * Cylinder(hole / 2, 4 * thickness)
        part -= Pos(0, fraction * width, (height + thickness) / 2) * Rot(0, 90, 0) * Cylinder(hole / 2, 4 * thickness)
    return part


def gusset_bracket(width: float, leg: float, thickness: float, hole: float) -> Shape:
    """Angle bracket stiffened by a triangular rib."""
    part = Box(leg, width, thickness, align=Align.MIN) + Box(thickness, width, leg, align=Align.MIN)
    rib = extrude(
        Plane.XZ * make_face(Polyline((0, 0), (leg * 0.8, 0), (0, leg * 0.8), close=True)), thickness / 2, both=True
    )
    part += Pos(thickness, width / 2, thickness) * rib
    for y in (width * 0.2, width * 0.8):
        part -= Pos(leg * 0.65, y, 0) * Cylinder(hole / 2, 4 * thickness)
        part -= Pos(0, y, leg * 0.65) * Rot(0, 90, 0) * Cylinder(hole / 2, 4 * thickness)
    return part


def u_bracket(width: float, depth: float, height: float, thickness: float, hole: float) -> Shape:
    """Channel with a cross hole through both walls."""
    part = Box(width, depth, height, align=BOTTOM)
    part -= Pos(0, 0, thickness) * Box(width - 2 * thickness, depth, height, align=BOTTOM)
    part -= Pos(0, 0, height * 0.7) * Rot(0, 90, 0) * Cylinder(hole / 2, 2 * width)
    return part - Cylinder(hole / 2, 4 * thickness)


def plate(length: float, width: float, thickness: float, columns: int, rows: int, pitch: float, hole: float) -> Shape:
    """Rounded plate with a grid of through holes."""
    part = extrude(RectangleRounded(length, width, min(length, width) / 12), thickness)
    return part - [
        location * Cylinder(hole / 2, 4 * thickness) for location in GridLocations(pitch, pitch, columns, rows)
    ]


def motor_plate(side: float, thickness: float, bore: float, pitch: float, hole: float) -> Shape:
    """Square plate with a large bore and four mounting holes (NEMA pattern)."""
    part = extrude(RectangleRounded(side, side, side / 10), thickness) - Cylinder(bore / 2, 4 * thickness)
    return part - [location * Cylinder(hole / 2, 4 * thickness) for location in GridLocations(pitch, pitch, 2, 2)]


def enclosure(length: float, width: float, height: float, wall: float) -> Shape:
    """Open box with rounded corners and four screw bosses."""
    part = extrude(RectangleRounded(length, width, 3 * wall), height)
    part -= Pos(0, 0, wall) * extrude(RectangleRounded(length - 2 * wall, width - 2 * wall, 2 * wall), height)
    boss = Cylinder(2 * wall, height - wall, align=BOTTOM) - Pos(0, 0, wall) * Cylinder(
        wall * 0.8, height, align=BOTTOM
    )
    return part + [Pos(0, 0, wall / 2) * location * boss for location in _corners(length, width, 3 * wall)]


def enclosure_lid(length: float, width: float, thickness: float, wall: float) -> Shape:
    """Lid with a locating rim and four screw holes."""
    part = extrude(RectangleRounded(length, width, 3 * wall), thickness)
    rim = RectangleRounded(length - 2.2 * wall, width - 2.2 * wall, 2 * wall) - RectangleRounded(
        length - 4.2 * wall, width - 4.2 * wall, wall
    )
    part += Pos(0, 0, -wall) * extrude(rim, wall)
    return part - [location * Cylinder(wall * 0.9, 20 * thickness) for location in _corners(length, width, 3 * wall)]


def stepped_shaft(steps: Sequence[tuple[float, float]], keyway: tuple[float, float] | None = None) -> Shape:
    """Shaft of (diameter, length) steps with chamfered ends, optionally a keyway (width, length) in the first step."""
    part, z = Part(), 0.0
    for diameter, length in steps:
        part += Pos(0, 0, z) * Cylinder(diameter / 2, length, align=BOTTOM)
        z += length
    ends = part.edges().filter_by(GeomType.CIRCLE).sort_by(Axis.Z)
    part = chamfer([ends[0], ends[-1]], min(steps[0][0], steps[-1][0]) / 20)
    if keyway:
        width, length = keyway
        diameter, first = steps[0]
        slot = extrude(SlotOverall(length, width), diameter)
        part -= Pos(0, diameter / 2 - width * 0.5, first / 2) * Rot(-90, 0, 0) * Rot(0, 0, 90) * slot
    return part


def v_belt_pulley(pitch_diameter: float, grooves: int, bore: float) -> Shape:
    """Solid pulley for SPZ belts: grooves at 12 mm pitch, 38 degrees."""
    width, outer = 4 + 12 * grooves, pitch_diameter / 2 + 2
    part = Cylinder(outer, width, align=BOTTOM) - Cylinder(bore / 2, 2 * width, align=BOTTOM)
    half, depth = 4.85, 11.0
    bottom = half - depth * math.tan(math.radians(19))
    for groove in range(grooves):
        z = 8 + 12 * groove
        profile = Polyline(
            (outer + 1, z - half),
            (outer + 1, z + half),
            (outer - depth, z + bottom),
            (outer - depth, z - bottom),
            close=True,
        )
        part -= revolve(Plane.XZ * make_face(profile), Axis.Z)
    return part


def flat_pulley(diameter: float, width: float, bore: float) -> Shape:
    """Flat belt pulley with hub, web and rim."""
    rim = Cylinder(diameter / 2, width) - Cylinder(diameter / 2 - 4, width)
    hub = Cylinder(bore, width) - Cylinder(bore / 2, width)
    web = Cylinder(diameter / 2 - 2, width / 4) - Cylinder(bore * 0.9, width)
    holes = [location * Cylinder(diameter / 14, width) for location in PolarLocations(diameter / 3.4, 5)]
    return rim + (web - holes) + hub


def round_spacer(outer: float, inner: float, length: float) -> Shape:
    """Plain tube."""
    return Cylinder(outer / 2, length, align=BOTTOM) - Cylinder(inner / 2, length, align=BOTTOM)


def hex_standoff(across_flats: float, bore: float, length: float) -> Shape:
    """Hexagonal pillar with a hole right through."""
    part = extrude(RegularPolygon(across_flats / 2, 6, major_radius=False), length)
    return part - Cylinder(bore / 2, 4 * length)


def flanged_bushing(bore: float, outer: float, flange: float, length: float) -> Shape:
    """Sleeve bearing with a collar."""
    part = Cylinder(outer / 2, length, align=BOTTOM) + Cylinder(flange / 2, length / 8, align=BOTTOM)
    return part - Cylinder(bore / 2, 4 * length)


def j_hook(wire: float, shank: float, bend: float) -> Shape:
    """Round bar bent to a hook, with an eye at the other end."""
    path = Wire(
        [
            Edge.make_line((0, 0, 0), (0, 0, -shank)),
            Edge.make_three_point_arc((0, 0, -shank), (bend, 0, -shank - bend), (2 * bend, 0, -shank)),
        ]
    )
    bar = sweep(Plane.XY * Circle(wire / 2), path=path)
    return bar + Pos(0, 0, 1.5 * wire) * Rot(90, 0, 0) * Torus(1.7 * wire, wire / 2)


def compression_spring(wire: float, mean_diameter: float, pitch: float, turns: float) -> Shape:
    """Round wire along a helix, ends open."""
    path = Helix(pitch, pitch * turns, mean_diameter / 2)
    return sweep(Plane(path @ 0, z_dir=path % 0) * Circle(wire / 2), path=path)


def pipe_elbow(outer: float, wall: float, radius: float, degrees: float) -> Shape:
    """Bent pipe."""
    ring = Pos(radius, 0, 0) * Circle(outer / 2) - Pos(radius, 0, 0) * Circle(outer / 2 - wall)
    return revolve(Plane.XZ * ring, Axis.Z, revolution_arc=degrees)


def pipe_tee(outer: float, wall: float, length: float) -> Shape:
    """Straight run with an equal branch."""
    run, branch = Rot(0, 90, 0) * Cylinder(outer / 2, 2 * length), Cylinder(outer / 2, length, align=BOTTOM)
    bores = Rot(0, 90, 0) * Cylinder(outer / 2 - wall, 2 * length) + Cylinder(outer / 2 - wall, length, align=BOTTOM)
    return run + branch - bores


def gasket(inner: float, outer: float, thickness: float, holes: int, circle: float, hole: float) -> Shape:
    """Flat ring, with bolt holes where the flange wants a full face."""
    part = Cylinder(outer / 2, thickness, align=BOTTOM) - Cylinder(inner / 2, thickness, align=BOTTOM)
    if not holes:
        return part
    return part - [location * Cylinder(hole / 2, 4 * thickness) for location in PolarLocations(circle / 2, holes)]


def heat_sink(length: float, width: float, height: float, fins: int) -> Shape:
    """Extruded base with straight fins."""
    base, pitch = height / 5, width / fins
    part = Box(length, width, base, align=BOTTOM)
    fin = Box(length, pitch / 3, height, align=BOTTOM)
    return part + [location * fin for location in GridLocations(pitch, pitch, 1, fins)]


def u_bolt(rod: float, inside: float, leg: float) -> Shape:
    """Round bar bent to a U."""
    radius = (inside + rod) / 2
    path = Wire(
        [
            Edge.make_line((-radius, 0, 0), (-radius, 0, leg)),
            Edge.make_three_point_arc((-radius, 0, leg), (0, 0, leg + radius), (radius, 0, leg)),
            Edge.make_line((radius, 0, leg), (radius, 0, 0)),
        ]
    )
    return sweep(Plane((-radius, 0, 0)) * Circle(rod / 2), path=path)


def knob(diameter: float, lobes: int, height: float, bore: float) -> Shape:
    """Star grip with a blind hole."""
    part = Cylinder(diameter / 2, height, align=BOTTOM)
    part -= [location * Cylinder(diameter / 8, 4 * height) for location in PolarLocations(diameter / 2 * 1.08, lobes)]
    part += Pos(0, 0, -height / 3) * Cylinder(diameter / 4, height / 3, align=BOTTOM)
    return part - Pos(0, 0, -height / 3) * Cylinder(bore / 2, height, align=BOTTOM)


def hinge_leaf(length: float, width: float, thickness: float, pin: float, hole: float) -> Shape:
    """Flat leaf with three knuckles and countersunk holes."""
    part = Box(length, width, thickness, align=(Align.CENTER, Align.MIN, Align.MIN))
    knuckle = Rot(0, 90, 0) * (Cylinder(pin, length / 5) - Cylinder(pin / 2, length / 5))
    part = (
        part
        - Rot(0, 90, 0) * Cylinder(pin / 2, length)
        + [Pos(x * length / 5 * 2, 0, pin) * knuckle for x in (-1, 0, 1)]
    )
    for x in (-length / 3, 0, length / 3):
        part -= Pos(x, width * 0.65, 0) * (
            Cylinder(hole / 2, 4 * thickness) + Cone(hole / 2, hole, thickness, align=BOTTOM)
        )
    return part


def pillow_block(bore: float, width: float, length: float, height: float, hole: float) -> Shape:
    """Bearing housing with a foot and two bolt holes; the bore's axis is y, at `height` above the foot."""
    foot = Box(length, width, height / 4, align=BOTTOM)
    body = Pos(0, 0, height) * Rot(90, 0, 0) * Cylinder(bore * 0.8, width) + Box(
        1.6 * bore, width, height, align=BOTTOM
    )
    part = foot + body - Pos(0, 0, height) * Rot(90, 0, 0) * Cylinder(bore / 2, 2 * width)
    return part - [Pos(x * length * 0.4, 0, 0) * Cylinder(hole / 2, height) for x in (-1, 1)]


def clevis(fork: float, gap: float, pin: float, thread: float) -> Shape:
    """Fork end for a rod."""
    width = 2 * fork + gap
    part = Box(width, width, 2 * width, align=BOTTOM) - Pos(0, 0, width) * Box(gap, width, 2 * width, align=BOTTOM)
    part -= Pos(0, 0, 1.6 * width) * Rot(0, 90, 0) * Cylinder(pin / 2, 2 * width)
    return part - Cylinder(thread / 2, 1.4 * width)


def caster_fork(width: float, height: float, thickness: float, axle: float) -> Shape:
    """Fork of a castor with a top plate; the axle's axis is x, at z = 0."""
    cheek = Box(thickness, 1.2 * width, height, align=BOTTOM) - Rot(0, 90, 0) * Cylinder(axle / 2, 4 * thickness)
    cheek += Rot(0, 90, 0) * (Cylinder(0.6 * width, thickness) - Cylinder(axle / 2, thickness))
    part = Part() + [Pos(side * (width + thickness) / 2, 0, 0) * cheek for side in (-1, 1)]
    top = Box(2 * width, 2 * width, thickness, align=BOTTOM)
    top -= [location * Cylinder(axle / 2, 4 * thickness) for location in GridLocations(1.5 * width, 1.5 * width, 2, 2)]
    return part + Pos(0, 0, height) * top


def wheel(diameter: float, width: float, bore: float) -> Shape:
    """Solid wheel with a rounded tread and a hub; the axis is z."""
    tread = fillet(Cylinder(diameter / 2, width).edges().filter_by(GeomType.CIRCLE), width / 5)
    for side in (-1, 1):
        recess = Cylinder(diameter * 0.38, width / 4) - Cylinder(diameter * 0.15, width / 4)
        tread -= Pos(0, 0, side * (width / 2 - width / 8)) * recess
    return tread - Cylinder(bore / 2, 2 * width)


def handle(span: float, rod: float, height: float) -> Shape:
    """Bow handle of round bar, threaded feet left out."""
    half, bend = span / 2, height / 3
    path = Wire(
        [
            Edge.make_line((-half, 0, 0), (-half, 0, height - bend)),
            Edge.make_three_point_arc(
                (-half, 0, height - bend),
                (-half + bend * (1 - math.sqrt(0.5)), 0, height - bend * (1 - math.sqrt(0.5))),
                (-half + bend, 0, height),
            ),
            Edge.make_line((-half + bend, 0, height), (half - bend, 0, height)),
            Edge.make_three_point_arc(
                (half - bend, 0, height),
                (half - bend * (1 - math.sqrt(0.5)), 0, height - bend * (1 - math.sqrt(0.5))),
                (half, 0, height - bend),
            ),
            Edge.make_line((half, 0, height - bend), (half, 0, 0)),
        ]
    )
    return sweep(Plane((-half, 0, 0)) * Circle(rod / 2), path=path)


def jaw_coupling_hub(outer: float, length: float, bore: float, jaws: int) -> Shape:
    """One half of a jaw coupling."""
    part = Cylinder(outer / 2, length, align=BOTTOM)
    sector = extrude(
        Polygon(
            (0, 0),
            (outer, -outer * math.tan(math.pi / jaws / 2)),
            (outer, outer * math.tan(math.pi / jaws / 2)),
            align=None,
        ),
        length / 3,
    )
    jaw = sector & (Cylinder(outer / 2, length, align=BOTTOM) - Cylinder(outer / 5, length, align=BOTTOM))
    part += [Pos(0, 0, length) * location * jaw for location in PolarLocations(0, jaws)]
    return part - Cylinder(bore / 2, 4 * length)


def _corners(length: float, width: float, inset: float) -> GridLocations:
    return GridLocations(length - 2 * inset, width - 2 * inset, 2, 2)
