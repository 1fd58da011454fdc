"""Structured logs: one JSON object per line on standard error; sizes and times, never contents."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

LEVELS = ("debug", "info", "warning", "error")


class Log:
    """Writes events at or above `level`."""

    def __init__(self, level: str = "info") -> None:
        self._threshold = LEVELS.index(level)

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        if LEVELS.index(level) >= self._threshold:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"ts": now, "level": level, "event": event, **fields}, ensure_ascii=False, default=str)
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
