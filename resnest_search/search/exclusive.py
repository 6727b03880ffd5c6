"""Hypervolume that one point of a set alone dominates: exact, for many points at once.

Less is better in every objective. The exclusive part of a point ``q`` lies in the box between
``q`` and its *ceilings*: ceiling i is the least coordinate i among the other points that lie
nowhere above ``q`` but in i, since such a point takes all that is beyond. What is left to take
off belongs to the few points strictly below all ceilings (the limit set of WFG, While et al.,
2012, cut to where it matters). It is summed over slabs between their third coordinates and
strips between their first ones.

A result is a function of the set of points alone, to the last bit: sums run in the order of
coordinates, and nothing but zeros is added at their ends. So results may be kept, and need
computing anew only where a point that comes or goes is below the ceilings.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from resnest_search.search.pareto import hypervolume

__all__ = ["ceilings", "contributions", "frame", "volumes"]

# Shapes: M objectives, P points, R rows (the points asked about), K points below their ceilings.
Array = NDArray[np.float64]
Index = NDArray[np.int64]

_CELLS = 1 << 17  # of a temporary array: about what a processor's cache holds
_MANY = 64  # points below the ceilings, beyond which each box is cut up alone


def contributions(points: Array) -> Array:
    """Hypervolume that each of the points (P, M) alone dominates, (P,).

    Objectives are scaled to [0, 1] over the points, and the reference lies at 1.1 in each, so
    that the ends of a front count. Rounded, so that equal shares are equal and ties stay ties.
    """
    columns = np.ascontiguousarray(points.T, dtype=np.float64)
    rows = np.arange(len(points))
    low, span = frame(columns)
    found = volumes(columns, rows, ceilings(columns, rows), low, low + 1.1 * span)
    shares: Array = np.round(found / span.prod(), 12)
    return shares


def frame(columns: Array) -> tuple[Array, Array]:
    """Least value and extent (1 where there is none) of each objective in (M, P), (M,) each."""
    low, high = columns.min(axis=1), columns.max(axis=1)
    if not np.isfinite([low, high]).all():  # over the finite ones, where there are any
        finite = np.isfinite(columns)
        some = finite.any(axis=1)
        low = np.where(some, columns.min(axis=1, where=finite, initial=np.inf), 0.0)
        high = np.where(some, columns.max(axis=1, where=finite, initial=-np.inf), 0.0)
    return low, np.where(high > low, high - low, 1.0)


def ceilings(columns: Array, rows: Index) -> Array:
    """Ceilings (M, R) of the points ``rows`` among all of ``columns`` (M, P); infinite for none."""
    found = np.empty((len(columns), len(rows)))
    for part in _parts(len(rows), columns.shape[1]):
        found[:, part] = _ceilings(columns, rows[part])
    return found


def _ceilings(columns: Array, rows: Index) -> Array:
    lower = [column <= column[rows, None] for column in columns]  # (R, P) each
    found = np.empty((len(columns), len(rows)))
    for index, column in enumerate(columns):
        bounding = np.ones((len(rows), columns.shape[1]), dtype=bool)
        for other in range(len(columns)):
            if other != index:
                bounding &= lower[other]
        bounding[np.arange(len(rows)), rows] = False
        found[index] = np.where(bounding, column, np.inf).min(axis=1)
    return found


def volumes(columns: Array, rows: Index, tops: Array, low: Array, reference: Array) -> Array:
    """Exclusive hypervolumes (R,) of the points ``rows`` with the ceilings ``tops`` (M, R).

    They end at the reference (M,). What lies below ``low`` (M,) counts as if it were there,
    so that infinite values do no harm.
    """
    floor = low[:, None]
    tops = np.clip(tops, floor, reference[:, None])
    starts = np.clip(columns[:, rows], floor, tops)
    found: Array = (tops - starts).prod(axis=0)
    for part in _parts(len(rows), columns.shape[1]):
        counts, points = _below(columns, rows[part], tops[:, part])
        ends = np.cumsum(counts)
        sizes = _sizes(counts)
        for size in np.unique(sizes[sizes > 0]):  # rows of about as many points in one go
            alike = np.flatnonzero(sizes == size)
            chosen = part.start + alike
            low_of, top_of = starts[:, chosen], tops[:, chosen]
            place = np.arange(size)
            index = points[np.minimum((ends - counts)[alike, None] + place, len(points) - 1)]
            inner = np.maximum(columns[:, index], low_of[:, :, None])
            # Beyond a row's own points, such as take nothing off.
            inner = np.where(place < counts[alike, None], inner, top_of[:, :, None])
            found[chosen] = _uncovered(inner, low_of, top_of)
    return found


def _sizes(counts: Index) -> Index:
    """The next powers of two; 0 stays, and so does what is cut up alone."""
    powers = 1 << np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    return np.where((counts > 0) & (counts <= _MANY), powers, counts)


def _below(columns: Array, rows: Index, tops: Array) -> tuple[Index, Index]:
    """How many points are strictly below all ceilings of each row, (R,), and these, row by row."""
    below = columns[0] < tops[0, :, None]  # (R, P)
    for column, top in zip(columns[1:], tops[1:], strict=True):
        below &= column < top[:, None]
    below[np.arange(len(rows)), rows] = False
    return np.count_nonzero(below, axis=1), np.nonzero(below)[1]


def _uncovered(inner: Array, starts: Array, tops: Array) -> Array:
    """Volume (R,) of the boxes between starts and tops (M, R) that no point (M, R, K) dominates."""
    objectives, rows, count = inner.shape
    if objectives > 3:
        boxes = zip(inner.transpose(1, 2, 0), starts.T, tops.T, strict=True)
        return np.array([(top - low).prod() - hypervolume(k, top) for k, low, top in boxes])
    if count > _MANY:
        thin = (_thinned(inner[:, row])[:, None] for row in range(rows))
        cut = [slice(row, row + 1) for row in range(rows)]
        alone = [_slabs(k, starts[:, c], tops[:, c]) for k, c in zip(thin, cut, strict=True)]
        return np.concatenate(alone)
    return _slabs(inner, starts, tops)


def _thinned(points: Array) -> Array:
    """The points (M, K) that no other of them dominates or equals."""
    points = points[:, np.lexsort(points[::-1])]
    kept = []
    while points.shape[1]:  # the first one in this order is never dominated
        kept.append(points[:, :1])
        points = points[:, (points < kept[-1]).any(axis=0)]
    return np.concatenate(kept, axis=1)


def _slabs(inner: Array, starts: Array, tops: Array) -> Array:
    """Uncovered volume of three objectives: slabs along the third, strips along the first."""
    missing = 3 - len(inner)  # fewer objectives are three, in the last of which all are equal
    inner = np.concatenate([inner, np.zeros((missing, *inner.shape[1:]))])
    starts = np.concatenate([starts, np.zeros((missing, inner.shape[1]))])[:, :, None]
    tops = np.concatenate([tops, np.ones((missing, inner.shape[1]))])[:, :, None]
    order = np.argsort(inner[0], axis=1, kind="stable")
    x, y, z = np.take_along_axis(inner, order[None], axis=2)
    width = np.diff(np.concatenate([starts[0], x, tops[0]], axis=1))  # (R, K + 1)
    edges = np.concatenate([starts[2], np.sort(z, axis=1), tops[2]], axis=1)  # (R, K + 2)
    area = np.empty_like(width)
    for part in _parts(width.shape[1], width.size):
        there = z[:, None] <= edges[:, :-1][:, part, None]  # (R, slab, K): it is in the slab
        height = np.empty((*there.shape[:2], width.shape[1]))
        height[:, :, 0] = tops[1]
        height[:, :, 1:] = np.where(there, y[:, None], tops[1][:, None])
        height = np.minimum.accumulate(height, axis=2) - starts[1][:, None]
        area[:, part] = _sum(width[:, None] * height)
    return _sum(np.diff(edges) * area)


def _sum(terms: Array) -> Array:
    """Sum along the last axis, one after the other, whatever the other axes are."""
    total: Array = np.add.accumulate(terms, axis=-1)[..., -1]
    return total


def _parts(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows, each of a bounded number of cells."""
    step = max(1, _CELLS // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
