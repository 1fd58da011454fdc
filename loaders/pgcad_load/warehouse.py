"""A catalogue of standard parts: what bd_warehouse can build, named as engineers name it, in English and Chinese.

Dimensions come from the standards' tables that bd_warehouse carries. Threads are cylinders of the nominal diameter.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import chain, zip_longest
from types import ModuleType
from typing import Any, NamedTuple

import bd_warehouse.bearing as bearing
import bd_warehouse.fastener as fastener
import bd_warehouse.flange as flange
from bd_warehouse.gear import SpurGear
from bd_warehouse.o_rings import ORing
from bd_warehouse.pipe import Pipe, PipeSection
from bd_warehouse.retaining_ring import ExternalSnapRing, InternalSnapRing
from bd_warehouse.shaft_key import ShaftKey
from bd_warehouse.sprocket import Sprocket
from build123d import Cylinder, Edge, Shape

INCH_MM = 25.4


@dataclass(frozen=True)
class StandardPart:
    """A part that can be built, and what a catalogue says about it."""

    family: str
    part_number: str
    name: str
    name_zh: str
    description: str
    description_zh: str
    material: str
    tags: tuple[str, ...]
    build: Callable[[], Shape]

    @property
    def metadata(self) -> dict[str, Any]:
        """What goes into the queue beside the file."""
        return {
            "part_number": self.part_number,
            "name": self.name,
            "name_zh": self.name_zh,
            "family": self.family,
            "description": self.description,
            "description_zh": self.description_zh,
            "material": self.material,
            "tags": list(self.tags),
            "units": "mm",
        }


class Series(NamedTuple):
    """One standard: how to build its parts, its key in bd_warehouse, its number, and its name in two languages."""

    family: str
    make: Any
    key: str
    standard: str
    name: str
    name_zh: str
    material: str = "steel"
    symbols: str = ""


class Symbol(NamedTuple):
    """What a letter of a standard's table means."""

    name: str
    name_zh: str


FLATS, HEAD_HEIGHT = Symbol("width across flats", "对边宽度"), Symbol("head height", "头部高度")
HEAD = {"dk": Symbol("head diameter", "头部直径"), "k": HEAD_HEIGHT}
KEY = {"s": Symbol("hexagon key size", "内六角扳手尺寸")}
COLLAR = {"dc": Symbol("flange diameter", "法兰直径")}
NUT = {"s": FLATS, "m": Symbol("height", "高度")}
SYMBOLS: dict[str, dict[str, Symbol]] = {
    "hex": {"s": FLATS, "k": HEAD_HEIGHT},
    "flanged hex": {"s": FLATS, "k": HEAD_HEIGHT, **COLLAR},
    "socket": {**HEAD, **KEY},
    "slot": {**HEAD, "n": Symbol("slot width", "槽宽")},
    "recess": {**HEAD, "recess": Symbol("recess", "槽型")},
    "set": KEY,
    "shoulder": {**HEAD, **KEY, "ds": Symbol("shoulder diameter", "轴肩直径")},
    "nut": NUT,
    "flanged nut": {**NUT, **COLLAR},
    "washer": {
        "d1": Symbol("inner diameter", "内径"),
        "d2": Symbol("outer diameter", "外径"),
        "h": Symbol("thickness", "厚度"),
    },
}
FLANGE_CLASSES = (150, 300)
FLANGE_SIZES = flange.Nps.__args__[2:]  # NPS 1/2 and 3/4 lack a facing in the tables
LARGEST_FLANGE = {"SW": "3", "WN": "12"}  # larger ones lack dimensions in the tables
GEAR_MODULES_MM = (1.0, 1.5, 2.0, 2.5, 3.0)
GEAR_TEETH = (12, 15, 18, 20, 24, 30, 36, 40)
CHAINS = {"06B": (9.525, 6.35, 5.3), "08B": (12.7, 8.51, 7.2), "10B": (15.875, 10.16, 9.1), "12B": (19.05, 12.07, 11.1)}
SPROCKET_TEETH = (11, 13, 15, 17, 19, 21, 25, 30)
PIPE_MATERIALS = {"stainless": ("stainless steel", "不锈钢"), "copper": ("copper", "铜")}
PIPE_LENGTHS_MM = (100, 250, 500)
KEY_LENGTHS_IN_WIDTHS = (3, 5, 7)


