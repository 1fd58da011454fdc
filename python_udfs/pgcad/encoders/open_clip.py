"""Any model of open_clip (CLIP, SigLIP, SigLIP 2, CoCa …) with weights that lie in a folder of this machine.

Nothing is fetched from anywhere, and nothing that a checkpoint holds is run: weights are read from safetensors, or by
torch from a pickle that may hold tensors alone. Beside the checkpoint may lie what its publisher put there:
`open_clip_config.json`, which says how pictures are prepared and describes an architecture that the library does not
know, and the files of its tokenizer. Library: Ilharco et al. 2021, "OpenCLIP"; SigLIP: Zhai et al. 2023, "Sigmoid Loss
for Language Image Pre-Training".
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pgcad.encoders.encoder import Encoder, Kind, Matrix, Modality, mean_of_given, said, unit_rows
from pgcad.encoders.spec import Fields
from pgcad.errors import CadError

CONFIG_FILE = "open_clip_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_PREPARATION = ("mean", "std", "interpolation", "resize_mode")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


@dataclass(frozen=True)
class OpenClipSpec:
    """An architecture and its checkpoint. `stamp` tells a file from another one that takes its place."""

    architecture: str
    checkpoint: Path
    stamp: tuple[int, int, int]

    @classmethod
    def of(cls, given: Mapping[str, Any], models: Path | None) -> OpenClipSpec:
        """From a row of cad.space. Raises CadError 22023, or 55000 when the checkpoint is not there."""
        fields = Fields(given, ("architecture", "checkpoint"))
        architecture, name = fields.text("architecture"), fields.text("checkpoint")
        if not _NAME.fullmatch(architecture):
            hint = "Give a name such as ViT-B-32 or ViT-B-16-SigLIP2: nothing is fetched from a hub."
            raise CadError("22023", f"the encoder's architecture cannot be {architecture!r}", hint)
        file = _checkpoint(name, models)
        state = file.stat()
        return cls(architecture, file, (state.st_ino, state.st_size, state.st_mtime_ns))

    def open(self, default: Encoder, device: str | None) -> Encoder:
        """Load the model onto `device` (default: CUDA if there is one). Raises CadError 0A000, 22023, 53200, 55000."""
        return OpenClipEncoder.load(self, device)


def _checkpoint(name: str, models: Path | None) -> Path:
    if models is None:
        hint = "Start pgcad serve with --models, or set PGCAD_MODELS for it, to say where checkpoints lie."
        raise CadError("55000", "the encoder service was started without a folder of models", hint)
    folder = models.resolve()
    file = (folder / name).resolve()
    if not file.is_relative_to(folder) or file.suffix not in SUFFIXES:
        hint = f"Give a path below that folder which ends in {', '.join(SUFFIXES)}."
        raise CadError("22023", f"the checkpoint {name!r} is no file of weights in the folder of models", hint)
    if not file.is_file():
        raise CadError("55000", f"there is no checkpoint {name!r} in the folder of models", f"Put it into {models}.")
    return file


class OpenClipEncoder:
    """Texts and pictures as unit vectors of one model of open_clip."""

    modalities: frozenset[Modality] = frozenset({"text", "image"})
    largest_batch = None

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        prepare: Callable[[Image.Image], Tensor],
        version: str,
        device: torch.device,
    ) -> None:
        self.version, self.device = version, device
        self._model, self._tokenizer, self._prepare = model, tokenizer, prepare
        # Once through both towers: the dimension as it is, numbers that are none, and the first query pays for nothing.
        widths = {
            self.embed("query", ["warm-up"]).shape[1],
            self.embed("image", [np.zeros((32, 32, 3), np.uint8)]).shape[1],
        }
        if len(widths) > 1:
            hint = "Take an architecture whose towers project into one space."
            raise CadError("22023", f"{version} makes texts and pictures of different lengths: {widths}", hint)
        [self.dim] = widths

    @classmethod
    def load(cls, spec: OpenClipSpec, device: str | None) -> OpenClipEncoder:
        """Build the architecture and fill it with the checkpoint. Raises CadError as `OpenClipSpec.open` does."""
        library = _library()
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        architecture = _architecture(library, spec)
        with spec.checkpoint.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        try:
            model = library.create_model(
                architecture.name,
                load_weights=False,
                pretrained_text=False,
                force_preprocess_cfg=architecture.preparation,
            )
            tokenizer = _tokenizer(library, architecture.text, spec.checkpoint.parent)
        except CadError:
            raise
        except Exception as error:  # a description that does not hold together fails anywhere
            hint = f"Check {CONFIG_FILE} beside the checkpoint; a tower that comes from a hub cannot be built."
            raise CadError("55000", f"{spec.architecture} cannot be built here", hint, _line(error)) from error
        _fill(library, model, spec)
        try:
            model = model.eval().requires_grad_(False).to(target)
        except torch.OutOfMemoryError as error:
            raise _too_large(spec.architecture) from error
        prepare = library.image_transform(
            model.visual.preprocess_cfg["size"],
            False,
            **{name: model.visual.preprocess_cfg[name] for name in _PREPARATION},
        )
        return cls(model, tokenizer, prepare, f"{spec.architecture}-{sha256[:12]}", target)

    @torch.inference_mode()
    def embed(self, kind: Kind, items: Sequence[Any]) -> Matrix:
        """(n, dim) unit rows of n texts, or of n pictures (h, w, 3) prepared as the model wants them.

        Raises CadError 22000 for numbers that are none, 22023 for an empty text, 53200 when the GPU is full.
        """
        if not len(items):
            return np.zeros((0, self.dim), np.float32)
        try:
            if kind == "image":
                pictures = torch.stack([self._prepare(Image.fromarray(item)) for item in items])
                vectors = self._model.encode_image(pictures.to(self.device))
            else:
                vectors = self._model.encode_text(self._tokenizer([said(item) for item in items]).to(self.device))
        except torch.OutOfMemoryError as error:
            raise _too_large(self.version) from error
        return unit_rows(vectors.float().cpu().numpy(), self.version)

    def fuse(
        self,
        text: Matrix | None = None,
        image: Matrix | None = None,
        shape: Matrix | None = None,
        brep: Matrix | None = None,
    ) -> Matrix:
        """The normalised mean of what is given."""
        return mean_of_given(text, image, shape, brep)

    def suppose_text(self, image: Matrix, shape: Matrix, brep: Matrix | None) -> Matrix | None:
        """None: what it was trained on were pictures that somebody had described."""
        return None

    def close(self) -> None:
        """Nothing: a batch takes no longer than it takes."""


def _library() -> ModuleType:
    """open_clip, told to stay off the network. Raises CadError 0A000 when it is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not logging.getLogger().handlers:  # it reports through the root logger, into what is the service's own log
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        with warnings.catch_warnings(action="ignore"):  # of what it does not find for tasks that are none of ours
            import open_clip
    except (ImportError, RuntimeError) as error:  # the latter from a torchvision that was built for another torch
        hint = "Run pip install 'pgcad[openclip]' in the environment of pgcad serve, and restart it."
        raise CadError("0A000", "the encoders of open_clip are not installed here", hint, _line(error)) from error
    return open_clip


