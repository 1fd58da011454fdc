"""The training itself: epochs, learning rate, validation, and which weights are kept."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pgcad.encoders.checkpoint import save_checkpoint
from pgcad.encoders.shape_tower import ShapeTower
from pgcad.errors import CadError
from pgcad.training.curriculum import batches, family_share
from pgcad.training.encode import brep_pooled, pooled_vectors
from pgcad.training.material import Material
from pgcad.training.monitor import Monitor
from pgcad.training.objective import batch_losses
from pgcad.training.shapes import VARIANTS
from pgcad.training.state import Standing, restore, store
from pgcad.training.tensors import Corpus
from pgcad.training.towers import Seen, Towers
from pgcad.training.validation import validate

_VALIDATE_EVERY = 5
_WARM_UP_STEPS = 20
_WEIGHT_DECAY = 0.02
_GRAPH_BATCH = 128


@dataclass(frozen=True)
class FitOptions:
    """What decides which weights come out: epochs with the graph networks and then without, parts in a batch, the
    largest learning rate, the share of a batch that comes from one family in the end, and the seed.
    """

    graph_epochs: int
    epochs: int
    batch: int
    learning_rate: float
    family_share: float
    seed: int


@dataclass(frozen=True)
class RunOptions:
    """What does not: folder of the weights, file of the state, fingerprint of the run, whether it goes on from its
    state, and after how many minutes it stops.
    """

    out: Path
    state: Path
    run: str
    resume: bool
    minutes: float


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs, from epoch `begun` on, with a batch size and a curve of the learning rate of its own."""

    name: str
    begun: int
    epochs: int
    batch: int
    steps_per_epoch: int
    steps_before: int

    @property
    def steps(self) -> int:
        """Steps of all its epochs."""
        return self.epochs * self.steps_per_epoch


def fit(towers: Towers, material: Material, options: FitOptions, run: RunOptions, monitor: Monitor) -> Standing:
    """Train everything together for the first epochs; then freeze the graph networks, whose passes cost most of the
    time, and go on with what they see.

    The weights that are best on validation are in `run.out`, those it began with where none were better. Raises
    CadError 55000 where `run.resume` finds no state to go on from.
    """
    optimiser = torch.optim.AdamW(towers.parameters(), lr=options.learning_rate, weight_decay=_WEIGHT_DECAY)
    last = options.graph_epochs + options.epochs
    if run.resume:
        standing = restore(run.state, run.run, towers, optimiser)
    else:
        standing = _validated(towers, material, None, run.out, None, 0, monitor)
    seen: Seen | None = None
    started = time.monotonic()
    for epoch in range(standing.epoch, last):
        if epoch >= options.graph_epochs and seen is None:
            seen = _freeze_graph(towers, material)
        _epoch(towers, material, optimiser, options, epoch, seen, monitor)
        if epoch < options.graph_epochs or epoch % _VALIDATE_EVERY == 0 or epoch == last - 1:
            standing = _validated(towers, material, seen, run.out, standing, epoch + 1, monitor)
        standing = replace(standing, epoch=epoch + 1)
        store(run.state, run.run, towers, optimiser, standing)
        if time.monotonic() - started > 60 * run.minutes:
            break
    return standing


def _validated(
    towers: Towers,
    material: Material,
    seen: Seen | None,
    out: Path,
    standing: Standing | None,
    epoch: int,
    monitor: Monitor,
) -> Standing:
    """Where the training stands after `epoch` epochs; weights that are no worse than the best so far are saved."""
    weights, found = validate(towers, material, seen)
    standing = standing or Standing(epoch, before=found, best=found, best_epoch=epoch)
    if found.score >= standing.best.score:
        standing = replace(standing, best=found, best_epoch=epoch)
        save_checkpoint(out, towers.named(), weights)
    monitor.validated(epoch, found, standing.best, vars(weights))
    return standing


def _freeze_graph(towers: Towers, material: Material) -> Seen:
    """Stop training the graph networks; returns what they see of all parts."""
    shape, brep = towers.shape, towers.brep
    shape.freeze_network()
    for module in (brep.grid, brep.face, brep.rounds):
        module.requires_grad_(False)
    return Seen(
        _all_variants(shape, material.corpus),
        brep_pooled(brep, material.corpus),
        _all_variants(shape, material.validation),
        brep_pooled(brep, material.validation),
    )


def _all_variants(tower: ShapeTower, corpus: Corpus) -> Tensor:
    return torch.stack([pooled_vectors(tower, corpus, variant).half() for variant in range(VARIANTS)], 1)


def _phase(options: FitOptions, parts: int, graphs_learn: bool) -> Phase:
    """The phase with the graph networks, or the one after it; a small vault is one batch."""
    batch = min(_GRAPH_BATCH, parts)
    first = Phase("with graph networks", 0, options.graph_epochs, batch, parts // batch, 0)
    if graphs_learn:
        return first
    batch = min(options.batch, parts)
    return Phase("projections alone", options.graph_epochs, options.epochs, batch, parts // batch, first.steps)


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
    monitor: Monitor,
) -> None:
    """One pass over the training parts."""
    towers.train()
    generator = torch.Generator().manual_seed(options.seed * 1000 + epoch)
    phase = _phase(options, len(material.part_families), seen is None)
    share = family_share(epoch, options.graph_epochs + options.epochs, options.family_share)
    done = (epoch - phase.begun) * phase.steps_per_epoch
    monitor.phase(phase.name, phase.steps, done)
    for step, rows in enumerate(batches(material.part_families, phase.batch, share, generator), done):
        rate = options.learning_rate * _rate(step, phase.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses = _step(towers, material, optimiser, rows, seen, generator)
        monitor.step(phase.steps_before + step + 1, losses, rate, towers.loss.log_scale)


def _step(
    towers: Towers,
    material: Material,
    optimiser: torch.optim.Optimizer,
    rows: Tensor,
    seen: Seen | None,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Learn from one batch; returns the losses, one for each pair of modalities.

    Raises CadError 22000 where they are no numbers any more.
    """
    losses = batch_losses(towers, material, rows, seen, generator)
    loss = torch.stack(list(losses.values())).sum()
    if not loss.isfinite():
        wrong = ", ".join(name for name, of_pair in losses.items() if not of_pair.isfinite())
        hint = "Take a lower --learning-rate; the weights that were best before are kept."
        raise CadError("22000", f"the training broke down: the loss of {wrong} is no number", hint)
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
    optimiser.step()
    return losses
