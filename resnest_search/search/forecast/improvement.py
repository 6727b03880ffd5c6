"""Expected hypervolume improvement where all objectives but one are known exactly."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from resnest_search.search.forecast.process import even_share

__all__ = ["Claims", "Front", "beats"]

Points = NDArray[np.float64]
Cells = NDArray[np.int64]
_LEVELS = 32  # of values at which a front ends, or others may, where intervals of them begin
_AROUND = np.linspace(-3, 3, 25)  # deviations of a value to come, where such levels are
_BOXES = 16  # in which what a candidate reaches is taken to tell what it adds at most
_NEVER = 1e-300  # as good as no probability, which has no logarithm
_LINES = (3, 40)  # at which points lie, of each cost, at least and at most
_MOST_CORNERS = 4000  # where such lines meet


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
        values: of the points, (k,).
        costs: of the points, less is better; (k, d), d may be 0.
        reference: value at which the hypervolume begins.
        limits: costs at which it ends; (d,).
    """

    def __init__(
        self, values: Points, costs: Points, reference: float, limits: Sequence[float] | Points
    ) -> None:
        costs, ends = _padded(costs, limits, 2)
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
        ranked = np.append(np.maximum(values, reference), reference)
        self._levels, ranks = np.unique(ranked, return_inverse=True)
        self._ranks = ranks[:-1]

    def above(self, reference: float) -> Front:
        """This front, which was made with a reference of -inf, where the hypervolume begins there.

        Raises:
            ValueError: it was made with another one, or a value is below this one.
        """
        lowest = self._levels[1:].min(initial=math.inf)
        if self._levels[0] != -math.inf or reference > lowest:
            raise ValueError(f"no hypervolume from {reference}: has {self._levels[0]}, {lowest}")
        _ = self._stairs  # which all of these have in common then
        found = copy.copy(self)
        found._levels = np.append(reference, self._levels[1:])
        return found

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
        volumes = np.zeros((len(inside), len(self._levels)))
        for reach, stairs in zip(further.T, self._stairs, strict=True):
            some = np.flatnonzero(reach)
            areas = stairs.beyond(costs[some, :2], first[some], second[some])
            volumes[some] += reach[some, None] * areas
        excess = _expected_excess(mean[:, None], deviation[:, None], self._levels)
        result[inside] = (volumes * excess).sum(axis=1)
        return result

    def most(self, mean: Points, deviation: Points, costs: Points) -> Points:
        """What `gains` are at most, in little time, (n,).

        What a candidate reaches is taken in some boxes, in each of which the front counts as if it
        were nowhere higher than where the box begins.
        """
        costs = self._from_origin(costs)
        count, total = len(costs), len(self._edges)
        parts = max(1, int(_BOXES ** (1 / total) + 1e-9))  # of each cost
        volumes, places = np.ones((count, *[1] * total)), []
        for axis, edges in enumerate(self._edges):
            own, first = costs[:, axis, None], self._cell(costs, axis)[:, None]
            cells = first + np.arange(parts) * (len(edges) - first) // parts
            begin = np.where(cells > first, edges[np.maximum(cells, 1) - 1], own)
            end = np.append(begin[:, 1:], np.full_like(own, self._limits[axis]), axis=1)
            shape = (count, *(parts if axis == other else 1 for other in range(total)))
            volumes = volumes * np.maximum(end - begin, 0.0).reshape(shape)
            # Beyond the limit there is no volume.
            places.append(np.minimum(cells, len(edges) - 1).reshape(shape))
        levels = self._levels[self._heights[tuple(places)]].reshape(count, -1)
        excess = _expected_excess(mean[:, None], deviation[:, None], levels)
        most: Points = (volumes.reshape(count, -1) * excess).sum(axis=1)
        return most * (1 + 1e-9)  # the sum over all levels is rounded otherwise

    def _from_origin(self, costs: Points) -> Points:
        moved: Points = _filled_up(costs, len(self._origin) - costs.shape[1]) - self._origin
        return moved

    def _cell(self, costs: Points, axis: int) -> Cells:
        """In which cell of a cost each candidate is; none is left where it is beyond the limit."""
        return np.searchsorted(self._edges[axis], costs[:, axis], side="right")

    @cached_property
    def _stairs(self) -> list[_Staircases]:
        return _staircases(self._heights, len(self._levels), self._edges)

    @cached_property
    def _heights(self) -> Cells:
        """Best rank of a point within reach of each cell."""
        lowest = np.zeros([len(edges) for edges in self._edges], np.int64)
        heights: Cells = _raised(lowest, self._places, self._ranks)
        return heights


