"""The losses of a batch: parts that lack a text or a B-rep take part in the other pairs only; bfloat16 works."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from pgcad.encoders.shape_tower import POOLED_WIDTH
from pgcad.errors import CadError
from pgcad.training import objective
from pgcad.training.device import chosen_device, device_of, short_floats
from pgcad.training.encode import brep_pooled
from pgcad.training.material import Material
from pgcad.training.objective import PAIRS, batch_losses
from pgcad.training.shapes import VARIANTS
from pgcad.training.towers import Seen, Towers


def losses_of(towers: Towers, material: Material, rows: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    rows = torch.arange(len(material.has_text)) if rows is None else rows
    return batch_losses(towers, material, rows, None, torch.Generator().manual_seed(1))


def test_all_pairs_are_learned_and_every_tower_with_them(towers: Towers, material: Material) -> None:
    losses = losses_of(towers, material)
    assert set(losses) == {f"{a}-{b}" for a, b, _ in PAIRS}
    torch.stack(list(losses.values())).sum().backward()
    for name, tower in towers.named().items():
        learned = [p.grad for p in tower.parameters() if p.requires_grad]
        assert any(grad is not None and grad.abs().sum() > 0 for grad in learned), name
    assert towers.loss.log_scale.grad is not None


def test_the_vault_has_parts_without_text_and_without_b_rep(material: Material) -> None:
    assert not material.has_text.all() and not material.has_brep.all()
    assert len(material.corpus.breps) == len(material.has_brep)
    assert [len(brep.faces) > 0 for brep in material.corpus.breps] == material.has_brep.tolist()


def test_a_missing_text_takes_no_part(towers: Towers, material: Material) -> None:
    mute = replace(material, has_text=torch.zeros_like(material.has_text))
    assert set(losses_of(towers, mute)) == {f"{a}-{b}" for a, b, _ in PAIRS if a != "text"}


def test_a_missing_b_rep_takes_no_part(towers: Towers, material: Material) -> None:
    bare = replace(material, has_brep=torch.zeros_like(material.has_brep))
    assert set(losses_of(towers, bare)) == {f"{a}-{b}" for a, b, _ in PAIRS if "brep" not in (a, b)}


def test_short_floats_change_the_losses_a_little(
    towers: Towers, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = losses_of(towers, material)
    monkeypatch.setattr(objective, "short_floats", lambda device: torch.autocast(device.type, torch.bfloat16))
    short = losses_of(towers, material)
    for name, loss in full.items():
        assert short[name].dtype == torch.float32
        assert short[name].item() == pytest.approx(loss.item(), rel=0.05)
    assert any(short[name].item() != loss.item() for name, loss in full.items())
    torch.stack(list(short.values())).sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in towers.parameters())


def test_everything_is_computed_where_the_towers_are(
    towers: Towers, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "short_floats", lambda device: nullcontext())  # there is none for this device
    rows = torch.arange(len(material.has_text))
    seen = Seen(
        torch.zeros(len(rows), VARIANTS, POOLED_WIDTH),
        brep_pooled(towers.brep, material.corpus),
        torch.zeros(0),
        torch.zeros(0),
    )
    towers.to("meta")  # an operation on it and the CPU together is refused, as with CUDA
    for what_was_seen in (None, seen):
        losses = batch_losses(towers, material, rows, what_was_seen, torch.Generator().manual_seed(1))
        assert {loss.device.type for loss in losses.values()} == {"meta"}
        torch.stack(list(losses.values())).sum().backward()


def test_bfloat16_is_for_cuda_alone() -> None:
    assert not short_floats(torch.device("cpu"))._enabled


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, towers: Towers) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == chosen_device("cpu") == device_of(towers)
    with pytest.raises(CadError, match="no CUDA device") as error:
        chosen_device("cuda")
    assert "--device cpu" in error.value.hint
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device("auto").type == chosen_device("cuda").type == "cuda"
    assert chosen_device("cpu").type == "cpu"
