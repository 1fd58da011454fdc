"""Texts of parts in another language: by the glossary that comes with pgcad, or by a language model.

A model is asked through `/chat/completions` as OpenAI defined it, which vLLM, Ollama, llama.cpp, Qwen's and many other
services speak: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import urllib3

from pgcad.corpus.captions import chinese
from pgcad.errors import CadError

LANGUAGES = {"zh": "Simplified Chinese", "en": "English"}
GLOSSARY = "glossary"
_RETRIED = (408, 429, 500, 502, 503, 504)
_BACKOFF_S, _LONGEST_PAUSE_S = 0.5, 30.0
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_FENCE = re.compile(r"^\s*```\w*\n|\n?```\s*$")
_TASK = (
    "You translate descriptions of mechanical and electronic parts into {language}, with the terms that engineers and "
    "standards use. Leave every number, unit, size such as M8 x 40, standard, series and part number exactly as it is. "
    "You get a JSON array of texts. Answer with a JSON array of their translations and nothing else: as many, in the "
    "same order."
)


class Translator(Protocol):
    """Turns texts into another language."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    def translate(self, texts: Sequence[str], language: str) -> list[str]:
        """One translation for each of `texts`, in the same order; `language` is one of LANGUAGES.

        Raises CadError 22023 for a language that it does not translate into.
        """


class GlossaryTranslator:
    """Engineering terms by `glossary.tsv`; numbers and names stay, other words are left out. Works offline."""

    name = "the glossary of pgcad"

    def translate(self, texts: Sequence[str], language: str) -> list[str]:
        """Into Chinese (`zh`) only; the same text always gives the same translation."""
        if language != "zh":
            raise CadError(
                "22023", f"the glossary does not translate into {language!r}", "Use a language model for that."
            )
        return [chinese(text, random.Random(text)) for text in texts]


@dataclass(frozen=True)
class ChatService:
    """Where a language model answers: the address before `/chat/completions`, the name of the model, the environment
    variable that holds the key (none: no key is sent), texts in one request, seconds for an answer, and attempts after
    a failed one.
    """

    url: str
    model: str
    key_env: str | None = None
    batch: int = 20
    timeout_s: float = 60.0
    retries: int = 5


