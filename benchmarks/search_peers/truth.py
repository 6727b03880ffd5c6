"""What a search is judged by: the true front, up to noise.

The true accuracy of a candidate is the average of its final accuracies over all recorded seeds,
or what the table says it is. Objectives are scaled to [0, 1] over the table's candidates; the
reference is 1.1 in each. What a search has at a time are the true values of the candidates that
it has trained to full length.

Such a set has, at each bound on the costs, a best accuracy within them. The hypervolume is the
integral of that height over all bounds up to the reference. Where a set's height falls short of
that of all candidates by no more than one standard error of a true accuracy, pooled over the
candidates, the shortfall is forgiven; a larger one counts in full, and so does every bound within
which the set has no candidate at all. So no search is paid or punished for an order that three
trainings cannot tell, and cost is never forgiven.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from resnest_search.metrics import metric_of
from resnest_search.pareto import hypervolume, non_dominated
from search_peers.table import Floats, Table

__all__ = ["Found", "Truth"]

_MARGIN = 0.1  # of the reference beyond the worst candidate, in scaled units
_EVEN = 1e-12  # heights that differ by less are equal
_DIGITS = 12  # of a fraction, so that nothing lost is 1, and equal gains are equal
_SLACK = 4e-12  # by which a rounded gain may grow


class Truth:
    """The true front of a table.

    Args:
        table: all of it.

    Attributes:
        accuracy: true, of each candidate, (n,).
        error: pooled standard error of a true accuracy. With one seed alone, the binomial one
            of the validation images; 0 where their number is unknown, too.
    """

    def __init__(self, table: Table) -> None:
        finals = table.accuracy[:, :, -1]
        known = table.true_accuracy
        self.accuracy: Floats = finals.mean(axis=1) if known is None else known
        self.error = _pooled_error(finals, table.images)
        signs = [metric_of(name).sign for name in table.cost_names]
        costs = np.array(table.costs, dtype=float) * signs
        # Less is better: the height below the reference, and costs, (n, 1 + m).
        self._points = np.column_stack([1 - _scaled(self.accuracy), *map(_scaled, costs.T)])
        self._forgiven = self.error / (float(np.ptp(self.accuracy)) or 1.0)
        self._front = np.flatnonzero(non_dominated(self._points))
        self._whole = self._volume(self._points[self._front])

    def fraction(self, candidates: Iterable[int]) -> float:
        """Hypervolume of some candidates as a fraction of that of all, noise forgiven."""
        chosen = self._points[list(candidates)]
        if not len(chosen):
            return 0.0
        chosen = chosen[non_dominated(chosen)]
        if not self._forgiven:
            return round(self._volume(chosen) / self._whole, _DIGITS)
        best, heights, volumes = self._cells(chosen)
        lost = best - heights
        lost[(heights > 0) & (lost <= self._forgiven + _EVEN)] = 0.0
        return round(1.0 - float((lost * volumes).sum()) / self._whole, _DIGITS)

    def fractions(self, candidates: Iterable[int]) -> list[float]:
        """The same after each one of a sequence."""
        found = Found(self)
        return [found.add(candidate) for candidate in candidates]

    def front(self) -> list[int]:
        """Candidates that no other one dominates, by index."""
        return [int(index) for index in self._front]

    def dominated(self, candidate: int, others: Iterable[int]) -> bool:
        """Whether one of the others is as good in every objective."""
        known = self._points[list(others)]
        return bool((known <= self._points[candidate]).all(axis=1).any())

    def greedy(self) -> list[int]:
        """All candidates, each time the one that adds most, then the one of the lower index.

        What one adds only shrinks as others come before it, forgiven noise included, since each
        bound on the costs is worth the most that any member makes of it. So a gain of an earlier
        step bounds that of a later one, and few need to be computed anew (Minoux, 1978). Before
        its first one a candidate is bounded by its box up to the reference, and always by the
        gain of one that dominates it.
        """
        boxes = (1 + _MARGIN - self._points[:, 1:]).prod(axis=1)
        heights = 1 + _MARGIN - self._points[:, 0] + self._forgiven
        bounds: Floats = boxes * heights / self._whole + _SLACK
        above = self._dominators()
        left = [(-float(bound), index) for index, bound in enumerate(bounds)]
        heapq.heapify(left)
        order: list[int] = []
        reached = 0.0
        while left and reached < 1:
            fresh: dict[int, float] = {}
            best, waiting = reached, []
            while left and reached - left[0][0] >= best:
                candidate = heapq.heappop(left)[1]
                bounds[candidate] = min(bounds[candidate], bounds[above[candidate]])
                if reached + bounds[candidate] >= best:
                    fresh[candidate] = self.fraction([*order, candidate])
                    bounds[candidate] = fresh[candidate] - reached + _SLACK
                    best = max(best, fresh[candidate])
                waiting.append(candidate)
            chosen = min(candidate for candidate, value in fresh.items() if value == best)
            bounds[chosen] = _SLACK  # of those that it dominates
            order.append(chosen)
            for candidate in waiting:
                if candidate != chosen:
                    heapq.heappush(left, (-float(bounds[candidate]), candidate))
            reached = best
        return order + sorted(candidate for _, candidate in left)

    def _dominators(self) -> NDArray[np.int64]:
        """For each candidate one of the front that is as good in every objective, (n,)."""
        front = self._points[self._front]
        found = [np.argmax((front <= point).all(axis=1)) for point in self._points]
        return self._front[np.array(found)]

    def _volume(self, points: Floats) -> float:
        return hypervolume(points, [1 + _MARGIN] * points.shape[1])

    def _cells(self, chosen: Floats) -> tuple[Floats, Floats, Floats]:
        """Best heights of all and of some candidates, and volume, of each cell of the costs.

        Cells lie between the costs of those and of the true front, where alone heights change.
        """
        front = self._points[self._front]
        both = np.concatenate([front, chosen])
        axes = [np.unique(both[:, axis]) for axis in range(1, both.shape[1])]
        best, heights = (_heights(points, axes) for points in (front, chosen))
        volumes: Floats = np.ones(())
        for axis in axes:
            volumes = np.multiply.outer(volumes, np.diff(np.append(axis, 1 + _MARGIN)))
        return best, heights, volumes


class Found:
    """What a search has so far.

    Args:
        truth: of its table.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._members: list[int] = []  # that none before dominated
        self.fraction = 0.0

    def add(self, candidate: int) -> float:
        """The fraction with one more candidate."""
        if not self._truth.dominated(candidate, self._members):
            self._members.append(candidate)
            self.fraction = self._truth.fraction(self._members)
        return self.fraction


def _heights(points: Floats, axes: list[Floats]) -> Floats:
    """Best height of some points within the bounds where each cell begins, 0 where none is."""
    heights = np.zeros([len(axis) for axis in axes])
    places: tuple[NDArray[np.int64], ...] = tuple(
        np.searchsorted(axis, costs) for axis, costs in zip(axes, points[:, 1:].T, strict=True)
    )
    np.maximum.at(heights, places, 1 + _MARGIN - points[:, 0])
    for axis in range(len(axes)):
        np.maximum.accumulate(heights, axis=axis, out=heights)
    return heights


def _scaled(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    scaled: Floats = (values - low) / (high - low if high > low else 1.0)
    return scaled


def _pooled_error(finals: Floats, images: int) -> float:
    """Standard error of an average over seeds; finals is (n, seeds)."""
    seeds = finals.shape[1]
    if seeds > 1:
        return float(np.sqrt(finals.var(axis=1, ddof=1).mean() / seeds))
    return float(np.sqrt((finals * (1 - finals)).mean() / images)) if images else 0.0
