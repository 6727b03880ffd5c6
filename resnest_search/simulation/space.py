"""The space that a recorded table spans: its candidates, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnest_search.space import Candidate, Space, distribution_of, share_of

__all__ = ["TableSpace"]


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
        self.distributions = {
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


def _values(candidate: Candidate) -> tuple[Any, ...]:
    return tuple(value for _, value in candidate.parameters)


def _place(distribution: Any, value: Any) -> list[float]:
    """Coordinates of a value, such that different words are one apart in sum."""
    choices = getattr(distribution, "choices", None)
    if choices is None:
        return [share_of(value, distribution.low, distribution.high, distribution.log)]
    if isinstance(choices[0], str):
        return [0.5 * (value == choice) for choice in choices]
    return [share_of(value, choices[0], choices[-1])]