@dataclass(frozen=True)
class _Architecture:
    """What to build: the library's name of it, its description of the text tower, and how pictures are prepared."""

    name: str
    text: Mapping[str, Any]
    preparation: Mapping[str, Any]


def _architecture(library: ModuleType, spec: OpenClipSpec) -> _Architecture:
    """One that the library knows, else one that is described beside the checkpoint. Raises CadError 22023, 55000."""
    beside = _config(spec.checkpoint.parent / CONFIG_FILE)
    preparation = beside.get("preprocess_cfg")
    known = library.get_model_config(spec.architecture)
    if known is not None:
        return _Architecture(
            spec.architecture, known["text_cfg"], preparation or _published_preparation(library, spec.architecture)
        )
    described = beside.get("model_cfg")
    if not isinstance(described, dict) or not isinstance(described.get("text_cfg"), dict):
        close = difflib.get_close_matches(spec.architecture, library.list_models(), 6, 0)
        hint = f"Nearest by name: {', '.join(close)}; or put the {CONFIG_FILE} of the model beside its checkpoint."
        raise CadError("22023", f"open_clip knows no architecture {spec.architecture!r}", hint)
    return _Architecture(f"local-dir:{spec.checkpoint.parent}", described["text_cfg"], preparation or {})


def _config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        hint = "Fetch it again from where the checkpoint comes from."
        raise CadError("55000", f"{file.name} beside the checkpoint cannot be read", hint, _line(error)) from error
    return config if isinstance(config, dict) else {}


