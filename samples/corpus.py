"""What the sample corpus holds: standard parts picked from the catalogue, machine parts, and five assemblies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import shapes
from build123d import Color, Compound, Cylinder, PolarLocations, Pos, Rot, Shape
from pgcad_load.warehouse import StandardPart, catalogue

STEEL, BRASS, BLACK = Color(0.62, 0.64, 0.67), Color(0.8, 0.64, 0.3), Color(0.12, 0.12, 0.14)

STANDARD_PARTS = """
ISO4014-M6x40 ISO4014-M8x40 ISO4014-M8x60 ISO4014-M10x50 ISO4014-M12x80 ISO4014-M16x100
ISO4017-M4x16 ISO4017-M6x20 ISO4017-M8x25 ISO4017-M10x30 ISO4017-M12x40
EN1662-M5x16 EN1662-M6x20 EN1662-M8x30 EN1662-M8x40 EN1662-M10x50
ISO4762-M3x10 ISO4762-M4x16 ISO4762-M5x20 ISO4762-M6x25 ISO4762-M8x40 ISO4762-M10x50
ISO7380-1-M4x10 ISO7380-1-M5x16 ISO7380-2-M6x20 ISO7380-1-M8x25
ISO10642-M4x12 ISO10642-M6x20 ISO10642-M8x30 ISO2009-M3x10 ISO7046-M5x16
ISO1207-M4x12 ISO14580-M5x16 ISO7045-M4x10 ISO1580-M5x20 ISO14583-M4x12
ISO4026-M4x6 ISO4026-M6x10 ISO4026-M8x12 ISO4026-M10x20
ISO7379-M5x20 ISO7379-M6x30 ISO7379-M8x40
ISO4032-M4 ISO4032-M6 ISO4032-M8 ISO4032-M10 ISO4032-M12 ISO4035-M8 ISO4035-M12
DIN1587-M6 DIN1587-M8 DIN1587-M12 DIN557-M6 DIN557-M8 DIN557-M10
EN1661-M6 EN1661-M8x1.25 EN1661-M10x1.5
ISO7089-M4 ISO7089-M6 ISO7089-M8 ISO7089-M10 ISO7089-M12 ISO7093-M6 ISO7093-M8 ISO7093-M10 DIN6797-M8
ISO15-623 ISO15-608 ISO15-6000 ISO15-625 ISO15-6200 ISO15-6300 ISO15-NJ202ECP
ISO3601-010 ISO3601-110 ISO3601-120 ISO3601-210 ISO3601-222
DIN471-10x1 DIN471-20x1.2 DIN471-30x1.5 DIN472-22x1 DIN472-32x1.2 DIN472-47x1.75
DIN6885-A6x6x30 DIN6885-A8x7x40 DIN6885-B6x6x30 DIN6885-B10x8x50
ASMEB36-stainless-NPS1_2-40S-100 ASMEB36-stainless-NPS1-40S-250 ASMEB36-stainless-NPS2-10S-250
ASMEB36-copper-NPS1_2-L-250 ASMEB36-copper-NPS3_4-M-500
ASMEB16.5-SO-150-NPS1 ASMEB16.5-SO-150-NPS2 ASMEB16.5-WN-150-NPS2 ASMEB16.5-WN-300-NPS3
ASMEB16.5-BL-150-NPS2 ASMEB16.5-BL-150-NPS3 ASMEB16.5-LJ-150-NPS2
ISO54-M1-Z12 ISO54-M1.5-Z15 ISO54-M2-Z18 ISO54-M2-Z20 ISO54-M3-Z12
ISO606-06B-Z11 ISO606-08B-Z13 ISO606-08B-Z17 ISO606-10B-Z15
""".split()


def parts() -> list[StandardPart]:
    """Every sample, parts before assemblies."""
    return [*(standard_parts()[number] for number in STANDARD_PARTS), *machine_parts(), *assemblies()]


def machine_parts() -> Iterator[StandardPart]:
    """Parts modelled here, a few sizes each."""
    for width, leg, height, thickness, hole in [(30, 40, 40, 4, 5.5), (40, 50, 60, 5, 6.6), (60, 80, 60, 6, 9), (25, 30, 80, 3, 4.5)]:
        yield _part(
            "bracket", f"LB-{leg}x{height}x{width}", f"L bracket {leg} x {height} x {width}", f"L形支架 {leg} x {height} x {width}",
            f"bent angle bracket, legs {leg} and {height} mm, width {width} mm, sheet {thickness} mm, four holes {hole} mm",
            f"折弯角形支架，边长{leg}和{height} mm，宽{width} mm，板厚{thickness} mm，四个{hole} mm孔",
            "steel", ("bracket", "angle"), partial(shapes.l_bracket, width, leg, height, thickness, hole),
        )  # fmt: skip
    for width, leg, thickness, hole in [(40, 60, 6, 6.6), (60, 90, 8, 9)]:
        yield _part(
            "bracket", f"GB-{leg}x{width}", f"Gusset bracket {leg} x {width}", f"加强筋支架 {leg} x {width}",
            f"angle bracket with stiffening rib, legs {leg} mm, width {width} mm, four holes {hole} mm",
            f"带加强筋的角形支架，边长{leg} mm，宽{width} mm，四个{hole} mm孔",
            "aluminium", ("bracket", "rib"), partial(shapes.gusset_bracket, width, leg, thickness, hole),
        )  # fmt: skip
    for width, depth, height, thickness, hole in [(30, 20, 30, 2, 6), (50, 30, 40, 3, 8)]:
        yield _part(
            "bracket", f"UB-{width}x{height}", f"U bracket {width} x {height}", f"U形支架 {width} x {height}",
            f"channel bracket, {width} mm wide, {height} mm high, cross hole {hole} mm",
            f"U形槽支架，宽{width} mm，高{height} mm，横孔{hole} mm",
            "steel", ("bracket", "channel"), partial(shapes.u_bracket, width, depth, height, thickness, hole),
        )  # fmt: skip
    for length, width, thickness, columns, rows, pitch, hole in [(80, 60, 4, 3, 2, 25, 4.5), (120, 80, 6, 5, 3, 20, 5.5), (200, 100, 8, 4, 2, 45, 9)]:
        yield _part(
            "plate", f"PL-{length}x{width}x{thickness}", f"Mounting plate {length} x {width} x {thickness}",
            f"安装板 {length} x {width} x {thickness}",
            f"flat plate {length} x {width} x {thickness} mm with {columns * rows} holes {hole} mm in a grid of {pitch} mm",
            f"平板{length} x {width} x {thickness} mm，{columns * rows}个{hole} mm孔，孔距{pitch} mm",
            "aluminium", ("plate", "hole pattern"), partial(shapes.plate, length, width, thickness, columns, rows, pitch, hole),
        )  # fmt: skip
    for nema, side, bore, pitch, hole in [(17, 42.3, 22.5, 31, 3.2), (23, 57, 38.5, 47.1, 5.2)]:
        yield _part(
            "plate", f"MP-NEMA{nema}", f"Motor plate NEMA {nema}", f"NEMA {nema} 电机安装板",
            f"square plate for a NEMA {nema} stepper motor, {side} mm, bore {bore} mm, four holes {hole} mm",
            f"NEMA {nema}步进电机方形安装板，{side} mm，中心孔{bore} mm，四个{hole} mm孔",
            "aluminium", ("plate", "motor"), partial(shapes.motor_plate, side, 5, bore, pitch, hole),
        )  # fmt: skip
    for length, width, height in [(80, 50, 25), (100, 60, 30), (150, 100, 50)]:
        yield _part(
            "enclosure", f"EN-{length}x{width}x{height}", f"Enclosure {length} x {width} x {height}",
            f"外壳 {length} x {width} x {height}",
            f"open electronics box {length} x {width} x {height} mm, wall 2.5 mm, four screw bosses",
            f"电子设备盒体{length} x {width} x {height} mm，壁厚2.5 mm，四个螺钉柱",
            "ABS", ("enclosure", "box"), partial(shapes.enclosure, length, width, height, 2.5),
        )  # fmt: skip
        yield _part(
            "enclosure", f"EL-{length}x{width}", f"Enclosure lid {length} x {width}", f"外壳盖 {length} x {width}",
            f"lid with locating rim for an electronics box {length} x {width} mm, four screw holes",
            f"电子设备盒盖{length} x {width} mm，带定位凸缘，四个螺钉孔",
            "ABS", ("enclosure", "lid"), partial(shapes.enclosure_lid, length, width, 3, 2.5),
        )  # fmt: skip
    for steps, keyway in [
        (((12, 30), (15, 40), (10, 20)), (4, 18)),
        (((20, 40), (25, 60), (17, 25)), (6, 28)),
        (((30, 50), (40, 90), (35, 40), (25, 30)), (8, 36)),
        (((8, 25), (10, 60)), None),
    ]:
        total, largest = sum(length for _, length in steps), max(diameter for diameter, _ in steps)
        yield _part(
            "shaft", f"SH-{largest}x{total}", f"Stepped shaft {largest} x {total}", f"阶梯轴 {largest} x {total}",
            f"turned shaft, {len(steps)} steps, largest diameter {largest} mm, length {total} mm" + (", with keyway" if keyway else ""),
            f"车削阶梯轴，{len(steps)}段，最大直径{largest} mm，长{total} mm" + ("，带键槽" if keyway else ""),
            "steel C45", ("shaft",), partial(shapes.stepped_shaft, steps, keyway),
        )  # fmt: skip
    for diameter, grooves, bore in [(63, 1, 16), (80, 2, 20), (125, 3, 28)]:
        yield _part(
            "pulley", f"VP-SPZ{diameter}-{grooves}", f"V-belt pulley SPZ {diameter}, {grooves} grooves", f"V带轮 SPZ {diameter} {grooves}槽",
            f"V-belt pulley for SPZ belts, pitch diameter {diameter} mm, {grooves} grooves, bore {bore} mm",
            f"SPZ型V带轮，节圆直径{diameter} mm，{grooves}槽，孔径{bore} mm",
            "cast iron", ("pulley", "V-belt"), partial(shapes.v_belt_pulley, diameter, grooves, bore),
        )  # fmt: skip
    for diameter, width, bore in [(100, 30, 20), (160, 40, 30)]:
        yield _part(
            "pulley", f"FP-{diameter}x{width}", f"Flat belt pulley {diameter} x {width}", f"平带轮 {diameter} x {width}",
            f"flat belt pulley with lightening holes, diameter {diameter} mm, width {width} mm, bore {bore} mm",
            f"带减重孔的平带轮，直径{diameter} mm，宽{width} mm，孔径{bore} mm",
            "cast iron", ("pulley", "belt"), partial(shapes.flat_pulley, diameter, width, bore),
        )  # fmt: skip
    for outer, inner, length in [(8, 4.3, 10), (12, 6.4, 20), (16, 8.4, 30)]:
        yield _part(
            "spacer", f"SP-{outer}x{inner}x{length}", f"Round spacer {outer} x {inner} x {length}", f"圆形隔套 {outer} x {inner} x {length}",
            f"round spacer sleeve, outer diameter {outer} mm, bore {inner} mm, length {length} mm",
            f"圆形隔套，外径{outer} mm，内径{inner} mm，长{length} mm",
            "aluminium", ("spacer",), partial(shapes.round_spacer, outer, inner, length),
        )  # fmt: skip
    for flats, bore, length in [(5.5, 2.5, 15), (7, 3.3, 25), (8, 4.2, 40)]:
        yield _part(
            "spacer", f"HS-{flats}x{length}", f"Hex standoff {flats} x {length}", f"六角铜柱 {flats} x {length}",
            f"hexagonal standoff, {flats} mm across flats, bore {bore} mm, length {length} mm",
            f"六角隔离柱，对边{flats} mm，孔{bore} mm，长{length} mm",
            "brass", ("standoff",), partial(shapes.hex_standoff, flats, bore, length),
        )  # fmt: skip
    for bore, outer, flange, length in [(8, 12, 18, 12), (12, 16, 22, 20), (20, 26, 34, 30)]:
        yield _part(
            "bushing", f"BU-{bore}x{outer}x{length}", f"Flanged bushing {bore} x {outer} x {length}", f"法兰衬套 {bore} x {outer} x {length}",
            f"plain bearing with collar, bore {bore} mm, outer diameter {outer} mm, length {length} mm",
            f"带凸缘滑动轴承，内径{bore} mm，外径{outer} mm，长{length} mm",
            "bronze", ("bushing", "plain bearing"), partial(shapes.flanged_bushing, bore, outer, flange, length),
        )  # fmt: skip
    for wire, shank, bend in [(5, 30, 10), (8, 50, 18)]:
        yield _part(
            "hook", f"HK-{wire}x{shank}", f"Eye hook {wire} x {shank}", f"带环吊钩 {wire} x {shank}",
            f"round bar hook with eye, bar {wire} mm, shank {shank} mm", f"带环圆钢吊钩，直径{wire} mm，杆长{shank} mm",
            "stainless steel", ("hook", "eye"), partial(shapes.j_hook, wire, shank, bend),
        )  # fmt: skip
    for wire, diameter, pitch, turns in [(1, 8, 2.5, 8), (2, 16, 5, 6), (3, 25, 8, 5)]:
        yield _part(
            "spring", f"CS-{wire}x{diameter}", f"Compression spring {wire} x {diameter}", f"压缩弹簧 {wire} x {diameter}",
            f"helical compression spring, wire {wire} mm, mean diameter {diameter} mm, {turns} turns, free length {pitch * turns:g} mm",
            f"圆柱螺旋压缩弹簧，线径{wire} mm，中径{diameter} mm，{turns}圈，自由长度{pitch * turns:g} mm",
            "spring steel", ("spring",), partial(shapes.compression_spring, wire, diameter, pitch, turns),
        )  # fmt: skip
    for outer, wall, radius, degrees in [(21.3, 2.8, 38, 90), (33.4, 3.4, 51, 90), (33.4, 3.4, 51, 45), (60.3, 3.9, 76, 90)]:
        yield _part(
            "pipe_fitting", f"EL{degrees}-{outer}", f"Pipe elbow {degrees}° {outer}", f"{degrees}度弯头 {outer}",
            f"butt welding elbow {degrees} degrees, outer diameter {outer} mm, wall {wall} mm, radius {radius} mm",
            f"{degrees}度对焊弯头，外径{outer} mm，壁厚{wall} mm，弯曲半径{radius} mm",
            "stainless steel", ("elbow", "fitting"), partial(shapes.pipe_elbow, outer, wall, radius, degrees),
        )  # fmt: skip
    for outer, wall, length in [(21.3, 2.8, 25), (33.4, 3.4, 38)]:
        yield _part(
            "pipe_fitting", f"TE-{outer}", f"Pipe tee {outer}", f"等径三通 {outer}",
            f"butt welding equal tee, outer diameter {outer} mm, wall {wall} mm", f"对焊等径三通，外径{outer} mm，壁厚{wall} mm",
            "stainless steel", ("tee", "fitting"), partial(shapes.pipe_tee, outer, wall, length),
        )  # fmt: skip
    for inner, outer, holes, circle, hole in [(62, 105, 0, 0, 0), (62, 152, 4, 120.7, 19), (90, 190, 4, 152.4, 19)]:
        yield _part(
            "gasket", f"GK-{inner}x{outer}", f"Flange gasket {inner} x {outer}", f"法兰垫片 {inner} x {outer}",
            f"flat ring gasket, inner diameter {inner} mm, outer diameter {outer} mm, thickness 2 mm, {holes} bolt holes",
            f"平垫片，内径{inner} mm，外径{outer} mm，厚2 mm，{holes}个螺栓孔",
            "graphite", ("gasket", "seal"), partial(shapes.gasket, inner, outer, 2, holes, circle, hole),
        )  # fmt: skip
    for length, width, height, fins in [(30, 30, 15, 7), (60, 50, 25, 9)]:
        yield _part(
            "heat_sink", f"HX-{length}x{width}x{height}", f"Heat sink {length} x {width} x {height}", f"散热器 {length} x {width} x {height}",
            f"extruded heat sink with {fins} fins, {length} x {width} x {height} mm", f"铝型材散热器，{fins}片，{length} x {width} x {height} mm",
            "aluminium", ("heat sink", "fins"), partial(shapes.heat_sink, length, width, height, fins),
        )  # fmt: skip
    for rod, inside, leg in [(6, 34, 40), (8, 50, 60), (10, 90, 80)]:
        yield _part(
            "u_bolt", f"UBT-{rod}x{inside}", f"U-bolt {rod} x {inside}", f"U形螺栓 {rod} x {inside}",
            f"U-bolt for pipe, rod {rod} mm, inside width {inside} mm", f"管用U形螺栓，直径{rod} mm，内宽{inside} mm",
            "stainless steel", ("U-bolt", "clamp"), partial(shapes.u_bolt, rod, inside, leg),
        )  # fmt: skip
    for diameter, lobes, height, bore in [(32, 5, 14, 6), (50, 6, 20, 8), (63, 7, 25, 10)]:
        yield _part(
            "knob", f"KN-{diameter}-{lobes}", f"Star knob {diameter}", f"星形手轮 {diameter}",
            f"star grip with {lobes} lobes, diameter {diameter} mm, bore {bore} mm", f"{lobes}瓣星形手轮，直径{diameter} mm，孔径{bore} mm",
            "polyamide", ("knob", "grip"), partial(shapes.knob, diameter, lobes, height, bore),
        )  # fmt: skip
    for length, width in [(40, 20), (60, 25)]:
        yield _part(
            "hinge", f"HI-{length}x{width}", f"Hinge leaf {length} x {width}", f"合页片 {length} x {width}",
            f"hinge leaf with three knuckles and countersunk holes, {length} x {width} mm",
            f"三节合页片，沉头孔，{length} x {width} mm",
            "steel", ("hinge",), partial(shapes.hinge_leaf, length, width, 2.5, 3, 4),
        )  # fmt: skip
    for bore, width, length, height, hole in [(22, 14, 80, 25, 9), (35, 20, 120, 40, 11)]:
        yield _part(
            "pillow_block", f"PB-{bore}", f"Pillow block housing {bore}", f"立式轴承座 {bore}",
            f"bearing housing with foot, seat {bore} mm, centre height {height} mm, two bolt holes {hole} mm",
            f"立式轴承座，座孔{bore} mm，中心高{height} mm，两个{hole} mm螺栓孔",
            "cast iron", ("housing", "bearing"), partial(shapes.pillow_block, bore, width, length, height, hole),
        )  # fmt: skip
    for fork, gap, pin, thread in [(4, 8, 6, 6), (6, 12, 10, 10)]:
        yield _part(
            "clevis", f"CL-{gap}x{pin}", f"Clevis {gap} x {pin}", f"叉形接头 {gap} x {pin}",
            f"fork end, gap {gap} mm, pin hole {pin} mm, thread M{thread}", f"叉形接头，叉宽{gap} mm，销孔{pin} mm，螺纹M{thread}",
            "steel", ("clevis", "fork"), partial(shapes.clevis, fork, gap, pin, thread),
        )  # fmt: skip
    for diameter, width, bore in [(50, 20, 8), (80, 30, 10)]:
        yield _part(
            "wheel", f"WH-{diameter}x{width}", f"Wheel {diameter} x {width}", f"滚轮 {diameter} x {width}",
            f"solid wheel, diameter {diameter} mm, width {width} mm, bore {bore} mm", f"实心轮，直径{diameter} mm，宽{width} mm，孔{bore} mm",
            "rubber", ("wheel", "castor"), partial(shapes.wheel, diameter, width, bore),
        )  # fmt: skip
    for span, rod, height in [(96, 8, 32), (128, 10, 40)]:
        yield _part(
            "handle", f"HD-{span}", f"Bow handle {span}", f"拉手 {span}",
            f"bow handle of round bar {rod} mm, hole distance {span} mm", f"圆钢拉手，直径{rod} mm，孔距{span} mm",
            "stainless steel", ("handle",), partial(shapes.handle, span, rod, height),
        )  # fmt: skip
    for outer, length, bore in [(30, 25, 10), (40, 30, 14)]:
        yield _part(
            "coupling", f"JC-{outer}", f"Jaw coupling hub {outer}", f"爪式联轴器半体 {outer}",
            f"hub of a jaw coupling with three jaws, diameter {outer} mm, bore {bore} mm", f"三爪联轴器半体，外径{outer} mm，孔{bore} mm",
            "aluminium", ("coupling",), partial(shapes.jaw_coupling_hub, outer, length, bore, 3),
        )  # fmt: skip


def assemblies() -> Iterator[StandardPart]:
    """Products of several parts, each a node with a name, a placement and a colour."""
    yield _assembly(
        "AS-BOLTED-JOINT", "Bolted joint M8", "M8螺栓连接",
        "two plates joined by a hexagon bolt M8, two washers and a nut", "两块板由M8六角螺栓、两个垫圈和一个螺母连接",
        bolted_joint,
    )  # fmt: skip
    yield _assembly(
        "AS-PILLOW-BLOCK", "Pillow block unit 8", "轴承座组件 8",
        "bearing housing with ball bearing 608 and shaft", "装有608球轴承和轴的轴承座", pillow_block_unit,
    )  # fmt: skip
    yield _assembly(
        "AS-GEAR-PAIR", "Spur gear pair 18:12", "直齿轮副 18:12",
        "two spur gears on shafts in a base plate", "底板上两根轴支承的一对直齿轮", gear_pair,
    )  # fmt: skip
    yield _assembly(
        "AS-FLANGE-JOINT", "Flange joint NPS 2 class 150", "法兰连接 NPS 2 Class 150",
        "two slip-on flanges with gasket and four bolts and nuts", "两片平焊法兰、垫片和四套螺栓螺母", flange_joint,
    )  # fmt: skip
    yield _assembly(
        "AS-CASTOR", "Fixed castor 80", "定向脚轮 80",
        "castor of a fork with top plate, a wheel and an axle bolt with nut", "由支架、滚轮和轴螺栓组成的定向脚轮", castor,
    )  # fmt: skip


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
    from pgcad_load.warehouse import _gear

    return _compound(
        _node("base plate", Pos(15, 0, -12) * shapes.plate(90, 50, 6, 1, 1, 20, 6), STEEL),
        _node("gear 18", _gear(2, 18, 12, 8), BRASS),
        _node("gear 12", Pos(30, 0, 0) * Rot(0, 0, 15) * _gear(2, 12, 12, 8), BRASS),
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


@cache
def standard_parts() -> dict[str, StandardPart]:
    """The catalogue by part number."""
    return {part.part_number: part for part in catalogue()}


def _standard(part_number: str) -> Shape:
    return standard_parts()[part_number].build()


def _node(label: str, shape: Shape, colour: Color) -> Shape:
    node = Compound(shape.solids()) if len(shape.solids()) > 1 else shape.solid()
    node.label, node.color = label, colour
    return node


def _compound(*nodes: Shape) -> Shape:
    return Compound(children=nodes)


def _part(
    family: str, number: str, name: str, name_zh: str, description: str, description_zh: str, material: str,
    tags: tuple[str, ...], build: partial[Shape],
) -> StandardPart:  # fmt: skip
    return StandardPart(family, number, name, name_zh, description, description_zh, material, tags, build)


def _assembly(number: str, name: str, name_zh: str, description: str, description_zh: str, build: object) -> StandardPart:
    return StandardPart("assembly", number, name, name_zh, description, description_zh, "steel", ("assembly", "装配体"), build)  # type: ignore[arg-type]
