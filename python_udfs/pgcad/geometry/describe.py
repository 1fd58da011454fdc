"""A description made from what was measured, in English and Chinese, for parts that come without one."""

from __future__ import annotations

from pgcad.geometry.properties import Properties
from pgcad.geometry.reading import Reading

_FACES = {
    "plane": ("planar", "平面"),
    "cylinder": ("cylindrical", "圆柱面"),
    "cone": ("conical", "圆锥面"),
    "sphere": ("spherical", "球面"),
    "torus": ("toroidal", "圆环面"),
    "bezier": ("Bézier", "贝塞尔曲面"),
    "bspline": ("freeform", "自由曲面"),
    "revolution": ("revolved", "旋转面"),
    "extrusion": ("extruded", "拉伸面"),
    "offset": ("offset", "偏置面"),
    "other": ("other", "其他曲面"),
}
_KINDS = {"part": ("Part", "零件"), "assembly": ("Assembly", "装配体"), "points": ("Point cloud", "点云")}


def describe(reading: Reading, name: str, name_zh: str, family: str = "") -> tuple[str, str]:
    """English and Chinese: name, family, size, and what the shape is made of."""
    kind = [family.replace("_", " ")] if family else []
    return (
        ". ".join([name, *kind, ", ".join(_english(reading))]) + ".",
        "。".join([name_zh, *kind, "，".join(_chinese(reading))]) + "。",
    )


def _english(reading: Reading) -> list[str]:
    properties = reading.properties
    facts = [f"{_KINDS[reading.kind][0]}, {_size(properties, ' x ')} mm"]
    if reading.kind == "assembly":
        facts.append(f"{reading.component_count:,} components")
    if properties.solid_count:
        facts.append(_counted(properties.solid_count, "solid"))
    if properties.face_count and properties.faces_by_type:
        kinds = ", ".join(f"{count:,} {_FACES[kind][0]}" for kind, count in properties.faces_by_type.items())
        facts.append(f"{_counted(properties.face_count, 'face')} ({kinds})")
    if reading.kind != "points":
        facts.append("closed" if properties.closed else "open surface")
    if properties.volume_mm3 is not None:
        facts.append(f"volume {properties.volume_mm3:.4g} mm³")
    return facts


def _chinese(reading: Reading) -> list[str]:
    properties = reading.properties
    facts = [f"{_KINDS[reading.kind][1]}，外形尺寸 {_size(properties, ' × ')} mm"]
    if reading.kind == "assembly":
        facts.append(f"由 {reading.component_count} 个组件组成")
    if properties.solid_count:
        facts.append(f"{properties.solid_count} 个实体")
    if properties.face_count and properties.faces_by_type:
        kinds = "、".join(f"{count} 个{_FACES[kind][1]}" for kind, count in properties.faces_by_type.items())
        facts.append(f"{properties.face_count} 个面（{kinds}）")
    if reading.kind != "points":
        facts.append("封闭" if properties.closed else "不封闭")
    if properties.volume_mm3 is not None:
        facts.append(f"体积 {properties.volume_mm3:.4g} mm³")
    return facts


def _size(properties: Properties, times: str) -> str:
    return times.join(f"{extent:.4g}" for extent in reversed(properties.size_mm))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
