"""Vectors of a file into an external space: everything is checked first, then one transaction writes it all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql

from pgcad_load.connection import Connection
from pgcad_load.vector_file import Matrix, VectorFile, VectorFileError, listed
from pgcad_load.vector_kind import Kind

COLUMNS = tuple(Kind)


@dataclass(frozen=True)
class Imported:
    """What an import has done."""

    parts: int
    new: int
    views: int

    def __str__(self) -> str:
        pictures = f"; {self.views} vectors of views" if self.views else ""
        return f"{self.parts} parts: {self.new} new in the space, {self.parts - self.new} replaced{pictures}"


@dataclass(frozen=True)
class PartVectors:
    """What becomes of the rows of one part: its vectors by kind, and those of its views."""

    model_id: UUID
    vectors: dict[Kind, Matrix]
    views: Matrix | None


def import_vectors(
    database: Connection, file: VectorFile, space: str, kind: Kind | None = None, create: bool = False
) -> Imported:
    """Write the vectors of a file into a space. Raises VectorFileError and psycopg.Error; then nothing is written.

    Several vectors of one part are those of pictures of it: they become its view vectors, and their normalised mean its
    image vector. With `kind` None, one vector of a part is its fused vector, the mean of several is that too, and what
    the space had of the part goes. With a `kind`, the other vectors of the part stay, and the fused one becomes the
    normalised mean of those it has.
    """
    with database.transaction():
        _see_vectors(database)
        _open_space(database, file, space, create)
        parts = [part_vectors(*group, file, kind) for group in _grouped(_parts(database, file), file, kind)]
        return _write(database, file.dim, space, kind, parts)


def part_vectors(model_id: UUID, rows: Sequence[int], file: VectorFile, kind: Kind | None) -> PartVectors:
    """The vectors of one part from its rows of the file. Raises VectorFileError where they cancel out."""
    mean = file.vectors[list(rows)].mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise VectorFileError(f"the vectors of {file.ids[rows[0]]} cancel out: their mean has no direction")
    vector = mean / length
    if len(rows) == 1 and kind is not Kind.image:
        return PartVectors(model_id, {kind or Kind.fused: vector}, None)
    vectors = {Kind.image: vector, **({Kind.fused: vector} if kind is None else {})}
    return PartVectors(model_id, vectors, file.vectors[list(rows)])


def _see_vectors(database: Connection) -> None:
    """Types and functions of pgvector, in whichever schema it lives, until the end of the transaction."""
    database.execute(
        """
        select set_config('search_path', concat_ws(
            ', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)
        ), true)
        from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace where e.extname = 'vector'
        """
    )
    register_vector(database)


def _open_space(database: Connection, file: VectorFile, space: str, create: bool) -> None:
    """Find the space or add it, and keep others from its tables until the end of the transaction."""
    row = database.execute("select backend, dim from cad.space where name = %s", [space]).fetchone()
    if row is None and create:
        database.execute("select cad.add_space(%s, %s)", [space, file.dim])
        row = "external", file.dim
    if row is None:
        raise VectorFileError(f"there is no space {space}: give --create, or the name of another")
    backend, dim = row
    if backend != "external":
        raise VectorFileError(f"the vectors of space {space} are made by its encoder ({backend}): call cad.reembed")
    if dim != file.dim:
        raise VectorFileError(f"the vectors of the file have {file.dim} numbers, space {space} takes {dim}")
    database.execute("select pg_advisory_xact_lock(cad._space_key(%s))", [space])


def _parts(database: Connection, file: VectorFile) -> list[UUID]:
    """The part of each row. An id is a model_id, or else a part number. Raises VectorFileError."""
    database.execute("create temporary table given (place integer, id text, model_id uuid) on commit drop")
    _copy(database, "given (place, id)", ["int4", "text"], enumerate(file.ids))
    database.execute(
        """
        update given set model_id = m.model_id from cad.model as m
        where given.id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' and m.model_id::text = lower(given.id)
        """
    )
    ambiguous = database.execute(
        """
        select g.id from given as g join cad.model as m on m.part_number = g.id
        where g.model_id is null group by g.id, g.place having count(*) > 1 order by g.place
        """
    ).fetchall()
    if ambiguous:
        raise VectorFileError(
            f"part numbers of several parts: {listed(name for (name,) in ambiguous)}; give their model_id instead"
        )
    database.execute(
        "update given set model_id = m.model_id from cad.model as m"
        " where given.model_id is null and m.part_number = given.id"
    )
    unknown = database.execute("select id from given where model_id is null order by place").fetchall()
    if unknown:
        raise VectorFileError(
            f"no part has this model_id or part number: {listed(name for (name,) in unknown)}; load the parts first, "
            "or leave them out"
        )
    return [model_id for (model_id,) in database.execute("select model_id from given order by place")]


def _grouped(parts: Sequence[UUID], file: VectorFile, kind: Kind | None) -> Iterable[tuple[UUID, list[int]]]:
    """Each part with its rows. Raises VectorFileError where there are several of what a part has one."""
    groups: dict[UUID, list[int]] = {}
    for row, part in enumerate(parts):
        groups.setdefault(part, []).append(row)
    several = [rows for rows in groups.values() if len(rows) > 1]
    twice = [rows for rows in several if len({file.ids[row] for row in rows}) > 1]
    if twice:
        raise VectorFileError(f"one part under several ids: {listed(' = '.join(_names(file, rows)) for rows in twice)}")
    if several and kind not in (None, Kind.image):
        raise VectorFileError(
            f"more than one vector for {listed(file.ids[rows[0]] for rows in several)}: a part has one {kind} vector. "
            "Vectors of several pictures of a part are imported with --as image"
        )
    return groups.items()


def _names(file: VectorFile, rows: Iterable[int]) -> Iterable[str]:
    return dict.fromkeys(file.ids[row] for row in rows)


def _write(database: Connection, dim: int, space: str, kind: Kind | None, parts: Sequence[PartVectors]) -> Imported:
    names = {
        "table": sql.Identifier("cad", f"space_{space}"),
        "views": sql.Identifier("cad", f"space_{space}_view"),
        "dim": sql.Literal(dim),
    }

    def execute(statement: str) -> int:
        return database.execute(sql.SQL(statement).format(**names)).rowcount

    execute(
        """
        create temporary table incoming (
            model_id uuid primary key, fused_vec halfvec({dim}), text_vec halfvec({dim}), image_vec halfvec({dim}),
            shape_vec halfvec({dim}), brep_vec halfvec({dim})
        ) on commit drop
        """
    )
    execute("create temporary table incoming_view (model_id uuid, view int2, vec halfvec({dim})) on commit drop")
    _copy(database, "incoming", ["uuid", *["halfvec"] * len(COLUMNS)], map(_vector_row, parts))
    _copy(database, "incoming_view", ["uuid", "int2", "halfvec"], _view_rows(parts))

    replaced = execute(
        "select from {table} as s where exists (select from incoming as i where i.model_id = s.model_id)"
    )
    if kind is None:
        execute("delete from {table} where model_id in (select model_id from incoming)")
    if kind in (None, Kind.image):
        execute("delete from {views} where model_id in (select model_id from incoming)")
    execute(
        """
        update {table} as s set
            text_vec = coalesce(i.text_vec, s.text_vec), image_vec = coalesce(i.image_vec, s.image_vec),
            shape_vec = coalesce(i.shape_vec, s.shape_vec), brep_vec = coalesce(i.brep_vec, s.brep_vec),
            fused_vec = coalesce(i.fused_vec, s.fused_vec)
        from incoming as i where s.model_id = i.model_id
        """
    )
    execute(
        """
        insert into {table} (model_id, family, text_vec, image_vec, shape_vec, brep_vec, fused_vec, encoder_version)
        select m.model_id, m.family, i.text_vec, i.image_vec, i.shape_vec, i.brep_vec, i.fused_vec, 'imported'
        from incoming as i join cad.model as m on m.model_id = i.model_id
        where not exists (select from {table} as s where s.model_id = i.model_id)
        """
    )
    if kind not in (None, Kind.fused):
        execute(
            """
            update {table} as s set fused_vec = l2_normalize((
                select sum(v) from unnest(array[s.text_vec, s.image_vec, s.shape_vec, s.brep_vec]) as v
                where v is not null
            ))
            from incoming as i where s.model_id = i.model_id
            """
        )
    views = execute("insert into {views} (model_id, view, vec) select model_id, view, vec from incoming_view")
    database.execute("update cad.space set encoder_version = 'imported' where name = %s", [space])
    return Imported(len(parts), len(parts) - replaced, views)


def _vector_row(part: PartVectors) -> tuple[Any, ...]:
    vectors = (part.vectors.get(kind) for kind in COLUMNS)
    return part.model_id, *(None if vector is None else HalfVector(vector) for vector in vectors)


def _view_rows(parts: Iterable[PartVectors]) -> Iterator[tuple[Any, ...]]:
    for part in parts:
        for number, vector in enumerate([] if part.views is None else part.views):
            yield part.model_id, number, HalfVector(vector)


def _copy(database: Connection, target: str, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with database.cursor().copy(f"copy {target} from stdin (format binary)") as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