def _published_preparation(library: ModuleType, architecture: str) -> Mapping[str, Any]:
    """How pictures are prepared for the published weights of an architecture.

    Raises CadError 55000 where that depends on the weights: a guess would make vectors that are nearly right.
    """
    published = [
        library.get_pretrained_cfg(architecture, tag) for tag in library.list_pretrained_tags_by_model(architecture)
    ]
    different = {json.dumps({name: config.get(name) for name in _PREPARATION}) for config in published}
    if len(different) > 1:
        hint = f"Put the {CONFIG_FILE} of the model beside its checkpoint: it says which of them is meant."
        raise CadError("55000", f"pictures for {architecture} are prepared in {len(different)} ways", hint)
    return json.loads(different.pop()) if different else {}


def _tokenizer(library: ModuleType, text: Mapping[str, Any], folder: Path) -> Callable[[list[str]], Tensor]:
    """The tokenizer of a text tower: the library's own, or the one whose files lie beside the checkpoint."""
    length = text.get("context_length", library.tokenizer.DEFAULT_CONTEXT_LENGTH)
    options = text.get("tokenizer_kwargs", {})
    if not text.get("hf_tokenizer_name"):
        own: Callable[[list[str]], Tensor] = library.SimpleTokenizer(context_length=length, **options)
        return own
    missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
    if missing:
        raise CadError(
            "55000",
            f"the tokenizer of this model is not beside its checkpoint: {' and '.join(missing)} missing",
            f"Fetch these files too from where the checkpoint comes from ({text['hf_tokenizer_name']}).",
        )
    local: Callable[[list[str]], Tensor] = library.tokenizer.HFTokenizer(
        str(folder),
        context_length=length,
        tokenizer_mode=text.get("tokenizer_mode"),
        local_files_only=True,
        **options,
    )
    return local


def _fill(library: ModuleType, model: torch.nn.Module, spec: OpenClipSpec) -> None:
    """Put the weights into the model, every one of them as it is. Raises CadError 55000."""
    stored = _tensors(library, spec.checkpoint)
    try:
        library.load_checkpoint(model, str(spec.checkpoint), strict=True, weights_only=True)
    except Exception as error:  # the library fails anywhere, since it converts what others have named otherwise
        raise _does_not_fit(spec, _line(error)) from error
    resized = [
        name for name, ours in model.state_dict().items() if name in stored and stored[name].numel() != ours.numel()
    ]
    if resized:  # the library stretches positions to another size of picture, which makes vectors that are nearly right
        raise _does_not_fit(spec, f"of another size: {', '.join(resized)[:200]}")


def _tensors(library: ModuleType, checkpoint: Path) -> Mapping[str, Tensor]:
    """What the checkpoint holds. Raises CadError 55000 when it cannot be read, or not safely."""
    try:
        stored: Mapping[str, Tensor] = library.factory.load_state_dict(str(checkpoint), weights_only=True)
        return stored
    except pickle.UnpicklingError as error:
        hint = "Convert it to safetensors where it comes from; a pickle that holds more than tensors could run code."
        what = f"the checkpoint {checkpoint.name} is damaged or not safe to load"
        raise CadError("55000", what, hint, _line(error)) from error
    except Exception as error:  # safetensors, zip and torch have errors of their own
        hint = "Fetch it again; a TorchScript archive must be converted to safetensors first."
        raise CadError("55000", f"the checkpoint {checkpoint.name} cannot be read", hint, _line(error)) from error


def _does_not_fit(spec: OpenClipSpec, why: str) -> CadError:
    what = f"the checkpoint {spec.checkpoint.name} is not of the architecture {spec.architecture}"
    return CadError("55000", what, "Name the architecture that these weights were trained with.", why)


def _too_large(what: str) -> CadError:
    return CadError("53200", f"the GPU has no memory left for {what}", "Take a smaller model, or --device cpu.")


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
