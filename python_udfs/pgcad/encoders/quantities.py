"""Numbers that an engineer reads in a part's text: pitch, pins, rows, threads, lengths.

English and Chinese, metric and inch. Standard library only and self-contained, because `extensions/build.py` inlines
this file into a PL/Python body.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict

ROLES = ("pitch_mm", "rows", "columns", "pins", "thread_mm", "length_mm", "number")

_NUMBER = r"(\d++(?:\.\d++)?+)"  # possessive: no part of a number is a number
_LARGEST_PITCH_MM = 200.0
_MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "inch": 25.4, "in": 25.4, "mil": 0.0254}
_SPELLINGS = ((r"[×*]", "x"), ("_", " "), ("毫米", "mm"), ("厘米", "cm"), ("英寸", "inch"), (r"(?<=\d)\"", "inch"))

_COUNTED = r"(?:pins?|leads?|contacts?|ways?|positions?|balls?|pads?|poles?|circuits?|针|引脚|脚|芯|位)"
# "2x05 pitch 2.54 mm": the number after the word is the pitch, and the one before it only where none follows.
_PITCH = re.compile(
    rf"(?<![a-z])p(?:itch)?[\s=:]*{_NUMBER}(?=\s*mm|x\d|\b)(?!\s*{_COUNTED})"
    rf"|{_NUMBER}\s*(?:mm)?[\s-]*(?:pitch|p\b|间距|脚距)(?![\s=:为]*{_NUMBER}(?!\s*{_COUNTED}))"
    rf"|(?:间距|脚距)[\s=:为]*{_NUMBER}"
)
_GRID = re.compile(r"(?<![\d.a-z])(\d{1,2})x(\d{1,3})(?![\d.x]|\s*mm)")
_PINS = re.compile(
    r"(?:pins|leads|contacts|针数|引脚数|脚数)[\s:=]+(\d{1,4})(?![\d.])"
    rf"|(?<![\d.])(\d{{1,4}})[\s-]*{_COUNTED}"
    r"|(?<![a-z])[a-z]*(?:dip|soic|sop|so|qfn|qfp|dfn|bga|lga|son|sip|plcc)[\s-]?(\d{1,4})(?!\s*mm|[\d.x])"
)
_THREAD = re.compile(rf"(?<![a-z\d])m{_NUMBER}(?:\s*x\s*{_NUMBER})?(?![a-z])(?:\s*x\s*{_NUMBER})?")
_LENGTHS = re.compile(rf"((?:{_NUMBER}\s*x\s*)*{_NUMBER})\s*(mm|cm|inch|in|mil)(?![a-z])")
_ANY = re.compile(_NUMBER)


def quantities(text: str) -> dict[str, list[float]]:
    """Numbers of `text` by role; `M8x40` gives thread 8 and length 40, `2x05` two rows, five columns, ten pins."""
    text = unicodedata.normalize("NFKC", text).lower()
    for pattern, plain in _SPELLINGS:
        text = re.sub(pattern, plain, text)
    found: dict[str, list[float]] = defaultdict(list)
    for match in _PITCH.finditer(text):
        pitch_mm = float(next(filter(None, match.groups())))
        if pitch_mm <= _LARGEST_PITCH_MM:  # 3299P is a model number
            found["pitch_mm"].append(pitch_mm)
    for match in _GRID.finditer(text):
        rows, columns = float(match[1]), float(match[2])
        found["rows"].append(rows)
        found["columns"].append(columns)
        found["pins"].append(rows * columns)
    for match in _PINS.finditer(text):
        found["pins"].append(float(next(filter(None, match.groups()))))
    for match in _THREAD.finditer(text):
        found["thread_mm"].append(float(match[1]))
        found["length_mm"] += [float(length) for length in match.groups()[1:] if length]
    for match in _LENGTHS.finditer(text):
        scale = _MM_PER_UNIT[match[4]]
        found["length_mm"] += [float(number) * scale for number in _ANY.findall(match[1])]
    found["number"] = [float(number) for number in _ANY.findall(text)]
    return dict(found)
