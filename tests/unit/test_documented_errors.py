"""docs/errors.md names every SQLSTATE that the sources raise, and none that they do not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RAISED = re.compile(r"""(?:errcode = |Error\(\s*|\.get\("sqlstate", )["']([0-9A-Z]{5})["']""")
FROM_POSTGRESQL = {"22004", "22P02", "55P03"}  # raised by the server itself: nulls, literals, locks


def raised() -> set[str]:
    sources = [*(ROOT / "python_udfs").rglob("*.py"), *(ROOT / "sql").rglob("*.sql")]
    return {state for source in sources for state in RAISED.findall(source.read_text(encoding="utf-8"))}


def documented() -> set[str]:
    return set(re.findall(r"^\| ([0-9A-Z]{5}) \|", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), re.M))


def test_every_error_is_documented() -> None:
    assert raised() - documented() == set()


def test_every_documented_error_exists() -> None:
    assert documented() - raised() == FROM_POSTGRESQL