def catalogue() -> list[StandardPart]:
    """Every part, families in turn, so that the first few hundred already show all of them."""
    by_family: defaultdict[str, list[StandardPart]] = defaultdict(list)
    for part in chain(
        screws(),
        nuts(),
        washers(),
        bearings(),
        flanges(),
        pipes(),
        o_rings(),
        snap_rings(),
        keys(),
        gears(),
        sprockets(),
    ):
        by_family[part.family].append(part)
    rounds = zip_longest(*(_spread(parts) for parts in by_family.values()))
    return [part for one_round in rounds for part in one_round if part is not None]


def screws() -> Iterator[StandardPart]:
    """Metric screws in the preferred lengths of their standards."""
    for series in _series("screw", fastener):
        lengths_mm = fastener.Screw.nominal_length_range[series.key]
        for size, row in _metric_table(series):
            for length_mm in (length for length in lengths_mm if row["short"] <= length <= row["long"]):
                thread, pitch_mm = size.split("-")
                yield _standard_part(
                    series,
                    f"{thread}x{length_mm:g}",
                    f"{thread} x {length_mm:g}",
                    [
                        ("thread", "螺纹", f"{thread} x {pitch_mm}"),
                        ("length", "长度", f"{length_mm:g} mm"),
                        *_explained(row, series),
                    ],
                    (thread, "screw", "螺钉"),
                    partial(series.make, size, length_mm, series.key),
                )


def nuts() -> Iterator[StandardPart]:
    """Metric nuts; the bore has the nominal diameter."""
    for series in _series("nut", fastener):
        for size, row in _metric_table(series):
            thread, pitch_mm = size.split("-")
            coarse = sum(other.startswith(f"{thread}-") for other, _ in _metric_table(series)) == 1
            designation = thread if coarse else f"{thread}x{pitch_mm}"
            yield _standard_part(
                series,
                designation,
                designation,
                [("thread", "螺纹", f"{thread} x {pitch_mm}"), *_explained(row, series)],
                (thread, "nut", "螺母"),
                partial(series.make, size, series.key),
            )


def washers() -> Iterator[StandardPart]:
    """Metric washers."""
    for series in _series("washer", fastener):
        for size, row in _metric_table(series):
            dimensions = [("for thread", "适用螺纹", size), *_explained(row, series)]
            yield _standard_part(
                series, size, size, dimensions, (size, "washer", "垫圈"), partial(series.make, size, series.key)
            )


def bearings() -> Iterator[StandardPart]:
    """Rolling bearings, named by their maker's designation (623, 6000, 30302-J2, ...)."""
    for series in _series("bearing", bearing):
        for size, row in fastener.isolate_fastener_type(series.key, series.make.bearing_data).items():
            bore, outer, width = row["d"], row["D"], row["B" if "B" in row else "T"]
            designation = row["Designation"].strip(" *–").replace("/", "-") or size
            yield _standard_part(
                series,
                designation,
                designation,
                [
                    ("bore", "内径", f"{bore} mm"),
                    ("outer diameter", "外径", f"{outer} mm"),
                    ("width", "宽度", f"{width} mm"),
                ],
                (designation, "bearing", "轴承"),
                partial(series.make, size, series.key),
            )


def flanges() -> Iterator[StandardPart]:
    """Pipe flanges with raised face."""
    for series in _series("flange", flange):
        sizes = FLANGE_SIZES[: FLANGE_SIZES.index(LARGEST_FLANGE.get(series.key, "24")) + 1]
        for rating in FLANGE_CLASSES:
            for size in sizes:
                yield _standard_part(
                    series,
                    f"{series.key}-{rating}-NPS{_file_name(size)}",
                    f"NPS {size} class {rating}",
                    [
                        ("nominal pipe size", "公称管径", f"NPS {size}"),
                        ("pressure class", "压力等级", f"Class {rating}"),
                    ],
                    (f"NPS {size}", "flange", "法兰"),
                    partial(series.make, size, rating),
                )


