"""Questions for a kind of part, in both languages: is the first hit of a right family?"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class FamilyQuery:
    """A question in English and Chinese, and what the families that answer it are called."""

    en: str
    zh: str
    families: re.Pattern[str]


def read_family_queries(file: Path) -> list[FamilyQuery]:
    """Rows of a tab-separated file with the columns query_zh, query_en and family_regex."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            FamilyQuery(row["query_en"], row["query_zh"], re.compile(row["family_regex"]))
            for row in csv.DictReader(lines, delimiter="\t")
        ]


def right_families(
    queries: Sequence[FamilyQuery], first_family: Callable[[str], str | None]
) -> dict[str, tuple[list[str], list[bool]]]:
    """Per language the questions and whether `first_family`, the family of the first hit, answers each."""
    found = {}
    for language in LANGUAGES:
        texts = [getattr(query, language) for query in queries]
        families = [first_family(text) for text in texts]
        hits = [bool(family and query.families.search(family)) for query, family in zip(queries, families, strict=True)]
        found[language] = (texts, hits)
    return found