class Claims:
    """What share of their growth others, still at work, leave to candidates.

    A candidate's growth is the integral, over the costs beyond its own and over values, of the
    probability that it gets above a value where the front does not. What is left of it is the same
    integral where none of the others does either; all are independent and normal. At one value
    what is free is the same all over a cell between the points, so that its integral beyond
    a candidate is multilinear within a cell, and running sums tell it at every corner. Values are
    taken in intervals, and costs of many points as the nearest of some: both integrals are rounded
    alike, so that their ratio hardly is.

    Args:
        front: values, (k,), and costs, (k, d).
        others: means and deviations of what their values will be, (w,), and costs, (w, d).
        lowest: costs that no candidate is below, (d,); below the limits.
        reference, limits: see `Front`.
    """

    def __init__(
        self,
        front: tuple[Points, Points],
        others: tuple[Points, Points, Points],
        lowest: Points,
        reference: float,
        limits: Points,
    ) -> None:
        (values, costs), (mean, deviation, pending) = front, others
        costs, ends = _padded(costs, limits, 1)
        pending = _padded(pending, limits, 1)[0]
        self._origin = np.vstack([costs, pending, _padded(lowest[None], limits, 1)[0]]).min(axis=0)
        self._limits = ends - self._origin
        costs, pending = costs - self._origin, pending - self._origin
        axes = zip(costs.T, pending.T, self._limits, strict=True)
        most = _most_lines(len(ends))
        self._lines = [_lines(known, coming, limit, most) for known, coming, limit in axes]
        around = mean[:, None] + deviation[:, None] * _AROUND
        self._levels = _ascending(reference, values, around.ravel())
        free = self._above(self._nearest(costs), values, reference)
        left = free * self._unclaimed(self._nearest(pending), mean, deviation)
        self._beyond = self._sums(free), self._sums(left)

    def left(self, mean: Points, deviation: Points, costs: Points) -> Points:
        """The share that is left to each of n candidates, (n,); see `Front.gains`."""
        costs = _padded(costs, self._limits, 1)[0] - self._origin
        above = _expected_excess(mean[:, None], deviation[:, None], self._levels)
        within = above[:, :-1] - above[:, 1:]
        # Above the last level, where nobody else gets.
        volume: Points = above[:, -1] * np.maximum(self._limits - costs, 0.0).prod(axis=1)
        places, shares = [], []
        for lines, own in zip(self._lines, costs.T, strict=True):
            place = np.clip(np.searchsorted(lines, own, side="right") - 1, 0, len(lines) - 2)
            share = (own - lines[place]) / (lines[place + 1] - lines[place])
            places.append(place)
            shares.append(np.clip(share, 0.0, 1.0))
        whole, left = volume, volume.copy()
        for corner in itertools.product((0, 1), repeat=len(places)):
            at = tuple(place + step for place, step in zip(places, corner, strict=True))
            weight = np.ones(len(costs))
            for step, share in zip(corner, shares, strict=True):
                weight = weight * (share if step else 1 - share)
            for total, beyond in zip((whole, left), self._beyond, strict=True):
                total += weight * np.einsum("nt,nt->n", within, beyond[at])
        return np.divide(left, whole, out=np.ones(len(costs)), where=whole > 0)

    def _nearest(self, costs: Points) -> list[Cells]:
        """The line of each axis that is nearest to costs, (n, d)."""
        axes = zip(self._lines, costs.T, strict=True)
        return [np.searchsorted((lines[1:] + lines[:-1]) / 2, own) for lines, own in axes]

    def _above(self, places: list[Cells], values: Points, reference: float) -> Points:
        """The share of each interval in which each cell is above the front, (…, t)."""
        lowest = np.full([len(lines) - 1 for lines in self._lines], reference)
        heights = _raised(lowest, places, values)
        above = (self._levels[1:] - heights[..., None]) / np.diff(self._levels)
        found: Points = np.clip(above, 0.0, 1.0, out=above)
        return found

    def _unclaimed(self, places: list[Cells], mean: Points, deviation: Points) -> Points:
        """The probability that no other is above each interval in each cell, (…, t)."""
        # E[max(level - value, 0)], whose differences are means of P(value < level).
        below = _expected_excess(-mean[:, None], deviation[:, None], -self._levels)
        each = np.log(np.clip(np.diff(below, axis=1) / np.diff(self._levels), _NEVER, 1.0))
        shape = [len(lines) - 1 for lines in self._lines]
        total: Points = np.zeros((*shape, each.shape[1]))
        np.add.at(total, *_inside(places, shape, each))
        _add_up(total)
        return np.exp(total, out=total)

    def _sums(self, free: Points) -> Points:
        """The volume that is free beyond each corner of the cells, in each interval."""
        widths = np.array(1.0)
        for lines in self._lines:
            widths = np.multiply.outer(widths, np.diff(lines))
        sums = np.zeros((*(len(lines) for lines in self._lines), free.shape[-1]))
        np.multiply(free, widths[..., None], out=sums[tuple(slice(-1) for _ in self._lines)])
        _add_up(np.flip(sums, axis=tuple(range(len(self._lines)))))
        return sums


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


