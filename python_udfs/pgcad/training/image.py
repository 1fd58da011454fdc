"""The image backbone learns which pictures show one part: a picture from any side, under any light, drawn or shaded,
must find the canonical views of its part among those of all others, its look-alikes in the same family first.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from pgcad.corpus.records import random_shots
from pgcad.encoders.image import EfficientNetLite0, ImageTower, standardised
from pgcad.geometry.views import VIEWS, camera_axes
from pgcad.training.imagenet import imagenet_backbone
from pgcad.training.losses import NESTED_DIMS
from pgcad.training.pictures import CANONICAL, PICTURES, disturbed

_GALLERY_VIEWS = 2
_LEARN_VIEWS_SHARE = 0.25
_MEMORY = 4096
_FAMILY_SHARE = 0.5
_WEIGHT_DECAY = 0.02
_WARM_UP_STEPS, _REPORT_STEPS = 100, 50
_PROJECTION_RATE = 5.0  # the projection begins from nothing, the backbone does not


@dataclass(frozen=True)
class ImageOptions:
    """How long and how the backbone learns; `side`: of the square pictures; `frozen_blocks`: blocks that stay."""

    seed: int
    minutes: float
    batch: int = 64
    side: int = 160
    learning_rate: float = 3e-4
    frozen_blocks: int = 5


@dataclass(frozen=True)
class Album:
    """Pictures (n, PICTURES, h, w) of n parts; `nearest` (n, random views): the canonical view closest to each random
    one; `families` and `twins` (n,) as numbers.
    """

    pictures: NDArray[np.uint8]
    nearest: Tensor
    families: Tensor
    twins: Tensor


class ImageStudent(nn.Module):
    """The tower from ImageNet on, and a temperature: pictures (n, 1, h, w) in 0 … 1 → (n, dim), unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = ImageTower()
        self.tower.backbone = imagenet_backbone()
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def forward(self, pictures: Tensor) -> Tensor:
        pictures = standardised(pictures.expand(-1, 3, -1, -1)).contiguous(memory_format=torch.channels_last)
        # Backward, bfloat16 takes longer than float32 on a CPU.
        with torch.autocast("cpu", torch.bfloat16, enabled=not torch.is_grad_enabled()):
            features = self.tower.backbone(pictures)
        return self.tower.head(features.float())


def nearest_views(keys: Sequence[str]) -> Tensor:
    """(n, random views): number of the canonical view that looks from the direction closest to each random one."""
    canonical = np.stack([camera_axes(view)[0] for view in VIEWS])
    rows = []
    for key in keys:
        directions = np.stack([camera_axes(view)[0] for shot in random_shots(key) for view in shot.views])
        rows.append((directions @ canonical.T).argmax(1))
    return torch.from_numpy(np.stack(rows))


