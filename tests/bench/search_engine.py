"""Searches by vector with and without filters, beside what one would do without pgcad, in one run over the same parts.

    python tests/bench/search_engine.py --dsn DSN --parts 100000 --output docs/results/engine/100k

DSN is a superuser's in an empty database that has pgcad. The vectors are drawn from the model of `vector_model.py`;
half of the questions are parts, half are captions. Every part has a mass drawn evenly from 0 to 1 kg, so a filter on it
lets through as many as it says, whatever is asked. Both sides have an index on the mass.

- pgcad: `cad.search_cad_vector` against the fused vectors, as the others compare them, after `cad.tune`, whole, without
  the cache; *vector* is the stages of it that find the candidates, as `cad.explain_search` tells.
- naive: one HNSW index with pgvector's defaults on vector(512), read by order and filtered behind, with as large an
  ef_search as it takes.
- compared: the same table without that index: filter, then compare what is left.

Truth is exact search over the same numbers. Each setting is asked all questions in a random order among the others, a
few rounds. A naive setting counts where it finds at least what pgcad finds, less a thousandth.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import report
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb
from vector_model import VectorModel, Vectors, nearest

Database = psycopg.Connection[tuple[Any, ...]]

FIRST = 10
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001, 0.0001)
EF_SEARCH = (40, 100, 200, 400, 1000)
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
SECONDS = 20
NEAREST = Jsonb({"against": "fused"})
SEARCH = """
select model_id
from cad.search_cad_vector('cad', %(vector)s, %(first)s, filters => %(filters)s, options => %(options)s)
"""
EXPLAIN = """
select sum(elapsed_ms) filter (where stage not in ('check', 'encode', 'plan', 'rerank')),
    max(detail ->> 'strategy') filter (where stage = 'plan')
from cad.explain_search(v => %(vector)s, k => %(first)s, filters => %(filters)s, options => %(options)s)
"""
NAIVE = "select id from pgcad_bench.naive where mass_kg < %(share)s order by vec <=> %(vector)s limit %(first)s"
CONCURRENT = """\\set n random(1, {count})
select vec from pgcad_bench.question where id = :n \\gset
select count(*) from cad.search_cad_vector('cad', ':vec', 10, options => '{{"against": "fused"}}');
"""


@dataclass
class Setting:
    """One way to ask under one filter, and what came of it."""

    side: str
    share: float
    ef_search: int = 0
    times_ms: list[float] = field(default_factory=list)
    vector_ms: list[float] = field(default_factory=list)
    recall: float = 0.0
    fewest: int = FIRST
    strategies: set[str] = field(default_factory=set)

    def summary(self) -> dict[str, Any]:
        """What is kept of it."""
        kept: dict[str, Any] = {"side": self.side, "share": self.share, "recall": round(self.recall, 4)}
        kept |= {"fewest": self.fewest, **_percentiles(self.times_ms)}
        if self.vector_ms:
            kept |= {"vector": _percentiles(self.vector_ms), "strategies": sorted(self.strategies)}
        return kept | ({"ef_search": self.ef_search} if self.ef_search else {})


def _percentiles(times_ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times_ms, n=20, method="inclusive")
    return {"mean_ms": round(statistics.mean(times_ms), 3), "p50_ms": round(cuts[9], 3), "p95_ms": round(cuts[-1], 3)}


def identity(number: int) -> uuid.UUID:
    """The model_id of a part."""
    return uuid.UUID(int=number + 1)


def load(db: Database, vectors: Vectors, masses: NDArray[np.float64]) -> float:
    """Fill both sides; seconds of pgcad's, with its index standing, as a bulk load meets it."""
    if db.execute("select exists (select from cad.model)").fetchone() != (False,):
        raise SystemExit("the database holds parts: give the connection string of an empty one")
    db.execute("update cad.space set encoder_version = 'drawn' where name = 'cad'")
    started = time.perf_counter()
    with db.cursor().copy(
        "copy cad.model (model_id, name, sha256, format, kind, family, mass_kg) from stdin with (format binary)"
    ) as copy:
        copy.set_types(["uuid", "text", "bytea", "text", "text", "text", "float8"])
        for number, mass in enumerate(masses.tolist()):
            digest = hashlib.sha256(str(number).encode()).digest()
            copy.write_row([identity(number), f"part {number}", digest, "step", "part", "drawn", mass])
    columns = "model_id, family, text_vec, image_vec, shape_vec, fused_vec, encoder_version"
    with db.cursor().copy(f"copy cad.space_cad ({columns}) from stdin with (format binary)") as copy:
        copy.set_types(["uuid", "text", *["halfvec"] * 4, "text"])
        for number, vector in enumerate(vectors):
            copy.write_row([identity(number), "drawn", *[HalfVector(vector)] * 4, "drawn"])
    loaded_s = time.perf_counter() - started
    db.execute("create schema pgcad_bench")
    db.execute("create table pgcad_bench.naive (id bigint, mass_kg float8, vec vector(512))")
    with db.cursor().copy("copy pgcad_bench.naive from stdin with (format binary)") as copy:
        copy.set_types(["int8", "float8", "vector"])
        for number, (mass, vector) in enumerate(zip(masses.tolist(), vectors, strict=True)):
            copy.write_row([number, mass, Vector(vector)])
    db.execute("create index on pgcad_bench.naive (mass_kg)")
    db.execute("create index naive_vec on pgcad_bench.naive using hnsw (vec vector_cosine_ops)")
    for table in ("cad.model", "cad.space_cad", "pgcad_bench.naive"):
        db.execute(f"vacuum analyze {table}")
    return loaded_s