class ChatTranslator:
    """A language model behind an OpenAI-compatible service.

    A translation that lost a number of its text, or is missing, is replaced by that of the glossary; `replaced` counts
    them. What was answered is kept in the file `memory` (SQLite), so that nothing is asked twice and a run that broke
    off goes on where it was.
    """

    def __init__(self, service: ChatService, memory: Path) -> None:
        """Raises CadError 22023 for an address that is none, and for a key that is not in the environment."""
        if not service.url.startswith(("http://", "https://")):
            raise CadError(
                "22023", f"{service.url!r} is not an address", f"Give {GLOSSARY!r}, or http://… or https://…/v1."
            )
        self.name = f"{service.model} at {service.url}"
        self.replaced = 0
        self._service, self._memory = service, memory
        self._headers = {"Content-Type": "application/json", **_authorization(service.key_env)}
        self._glossary = GlossaryTranslator()
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=service.timeout_s),
            retries=urllib3.Retry(
                service.retries,
                allowed_methods=None,
                status_forcelist=_RETRIED,
                redirect=0,
                backoff_factor=_BACKOFF_S,
                backoff_max=_LONGEST_PAUSE_S,
                retry_after_max=int(_LONGEST_PAUSE_S),
                raise_on_status=False,
            ),
        )

    def translate(self, texts: Sequence[str], language: str) -> list[str]:
        """Raises CadError 22023 for an unknown language or a request that the service refuses, 28000 for a key that it
        refuses, 08001 where it cannot be reached, does not answer in time or keeps failing, 08P01 for an answer of
        another form.
        """
        if language not in LANGUAGES:
            raise CadError("22023", f"unknown language {language!r}", f"Use one of: {', '.join(LANGUAGES)}.")
        with closing(_open(self._memory)) as memory:
            known = self._remembered(memory, texts, language)
            missing = [text for text in dict.fromkeys(texts) if text not in known]
            for start in range(0, len(missing), self._service.batch):
                for text, found in self._ask(missing[start : start + self._service.batch], language):
                    known[text] = found
                    row = (self._service.model, language, text, found)
                    memory.execute("insert or replace into translation values (?, ?, ?, ?)", row)
        return [self._or_glossary(text, known[text], language) for text in texts]

    def _remembered(self, memory: sqlite3.Connection, texts: Sequence[str], language: str) -> dict[str, str | None]:
        query = "select translation from translation where model = ? and language = ? and text = ?"
        rows = {text: memory.execute(query, (self._service.model, language, text)).fetchone() for text in texts}
        return {text: row[0] for text, row in rows.items() if row is not None}

    def _ask(self, texts: Sequence[str], language: str) -> Iterator[tuple[str, str | None]]:
        """Texts with their translations, None for one that cannot be used.

        An answer of another number of translations cannot be told apart: its texts are asked again in two halves.
        """
        answer = _translations(self._complete(texts, language))
        if len(answer) == len(texts):
            for text, found in zip(texts, answer, strict=True):
                yield text, found if _keeps_numbers(text, found) else None
        elif len(texts) == 1:
            yield texts[0], None
        else:
            middle = len(texts) // 2
            yield from self._ask(texts[:middle], language)
            yield from self._ask(texts[middle:], language)

    def _complete(self, texts: Sequence[str], language: str) -> str:
        """What the model says to a batch of texts."""
        body = {
            "model": self._service.model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": _TASK.format(language=LANGUAGES[language])},
                {"role": "user", "content": json.dumps(list(texts), ensure_ascii=False)},
            ],
        }
        url = self._service.url.rstrip("/") + "/chat/completions"
        try:
            response = self._http.request("POST", url, body=json.dumps(body).encode(), headers=self._headers)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            hint = "Look whether it runs and can be reached. What is translated is kept: run the same command again."
            raise CadError(
                "08001", f"the translation service {self._service.url} does not answer", hint, str(error)
            ) from error
        _check_status(response, self._service)
        try:
            return str(response.json()["choices"][0]["message"]["content"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            message = f"the translation service {self._service.url} does not answer as /chat/completions should"
            raise CadError("08P01", message, "Check the address: it usually ends in /v1.", str(error)) from error

    def _or_glossary(self, text: str, found: str | None, language: str) -> str:
        if found is not None:
            return found
        self.replaced += 1
        return self._glossary.translate([text], language)[0] if language == "zh" else text


def chosen_translator(
    choice: str, model: str | None, key_env: str | None, memory: Path
) -> GlossaryTranslator | ChatTranslator:
    """The translator of a command line: `glossary`, or the address of a service with the name of a model.

    Raises CadError 22023 for an address without a model.
    """
    if choice == GLOSSARY:
        return GlossaryTranslator()
    if not model:
        raise CadError(
            "22023", f"no model is named for the translation service {choice}", "Name one with the option for it."
        )
    return ChatTranslator(ChatService(choice, model, key_env), memory)


def _authorization(key_env: str | None) -> dict[str, str]:
    if key_env is None:
        return {}
    key = os.environ.get(key_env)
    if not key:
        raise CadError(
            "22023", f"the environment variable {key_env} holds no key", f"Set it, such as: export {key_env}=…"
        )
    return {"Authorization": f"Bearer {key}"}


def _open(memory: Path) -> sqlite3.Connection:
    memory.parent.mkdir(parents=True, exist_ok=True)
    try:
        database = sqlite3.connect(memory, isolation_level=None)  # every answer is kept at once
        database.execute(
            "create table if not exists translation "
            "(model text, language text, text text, translation text, primary key (model, language, text))"
        )
    except sqlite3.DatabaseError as error:
        message = f"the translations in {memory} cannot be read: {error}"
        raise CadError("55000", message, "Delete the file: its texts are then translated anew.") from error
    return database


def _check_status(response: urllib3.BaseHTTPResponse, service: ChatService) -> None:
    status, detail = response.status, response.data[:500].decode("utf-8", "replace")
    if status == 200:
        return
    if status in (401, 403):
        hint = (
            f"Put a valid key into {service.key_env}." if service.key_env else "Name the variable that holds the key."
        )
        raise CadError("28000", f"the translation service {service.url} refuses the key ({status})", hint, detail)
    if status in _RETRIED:
        message = f"the translation service {service.url} keeps failing ({status})"
        raise CadError("08001", message, "What is translated is kept: run the same command again later.", detail)
    message = f"the translation service {service.url} refuses the request ({status}): {detail[:200]}"
    raise CadError("22023", message, "Check the address, which usually ends in /v1, and the name of the model.", detail)


def _translations(content: str) -> list[str]:
    """The texts of a JSON array, empty for what is none; models like to fence it as code."""
    try:
        found = json.loads(_FENCE.sub("", content))
    except ValueError:
        return []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        return []
    return [" ".join(text.split()) for text in found]


def _keeps_numbers(text: str, translation: str) -> bool:
    """Whether a translation says something and holds every number of its text as often as the text does."""
    return bool(translation) and not Counter(_NUMBER.findall(text)) - Counter(_NUMBER.findall(translation))
