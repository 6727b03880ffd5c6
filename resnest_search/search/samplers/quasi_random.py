"""A low-discrepancy sequence over the space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from resnest_search.search.situation import ProposingSampler, Situation
from resnest_search.space import Candidate, Space

__all__ = ["QuasiRandomSampler"]

_POINTS = 4096  # of the sequence that are looked at before an unused candidate is drawn


class QuasiRandomSampler(ProposingSampler):
    """Proposes the first point of a scrambled Sobol sequence that is possible and unused.

    Optuna's own QMCSampler counts its points in the study that it is asked with; this one
    counts trials, so that a resumed sweep goes on where the interrupted one stood.

    Args:
        space: what varies.
        seed: of the scrambling.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed

    def propose(self, situation: Situation) -> Candidate | None:
        """The next candidate; None where of a space with a range nothing new is found."""
        from scipy.stats import qmc  # three quarters of a second to import

        number = len(situation.trials)
        engine = qmc.Sobol(len(self._space.distributions), scramble=True, rng=self._seed)
        if number:  # scipy cannot go on by nothing
            engine.fast_forward(number)
        for point in engine.random(_POINTS):
            candidate = self._at(point)
            if candidate is not None and situation.allowed(candidate):
                return candidate
        if not situation.unused:
            return None
        rng = np.random.default_rng([self._seed, number])
        return list(situation.unused.values())[int(rng.integers(len(situation.unused)))]

    def _at(self, point: NDArray[np.float64]) -> Candidate | None:
        named = zip(self._space.distributions.items(), point, strict=True)
        parameters = {name: _value(kind, float(share)) for (name, kind), share in named}
        try:
            return self._space.proposed(parameters)
        except ValueError:  # an impossible variant
            return None


def _value(distribution: BaseDistribution, share: float) -> Any:
    """The value at a share in [0, 1) of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise TypeError(f"{distribution} is no distribution of a space")
    low, high = float(distribution.low), float(distribution.high)
    whole = isinstance(distribution, IntDistribution)
    if whole:
        low, high = low - 0.5, high + 0.5  # each whole number has an interval of its own
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    if distribution.step is not None and distribution.step != 1:
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + steps * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if whole else value
