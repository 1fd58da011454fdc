"""Where large files lie that can be had again: packages that were fetched, parts and training data that were made."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path("/var/cache/pgcad")


def cache_folder() -> Path:
    """$PGCAD_CACHE, else /var/cache/pgcad where that is or can be made writable, else ~/.cache/pgcad."""
    if chosen := os.environ.get("PGCAD_CACHE"):
        return Path(chosen)
    nearest = SHARED if SHARED.exists() else SHARED.parent
    return SHARED if os.access(nearest, os.W_OK) else Path.home() / ".cache/pgcad"
