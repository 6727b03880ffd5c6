"""One search on one recorded seed of one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search_peers.orders import Order
from search_peers.race import Clock, Meter, Problem, race
from search_peers.rows import Row
from search_peers.table import Table
from search_peers.truth import Found, Truth

__all__ = ["Trace", "run"]


@dataclass(frozen=True)
class Trace:
    """What a search had at which price, after each candidate that reached its full length.

    Attributes:
        epochs: finished by then.
        seconds: virtual, by then.
        fractions: of the true front's hypervolume.
        spent: epochs when the race ended, because the search had nothing more to train or all
            that was asked of it was found.
    """

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    fractions: tuple[float, ...]
    spent: int

    def epochs_until(self, level: float) -> float:
        """Epochs until a fraction was reached; infinite where it never was."""
        return next((float(e) for e, f in self._points(self.epochs) if f >= level), np.inf)

    def seconds_until(self, level: float) -> float:
        """Virtual seconds until a fraction was reached; infinite where it never was."""
        return next((float(s) for s, f in self._points(self.seconds) if f >= level), np.inf)

    def _points(self, spent: tuple[float, ...]) -> zip[tuple[float, float]]:
        return zip(spent, self.fractions, strict=True)


def run(row: Row, table: Table, truth: Truth, workers: int, seed: int, until: float = 1.0) -> Trace:
    """Race one search until it ends or has found a fraction of the true front's hypervolume.

    Args:
        row: the search.
        table, truth: of the same file.
        workers: virtual ones.
        seed: of the search; it trains on the recorded seed of this number, modulo theirs.
        until: at which fraction the race ends.
    """
    clock = Clock()
    problem = Problem.of(table, seed, workers, row.knows_costs, clock)
    search = row.make(problem) if row.make else Order(truth.greedy())
    found = Found(truth)
    fractions: list[float] = []

    def enough(candidate: int) -> bool:
        fractions.append(found.add(candidate))
        return fractions[-1] >= until

    meter = Meter(table, seed % len(table.seeds))
    finishes, spent = race(
        search, meter, epochs=table.epochs, workers=workers, clock=clock, enough=enough
    )
    return Trace(
        epochs=tuple(finish.epochs for finish in finishes),
        seconds=tuple(finish.seconds for finish in finishes),
        fractions=tuple(fractions),
        spent=spent,
    )
