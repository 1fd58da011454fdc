"""Weights of the rerank, learned from judgements, kept in versions, and taken back."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import VERSION, insert, random_part, search, unit_vector
from numpy.typing import NDArray
from pgvector import Vector
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]
Probe = NDArray[np.float32]

HIDDEN = {"text": 0.5, "image": 4, "shape": 1, "fused": 0, "lexical": 0, "numbers": 0}
"""What those who judge look at."""
AS_IT_IS = {"text": 1, "image": 1, "shape": 1, "brep": 1, "fused": 0} | {
    "lexical": 0.5, "numbers": 0.25, "fit": 8, "boost": 0.25,
}  # fmt: skip


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(47)


@pytest.fixture(autouse=True)
def parts(db: Database, scripted: ScriptedService, rng: np.random.Generator) -> dict[str, str]:
    """Part number → model_id of 80 parts."""
    scripted.version = VERSION
    return insert(db, [random_part(rng, number) for number in range(80)])


def judge(
    db: Database, parts: dict[str, str], rng: np.random.Generator, questions: int, weights: dict[str, float]
) -> list[Probe]:
    """Ask for random vectors, and find right what comes first with these weights."""
    probes = [unit_vector(rng) for _ in range(questions)]
    for probe in probes:
        [(number, _)] = search(db, probe, 1, options={"weights": weights})
        db.execute("select cad.record_feedback(model_id => %s, v => %s)", [parts[number], Vector(probe).to_text()])
    return probes


def learn(db: Database, kind: str = "multi") -> dict[str, Any]:
    [(learned,)] = db.execute("select to_jsonb(l) from cad.learn_weights(%s) as l", [kind]).fetchall()
    return dict(learned)


def weights(db: Database, kind: str = "multi") -> dict[str, Any]:
    [(row,)] = db.execute(
        "select to_jsonb(f) - 'query_kind' from cad.fusion_weight as f where query_kind = %s", [kind]
    ).fetchall()
    return dict(row)


def test_weights_that_judgements_follow_are_found(
    db: Database, parts: dict[str, str], rng: np.random.Generator
) -> None:
    judge(db, parts, rng, 80, HIDDEN)
    learned = learn(db)
    assert learned["version"] == 2
    assert (learned["source"], learned["questions"], learned["judgements"]) == ("learned", 80, 80)
    assert learned["encoder_version"] == VERSION
    assert 0 < learned["gain_low"] <= learned["mrr"] - learned["mrr_before"] <= learned["gain_high"]
    assert learned["r1"] > 0.8 > learned["r1_before"]
    found = weights(db)
    assert found == {name: learned[name] for name in found}
    assert found["image"] / found["shape"] == pytest.approx(4, rel=0.25)
    assert found["image"] / found["text"] == pytest.approx(8, rel=0.5)
    untold = ("brep", "lexical", "numbers", "fit", "boost")  # no question had exact faces or words
    assert {name: found[name] for name in untold} == {name: AS_IT_IS[name] for name in untold}
    assert sum(found[name] for name in ("text", "image", "shape", "fused")) == pytest.approx(3)
    fresh = [unit_vector(rng) for _ in range(20)]
    right = [search(db, probe, 1)[0][0] == search(db, probe, 1, options={"weights": HIDDEN})[0][0] for probe in fresh]
    assert sum(right) >= 17
    history = db.execute(
        "select version, source, made_by = session_user from cad.fusion_weight_version"
        " where query_kind = 'multi' order by version"
    ).fetchall()
    assert history == [(1, "default", None), (2, "learned", True)]


def test_the_same_judgements_give_the_same_weights(
    db: Database, parts: dict[str, str], rng: np.random.Generator
) -> None:
    judge(db, parts, rng, 40, HIDDEN)
    first = learn(db)
    db.execute("select cad.undo_learn_weights('multi')")
    assert learn(db) | {"version": 2, "made_at": first["made_at"]} == first


def test_an_administrator_learns_from_what_others_judged(
    db: Database, parts: dict[str, str], rng: np.random.Generator
) -> None:
    judge(db, parts, rng, 40, HIDDEN)
    db.execute("create role keeper")
    try:
        db.execute("select cad.grant_to('keeper', 'admin')")
        db.execute("set role keeper")
        assert learn(db)["version"] == 2
        db.execute("update cad.fusion_weight set boost = 1 where query_kind = 'multi'")
        assert db.execute("select cad.undo_learn_weights('multi')").fetchone() == (2,)
    finally:
        db.execute("reset role")
        db.execute("drop owned by keeper")
        db.execute("drop role keeper")


def test_too_few_judgements_are_refused(db: Database, parts: dict[str, str], rng: np.random.Generator) -> None:
    probes = judge(db, parts, rng, 12, HIDDEN)
    for part in list(parts.values())[:30]:  # of one question, and of others what is wrong: they count as one
        db.execute("select cad.record_feedback(model_id => %s, v => %s)", [part, Vector(probes[0]).to_text()])
        wrong = Vector(unit_vector(rng)).to_text()
        db.execute("select cad.record_feedback(model_id => %s, relevant => false, v => %s)", [part, wrong])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="only 12 questions") as refused:
        learn(db)
    assert "Record 18 more" in (refused.value.diag.message_hint or "")
    assert weights(db) == AS_IT_IS | {"version": 1}


def test_worse_or_equal_weights_never_take_force(db: Database, parts: dict[str, str], rng: np.random.Generator) -> None:
    judge(db, parts, rng, 40, {name: AS_IT_IS[name] for name in HIDDEN})  # as good as can be
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    kept = search(db, unit_vector(rng), 5)
    learned = learn(db)
    assert learned["version"] is None
    assert learned["mrr_before"] == 1
    assert learned["gain_low"] <= 0
    assert [notice for notice in notices if "the weights stay as they are" in notice]
    assert weights(db) == AS_IT_IS | {"version": 1}
    assert db.execute("select count(*) from cad.fusion_weight_version").fetchone() == (4,)
    assert kept


def test_judgements_at_random_teach_nothing(db: Database, parts: dict[str, str], rng: np.random.Generator) -> None:
    for _ in range(40):
        part = rng.choice(list(parts.values()))
        db.execute("select cad.record_feedback(model_id => %s, v => %s)", [part, Vector(unit_vector(rng)).to_text()])
    assert learn(db)["version"] is None


def test_learning_is_taken_back_and_searches_follow(
    db: Database, parts: dict[str, str], rng: np.random.Generator
) -> None:
    probe = judge(db, parts, rng, 40, HIDDEN)[0]
    before = search(db, probe, 5)
    learn(db)
    after = search(db, probe, 5)
    assert after != before
    assert db.execute("select cad.undo_learn_weights('multi')").fetchone() == (1,)
    assert weights(db) == AS_IT_IS | {"version": 1}
    assert search(db, probe, 5) == before
    assert db.execute("select cad.undo_learn_weights('multi')").fetchone() == (1,)
    db.execute("update cad.fusion_weight set version = 2 where query_kind = 'multi'")
    assert search(db, probe, 5) == after
    assert learn(db)["version"] is None, "nothing is left to learn"


def test_weights_set_by_hand_are_a_version_too(db: Database) -> None:
    db.execute("update cad.fusion_weight set lexical = 0.75 where query_kind = 'text'")
    db.execute("update cad.fusion_weight set lexical = 0.75 where query_kind = 'text'")
    assert weights(db, "text")["version"] == 2
    [kept] = db.execute(
        "select text, lexical, source from cad.fusion_weight_version where query_kind = 'text' and version = 2"
    ).fetchall()
    assert kept == (1, 0.75, "set by hand")
    assert db.execute("select cad.undo_learn_weights('text')").fetchone() == (1,)
    assert weights(db, "text")["lexical"] == 0.5
    db.execute("insert into cad.fusion_weight (query_kind, text, image, shape, brep, fused, lexical, numbers, fit)"
               " values ('text', 1, 0, 0, 0, 0, 0.3, 0.25, 0)")  # fmt: skip
    assert weights(db, "text")["version"] == 3
    for wrong in ("lexical = -1", "text = 0, lexical = 0, numbers = 0"):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(f"update cad.fusion_weight set {wrong} where query_kind = 'text'")
    with pytest.raises(psycopg.IntegrityError):
        db.execute("update cad.fusion_weight set version = 9 where query_kind = 'text'")


def test_most_judges_decide(db: Database, parts: dict[str, str], rng: np.random.Generator) -> None:
    judge(db, parts, rng, 30, HIDDEN)
    db.execute(
        "insert into cad.feedback select 'somebody', question, model_id, false, judged_at, space, query_kind, words,"
        " like_id, encoder_version, by_view, text_vec, image_vec, shape_vec, brep_vec, fused_vec from cad.feedback"
        " limit 1"
    )
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="only 29 questions"):
        learn(db)


def test_texts_and_parts_are_asked_again_with_the_present_encoder(
    db: Database, parts: dict[str, str], scripted: ScriptedService
) -> None:
    """Judged by vectors that the encoder made before: those are left out, or nothing could be compared."""
    ids = list(parts.values())
    for number in range(30):
        db.execute("select cad.record_feedback(%s, %s)", [f"thing no {number}", ids[number]])
        db.execute("select cad.record_feedback(model_id => %s, like_id => %s)", [ids[number], ids[number + 1]])
        db.execute("select cad.record_feedback(model_id => %s, image => %s)", [ids[number], b"%d" % number])
    scripted.version = "scripted-2"
    db.execute("update cad.space set encoder_version = 'scripted-2'")
    db.execute("update cad.space_cad set encoder_version = 'scripted-2'")
    assert learn(db, "text")["questions"] == 30
    assert learn(db, "shape")["questions"] == 30
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="only 0 questions"):
        learn(db, "image")


def test_words_are_learned_with_the_scores_that_searches_have(db: Database, parts: dict[str, str]) -> None:
    """What is asked for is told by words alone: the vectors of this service mean nothing."""
    for number, part in list(parts.items())[:40]:
        db.execute("select cad.record_feedback(%s, %s)", [f"number {int(number[3:])}", part])
    db.execute("update cad.fusion_weight set text = 20 where query_kind = 'text'")
    learned = learn(db, "text")
    assert learned["version"] == 3
    assert learned["lexical"] > learned["text"]
    assert learned["r1"] > 0.9 > learned["r1_before"]


def test_without_the_service_nothing_is_learned(
    db: Database, parts: dict[str, str], rng: np.random.Generator, scripted: ScriptedService
) -> None:
    judge(db, parts, rng, 30, HIDDEN)
    scripted.close()
    with pytest.raises(psycopg.OperationalError) as refused:
        learn(db)
    assert refused.value.diag.sqlstate == "08001"


@pytest.mark.parametrize("call", ["learn_weights('sound')", "learn_weights(null)", "undo_learn_weights('sound')",
                                  "learn_weights('text', 'nowhere')"])  # fmt: skip
def test_unknown_kinds_and_spaces_are_refused(db: Database, call: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no") as refused:
        db.execute(f"select cad.{call}")
    assert "Known" in (refused.value.diag.message_hint or "")
