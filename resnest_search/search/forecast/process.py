"""A Gaussian process of values over candidates and over what their curves have shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

__all__ = ["Inputs", "Process", "even_share", "fitted", "modes"]

Array = NDArray[np.float64]

# Hyperparameters, logarithms of standard deviations over values of unit deviation: (mode of the
# prior, its standard deviation).
_PRIOR = {
    "slope": (math.log(0.5), 0.8),  # of what the features explain linearly
    "level": (math.log(0.6), 0.6),  # of what they explain smoothly
    "curve": (math.log(0.3), 1.0),  # of what the curve explains, linearly: early epochs mislead
    "noise": (math.log(0.4), 0.8),  # of what nothing explains: seeds, images, what has no feature
}
_BOUNDS = (-4.0, 2.0)
_LENGTH = 4.0  # of the smooth part, in standard deviations of the features
_STEPS = 20  # of the optimiser
_LEAST = 0.05  # of the deviation expected at first, which chance may make smaller
_TINY = 1e-8  # keeps a matrix positive


@dataclass(frozen=True)
class Inputs:
    """What is known of n candidates.

    Attributes:
        features: in standard deviations, (n, d).
        expected: what is expected of them before anything is known, in deviations, (n,).
        curve: what their curves have shown, (n, q); None before the first epoch. NaN is unknown.
    """

    features: Array
    expected: Array
    curve: Array | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: NDArray[np.int64]) -> Inputs:
        """Some of them."""
        curve = None if self.curve is None else self.curve[rows]
        return Inputs(self.features[rows], self.expected[rows], curve)


class Process:
    """A Gaussian process with given hyperparameters (Rasmussen and Williams, 2006, chapter 2).

    ``value = mean + trust * expected + slope + level + curve + noise``: a linear and a smooth
    part in the features, a linear part in the curve. Since the scale is estimated from the k
    values, too, deviations are those of Student's t with k degrees of freedom.

    Args:
        known: of k candidates.
        values: of them, more is better, (k,).
        hyperparameters: logarithms, in the order of the prior, (3,) or with a curve (4,).
        trust: in what is expected.
        scale: deviation of the values while fewer than three are known.
    """

    def __init__(
        self, known: Inputs, values: Array, hyperparameters: Array, trust: float, scale: float
    ) -> None:
        self._parts = _Parts(known)
        self._trust = trust
        self._offset, self._scale = _standard(values, scale)
        self._expected = float(known.expected.mean())
        self._variances = np.exp(2 * hyperparameters)
        rest = _standardised(known, values, trust, scale)
        self._factor = np.linalg.cholesky(self._parts.covariance(self._variances))
        half = solve_triangular(self._factor, rest, lower=True, check_finite=False)
        self._weights = solve_triangular(self._factor.T, half, check_finite=False)
        count = len(values)
        self._widening = count / (count - 2) if count >= 3 else 1.0

    @property
    def noise(self) -> float:
        """Variance of a value about what the process knows of it."""
        return float(self._variances[-1] * self._scale**2 * self._widening)

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Means and variances of n values without their noise, (n,) each."""
        across, own = self._parts.across(inputs, self._variances)
        explained = solve_triangular(self._factor, across.T, lower=True, check_finite=False)
        variance = np.maximum(own - (explained**2).sum(axis=0), 1e-12)
        expected = self._trust * (inputs.expected - self._expected)
        mean: Array = self._offset + self._scale * (across @ self._weights + expected)
        return mean, variance * self._scale**2 * self._widening


def modes(with_curve: bool) -> Array:
    """Hyperparameters before anything is known."""
    names = [name for name in _PRIOR if with_curve or name != "curve"]
    return np.array([_PRIOR[name][0] for name in names])


