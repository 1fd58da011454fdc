"""The image backbone learns to tell parts apart by pictures of them: each part is a class, and whatever picture of it,
from any side, under any light, drawn or shaded, must be told from those of all others.

Zhai and Wu 2019, "Classification is a Strong Baseline for Deep Metric Learning". Pictures are small at first, which
saves half the time of a step: Tan and Le 2021, "EfficientNetV2: Smaller Models and Faster Training", section 4.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize

from pgcad.encoders.image import ImageTower, standardised
from pgcad.training.imagenet import imagenet_backbone
from pgcad.training.losses import NESTED_DIMS
from pgcad.training.pictures import CANONICAL, PICTURES, disturbed

_UNDISTURBED_SHARE = 0.25
_FIRST_SCALE = 20.0
_WEIGHT_DECAY = 0.02
_WARM_UP_STEPS, _REPORT_STEPS = 100, 50
_HEAD_RATE = 5.0  # projection and classes begin from less than the backbone does
_CHUNK = 64
_FROZEN_BLOCKS = 5
_SMALL, _SMALL_SHARE = 0.7, 0.6  # the side of the small pictures, and of the lessons that are held with them


@dataclass(frozen=True)
class ImageOptions:
    """How long and how the backbone learns."""

    seed: int
    minutes: float
    batch: int = 64
    learning_rate: float = 2e-4


@dataclass(frozen=True)
class Album:
    """Pictures (n, PICTURES, side, side) of n parts, and `twins` (n,): the same number for parts that look the same."""

    pictures: NDArray[np.uint8]
    twins: Tensor


class ImageStudent(nn.Module):
    """The tower from ImageNet on, a direction for each of n parts, and a temperature: pictures (m, 1, h, w) in 0 … 1 →
    (m, dim), unit length.
    """

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.tower = ImageTower()
        self.tower.backbone = imagenet_backbone()
        for module in (self.tower.backbone.stem, *self.tower.backbone.blocks[:_FROZEN_BLOCKS]):
            module.requires_grad_(False)
        self.classes = nn.Parameter(torch.zeros(parts, NESTED_DIMS[-1]))
        self.log_scale = nn.Parameter(torch.tensor(math.log(_FIRST_SCALE)))

    def forward(self, pictures: Tensor) -> Tensor:
        pictures = standardised(pictures.expand(-1, 3, -1, -1)).contiguous(memory_format=torch.channels_last)
        learning, backbone = torch.is_grad_enabled(), self.tower.backbone
        with torch.autocast("cpu", torch.bfloat16):
            maps = backbone.begun(pictures, _FROZEN_BLOCKS)
        # Backward, bfloat16 takes longer than float32 on a CPU.
        with torch.autocast("cpu", torch.bfloat16, enabled=not learning):
            features = backbone.ended(maps.float() if learning else maps, _FROZEN_BLOCKS)
        return self.tower.head(features.float())


@torch.no_grad()
def begin_classes(student: ImageStudent, album: Album) -> None:
    """Set the direction of each part to that of its first picture."""
    student.eval()
    for rows in torch.arange(len(album.twins)).split(_CHUNK):
        student.classes[rows] = student(_pictures(album, rows, torch.zeros_like(rows)))


def train_images(
    student: ImageStudent, album: Album, options: ImageOptions, had: float, keep: Callable[[float], None]
) -> None:
    """Train until `minutes` are over, of which the student `had` some before; `keep` is told from time to time how many
    they are. Prints the loss and how often the right part came first.
    """
    backbone = student.tower.backbone
    groups = [
        {"params": [p for p in backbone.parameters() if p.requires_grad], "rate": 1.0},
        {"params": [*student.tower.project.parameters(), student.classes, student.log_scale], "rate": _HEAD_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=_WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(options.seed + round(had * 60))
    started = time.monotonic()
    losses, firsts = [], []
    student.train()
    for step, rows in enumerate(_batches(len(album.twins), options, had)):
        minutes = had + (time.monotonic() - started) / 60
        if minutes >= options.minutes:
            break
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
            cosine = 0.5 * (1 + math.cos(math.pi * minutes / options.minutes))
            group["lr"] = options.learning_rate * group["rate"] * warm * cosine
        small = minutes < _SMALL_SHARE * options.minutes
        loss, first = _step(student, album, rows, _SMALL if small else 1.0, generator)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        firsts.append(first)
        if step % _REPORT_STEPS == _REPORT_STEPS - 1:
            keep(minutes)
            print(
                f"step {step + 1} loss {np.mean(losses[-_REPORT_STEPS:]):.3f} first "
                f"{np.mean(firsts[-_REPORT_STEPS:]):.3f} scale {student.log_scale.exp().item():.1f} {minutes:.1f} min",
                flush=True,
            )
    keep(options.minutes)
    student.eval()


def _step(
    student: ImageStudent, album: Album, rows: Tensor, scale: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Loss of one picture each of the parts `rows`, scaled, and the share of them whose part came first."""
    n = len(rows)
    clear = torch.rand(n, generator=generator) < _UNDISTURBED_SHARE
    canonical = torch.randint(0, CANONICAL, (n,), generator=generator)
    random_view = torch.randint(CANONICAL, PICTURES, (n,), generator=generator)
    pictures = _pictures(album, rows, torch.where(clear, canonical, random_view))
    if scale != 1.0:
        pictures = interpolate(pictures, scale_factor=scale, mode="bilinear", antialias=True)
    pictures = torch.where(clear.view(-1, 1, 1, 1), pictures, disturbed(pictures, generator))
    return _classified(student, student(pictures), rows, album.twins)


def _classified(student: ImageStudent, vectors: Tensor, rows: Tensor, twins: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy of vectors (n, dim) of the parts `rows` among all parts, whose twins do not count against them, and
    how often the right one came first.
    """
    of_rows = torch.zeros(len(rows), len(twins), dtype=torch.bool).scatter_(1, rows.unsqueeze(1), True)
    left_out = (twins[rows].unsqueeze(1) == twins.unsqueeze(0)) & ~of_rows
    scale, losses, first = student.log_scale.exp().clamp_max(100.0), [], 0.0
    for dim in NESTED_DIMS:
        cosines = normalize(vectors[:, :dim], dim=1) @ normalize(student.classes[:, :dim], dim=1).T
        logits = (scale * cosines).masked_fill(left_out, -math.inf)
        losses.append(cross_entropy(logits, rows))
        first = float((logits.argmax(1) == rows).float().mean())
    return torch.stack(losses).mean(), first


def _pictures(album: Album, rows: Tensor, which: Tensor) -> Tensor:
    """(n, 1, side, side) in 0 … 1."""
    return torch.from_numpy(album.pictures[rows.numpy(), which.numpy()]).unsqueeze(1).float() / 255


def _batches(parts: int, options: ImageOptions, had: float) -> Iterator[Tensor]:
    """Rows of batches without end; each part once in every round."""
    rng = random.Random(f"{options.seed} {had}")
    while True:
        rows = rng.sample(range(parts), parts)
        for start in range(0, parts - options.batch + 1, options.batch) or [0]:
            yield torch.tensor(rows[start : start + options.batch])
