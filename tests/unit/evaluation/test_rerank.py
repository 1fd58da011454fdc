"""What would be learned from pictures and scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pgcad.corpus.split import Row
from pgcad.evaluation.gallery import Gallery
from pgcad.evaluation.probes import SHAPE_PROBES
from pgcad.evaluation.rerank import show_faces, show_learned
from pgcad.evaluation.tasks import Questions
from torch import Tensor
from torch.nn.functional import normalize

SERIES, OF_EACH, DIM = 20, 4, 32


def test_a_score_that_tells_more_takes_the_weight(capsys: pytest.CaptureFixture[str]) -> None:
    generator, targets = torch.Generator().manual_seed(3), torch.arange(40)
    own, text = torch.rand(2, 40, 300, generator=generator)
    own[targets, targets] = 0.8
    text[targets, targets] = 2.0
    show_learned("picture", targets, own, {"text": text}, torch.arange(300))
    *_, row, _ = capsys.readouterr().out.split("\n")[:-1]
    mix, before, then, gain = row.strip("| ").split(" | ")
    own_weight, text_weight = map(float, mix.split(", "))
    assert own_weight < text_weight
    assert float(before) < float(then) == 1
    assert float(gain.split(" to ")[0]) > 0


def test_exact_faces_tell_parts_of_a_series_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Points know the series, faces the part: the more these weigh, the fewer siblings are taken for it."""
    generator, parts = torch.Generator().manual_seed(3), SERIES * OF_EACH

    def drawn(n: int) -> Tensor:
        return torch.randn(n, DIM, generator=generator)

    shape = normalize(drawn(SERIES).repeat_interleave(OF_EACH, 0) + 0.1 * drawn(parts), dim=1)
    brep = normalize(drawn(parts), dim=1)
    rows = [Row(f"{part}.step", "val", f"series {part // OF_EACH}", "", "") for part in range(parts)]
    targets = torch.arange(0, parts, 3)
    seen = normalize(shape[targets] + 0.1 * drawn(len(targets)), dim=1)
    gallery = Gallery(rows, shape, shape, shape, brep, shape, [], [], torch.arange(parts), Path())
    show_faces(targets, Questions(targets, {}, {SHAPE_PROBES[1]: seen}, brep[targets], {}, {}), gallery)
    lines = capsys.readouterr().out.split("\n")[2:-2]
    table = np.array([[float(cell) for cell in line.strip("| ").split(" | ")] for line in lines])
    weights, first, among_series, alike = table.T
    assert weights[0] == 0
    assert among_series[0] < among_series[weights == 1] == first[weights == 1] == 1
    assert alike[0] == 1 > alike[-1]
