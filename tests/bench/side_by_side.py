"""pgcad beside pgvector alone, faiss, hnswlib, LanceDB, Chroma and Milvus Lite, in one run over the same drawn vectors.

    .venv/bin/pip install --editable '.[rivals]'
    .venv/bin/python tests/bench/side_by_side.py --state .pgcad --parts 100000 --output docs/results/side_by_side/100k

`--state` is the folder of a running local cluster (`pgcad up`); the databases are made beside its own and dropped
afterwards, and **the server is restarted** to measure cold starts. What is not installed, or what this version of pgcad
does not have, is named in the result with the reason.

All have the same vectors and masses (`drawn_parts.py`), the same questions, and one thread: pgcad and pgvector through
SQL, with durability on, the others as libraries in a process of their own. A contender is made; then it is opened from
disk, its files out of the page cache, and asked once (*cold start*, with the start of the server where there is one);
then all of them stay open, and every setting of each is asked all questions in a random order among the others, in
rounds after one that only warms up. Truth is exact search in numpy.

Who is quicker is told at equal recall: each has the quickest of its settings that finds at least so much.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pgcad_parts
import report
from contenders.contender import FIRST, Place, Setting, Unavailable, forget
from contenders.process import ContenderProcess, contender_process
from drawn_parts import DrawnParts, draw_questions, recall
from front import front, quickest
from percentiles import percentiles
from pgcad_load.cluster import LocalCluster
from scratch_database import scratch_database
from vector_model import VectorModel

NAMES = (
    "pgcad fast", "pgcad compact", "pgcad lsh", "pgcad tri", "pgvector HNSW", "pgvector IVFFlat", "pgvector exact",
    "faiss flat", "faiss HNSW", "faiss IVF", "hnswlib", "LanceDB IVF_PQ", "LanceDB IVF_HNSW_SQ", "Chroma",
    "Milvus Lite",
)  # fmt: skip
DATABASES = ("LanceDB", "Chroma", "Milvus")  # which pgcad is to be quicker than
SHARES = (1.0, 0.5, 0.01, 0.0001)
RECALL = 0.98
Truths = dict[float, list[set[int]]]  # by the share that a filter lets through

TAKEN = {
    "load_s": "load s", "build_s": "build s", "parts_per_s": "parts/s", "settle_s": "settle s",
    "all_mb": "on disk MB", "index_mb": "of it index", "memory_mb": "memory MB", "cold_start_s": "cold start s",
}  # fmt: skip
TAKEN_NOTE = """\
parts/s: from nothing to indexed. Settling is what else is to be done before the first search: statistics, and for pgcad
`cad.tune` to each recall of its curve, of which a user wants one. Memory: growth of the process from before it opens
its files until it was asked everything once; of a server the buffers that hold the database, and the private memory of
the connection. Cold start: from files on disk to the first answer, with the start of the server, but without loading
libraries."""


@dataclass
class Point:
    """One setting of a contender under one filter, and what came of it."""

    contender: str
    share: float
    setting: Setting
    recall: float = 0.0
    fewest: int = FIRST
    means_ms: list[float] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    vector_ms: list[float] = field(default_factory=list)

    @property
    def mean_ms(self) -> float:
        """Median of the rounds' means: a slow minute of the machine does not count."""
        return statistics.median(self.means_ms)

    def summary(self) -> dict[str, Any]:
        """What is kept of it."""
        kept = {"contender": self.contender, "share": self.share, "setting": self.setting}
        kept |= {"recall": round(self.recall, 4), "fewest": self.fewest, **percentiles(self.times_ms)}
        kept["mean_ms"] = round(self.mean_ms, 3)
        return kept | ({"vector": percentiles(self.vector_ms)} if self.vector_ms else {})


def vector_stage(point: Point) -> Point:
    """The same setting, with the time of its search by vector alone."""
    mean_ms = statistics.mean(point.vector_ms)
    return Point(
        f"{point.contender}, vector stage", point.share, point.setting, point.recall, point.fewest, [mean_ms],
        point.vector_ms,
    )  # fmt: skip


def cold_start_s(name: str, place: Place, drawn: Path, cluster: LocalCluster) -> float:
    """Seconds from nothing but files on disk to the first answer."""
    server_s = 0.0
    if place.dsn:
        cluster.stop()
        forget(cluster.data)
        started = time.perf_counter()
        cluster.start()
        server_s = time.perf_counter() - started
    else:
        forget(place.folder)
    with contender_process(name, place, drawn) as contender:
        return round(server_s + contender.call("first_answer_s"), 3)


