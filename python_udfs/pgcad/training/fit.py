"""The training itself: epochs, learning rate, validation, and which weights are kept."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pgcad.encoders.checkpoint import save_checkpoint
from pgcad.encoders.shape import ShapeTower
from pgcad.training.encode import brep_pooled, pooled_vectors
from pgcad.training.material import Material
from pgcad.training.objective import batch_loss
from pgcad.training.shapes import VARIANTS
from pgcad.training.state import restore, store
from pgcad.training.tensors import Corpus
from pgcad.training.towers import Seen, Towers
from pgcad.training.validation import validate

_VALIDATE_EVERY = 5
_WARM_UP_STEPS = 20
_WEIGHT_DECAY = 0.02
_GRAPH_BATCH = 128


@dataclass(frozen=True)
class FitOptions:
    """How long and how the towers are trained, where their weights go (`out`) and where the state is kept (`state`)."""

    out: Path
    state: Path
    resume: bool
    graph_epochs: int
    epochs: int
    batch: int
    learning_rate: float
    seed: int
    minutes: float


def fit(towers: Towers, material: Material, options: FitOptions) -> float:
    """Train everything together for the first epochs; then freeze the graph network, whose passes cost most of the
    time, and go on with what it sees. Keeps the weights that are best on validation; returns their score.
    """
    optimiser = torch.optim.AdamW(towers.parameters(), lr=options.learning_rate, weight_decay=_WEIGHT_DECAY)
    first, best = restore(options.state, towers, optimiser) if options.resume and options.state.exists() else (0, 0.0)
    last = options.graph_epochs + options.epochs
    seen: Seen | None = None
    started = time.monotonic()
    for epoch in range(first, last):
        generator = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        if epoch >= options.graph_epochs and seen is None:
            seen = _freeze_graph(towers, material)
        loss = _epoch(towers, material, optimiser, options, epoch, seen, generator)
        if epoch < options.graph_epochs or epoch % _VALIDATE_EVERY == 0 or epoch == last - 1:
            weights, found = validate(towers, material, seen)
            if found.score >= best:
                best = found.score
                save_checkpoint(options.out, towers.named(), weights)
            elapsed = (time.monotonic() - started) / 60
            print(
                f"epoch {epoch + 1}/{last} loss {loss:.3f} {found} (best {best:.3f}) {weights} "
                f"scale {towers.loss.log_scale.exp().item():.1f} {elapsed:.1f} min",
                flush=True,
            )
            store(options.state, towers, optimiser, epoch + 1, best)
            if elapsed > options.minutes:
                break
    return best


def _freeze_graph(towers: Towers, material: Material) -> Seen:
    """Stop training the graph networks; returns what they see of all parts."""
    shape, brep = towers.shape, towers.brep
    for module in (shape.point, shape.fine, shape.middle, shape.wide, shape.mix, brep.grid, brep.face, brep.rounds):
        module.requires_grad_(False)
    return Seen(
        _all_variants(shape, material.corpus),
        brep_pooled(brep, material.corpus),
        _all_variants(shape, material.validation),
        brep_pooled(brep, material.validation),
    )


def _all_variants(tower: ShapeTower, corpus: Corpus) -> Tensor:
    return torch.stack([pooled_vectors(tower, corpus, variant).half() for variant in range(VARIANTS)], 1)


def _rate(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _epoch(
    towers: Towers,
    material: Material,
    optimiser: torch.optim.Optimizer,
    options: FitOptions,
    epoch: int,
    seen: Seen | None,
    generator: torch.Generator,
) -> float:
    """One pass over the training parts; returns the mean loss. Each phase has its own curve of the learning rate."""
    towers.train()
    batch = _GRAPH_BATCH if seen is None else options.batch
    epochs, begun = (options.graph_epochs, 0) if seen is None else (options.epochs, options.graph_epochs)
    per_epoch = len(material.captions) // batch
    losses = []
    order = torch.randperm(len(material.captions), generator=generator)[: per_epoch * batch]
    for step, rows in enumerate(order.split(batch), (epoch - begun) * per_epoch):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * _rate(step, epochs * per_epoch)
        loss = batch_loss(towers, material, rows, seen, generator)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return sum(losses) / max(1, len(losses))
