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
        front_values: of the points that are known or taken for granted, (k,); or as many draws of
            them as there are rows, (s, k), of which the mean is taken.
        front_costs: (k, d).
        reference: value at which the hypervolume begins.
        limits: costs at which it ends; (d,).
    """
    edges = _edges(front_costs, np.asarray(limits))
    heights = _heights(np.atleast_2d(front_values), front_costs, reference, edges)
    worlds = [np.unique(each, return_inverse=True) for each in heights]
    cells = math.prod(len(axis_edges) for axis_edges in edges)
    result = np.empty(len(mean))
    step = max(1, _CHUNK // max(1, cells))
    for start in range(0, len(mean), step):
        part = slice(start, start + step)
        volumes = _volumes(costs[part], edges)
        gains = [_gain(mean[part], deviation[part], volumes, *world) for world in worlds]
        result[part] = np.mean(gains, axis=0)
    return result


def _gain(
    mean: Points, deviation: Points, volumes: Points, levels: Points, places: NDArray[np.int64]
) -> Points:
    """Expected growth over cells whose heights are ``levels[places]``, (n,)."""
    order = np.argsort(places.reshape(-1), kind="stable")
    begins = np.searchsorted(places.reshape(-1)[order], np.arange(len(levels)))
    per_level = np.add.reduceat(volumes[:, order], begins, axis=1)
    excess = _expected_excess(mean[:, None], deviation[:, None], levels[None, :])
    gain: Points = (per_level * excess).sum(axis=1)
    return gain


def beats(costs: Points, front_values: Points, front_costs: Points) -> Points:
    """The value above which each of n candidates is on the front, (n,); -inf: whatever it is."""
    if not len(front_values):
        return np.full(len(costs), -math.inf)
    rivals = (front_costs[None, :, :] <= costs[:, None, :]).all(axis=2)  # (n, k)
    best: Points = np.where(rivals, front_values[None, :], -math.inf).max(axis=1)
    return best


def _edges(costs: Points, limits: Points) -> list[Points]:
    """Upper ends of the cells in each cost."""
    return [
        np.unique(np.append(costs[:, axis][costs[:, axis] < limit], limit))
        for axis, limit in enumerate(limits)
    ]


def _heights(values: Points, costs: Points, reference: float, edges: list[Points]) -> Points:
    """Best value within reach of each cell in each of s worlds, (s, cells in each cost)."""
    # The cell below an edge starts at the edge before it; the first one has no lower end.
    starts = [np.concatenate([[-math.inf], axis_edges[:-1]]) for axis_edges in edges]
    heights = np.full([len(values), *(len(axis_edges) for axis_edges in edges)], reference)
    for value, cost in zip(values.T, costs, strict=True):
        reached = tuple(
            slice(int(np.searchsorted(start, c)), None)
            for start, c in zip(starts, cost, strict=True)
        )
        part = heights[(slice(None), *reached)]
        np.maximum(part, value.reshape(-1, *(1 for _ in starts)), out=part)
    return heights


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
