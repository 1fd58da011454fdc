"""Boosts, the soft form of filters: parts that have what is preferred rise, and none is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search, stages, unit_vector
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]

WEIGHT = 0.25
OTHERS = 3  # text, image and shape in the row multi, for a question without words


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(41)


@pytest.fixture
def parts(db: Database, rng: np.random.Generator) -> list[Part]:
    made = [random_part(rng, number) for number in range(80)]
    insert(db, made)
    return made


def nearness(measured: float | None, wanted: float) -> float:
    return min(measured, wanted) / max(measured, wanted) if measured is not None else 0


BOOSTS: dict[str, tuple[dict[str, Any], Any]] = {
    "material": ({"material": "STEEL"}, lambda part: float(part.material == "steel")),
    "mass": ({"mass_kg": {"near": 0.3}}, lambda part: nearness(part.mass_kg, 0.3)),
    "volume": ({"volume_mm3": {"near": 400}}, lambda part: nearness(part.volume_mm3, 400)),
    "size, however it is turned": (
        {"size_mm": [40, 4, 10]},
        lambda part: np.mean([nearness(*pair) for pair in zip(part.size_mm, (4, 10, 40), strict=True)]),
    ),
    "two of them": (
        {"material": "brass", "mass_kg": {"near": 0.5}},
        lambda part: ((part.material == "brass") + nearness(part.mass_kg, 0.5)) / 2,
    ),
    "nothing": ({}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", BOOSTS)
def test_what_is_preferred_counts_in_the_mean_and_leaves_nobody_out(
    db: Database, parts: list[Part], rng: np.random.Generator, name: str
) -> None:
    boost, boosted_by = BOOSTS[name]
    known, probe = {part.number: part for part in parts}, unit_vector(rng)
    plain = dict(search(db, probe, len(parts)))
    boosted = search(db, probe, len(parts), options={"boost": boost})
    assert {number for number, _ in boosted} == set(plain) == set(known)
    wanted = {
        number: (OTHERS * score + WEIGHT * boosted_by(known[number])) / (OTHERS + WEIGHT) if boosted_by else score
        for number, score in plain.items()
    }
    assert dict(boosted) == pytest.approx(wanted, abs=1e-5)
    assert [score for _, score in boosted] == sorted((score for _, score in boosted), reverse=True)


@pytest.mark.usefixtures("parts")
def test_its_weight_is_given_like_any_other_and_scores_stay_means(db: Database, rng: np.random.Generator) -> None:
    probe, boost = unit_vector(rng), {"material": "steel"}
    found = search(db, probe, 80, options={"boost": boost, "weights": {"boost": 1000}})
    materials = dict(db.execute("select part_number, material from cad.model").fetchall())
    steel = [materials[number] == "steel" for number, _ in found]
    assert steel == sorted(steel, reverse=True)
    assert 0.9 < found[0][1] <= 1
    assert search(db, probe, 80, options={"boost": boost, "weights": {"boost": 0}}) == search(db, probe, 80)
    db.execute("update cad.fusion_weight set boost = 1000 where query_kind = 'multi'")
    assert search(db, probe, 80, options={"boost": boost}) == found


@pytest.mark.usefixtures("parts")
def test_it_counts_beside_one_vector_and_in_several_spaces(db: Database, rng: np.random.Generator) -> None:
    probe, boost = unit_vector(rng), {"material": "brass"}
    heavy = {"boost": boost, "weights": {"boost": 1000}}
    materials = dict(db.execute("select part_number, material from cad.model").fetchall())
    for options in ({"against": "shape"}, {"strategy": "exact"}, {"weights": {"boost": 1000, "fused": 1, "text": 0}}):
        found = search(db, probe, 5, options=heavy | options)
        assert {materials[number] for number, _ in found} == {"brass"}, options
    db.execute("select cad.add_space('other', 512)")
    db.execute(
        "insert into cad.space_other (model_id, family, fused_vec, encoder_version)"
        " select model_id, family, fused_vec, 'o' from cad.space_cad"
    )
    found = search(db, probe, 5, options=heavy | {"space": "cad"})
    [(model_id,)] = db.execute("select model_id from cad.model where material = 'steel' limit 1").fetchall()
    alike = db.execute(
        "select m.material from cad.search_cad_like(%s, 5, options => "
        """'{"space": ["cad", "other"], "boost": {"material": "brass"}, "weights": {"boost": 1000}}') as h"""
        " join cad.model as m using (model_id)",
        [model_id],
    ).fetchall()
    assert set(alike) == {("brass",)}


@pytest.mark.usefixtures("parts")
def test_explain_shows_it(db: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    told = stages(db, probe, 3, options={"boost": {"material": "steel"}})
    assert told["encode"][0]["weights"]["boost"] == WEIGHT
    materials = dict(db.execute("select part_number, material from cad.model").fetchall())
    found = search(db, probe, 3, options={"boost": {"material": "steel"}})
    assert told["rerank"][0]["boosts"] == [float(materials[number] == "steel") for number, _ in found]
    told = stages(db, probe, 3)
    assert told["encode"][0]["weights"]["boost"] == 0
    assert "boosts" not in told["rerank"][0]


@pytest.mark.usefixtures("parts")
def test_the_cache_tells_boosts_apart(db: Database, rng: np.random.Generator) -> None:
    probe, weights = unit_vector(rng), {"boost": 1000}
    found = [
        search(db, probe, 5, options={"weights": weights, "boost": {"material": material}})
        for material in ("steel", "brass", "steel")
    ]
    assert found[0] == found[2] != found[1]
    assert db.execute("select count(*) from cad.cached_result").fetchone() == (2,)


def test_it_counts_when_the_encoder_is_away(db: Database, scripted: ScriptedService) -> None:
    for material in ("steel", "brass"):
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata)"
            " values (%s, 'step', %s, jsonb_build_object('material', %s::text, 'description', 'a thing'))",
            [material, material.encode(), material],
        )
    db.execute("call cad.ingest_pending()")
    scripted.close()
    for material in ("steel", "brass"):
        options = f'{{"boost": {{"material": "{material}"}}}}'
        [first, _] = db.execute(
            "select material from cad.search_cad('thing', options => %s) join cad.model using (model_id) order by rank",
            [options],
        ).fetchall()
        assert first == (material,)
