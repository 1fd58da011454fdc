"""Units of length that a mesh or a cloud may be declared in."""

from __future__ import annotations

from pgcad.errors import CadError

MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
_SPELLINGS = {
    "in": "inch",
    "inches": "inch",
    "millimeter": "mm",
    "millimeters": "mm",
    "centimeter": "cm",
    "meter": "m",
    "meters": "m",
}


def unit_name(unit: str) -> str:
    """The registered name of a unit: `mm`, `cm`, `m` or `inch`.

    Raises CadError 22023 for another.
    """
    name = str(unit).strip().lower()
    name = _SPELLINGS.get(name, name)
    if name not in MILLIMETRES:
        raise CadError("22023", f"unknown unit of length {str(unit)[:40]!r}", f"Use one of: {', '.join(MILLIMETRES)}.")
    return name
