"""The covariance of final values between candidates, for scikit-learn's Gaussian process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Kernel

__all__ = ["CurveKernel"]

Array = NDArray[np.float64]


class CurveKernel(Kernel):  # type: ignore[misc]
    """Smooth and linear in the features, linear in the curve, and noise.

    With features x and the curve's value c, and every hyperparameter a logarithm:
    ``level^2 exp(-|x - x'|^2 / 2 length^2) + slope^2 x.x' / d + curve^2 c c' + noise^2 [same]``.

    Args:
        start: level, length, slope, curve (only ``with_curve``) and noise, logarithms.
        with_curve: whether the last column of the inputs is the curve's value.
        limits: of each hyperparameter.
    """

    def __init__(
        self, start: tuple[float, ...], with_curve: bool, limits: tuple[float, float]
    ) -> None:
        self.start = start  # as given: scikit-learn's clone insists
        self.with_curve = with_curve
        self.limits = limits
        self._theta = np.array(start)

    @property
    def theta(self) -> Array:
        """The hyperparameters."""
        return self._theta

    @theta.setter
    def theta(self, value: Array) -> None:
        self._theta = np.array(value)

    @property
    def bounds(self) -> Array:
        """Limits of the hyperparameters, (p, 2)."""
        return np.tile(np.array(self.limits), (len(self._theta), 1))

    @property
    def n_dims(self) -> int:
        """How many hyperparameters there are."""
        return len(self._theta)

    def clone_with_theta(self, theta: Array) -> CurveKernel:
        """The same kernel with other hyperparameters."""
        return CurveKernel(tuple(theta), self.with_curve, self.limits)

    def __call__(self, X: Array, Y: Array | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Covariances (n, m), and with ``eval_gradient`` their gradients (n, n, p)."""
        other = X if Y is None else Y
        left, right = self._features(X), self._features(other)
        squared = ((left[:, None, :] - right[None, :, :]) ** 2).sum(axis=2)
        level, length, slope, *curve, noise = np.exp(2 * self._theta)
        smooth = level * np.exp(-0.5 * squared / length)
        linear = slope * (left @ right.T) / max(1, left.shape[1])
        parts = [2 * smooth, smooth * squared / length, 2 * linear]
        total = smooth + linear
        if self.with_curve:
            early = curve[0] * np.outer(X[:, -1], other[:, -1])
            total = total + early
            parts.append(2 * early)
        if Y is None:
            total = total + noise * np.eye(len(X))
            parts.append(2 * noise * np.eye(len(X)))
        return (total, np.stack(parts, axis=2)) if eval_gradient else total

    def diag(self, X: Array) -> Array:  # noqa: N803
        """Variances (n,) of observed values: noise is part of them."""
        level, _, slope, *curve, noise = np.exp(2 * self._theta)
        features = self._features(X)
        linear = (features**2).sum(axis=1) / max(1, features.shape[1])
        total = level + slope * linear + noise
        if self.with_curve:
            total = total + curve[0] * X[:, -1] ** 2
        return np.asarray(total)

    def is_stationary(self) -> bool:
        """It is not, for its linear parts."""
        return False

    def _features(self, inputs: Array) -> Array:
        return inputs[:, :-1] if self.with_curve else inputs
