"""Pareto order: fronts, hypervolume, the knee. Every array is oriented so that less is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fronts", "hypervolume", "knee", "non_dominated"]

Points = NDArray[np.float64]  # (n, m): n points, m objectives to be minimised


def non_dominated(points: Points) -> NDArray[np.bool_]:
    """Which points no other point dominates, (n,); equal points do not dominate each other."""
    kept = np.ones(len(points), dtype=bool)
    for index, point in enumerate(points):
        if kept[index]:
            worse = (points >= point).all(axis=1) & (points > point).any(axis=1)
            kept &= ~worse
    return kept


def fronts(points: Points) -> NDArray[np.int64]:
    """Rank of each point, (n,): 0 on the Pareto front, 1 on the front without those, and so on.

    Non-dominated sorting (Deb et al., NSGA-II, 2002). Points with a NaN come after all others.
    """
    ranks = np.full(len(points), -1, dtype=np.int64)
    usable = ~np.isnan(points).any(axis=1)
    rank = 0
    while (left := np.flatnonzero(usable & (ranks < 0))).size:
        ranks[left[non_dominated(points[left])]] = rank
        rank += 1
    ranks[~usable] = rank
    return ranks


def hypervolume(points: Points, reference: Sequence[float] | Points) -> float:
    """Volume that the points dominate below the reference, exact.

    Slices along the last objective (HSO; While et al., 2006): simple, and quick enough
    for the handful of objectives and the hundreds of points of a front.
    """
    limit = np.asarray(reference, dtype=np.float64)
    inside = points[(points < limit).all(axis=1)]
    if not len(inside):
        return 0.0
    inside = np.unique(inside[non_dominated(inside)], axis=0)
    if inside.shape[1] == 1:
        return float(limit[0] - inside[:, 0].min())
    order = np.argsort(inside[:, -1], kind="stable")
    inside = inside[order]
    edges = np.append(inside[1:, -1], limit[-1])
    total = 0.0
    for count, (edge, start) in enumerate(zip(edges, inside[:, -1], strict=True), start=1):
        if edge > start:
            total += float(edge - start) * hypervolume(inside[:count, :-1], limit[:-1])
    return total


def knee(points: Points) -> int:
    """Index of the point nearest to the ideal, objectives scaled to [0, 1] over the points.

    The ideal takes the best of every objective; distance is Euclidean (the compromise
    solution of Zeleny, 1973). Ties go to the first.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return int(np.argmin(np.linalg.norm((points - low) / span, axis=1)))
