"""The default space `cad`: what the encoder service loads once and asks for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import pgcad
from pgcad.encoders.brep import BrepTower, brep_features
from pgcad.encoders.checkpoint import load_checkpoint
from pgcad.encoders.encoder import Kind, Modality
from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.encoders.image import ImageTower, normalised
from pgcad.encoders.precision import short_numbers
from pgcad.encoders.prior import TextPrior
from pgcad.encoders.shape import CLOUD, shape_features
from pgcad.encoders.shape_tower import NETWORKS, EdgeTower, ShapeTower, network_of
from pgcad.encoders.text import SentenceEncoder, TextTower
from pgcad.errors import CadError
from pgcad.geometry.brep_graph import BrepGraph

DIM = 512
# On a CPU, what the widest layer makes of more pictures fits no cache and costs a page fault for every page.
PICTURES_AT_ONCE = {"cpu": 4, "cuda": 256}
WEIGHTS = Path(pgcad.__file__).parent / "weights" / "cad"
PRIOR = "prior"
"""Its name in the weights, which may come without: those of a training that has not ended do."""
TOWERS: dict[str, type[nn.Module]] = {
    "text": TextTower,
    "image": ImageTower,
    "shape": EdgeTower,
    "brep": BrepTower,
}


class CadSpace:
    """Text, images and shapes as unit vectors of one 512-d space; the first 128 and 256 dimensions serve alone too.

    Implements `pgcad.encoders.encoder.Encoder`. The service calls it from several threads at once: that is safe,
    because they share nothing that they change.
    """

    name = "cad"
    dim = DIM
    modalities: frozenset[Modality] = frozenset({"text", "image", "points", "brep"})
    largest_batch = None

    def __init__(self, towers: dict[str, Any], fusion: FusionWeights, version: str, device: torch.device) -> None:
        self.version = version
        self.device = device
        self.fusion = fusion
        self._sentences = SentenceEncoder(device)
        self._short_numbers = short_numbers(device)
        self.text_tower: TextTower = towers["text"]
        self.image_tower: ImageTower = towers["image"]
        self.shape_tower: ShapeTower = towers["shape"]
        self.brep_tower: BrepTower = towers["brep"]
        self.prior: TextPrior | None = towers.get(PRIOR)

    @classmethod
    def load(cls, weights: Path | None = None, device: str | None = None) -> CadSpace:
        """Load the shipped weights, or those in the folder `weights`, onto `device` (default: CUDA when there is one).

        Raises CadError 55000 when the weights are missing, damaged or made for other backbones.
        """
        folder = weights or WEIGHTS
        tensors, fusion, sha256 = load_checkpoint(folder)
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        towers = {}
        classes = TOWERS | ({PRIOR: TextPrior} if PRIOR in tensors else {})
        for name, tower_class in classes.items():
            given = tensors.get(name, {})
            if name == "shape":
                tower_class = NETWORKS[network_of(given)]
            tower = tower_class()
            try:
                tower.load_state_dict(given)
            except RuntimeError as error:
                raise CadError(
                    "55000",
                    f"the {name} tower in {folder} does not fit this version of pgcad",
                    "Restore the weights that came with this version, or make new ones with 'pgcad train'.",
                    str(error),
                ) from error
            towers[name] = tower.eval().requires_grad_(False).to(target)
        return cls(towers, fusion, f"{cls.name}-{sha256[:12]}", target)

    def embed(self, kind: Kind, items: Sequence[Any]) -> NDArray[np.float32]:
        """(n, 512) of n items of a kind. Raises CadError as the methods for each kind do."""
        if kind == "image":
            return self.embed_image(items)
        if kind == "points":
            return self.embed_points(np.stack(items))
        if kind == "brep":
            return self.embed_brep(items)
        return self.embed_text(items, role=kind)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str], role: str = "query") -> NDArray[np.float32]:
        """(n, 512) of n texts, English or Chinese; `role` is `query` or `passage`.

        Raises CadError 22023 for an empty text or an unknown role.
        """
        if not texts:
            return self._none()
        return _array(self.text_tower(self._sentences.features(texts, role).to(self.device)))

    @torch.inference_mode()
    def embed_image(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(n, 512) of n RGB images (h, w, 3)."""
        if not len(images):
            return self._none()
        pictures = normalised(images).to(self.device).split(PICTURES_AT_ONCE[self.device.type])
        with torch.autocast("cpu", torch.bfloat16, enabled=self._short_numbers):
            features = [self.image_tower.backbone(some) for some in pictures]
        return _array(self.image_tower.head(torch.cat(features).float()))

    @torch.inference_mode()
    def embed_points(self, clouds: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 512) of n clouds (n, 2048, 6) in mm with unit normals.

        Raises CadError 22023 for another shape or for numbers that are not finite.
        """
        clouds = np.ascontiguousarray(clouds, np.float32)
        if clouds.ndim != 3 or clouds.shape[1:] != (CLOUD, 6):
            raise CadError(
                "22023",
                f"point clouds have shape {clouds.shape}, not (n, {CLOUD}, 6)",
                "Sample them with pgcad.geometry.",
            )
        if not np.isfinite(clouds).all():
            raise CadError("22023", "a point cloud has coordinates that are not finite", "Remove those points.")
        if not len(clouds):
            return self._none()
        return _array(self.shape_tower(shape_features(torch.from_numpy(clouds).to(self.device))))

    @torch.inference_mode()
    def embed_brep(self, graphs: Sequence[BrepGraph]) -> NDArray[np.float32]:
        """(n, 512) of n boundary representations."""
        if not graphs:
            return self._none()
        return _array(self.brep_tower(brep_features(graphs).to(self.device)))

    def fuse(
        self,
        text: NDArray[np.float32] | None = None,
        image: NDArray[np.float32] | None = None,
        shape: NDArray[np.float32] | None = None,
        brep: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """One unit vector (512,) from those that are given. Raises CadError 22023 when none is."""
        given = (text, image, shape, brep)
        if all(vector is None for vector in given):
            raise CadError("22023", "nothing to fuse", "Give a text, an image or a shape.")
        return _array(fuse(self.fusion, *(None if vector is None else torch.from_numpy(vector) for vector in given)))

    @torch.inference_mode()
    def suppose_text(
        self, image: NDArray[np.float32], shape: NDArray[np.float32], brep: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | None:
        """(…, 512) of (…, 512) each; None where the weights have no prior."""
        if self.prior is None:
            return None
        given = (image, shape) if brep is None else (image, shape, brep)
        return _array(self.prior(*(torch.from_numpy(vector).to(self.device) for vector in given)))

    def close(self) -> None:
        """Nothing: a batch takes no longer than it takes."""

    def _none(self) -> NDArray[np.float32]:
        return np.zeros((0, self.dim), np.float32)


def _array(vectors: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = vectors.cpu().numpy()
    return array