def _lines(known: Points, coming: Points, limit: float, most: int) -> Points:
    """Ascending costs from 0 to a limit: where points are, or even shares of them."""
    known, coming = (np.unique(own[(own > 0) & (own < limit)]) for own in (known, coming))
    coming = coming[even_share(coming, (most - 1) // 2)]
    known = known[even_share(known, most - 2 - len(coming))]
    return np.unique(np.concatenate([[0.0], known, coming, [limit]]))


def _most_lines(costs: int) -> int:
    """How many lines of each cost make no more corners than a step has time for."""
    least, most = _LINES
    return max(least, min(most, int(_MOST_CORNERS ** (1 / costs))))


def beats(costs: Points, front_values: Points, front_costs: Points) -> Points:
    """The value above which each of n candidates is on the front, (n,); -inf: whatever it is."""
    if not len(front_values):
        return np.full(len(costs), -math.inf)
    rivals = (front_costs[None, :, :] <= costs[:, None, :]).all(axis=2)  # (n, k)
    best: Points = np.where(rivals, front_values[None, :], -math.inf).max(axis=1)
    return best


def _padded(costs: Points, limits: Sequence[float] | Points, least: int) -> tuple[Points, Points]:
    """Costs and their limits, of so many at least: further ones are 0 for all, of 1 at most."""
    missing = max(0, least - costs.shape[1])
    ends = np.append(np.asarray(limits, float), np.ones(missing))
    return _filled_up(costs, missing), ends


def _filled_up(costs: Points, missing: int) -> Points:
    """Costs with so many further ones that are 0 for all."""
    return np.hstack([costs, np.zeros((len(costs), missing))]) if missing else costs


def _ascending(reference: float, *levels: Points) -> Points:
    """The reference, and of each kind of levels beyond it so many quantiles at most."""
    kept = [np.array([reference])]
    for some in levels:
        some = some[some > reference]
        few = len(some) <= _LEVELS
        kept.append(some if few else np.quantile(some, np.linspace(0, 1, _LEVELS)))
    return np.unique(np.concatenate(kept))


def _raised(heights: Any, places: list[Cells], values: Any) -> Any:
    """Cells, each raised to the best value of a point within its reach, in place."""
    np.maximum.at(heights, *_inside(places, heights.shape, values))
    for axis in range(heights.ndim):
        np.maximum.accumulate(heights, axis=axis, out=heights)
    return heights


def _add_up(sums: Points) -> None:
    """Running sums along all axes but the last, in place.

    Slice by slice, since numpy's own go through memory in strides and take four times as long.
    """
    for axis in range(sums.ndim - 1):
        slices = np.moveaxis(sums, axis, 0)
        for before, after in pairwise(slices):
            after += before


def _inside(
    places: list[Cells], shape: Sequence[int], values: Points | Cells
) -> tuple[tuple[Cells, ...], Any]:
    """Places of points within the cells, and their values."""
    inside = np.ones(len(values), bool)
    for place, size in zip(places, shape, strict=True):
        inside &= place < size
    return tuple(place[inside] for place in places), values[inside]


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
