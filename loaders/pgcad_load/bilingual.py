"""Chinese names and descriptions for parts that have them in another language alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pgcad.corpus.captions import is_chinese
from pgcad.corpus.translation import Translator
from rich.progress import track

from pgcad_load.discovery import PartFile, name_of_file
from pgcad_load.display import console, valid_text

_TEXTS_AT_ONCE = 100
CHINESE_OF = {"name": "name_zh", "description": "description_zh"}


def in_chinese(parts: Sequence[PartFile], translator: Translator) -> list[PartFile]:
    """The same parts, with `name_zh` and `description_zh` where there is a text to translate and no Chinese one.

    A name that is only that of the file is no text, and a translation without Chinese in it is none. Raises CadError as
    the translator does.
    """
    wanted = list(dict.fromkeys(text for part in parts for text in _untranslated(part).values()))
    found: dict[str, str] = {}
    steps = range(0, len(wanted), _TEXTS_AT_ONCE)
    for start in track(steps, "translating", console=console, disable=not wanted):
        texts = wanted[start : start + _TEXTS_AT_ONCE]
        found.update(zip(texts, map(valid_text, translator.translate(texts, "zh")), strict=True))
    return [_with(part, found) for part in parts]


def _untranslated(part: PartFile) -> dict[str, str]:
    """Texts of a part whose translations are missing, by the key that these will have."""
    known = part.metadata
    texts = {chinese: known.get(key) for key, chinese in CHINESE_OF.items() if not known.get(chinese)}
    if texts.get("name_zh") == name_of_file(part.path):
        del texts["name_zh"]
    return {key: text for key, text in texts.items() if isinstance(text, str) and text.strip() and not is_chinese(text)}


def _with(part: PartFile, found: dict[str, str]) -> PartFile:
    translated = {key: found[text] for key, text in _untranslated(part).items() if is_chinese(found[text])}
    return replace(part, metadata={**part.metadata, **translated}) if translated else part
