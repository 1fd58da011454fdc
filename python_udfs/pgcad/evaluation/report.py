"""The result as numbers, as a table and as plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pgcad.evaluation.gallery import Gallery
from pgcad.evaluation.intervals import Estimate, Share, share
from pgcad.evaluation.tasks import Task

SPLITS = {"test": ("test",), "unseen families": ("unseen_family",), "both": ("test", "unseen_family")}
FIRST = (1, 10)
CURVE = (1, 2, 3, 5, 10, 20, 50, 100)


def figures(tasks: Sequence[Task], gallery: Gallery, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Per task and split: recall among the first one and ten with intervals, the baseline's beside it, and a curve."""
    result: dict[str, dict[str, Any]] = {}
    for task in tasks:
        for name, splits in SPLITS.items():
            chosen = [i for i, row in enumerate(task.rows.tolist()) if gallery.rows[row].split in splits]
            families = [gallery.families[row] for row in task.rows[chosen].tolist()]
            if not chosen:
                continue
            rank = task.rank[chosen].numpy()
            entry: dict[str, Any] = {"queries": len(chosen)}
            entry |= {f"r{first}": _share(share(rank < first, families, rng)) for first in FIRST}
            if task.baseline is not None:
                words = task.baseline[chosen].numpy()
                entry |= {f"words_r{first}": _share(share(words < first, families, rng)) for first in FIRST}
            entry["curve"] = {str(first): round(float((rank < first).mean()), 4) for first in CURVE}
            entry["r10_of_families"] = _of_families(rank < 10, families)
            result.setdefault(task.name, {})[name] = entry
    return result


def hit_figures(
    groups: Mapping[str, tuple[Sequence[str], Sequence[bool]]], rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Shares of hits by name of group, each hit with the name of what it is averaged over."""
    return {name: _share(share(hits, over, rng)) for name, (over, hits) in groups.items() if len(hits)}


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    return "\n".join(_lines(result)) + "\n"


def plots(result: Mapping[str, Any], folder: Path) -> None:
    """Recall curves of all tasks as recall.svg, recall of each family as families.svg."""
    _curves(result["recall"]).savefig(folder / "recall.svg", bbox_inches="tight", metadata={"Date": None})
    _family_bars(result["recall"]).savefig(folder / "families.svg", bbox_inches="tight", metadata={"Date": None})


def _share(found: Share) -> dict[str, Any]:
    return {"queries": found.queries, "micro": found.micro.as_dict(), "macro": found.macro.as_dict()}


def _of_families(hits: np.ndarray, families: Sequence[str]) -> dict[str, list[float]]:
    """Per family the share of hits and the number of queries."""
    names, index = np.unique(np.asarray(families), return_inverse=True)
    counts = np.bincount(index)
    shares = np.bincount(index, hits) / counts
    return {name: [round(float(s), 3), int(n)] for name, s, n in zip(names.tolist(), shares, counts, strict=True)}


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Encoders, {result['version']}, {result['date']}\n"
    yield (
        f"Gallery: all {result['gallery']} parts, known by its geometry alone; {result['twins']} of them have a"
        " twin of the same surface, which counts as the part itself. Every figure over queries and averaged over"
        " families, with its 95 % interval. *Words* is what tf–idf finds by the generated descriptions. Made by:\n"
    )
    yield f"    {result['command']}\n"
    yield "| question | queries of | n | R@1 | R@1 by family | R@10 | R@10 by family | words R@1 | words R@10 |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for task, splits in result["recall"].items():
        for split, entry in splits.items():
            cells = [_cell(entry[f"r{first}"][average]) for first in FIRST for average in ("micro", "macro")]
            words = [f"{entry[key]['micro']['value']:.3f}" if key in entry else "" for key in ("words_r1", "words_r10")]
            yield f"| {task} | {split} | {entry['queries']} | {' | '.join([*cells, *words])} |"
    for title, key in (
        ("the first hit has the right", "numbers"),
        ("the first hit is of a right family", "families"),
        ("the nearest neighbour by shape is of the same family", "neighbours"),
    ):
        yield f"\n| {title} | n | share | by family or question |\n|---|---|---|---|"
        for name, entry in result[key].items():
            yield f"| {name} | {entry['queries']} | {_cell(entry['micro'])} | {_cell(entry['macro'])} |"
    yield "\n| cost on one core | |\n|---|---|"
    yield from (f"| {name} | {value} |" for name, value in result["cost"].items())


def _cell(estimate: Mapping[str, float]) -> str:
    found = Estimate(**estimate)
    return f"**{found.value:.3f}** ({found.low:.3f}–{found.high:.3f})"


def _curves(recall: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(11, 5))
    for axes, split in zip(figure.subplots(1, 2, sharey=True), ("test", "unseen families"), strict=True):
        for number, (task, splits) in enumerate(recall.items()):
            if split in splits and "dimensions" not in task and "series" not in task:
                curve = splits[split]["curve"]
                axes.plot([int(k) for k in curve], list(curve.values()), label=task, linestyle=("-", "--")[number % 2])
        axes.set(xscale="log", xlabel="first k hits", title=f"Part among the first k, {split}", ylim=(0, 1))
        axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def _family_bars(recall: Mapping[str, Any]) -> Figure:
    families = recall["text, English"]["both"]["r10_of_families"]
    names = sorted(families, key=lambda name: families[name][0])
    figure = Figure(figsize=(8, 0.18 * len(names) + 1))
    axes = figure.subplots()
    axes.barh([f"{name} ({families[name][1]})" for name in names], [families[name][0] for name in names])
    axes.set(title="Text → part, R@10 by family (queries)", xlim=(0, 1))
    axes.tick_params(axis="y", labelsize=6)
    axes.margins(y=0.01)
    return figure
