"""Every candidate of a finite space once, in an order that is known beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from resnest_search.search.situation import ProposingSampler, Situation
from resnest_search.space import Candidate

__all__ = ["OrderedSampler"]


class OrderedSampler(ProposingSampler):
    """Proposes the first unused candidate of an order.

    Args:
        order: ``grid`` (as the sweep lists them), ``random`` (shuffled by the seed) or
            ``cheapest`` (least latency first).
        seed: of the shuffle.
    """

    def __init__(self, order: str, seed: int) -> None:
        self._order = order
        self._seed = seed
        self._queue: list[str] = []  # identities, the next one last

    def propose(self, situation: Situation) -> Candidate:
        """The next candidate among the unused."""
        unused = situation.unused
        if not unused:
            raise ValueError("an order needs a finite space with an unused candidate")
        if self._order == "grid":
            return next(iter(unused.values()))
        while self._queue and self._queue[-1] not in unused:
            self._queue.pop()
        if not self._queue:  # sorted once, since the unused only become fewer
            self._queue = sorted(unused, key=self._key(situation), reverse=True)
        return unused[self._queue[-1]]

    def _key(self, situation: Situation) -> Callable[[str], tuple[float, int]]:
        unused = situation.unused or {}
        places = {identity: place for place, identity in enumerate(unused)}
        if self._order == "cheapest":
            return lambda name: (_latency(situation.costs(unused[name])), places[name])
        # A priority per identity instead of a permutation: the order is the same
        # whichever candidates were used or ruled out before.
        return lambda name: (self._priority(name), places[name])

    def _priority(self, identity: str) -> float:
        return float(np.random.default_rng([self._seed, int(identity, 16)]).random())


def _latency(costs: Mapping[str, float]) -> float:
    return costs.get("latency_ms", math.inf)
