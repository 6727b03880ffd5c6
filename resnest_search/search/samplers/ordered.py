"""Every candidate of a finite space once, in an order that is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from resnest_search.search.space import Candidate

__all__ = ["OrderedSampler"]


class OrderedSampler:
    """Proposes the first unused candidate of an order.

    Args:
        order: ``grid`` (as the sweep lists them), ``random`` (shuffled by the seed) or
            ``cheapest`` (least latency first).
        seed: of the shuffle.
    """

    def __init__(self, order: str, seed: int) -> None:
        self._order = order
        self._seed = seed

    def propose(
        self,
        number: int,
        trials: Sequence[FrozenTrial],
        unused: Mapping[str, Candidate] | None,
        allowed: Callable[[Candidate], bool],
        latency: Callable[[Candidate], float],
    ) -> Candidate:
        """The next candidate among the unused, which are given by identity in the sweep's order."""
        if not unused:
            raise ValueError("an order needs a finite space with an unused candidate")
        if self._order == "grid":
            return next(iter(unused.values()))
        if self._order == "cheapest":
            return min(unused.values(), key=latency)
        # A priority per identity instead of a permutation: the order is the same
        # whichever candidates were used or ruled out before.
        return unused[min(unused, key=self._priority)]

    def _priority(self, identity: str) -> float:
        return float(np.random.default_rng([self._seed, int(identity, 16)]).random())
