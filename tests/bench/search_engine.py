"""Searches by vector with and without filters, beside what one would do without pgcad, in one run over the same parts.

    python tests/bench/search_engine.py --dsn "$(make -s dsn)" --parts 100000 --output docs/results/engine/100k

DSN is a superuser's; the run makes a database of its own in that cluster and drops it afterwards. Parts, questions and
filters are those of `drawn_parts.py`. Both sides have an index on the mass.

- pgcad: `cad.search_cad_vector` against the fused vectors, as the others compare them, with the index of a profile, and
  after `cad.tune` with other questions of the same kind, whole, without the cache; *vector* is the stages of it that
  find the candidates, as `cad.explain_search` tells.
- naive: one HNSW index with pgvector's defaults on vector(512), read by order and filtered behind, with as large an
  ef_search as it takes.
- compared: the same table by its index on the mass alone: filter, then compare what is left.
- sequential: the same table without any index: read all, filter and compare.

Truth is exact search over the same numbers. Each setting is asked all questions in a random order among the others, a
few rounds. A naive setting counts where it finds at least what pgcad finds, less a thousandth; the exact sides are told
apart from it. `--alone` leaves the others out: exact scans of a million parts take hours. With clients at once, the
first intervals are left out, the more the more clients there are: in them each connection makes its plans and meets the
pages of the shared memory for the first time; what the first call of a connection takes is told by itself. Where
PgBouncer is installed, the same clients ask through it, too, as they do where there are many.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pgcad_parts
import report
from drawn_parts import DrawnParts, draw_questions, recall
from numpy.typing import NDArray
from percentiles import percentiles
from pgvector import Vector
from pooler import CONNECTIONS, pooled
from scratch_database import Database, connect, scratch_database
from vector_model import VectorModel, Vectors

FIRST = 10
VECTORS = ("text_vec", "image_vec", "shape_vec", "fused_vec")
ADDED = 2000
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001, 0.0001)
EF_SEARCH = (40, 100, 200, 400, 1000)
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
EXACT = ("compared", "sequential")
INTERVAL_S = 5
FIRST_INTERVALS = 2
CLIENTS_PER_INTERVAL = 8  # for so many more, one more interval is left out
INTERVALS = 4  # that count
FRESH_CONNECTIONS = 20
NAIVE = "select id from pgcad_bench.naive where mass_kg < %(share)s order by vec <=> %(vector)s limit %(first)s"
AT_ONCE = {
    "searched": "every search made anew", "kept": "from the cache",
    "pooled": f"every search made anew, through PgBouncer, which has {CONNECTIONS} connections",
}  # fmt: skip
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
        kept |= {"fewest": self.fewest, **percentiles(self.times_ms)}
        if self.vector_ms:
            kept |= {"vector": percentiles(self.vector_ms), "strategies": sorted(self.strategies)}
        return kept | ({"ef_search": self.ef_search} if self.ef_search else {})


def load(db: Database, parts: DrawnParts, profile: str) -> dict[str, float]:
    """Fill pgcad, without an index on the vectors, and then make that of a profile; seconds."""
    db.execute("select cad.drop_index('cad', 'hnsw')")
    started = time.perf_counter()
    pgcad_parts.load(db, parts, VECTORS)
    loaded = time.perf_counter()
    db.execute("call cad.use_profile('cad', %s)", [profile])
    indexed = time.perf_counter()
    for table in ("cad.model", "cad.space_cad"):
        db.execute(f"vacuum analyze {table}")
    return {"load_s": round(loaded - started, 1), "index_s": round(indexed - loaded, 1)}


def added_ms(db: Database, model: VectorModel, first: int, chance: np.random.Generator) -> float:
    """What it takes to add a part to those that there are, index and all."""
    more = DrawnParts.draw(model, ADDED, chance)
    started = time.perf_counter()
    pgcad_parts.load(db, more, VECTORS, first)
    return round(1000 * (time.perf_counter() - started) / ADDED, 2)


def load_naive(db: Database, parts: DrawnParts) -> None:
    """Fill the other side."""
    db.execute("create table pgcad_bench.naive (id bigint, mass_kg float8, vec vector(512))")
    with db.cursor().copy("copy pgcad_bench.naive from stdin with (format binary)") as copy:
        copy.set_types(["int8", "float8", "vector"])
        for number, (mass, vector) in enumerate(zip(parts.masses.tolist(), parts.vectors, strict=True)):
            copy.write_row([number, mass, Vector(vector)])
    db.execute("create index on pgcad_bench.naive (mass_kg)")
    db.execute("create index naive_vec on pgcad_bench.naive using hnsw (vec vector_cosine_ops)")
    db.execute("vacuum analyze pgcad_bench.naive")


def ask(db: Database, setting: Setting, question: NDArray[np.float32]) -> set[int]:
    """One question in one setting, timed."""
    if setting.side == "pgcad":
        given = pgcad_parts.question(question, setting.share, FIRST)
        started = time.perf_counter()
        rows = db.execute(pgcad_parts.SEARCH, given).fetchall()
        setting.times_ms.append(1000 * (time.perf_counter() - started))
        return {part.int - 1 for (part,) in rows}
    started = time.perf_counter()
    rows = db.execute(NAIVE, {"vector": Vector(question), "first": FIRST, "share": setting.share}).fetchall()
    setting.times_ms.append(1000 * (time.perf_counter() - started))
    return {number for (number,) in rows}


def explain(db: Database, setting: Setting, question: NDArray[np.float32]) -> None:
    """How pgcad answers a question, and the time of its search by vector."""
    given = pgcad_parts.question(question, setting.share, FIRST)
    [(vector_ms, strategy)] = db.execute(pgcad_parts.EXPLAIN, given).fetchall()
    setting.vector_ms.append(vector_ms)
    setting.strategies.add(strategy)


def prepare(db: Database, setting: Setting) -> None:
    """Planner settings under which the server does what the side is about."""
    naive = setting.side == "naive"
    db.execute(f"set enable_sort = {'off' if naive else 'on'}")
    for scan in ("indexscan", "bitmapscan"):
        db.execute(f"set enable_{scan} = {'off' if setting.side == 'sequential' else 'on'}")
    db.execute(f"set hnsw.ef_search = {setting.ef_search or 40}")
    if setting.side != "pgcad":  # an index that is not valid is not read
        db.execute("update pg_index set indisvalid = %s where indexrelid = 'pgcad_bench.naive_vec'::regclass", [naive])


def settings_for(shares: Sequence[float], alone: bool) -> list[Setting]:
    """What is measured under filters that let through so much."""
    settings = [Setting("pgcad", share) for share in shares]
    if not alone:
        settings += [Setting("naive", share, ef) for share in shares for ef in EF_SEARCH]
        settings += [Setting(side, share) for side in EXACT for share in shares]
    return settings


def measure(
    db: Database, settings: list[Setting], questions: Vectors, truths: dict[float, list[set[int]]], rounds: int,
    chance: np.random.Generator,
) -> None:  # fmt: skip
    """Every setting, asked in rounds of random order after one that only warms up."""
    for number in range(rounds + 1):
        for place in chance.permutation(len(settings)):
            setting = settings[place]
            prepare(db, setting)
            found = [ask(db, setting, question) for question in questions]
            if setting.side == "pgcad":  # afterwards: what was just asked lies in the caches of the processor
                for question in questions:
                    explain(db, setting, question)
            if number == 0:
                setting.recall = recall(found, truths[setting.share])
                setting.fewest = min(map(len, found))
                setting.times_ms, setting.vector_ms = [], []


def first_calls(dsn: str, questions: Vectors) -> dict[str, float]:
    """Latency of the first search of fresh connections, without connecting."""
    times_ms = []
    for question in questions[:FRESH_CONNECTIONS]:
        with connect(dsn) as db:
            db.execute("set pgcad.cache = off")
            started = time.perf_counter()
            db.execute(pgcad_parts.SEARCH, pgcad_parts.question(question, 1.0, FIRST)).fetchall()
            times_ms.append(1000 * (time.perf_counter() - started))
    return percentiles(times_ms)


def steady(progress: str, first_intervals: int) -> dict[str, float]:
    """Searches per second and mean latency of what pgbench tells of its intervals, the first ones left out.

    A line is `progress: 5.0 s, 310.2 tps, lat 3.221 ms stddev 0.432, 0 failed`.
    """
    told = re.findall(r"^progress: \S+ s, (\S+) tps, lat (\S+) ms .*?(\d+) failed", progress, re.M)
    if len(told) <= first_intervals:
        raise ValueError(f"pgbench told of no interval behind the first {first_intervals}:\n{progress}")
    rates, times_ms, failed = zip(*([float(number) for number in line] for line in told[first_intervals:]), strict=True)
    searches = [rate * INTERVAL_S for rate in rates]
    mean_ms = sum(np.multiply(searches, times_ms)) / sum(searches) if any(searches) else float("nan")
    return {
        "per_second": round(statistics.mean(rates), 1), "mean_ms": round(mean_ms, 2), "failed": int(sum(failed)),
    }  # fmt: skip


def store(dsn: str, questions: Vectors) -> str:
    """Questions where pgbench finds them; the folder of pgbench."""
    with connect(dsn) as db:
        db.execute("create table pgcad_bench.question (id int primary key, vec vector(512))")
        with db.cursor() as cursor:
            rows = [(number, Vector(question)) for number, question in enumerate(questions, 1)]
            cursor.executemany("insert into pgcad_bench.question values (%s, %s)", rows)
        [(folder,)] = db.execute("select setting from pg_config where name = 'BINDIR'").fetchall()
    return str(folder)


def concurrent(
    dsn: str, folder: str, count: int, cache: str, connections: int = max(CLIENTS)
) -> list[dict[str, float]]:
    """What pgbench of `folder` measures with more and more clients, at most so many of them connected at once."""
    measured = []
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(f"set pgcad.cache = {cache};\n" + CONCURRENT.format(count=count))
        script.flush()
        for clients in CLIENTS:
            first_intervals = FIRST_INTERVALS + min(clients, connections) // CLIENTS_PER_INTERVAL
            seconds = INTERVAL_S * (first_intervals + INTERVALS)
            command = [f"{folder}/pgbench", "-n", "-f", script.name, "-c", str(clients), "-j", "2", "-T", str(seconds)]
            done = subprocess.run(
                [*command, f"--progress={INTERVAL_S}", dsn], check=True, capture_output=True, text=True
            ).stderr
            measured.append({"clients": clients, **steady(done, first_intervals)})
    return measured


def rival(settings: Sequence[Setting], ours: Setting) -> Setting | None:
    """The quickest naive setting that finds as much as pgcad."""
    able = [s for s in settings if s.side == "naive" and s.share == ours.share and s.recall >= ours.recall - 0.001]
    return min(able, key=lambda s: statistics.mean(s.times_ms), default=None)


def _beside(ours: Setting, other: Setting | None) -> str:
    if other is None:
        return "does not find as much"
    mean_ms = statistics.mean(other.times_ms)
    ratios = ", ".join(f"{mean_ms / statistics.mean(times_ms):.2f}" for times_ms in (ours.vector_ms, ours.times_ms))
    how = f" (ef_search {other.ef_search}, {other.recall:.3f})" if other.ef_search else ""
    return f"{mean_ms:.2f} ms{how}: {ratios}"


def table(result: dict[str, Any], settings: list[Setting]) -> Iterator[str]:
    """The result for readers."""
    yield f"# Searches by vector over {result['parts']:,} parts\n"
    yield f"{result['questions']} questions, half parts, half captions; the first ten. Times in ms. Made by:\n"
    yield f"    {result['command']}\n"
    yield "| lets through | recall | how | vector p50 | p95 | search p50 | p95 | fewest hits |\n" + "|---" * 8 + "|"
    asked = [s for s in settings if s.side == "pgcad"]
    for ours in asked:
        cells = [f"{ours.share:.2%}", f"{ours.recall:.3f}", ", ".join(sorted(ours.strategies))]
        for of in (percentiles(ours.vector_ms), percentiles(ours.times_ms)):
            cells += [f"{of[key]:.2f}" for key in ("p50_ms", "p95_ms")]
        yield "| " + " | ".join([*cells, str(ours.fewest)]) + " |"
    if len(asked) < len(settings):
        yield from _others(settings, asked)
    for name, rows in result["concurrent"].items():
        yield f"\nClients at once, {AT_ONCE[name]}:\n"
        yield "| clients | searches/s | mean ms | failed |\n|---|---|---|---|"
        for row in rows:
            yield f"| {row['clients']} | {row['per_second']} | {row['mean_ms']} | {row['failed']} |"
    fresh = result["first_call"]
    yield f"\nFirst call of a connection: p50 {fresh['p50_ms']:.1f} ms, p95 {fresh['p95_ms']:.1f} ms."
    for kind, parameters, size_mb in result["indexes"]:
        yield f"\nIndex {kind} with {', '.join(parameters)}: {size_mb:,} MB."
    yield f"\nLoaded in {result['load_s']} s, indexed in {result['index_s']} s, tuned in {result['tune_s']} s."
    yield f"\nA part more, into the standing index: {result['added_ms']} ms."


def _others(settings: list[Setting], asked: list[Setting]) -> Iterator[str]:
    yield "\nThe mean time of other ways, and how many times that of pgcad's vector stage and whole search it is:\n"
    yield "| lets through | naive, of equal recall | compared | sequential |\n|---|---|---|---|"
    for ours in asked:
        exact = [next(s for s in settings if s.side == side and s.share == ours.share) for side in EXACT]
        cells = [_beside(ours, other) for other in (rival(settings, ours), *exact)]
        yield f"| {ours.share:.2%} | " + " | ".join(cells) + " |"
    yield "\nWhere the naive index returns too little: hits of the worst question, and recall, by ef_search.\n"
    yield "| lets through | " + " | ".join(map(str, EF_SEARCH)) + " |\n" + "|---" * (len(EF_SEARCH) + 1) + "|"
    for share in SHARES:
        cells = [f"{s.fewest}, {s.recall:.3f}" for s in settings if s.side == "naive" and s.share == share]
        if cells:
            yield f"| {share:.2%} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--alone", action="store_true", help="pgcad alone")
    parser.add_argument("--profile", default="fast", help="profile of the index (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder of engine.json and engine.md")
    arguments = parser.parse_args()

    model, chance = VectorModel.load(), np.random.default_rng(arguments.seed)
    parts = DrawnParts.draw(model, arguments.parts, chance)
    questions = draw_questions(model, arguments.questions, chance)
    truths = {share: parts.nearest(questions, share, FIRST) for share in SHARES if share * arguments.parts >= FIRST}
    with scratch_database(arguments.dsn, "pgcad_bench") as dsn:
        with connect(dsn) as db:
            db.execute("set maintenance_work_mem = '4GB'")
            db.execute("set max_parallel_maintenance_workers = 0")  # with several, pgvector before 0.8.2 may overflow
            db.execute("create schema pgcad_bench")
            load_times = load(db, parts, arguments.profile)
            if not arguments.alone:
                load_naive(db, parts)
            del parts
            pgcad_parts.log_questions(db, draw_questions(model, pgcad_parts.TUNED_WITH, chance), FIRST)
            started = time.perf_counter()
            db.execute("call cad.tune('cad', 0.98)")
            tune_s = time.perf_counter() - started
            db.execute("set pgcad.cache = off")
            settings = settings_for(list(truths), arguments.alone)
            measure(db, settings, questions, truths, arguments.rounds, chance)
            indexes = db.execute(
                "select kind, parameters, round(size_bytes / 1e6, 1)::float8 from cad.index_health where space = 'cad'"
            ).fetchall()
            tuned = db.execute(
                "select t.question_source, s.kind, s.setting, s.recall, s.p50_ms, s.cost_parts"
                " from cad.tuned_scan as s inner join cad.tuning as t on t.space = s.space and t.version = s.version"
                " where s.chosen"
            ).fetchall()
        fresh = first_calls(dsn, questions)
        folder = store(dsn, questions)
        at_once = {
            "searched": concurrent(dsn, folder, len(questions), "off"),
            "kept": concurrent(dsn, folder, len(questions), "on"),
        }
        with pooled(dsn) as through:
            if through is not None:
                at_once["pooled"] = concurrent(through, folder, len(questions), "off", CONNECTIONS)
        with connect(dsn) as db:
            took_ms = added_ms(db, model, arguments.parts, chance)
    result = {
        **report.circumstances(arguments.dsn),
        "parts": arguments.parts, "questions": len(questions), "seed": arguments.seed, "encoder": model.version,
        **load_times, "added_ms": took_ms, "indexes": indexes, "tune_s": round(tune_s, 1), "tuned": tuned,
        "settings": [setting.summary() for setting in settings],
        "first_call": fresh, "concurrent": at_once,
    }  # fmt: skip
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "engine.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.output / "engine.md").write_text("\n".join(table(result, settings)) + "\n")
    print("\n".join(table(result, settings)))


if __name__ == "__main__":
    main()