def truth(questions: Vectors, vectors: Vectors, masses: NDArray[np.float64], share: float) -> list[set[int]]:
    """Numbers of the parts nearest to each question among those that the filter lets through."""
    matching = np.flatnonzero(masses < share)
    if len(matching) <= FIRST:
        return [set(matching.tolist())] * len(questions)
    found, _ = nearest(questions, vectors[matching], FIRST)
    return [set(matching[row].tolist()) for row in found]


def ask(db: Database, setting: Setting, question: NDArray[np.float32]) -> set[int]:
    """One question in one setting, timed."""
    if setting.side == "pgcad":
        filters = {} if setting.share == 1 else {"mass_kg": {"max": setting.share}}
        given = {"vector": Vector(question), "first": FIRST, "filters": Jsonb(filters), "options": NEAREST}
        started = time.perf_counter()
        rows = db.execute(SEARCH, given).fetchall()
        setting.times_ms.append(1000 * (time.perf_counter() - started))
        [(vector_ms, strategy)] = db.execute(EXPLAIN, given).fetchall()
        setting.vector_ms.append(vector_ms)
        setting.strategies.add(strategy)
        return {part.int - 1 for (part,) in rows}
    started = time.perf_counter()
    rows = db.execute(NAIVE, {"vector": Vector(question), "first": FIRST, "share": setting.share}).fetchall()
    setting.times_ms.append(1000 * (time.perf_counter() - started))
    return {number for (number,) in rows}


def prepare(db: Database, setting: Setting) -> None:
    """Planner settings under which the server does what the side is about."""
    naive = setting.side == "naive"
    db.execute(f"set enable_sort = {'off' if naive else 'on'}")
    db.execute(f"set hnsw.ef_search = {setting.ef_search or 40}")
    if setting.side != "pgcad":  # an index that is not valid is not read
        db.execute("update pg_index set indisvalid = %s where indexrelid = 'pgcad_bench.naive_vec'::regclass", [naive])


def measure(
    db: Database, questions: Vectors, truths: dict[float, list[set[int]]], rounds: int, chance: np.random.Generator
) -> list[Setting]:
    """Every setting, asked in rounds of random order after one that only warms up."""
    settings = [Setting("pgcad", share) for share in truths]
    settings += [Setting("naive", share, ef) for share in truths for ef in EF_SEARCH]
    settings += [Setting("compared", share) for share in truths]
    for number in range(rounds + 1):
        for place in chance.permutation(len(settings)):
            setting = settings[place]
            prepare(db, setting)
            found = [ask(db, setting, question) for question in questions]
            if number == 0:
                right = truths[setting.share]
                hits = sum(len(some & true) for some, true in zip(found, right, strict=True))
                setting.recall = hits / sum(map(len, right))
                setting.fewest = min(map(len, found))
                setting.times_ms, setting.vector_ms = [], []
    return settings


def concurrent(dsn: str, questions: Vectors, cache: str) -> list[dict[str, float]]:
    """Searches per second and mean latency of pgbench with more and more clients."""
    with psycopg.connect(dsn, autocommit=True) as db:
        register_vector(db)
        db.execute("drop table if exists pgcad_bench.question")
        db.execute("create table pgcad_bench.question (id int primary key, vec vector(512))")
        with db.cursor() as cursor:
            rows = [(number, Vector(question)) for number, question in enumerate(questions, 1)]
            cursor.executemany("insert into pgcad_bench.question values (%s, %s)", rows)
        [(folder,)] = db.execute("select setting from pg_config where name = 'BINDIR'").fetchall()
    measured = []
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(f"set pgcad.cache = {cache};\n" + CONCURRENT.format(count=len(questions)))
        script.flush()
        for clients in CLIENTS:
            command = [f"{folder}/pgbench", "-n", "-f", script.name, "-c", str(clients), "-j", "2"]
            done = subprocess.run(
                [*command, "-T", str(SECONDS), dsn], check=True, capture_output=True, text=True
            ).stdout.splitlines()
            told = {line.split(" = ")[0]: line.split(" = ")[1] for line in done if " = " in line}
            failed = next(line.split(": ")[1].split()[0] for line in done if line.startswith("number of failed"))
            measured.append(
                {
                    "clients": clients,
                    "per_second": round(float(told["tps"].split()[0]), 1),
                    "mean_ms": round(float(told["latency average"].split()[0]), 2),
                    "failed": int(failed),
                }
            )
    return measured


