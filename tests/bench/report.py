"""What every measurement says of itself, and where it goes."""

from __future__ import annotations

import json
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def circumstances(dsn: str | None = None) -> dict[str, Any]:
    """The command, without the place of its output and the value of `dsn`, and the day and machine."""
    words, output = list(sys.argv), "--output"
    if output in words:
        at = words.index(output)
        del words[at : at + 2]
    return {
        "command": shlex.join(["python", *("DSN" if word == dsn else word for word in words)]),
        "date": datetime.now(UTC).date().isoformat(),
        "cpu_count": os.cpu_count(),
        "load_average_1min": round(os.getloadavg()[0], 1),
    }


def write(result: dict[str, Any], output: Path | None) -> None:
    """Print `result` as JSON; keep it in the file `output` too, if there is one."""
    text = json.dumps(result, indent=2) + "\n"
    if output:
        output.write_text(text)
    print(text, end="")
