"""The numbers of a text as the text tower reads them: a sentence encoder blurs digits, these features do not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgcad.encoders.log_grid import WAVES_WIDTH, log_grid, log_waves
from pgcad.encoders.quantities import ROLES, quantities

_LOW, _HIGH, _BINS = 0.1, 1000.0, 80
_ROLE_WIDTH = _BINS + 1 + WAVES_WIDTH
WIDTH = len(ROLES) * _ROLE_WIDTH


def quantity_features(texts: Sequence[str]) -> Tensor:
    """(n, WIDTH) float32: per role its numbers on the grid, whether there is one at all, and their waves."""
    features = torch.zeros(len(texts), len(ROLES), _ROLE_WIDTH)
    for row, text in enumerate(texts):
        found = quantities(text)
        for role, name in enumerate(ROLES):
            numbers = [number for number in found.get(name, []) if number > 0]
            if numbers:
                values = torch.tensor(numbers)
                features[row, role, :_BINS] = log_grid(values, _LOW, _HIGH, _BINS).sum(0).clamp_max(1.0)
                features[row, role, _BINS] = 1.0
                features[row, role, _BINS + 1 :] = log_waves(values).sum(0) / len(numbers) ** 0.5
    return features.flatten(1)