def pipes() -> Iterator[StandardPart]:
    """Straight lengths of stainless and copper pipe up to NPS 6."""
    for nps in flange.Nps.__args__[:11]:
        for key, (outer_in, wall_in) in PipeSection.pipe_data.items():
            for material, (name, name_zh) in PIPE_MATERIALS.items():
                if not key.startswith(nps + material):
                    continue
                schedule = key.removeprefix(nps + material)
                outer_mm, wall_mm = outer_in * INCH_MM, wall_in * INCH_MM
                for length_mm in PIPE_LENGTHS_MM:
                    series = Series("pipe", Pipe, material, "ASME B36", f"{name} pipe", f"{name_zh}管", name)
                    yield _standard_part(
                        series,
                        f"{material}-NPS{_file_name(nps)}-{schedule}-{length_mm}",
                        f"NPS {nps} schedule {schedule}, {length_mm} mm",
                        [
                            ("outer diameter", "外径", f"{outer_mm:.2f} mm"),
                            ("wall thickness", "壁厚", f"{wall_mm:.2f} mm"),
                            ("length", "长度", f"{length_mm} mm"),
                        ],
                        (f"NPS {nps}", "pipe", "管"),
                        partial(_pipe, nps, material, schedule, length_mm),
                    )


def o_rings() -> Iterator[StandardPart]:
    """O-rings by dash number."""
    series = Series("o_ring", ORing, "iso3601", "ISO 3601", "O-ring", "O形圈", "NBR")
    for size in ORing.sizes(series.key):
        row = ORing.parameters(size, series.key)
        dimensions = [
            ("inner diameter", "内径", f"{row['id']:g} mm"),
            ("cross section", "截面直径", f"{row['w']:g} mm"),
        ]
        name = f"{row['id']:g} x {row['w']:g}"
        yield _standard_part(series, size, name, dimensions, ("O-ring", "seal", "密封圈"), partial(ORing, size))


def snap_rings() -> Iterator[StandardPart]:
    """Retaining rings for shafts and bores."""
    for make, standard, seat, seat_zh in (
        (ExternalSnapRing, "DIN 471", "shaft", "轴"),
        (InternalSnapRing, "DIN 472", "bore", "孔"),
    ):
        series = Series(
            "retaining_ring", make, "", standard, f"retaining ring for {seat}", f"{seat_zh}用弹性挡圈", "spring steel"
        )
        for size in make.sizes():
            row = make.parameters(size)
            dimensions = [
                (f"{seat} diameter", f"{seat_zh}径", f"{row['d1']:g} mm"),
                ("thickness", "厚度", f"{row['s']:g} mm"),
                ("groove diameter", "槽径", f"{row['d2']:g} mm"),
            ]
            yield _standard_part(
                series,
                f"{row['d1']:g}x{row['s']:g}",
                f"{row['d1']:g} x {row['s']:g}",
                dimensions,
                ("circlip", "卡簧"),
                partial(make, size),
            )


def keys() -> Iterator[StandardPart]:
    """Parallel keys, form A (rounded ends) and B (square ends)."""
    for form, ends, ends_zh in (("A", "round ends", "圆头"), ("B", "square ends", "平头")):
        series = Series("shaft_key", ShaftKey, form, "DIN 6885", f"parallel key, {ends}", f"{ends_zh}平键")
        sections = {(row["b"], row["h"]): shaft for shaft in ShaftKey.sizes() for row in [ShaftKey.parameters(shaft)]}
        for (width_mm, height_mm), shaft_mm in sections.items():
            for widths in KEY_LENGTHS_IN_WIDTHS:
                length_mm = 2 * math.ceil(widths * width_mm / 2)
                size = f"{width_mm:g}x{height_mm:g}x{length_mm}"
                dimensions = [
                    ("width", "宽", f"{width_mm:g} mm"),
                    ("height", "高", f"{height_mm:g} mm"),
                    ("length", "长", f"{length_mm} mm"),
                ]
                yield _standard_part(
                    series,
                    f"{form}{size}",
                    size,
                    dimensions,
                    ("key", "键"),
                    partial(ShaftKey, shaft_mm, length_mm, form),
                )


def gears() -> Iterator[StandardPart]:
    """Involute spur gears with a plain bore, face width ten modules."""
    for module_mm in GEAR_MODULES_MM:
        for teeth in GEAR_TEETH:
            width_mm, bore_mm = 10 * module_mm, max(3.0, round(module_mm * teeth / 4))
            series = Series("spur_gear", SpurGear, "", "ISO 54", "spur gear", "直齿圆柱齿轮", "steel C45")
            dimensions = [
                ("module", "模数", f"{module_mm:g} mm"),
                ("teeth", "齿数", f"{teeth}"),
                ("pitch diameter", "分度圆直径", f"{module_mm * teeth:g} mm"),
                ("face width", "齿宽", f"{width_mm:g} mm"),
                ("bore", "孔径", f"{bore_mm:g} mm"),
                ("pressure angle", "压力角", "20°"),
            ]
            yield _standard_part(
                series,
                f"M{module_mm:g}-Z{teeth}",
                f"module {module_mm:g}, {teeth} teeth",
                dimensions,
                ("gear", "齿轮"),
                partial(gear, module_mm, teeth, width_mm, bore_mm),
                f"模数{module_mm:g} {teeth}齿",
            )


