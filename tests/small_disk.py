"""A file system of a few megabytes in memory. Only some may mount one: root, and not in every container."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def mounted(folder: Path, size_mb: int, owner: int) -> Iterator[None]:
    """`folder` holds no more than `size_mb` and belongs to the user `owner`. Raises CalledProcessError."""
    options = f"size={size_mb}m,mode=700,uid={owner}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def may_mount() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory(prefix="pgcad-disk-") as folder:
        try:
            with mounted(Path(folder), 1, owner=0):
                return True
        except (subprocess.CalledProcessError, FileNotFoundError):
            return False
