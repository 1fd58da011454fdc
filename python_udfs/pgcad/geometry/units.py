"""Units of length that a mesh or a cloud may be declared in."""

from __future__ import annotations

from pgcad.errors import CadError

MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4, "ft": 304.8, "um": 0.001}
_SPELLINGS = {
    "in": "inch",
    "inches": "inch",
    "millimeter": "mm",
    "millimeters": "mm",
    "centimeter": "cm",
    "meter": "m",
    "meters": "m",
    "foot": "ft",
    "feet": "ft",
    "micron": "um",
    "µm": "um",  # the micro sign …
    "μm": "um",  # … and the Greek letter
}


def unit_name(unit: str) -> str:
    """The registered name of a unit: `mm`, `cm`, `m`, `inch`, `ft` or `um`.

    Raises CadError 22023 for another.
    """
    name = str(unit).strip().lower()
    name = _SPELLINGS.get(name, name)
    if name not in MILLIMETRES:
        raise CadError("22023", f"unknown unit of length {str(unit)[:40]!r}", f"Use one of: {', '.join(MILLIMETRES)}.")
    return name
