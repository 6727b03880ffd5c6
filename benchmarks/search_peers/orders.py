"""Searches that train everything to its full length, in an order that is known beforehand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from search_peers.race import Measured, Problem

__all__ = ["Order", "cheapest_first", "random_order"]


class Order:
    """Trains candidates to their full length.

    Args:
        order: indices of candidates.
    """

    def __init__(self, order: Iterable[int]) -> None:
        self._left = list(order)[::-1]

    def next(self) -> int | None:
        """The next of the order."""
        return self._left.pop() if self._left else None

    def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
        """Nothing is stopped."""
        return True

    def finished(self, candidate: int) -> None:
        """Nothing is learnt."""


def random_order(problem: Problem) -> Order:
    """Every candidate once."""
    order = np.random.default_rng(problem.seed).permutation(len(problem.settings))
    return Order(order.tolist())


def cheapest_first(problem: Problem) -> Order:
    """Every candidate once, by the first cost, then by the next."""
    costs = problem.known_costs
    return Order(sorted(range(len(costs)), key=lambda index: costs[index]))
