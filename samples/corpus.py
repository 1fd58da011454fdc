"""What the sample corpus holds: standard parts picked from the catalogue, and the rows of `machine_parts.csv`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import assemblies
import shapes
from pgcad_load.warehouse import StandardPart

MACHINE_PARTS = Path(__file__).with_name("machine_parts.csv")
STANDARD_PARTS = """
ISO4014-M6x40 ISO4014-M8x40 ISO4014-M8x60 ISO4014-M10x50 ISO4014-M12x80 ISO4014-M16x100 ISO4017-M4x16 ISO4017-M6x20
ISO4017-M8x25 ISO4017-M10x30 ISO4017-M12x40 EN1662-M5x16 EN1662-M6x20 EN1662-M8x30 EN1662-M8x40 EN1662-M10x50
ISO4762-M3x10 ISO4762-M4x16 ISO4762-M5x20 ISO4762-M6x25 ISO4762-M8x40 ISO4762-M10x50 ISO7380-1-M4x10
ISO7380-1-M5x16 ISO7380-2-M6x20 ISO7380-1-M8x25 ISO10642-M4x12 ISO10642-M6x20 ISO10642-M8x30 ISO2009-M3x10
ISO7046-M5x16 ISO1207-M4x12 ISO14580-M5x16 ISO7045-M4x10 ISO1580-M5x20 ISO14583-M4x12 ISO4026-M4x6 ISO4026-M6x10
ISO4026-M8x12 ISO4026-M10x20 ISO7379-M5x20 ISO7379-M6x30 ISO7379-M8x40 ISO4032-M4 ISO4032-M6 ISO4032-M8 ISO4032-M10
ISO4032-M12 ISO4035-M8 ISO4035-M12 DIN1587-M6 DIN1587-M8 DIN1587-M12 DIN557-M6 DIN557-M8 DIN557-M10 EN1661-M6
EN1661-M8x1.25 EN1661-M10x1.5 ISO7089-M4 ISO7089-M6 ISO7089-M8 ISO7089-M10 ISO7089-M12 ISO7093-M6 ISO7093-M8
ISO7093-M10 DIN6797-M8 ISO15-623 ISO15-608 ISO15-6000 ISO15-625 ISO15-6200 ISO15-6300 ISO15-NJ202ECP ISO3601-010
ISO3601-110 ISO3601-120 ISO3601-210 ISO3601-222 DIN471-10x1 DIN471-20x1.2 DIN471-30x1.5 DIN472-22x1 DIN472-32x1.2
DIN472-47x1.75 DIN6885-A6x6x30 DIN6885-A8x7x40 DIN6885-B6x6x30 DIN6885-B10x8x50 ASMEB36-stainless-NPS1_2-40S-100
ASMEB36-stainless-NPS1-40S-250 ASMEB36-stainless-NPS2-10S-250 ASMEB36-copper-NPS1_2-L-250
ASMEB36-copper-NPS3_4-M-500 ASMEB16.5-SO-150-NPS1 ASMEB16.5-SO-150-NPS2 ASMEB16.5-WN-150-NPS2 ASMEB16.5-WN-300-NPS3
ASMEB16.5-BL-150-NPS2 ASMEB16.5-BL-150-NPS3 ASMEB16.5-LJ-150-NPS2 ISO54-M1-Z12 ISO54-M1.5-Z15 ISO54-M2-Z18
ISO54-M2-Z20 ISO54-M3-Z12 ISO606-06B-Z11 ISO606-08B-Z13 ISO606-08B-Z17 ISO606-10B-Z15
"""


def parts() -> Iterator[StandardPart]:
    """Every sample, parts before assemblies."""
    for number in STANDARD_PARTS.split():
        yield assemblies.standard_parts()[number]
    with MACHINE_PARTS.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            make = getattr(shapes, row["shape"], None) or getattr(assemblies, row["shape"])
            yield StandardPart(
                family=row["family"],
                part_number=row["part_number"],
                name=row["name"],
                name_zh=row["name_zh"],
                description=row["description"],
                description_zh=row["description_zh"],
                material=row["material"],
                tags=tuple(row["tags"].split(";")),
                build=partial(make, *json.loads(row["arguments"])),
            )
