"""One search from the command line: which function of the database answers it, and what it said."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pgcad_load.connection import Connection
from pgcad_load.discovery import FORMATS
from pgcad_load.display import printable, printable_path


class SearchError(ValueError):
    """A question that cannot be put; the message says what to give instead."""


@dataclass(frozen=True)
class Question:
    """What to look for: any of a text, a picture and a file together, or a point cloud alone."""

    text: str | None = None
    image: Path | None = None
    file: Path | None = None
    points: Path | None = None
    k: int = 10
    family: str | None = None
    filters: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """A row of `cad.hit`; a score is None where the question or the part has no such modality."""

    rank: int
    model_id: UUID
    part_number: str | None
    name: str
    family: str
    score: float
    text_score: float | None
    image_score: float | None
    shape_score: float | None
    lexical_score: float | None

    @property
    def scores(self) -> dict[str, float | None]:
        """Score by modality."""
        return {
            "text": self.text_score,
            "image": self.image_score,
            "shape": self.shape_score,
            "words": self.lexical_score,
        }


@dataclass(frozen=True)
class Answer:
    """The hits, the statement as one would type it into psql, and how long the database took."""

    question: Question
    hits: Sequence[Hit]
    statement: str
    elapsed_ms: float

    @property
    def summary(self) -> str:
        """How many hits in what time."""
        return f"{len(self.hits)} {'hit' if len(self.hits) == 1 else 'hits'} in {self.elapsed_ms:.0f} ms"


def ask(connection: Connection, question: Question) -> Answer:
    """Put `question` to the database. Raises SearchError, OSError and psycopg.Error."""
    function, arguments = call_of(question)
    statement = sql.SQL("select * from cad.{}({})").format(
        sql.Identifier(function),
        sql.SQL(", ").join(sql.SQL(argument.label) + argument.placeholder for argument in arguments),
    )
    started = time.perf_counter()
    with connection.cursor(row_factory=class_row(Hit)) as cursor:
        hits = cursor.execute(statement, {argument.name: argument.value for argument in arguments}).fetchall()
    return Answer(question, hits, as_typed(function, arguments), 1000 * (time.perf_counter() - started))


def table(answer: Answer) -> Table:
    """The hits for a terminal."""
    result = Table(box=SIMPLE_HEAD, pad_edge=False, caption=answer.summary, caption_justify="left")
    for column in ("", "part number", "name", "family"):
        result.add_column(column, overflow="fold")
    for column in ("score", "text", "image", "shape", "words"):
        result.add_column(column, justify="right")
    for hit in answer.hits:
        texts = [str(hit.rank), hit.part_number or "", hit.name, hit.family]
        numbers = [hit.score, *hit.scores.values()]
        result.add_row(
            *(Text(printable(text)) for text in texts),
            *("" if number is None else f"{number:.2f}" for number in numbers),
        )
    return result


@dataclass(frozen=True)
class Argument:
    """An argument of a search function, and how it is typed into psql."""

    name: LiteralString
    value: Any
    typed: str
    preface: str = ""
    cast: str = ""
    positional: bool = False

    @property
    def label(self) -> LiteralString:
        return "" if self.positional else f"{self.name} => "

    @property
    def placeholder(self) -> sql.Composable:
        return sql.Placeholder(self.name) + sql.SQL(self.cast)


def call_of(question: Question) -> tuple[str, list[Argument]]:
    """The function that answers `question`, and its arguments. Raises SearchError and OSError."""
    given = [name for name in ("text", "image", "file", "points") if getattr(question, name) is not None]
    if not given:
        raise SearchError("Nothing to look for. Give a text, --image, --file or --points.")
    if "points" in given and len(given) > 1:
        raise SearchError("A point cloud is searched alone. To combine it, give it as --file (xyz or npy).")
    arguments = [argument for name in given for argument in _READERS[name](getattr(question, name))]
    if len(given) > 1:
        return "search_cad_multi", arguments + _settings(question)
    first = [replace(argument, positional=True) for argument in arguments]
    return f"search_cad{_SUFFIX[given[0]]}", first + _settings(question)


def _text(text: str) -> list[Argument]:
    return [Argument("query", text, sql.Literal(text).as_string())]


def _image(path: Path) -> list[Argument]:
    return [_binary("image", path)]


def _file(path: Path) -> list[Argument]:
    return [_binary("file", path), Argument("format", form := _format(path), sql.Literal(form).as_string())]


def _points(path: Path) -> list[Argument]:
    from pgcad.errors import CadError
    from pgcad.geometry.points import check_cloud, read_cloud

    try:
        points = check_cloud(read_cloud(path.read_bytes(), "npy" if path.suffix.lower() == ".npy" else "xyz"))
    except CadError as error:
        raise SearchError(f"{printable_path(path)}: {error.message}. {error.hint}") from error
    first = ", ".join(f"{x:g}" for x in points[0])
    typed = f"array[[{first}], …]  -- {len(points):,} points of {printable(path.name)}\n "
    return [Argument("points", points.tolist(), typed, cast="::real[]")]


def _binary(name: LiteralString, path: Path) -> Argument:
    return Argument(
        name, path.read_bytes(), f"decode(:'{name}', 'base64')", rf"\set {name} `base64 --wrap=0 {_for_shell(path)}`"
    )


def _for_shell(path: Path) -> str:
    """The name of a file between the backquotes of psql, which knows no way to write a backquote there."""
    typable = path.name.isprintable() and "`" not in path.name
    return shlex.quote(path.name) if typable else "path/of/the/file"


def _format(path: Path) -> str:
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise SearchError(f"{path}: unknown kind of file. Known are {', '.join(sorted(FORMATS))}.")
    return known


def _settings(question: Question) -> list[Argument]:
    settings = [Argument("k", question.k, str(question.k))]
    if question.family is not None:
        settings.append(Argument("family", question.family, sql.Literal(question.family).as_string()))
    for name in ("filters", "options"):
        if value := getattr(question, name):
            typed = sql.Literal(json.dumps(value, ensure_ascii=False)).as_string()
            settings.append(Argument(name, Jsonb(value), typed))
    return settings


def as_typed(function: str, arguments: Sequence[Argument]) -> str:
    """The call as one would type it into psql; files are read by psql."""
    prefaces = [argument.preface for argument in arguments if argument.preface]
    call = ", ".join(argument.label + argument.typed for argument in arguments)
    return "\n".join([*prefaces, f"select * from {function}({call});"])  # noqa: S608  # to be read, never run


_READERS: dict[str, Callable[[Any], list[Argument]]] = {
    "text": _text,
    "image": _image,
    "file": _file,
    "points": _points,
}
_SUFFIX = {"text": "", "image": "_image", "file": "_shape", "points": "_points"}
