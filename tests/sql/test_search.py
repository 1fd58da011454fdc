"""Finding parts by vector: rank, plan, and never fewer hits than there are matching parts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search, stages, unit_vector
from psycopg.types.json import Jsonb

Database = psycopg.Connection[Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def parts(rng: np.random.Generator) -> list[Part]:
    return [random_part(rng, number) for number in range(120)]


@pytest.fixture
def ids(db: Database, parts: list[Part]) -> dict[str, str]:
    return insert(db, parts)


def cosine(part: Part, modality: str, probe: Any) -> float:
    """Cosine of a part's vector with the probe; another stands in for one that is missing."""
    vector = part.vectors[compared(part, modality)]
    assert vector is not None
    return float(vector @ probe)


def compared(part: Part, modality: str) -> str:
    """Which vector of a part is compared: its points where it has no exact faces, and else all of it in one."""
    if part.vectors[modality] is not None:
        return modality
    return "shape" if modality == "brep" else "fused"


@pytest.mark.usefixtures("ids")
@pytest.mark.parametrize("against", ["fused", "text", "image", "shape", "brep"])
def test_exact_search_ranks_by_cosine(db: Database, parts: list[Part], rng: np.random.Generator, against: str) -> None:
    probe = unit_vector(rng)
    expected = sorted(((cosine(part, against, probe), part.number) for part in parts), reverse=True)[:10]
    found = search(db, probe, 10, options={"against": against, "strategy": "exact"})
    assert [number for number, _ in found] == [number for _, number in expected]
    assert [score for _, score in found] == pytest.approx([score for score, _ in expected], abs=2e-3)


