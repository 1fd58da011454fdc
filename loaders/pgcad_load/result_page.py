"""A page that shows searches and what they found; one file, nothing fetched from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from psycopg.rows import dict_row

from pgcad_load.connection import Connection
from pgcad_load.search import Answer, Hit, Question

TEMPLATE = "results.html.j2"
PICTURE_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True)
class Card:
    """A hit with what else the page shows of it."""

    hit: Hit
    name_zh: str | None
    material: str | None
    size_mm: Sequence[float] | None
    picture: str | None


@dataclass(frozen=True)
class Section:
    """One search on the page; pictures are data URIs."""

    answer: Answer
    picture: str | None
    cards: Sequence[Card]


def write_page(connection: Connection, answers: Sequence[Answer], path: Path) -> None:
    """Write `answers` as one HTML page."""
    path.write_text(render([_section(connection, answer) for answer in answers]), encoding="utf-8")


def render(sections: Sequence[Section]) -> str:
    """The page; every value from a part or a question is escaped."""
    environment = Environment(
        loader=PackageLoader("pgcad_load"),
        autoescape=select_autoescape(["html.j2"], default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(sections=sections)


def data_uri(picture: bytes) -> str:
    """A PNG or JPEG as a data URI. Raises ValueError for anything else."""
    for signature, media_type in PICTURE_TYPES.items():
        if picture.startswith(signature):
            return f"data:{media_type};base64,{base64.b64encode(picture).decode('ascii')}"
    raise ValueError("neither PNG nor JPEG")


def _section(connection: Connection, answer: Answer) -> Section:
    details = _details(connection, answer.hits)
    return Section(
        answer, _question_picture(answer.question), [_card(hit, details[hit.model_id]) for hit in answer.hits]
    )


def _details(connection: Connection, hits: Sequence[Hit]) -> dict[Any, dict[str, Any]]:
    with connection.cursor(row_factory=dict_row, binary=True) as cursor:
        rows = cursor.execute(
            """
            select m.model_id, m.name_zh, m.material, m.size_mm, a.content as thumbnail
            from cad.model as m
            left join cad.artifact as a on a.model_id = m.model_id and a.role = 'thumbnail'
            where m.model_id = any(%s)
            """,
            [[hit.model_id for hit in hits]],
        )
        return {row["model_id"]: row for row in rows}


def _card(hit: Hit, detail: dict[str, Any]) -> Card:
    thumbnail = detail["thumbnail"]
    return Card(
        hit=hit,
        name_zh=detail["name_zh"],
        material=detail["material"],
        size_mm=sorted(detail["size_mm"] or [], reverse=True) or None,
        picture=data_uri(bytes(thumbnail)) if thumbnail else None,
    )


def _question_picture(question: Question) -> str | None:
    """The picture that was asked with, or one of the file, drawn as the database draws its parts."""
    if question.image:
        return data_uri(question.image.read_bytes())
    file = question.file or question.points
    if file is None:
        return None
    from pgcad.geometry.analyse import analyse

    return data_uri(analyse(file.read_bytes(), file.suffix, {}).thumbnail_png)
