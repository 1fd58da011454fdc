"""The towers that are trained together, and what their frozen graph networks saw."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pgcad.encoders.brep import BrepTower
from pgcad.encoders.image import ImageTower
from pgcad.encoders.shape import ShapeTower
from pgcad.encoders.text import TextTower
from pgcad.training.losses import NestedInfoNce


class Towers(nn.Module):
    """The three towers and the temperature, trained together."""

    def __init__(self, image: ImageTower) -> None:
        super().__init__()
        self.text, self.image, self.shape, self.brep = TextTower(), image, ShapeTower(), BrepTower()
        self.image.backbone.requires_grad_(False)
        self.loss = NestedInfoNce()

    def named(self) -> dict[str, nn.Module]:
        return {"text": self.text, "image": self.image, "shape": self.shape, "brep": self.brep}


@dataclass(frozen=True)
class Seen:
    """What the frozen graph networks see of points, in all variants (n, variants, width), and of B-reps: of the
    training parts and of the validation gallery.
    """

    training: Tensor
    training_brep: Tensor
    validation: Tensor
    validation_brep: Tensor
