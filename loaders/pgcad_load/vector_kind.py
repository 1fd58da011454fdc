"""The vectors that a part may have in a space; by itself, so that `pgcad --help` needs no more than this."""

from enum import StrEnum


class Kind(StrEnum):
    """Which vector of a part an imported one is."""

    fused = "fused"
    text = "text"
    image = "image"
    shape = "shape"
    brep = "brep"