@pytest.mark.usefixtures("ids")
def test_weights_mix_the_modalities(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    weights = {"text": 1, "image": 0, "shape": 3, "brep": 2, "lexical": 0}

    def mean(part: Part) -> float:
        return sum(share * cosine(part, name, probe) for name, share in weights.items() if share) / 6

    best = max(parts, key=mean)
    [(number, score)] = search(db, probe, 1, options={"weights": weights})
    assert number == best.number
    assert score == pytest.approx(mean(best), abs=2e-3)


@pytest.mark.usefixtures("ids")
def test_min_score_cuts(db: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    everything = search(db, probe, 120)
    floor = everything[29][1]
    assert search(db, probe, 120, options={"min_score": floor}) == everything[:30]


@pytest.mark.parametrize("against", ["text", "image", "shape", "brep"])
def test_like_against_another_vector_takes_its_candidates_by_that_vector(
    db: Database, rng: np.random.Generator, against: str
) -> None:
    """More parts than are reranked, so that the candidates decide; other vectors stand in for a missing one."""
    asked, *others = parts = [random_part(rng, number) for number in range(300)]
    assert all(vector is not None for vector in asked.vectors.values())
    ids = insert(db, parts)
    scores = {part.number: cosine(part, against, asked.vectors[compared(part, against)]) for part in others}
    expected = sorted(scores, key=lambda number: scores[number], reverse=True)[:10]
    found = db.execute(
        "select part_number from cad.search_cad_like(%s, 10, options => %s)",
        [ids[asked.number], Jsonb({"against": against})],
    ).fetchall()
    assert [number for (number,) in found] == expected


@pytest.mark.usefixtures("ids")
@pytest.mark.parametrize(("faces", "weight"), [(True, 1), (False, 0)])
def test_exact_faces_count_where_the_question_has_them(
    db: Database, parts: list[Part], ids: dict[str, str], faces: bool, weight: int
) -> None:
    asked = next(part for part in parts if (part.vectors["brep"] is not None) == faces)
    [(weights,)] = db.execute(
        "select detail -> 'weights' from cad.explain_search(model_id => %s, k => 3) where stage = 'encode'",
        [ids[asked.number]],
    ).fetchall()
    assert (weights["shape"], weights["brep"]) == (1, weight)
    others = [part for part in parts if part is not asked]

    def score(part: Part) -> float:
        by_points = cosine(part, "shape", asked.vectors["shape"])
        return (by_points + cosine(part, "brep", asked.vectors[compared(part, "brep")])) / 2 if faces else by_points

    found = db.execute("select part_number, score from cad.search_cad_like(%s, 3)", [ids[asked.number]]).fetchall()
    assert [score for _, score in found] == pytest.approx(sorted(map(score, others), reverse=True)[:3], abs=2e-3)


@pytest.mark.usefixtures("ids")
def test_a_zero_vector_is_no_vector(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    zero = str([0] * 512)
    db.execute(
        "update cad.space_cad set text_vec = %(zero)s, fused_vec = %(zero)s, shape_vec = %(zero)s, image_vec = %(zero)s"
        " where model_id = (select model_id from cad.model where part_number = %(number)s)",
        {"zero": zero, "number": parts[0].number},
    )
    for options in ({}, {"against": "text"}, {"strategy": "hnsw"}):
        found = search(db, unit_vector(rng), 120, options=options)
        assert dict(found)[parts[0].number] == 0
        assert found[0][0] != parts[0].number
        assert parts[0].number not in dict(search(db, unit_vector(rng), 120, options={**options, "min_score": 0.01}))


def test_equal_scores_have_a_fixed_order(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    twins = [dataclasses.replace(part, vectors=parts[0].vectors) for part in parts[:20]]
    ids = insert(db, twins)
    found = [number for number, _ in search(db, unit_vector(rng), 20)]
    assert found == sorted(ids, key=lambda number: ids[number])


@pytest.mark.usefixtures("ids")
def test_hnsw_is_used_when_asked_for(db: Database, dsn: str, rng: np.random.Generator) -> None:
    scans = (
        "select idx_scan from pg_stat_user_indexes where relname = 'space_cad_default' and indexrelname like '%fused%'"
    )
    probe = unit_vector(rng)
    plan = stages(db, probe, 5, options={"strategy": "hnsw"})
    assert plan["plan"][0] == {"strategy": "hnsw", "reason": "asked for"}
    [scan] = plan["hnsw"][0]["scans"]
    assert (scan["partition"], scan["kind"], scan["dim"], scan["ef_search"]) == ("space_cad_default", "hnsw", 512, 200)
    assert plan["hnsw"][1] == 120
    assert "exact" not in plan
    db.execute("select pg_stat_force_next_flush()")
    with psycopg.connect(dsn) as other:
        assert other.execute(scans).fetchone() == (1,)


def test_plan_follows_the_number_of_matching_parts(db: Database, rng: np.random.Generator) -> None:
    insert(db, [random_part(rng, number) for number in range(300)])
    db.execute(
        "insert into cad.model (name, kind, format, family, sha256)"
        " select 'x', 'part', 'step', 'other', sha256(int4send(n)) from generate_series(1, 4900) as n"
    )
    db.execute("analyze cad.model")
    probe = unit_vector(rng)
    assert stages(db, probe)["plan"] == ({"strategy": "iterative", "reason": "many parts match"}, 5200)
    bolts = stages(db, probe, filters={"family": "bolt"})
    assert bolts["plan"][0] == {"strategy": "exact", "reason": "few parts match"}
    assert stages(db, probe, k=5000)["plan"][0] == {"strategy": "exact", "reason": "many hits wanted"}
    assert stages(db, probe, options={"against": "text"})["plan"][0]["strategy"] == "exact"
    # 300 of the 5,200 parts have vectors: what the index cannot give is made up for
    assert len(search(db, probe, 400)) == 400
    db.execute("delete from cad.model where family = 'other'")
    assert len(search(db, probe, 400)) == 300


@pytest.mark.usefixtures("ids")
def test_hnsw_agrees_with_exact(db: Database, rng: np.random.Generator) -> None:
    for _ in range(5):
        probe = unit_vector(rng)
        by_index, exact = (search(db, probe, 10, options={"strategy": strategy}) for strategy in ("hnsw", "exact"))
        assert by_index == exact


def matches(part: Part, filters: dict[str, Any]) -> bool:
    """What the filters mean, said once more in Python."""
    bounds = filters.get("mass_kg", {})
    wanted = {
        "family": part.family in filters.get("family", [part.family]),
        "material": part.material == filters.get("material", part.material),
        "tags": set(filters.get("tags", [])) <= set(part.tags),
        "kind": part.kind == filters.get("kind", part.kind),
        "mass_kg": not bounds or (part.mass_kg is not None and bounds["min"] <= part.mass_kg <= bounds["max"]),
        "size_mm": all(
            abs(extent - asked) <= 10
            for extent, asked in zip(
                part.size_mm, sorted(filters.get("size_mm", {}).get("extents", part.size_mm)), strict=True
            )
        ),
    }
    return all(wanted.values())


def random_filters(rng: np.random.Generator) -> dict[str, Any]:
    low = float(rng.uniform(0, 0.8))
    every = {
        "family": [str(family) for family in rng.choice(["bolt", "nut", "washer", "none"], size=2)],
        "material": "steel",
        "tags": [str(rng.choice(["metric", "coated", "stock"]))],
        "kind": "part",
        "mass_kg": {"min": low, "max": low + 0.5},
        "size_mm": {"extents": [4.0, 8.0, float(rng.uniform(5, 60))], "tolerance_mm": 10},
    }
    return {key: value for key, value in every.items() if rng.random() < 0.35}


def assert_never_fewer(db: Database, parts: list[Part], rng: np.random.Generator, rounds: int = 12) -> None:
    for round_number in range(rounds):
        filters = random_filters(rng)
        k = int(rng.choice([1, 7, 50, 1000]))
        options = {"strategy": ("auto", "hnsw", "exact", "iterative")[round_number % 4]}
        matching = {part.number for part in parts if matches(part, filters)}
        found = [number for number, _ in search(db, unit_vector(rng), k, filters=filters, options=options)]
        assert len(found) == len(set(found)) == min(k, len(matching)), (filters, k, options)
        assert set(found) <= matching, (filters, k, options)


@pytest.mark.usefixtures("ids")
def test_never_fewer_than_k(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    assert_never_fewer(db, parts, rng, rounds=30)


@pytest.mark.usefixtures("ids")
def test_never_fewer_after_deletes(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    db.execute("delete from cad.model where part_number = any(%s)", [[part.number for part in parts[::2]]])
    assert_never_fewer(db, parts[1::2], rng)


def test_never_fewer_with_parts_that_have_no_vectors(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    bare = [dataclasses.replace(part, vectors=dict.fromkeys(part.vectors)) for part in parts[:30]]
    insert(db, [*bare, *parts[30:]])
    assert_never_fewer(db, parts, rng)


@pytest.mark.usefixtures("ids")
def test_never_fewer_over_promoted_families(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    for family in ("bolt", "nut"):
        db.execute("call cad.promote_family(%s)", [family])
    assert_never_fewer(db, parts, rng)


@pytest.mark.usefixtures("ids")
def test_row_level_security_holds(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    db.execute("create role engineer")
    try:
        db.execute("select cad.grant_to('engineer', 'reader')")
        db.execute("alter table cad.model enable row level security")
        db.execute("create policy not_bearings on cad.model to engineer using (family <> 'bearing')")
        db.execute("set role engineer")
        assert_never_fewer(db, [part for part in parts if part.family != "bearing"], rng)
    finally:
        db.execute("reset role")
        db.execute("drop owned by engineer")
        db.execute("drop role engineer")


def test_like_leaves_the_part_itself_out(db: Database, parts: list[Part], ids: dict[str, str]) -> None:
    rows = db.execute("select part_number from cad.search_cad_like(%s, 200)", [ids[parts[0].number]]).fetchall()
    assert {number for (number,) in rows} == {part.number for part in parts[1:]}


@pytest.mark.parametrize("options", [{}, {"against": "fused"}, {"strategy": "iterative", "against": "fused"}])
def test_the_part_itself_is_not_one_hit_less(
    db: Database, parts: list[Part], ids: dict[str, str], options: dict[str, str]
) -> None:
    """Also where nothing changes the order of the candidates and no more are looked at than are wanted."""
    for k in (1, 20, 33):
        asked = [ids[parts[0].number], k, Jsonb(options)]
        assert len(db.execute("select from cad.search_cad_like(%s, %s, options => %s)", asked).fetchall()) == k


@pytest.mark.usefixtures("ids")
def test_a_search_needs_nothing_of_the_session_before_it(db: Database, rng: np.random.Generator) -> None:
    """As behind a pooler, where every search may come to another connection, with its settings put back."""
    probe = unit_vector(rng)
    hits = search(db, probe)
    db.execute("discard all")
    assert search(db, probe) == hits


def test_like_finds_the_twin_first(db: Database, parts: list[Part]) -> None:
    twin = dataclasses.replace(parts[0], number="TWIN", name="the twin")
    ids = insert(db, [*parts, twin])
    row = db.execute("select part_number, score from cad.search_cad_like(%s, 1)", [ids[parts[0].number]]).fetchone()
    assert row == ("TWIN", pytest.approx(1, abs=2e-3))


@pytest.mark.usefixtures("ids")
def test_explain_shows_each_stage_in_order(db: Database, rng: np.random.Generator) -> None:
    db.execute("analyze cad.model")
    rows = db.execute(
        "select stage, candidates, elapsed_ms >= 0 from cad.explain_search(v => %s::vector)",
        [str(unit_vector(rng).tolist())],
    ).fetchall()
    assert rows == [
        ("check", None, True),
        ("encode", None, True),
        ("plan", 120, True),
        ("exact", 120, True),
        ("rerank", 120, True),
    ]


def test_an_empty_database_has_no_hits(db: Database, rng: np.random.Generator) -> None:
    assert search(db, unit_vector(rng)) == []


def test_another_space(db: Database, rng: np.random.Generator) -> None:
    insert(db, [random_part(rng, number) for number in range(20)])
    db.execute("select cad.add_space('tiny', 3)")
    db.execute("update cad.space set encoder_version = 'mine' where name = 'tiny'")
    db.execute(
        "insert into cad.space_tiny (model_id, family, fused_vec, encoder_version)"
        " select model_id, family, format('[1, %s, 0]', row_number() over (order by part_number))::halfvec, 'mine'"
        " from cad.model"
    )
    best = db.execute("select max(part_number) from cad.model where substr(part_number, 1, 2) = 'WA'").fetchone()
    found = db.execute("select part_number from cad.search_cad_vector('tiny', '[0, 1, 0]', 1)").fetchone()
    assert found == best
