"""Pareto order and hypervolume, behind one door: ``moocore`` computes, our rules hold.

Less is better in every objective. Points are (n, m): n of them, m objectives. Equal points do not
dominate each other: both are on a front, and neither contributes. Infinite values are values, and
never reach ``moocore``, which crashes the process on some (0.3.2, -inf among three objectives). A
NaN is refused, since ``moocore`` ranks it without a word: callers say what it means to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore  # type: ignore[import-untyped, unused-ignore]
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Box", "contributions", "fronts", "hypervolume", "non_dominated"]

Points = NDArray[np.float64]
_MARGIN = 0.1  # of the range beyond the worst, where contributions end
_DIGITS = 12  # of contributions, so that equal ones are equal and ties stay ties


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point dominates, (n,).

    Raises:
        ValueError: a point has a NaN, or the array is not (n, m).
    """
    found: NDArray[np.bool_] = moocore.is_nondominated(_finite(points), keep_weakly=True)
    return found


def fronts(points: ArrayLike) -> NDArray[np.int64]:
    """Rank of each point, (n,): 0 on the Pareto front, 1 on the front without those, and so on.

    Non-dominated sorting (Deb et al., NSGA-II, 2002). Of three objectives it takes the longer
    the more fronts there are.

    Raises:
        ValueError: as `non_dominated`.
    """
    ranks: NDArray[np.int64] = moocore.pareto_rank(_finite(points)).astype(np.int64)
    return ranks


def hypervolume(points: ArrayLike, reference: Sequence[float] | Points) -> float:
    """Volume that the points dominate below the finite reference (m,), exact.

    Raises:
        ValueError: as `non_dominated`, or the reference is not finite.
    """
    table, corner = _checked(points), np.asarray(reference, dtype=np.float64)
    if corner.shape != table.shape[1:] or not np.isfinite(corner).all():
        raise ValueError(f"reference must be {table.shape[1]} finite numbers, not {reference}")
    inside = table[(table < corner).all(axis=1)]
    if not np.isfinite(inside).all():
        return np.inf
    return float(moocore.hypervolume(inside, ref=corner))


class Box:
    """Objectives scaled to [0, 1] over some points, and volumes in them.

    Args:
        points: less is better, (n, m); at least one.
    """

    def __init__(self, points: Points) -> None:
        self._low = points.min(axis=0)
        span = np.ptp(points, axis=0)
        self._span = np.where(span > 0, span, 1.0)
        self._corner = np.full(points.shape[1], 1.0 + _MARGIN)

    def volume(self, points: Points) -> float:
        """Hypervolume below a tenth beyond the worst; what lies beyond that is worth nothing."""
        return hypervolume((points - self._low) / self._span, self._corner)


def contributions(points: ArrayLike) -> Points:
    """Hypervolume that each point of a front alone dominates, (n,).

    Objectives are scaled to [0, 1] over the points, and the reference lies at 1.1 in each, so
    that the ends of a front count. Infinite values lie where that frame ends. A point that another
    one dominates contributes nothing, and takes nothing from any other.

    Raises:
        ValueError: as `non_dominated`.
    """
    table = _checked(points)
    low, span = _frame(table)
    corner = low + (1 + _MARGIN) * span
    if np.isfinite(table).all() and table.shape[1] <= 3:
        found = _at_once(table, corner)
    else:
        found = np.zeros(len(table))
        front = non_dominated(table)
        found[front] = _one_by_one(np.clip(table[front], low, corner), corner)
    shares: Points = np.round(np.maximum(found, 0.0) / span.prod(), _DIGITS)
    return shares


def _checked(points: ArrayLike) -> Points:
    table = np.asarray(points, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1]:
        raise ValueError(f"points must be (n, m) with m objectives, not {table.shape}")
    if np.isnan(table).any():
        raise ValueError("points must not have a NaN: it is neither better nor worse")
    return table


def _finite(points: ArrayLike) -> Points:
    """Points in the same order, of which infinite values are ranks."""
    table = _checked(points)
    if np.isfinite(table).all():
        return table
    ranks = [np.unique(column, return_inverse=True)[1] for column in table.T]
    return np.stack(ranks, axis=1).astype(np.float64)


def _frame(points: Points) -> tuple[Points, Points]:
    """Least finite value and extent (1 where there is none) of each objective, (m,) each."""
    finite = np.isfinite(points)
    low = points.min(axis=0, where=finite, initial=np.inf)
    high = points.max(axis=0, where=finite, initial=-np.inf)
    return np.where(finite.any(axis=0), low, 0.0), np.where(high > low, high - low, 1.0)


def _at_once(points: Points, corner: Points) -> Points:
    if points.shape[1] == 1:  # two objectives, in the second of which all are equal
        points, corner = np.insert(points, 1, 0.0, axis=1), np.append(corner, 1.0)
    found: Points = moocore.hv_contributions(points, ref=corner)
    return found


def _one_by_one(points: Points, corner: Points) -> Points:
    """Each point's box up to the corner, less what the others dominate of it.

    Of four objectives ``hv_contributions`` takes what is below 1.5e-8 for nothing, which would
    make ties, and is slower; and points that were put into the frame may have come to dominate.
    """
    found = np.zeros(len(points))
    for index, (point, box) in enumerate(zip(points, (corner - points).prod(axis=1), strict=True)):
        others = np.maximum(np.delete(points, index, axis=0), point)
        found[index] = box - moocore.hypervolume(others, ref=corner)
    return found
