"""What the benchmarks conclude from their measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contenders.contender import Place, Unavailable, forget
from contenders.process import contender_process
from drawn_parts import DrawnParts, draw_questions, recall
from front import front, ms_at, quickest
from percentiles import percentiles
from search_engine import FIRST_INTERVALS, INTERVAL_S, Setting, rival, steady
from side_by_side import RECALL, Point, at_equal_recall, vector_stage, verdicts
from vector_model import Source, VectorModel


def point(contender: str, recall: float, mean_ms: float, share: float = 1.0) -> Point:
    return Point(contender, share, {"ef": 1}, recall, 10, [mean_ms], [mean_ms, mean_ms])


def test_front_leaves_out_settings_that_another_beats_in_both() -> None:
    slow_and_poor = point("a", 0.9, 3)
    points = [point("a", 0.99, 4), slow_and_poor, point("a", 0.95, 2), point("a", 0.5, 1)]
    assert [p.recall for p in front(points)] == [0.5, 0.95, 0.99]


def test_of_equally_quick_settings_the_front_has_the_one_that_finds_more() -> None:
    assert [p.recall for p in front([point("a", 0.9, 1), point("a", 0.95, 1)])] == [0.95]


def test_time_at_a_recall_lies_between_the_settings_around_it() -> None:
    best = [point("a", 0.9, 1), point("a", 1.0, 3)]
    assert ms_at(best, 0.95) == pytest.approx(2)
    assert ms_at(best, 0.5) == 1
    assert ms_at(best[:1], 0.95) is None


def test_nobody_is_compared_with_a_setting_that_finds_less() -> None:
    poor, good, slow = point("a", RECALL - 0.001, 1), point("a", RECALL, 2), point("a", 1.0, 3)
    assert quickest([slow, poor, good], RECALL) is good
    assert quickest([poor], RECALL) is None


def test_equal_recall_is_looked_for_under_each_filter_by_itself() -> None:
    points = [point("a", 1.0, 1), point("a", 0.2, 1, share=0.01), point("b", 1.0, 5, share=0.01)]
    assert at_equal_recall(points, 1.0) == {"a": points[0], "b": None}
    assert at_equal_recall(points, 0.01) == {"a": None, "b": points[2]}


def test_verdicts_say_who_is_slower_and_who_does_not_get_there() -> None:
    points = [
        point("pgcad fast", 1.0, 2), point("Chroma", 1.0, 1), point("LanceDB IVF_PQ", 0.5, 1),
        point("LanceDB IVF_HNSW_SQ", 1.0, 6), point("Milvus Lite", 0.9, 1),
    ]  # fmt: skip
    said = "\n".join(verdicts(points))
    assert "quickest first: Chroma 1.00 ms, pgcad fast 2.00 ms, LanceDB IVF_HNSW_SQ 6.00 ms" in said
    assert "Do not reach it: LanceDB IVF_PQ, Milvus Lite" in said
    assert "against LanceDB: without a filter 3.00 times as quick" in said
    assert "against Chroma: without a filter **slower**, 0.50 times" in said
    assert "against Milvus: without a filter alone reaches the recall" in said


def test_nothing_is_said_of_who_was_not_measured() -> None:
    said = "\n".join(verdicts([point("Chroma", 1.0, 1), point("pgcad tri", 1.0, 1)]))
    assert "against" not in said


def test_verdicts_say_whether_the_tri_index_is_worth_it() -> None:
    said = "\n".join(verdicts([point("pgcad fast", 1.0, 2), point("pgcad tri", 1.0, 4)]))
    assert "The tri-index against pgcad fast: without a filter **slower**, 0.50 times" in said


def test_the_vector_stage_is_no_contender_in_the_ranking() -> None:
    ours = point("pgcad fast", 1.0, 2)
    ours.vector_ms = [0.5, 0.5]
    said = "\n".join(verdicts([ours, vector_stage(ours)]))
    assert "pgcad fast 2.00 ms" in said and "vector stage" not in said


def test_a_slow_round_does_not_count() -> None:
    ours = point("a", 1.0, 1)
    ours.means_ms = [1, 1, 100]
    assert ours.mean_ms == 1


def test_percentiles_of_a_hundred_latencies() -> None:
    assert percentiles(list(range(101))) == {"mean_ms": 50, "p50_ms": 50, "p95_ms": 95, "p99_ms": 99}


def test_first_intervals_of_pgbench_are_left_out_and_means_weighted_by_searches() -> None:
    line = "progress: {} s, {} tps, lat {} ms stddev 0.4, {} failed\n"
    progress = "pgbench (15.20)\n" + "".join(line.format(5 * n, 1, 900, 7) for n in range(1, FIRST_INTERVALS + 1))
    progress += line.format(15.0, 300, 1, 0) + line.format(20.0, 100, 3, 2)
    assert steady(progress, FIRST_INTERVALS) == {"per_second": 200, "mean_ms": 1.5, "failed": 2}
    assert INTERVAL_S > 0


def test_pgbench_that_tells_nothing_steady_is_an_error() -> None:
    with pytest.raises(ValueError, match="no interval behind"):
        steady("progress: 5.0 s, 1 tps, lat 1 ms stddev 0, 0 failed\n", FIRST_INTERVALS)


def test_only_the_naive_side_is_the_rival_at_equal_recall() -> None:
    def asked(side: str, recall: float, time_ms: float) -> Setting:
        return Setting(side, 1.0, 40, [time_ms, time_ms], recall=recall)

    ours, near = asked("pgcad", 0.98, 1), asked("naive", 0.979, 4)
    settings = [ours, asked("naive", 0.9, 2), near, asked("naive", 1.0, 9), asked("compared", 1.0, 1)]
    assert rival(settings, ours) is near


def test_filters_let_through_exactly_their_share_and_truth_is_among_these() -> None:
    chance = np.random.default_rng(1)
    source = Source.of(chance.standard_normal((50, 16)).astype(np.float32))
    model = VectorModel(source, source, "drawn")
    parts, questions = DrawnParts.draw(model, 1000, chance), draw_questions(model, 4, chance)
    for share in (1.0, 0.5, 0.01, 0.001):
        matching = set(np.flatnonzero(parts.masses < share).tolist())
        assert len(matching) == 1000 * share
        truth = parts.nearest(questions, share, 10)
        assert all(right <= matching and len(right) == min(10, len(matching)) for right in truth)
        best = [max(matching, key=lambda number: parts.vectors[number] @ question) for question in questions]
        assert all(number in right for number, right in zip(best, truth, strict=True))


def test_recall_is_the_share_of_the_right_parts_that_was_found() -> None:
    assert recall([{1, 2, 9}, set()], [{1, 2, 3}, {4}]) == 0.5


def test_forgetting_files_changes_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"kept")
    forget(tmp_path)
    assert (tmp_path / "folder" / "file").read_bytes() == b"kept"


def test_a_library_that_is_not_installed_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hnswlib.py").write_text("raise ImportError(\"No module named 'hnswlib'\")")
    monkeypatch.syspath_prepend(tmp_path)  # which the other process gets, before what is installed
    with (
        pytest.raises(Unavailable, match="No module named 'hnswlib'"),
        contender_process("hnswlib", Place(tmp_path, ""), tmp_path),
    ):
        pass