def measure(
    contenders: dict[str, ContenderProcess], truths: Truths, rounds: int, chance: np.random.Generator
) -> tuple[list[Point], dict[str, float]]:
    """Every setting of every contender, and how many megabytes each has taken for all the questions."""
    points, before_mb, grown_mb = [], {}, {}
    for name, contender in contenders.items():
        common, filtered = contender.call("settings")
        for share in truths:
            points += [Point(name, share, setting) for setting in (common if share == 1 else [*common, *filtered])]
        before_mb[name] = 0.0 if name.startswith("pg") else contender.call("memory_mb")
        contender.call("open")
    for number in range(rounds + 1):
        taken_s = dict.fromkeys(contenders, 0.0)
        for place in chance.permutation(len(points)):
            point = points[place]
            started = time.perf_counter()
            asked = contenders[point.contender].call("ask", point.setting, point.share, number > 0)
            taken_s[point.contender] += time.perf_counter() - started
            if number == 0:
                point.recall = recall(asked.found, truths[point.share])
                point.fewest = min(map(len, asked.found))
            else:
                point.means_ms.append(statistics.mean(asked.times_ms))
                point.times_ms += asked.times_ms
                point.vector_ms += asked.vector_ms
        print(f"round {number} of {rounds}:", {name: round(seconds) for name, seconds in taken_s.items()}, flush=True)
        if number == 0:
            for name, contender in contenders.items():
                grown_mb[name] = round(contender.call("memory_mb") - before_mb[name], 1)
    return points, grown_mb


def names(points: Sequence[Point]) -> list[str]:
    """The contenders, in the order in which they came."""
    return list(dict.fromkeys(point.contender for point in points))


def at_equal_recall(points: Sequence[Point], share: float) -> dict[str, Point | None]:
    """Of each contender the quickest setting that finds enough."""
    here = [point for point in points if point.share == share]
    return {name: quickest((p for p in here if p.contender == name), RECALL) for name in names(points)}


def verdicts(points: Sequence[Point]) -> Iterator[str]:
    """Who is quicker than whom, by the whole search through SQL, with each filter."""
    shares = list(dict.fromkeys(point.share for point in points))
    for share in shares:
        reached = {name: point for name, point in at_equal_recall(points, share).items() if point and "," not in name}
        ranking = sorted(reached, key=lambda name: reached[name].mean_ms)
        said = ", ".join(f"{name} {reached[name].mean_ms:.2f} ms" for name in ranking)
        yield f"- {_through(share)}: quickest first: {said or 'nobody gets there'}."
        missed = [name for name in names(points) if name not in reached and "," not in name]
        if missed:
            yield f"  Do not reach it: {', '.join(missed)}."
    for other in DATABASES:
        told = []
        for share in shares:
            chosen = at_equal_recall(points, share)
            ours = min((p.mean_ms for n, p in chosen.items() if p and n == "pgcad fast"), default=None)
            theirs = min((p.mean_ms for n, p in chosen.items() if p and n.startswith(other)), default=None)
            told.append(f"{_through(share)} {_against(ours, theirs)}")
        if "pgcad fast" in names(points) and any(name.startswith(other) for name in names(points)):
            yield f"- pgcad fast against {other}: {'; '.join(told)}."
    if {"pgcad tri", "pgcad fast"} <= set(names(points)):
        told = []
        for share in shares:
            chosen = at_equal_recall(points, share)
            tri, fast = (point.mean_ms if point else None for point in (chosen["pgcad tri"], chosen["pgcad fast"]))
            told.append(f"{_through(share)} {_against(tri, fast)}")
        yield f"- The tri-index against pgcad fast: {'; '.join(told)}."


def _through(share: float) -> str:
    return "without a filter" if share == 1 else f"{100 * share:g} % let through"


def _against(ours_ms: float | None, theirs_ms: float | None) -> str:
    if ours_ms is None:
        return "does not reach the recall" + ("" if theirs_ms else ", nor does the other")
    if theirs_ms is None:
        return "alone reaches the recall"
    times = theirs_ms / ours_ms
    return f"{times:.2f} times as quick" if times >= 1 else f"**slower**, {times:.2f} times as quick"


def table(result: dict[str, Any], points: Sequence[Point]) -> Iterator[str]:
    """The result for readers."""
    yield f"# Side by side over {result['parts']:,} parts\n"
    yield (
        f"{result['questions']} questions, half parts, half captions; the first ten; one thread; times in ms, of the"
        f" quickest setting that finds at least {RECALL}. Made by:\n"
    )
    yield f"    {result['command']}\n"
    yield f"The databases of pgcad and pgvector share a server with shared_buffers of {result['shared_buffers']}.\n"
    yield from verdicts(points)
    for name, reason in result["missing"].items():
        yield f"- Not measured: {name}, because {reason.rstrip('.')}."
    for share in result["shares"]:
        yield f"\n## {_through(share).capitalize()}\n"
        yield "| | queries/s | mean | p50 | p95 | p99 | recall | setting |\n|" + "---|" * 8
        chosen = at_equal_recall(points, share)
        for name, point in sorted(chosen.items(), key=lambda item: item[1].mean_ms if item[1] else float("inf")):
            if point is None:
                most = max(p.recall for p in points if p.contender == name and p.share == share)
                yield f"| {name} | not reached | | | | | at most {most:.3f} | |"
                continue
            of = percentiles(point.times_ms)
            setting = ", ".join(f"{key} {value}" for key, value in point.setting.items())
            times = [1000 / point.mean_ms, point.mean_ms, of["p50_ms"], of["p95_ms"], of["p99_ms"]]
            cells = [*(f"{number:.2f}" for number in times), f"{point.recall:.3f}", setting]
            yield f"| {name} | " + " | ".join(cells) + " |"
        yield f"\n![Recall against queries per second]({_plot_name(share)}.png)"
    yield "\n## What they take\n"
    yield "| | " + " | ".join(TAKEN.values()) + " | version |\n" + "|---" * (len(TAKEN) + 2) + "|"
    for name, made in result["made"].items():
        version = ", ".join(f"{package} {number}" for package, number in made["versions"].items())
        yield f"| {name} | " + " | ".join(str(made.get(key, "")) for key in TAKEN) + f" | {version} |"
    yield f"\n{TAKEN_NOTE}"


