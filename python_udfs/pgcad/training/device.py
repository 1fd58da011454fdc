"""Where the networks compute. Data and random numbers stay on the CPU, so that a seed means the same everywhere."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from pgcad.errors import CadError

CHOICES = ("auto", "cpu", "cuda")
Features = TypeVar("Features")


def chosen_device(name: str) -> torch.device:
    """The device of one of CHOICES; `auto` is CUDA where there is one. Raises CadError 55000 where CUDA is missing."""
    if name == "cuda" and not torch.cuda.is_available():
        raise CadError(
            "55000",
            "--device cuda: no CUDA device can be used here",
            "Train with --device cpu, or install the CUDA build of torch (pgcad[gpu]) and the driver of the card.",
        )
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def device_of(module: nn.Module) -> torch.device:
    """Where the parameters of a module are."""
    return next(module.parameters()).device


def on(device: torch.device, features: Features) -> Features:
    """A dataclass of tensors, on `device`."""
    return type(features)(**{name: tensor.to(device) for name, tensor in vars(features).items()})


def short_floats(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware is made for it: half the memory traffic, and float32's range, so no loss scaling.

    Micikevicius et al. 2018, "Mixed Precision Training"; Kalamkar et al. 2019, "A Study of BFLOAT16".
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
