"""`pgcad train`: from a folder of models and a split file to the weights of the default space."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pgcad.cache import cache_folder
from pgcad.training.fit import FitOptions, fit
from pgcad.training.image_lessons import taught_image_tower
from pgcad.training.kicad import kicad_dataset
from pgcad.training.material import load_material
from pgcad.training.towers import Towers


@dataclass(frozen=True)
class Options:
    """Command-line options; see `pgcad train --help`."""

    split: Path
    models: Path
    out: Path
    cache: Path
    image_minutes: float
    graph_epochs: int
    epochs: int
    batch: int
    learning_rate: float
    seed: int
    workers: int
    minutes: float
    resume: bool
    only_prepared: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pgcad train` with command-line `arguments`; returns the exit status."""
    options = _parse(arguments)
    torch.manual_seed(options.seed)
    dataset = kicad_dataset(
        options.split, options.models, options.cache, options.workers, options.seed, options.only_prepared
    )
    print(dataset.summary(), flush=True)
    image = taught_image_tower(dataset.training, options.cache, options.seed, options.image_minutes, options.workers)
    material = load_material(dataset, image, options.cache, options.workers)
    best = fit(Towers(image), material, _fit_options(options))
    print(f"best score on validation: {best:.3f}; weights in {options.out}")
    return 0


def _fit_options(options: Options) -> FitOptions:
    return FitOptions(
        out=options.out,
        state=options.cache / "train-state.pt",
        resume=options.resume,
        graph_epochs=options.graph_epochs,
        epochs=options.epochs,
        batch=options.batch,
        learning_rate=options.learning_rate,
        seed=options.seed,
        minutes=options.minutes,
    )


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="pgcad train", description=__doc__)
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--models", type=Path, required=True, help="folder the paths of the split file start from")
    out_help = "folder for the weights, which pgcad serve --weights then reads (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("weights/cad"), help=out_help)
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    image_help = "how long the image backbone learns, 0 for not at all (default: %(default)s); kept in --cache"
    parser.add_argument("--image-minutes", type=float, default=60.0, help=image_help)
    parser.add_argument("--graph-epochs", type=int, default=6, help="epochs in which the graph network learns too")
    parser.add_argument("--epochs", type=int, default=80, help="epochs after that, for the projections alone")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2, help="processes that prepare data")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop training after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the last finished epoch")
    parser.add_argument("--only-prepared", action="store_true", help="train on what is prepared already")
    return Options(**vars(parser.parse_args(arguments)))