def _plot_name(share: float) -> str:
    return "all" if share == 1 else f"filter_{100 * share:g}_percent"


def plot(points: Sequence[Point], share: float, parts: int, folder: Path) -> None:
    """Recall against queries per second of the best settings."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    colours = plt.get_cmap("tab20").colors
    for number, name in enumerate(names(points)):
        best = front(p for p in points if p.contender == name and p.share == share and p.recall >= 0.5)
        axes.plot(
            [p.recall for p in best], [1000 / p.mean_ms for p in best], marker="o", markersize=3,
            label=name, color=colours[number % len(colours)], linestyle="-" if name.startswith("pg") else "--",
        )  # fmt: skip
    axes.set(
        xlabel="recall of the first ten", ylabel="queries per second, one client", yscale="log",
        title=f"{parts:,} parts, {_through(share)}",
    )  # fmt: skip
    axes.set_xlim(0.7, 1.005)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(folder / f"{_plot_name(share)}.png", dpi=110)
    plt.close(figure)


def draw(folder: Path, parts: int, questions: int, chance: np.random.Generator) -> tuple[str, Truths]:
    """Leave everything that contenders get in files; the encoder's version and, for each filter, the truth."""
    model = VectorModel.load()
    drawn, asked = DrawnParts.draw(model, parts, chance), draw_questions(model, questions, chance)
    for name, numbers in {
        "vectors": drawn.vectors, "masses": drawn.masses, "questions": asked,
        "tuning": draw_questions(model, pgcad_parts.TUNED_WITH, chance),
    }.items():  # fmt: skip
        np.save(folder / f"{name}.npy", numbers)
    shares = [share for share in SHARES if share * parts >= 1]
    return model.version, {share: drawn.nearest(asked, share, FIRST) for share in shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder of a local cluster; its server is restarted")
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES, metavar="NAME", help="of: %(choices)s")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--output", type=Path, required=True, help="folder of side_by_side.json, .md and plots")
    arguments = parser.parse_args()

    cluster, chance = LocalCluster.at(arguments.state), np.random.default_rng(arguments.seed)
    made: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgcad-bench-")))
        encoder, truths = draw(folder, arguments.parts, arguments.questions, chance)
        places = {}
        for number, name in enumerate(arguments.only):
            places[name] = Place(folder / str(number), "")
            places[name].folder.mkdir()
            if name.startswith("pg"):
                database = f"pgcad_bench_{number}"
                dsn = stack.enter_context(scratch_database(cluster.dsn("postgres"), database))
                cluster.set_defaults(database)  # where the encoder service listens, which trains codes
                places[name] = Place(places[name].folder, dsn)
            try:
                with contender_process(name, places[name], folder) as contender:
                    made[name] = contender.call("make")
            except Unavailable as reason:
                missing[name] = str(reason)
            print(name, made.get(name, missing.get(name)), flush=True)
        for name, of in made.items():
            of["cold_start_s"] = cold_start_s(name, places[name], folder, cluster)
        with ExitStack() as opened:
            contenders = {name: opened.enter_context(contender_process(name, places[name], folder)) for name in made}
            points, grown_mb = measure(contenders, truths, arguments.rounds, chance)
        for name, grown in grown_mb.items():
            made[name]["memory_mb"] = grown
        with cluster.connect("postgres") as db:
            [(shared_buffers,)] = db.execute("show shared_buffers").fetchall()
    points += [vector_stage(point) for point in points if point.vector_ms]
    result = {
        **report.circumstances(),
        "parts": arguments.parts, "questions": arguments.questions, "seed": arguments.seed, "encoder": encoder,
        "shared_buffers": shared_buffers, "recall": RECALL, "shares": list(truths), "made": made, "missing": missing,
        "points": [point.summary() for point in points if not point.contender.endswith("vector stage")],
    }  # fmt: skip
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "side_by_side.json").write_text(json.dumps(result, indent=1) + "\n")
    text = "\n".join(table(result, points)) + "\n"
    (arguments.output / "side_by_side.md").write_text(text)
    for share in truths:
        plot(points, share, arguments.parts, arguments.output)
    print(text)


if __name__ == "__main__":
    main()
