"""Expected hypervolume improvement where all objectives but one are known exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["beats", "expected_improvements"]

Points = NDArray[np.float64]
_CHUNK = 4_000_000  # cells at once


def expected_improvements(
    mean: Points,
    deviation: Points,
    costs: Points,
    front_values: Points,
    front_costs: Points,
    reference: float,
    limits: Sequence[float] | Points,
) -> Points:
    """Expected growth of a front's hypervolume by each of n candidates, (n,).

    With the costs known, the growth is a function of the trained value alone. Over each cell
    of the cost space the front has one height, the best value among its points that are no
    dearer; a candidate's value above that height is gained. So the expectation is a sum
    over the cells that the candidate reaches, of their volume times the one-dimensional
    expected improvement over their height (the decomposition into cells of exact EHVI:
    Emmerich et al., 2011; Hupkens et al., 2015, for one uncertain objective).

    Args:
        mean, deviation: of the candidates' values, normal, more is better; (n,) each.
        costs: of the candidates, less is better; (n, d), d may be 0.
        front_values: of the points that are known or taken for granted; (k,).
        front_costs: (k, d).
        reference: value at which the hypervolume begins.
        limits: costs at which it ends; (d,).
    """
    heights, edges = _height_map(front_values, front_costs, reference, np.asarray(limits))
    levels, cells = np.unique(heights, return_inverse=True)
    gains = _expected_excess(mean[:, None], deviation[:, None], levels[None, :])  # (n, levels)
    cells = cells.reshape(-1)
    result = np.empty(len(mean))
    step = max(1, _CHUNK // max(1, heights.size))
    for start in range(0, len(mean), step):
        part = slice(start, start + step)
        volumes = _volumes(costs[part], edges)
        per_level = np.zeros((len(volumes), len(levels)))
        for level in range(len(levels)):
            per_level[:, level] = volumes[:, cells == level].sum(axis=1)
        result[part] = (per_level * gains[part]).sum(axis=1)
    return result


def beats(costs: Points, front_values: Points, front_costs: Points) -> Points:
    """The value above which each of n candidates is on the front, (n,); -inf: whatever it is."""
    if not len(front_values):
        return np.full(len(costs), -math.inf)
    rivals = (front_costs[None, :, :] <= costs[:, None, :]).all(axis=2)  # (n, k)
    best: Points = np.where(rivals, front_values[None, :], -math.inf).max(axis=1)
    return best


def _height_map(
    values: Points, costs: Points, reference: float, limits: Points
) -> tuple[Points, list[Points]]:
    """Best value within reach of each cell, and the cells' edges in each cost."""
    dimensions = len(limits)
    edges = [
        np.unique(np.append(costs[:, axis][costs[:, axis] < limits[axis]], limits[axis]))
        for axis in range(dimensions)
    ]
    # The cell below an edge starts at the edge before it; the first one has no lower end.
    starts = [np.concatenate([[-math.inf], axis_edges[:-1]]) for axis_edges in edges]
    heights = np.full([len(axis_edges) for axis_edges in edges], reference)
    for value, cost in zip(values, costs, strict=True):
        reached = tuple(
            slice(int(np.searchsorted(starts[a], cost[a])), None) for a in range(dimensions)
        )
        heights[reached] = np.maximum(heights[reached], value)
    return heights, edges


def _volumes(costs: Points, edges: list[Points]) -> Points:
    """Volume of each cell that a candidate reaches, (n, cells)."""
    volumes = np.ones((len(costs), 1))
    for axis, axis_edges in enumerate(edges):
        starts = np.concatenate([[-math.inf], axis_edges[:-1]])
        begin = np.maximum(starts[None, :], costs[:, axis : axis + 1])
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
