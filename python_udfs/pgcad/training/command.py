"""`pgcad train`: from parts and what is said about them to weights of the default space.

The parts are a vault of one's own (--data), or the KiCad models of a split file (--split and --models).
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pgcad.cache import cache_folder
from pgcad.corpus.translation import GLOSSARY, ChatTranslator, chosen_translator
from pgcad.encoders.checkpoint import load_checkpoint
from pgcad.encoders.shape_tower import NETWORKS, network_of
from pgcad.encoders.space import WEIGHTS
from pgcad.errors import CadError
from pgcad.training.card import CARD_FILE, Circumstances, provenance, write_card
from pgcad.training.dataset import Dataset
from pgcad.training.device import CHOICES, chosen_device
from pgcad.training.fingerprint import fingerprint
from pgcad.training.finish import finish
from pgcad.training.fit import FitOptions, RunOptions, fit
from pgcad.training.image_lessons import taught_image_tower
from pgcad.training.kicad import kicad_dataset
from pgcad.training.material import load_material
from pgcad.training.monitor import Monitor
from pgcad.training.towers import Towers
from pgcad.training.vault import vault_dataset

STATE_FILE = "train-state.pt"
INTERRUPTED = 130
# What is best depends on where the parts come from: a vault improves weights that know much already.
_OF_VAULT: dict[str, Any] = {"start": "shipped", "image_minutes": 0.0, "learning_rate": 3e-4, "family_share": 0.5}
_OF_SPLIT: dict[str, Any] = {"start": "none", "image_minutes": 60.0, "learning_rate": 1e-3, "family_share": 0.0}


@dataclass(frozen=True)
class Start:
    """The weights a training begins with, by tower, what they are and how they came about; none for towers that know
    nothing yet.
    """

    towers: Mapping[str, Mapping[str, Tensor]] | None
    name: str
    provenance: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pgcad train` with command-line `arguments`; returns the exit status.

    Raises CadError for what the user can mend, SidecarError and FileNotFoundError for a vault that cannot be read.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse(arguments)
    try:
        return _train(options, shlex.join(["pgcad", "train", *arguments]))
    except KeyboardInterrupt:
        print(f"Stopped. With --resume the same command goes on after the last epoch in {options.out}.", flush=True)
        return INTERRUPTED


def _train(options: argparse.Namespace, command: str) -> int:
    device = chosen_device(options.device)
    start = _start(options.start, options.out)
    monitor = Monitor(options.logs)
    torch.manual_seed(options.seed)
    dataset = _dataset(options)
    print(dataset.summary(), flush=True)
    image = taught_image_tower(
        dataset.training, start.towers, options.cache, options.seed, options.image_minutes, options.workers
    )
    material = load_material(dataset, image, options.cache, options.workers, device)
    towers = Towers(image, start.towers, options.shape_network).to(device)
    chosen = FitOptions(**{name: getattr(options, name) for name in FitOptions.__dataclass_fields__})
    run = RunOptions(
        options.out,
        options.out / STATE_FILE,
        fingerprint(asdict(chosen), dataset.fingerprint(), start.name, options.image_minutes, options.shape_network),
        options.resume,
        options.minutes,
    )
    if not options.resume:
        (options.out / CARD_FILE).unlink(missing_ok=True)  # of weights that are about to be replaced
    with monitor:
        standing = fit(towers, material, chosen, run, monitor)
    epochs = options.graph_epochs + options.epochs
    if standing.epoch == epochs:
        standing = finish(towers, material, start.towers, options.out, standing)
    told = asdict(chosen) | {"shape_network": network_of(towers.shape.state_dict())}
    made = Circumstances(command, start.name, start.provenance, options.data_licence, told, epochs, device.type)
    write_card(options.out, dataset, standing, made)
    print(f"validation {standing.before.score:.3f} before, {standing.best.score:.3f} now; weights in {options.out}")
    if standing.epoch < epochs:
        print(f"Stopped after {standing.epoch} of {epochs} epochs; the same command with --resume completes them.")
    else:
        run.state.unlink(missing_ok=True)
    return 0


def _start(choice: str, out: Path) -> Start:
    """Raises CadError 55000 for weights that cannot be used, 22023 where they would be overwritten."""
    if choice == "none":
        return Start(None, "towers that knew nothing, the image tower with ImageNet's weights", "")
    folder = WEIGHTS if choice == "shipped" else Path(choice)
    if folder.resolve() == out.resolve():
        raise CadError("22023", f"--from and --out are the same folder, {out}", "Give --out another folder.")
    towers, _, sha256 = load_checkpoint(folder)
    return Start(towers, f"the weights `cad-{sha256[:12]}`", provenance(folder))


def _dataset(options: argparse.Namespace) -> Dataset:
    memory = options.cache / "translations.sqlite"
    translator = chosen_translator(options.translator, options.translator_model, options.translator_key_env, memory)
    cache, workers = options.cache, options.workers
    if options.data:
        dataset = vault_dataset(options.data, options.metadata, options.file_names, translator, cache, workers)
    else:
        dataset = kicad_dataset(
            options.split, options.models, translator, cache, workers, options.seed, options.only_prepared
        )
    if isinstance(translator, ChatTranslator) and translator.replaced:
        print(f"{translator.replaced} translations had lost a number; the glossary's stand in for them", flush=True)
    return dataset


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.data) == bool(options.split):
        parser.error("give either --data DIR, or --split FILE and --models DIR")
    if options.split and not options.models:
        parser.error("--split needs --models, the folder that its paths start from")
    for name, value in (_OF_VAULT if options.data else _OF_SPLIT).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pgcad train", description=__doc__, allow_abbrev=False)
    _add_data(parser.add_argument_group("what is trained on"))
    _add_course(parser.add_argument_group("how"))
    _add_results(parser.add_argument_group("what comes of it"))
    return parser


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", type=Path, metavar="DIR", help="a vault: part files, with sidecars as for pgcad load")
    group.add_argument("--metadata", type=Path, metavar="FILE", help="CSV or JSON table with a column `file`")
    group.add_argument("--file-names", action="store_true", help="the file names of the vault say what the parts are")
    group.add_argument("--split", type=Path, metavar="FILE", help="split file: path, split, series, caption, tags")
    group.add_argument("--models", type=Path, metavar="DIR", help="folder the paths of the split file start from")
    group.add_argument("--only-prepared", action="store_true", help="with --split: train on what is prepared already")
    translator_help = (
        "who says in Chinese what is said in English alone: glossary, or the address of an OpenAI-compatible "
    )
    group.add_argument("--translator", default=GLOSSARY, metavar="URL", help=translator_help + "service, up to /v1")
    group.add_argument("--translator-model", metavar="NAME", help="the service's name of the model")
    group.add_argument("--translator-key-env", metavar="NAME", help="environment variable that holds the service's key")
    licence_help = "licence of the data, for the model card (default: %(default)s)"
    group.add_argument("--data-licence", default="unknown", metavar="TEXT", help=licence_help)


def _add_course(group: argparse._ArgumentGroup) -> None:
    from_help = "folder of weights to begin with, or none (default: the shipped ones for --data, none for --split)"
    group.add_argument("--from", dest="start", metavar="DIR", help=from_help)
    image_help = "how long the image backbone learns first (default: 0 for --data, 60 for --split); kept in --cache"
    network_help = "network of the shape tower (default: that of the weights to begin with, or dgcnn)"
    group.add_argument("--shape-network", choices=list(NETWORKS), help=network_help)
    group.add_argument("--image-minutes", type=_not_negative, metavar="MINUTES", help=image_help)
    graph_help = "epochs in which the graph networks learn too (default: %(default)s)"
    group.add_argument("--graph-epochs", type=_count, default=6, help=graph_help)
    epochs_help = "epochs after that, for the projections alone (default: %(default)s)"
    group.add_argument("--epochs", type=_count, default=80, help=epochs_help)
    group.add_argument("--batch", type=_several, default=256, help="parts in a batch (default: %(default)s)")
    rate_help = "the largest (default: 3e-4 for --data, 1e-3 for --split)"
    group.add_argument("--learning-rate", type=_not_negative, help=rate_help)
    share_help = "share of a batch from one family in the end; it grows from 0 (default: 0.5 for --data, 0 for --split)"
    group.add_argument("--family-share", type=_share, help=share_help)
    group.add_argument("--seed", type=_count, default=7, help="of everything random (default: %(default)s)")
    device_help = "where the networks compute; auto: CUDA where there is one (default: %(default)s)"
    group.add_argument("--device", choices=CHOICES, default="auto", help=device_help)
    group.add_argument("--workers", type=_count, default=2, help="processes that prepare data (default: %(default)s)")
    group.add_argument("--minutes", type=_not_negative, default=math.inf, help="stop after the epoch that passes them")
    group.add_argument(
        "--resume", action="store_true", help="go on after the last epoch that the same command finished"
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    out_help = "folder for the weights, which pgcad serve --weights then reads (default: %(default)s)"
    group.add_argument("--out", type=Path, default=Path("weights/cad"), metavar="DIR", help=out_help)
    group.add_argument("--logs", type=Path, metavar="DIR", help="folder for logs that tensorboard shows")
    cache_help = "prepared data (default: %(default)s)"
    group.add_argument("--cache", type=Path, default=cache_folder(), metavar="DIR", help=cache_help)


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _several(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"{text} is too few: a part is told apart from the others of its batch")
    return number


def _not_negative(text: str) -> float:
    if not (number := float(text)) >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return number


def _share(text: str) -> float:
    if not 0 <= (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
