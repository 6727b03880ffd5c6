"""The knee of a front: the member of which error and costs, counted in ratios, are least together.

The least of ``log(error) + mean of log(costs)``: to halve the error is worth as much as to halve
every cost, on whatever front and in whatever units. No range of the front comes in: a member more
or less at its ends moves nothing, and costs that go together have one vote. That is a weighted
product (Bridgman, 1922; Miller and Starr, 1969) of weight 1 for the error, and 1 in all for the
costs.

- The error of an accuracy is ``(wrong + 1) / (images + 2)``, by the rule of succession (Laplace,
  1774): no error is not infinitely better than one.
  So is that of a balanced accuracy or of a macro F1.
- A loss counts as an error. Of several trained objectives it is the mean of their logarithms.
- Of a maximised cost, such as images per second, the inverse counts.
- A cost of 0, or an infinite one, has no ratio: it counts as half the least, or twice the largest,
  of the others.
- Weights multiply the logarithms of errors and costs, before the mean is taken: 1 each unless they
  are given.
- Members whose accuracies noise does not tell from that one's are told apart by their costs alone:
  the cheapest of them is the knee (``study/uncertainty.py`` says which these are).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnest_search.metrics import SHARES, TRAINED

__all__ = ["first_in_order", "first_least", "knee", "log_costs", "log_error"]

_UNCOUNTED = 10_000  # images, where nobody says how many an accuracy was taken on

Floats = NDArray[np.float64]
_EQUAL = 1e-9  # by which equal ones differ in other units: they are rounded otherwise


def log_error(accuracy: ArrayLike, images: ArrayLike) -> Floats:
    """Logarithm of the error of accuracies on so many images, which broadcast; 0 for not known."""
    counted = np.asarray(images, dtype=np.float64)
    counted = np.where(counted > 0, counted, _UNCOUNTED)
    wrong = counted * (1.0 - np.clip(accuracy, 0.0, 1.0))
    found: Floats = np.log((wrong + 1.0) / (counted + 2.0))
    return found


def log_costs(costs: ArrayLike, weights: Sequence[float] = ()) -> Floats:
    """Mean of the logarithms of costs (n, m), each times its weight, (n,); 0 where there is none.

    Costs are oriented so that less is better: one that is to be large comes negated, and its
    inverse counts. Without weights, (m,), each is 1.
    """
    table = np.asarray(costs, dtype=np.float64)
    if not table.shape[1]:
        return np.zeros(len(table))
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(table))
    logs = np.where(np.signbit(table), -logs, logs)
    found: Floats = (_finite(logs) * (weights or 1.0)).mean(axis=1)
    return found


def knee(
    points: ArrayLike,
    objectives: Sequence[str],
    images: ArrayLike = 0,
    weights: Mapping[str, float] | None = None,
) -> int:
    """Index of the knee of a front, leaving noise aside; ties go to the first.

    Args:
        points: (n, m), n at least 1, oriented so that less is better, without NaN.
        objectives: names of metrics, (m,).
        images: validation images of each member, or of all; 0 where that is not known.
        weights: of objectives, by name; 1 of those that are not among them.
    """
    table = np.asarray(points, dtype=np.float64)
    given = weights or {}
    errors = [
        given.get(name, 1.0)
        * (log_error(-column, images) if name in SHARES else log_costs(column[:, None]))
        for name, column in zip(objectives, table.T, strict=True)
        if name in TRAINED
    ]
    costs = [name for name in objectives if name not in TRAINED]
    burden = table[:, [name in costs for name in objectives]]
    total = log_costs(burden, [given.get(name, 1.0) for name in costs])
    return int(first_least(total + np.mean(errors, axis=0) if errors else total))


def first_least(logs: Floats) -> NDArray[np.int64]:
    """Where along the first axis logarithms are least, the first of those that rounding parts."""
    found: NDArray[np.int64] = np.argmax(logs <= logs.min(axis=0) + _EQUAL, axis=0)
    return found


def first_in_order(points: ArrayLike) -> int:
    """Index of the best point in the first objective, of equals that in the second, and so on.

    Of points (n, m), n at least 1, oriented so that less is better; ties go to the first.
    """
    table = np.asarray(points, dtype=np.float64)
    return int(np.lexsort(table.T[::-1])[0])


def _finite(logs: Floats) -> Floats:
    """Logarithms (n, m), infinite ones a factor of 2 beyond the finite ones of their column."""
    finite = np.isfinite(logs)
    low = logs.min(axis=0, where=finite, initial=np.inf) - math.log(2)
    high = logs.max(axis=0, where=finite, initial=-np.inf) + math.log(2)
    known = finite.any(axis=0)
    return np.clip(logs, np.where(known, low, -1.0), np.where(known, high, 1.0))