def rival(settings: list[Setting], ours: Setting) -> Setting | None:
    """The quickest of the other ways that finds as much as pgcad."""
    able = [s for s in settings if s.side != "pgcad" and s.share == ours.share and s.recall >= ours.recall - 0.001]
    return min(able, key=lambda s: statistics.mean(s.times_ms), default=None)


def table(result: dict[str, Any], settings: list[Setting]) -> Iterator[str]:
    """The result for readers."""
    yield f"# Searches by vector over {result['parts']:,} parts\n"
    yield f"{result['questions']} questions, half parts, half captions; the first ten. Times in ms. Made by:\n"
    yield f"    {result['command']}\n"
    yield (
        "| lets through | recall | how | vector p50 | p95 | search p50 | p95 | fewest hits | best other way | recall |"
        " p50 | its mean / vector | its mean / search |"
    )
    yield "|---" * 13 + "|"
    for ours in (s for s in settings if s.side == "pgcad"):
        vector, whole = _percentiles(ours.vector_ms), _percentiles(ours.times_ms)
        cells = [f"{ours.share:.2%}", f"{ours.recall:.3f}", ", ".join(sorted(ours.strategies))]
        cells += [f"{of[key]:.2f}" for of in (vector, whole) for key in ("p50_ms", "p95_ms")]
        cells.append(str(ours.fewest))
        other = rival(settings, ours)
        if other:
            theirs = _percentiles(other.times_ms)
            cells += [f"{other.side} {other.ef_search or ''}".strip(), f"{other.recall:.3f}", f"{theirs['p50_ms']:.2f}"]
            cells += [f"{theirs['mean_ms'] / of['mean_ms']:.2f}" for of in (vector, whole)]
        yield "| " + " | ".join(cells) + " |"
    yield "\nWhere the naive index returns too little: hits of the worst question, and recall, by ef_search.\n"
    yield "| lets through | " + " | ".join(map(str, EF_SEARCH)) + " |\n" + "|---" * (len(EF_SEARCH) + 1) + "|"
    for share in SHARES:
        cells = [f"{s.fewest}, {s.recall:.3f}" for s in settings if s.side == "naive" and s.share == share]
        if cells:
            yield f"| {share:.2%} | " + " | ".join(cells) + " |"
    for name in ("searched", "kept"):
        yield f"\nClients at once, {'every search made anew' if name == 'searched' else 'from the cache'}:\n"
        yield "| clients | searches/s | mean ms | failed |\n|---|---|---|---|"
        for row in result["concurrent"][name]:
            yield f"| {row['clients']} | {row['per_second']} | {row['mean_ms']} | {row['failed']} |"
    yield f"\nLoaded in {result['load_s']} s into a standing index; tuned in {result['tune_s']} s."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--output", type=Path, required=True, help="folder of engine.json and engine.md")
    arguments = parser.parse_args()

    model, chance = VectorModel.load(), np.random.default_rng(arguments.seed)
    vectors = np.concatenate(list(model.parts.draw(arguments.parts, chance)))
    masses = chance.random(arguments.parts)
    half = arguments.questions // 2
    questions = np.concatenate([*model.parts.draw(half, chance), *model.questions.draw(half, chance)])
    shares = [share for share in SHARES if share * arguments.parts >= FIRST]
    truths = {share: truth(questions, vectors, masses, share) for share in shares}
    with psycopg.connect(arguments.dsn, autocommit=True) as db:
        register_vector(db)
        db.execute("set maintenance_work_mem = '4GB'")
        db.execute("set max_parallel_maintenance_workers = 0")  # with several, pgvector before 0.8.2 may overflow
        db.execute("set jit = off")
        load_s = load(db, vectors, masses)
        del vectors
        started = time.perf_counter()
        db.execute("call cad.tune('cad', 0.98)")
        tune_s = time.perf_counter() - started
        db.execute("set pgcad.cache = off")
        settings = measure(db, questions, truths, arguments.rounds, chance)
        tuned = db.execute(
            "select kind, setting, recall, p50_ms, cost_parts from cad.tuned_scan where chosen"
        ).fetchall()
    result = {
        **report.circumstances(arguments.dsn),
        "parts": arguments.parts, "questions": len(questions), "seed": arguments.seed, "encoder": model.version,
        "load_s": round(load_s, 1), "tune_s": round(tune_s, 1), "tuned": tuned,
        "settings": [setting.summary() for setting in settings],
        "concurrent": {
            "searched": concurrent(arguments.dsn, questions, "off"), "kept": concurrent(arguments.dsn, questions, "on"),
        },
    }  # fmt: skip
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "engine.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.output / "engine.md").write_text("\n".join(table(result, settings)) + "\n")
    print("\n".join(table(result, settings)))


if __name__ == "__main__":
    main()
