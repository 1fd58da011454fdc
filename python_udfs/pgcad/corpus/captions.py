"""What a part may be called: many texts for one part, so that the towers learn the part and not one phrase.

Only rows of the split that is being trained on may come in; `training_rows` is the one gate.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pgcad.corpus.split import Row

GLOSSARY_FILE = Path(__file__).with_name("glossary.tsv")
# Texts that say how a footprint was drawn, not what the part is.
_ASIDE = re.compile(r"\(?(?:from kicad|see |generated|script|https?:|www\.|kicad-footprint).*", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORD_DROP = 0.25
TEXTS_PER_PART = 6
PASSAGE_TEXT = 3


def training_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows a model may learn from."""
    return [row for row in rows if row.split == "train"]


@cache
def glossary() -> dict[str, list[str]]:
    """English term (lower case) → Chinese terms."""
    with GLOSSARY_FILE.open(encoding="utf-8", newline="") as lines:
        return {entry["english"]: entry["chinese"].split("|") for entry in csv.DictReader(lines, delimiter="\t")}


@cache
def _terms() -> re.Pattern[str]:
    longest_first = sorted(glossary(), key=len, reverse=True)
    return re.compile(r"(?<![a-z])(" + "|".join(map(re.escape, longest_first)) + r")(?![a-z])", re.IGNORECASE)


def chinese(text: str, rng: random.Random) -> str:
    """`text` with every term of the glossary in Chinese and other lower-case words left out; numbers and names stay."""
    pieces, end = [], 0
    for match in _terms().finditer(text):
        pieces += [_names_only(text[end : match.start()]), rng.choice(glossary()[match[1].lower()])]
        end = match.end()
    pieces.append(_names_only(text[end:]))
    return re.sub(r"\s*,[\s,]*", "，", " ".join(" ".join(pieces).split())).strip("， ")


def is_chinese(text: str) -> bool:
    """Whether there is a Chinese character in it."""
    return bool(_HAN.search(text))


def name_words(name: str) -> str:
    """A file name as words: PinHeader_2x05_P1.27mm → Pin Header 2x05 P1.27mm."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))


def full_text(row: Row) -> str:
    """The longest text that says what the part of a row is: its caption, else its tags, else its name."""
    return _ASIDE.sub("", row.caption).strip(" ,;-") or row.tags or name_words(row.name)


def texts_of(row: Row, rng: random.Random, in_chinese: str | None = None) -> list[str]:
    """TEXTS_PER_PART texts: caption, name, the caption in Chinese, the passage, and shortened forms of each.

    `in_chinese`: a translation of its `full_text`; by default the glossary's, another choice of terms in every text.
    """
    full, name = full_text(row), name_words(row.name)
    family = name_words(row.family).replace("THT", "through hole").replace("SMD", "surface mount")
    translated = chinese(f"{family}, {full}", rng) or full
    return [
        row.caption or full,
        name,
        in_chinese or chinese(full, rng) or translated,
        f"{name}. {full}",
        shortened(f"{family}, {rng.choice((full, row.tags or name))}", rng),
        shortened(chinese(f"{family}, {rng.choice((full, name))}", rng) or translated, rng),
    ]


def shortened(text: str, rng: random.Random) -> str:
    """The phrases of `text` in another order, some words left out."""
    phrases = [phrase.strip() for phrase in re.split(r"[,，;]", text) if phrase.strip()]
    rng.shuffle(phrases)
    kept = phrases[: rng.randint(1, max(1, len(phrases)))]
    kept = [" ".join(word for word in phrase.split() if rng.random() > _WORD_DROP) for phrase in kept]
    return ", ".join(phrase for phrase in kept if phrase) or text


def _names_only(text: str) -> str:
    """`text` without plain lower-case words, which the glossary did not know; series names and numbers remain."""
    return _WORD.sub(lambda match: "" if match[0].islower() and match[0] not in ("mm", "x") else match[0], text)
