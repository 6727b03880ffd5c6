"""The space that a recorded table spans: its candidates, and no others."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from resnest_search.space import Candidate, Space

__all__ = ["TableSpace", "distribution_of"]

_MOST_CHOICES = 12  # distinct numbers that are a choice; more are a range


class TableSpace(Space):
    """Candidates that are listed one by one, and need not be a product.

    Args:
        candidates: all with values of the same parameters; at least one.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates: tuple[Candidate, ...] = tuple(candidates)
        self.networks = self.candidates
        self.timed = len(self.candidates)
        keys = [key for key, _ in self.candidates[0].parameters]
        columns = zip(*(_values(candidate) for candidate in self.candidates), strict=True)
        self.distributions: dict[str, BaseDistribution] = {
            key: distribution_of(column) for key, column in zip(keys, columns, strict=True)
        }
        self._known = {_values(candidate): candidate for candidate in self.candidates}
        self._places = np.array([self._place(values) for values in self._known])  # (n, d)

    def candidate(self, parameters: Mapping[str, Any]) -> Candidate:
        """The candidate that these values stand for: where there is none, the nearest one.

        Numbers are apart by their share of the range, different words by one.
        """
        values = tuple(parameters[key] for key in self.distributions)
        if values in self._known:
            return self._known[values]
        apart = np.abs(self._places - self._place(values)).sum(axis=1)
        return self.candidates[int(np.argmin(apart))]

    def _place(self, values: Sequence[Any]) -> NDArray[np.float64]:
        pairs = zip(self.distributions.values(), values, strict=True)
        return np.concatenate([_place(distribution, value) for distribution, value in pairs])


def distribution_of(values: Sequence[Any]) -> BaseDistribution:
    """What a sampler draws from: a choice among words or few numbers, else a range.

    The range is logarithmic where that puts the median nearer to its middle.
    """
    distinct = sorted(set(values))
    if isinstance(distinct[0], str) or len(distinct) <= _MOST_CHOICES:
        return CategoricalDistribution(distinct)
    low, high, middle = distinct[0], distinct[-1], statistics.median(distinct)
    log = low > 0 and abs(_share(middle, low, high, True) - 0.5) < abs(
        _share(middle, low, high, False) - 0.5
    )
    if isinstance(low, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _values(candidate: Candidate) -> tuple[Any, ...]:
    return tuple(value for _, value in candidate.parameters)


def _place(distribution: BaseDistribution, value: Any) -> list[float]:
    """Coordinates of a value, such that different words are one apart in sum."""
    if isinstance(distribution, CategoricalDistribution):
        choices: Sequence[Any] = distribution.choices
        if isinstance(choices[0], str):
            return [0.5 * (value == choice) for choice in choices]
        return [_share(value, choices[0], choices[-1], False)]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [_share(value, distribution.low, distribution.high, distribution.log)]


def _share(value: float, low: float, high: float, log: bool) -> float:
    """Where a number lies in its range, from 0 to 1."""
    if log:
        value, low, high = np.log([value, low, high])
    return float((value - low) / (high - low)) if high > low else 0.0
