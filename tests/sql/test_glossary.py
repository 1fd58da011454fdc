"""A Chinese question finds parts that are described in English by their words, with the glossary between."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import psycopg
import pytest
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]

GLOSSARY = Path(__file__).parents[2] / "python_udfs/pgcad/corpus/glossary.tsv"


def store(db: Database, **descriptions: str) -> None:
    for number, description in descriptions.items():
        db.execute(
            "insert into cad.model (part_number, name, description, kind, format, family, sha256)"
            " values (%s, %s, %s, 'part', 'step', 'any', sha256(%s))",
            [number, number, description, number.encode()],
        )
    db.execute("analyze cad.model")


def in_english(db: Database, query: str) -> list[str] | None:
    """The terms that a question is looked for by in English; synonyms are one."""
    [(spellings,)] = db.execute("select cad._english_spellings(%s)", [query]).fetchall()
    return None if spellings is None else list(spellings)


def test_the_shipped_terms_are_those_of_the_file(db: Database) -> None:
    with GLOSSARY.open(encoding="utf-8", newline="") as lines:
        terms = {
            (row["english"], chinese)
            for row in csv.DictReader(lines, delimiter="\t")
            for chinese in row["chinese"].split("|")
        }
    assert set(db.execute("select english, chinese from cad.glossary where shipped").fetchall()) == terms


@pytest.mark.parametrize(
    ("query", "words", "others"),
    [
        ("贴片钽电容", {"tantalum", "capacitor"}, {"ceramic"}),
        ("压敏电阻 10毫米", {"varistor", "10mm"}, {"resistor"}),  # the longest term: not 电阻 within it
        ("2乘10", set(), set()),
        ("电感 2乘10", {"inductor", "2x10"}, set()),
        ("JST 二极管 XH", {"jst", "xh", "diode"}, set()),
    ],
)
def test_terms_numbers_and_names_come_over(db: Database, query: str, words: set[str], others: set[str]) -> None:
    english = set(in_english(db, query) or [])
    assert words <= english
    assert not others & english


def test_synonyms_are_one_term(db: Database, scripted: ScriptedService) -> None:
    """A part that is called by one of them is found as well as one that is called by all."""
    [synonyms] = in_english(db, "贴片") or []
    assert {"smd", "smt", "mount&surface"} <= set(synonyms.split(" "))
    store(db, P1="SMD fuse", P2="surface mount fuse, SMT, SMD", P3="fuse with a mount")
    scripted.close()
    hits = dict(db.execute("select part_number, lexical_score from cad.search_cad('贴片 保险丝', 3)").fetchall())
    assert hits["P1"] == hits["P2"]
    assert hits["P3"] < hits["P1"]


@pytest.mark.parametrize("query", ["M8 flange bolt", "魑魅魍魉", ""])
def test_what_the_glossary_does_not_know_stays(db: Database, query: str) -> None:
    assert in_english(db, query) is None


def test_words_of_the_other_language_are_found(db: Database, scripted: ScriptedService) -> None:
    store(
        db, P1="SMD tantalum capacitor, case A", P2="SMD ceramic capacitor 0603", P3="disc varistor", P4="power relay"
    )
    scripted.close()  # by words alone
    for query, best in (("贴片钽电容", "P1"), ("压敏电阻", "P3"), ("功率继电器", "P4")):
        [(found, *_), *_] = db.execute("select part_number from cad.search_cad(%s, 4)", [query]).fetchall()
        assert found == best


def test_a_term_of_ones_own_counts_at_once(db: Database, scripted: ScriptedService) -> None:
    store(db, P1="grease nipple, M6", P2="grommet, rubber")
    scripted.close()
    assert in_english(db, "黄油嘴") is None
    db.execute("insert into cad.glossary (english, chinese) values ('grease nipple', '黄油嘴')")
    assert db.execute("select part_number from cad.search_cad('黄油嘴', 1)").fetchall() == [("P1",)]
    explained = "select detail -> 'in_english' from cad.explain_search('黄油嘴') where stage = 'encode'"
    [(terms,)] = db.execute(explained).fetchall()
    assert set(terms) == {"'grease'", "'nipple'"}
