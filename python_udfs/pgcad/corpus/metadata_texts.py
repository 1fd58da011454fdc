"""Texts of a part of a user's own, from the metadata that lies beside its file."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from pgcad.corpus.captions import name_words, shortened
from pgcad.encoders.text import clean, passage
from pgcad.errors import CadError

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def caption_of(metadata: Mapping[str, Any]) -> str:
    """The text that says most about a part: its description, else its name and tags; empty when it has none of these.

    In the language it was written in; in Chinese where nothing else is there.
    """
    name, tags = _line(metadata.get("name")), _line(", ".join(metadata.get("tags") or ()))
    named = ", ".join(filter(None, (name, tags)))
    return next(filter(None, (_line(metadata.get("description")), named, chinese_of(metadata))), "")


def chinese_of(metadata: Mapping[str, Any]) -> str:
    """What is known of the part in Chinese: its Chinese description, else its Chinese name, else nothing."""
    return _line(metadata.get("description_zh")) or _line(metadata.get("name_zh"))


def texts_of(metadata: Mapping[str, Any], family: str, chinese: str, rng: random.Random) -> tuple[str, ...]:
    """TEXTS_PER_PART texts of a part, in the order of `captions.texts_of`; none where nothing is said about it.

    `chinese`: its caption in Chinese. The passage is the one that is embedded when the part is loaded.
    """
    caption = caption_of(metadata)
    if not caption:
        return ()
    chinese = _line(chinese) or caption
    return (
        caption,
        _line(name_words(_line(metadata.get("name")))) or caption,
        chinese,
        _line(passage(metadata)) or caption,
        shortened(f"{_line(name_words(family))}, {caption}", rng),
        shortened(chinese, rng),
    )


def series_of(metadata: Mapping[str, Any], family: str, stem: str) -> str:
    """The series of a part: `series` of its metadata, else its family and file name with # for numbers.

    M8x40 and M10x60 are sizes of one series. A name without letters is a number in a register and says nothing about
    sizes: such a part is a series by itself.
    """
    given = _line(metadata.get("series"))
    sizes = _NUMBER.sub("#", stem) if re.search(r"[^\W\d_]", stem) else stem
    return given or f"{family}/{sizes}".lower()


def _line(text: object) -> str:
    """`text` as the encoder reads it, empty where it would read nothing."""
    try:
        return clean(str(text or ""))
    except CadError:
        return ""
