"""The final value of a trial before it is there: a Gaussian process over candidates and curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from resnest_search.search.forecast.process import even_share

__all__ = ["SPREAD", "Forecast", "forecast"]

Array = NDArray[np.float64]

# Hyperparameters, all logarithms of standard deviations or lengths, over values scaled to
# unit deviation: (start and mode of the prior, its standard deviation).
_PRIOR = {
    "level": (np.log(0.7), 0.5),  # of what the candidate's features explain smoothly
    "length": (np.log(2.0), 0.6),  # of that, in the features' units
    "slope": (np.log(0.5), 0.8),  # of its linear part
    "curve": (np.log(0.4), 1.0),  # of what the curve so far explains
    "noise": (np.log(0.5), 1.0),  # of what nothing explains: seeds, validation images
}
_BOUNDS = (-4.0, 2.5)
_MOST = 160  # finished trials that one model is fitted to: its time grows with their cube
SPREAD = 0.05  # deviation of values while fewer than three are known


@dataclass(frozen=True)
class Forecast:
    """Normal distributions of final values, (n,) each.

    Attributes:
        mean: more is better.
        deviation: of an observed value, noise included.
        evidence: logarithm of how many times likelier the curves so far make the finals that are
            known (a Bayes factor, at the modes); 0 without a curve.
    """

    mean: Array
    deviation: Array
    evidence: Array


def forecast(
    features: Array,
    curve: Array | None,
    known: Array,
    known_curve: Array | None,
    finals: Array,
) -> Forecast:
    """What n candidates will end at, given what k others ended at.

    A Gaussian process (scikit-learn) on the final value: a smooth and a linear part in the
    features, a linear part in the value at the epoch that the candidates have reached, and
    noise; hyperparameters at the mode of their posterior under weak priors, since with a
    handful of finished trials the likelihood alone believes in no noise at all. Since the
    scale is estimated, too, the deviation is that of Student's t with as many degrees of freedom
    as there are finished trials. The final is
    the response and the early value an input, so that pausing by early values does not
    bias it; where early epochs say nothing, their weight is fitted away.

    Args:
        features: of the candidates, (n, d).
        curve: their value at one epoch, the same for all of them, (n,); None for candidates
            without an epoch.
        known: features of finished trials, (k, d). One that is not known is NaN, here and in
            ``features``, and taken for the mean of the others.
        known_curve: their values at that epoch, (k,).
        finals: (k,), more is better.
    """
    if len(finals) == 0:
        nothing = np.zeros(len(features))
        return Forecast(nothing, np.full(len(features), SPREAD), nothing)
    shape = known.shape
    early = b"" if known_curve is None else np.ascontiguousarray(known_curve).tobytes()
    inputs, outputs = np.ascontiguousarray(known).tobytes(), finals.tobytes()
    model = _fitted(inputs, shape, early, outputs)
    blind = _fitted(inputs, shape, b"", outputs)
    mean, deviation = model.predict(features, curve)
    return Forecast(mean, deviation, np.full(len(mean), model.evidence - blind.evidence))


@dataclass(frozen=True)
class _Model:
    predict: Callable[[Array, Array | None], tuple[Array, Array]]  # means and deviations
    evidence: float


@lru_cache(maxsize=512)
def _fitted(known: bytes, shape: tuple[int, int], curve: bytes, finals: bytes) -> _Model:
    """A model from the bytes of what it is fitted to: a pure function, kept since fits repeat."""
    inputs = np.frombuffer(known).reshape(shape)
    early = np.frombuffer(curve) if curve else None
    return _fit(inputs, early, np.frombuffer(finals))


def _fit(known: Array, curve: Array | None, finals: Array) -> _Model:
    known = known[:, seen := ~np.isnan(known).all(axis=0)]
    # Not the best of very many: what is chosen by its end makes all others look better.
    chosen = even_share(finals, _MOST)
    known, finals = known[chosen], finals[chosen]
    curve = None if curve is None else curve[chosen]
    scale = max(float(finals.std()), 1e-6) if len(finals) >= 3 else SPREAD
    offset, middle = float(finals.mean()), np.nanmean(known, axis=0)
    inputs, early_scale, early_middle = _centred(known, middle), 1.0, 0.0
    if curve is not None:
        early_middle = float(curve.mean())
        early_scale = float(curve.std()) or 1.0
        inputs = np.column_stack([inputs, (curve - early_middle) / early_scale])
    process = _process(curve is not None)
    process.fit(inputs, (finals - offset) / scale)

    widening = math.sqrt(len(finals) / (len(finals) - 2)) if len(finals) >= 3 else 1.0

    def predict(features: Array, value: Array | None) -> tuple[Array, Array]:
        given = _centred(features[:, seen], middle)
        if curve is not None and value is not None:
            given = np.column_stack([given, (value - early_middle) / early_scale])
        # What process.predict does, without its checks, which cost more than the sums.
        across = process.kernel_(given, process.X_train_)
        explained = solve_triangular(process.L_, across.T, lower=True, check_finite=False)
        variance = process.kernel_.diag(given) - (explained**2).sum(axis=0)
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        return offset + scale * (across @ process.alpha_), scale * widening * deviation

    return _Model(predict, float(process.log_marginal_likelihood_value_))


def _centred(features: Array, middle: Array) -> Array:
    """Distances from the mean, none for what is unknown; one column at least."""
    if not len(middle):
        return np.zeros((len(features), 1))
    return np.nan_to_num(features - middle)


def _process(with_curve: bool) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor

    from resnest_search.search.forecast.kernel import CurveKernel

    names = [name for name in _PRIOR if with_curve or name != "curve"]
    prior = np.array([_PRIOR[name] for name in names])

    def optimise(objective: Any, initial: Array, bounds: Array) -> tuple[Array, float]:
        from scipy.optimize import minimize

        def penalised(theta: Array) -> tuple[float, Array]:
            value, gradient = objective(theta)
            distance = (theta - prior[:, 0]) / prior[:, 1]
            return value + 0.5 * float(distance @ distance), gradient + distance / prior[:, 1]

        found = minimize(
            penalised,
            prior[:, 0],
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"maxiter": 40},
        )
        return found.x, float(found.fun)

    kernel = CurveKernel(tuple(prior[:, 0]), with_curve, _BOUNDS)
    # The kernel's own noise is the observations'; alpha only keeps the matrix positive.
    return GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=optimise)
