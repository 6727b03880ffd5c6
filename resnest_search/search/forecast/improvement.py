"""Expected hypervolume improvement where all objectives but one are known exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["Front", "beats"]

Points = NDArray[np.float64]
Cells = NDArray[np.int64]


class Front:
    """What candidates add to a front, where all but their trained values is known.

    With the costs known, the growth of the hypervolume is a function of the trained value alone.
    Over each cell of the cost space the front has one height, the best value among its points that
    are no dearer; a candidate's value above that height is gained. So the expectation is a sum
    over the heights, of the volume that a candidate reaches at each, times the one-dimensional
    expected improvement over it (the decomposition into cells of exact EHVI: Emmerich et al.,
    2011; Hupkens et al., 2015, for one uncertain objective).

    In the first two costs what lies no higher than a height is a staircase, of whose area beyond a
    candidate running sums tell: the time grows with k for each candidate, not with k^2. Each
    further cost multiplies it by k.

    Args:
        values: of the points that are known or taken for granted, (k,); or as many draws of
            them as there are rows, (s, k), of which the mean is taken.
        costs: of the points, less is better; (k, d), d may be 0.
        reference: value at which the hypervolume begins.
        limits: costs at which it ends; (d,).
    """

    def __init__(
        self, values: Points, costs: Points, reference: float, limits: Sequence[float] | Points
    ) -> None:
        missing = max(0, 2 - costs.shape[1])  # a cost of 0 for all, of 1 at most
        ends = np.pad(np.asarray(limits, float), (0, missing), constant_values=1.0)
        costs = np.pad(costs, ((0, 0), (0, missing)))
        # Sums of costs that hardly differ beside what they have in common would lose digits.
        self._origin = costs.min(axis=0) if len(costs) else np.zeros(len(ends))
        self._limits = ends - self._origin
        costs = costs - self._origin
        self._edges = [
            np.unique(np.append(own[own < limit], limit))
            for own, limit in zip(costs.T, self._limits, strict=True)
        ]
        # The first cell of each point, beyond the last one where it lies beyond the limit.
        self._places = [
            np.searchsorted(_starts(edges), own)
            for edges, own in zip(self._edges, costs.T, strict=True)
        ]
        worlds = np.maximum(np.atleast_2d(values), reference)
        self._levels, ranks = np.unique(np.append(worlds, reference), return_inverse=True)
        self._ranks = ranks[:-1].reshape(worlds.shape)

    def gains(self, mean: Points, deviation: Points, costs: Points) -> Points:
        """Expected growth of the hypervolume by each of n candidates, (n,).

        Args:
            mean, deviation: of the candidates' values, normal, more is better; (n,) each.
            costs: of the candidates, (n, d).
        """
        costs = self._from_origin(costs)
        # Of costs beyond the second, how far a candidate reaches into each of their cells.
        further = _volumes(costs[:, 2:], self._edges[2:])
        first, second = (self._cell(costs, axis) for axis in (0, 1))
        is_inside = (first < len(self._edges[0])) & (second < len(self._edges[1]))
        inside, result = np.flatnonzero(is_inside), np.zeros(len(mean))
        mean, deviation, costs, further = (a[inside] for a in (mean, deviation, costs, further))
        first, second = first[inside], second[inside]
        excess = _expected_excess(mean[:, None], deviation[:, None], self._levels)
        total = np.zeros(len(inside))
        for own, steps in self._worlds():
            volumes = np.zeros((len(inside), len(own)))
            for reach, stairs in zip(further.T, steps, strict=True):
                some = np.flatnonzero(reach)
                areas = stairs.beyond(costs[some, :2], first[some], second[some])
                volumes[some] += reach[some, None] * areas
            total += (volumes * excess[:, own]).sum(axis=1)
        result[inside] = total / len(self._ranks)
        return result

    def most(self, mean: Points, deviation: Points, costs: Points) -> Points:
        """What `gains` are at most in the only world, in little time, (n,).

        All that a candidate reaches counts as if the front were nowhere higher than where it
        begins.
        """
        costs = self._from_origin(costs)
        cells = [
            np.minimum(self._cell(costs, axis), len(edges) - 1)  # beyond it there is no volume
            for axis, edges in enumerate(self._edges)
        ]
        level = self._levels[self._heights(self._ranks[0])[tuple(cells)]]
        volume = np.maximum(self._limits - costs, 0.0).prod(axis=1)
        most: Points = volume * _expected_excess(mean, deviation, level)
        return most * (1 + 1e-9)  # the sum over all levels is rounded otherwise

    def _from_origin(self, costs: Points) -> Points:
        missing = len(self._origin) - costs.shape[1]
        moved: Points = np.pad(costs, ((0, 0), (0, missing))) - self._origin
        return moved

    def _cell(self, costs: Points, axis: int) -> Cells:
        """In which cell of a cost each candidate is; none is left where it is beyond the limit."""
        return np.searchsorted(self._edges[axis], costs[:, axis], side="right")

    def _worlds(self) -> Iterable[_World]:
        """Of each draw, the levels that its points have, and the staircases of these.

        A single one is kept, since candidates come in several parts; many are too large.
        """
        return self._only if len(self._ranks) == 1 else map(self._world, self._ranks)

    @cached_property
    def _only(self) -> list[_World]:
        return [self._world(self._ranks[0])]

    def _world(self, ranks: Cells) -> _World:
        own, places = np.unique(np.append(ranks, 0), return_inverse=True)
        return own, _staircases(self._heights(places[:-1]), len(own), self._edges)

    def _heights(self, ranks: Cells) -> Cells:
        """Best rank of a point within reach of each cell."""
        heights = np.zeros([len(edges) for edges in self._edges], np.int64)
        inside = np.all(
            [place < size for place, size in zip(self._places, heights.shape, strict=True)], axis=0
        )
        np.maximum.at(heights, tuple(place[inside] for place in self._places), ranks[inside])
        for axis in range(heights.ndim):
            np.maximum.accumulate(heights, axis=axis, out=heights)
        return heights


@dataclass(frozen=True)
class _Staircases:
    """Where, in two costs, a front is no higher than each of its L levels, over a cells by b.

    Attributes:
        edges: upper ends of the cells in the first cost, (a,).
        tops: how far each of these reaches in the second, 0 where it does not, (a, L).
        ends: to how many of them each cell of the second cost reaches, (b, L).
        sums: of widths times tops of the cells before one, without the first, (a + 1, L).
        widths: of the cells before one, without the first, (a + 1,).
    """

    edges: Points
    tops: Points
    ends: Cells
    sums: Points
    widths: Points

    def beyond(self, costs: Points, first: Cells, second: Cells) -> Points:
        """The area at each level that costs, (n, 2), in these cells, (n,), reach, (n, L)."""
        level = np.arange(self.tops.shape[1])
        end, after = self.ends[second], first + 1
        x, y = costs[:, :1], costs[:, 1:]
        area = self.sums[end, level] - self.sums[after]
        area -= y * (self.widths[end] - self.widths[after][:, None])
        area += (self.edges[first][:, None] - x) * (self.tops[first] - y)  # of the cell itself
        area[end <= first[:, None]] = 0.0
        found: Points = np.diff(area, axis=1, prepend=0.0)
        return np.maximum(found, 0.0, out=found)


_World = tuple[Cells, list[_Staircases]]


def _staircases(ranks: Cells, levels: int, edges: list[Points]) -> list[_Staircases]:
    """Of each cell in the costs beyond the second, from the heights' ranks (a, b, …)."""
    rows, columns = len(edges[0]), len(edges[1])
    widths = np.diff(edges[0], prepend=edges[0][0])
    before = np.concatenate([[0.0], np.cumsum(widths)])
    found = []
    for place in ranks.reshape(rows, columns, -1).transpose(2, 0, 1):
        filled = _counted(place, levels)
        tops = np.where(filled > 0, edges[1][filled - 1], 0.0)
        sums = np.zeros((rows + 1, levels))
        np.cumsum(widths[:, None] * tops, axis=0, out=sums[1:])
        found.append(_Staircases(edges[0], tops, _counted(place.T, levels), sums, before))
    return found


