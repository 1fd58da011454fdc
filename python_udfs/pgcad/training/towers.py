"""The towers that are trained together, and what their frozen graph networks saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pgcad.encoders.brep import BrepTower
from pgcad.encoders.image import ImageTower
from pgcad.encoders.shape_tower import DGCNN, NETWORKS, network_of
from pgcad.encoders.text import TextTower
from pgcad.errors import CadError
from pgcad.training.losses import NestedInfoNce


class Towers(nn.Module):
    """The four towers and the temperature, trained together; they begin with the weights `start` (by tower), or anew.

    The image tower is taken as it is. The shape tower has the network of that name, or the one that it begins with, and
    begins anew where those differ. Raises CadError 55000 for weights of another architecture.
    """

    def __init__(
        self,
        image: ImageTower,
        start: Mapping[str, Mapping[str, Tensor]] | None = None,
        shape_network: str | None = None,
    ) -> None:
        super().__init__()
        begun_with = DGCNN if start is None else network_of(start.get("shape", {}))
        network = shape_network or begun_with
        self.text, self.image, self.shape, self.brep = TextTower(), image, NETWORKS[network](), BrepTower()
        self.image.backbone.requires_grad_(False)
        self.loss = NestedInfoNce()
        if start is not None:
            for name in ("text", "shape", "brep") if network == begun_with else ("text", "brep"):
                load_tower(self.named()[name], name, start)

    def named(self) -> dict[str, nn.Module]:
        return {"text": self.text, "image": self.image, "shape": self.shape, "brep": self.brep}


def load_tower(tower: nn.Module, name: str, start: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Load the weights `start[name]` into a tower. Raises CadError 55000 for weights of another architecture."""
    try:
        tower.load_state_dict(start.get(name, {}))
    except RuntimeError as error:
        raise CadError(
            "55000",
            f"the {name} tower of the starting weights does not fit this version of pgcad",
            "Start from weights of this version, or from none: --from none.",
            str(error),
        ) from error


@dataclass(frozen=True)
class Seen:
    """What the frozen graph networks see of points, in all variants (n, variants, width), and of B-reps: of the
    training parts and of the validation gallery.
    """

    training: Tensor
    training_brep: Tensor
    validation: Tensor
    validation_brep: Tensor
