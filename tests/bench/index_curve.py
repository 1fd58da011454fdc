"""Recall against speed of the index profiles, beside what one would do without them: one pgvector HNSW index.

    python tests/bench/index_curve.py --dsn "$(make -s dsn)" --parts 100000 --output docs/results/index/100k

The vectors are drawn from the model of `vector_model.py`; half of the questions are parts, half are captions. The
naive side is `order by vec <=> $1 limit 10` over vector(512) and an index with pgvector's defaults. A profile is what
`cad.use_profile` makes, over halfvec(512), with the expressions that searches read it by: where it indexes the first
dimensions, the whole vectors of the candidates are compared. Truth is exact search over the same numbers.

Indexes are built one after the other with the same memory and workers. Then every setting is asked the same questions,
in an order drawn anew in each round, so a slow minute of the machine hits all of them; the median of the rounds' means
counts. What is compared is speed at one recall, interpolated on each curve.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import report
from drawn_parts import draw_questions
from front import front, ms_at
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from vector_model import VectorModel, Vectors, nearest

Database = psycopg.Connection[tuple[Any, ...]]

SCHEMA = "pgcad_bench"
FIRST = 10
PROFILES = ("growing", "fast", "compact")
SETTINGS = {
    "hnsw.ef_search": (40, 60, 80, 100, 140, 200, 280, 400, 600, 1000),
    "ivfflat.probes": (2, 3, 4, 6, 8, 10, 14, 20, 28, 40),
}
RECALLS = ("0.95", "0.98", "0.99")


@dataclass(frozen=True)
class Variant:
    """A table of vectors, its index, and the query that reads it; `depths`: candidates that are compared whole."""

    name: str
    vector: type[Vector] | type[HalfVector]
    type: str
    index: str
    query: str
    setting: str = "hnsw.ef_search"
    depths: tuple[int, ...] = (0,)

    @property
    def table(self) -> str:
        return f"{SCHEMA}.{self.name}"


@dataclass
class Point:
    """One setting of a variant: recall of the first ten, and the mean time of a question in each round."""

    variant: str
    depth: int
    setting: int
    recall: float = 0.0
    means_ms: list[float] = field(default_factory=list)
    p95_ms: float = 0.0

    @property
    def mean_ms(self) -> float:
        return statistics.median(self.means_ms)


def variants(db: Database, parts: int) -> list[Variant]:
    """The naive side and the profiles of this version of pgcad, as its own functions describe them."""
    naive = Variant(
        "naive", Vector, "vector(512)", "hnsw (vec vector_cosine_ops)",
        f"select id from {SCHEMA}.naive order by vec <=> %(vector)s limit {FIRST}",
    )  # fmt: skip
    return [naive, *(_profile(db, profile, parts) for profile in PROFILES)]


def _profile(db: Database, profile: str, parts: int) -> Variant:
    [(method, operators, indexed, nearness, parameters)] = db.execute(
        "select k.method, k.operator_class, format(k.indexed, i.dim, i.dim + 1), cad._nearness(k.kind, i.dim),"
        " i.parameters - 'dim'"
        " from jsonb_each(cad._profile(%s)) as p inner join cad._index_kind() as k on k.kind = p.key"
        " cross join lateral ("
        "   select sized as parameters, coalesce((sized -> 'dim')::int, 512) as dim"
        "   from cad._sized(k.kind, cad._index_parameters(k.kind, p.value, 512), %s) as sized"
        " ) as i",
        [profile, parts],
    ).fetchall()
    nearness = nearness.replace("s.fused_vec", "vec").replace("$1", "%(vector)s")
    is_whole = indexed == "fused_vec"
    one_stage = f"select id from {SCHEMA}.{profile} order by {nearness} limit {FIRST}"
    two_stages = (
        f"select id from (select id, vec from {SCHEMA}.{profile} order by {nearness} limit %(depth)s) as c"
        f" order by vec <=> %(vector)s limit {FIRST}"
    )
    with_parameters = ", ".join(f"{name} = {value}" for name, value in parameters.items())
    return Variant(
        profile, HalfVector, "halfvec(512)",
        f"{method} ({indexed.replace('fused_vec', 'vec')} {operators}) with ({with_parameters})",
        one_stage if is_whole else two_stages,
        "ivfflat.probes" if method == "ivfflat" else "hnsw.ef_search",
        (0,) if is_whole else (20, 50, 100),
    )  # fmt: skip


def load(db: Database, variant: Variant, vectors: Vectors) -> None:
    """Fill the table of a variant; the vectors lie in their rows."""
    db.execute(f"create table {variant.table} (id bigint, vec {variant.type})")
    db.execute(f"alter table {variant.table} alter vec set storage plain")
    with db.cursor().copy(f"copy {variant.table} from stdin with (format binary)") as copy:
        copy.set_types(["int8", variant.type.split("(")[0]])
        for number, vector in enumerate(vectors):
            copy.write_row([number, variant.vector(vector)])
    db.execute(f"vacuum analyze {variant.table}")


def build(db: Database, variant: Variant) -> dict[str, float]:
    """Make the index; seconds and megabytes."""
    db.execute("checkpoint")
    started = time.perf_counter()
    db.execute(f"create index {variant.name}_vec on {variant.table} using {variant.index}")
    elapsed_s = time.perf_counter() - started
    [(size,)] = db.execute("select pg_relation_size(%s::regclass)", [f"{SCHEMA}.{variant.name}_vec"]).fetchall()
    db.execute("select count(pg_prewarm(t)) from unnest(%s::regclass[]) as t", [[f"{SCHEMA}.{variant.name}_vec"]])
    return {"build_s": round(elapsed_s, 1), "index_mb": round(size / 1e6, 1)}


def ask(db: Database, variant: Variant, point: Point, questions: Vectors) -> tuple[list[list[int]], list[float]]:
    """What is found for every question, and the time of each in milliseconds."""
    db.execute(f"set {variant.setting} = {point.setting}")
    found, times_ms = [], []
    with db.cursor(binary=True) as cursor:
        for question in questions:
            given = {"vector": variant.vector(question), "depth": point.depth}
            started = time.perf_counter()
            cursor.execute(variant.query, given, prepare=True)
            rows = cursor.fetchall()
            times_ms.append(1000 * (time.perf_counter() - started))
            found.append([number for (number,) in rows])
    return found, times_ms


def check_plan(db: Database, variant: Variant, question: Vectors) -> None:
    """Exits where the query does not read its index: its times would be those of something else."""
    given = {"vector": variant.vector(question), "depth": 50}
    plan = "\n".join(line for (line,) in db.execute(f"explain {variant.query}", given).fetchall())
    if f"{variant.name}_vec" not in plan:
        raise SystemExit(f"{variant.name} does not use its index:\n{plan}")


def curves(
    db: Database, chosen: Sequence[Variant], questions: Vectors, truth: NDArray[np.int64], rounds: int, seed: int
) -> list[Point]:
    """Every setting of every variant, measured in rounds of random order after one that only warms up."""
    points = [
        Point(variant.name, depth, setting)
        for variant in chosen
        for depth in variant.depths
        for setting in SETTINGS[variant.setting]
    ]
    by_name, chance = {variant.name: variant for variant in chosen}, np.random.default_rng(seed)
    for number in range(rounds + 1):
        for place in chance.permutation(len(points)):
            point = points[place]
            found, times_ms = ask(db, by_name[point.variant], point, questions)
            if number == 0:
                hits = [len(set(some) & set(right)) for some, right in zip(found, truth.tolist(), strict=True)]
                point.recall = sum(hits) / (FIRST * len(hits))
            else:
                point.means_ms.append(statistics.mean(times_ms))
                point.p95_ms = statistics.quantiles(times_ms, n=20)[-1]
    return points


def best(points: Sequence[Point], variant: str) -> list[Point]:
    """The settings of a variant that are worth using."""
    return front(p for p in points if p.variant == variant)


def table(result: dict[str, Any]) -> Iterator[str]:
    """The result for readers."""
    yield f"# Index profiles over {result['parts']:,} parts\n"
    yield f"Questions: {result['questions']}, half parts, half captions; recall of the first ten. Made by:\n"
    yield f"    {result['command']}\n"
    yield f"shared_buffers {result['shared_buffers']}, maintenance_work_mem {result['maintenance_work_mem']}.\n"
    yield "| | build s | of naive | index MB | of naive | ms at 0.95 | at 0.98 | at 0.99 | queries/s of naive at 0.98 |"
    yield "|---|---|---|---|---|---|---|---|---|"
    naive = result["variants"]["naive"]
    for name, of in result["variants"].items():
        at = [of["ms_at"][recall] for recall in RECALLS]
        times = " | ".join("not reached" if ms is None else f"{ms:.2f}" for ms in at)
        ratio = f"{naive['ms_at']['0.98'] / at[1]:.2f}" if at[1] and naive["ms_at"]["0.98"] else ""
        yield (
            f"| {name} | {of['build_s']} | {of['build_s'] / naive['build_s']:.2f} | {of['index_mb']} |"
            f" {of['index_mb'] / naive['index_mb']:.2f} | {times} | {ratio} |"
        )
    yield f"\n![Recall against queries per second](curve.png)\n\n{len(result['points'])} settings in `curve.json`."


def plot(points: Sequence[Point], names: Sequence[str], parts: int, file: Path) -> None:
    """Recall against queries per second of the best settings."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name in names:
        front = best(points, name)
        axes.plot([p.recall for p in front], [1000 / p.mean_ms for p in front], marker="o", markersize=3, label=name)
    axes.set(xlabel="recall of the first ten", ylabel="queries per second, one client", title=f"{parts:,} parts")
    axes.set_xlim(left=0.9)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="4GB", help="maintenance_work_mem (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--output", type=Path, required=True, help="folder of curve.json, curve.md and curve.png")
    arguments = parser.parse_args()

    model, chance = VectorModel.load(), np.random.default_rng(arguments.seed)
    vectors = np.concatenate(list(model.parts.draw(arguments.parts, chance)))
    questions = draw_questions(model, arguments.questions, chance)
    truth, _ = nearest(questions, vectors, FIRST)
    with psycopg.connect(arguments.dsn, autocommit=True) as db:
        register_vector(db)
        db.execute("create extension if not exists pg_prewarm")
        db.execute(f"drop schema if exists {SCHEMA} cascade")
        db.execute(f"create schema {SCHEMA}")
        db.execute("select set_config('maintenance_work_mem', %s, false)", [arguments.memory])
        db.execute("set max_parallel_maintenance_workers = 0")  # with several, pgvector before 0.8.2 may overflow
        db.execute("set jit = off")
        chosen, costs = variants(db, arguments.parts), {}
        for variant in chosen:
            load(db, variant, vectors)
            costs[variant.name] = build(db, variant)
            check_plan(db, variant, questions[0])
            print(variant.name, costs[variant.name], flush=True)
        del vectors
        points = curves(db, chosen, questions, truth, arguments.rounds, arguments.seed)
        [(pgvector, buffers, memory)] = db.execute(
            "select extversion, current_setting('shared_buffers'), current_setting('maintenance_work_mem')"
            " from pg_extension where extname = 'vector'"
        ).fetchall()
        db.execute(f"drop schema {SCHEMA} cascade")
    result = {
        **report.circumstances(arguments.dsn),
        "pgvector": pgvector, "shared_buffers": buffers, "maintenance_work_mem": memory,
        "parts": arguments.parts, "questions": len(questions), "seed": arguments.seed,
        "encoder": model.version,
        "variants": {
            name: {**cost, "ms_at": {recall: ms_at(best(points, name), float(recall)) for recall in RECALLS}}
            for name, cost in costs.items()
        },
        "points": [
            {"variant": p.variant, "depth": p.depth, "setting": p.setting, "recall": round(p.recall, 4),
             "mean_ms": round(p.mean_ms, 3), "p95_ms": round(p.p95_ms, 3)}
            for p in points
        ],
    }  # fmt: skip
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "curve.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.output / "curve.md").write_text("\n".join(table(result)) + "\n")
    plot(points, list(costs), arguments.parts, arguments.output / "curve.png")
    print("\n".join(table(result)))


if __name__ == "__main__":
    main()