def fitted(known: Inputs, values: Array, trust: float, scale: float) -> Array:
    """Hyperparameters at the mode of their posterior, as `Process` takes them.

    With a handful of values the likelihood alone believes in no noise at all: hence the priors.
    """
    parts = _Parts(known)
    rest = _standardised(known, values, trust, scale)
    prior = np.array([_PRIOR[name] for name in parts.names])
    matrices = parts.matrices

    def objective(theta: Array) -> tuple[float, Array]:
        variances = np.exp(2 * theta)
        factor = np.linalg.cholesky(parts.covariance(variances))
        root = solve_triangular(factor, np.eye(len(rest)), lower=True, check_finite=False)
        inverse = root.T @ root
        weights = inverse @ rest
        apart = (theta - prior[:, 0]) / prior[:, 1]
        value = 0.5 * rest @ weights + np.log(np.diag(factor)).sum() + 0.5 * apart @ apart
        slack = inverse - np.outer(weights, weights)
        gradient = [v * float((slack * m).sum()) for v, m in zip(variances, matrices, strict=True)]
        return float(value), np.array(gradient) + apart / prior[:, 1]

    found = minimize(
        objective,
        prior[:, 0],
        jac=True,
        method="L-BFGS-B",
        bounds=[_BOUNDS] * len(prior),
        options={"maxiter": _STEPS},
    )
    return np.asarray(found.x)


def even_share(values: Array, most: int) -> NDArray[np.int64]:
    """Indices of all values, or of so many that are spread evenly over their order."""
    if len(values) <= most:
        return np.arange(len(values))
    order = np.argsort(values, kind="stable")
    return order[np.linspace(0, len(values) - 1, most).round().astype(np.int64)]


class _Parts:
    """The covariances that add up to a process, over k known candidates."""

    def __init__(self, known: Inputs) -> None:
        self._features = known.features
        self.names = ["slope", "level", "noise"]
        self.matrices = [
            _linear(known.features, known.features),
            _smooth(known.features, known.features),
            np.eye(len(known)),
        ]
        self._curve: Array | None = None
        if known.curve is not None:
            seen = ~np.isnan(known.curve)
            counts = np.maximum(seen.sum(axis=0), 1)
            self._middle = np.where(seen, known.curve, 0.0).sum(axis=0) / counts
            spread = np.where(seen, known.curve - self._middle, 0.0)
            deviation = np.sqrt((spread**2).sum(axis=0) / counts)
            self._deviation = np.where(deviation > 1e-9, deviation, 1.0)
            self._curve = self._shown(known.curve)
            self.names.insert(2, "curve")
            self.matrices.insert(2, _linear(self._curve, self._curve))

    def covariance(self, variances: Array) -> Array:
        """Of the known values, noise and an unknown offset included, (k, k)."""
        count = len(self._features)
        total = np.full((count, count), 1.0 / count)
        for variance, matrix in zip(variances, self.matrices, strict=True):
            total += variance * matrix
        total[np.diag_indices(count)] += _TINY
        return total

    def across(self, inputs: Inputs, variances: Array) -> tuple[Array, Array]:
        """Covariances of n others with the known ones, (n, k), and their variances, (n,)."""
        offset = 1.0 / len(self._features)
        slope, level, *curve, _ = variances
        across = offset + slope * _linear(inputs.features, self._features)
        across += level * _smooth(inputs.features, self._features)
        own = offset + slope * _squares(inputs.features) + level
        if self._curve is not None and inputs.curve is not None:
            shown = self._shown(inputs.curve)
            across += curve[0] * _linear(shown, self._curve)
            own = own + curve[0] * _squares(shown)
        return across, own

    def _shown(self, curve: Array) -> Array:
        """In deviations from the known ones' mean; none for what is unknown."""
        shown: Array = np.nan_to_num((curve - self._middle) / self._deviation)
        return shown


def _standard(values: Array, scale: float) -> tuple[float, float]:
    enough = len(values) >= 3
    return float(values.mean()), max(float(values.std()), _LEAST * scale) if enough else scale


def _standardised(known: Inputs, values: Array, trust: float, scale: float) -> Array:
    """What is left of the values for the process to explain, (k,)."""
    offset, deviation = _standard(values, scale)
    expected = trust * (known.expected - known.expected.mean())
    rest: Array = (values - offset) / deviation - expected
    return rest


def _linear(left: Array, right: Array) -> Array:
    product: Array = left @ right.T / max(1, left.shape[1])
    return product


def _squares(inputs: Array) -> Array:
    mean: Array = _sums(inputs) / max(1, inputs.shape[1])
    return mean


def _smooth(left: Array, right: Array) -> Array:
    apart = _sums(left)[:, None] + _sums(right)[None] - 2 * left @ right.T
    near: Array = np.exp(-0.5 * np.maximum(apart, 0.0) / _LENGTH**2)
    return near


def _sums(inputs: Array) -> Array:
    total: Array = (inputs**2).sum(axis=1)
    return total
