"""The prior is a ridge regression that forgets nothing that it is not told better."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pgcad.encoders.prior import TextPrior
from pgcad.training.material import Material
from pgcad.training.prior import _regress, solve_prior
from pgcad.training.towers import Towers
from sklearn.linear_model import Ridge
from torch import nn


def test_from_nothing_it_is_ridge_regression() -> None:
    generator = torch.Generator().manual_seed(3)
    given, wanted = torch.randn(40, 6, generator=generator), torch.randn(40, 4, generator=generator)
    linear = nn.Linear(6, 4, bias=False)
    nn.init.zeros_(linear.weight)
    with torch.no_grad():
        _regress(linear, given, wanted, torch.arange(40) < 30)
    expected = Ridge(alpha=1.0, fit_intercept=False).fit(given[:30].numpy(), wanted[:30].numpy()).coef_
    assert linear.weight.detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_what_the_parts_do_not_tell_stays_as_it_was() -> None:
    linear = nn.Linear(3, 2, bias=False)
    nn.init.constant_(linear.weight, 0.5)
    with torch.no_grad():
        _regress(linear, torch.tensor([[1.0, 0, 0]] * 99), torch.tensor([[1.0, 0]] * 99), torch.ones(99).bool())
    expected = torch.tensor([[0.995, 0.5, 0.5], [0.005, 0.5, 0.5]])
    torch.testing.assert_close(linear.weight.detach(), expected)


def test_without_texts_the_prior_stays(towers: Towers, material: Material) -> None:
    prior = TextPrior()
    nn.init.constant_(prior.with_brep.weight, 0.25)
    silent = replace(material, has_text=torch.zeros_like(material.has_text))
    solve_prior(prior, towers, silent)
    assert (prior.with_brep.weight == 0.25).all()
    assert (prior.without_brep.weight == 0).all()