def train_images(
    student: ImageStudent, album: Album, options: ImageOptions, had: float, keep: Callable[[float], None]
) -> None:
    """Train until `minutes` are over, of which the student `had` some before; `keep` is told from time to time how many
    they are. Prints the loss and how often the right part came first.
    """
    backbone = student.tower.backbone
    _freeze(backbone, options.frozen_blocks)
    groups = [
        {"params": [p for p in backbone.parameters() if p.requires_grad], "rate": 1.0},
        {"params": [*student.tower.project.parameters(), student.log_scale], "rate": _PROJECTION_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=_WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(options.seed + round(had * 60))
    started = time.monotonic()
    losses, firsts = [], []
    memory = _Memory(_MEMORY, NESTED_DIMS[-1])
    student.train()
    for step, rows in enumerate(_batches(album, options, had)):
        minutes = had + (time.monotonic() - started) / 60
        if minutes >= options.minutes:
            break
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
            cosine = 0.5 * (1 + math.cos(math.pi * minutes / options.minutes))
            group["lr"] = options.learning_rate * group["rate"] * warm * cosine
        loss, first = _step(student, album, rows, memory, options.side, generator)
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


def _freeze(backbone: EfficientNetLite0, blocks: int) -> None:
    backbone.requires_grad_(True)
    for module in (backbone.stem, *backbone.blocks[:blocks]):
        module.requires_grad_(False)


class _Memory:
    """Vectors of the latest views: parts to be told apart from, for the price of keeping them.

    Wang et al. 2020, "Cross-Batch Memory for Embedding Learning".
    """

    def __init__(self, size: int, dim: int) -> None:
        self._vectors, self._parts = torch.zeros(size, dim), torch.full((size,), -1)
        self._next = 0

    def recall(self) -> tuple[Tensor, Tensor]:
        """Vectors (m, dim) and the rows (m,) of their parts."""
        known = self._parts >= 0
        return self._vectors[known], self._parts[known]

    def keep(self, vectors: Tensor, parts: Tensor) -> None:
        places = (self._next + torch.arange(len(parts))) % len(self._parts)
        self._vectors[places], self._parts[places] = vectors, parts
        self._next = (self._next + len(parts)) % len(self._parts)


def _step(
    student: ImageStudent, album: Album, rows: Tensor, memory: _Memory, side: int, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Loss of a batch of parts, and the share of pictures whose part came first.

    Only one side learns in a step, now the disturbed pictures from any side, now the canonical views: forward passes
    alone cost a fifth.
    """
    n = len(rows)
    asked = torch.randint(0, PICTURES - CANONICAL, (n,), generator=generator)
    shown = torch.randint(0, CANONICAL, (n, _GALLERY_VIEWS), generator=generator)
    shown[:, 0] = album.nearest[rows, asked]
    pictures = disturbed(_pictures(album, rows, CANONICAL + asked, side), generator)
    owners = rows.repeat_interleave(_GALLERY_VIEWS)
    views = _pictures(album, owners, shown.flatten(), side)
    if torch.rand(1, generator=generator) < _LEARN_VIEWS_SHARE:
        first = slice(None, None, _GALLERY_VIEWS)  # the nearest view of each
        learning, fixed, owners = views[first], pictures, rows
    else:
        learning, fixed = pictures, views
    queries = student(learning)
    with torch.no_grad():
        gallery = student(fixed)
    known, of_parts = memory.recall()
    if fixed is views:
        memory.keep(gallery, owners)
    return _contrast(
        student, queries, torch.cat([gallery, known]), rows, torch.cat([owners, of_parts]), album.twins, len(owners)
    )


def _contrast(
    student: ImageStudent, queries: Tensor, gallery: Tensor, rows: Tensor, owners: Tensor, twins: Tensor, fresh: int
) -> tuple[Tensor, float]:
    """InfoNCE of queries (n, dim) whose parts are `rows` with a gallery (m, dim) whose parts are `owners`.

    What is right is any of the `fresh` first views of the same part; its older ones and its twins do not count.
    """
    same = rows.unsqueeze(1) == owners.unsqueeze(0)
    right = same & (torch.arange(len(owners)) < fresh)
    left_out = (twins[rows].unsqueeze(1) == twins[owners].unsqueeze(0)) & ~right
    scale, losses, first = student.log_scale.exp().clamp_max(100.0), [], 0.0
    for dim in NESTED_DIMS:
        cosines = normalize(queries[:, :dim], dim=1) @ normalize(gallery[:, :dim], dim=1).T
        logits = (scale * cosines).masked_fill(left_out, -math.inf)
        losses.append((logits.logsumexp(1) - logits.masked_fill(~right, -math.inf).logsumexp(1)).mean())
        first = float(right.gather(1, logits.argmax(1, keepdim=True)).float().mean())
    return torch.stack(losses).mean(), first


def _pictures(album: Album, rows: Tensor, which: Tensor, side: int) -> Tensor:
    """(n, 1, side, side) in 0 … 1."""
    pictures = torch.from_numpy(album.pictures[rows.numpy(), which.numpy()]).unsqueeze(1).float() / 255
    if side == pictures.shape[2]:
        return pictures
    return interpolate(pictures, (side, side), mode="bilinear", antialias=True)


def _batches(album: Album, options: ImageOptions, had: float) -> Iterator[Tensor]:
    """Rows of batches without end: a share from one family, large families more often, the others from anywhere."""
    rng = random.Random(f"{options.seed} {had}")
    members = [torch.nonzero(album.families == family).flatten() for family in album.families.unique()]
    sizes = [len(of_family) for of_family in members]
    everything = range(len(album.families))
    while True:
        family = rng.choices(members, sizes)[0].tolist()
        related = rng.sample(family, min(len(family), round(_FAMILY_SHARE * options.batch)))
        others = rng.sample(everything, options.batch)
        rows = list(dict.fromkeys([*related, *others]))[: options.batch]
        yield torch.tensor(rows)
