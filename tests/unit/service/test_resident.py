"""What the `resident_…` operations answer and refuse, without a socket between."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.service import resident
from pgcad.service.desk import Answer
from pgcad.service.inline import InlineBackend
from pgcad.service.resident import RESIDENT_OPERATIONS, ResidentSpaces
from service_doubles import dispatched

DIM = 4


@pytest.fixture
def spaces() -> ResidentSpaces:
    return ResidentSpaces(1 << 20, "cpu", 16)


def part(number: int) -> bytes:
    return number.to_bytes(16)


def vectors(*rows: list[float]) -> bytes:
    """As PostgreSQL sends them."""
    return np.array(rows, ">f2").tobytes()


def ask(spaces: ResidentSpaces, op: str, header: dict[str, Any], *payloads: bytes) -> Answer:
    return asyncio.run(RESIDENT_OPERATIONS[op]({"generation": "g", **header}, list(payloads), spaces))


def load(spaces: ResidentSpaces, *rows: list[float], **header: Any) -> None:
    begin = {"database": "d", "space": "s", "dim": DIM, "parts": len(rows), **header}
    ask(spaces, "resident_begin", begin)
    ids = b"".join(part(number) for number in range(len(rows)))
    ask(spaces, "resident_append", header, ids, vectors(*rows))
    assert ask(spaces, "resident_finish", header)[0] == {"parts": len(rows)}


def nearest(spaces: ResidentSpaces, *question: float, since: int = 0, count: int = 1) -> Answer:
    asked = np.array(question, "<f4").tobytes()
    return ask(spaces, "resident_nearest", {"since": since, "count": count}, asked)


def test_parts_come_with_a_bound_for_all_others(spaces: ResidentSpaces) -> None:
    load(spaces, [1, 0, 0, 0], [0, 2, 0, 0], [0, 1, 1, 0])
    answer, [parts, touched] = nearest(spaces, 0, 1, 0, 0, count=2)
    assert (parts, touched) == (part(1) + part(2), b"")
    assert answer["bounds"] == pytest.approx([0.5**0.5])
    answer, [parts, _] = nearest(spaces, 0, 1, 0, 0, count=9)
    assert (parts, answer["bounds"]) == (part(1) + part(2) + part(0), [-2.0])
    _, [parts, _] = nearest(spaces, 0, 1, 0, 0, 1, 0, 0, 0)
    assert parts == part(1) + part(0)


def test_who_does_not_see_a_change_hears_of_its_parts(spaces: ResidentSpaces) -> None:
    load(spaces, [1, 0, 0, 0], [0, 1, 0, 0])
    assert ask(spaces, "resident_change", {"after": 0}, part(0), vectors([0, 0, 1, 0]), part(1))[0]["changes"] == 1
    assert ask(spaces, "resident_change", {"after": 1}, part(7), vectors([0, 0, 1, 1]), b"")[0]["parts"] == 2
    assert nearest(spaces, 0, 0, 1, 0, since=2)[1] == [part(0), b""]
    assert nearest(spaces, 0, 0, 1, 0, since=1)[1] == [part(0), part(7)]
    assert nearest(spaces, 0, 0, 1, 0, since=0)[1] == [part(0), part(0) + part(1) + part(7)]
    assert ask(spaces, "resident_touched", {"since": 1}) == ({"changes": 2}, [part(7)])


def test_what_is_not_remembered_is_refused(spaces: ResidentSpaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "REMEMBERED_PARTS", 2)
    load(spaces, [1, 0, 0, 0])
    for number in range(3):
        ask(spaces, "resident_change", {"after": number}, part(number), vectors([0, 1, 0, 0]), b"")
    assert nearest(spaces, 0, 1, 0, 0, since=1)[1][1] == part(1) + part(2)
    with pytest.raises(CadError, match="changed too much") as refused:
        nearest(spaces, 0, 1, 0, 0, since=0)
    assert refused.value.sqlstate == "55000"


def test_a_change_after_another_than_the_last_is_refused(spaces: ResidentSpaces) -> None:
    load(spaces, [1, 0, 0, 0])
    with pytest.raises(CadError, match="others are changing") as refused:
        ask(spaces, "resident_change", {"after": 3}, part(0), vectors([0, 1, 0, 0]), b"")
    assert refused.value.sqlstate == "55006"
    assert nearest(spaces, 1, 0, 0, 0) == ({"bounds": [1.0]}, [part(0), b""])


def test_a_space_takes_the_place_of_its_former_self_alone(spaces: ResidentSpaces) -> None:
    for generation, database, space in (("a", "d", "s"), ("b", "d", "t"), ("c", "e", "s"), ("d", "d", "s")):
        load(spaces, [1, 0, 0, 0], generation=generation, database=database, space=space)
    assert [held["generation"] for held in spaces.health()["spaces"]] == ["b", "c", "d"]
    ask(spaces, "resident_drop", {"generation": "c"})
    ask(spaces, "resident_drop", {"generation": "c"})
    with pytest.raises(CadError, match="does not hold"):
        ask(spaces, "resident_touched", {"generation": "c", "since": 0})


def test_the_limit_is_for_all_spaces_together(spaces: ResidentSpaces) -> None:
    for generation in "abc":  # blocks of 1,024 rows of 32 bytes
        load(spaces, [1, 0, 0, 0], generation=generation, space=generation)
    with pytest.raises(CadError, match="do not fit") as refused:
        load(spaces, generation="d", space="d", parts=40_000)
    assert refused.value.sqlstate == "53400"
    assert "--resident-memory-mb 3 " in refused.value.hint
    load(spaces, *[[1.0, 0, 0, 0]] * 9, generation="d", space="d", parts=0)  # an estimate may be wrong
    header = {"generation": "e", "database": "d", "space": "e", "dim": DIM, "parts": 0}
    ask(spaces, "resident_begin", header)
    with pytest.raises(CadError, match="do not fit"):
        ids = b"".join(part(number) for number in range(40_000))
        ask(spaces, "resident_append", {"generation": "e"}, ids, vectors(*[[1.0, 0, 0, 0]] * 40_000))


def test_nobody_asks_a_space_that_is_still_coming(spaces: ResidentSpaces) -> None:
    ask(spaces, "resident_begin", {"database": "d", "space": "s", "dim": DIM, "parts": 0})
    with pytest.raises(CadError, match="does not hold"):
        nearest(spaces, 1, 0, 0, 0)


def test_inline_holds_nothing(backend: InlineBackend) -> None:
    with pytest.raises(CadError, match="not inline") as refused:
        dispatched.ask(backend, "resident_begin", {"space": "cad"})
    assert refused.value.sqlstate == "0A000"
    assert refused.value.hint