def sprockets() -> Iterator[StandardPart]:
    """Plate sprockets for roller chains of ISO 606."""
    for chain_number, (pitch_mm, roller_mm, width_mm) in CHAINS.items():
        for teeth in SPROCKET_TEETH:
            bore_mm = round(pitch_mm * teeth / 12)
            series = Series("sprocket", Sprocket, "", "ISO 606", "roller chain sprocket", "滚子链链轮", "steel C45")
            dimensions = [
                ("chain", "链号", chain_number),
                ("pitch", "节距", f"{pitch_mm:g} mm"),
                ("teeth", "齿数", f"{teeth}"),
                ("bore", "孔径", f"{bore_mm:g} mm"),
                ("thickness", "厚度", f"{width_mm:g} mm"),
            ]
            yield _standard_part(
                series,
                f"{chain_number}-Z{teeth}",
                f"{chain_number}, {teeth} teeth",
                dimensions,
                ("sprocket", "链轮"),
                partial(Sprocket, teeth, pitch_mm, roller_mm, thickness=width_mm, bore_diameter=bore_mm),
                f"{chain_number} {teeth}齿",
            )


def _pipe(nps: str, material: str, schedule: str, length_mm: float) -> Shape:
    return Pipe(nps, material, schedule, path=Edge.make_line((0, 0, 0), (0, 0, length_mm)))


def gear(module_mm: float, teeth: int, width_mm: float, bore_mm: float) -> Shape:
    """An involute spur gear, pressure angle 20 degrees, with a plain bore."""
    return SpurGear(module_mm, teeth, 20, thickness=width_mm) - Cylinder(bore_mm / 2, 2 * width_mm)


Dimension = tuple[str, str, str]


def _standard_part(
    series: Series,
    designation: str,
    size: str,
    dimensions: list[Dimension],
    tags: tuple[str, ...],
    build: Callable[[], Shape],
    size_zh: str = "",
) -> StandardPart:
    """Name a part of `series`; `designation` tells it apart within its standard, `size` is how a person says it."""
    english = ", ".join(f"{name} {value}" for name, _, value in dimensions)
    chinese = "，".join(f"{name}{value}" for _, name, value in dimensions)
    return StandardPart(
        family=series.family,
        part_number=f"{series.standard}-{designation}".replace(" ", ""),
        name=f"{series.name[0].upper()}{series.name[1:]} {series.standard} {size}",
        name_zh=f"{series.name_zh} {size_zh or size}",
        description=f"{series.name} to {series.standard}: {english}, {series.material}",
        description_zh=f"{series.name_zh}：{chinese}",
        material=series.material,
        tags=(series.standard, *tags),
        build=build,
    )


def _metric_table(series: Series) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a standard's table for metric sizes, smallest thread first, numbers as numbers."""
    rows = fastener.evaluate_parameter_dict_of_dict(
        fastener.isolate_fastener_type(series.key, series.make.fastener_data), is_metric=True
    )
    metric = [(size, row) for size, row in rows.items() if size.startswith("M")]
    return sorted(metric, key=lambda item: [float(number) for number in item[0][1:].split("-")])


def _series(kind: str, module: ModuleType) -> Iterator[Series]:
    """Rows of `standards.csv` of one kind; their classes come from `module`."""
    with files("pgcad_load").joinpath("standards.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row.pop("kind") == kind:
                yield Series(**{**row, "make": getattr(module, row["make"])})


def _explained(row: dict[str, Any], series: Series) -> list[Dimension]:
    return [
        (symbol.name, symbol.name_zh, f"{row[key]:g} mm" if isinstance(row[key], float | int) else str(row[key]))
        for key, symbol in SYMBOLS[series.symbols].items()
        if key in row
    ]


def _spread(parts: Iterable[StandardPart]) -> list[StandardPart]:
    """`parts` reordered so that every prefix is spread over the whole list (van der Corput sequence, base 2)."""
    ordered = list(parts)
    bits = max(1, (len(ordered) - 1).bit_length())
    positions = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits))
    return [ordered[position] for position in positions if position < len(ordered)]


def _file_name(text: str) -> str:
    return text.replace("/", "_").replace(" ", "-")
