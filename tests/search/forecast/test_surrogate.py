"""Forecasts: the kernel's gradients, and what a model makes of curves that tell much or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from resnest_search.search.forecast import surrogate
from resnest_search.search.forecast.kernel import CurveKernel
from resnest_search.search.forecast.surrogate import SPREAD, forecast

LIMITS = (-4.0, 2.5)
THETA = (-0.4, 0.6, -0.2, 0.3, -1.0)  # level, length, slope, curve, noise


def made_up(count: int = 24, seed: int = 0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features of candidates, and finals that follow them smoothly, with noise."""
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 3, (count, 3))
    finals = 0.7 + 0.05 * features[:, 0] + 0.02 * np.sin(features[:, 1])
    return features, finals + rng.normal(0, noise, count)


# Kernel


def kernel_and_inputs(with_curve: bool) -> tuple[CurveKernel, np.ndarray]:
    theta = THETA if with_curve else (*THETA[:3], THETA[4])
    inputs = np.random.default_rng(1).normal(size=(6, 4))
    return CurveKernel(theta, with_curve, LIMITS), inputs


@pytest.mark.parametrize("with_curve", [True, False])
def test_gradients_are_those_of_finite_differences(with_curve: bool) -> None:
    kernel, inputs = kernel_and_inputs(with_curve)
    _, gradient = kernel(inputs, eval_gradient=True)
    assert gradient.shape == (6, 6, len(kernel.theta))
    step = 1e-6
    for index in range(len(kernel.theta)):
        shift = np.zeros(len(kernel.theta))
        shift[index] = step
        above = kernel.clone_with_theta(kernel.theta + shift)(inputs)
        below = kernel.clone_with_theta(kernel.theta - shift)(inputs)
        assert gradient[:, :, index] == pytest.approx((above - below) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("with_curve", [True, False])
def test_covariances_are_symmetric_and_positive(with_curve: bool) -> None:
    kernel, inputs = kernel_and_inputs(with_curve)
    covariance = kernel(inputs)
    assert covariance == pytest.approx(covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert kernel.diag(inputs) == pytest.approx(np.diag(covariance))


def test_noise_is_no_part_of_what_two_sets_share() -> None:
    kernel, inputs = kernel_and_inputs(True)
    noise = np.exp(2 * THETA[4])
    assert kernel(inputs, inputs) + noise * np.eye(6) == pytest.approx(kernel(inputs))


def test_a_clone_has_the_same_hyperparameters() -> None:
    kernel, inputs = kernel_and_inputs(True)
    copy = clone(kernel)
    assert copy(inputs) == pytest.approx(kernel(inputs), rel=0)
    assert copy.bounds.tolist() == [list(LIMITS)] * copy.n_dims
    assert not copy.is_stationary()


# Forecasts


def test_with_nothing_known_it_knows_the_spread_alone() -> None:
    empty = np.empty((0, 3))
    found = forecast(np.zeros((2, 3)), None, empty, None, np.empty(0))
    assert found.mean.tolist() == [0.0, 0.0]
    assert found.deviation.tolist() == [SPREAD] * 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_is_enough_for_a_forecast(count: int) -> None:
    features, finals = made_up()
    found = forecast(features, None, features[:count], None, finals[:count])
    assert np.isfinite(found.mean).all()
    assert (found.deviation > 0).all()
    assert np.abs(found.mean - 0.75).max() < 0.3


def test_what_is_unknown_of_a_candidate_is_taken_for_the_mean() -> None:
    features, finals = made_up()
    nobodys = np.column_stack([features, np.full(24, np.nan)])
    plain = forecast(features, None, features[:8], None, finals[:8])
    found = forecast(nobodys, None, nobodys[:8], None, finals[:8])
    assert found.mean == pytest.approx(plain.mean)
    odd, usual = features[:1].copy(), features[:1].copy()
    odd[0, 2], usual[0, 2] = np.nan, features[:8, 2].mean()
    first, second = (forecast(x, None, features[:8], None, finals[:8]) for x in (odd, usual))
    assert first.mean == pytest.approx(second.mean)
    features[3, 1] = np.nan
    assert np.isfinite(forecast(features, None, features[:8], None, finals[:8]).mean).all()


def test_without_features_the_curve_alone_tells() -> None:
    _, finals = made_up()
    curve, nothing = finals / 2, np.full((24, 1), np.nan)
    found = forecast(nothing[12:], curve[12:], nothing[:12], curve[:12], finals[:12])
    assert found.mean == pytest.approx(finals[12:], abs=0.3 * finals.std())


def test_equal_finals_are_no_trouble() -> None:
    features, _ = made_up(6)
    curve = np.full(6, 0.4)
    found = forecast(features, curve, features, curve, np.full(6, 0.8))
    assert found.mean == pytest.approx(np.full(6, 0.8))
    assert np.isfinite(found.deviation).all()


def test_the_same_question_has_the_same_answer() -> None:
    features, finals = made_up(noise=0.01)
    arguments: Any = (features, finals - 0.2, features[:12], finals[:12] - 0.2, finals[:12])
    first = forecast(*arguments)
    other = forecast(features, finals, features[:9], finals[:9], finals[:9])
    surrogate._fitted.cache_clear()
    again = forecast(*arguments)
    assert first.mean.tolist() == again.mean.tolist()
    assert first.deviation.tolist() == again.deviation.tolist()
    assert first.mean.tolist() != other.mean.tolist()


@pytest.mark.parametrize("with_curve", [True, False])
def test_the_order_of_what_finished_does_not_matter(with_curve: bool) -> None:
    features, finals = made_up(noise=0.01)
    curve = finals - 0.3 + np.random.default_rng(2).normal(0, 0.01, len(finals))
    order = np.random.default_rng(3).permutation(12)
    known = (features[:12], curve[:12] if with_curve else None, finals[:12])
    turned = (known[0][order], None if known[1] is None else known[1][order], known[2][order])
    value = curve if with_curve else None
    first, second = forecast(features, value, *known), forecast(features, value, *turned)
    assert first.mean == pytest.approx(second.mean, abs=1e-4)
    assert first.deviation == pytest.approx(second.deviation, rel=0.01)


def test_a_candidate_alone_is_forecast_as_among_others() -> None:
    features, finals = made_up(noise=0.01)
    together = forecast(features, None, features[:10], None, finals[:10])
    alone = [forecast(features[[i]], None, features[:10], None, finals[:10]) for i in range(24)]
    assert together.mean == pytest.approx(np.concatenate([found.mean for found in alone]))


def test_it_goes_through_finals_without_noise() -> None:
    features, finals = made_up(40)
    found = forecast(features[30:], None, features[:30], None, finals[:30])
    between = finals[30:].std()
    assert np.abs(found.mean - finals[30:]).max() < 0.3 * between
    assert found.deviation.max() < 0.5 * between


@pytest.mark.parametrize("seed", range(3))
def test_a_curve_of_noise_is_ignored(seed: int) -> None:
    features, finals = made_up(seed=seed, noise=0.02)
    rng = np.random.default_rng(100 + seed)
    curve = rng.normal(0.5, 0.1, len(finals))
    known: Any = (features[:16], curve[:16], finals[:16])
    low, high = (forecast(features[16:], np.full(8, value), *known).mean for value in (0.4, 0.6))
    assert np.abs(high - low).max() < 0.5 * finals.std()
    with_curve = forecast(features[16:], curve[16:], *known)
    without = forecast(features[16:], None, features[:16], None, finals[:16])
    assert with_curve.evidence[0] < np.log(10)
    assert without.evidence[0] == 0
    assert (with_curve.deviation > 0.8 * without.deviation).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_curve_that_tells_all_is_followed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, finals = rng.uniform(0, 3, (24, 3)), rng.normal(0.8, 0.03, 24)
    curve = 0.5 * finals
    known: Any = (features[:12], curve[:12], finals[:12])
    with_curve = forecast(features[12:], curve[12:], *known)
    without = forecast(features[12:], None, features[:12], None, finals[:12])
    assert np.abs(with_curve.mean - finals[12:]).max() < 0.5 * finals.std()
    assert with_curve.evidence[0] > np.log(100)
    assert (with_curve.deviation < 0.6 * without.deviation).all()


def test_little_knowledge_makes_wide_forecasts() -> None:
    """With four known, an interval for 80 % that ignored it would hold far fewer."""
    inside = []
    for seed in range(40):
        features, finals = made_up(14, seed, noise=0.03)
        found = forecast(features[4:], None, features[:4], None, finals[:4])
        inside.append(np.abs(finals[4:] - found.mean) < 1.2816 * found.deviation)
    assert 0.65 < np.mean(inside) < 0.95


def test_of_very_many_an_even_share_is_learned_from() -> None:
    """What is chosen by its end would make all others look better than they are."""
    finals = np.random.default_rng(0).normal(0.7, 0.05, 500)  # of features that tell nothing
    features = np.random.default_rng(1).normal(size=(600, 3))
    found = forecast(features[500:], None, features[:500], None, finals)
    assert found.mean == pytest.approx(np.full(100, finals.mean()), abs=0.02)
    assert found.mean.mean() == pytest.approx(finals.mean(), abs=0.005)
