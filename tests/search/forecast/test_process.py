"""The Gaussian process of a rung: against scikit-learn's, and what it makes of its inputs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from resnest_search.search.forecast import process
from resnest_search.search.forecast.process import Inputs, Process, fitted, modes


def inputs_of(count: int, seed: int = 0, curve: bool = False) -> Inputs:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 3))
    shown = rng.normal(size=(count, 2)) if curve else None
    return Inputs(features, np.zeros(count), shown)


def test_without_a_curve_it_is_the_process_of_scikit_learn() -> None:
    known, wanted = inputs_of(12), inputs_of(5, seed=1)
    values = 0.7 + 0.1 * np.random.default_rng(2).normal(size=12)
    slope, level, noise = np.exp(2 * modes(with_curve=False))
    kernel = (
        ConstantKernel(1 / 12)
        + ConstantKernel(slope / 3) * DotProduct(0.0)
        + ConstantKernel(level) * RBF(process._LENGTH)
        + WhiteKernel(noise)
    )
    model = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None)
    model.fit(known.features, (values - values.mean()) / values.std())
    mean, deviation = model.predict(wanted.features, return_std=True)
    ours = Process(known, values, modes(with_curve=False), trust=0.5, scale=0.05)
    found, variance = ours.predict(wanted)
    assert found == pytest.approx(values.mean() + values.std() * mean)
    # Student's t with 12 degrees of freedom is that much wider; the noise is given apart.
    observed = (variance + ours.noise) / (values.var() * 12 / 10)
    assert observed == pytest.approx(deviation**2)


def test_hyperparameters_are_at_the_mode() -> None:
    """Nearby ones make the values and themselves no likelier."""
    known = inputs_of(20, curve=True)
    values = known.features[:, 0] + 0.5 * known.curve[:, 1]  # type: ignore[index]
    found = fitted(known, values, 0.0, 0.05)
    prior = np.array([process._PRIOR[name] for name in ("slope", "level", "curve", "noise")])

    def surprise(theta: np.ndarray) -> float:
        covariance = process._Parts(known).covariance(np.exp(2 * theta))
        rest = (values - values.mean()) / values.std()
        _, log_volume = np.linalg.slogdet(covariance)
        apart = (theta - prior[:, 0]) / prior[:, 1]
        fit = rest @ np.linalg.solve(covariance, rest)
        return 0.5 * float(fit + log_volume + apart @ apart)

    inside = (found > -4) & (found < 2)
    assert inside.sum() >= 3
    assert approx_fprime(found, surprise, 1e-6)[inside] == pytest.approx(0, abs=0.05)


def test_a_telling_curve_is_followed_and_noise_is_not() -> None:
    known, wanted = inputs_of(30, curve=True), inputs_of(30, seed=1, curve=True)
    assert known.curve is not None
    assert wanted.curve is not None
    finals, truth = 0.5 + 0.1 * known.curve[:, 0], 0.5 + 0.1 * wanted.curve[:, 0]
    model = Process(known, finals, fitted(known, finals, 0.0, 0.05), 0.0, 0.05)
    mean, variance = model.predict(wanted)
    assert np.corrcoef(mean, truth)[0, 1] > 0.98
    assert np.sqrt(variance + model.noise).mean() < 0.05
    noise = np.random.default_rng(3).normal(0.5, 0.1, size=30)
    model = Process(known, noise, fitted(known, noise, 0.0, 0.05), 0.0, 0.05)
    mean, variance = model.predict(wanted)
    assert mean.std() < 0.07
    assert np.sqrt(variance + model.noise).mean() > 0.08


def test_what_a_curve_does_not_tell_is_taken_for_the_mean() -> None:
    known = inputs_of(10, curve=True)
    assert known.curve is not None
    values = known.curve[:, 0]
    known.curve[:, 1] = np.nan
    theta = modes(with_curve=True)
    wanted = inputs_of(3, seed=1, curve=True)
    without = Inputs(wanted.features, wanted.expected, wanted.curve * [1, np.nan])  # type: ignore[operator]
    model = Process(known, values, theta, 0.5, 0.05)
    mean, variance = model.predict(without)
    assert np.isfinite(mean).all()
    assert np.isfinite(variance).all()


def test_one_value_says_what_is_near_and_what_is_expected_the_rest() -> None:
    features = np.array([[0.0], [0.0], [3.0]])
    expected = np.array([0.0, 0.0, 2.0])
    known = Inputs(features[:1], expected[:1])
    model = Process(known, np.array([0.6]), modes(with_curve=False), trust=0.5, scale=0.05)
    mean, variance = model.predict(Inputs(features, expected))
    assert mean[:2] == pytest.approx(0.6)
    assert mean[2] == pytest.approx(0.6 + 0.05 * 0.5 * 2.0)
    assert variance[2] > variance[0]
