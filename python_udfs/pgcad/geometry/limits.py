"""What a file may cost, checked before the work is done. Time and memory of the process are the service's limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pgcad.errors import CadError

MAX_FILE_BYTES = 256 * 2**20
"""Refused by the loader and by the front of the service too, before a worker has to take it in."""
MAX_FACES = 200_000
"""B-rep faces of a STEP file, those of a part as often as it is placed; above it OpenCASCADE needs minutes."""
MAX_COMPONENTS = 50_000
"""Placed components of an assembly: nested products multiply."""
MAX_TRIANGLES = 5_000_000
MAX_CLOUD_POINTS = 10_000_000
MAX_PIXELS = 50_000_000
MAX_ARCHIVE_BYTES = 512 * 2**20
"""Size of a zip archive once unpacked."""
MAX_ARCHIVE_RATIO = 200
MAX_EXTENT_MM = 1e9
"""A thousand kilometres: anything larger is a wrong unit or garbage."""
MIN_EXTENT_MM = 1e-6


def check_count(count: int, limit: int, what: str, hint: str) -> None:
    """Raise 54000 when a file holds more of something than is read."""
    if count > limit:
        raise CadError("54000", f"the file has {count:,} {what}; the limit is {limit:,}", hint)


def check_file_bytes(data: bytes) -> None:
    """Raise 22023 for an empty file and 54000 for one over the limit."""
    if not data:
        raise CadError("22023", "the file is empty", "Check that the upload or the read of the file was complete.")
    check_file_size(len(data))


def check_file_size(size: int) -> None:
    """Raise 54000 for a file of more bytes than are read."""
    check_count(size, MAX_FILE_BYTES, "bytes", "Split the assembly or export a coarser file.")


def check_extent(points_mm: NDArray[np.floating]) -> None:
    """Raise CadError 22023 for coordinates that are not finite, or of a size that no part has."""
    if not np.isfinite(points_mm).all():
        raise CadError("22023", "the file has coordinates that are not finite numbers", "Export the part again.")
    furthest, extent = float(np.abs(points_mm).max()), float(np.ptp(points_mm, axis=0).max())
    if furthest > MAX_EXTENT_MM:
        raise CadError(
            "22023", f"the file has coordinates as large as {furthest:.3g} mm", "Check the units of the file."
        )
    if extent < MIN_EXTENT_MM:
        raise CadError("22023", f"the part is only {extent:.3g} mm large", "Check the units of the file.")