def _counted(ranks: Cells, levels: int) -> Cells:
    """How many cells of each row have at most each rank, (rows, levels)."""
    keys = ranks + levels * np.arange(len(ranks))[:, None]
    counts = np.bincount(keys.ravel(), minlength=levels * len(ranks)).reshape(-1, levels)
    total: Cells = np.cumsum(counts, axis=1)
    return total


def beats(costs: Points, front_values: Points, front_costs: Points) -> Points:
    """The value above which each of n candidates is on the front, (n,); -inf: whatever it is."""
    if not len(front_values):
        return np.full(len(costs), -math.inf)
    rivals = (front_costs[None, :, :] <= costs[:, None, :]).all(axis=2)  # (n, k)
    best: Points = np.where(rivals, front_values[None, :], -math.inf).max(axis=1)
    return best


def _starts(edges: Points) -> Points:
    """Lower ends of the cells; the first one has none."""
    return np.concatenate([[-math.inf], edges[:-1]])


def _volumes(costs: Points, edges: list[Points]) -> Points:
    """Volume of each cell that a candidate reaches, (n, cells)."""
    volumes = np.ones((len(costs), 1))
    for axis, axis_edges in enumerate(edges):
        begin = np.maximum(_starts(axis_edges)[None, :], costs[:, axis : axis + 1])
        widths = np.clip(axis_edges[None, :] - begin, 0.0, None)
        volumes = (volumes[:, :, None] * widths[:, None, :]).reshape(len(costs), -1)
    return volumes


def _expected_excess(mean: Points, deviation: Points, level: Points) -> Points:
    """E[max(value - level, 0)] of a normal value."""
    safe = np.maximum(deviation, 1e-12)
    score = (mean - level) / safe
    density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
    excess: Points = np.maximum(safe * (score * ndtr(score) + density), 0.0)
    return excess
