"""What a search is judged by: the true front, up to noise.

The true accuracy of a candidate is the average of its final accuracies over all recorded seeds.
Objectives are scaled to [0, 1] over the table's candidates; the reference is 1.1 in each. What a
search has at a time are the true values of the candidates that it has trained to full length.

Such a set has, at each pair of bounds on latency and memory, a best accuracy within them. The
hypervolume is the integral of that height over all bounds up to the reference. Where a set's
height falls short of that of all candidates by no more than one standard error of a true
accuracy, pooled over the candidates, the shortfall is forgiven; a larger one counts in full, and
so does every bound within which the set has no candidate at all. So no search is paid or punished
for an order that three trainings cannot tell, and cost is never forgiven.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from search_peers.table import Costs, Floats, Table

__all__ = ["CostPlane", "Truth"]

_MARGIN = 0.1  # of the reference beyond the worst candidate, in scaled units


class CostPlane:
    """The plane of latency and memory, cut into cells at the candidates' costs.

    Args:
        costs: of all candidates.

    Attributes:
        reached: which cells have bounds no lower than a candidate's costs, (n, cells).
        areas: of the cells up to the reference, costs scaled to [0, 1], (cells,).
    """

    def __init__(self, costs: Sequence[Costs]) -> None:
        points = np.array(costs, dtype=float)
        axes = [_scaled(points[:, axis]) for axis in range(points.shape[1])]
        starts = [np.unique(axis) for axis in axes]
        widths = [np.diff(np.append(start, 1 + _MARGIN)) for start in starts]
        within = [axis[:, None] <= start[None, :] for axis, start in zip(axes, starts, strict=True)]
        self.reached = (within[0][:, :, None] & within[1][:, None, :]).reshape(len(points), -1)
        self.areas: Floats = np.outer(widths[0], widths[1]).reshape(-1)

    def heights(self, values: Iterable[tuple[int, float]]) -> Floats:
        """Best value in each cell of some candidates, 0 where none of them reaches it."""
        heights = np.zeros(len(self.areas))
        for candidate, value in values:
            np.maximum(heights, value * self.reached[candidate], out=heights)
        return heights


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
        self.accuracy: Floats = finals.mean(axis=1)
        self.error = _pooled_error(finals, table.images)
        self._plane = CostPlane(table.costs)
        span = float(np.ptp(self.accuracy)) or 1.0
        self._height = _scaled(self.accuracy) + _MARGIN  # above the reference
        self._forgiven = self.error / span
        self._best = self._plane.heights(enumerate(self._height))
        self._whole = float(self._best @ self._plane.areas)

    def fraction(self, candidates: Iterable[int]) -> float:
        """Hypervolume of some candidates as a fraction of that of all, noise forgiven."""
        return self._fraction(self._plane.heights((c, self._height[c]) for c in candidates))

    def fractions(self, candidates: Iterable[int]) -> list[float]:
        """The same after each one of a sequence."""
        heights, found = np.zeros_like(self._best), []
        for candidate in candidates:
            heights = self._with(heights, candidate)
            found.append(self._fraction(heights))
        return found

    def front(self) -> list[int]:
        """Candidates that are the best within their own costs, by index."""
        cell = [int(np.argmax(row)) for row in self._plane.reached]  # the cell they begin at
        return [i for i, c in enumerate(cell) if self._height[i] >= self._best[c]]

    def greedy(self) -> list[int]:
        """All candidates, each time the one that adds most, then the one of the lower index."""
        left, order = list(range(len(self.accuracy))), []
        heights = np.zeros_like(self._best)
        while left:
            gains = [self._fraction(self._with(heights, candidate)) for candidate in left]
            chosen = left.pop(int(np.argmax(gains)))
            heights = self._with(heights, chosen)
            order.append(chosen)
        return order

    def _with(self, heights: Floats, candidate: int) -> Floats:
        found: Floats = np.maximum(
            heights, self._height[candidate] * self._plane.reached[candidate]
        )
        return found

    def _fraction(self, heights: Floats) -> float:
        lost = self._best - heights
        lost[(heights > 0) & (lost <= self._forgiven + 1e-12)] = 0.0
        # Rounded, so that nothing lost is 1, and equal gains are equal in whatever order.
        return round(1.0 - float(lost @ self._plane.areas) / self._whole, 12)


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
