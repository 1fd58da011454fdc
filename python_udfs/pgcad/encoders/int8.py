"""The sentence encoder in 8-bit integers: half the memory traffic of bfloat16, and half the time on a CPU core.

Weights get one scale per row, the inputs of a layer one per call. A few inputs are much larger than all the others
and would take the digits from these, so each column of the weights takes over a part of its input's range beforehand
(Xiao et al. 2023, "SmoothQuant", arXiv:2211.10438). How far an input ranges is read off the layer before, which
spares a calibration: layer normalisation gives every input a known mean and deviation.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from pgcad.encoders.e5 import E5, EncoderLayer, LayerNorm, Projection
from pgcad.encoders.precision import has

_NORM_DEVIATIONS, _GELU_DEVIATIONS = 3.0, 6.0  # a normalised input is nearly bounded, what GELU lets through is not
_SHARE_OF_RANGE = 0.8
_SMALLEST = 1e-5
_LEAST_GELU = 0.05


class Int8Projection(nn.Module):
    """A linear layer (…, columns) → (…, rows) in 8 bits; `ranges` (columns,) are those of its inputs, None for even."""

    def __init__(self, layer: nn.Module, ranges: Tensor | None = None, share: float = 1.0) -> None:
        super().__init__()
        assert isinstance(layer, Projection)
        weight = layer.weight
        self._divisor: Tensor | None = None
        if ranges is not None:
            heights = weight.abs().amax(0).clamp_min(_SMALLEST)
            factors = ranges.clamp_min(_SMALLEST) ** share / heights ** (1 - share)
            weight, self._divisor = weight * factors, factors.reciprocal()
        scales = weight.abs().amax(1).double() / 127
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():
            # torch announces that these tensors go, and has nothing as quick to replace them.
            warnings.simplefilter("ignore", UserWarning)
            rows = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rows, layer.bias)
        self._seven_bits = not has("avx512_vnni")

    def forward(self, x: Tensor) -> Tensor:
        x = x if self._divisor is None else x * self._divisor
        product: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._seven_bits)
        return product


def in_int8(e5: E5) -> E5:
    """`e5`, its linear layers replaced by those in 8 bits. For CPUs.

    Vectors keep a cosine above 0.998 to those before, above 0.995 where the processor leaves 7 bits.
    """
    before = e5.norm
    for layer in e5.layers:
        assert isinstance(layer, EncoderLayer)
        gelu_ranges = _after_gelu(layer)
        layer.attend = Int8Projection(layer.attend, _after_norm(before), _SHARE_OF_RANGE)
        layer.gather = Int8Projection(layer.gather)
        layer.widen = Int8Projection(layer.widen, _after_norm(layer.norm), _SHARE_OF_RANGE)
        layer.narrow = Int8Projection(layer.narrow, gelu_ranges)
        before = layer.last_norm
    e5.one_by_one = True  # the range of a layer's inputs must not depend on which texts come together
    return e5


def _after_norm(norm: LayerNorm) -> Tensor:
    """How far what leaves a layer normalisation ranges, per dimension."""
    return norm.bias.abs() + _NORM_DEVIATIONS * norm.weight.abs()


def _after_gelu(layer: EncoderLayer) -> Tensor:
    """How far what `narrow` gets ranges, per dimension: a normal variable of known mean and deviation, after GELU."""
    assert isinstance(layer.widen, Projection)
    mean = layer.widen.weight @ layer.norm.bias + layer.widen.bias
    deviation = (layer.widen.weight * layer.norm.weight).norm(dim=1)
    return gelu(mean + _GELU_DEVIATIONS * deviation).abs().clamp_min(_LEAST_GELU)
