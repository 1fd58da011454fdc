"""Each filter lets through what it says, and uses an index where it can."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search, unit_vector
from psycopg.types.json import Jsonb

Database = psycopg.Connection[Any]

PARTS = {
    "SCREW": {"family": "screws", "material": "steel", "tags": ("metric", "stock"), "mass_kg": 0.02,
              "volume_mm3": 2500.0, "size_mm": (8.0, 8.0, 40.0), "kind": "part"},
    "PLATE": {"family": "plates", "material": "brass", "tags": ("stock",), "mass_kg": 1.5,
              "volume_mm3": 180000.0, "size_mm": (2.0, 300.0, 300.0), "kind": "part"},
    "VALVE": {"family": "valves", "material": None, "tags": (), "mass_kg": None,
              "volume_mm3": 90000.0, "size_mm": (40.0, 50.0, 60.0), "kind": "assembly"},
}  # fmt: skip


CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"SCREW", "PLATE", "VALVE"}),
    ({"family": "screws"}, {"SCREW"}),
    ({"family": ["screws", "valves", "gears"]}, {"SCREW", "VALVE"}),
    ({"family": []}, set()),
    ({"material": "brass"}, {"PLATE"}),
    ({"tags": ["stock"]}, {"SCREW", "PLATE"}),
    ({"tags": ["stock", "metric"]}, {"SCREW"}),
    ({"tags": "metric"}, {"SCREW"}),
    ({"tags": []}, {"SCREW", "PLATE", "VALVE"}),
    ({"mass_kg": {"min": 0.02, "max": 1}}, {"SCREW"}),
    ({"mass_kg": {"min": 1}}, {"PLATE"}),
    ({"mass_kg": {"max": 1.5}}, {"SCREW", "PLATE"}),
    ({"mass_kg": {}}, {"SCREW", "PLATE", "VALVE"}),
    ({"volume_mm3": {"min": 3000, "max": 1e5}}, {"VALVE"}),
    ({"size_mm": [40, 8, 8.5]}, {"SCREW"}),
    ({"size_mm": [40, 8, 9.5]}, set()),
    ({"size_mm": {"extents": [40, 8, 9.5], "tolerance_mm": 2}}, {"SCREW"}),
    ({"size_mm": {"extents": [300, 2, 300], "tolerance_mm": 0}}, {"PLATE"}),
    ({"created_at": {"from": "2026-05-02"}}, {"PLATE", "VALVE"}),
    ({"created_at": {"from": "2026-05-02", "to": "2026-05-02 12:00"}}, {"PLATE"}),
    ({"kind": "assembly"}, {"VALVE"}),
    ({"kind": "part", "material": "steel", "mass_kg": {"max": 1}}, {"SCREW"}),
    ({"kind": "assembly", "material": "steel"}, set()),
]


@pytest.fixture
def parts(db: Database) -> list[Part]:
    rng = np.random.default_rng(1)
    parts = [
        dataclasses.replace(random_part(rng, number), number=name, **fields)  # type: ignore[arg-type]
        for number, (name, fields) in enumerate(PARTS.items())
    ]
    insert(db, parts)
    for day, part in enumerate(parts, start=1):
        created_at = f"2026-05-{day:02d}"
        db.execute("update cad.model set created_at = %s where part_number = %s", [created_at, part.number])
    return parts


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("strategy", ["exact", "hnsw"])
def test_filters(db: Database, strategy: str) -> None:
    probe = unit_vector(np.random.default_rng(2))
    for filters, expected in CASES:
        found = search(db, probe, 10, filters=filters, options={"strategy": strategy})
        assert {number for number, _ in found} == expected, filters


@pytest.mark.usefixtures("parts")
def test_family_argument_and_family_filter_both_hold(db: Database) -> None:
    probe = unit_vector(np.random.default_rng(2))
    assert [number for number, _ in search(db, probe, family="screws")] == ["SCREW"]
    both = search(db, probe, family="screws", filters={"family": ["screws", "valves"]})
    assert [number for number, _ in both] == ["SCREW"]
    assert search(db, probe, family="screws", filters={"family": "valves"}) == []


@pytest.mark.usefixtures("parts")
def test_text_in_filters_stays_text(db: Database) -> None:
    probe = unit_vector(np.random.default_rng(2))
    for text in ["x' or '1'='1", "screws'); drop table cad.model; --", '"; select 1', "%", "\\", "$1", "{screws}"]:
        for filters in ({"family": text}, {"material": text}, {"tags": [text]}):
            assert search(db, probe, filters=filters) == [], filters
        assert search(db, probe, family=text) == [], text
    assert len(search(db, probe)) == 3


INDEXES: list[tuple[dict[str, Any], str]] = [
    ({"family": "screws"}, "model_family_idx"),
    ({"material": "brass"}, "model_material_idx"),
    ({"tags": ["metric"]}, "model_tags_idx"),
    ({"mass_kg": {"min": 1}}, "model_mass_idx"),
    ({"volume_mm3": {"max": 1}}, "model_volume_idx"),
    ({"size_mm": [8, 8, 40]}, "model_size_idx"),
    ({"created_at": {"from": "2026-01-01"}}, "model_created_at_idx"),
]


def test_filters_can_use_their_indexes(db: Database) -> None:
    db.execute("set enable_seqscan = off")
    for filters, index in INDEXES:
        plan = psycopg.ClientCursor(db).execute("explain (costs off) select * from cad._matching(%s)", [Jsonb(filters)])
        assert index in str(plan.fetchall()), filters
