"""A catalogue of parts with known vectors, for tests of searching that need no encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from psycopg.types.json import Jsonb

DIM = 512
FAMILIES = ("bolt", "nut", "washer", "bearing")
MATERIALS = ("steel", "brass", None)
VERSION = "known-1"
MODALITIES = ("text", "image", "shape", "fused", "brep")


@dataclass(frozen=True)
class Part:
    """One part of the catalogue: what filters see, and its unit vectors by modality (None where it has none)."""

    number: str
    name: str
    family: str
    material: str | None
    tags: tuple[str, ...]
    mass_kg: float | None
    volume_mm3: float
    size_mm: tuple[float, float, float]
    kind: str
    vectors: dict[str, NDArray[np.float32] | None]


def unit_vector(rng: np.random.Generator) -> NDArray[np.float32]:
    """A random direction, shape (512,), of numbers that half precision holds exactly."""
    vector = rng.normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)


def random_part(rng: np.random.Generator, number: int) -> Part:
    """A part in which everything is drawn; one in five lacks its text, its image or its B-rep vector."""
    vectors: dict[str, NDArray[np.float32] | None] = {modality: unit_vector(rng) for modality in MODALITIES[:-1]}
    for modality in ("text", "image"):
        if rng.random() < 0.2:
            vectors[modality] = None
    [faces] = rng.spawn(1)
    vectors["brep"] = None if faces.random() < 0.2 else unit_vector(faces)
    family = FAMILIES[rng.integers(len(FAMILIES))]
    across, length = sorted((8.0, float(rng.uniform(5, 60))))
    return Part(
        number=f"{family[:2].upper()}-{number:04d}",
        name=f"{family} number {number}",
        family=family,
        material=MATERIALS[rng.integers(len(MATERIALS))],
        tags=tuple(tag for tag in ("metric", "coated", "stock") if rng.random() < 0.5),
        mass_kg=None if rng.random() < 0.1 else float(rng.uniform(0, 1)),
        volume_mm3=float(rng.uniform(10, 1000)),
        size_mm=(4.0, across, length),
        kind="assembly" if rng.random() < 0.1 else "part",
        vectors=vectors,
    )


def insert(db: psycopg.Connection[Any], parts: Sequence[Part]) -> dict[str, str]:
    """Put parts into the tables as an ingest would. Returns part number → model_id."""
    ids = {}
    with db.transaction(), db.cursor() as cursor:
        cursor.execute("update cad.space set encoder_version = %s where name = 'cad'", [VERSION])
        for part in parts:
            row = cursor.execute(
                "insert into cad.model (part_number, name, family, material, tags, mass_kg, volume_mm3, size_mm, kind,"
                " format, sha256) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'step', sha256(%s))"
                " returning model_id::text",
                [
                    part.number,
                    part.name,
                    part.family,
                    part.material,
                    list(part.tags),
                    part.mass_kg,
                    part.volume_mm3,
                    list(part.size_mm),
                    part.kind,
                    part.number.encode(),
                ],
            ).fetchone()
            assert row is not None
            ids[part.number] = row[0]
            if part.vectors["fused"] is not None:
                vectors = [None if v is None else HalfVector(v).to_text() for v in map(part.vectors.get, MODALITIES)]
                cursor.execute(
                    "insert into cad.space_cad (model_id, family, text_vec, image_vec, shape_vec, fused_vec, brep_vec,"
                    " encoder_version) values (%s, %s, %s, %s, %s, %s, %s, %s)",
                    [ids[part.number], part.family, *vectors, VERSION],
                )
    return ids


def search(
    db: psycopg.Connection[Any],
    vector: NDArray[np.float32],
    k: int = 10,
    family: str | None = None,
    filters: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> list[tuple[str, float]]:
    """Part numbers and scores that cad.search_cad_vector finds, in order of rank."""
    return db.execute(
        "select part_number, score from cad.search_cad_vector('cad', %s::vector, %s, %s, %s, %s) order by rank",
        [Vector(vector).to_text(), k, family, Jsonb(filters or {}), Jsonb(options or {})],
    ).fetchall()


def stages(
    db: psycopg.Connection[Any],
    vector: NDArray[np.float32],
    k: int = 10,
    filters: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, tuple[dict[str, Any], int]]:
    """Stage → (detail, candidates) of the same search, from cad.explain_search."""
    rows = db.execute(
        "select stage, detail, candidates"
        " from cad.explain_search(v => %s::vector, k => %s, filters => %s, options => %s)",
        [Vector(vector).to_text(), k, Jsonb(filters or {}), Jsonb(options or {})],
    )
    return {stage: (detail, candidates) for stage, detail, candidates in rows}
