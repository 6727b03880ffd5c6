"""Sums up traces: medians, quartiles, tests against peers, and the goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

from search_peers.rows import BASELINE, COSTS, DEFAULT, OWN, PUBLISHED, Row
from search_peers.running import Trace

__all__ = ["LEVELS", "SIGNIFICANT", "Goal", "Results", "Spread", "fewer"]

LEVELS = (0.90, 0.95, 0.99)
SIGNIFICANT = 0.05
_GOAL_LEVELS = (0.90, 0.95)
_GOAL_RATIO = 0.6  # of the best published peer's epochs
_NEVER = 1e18  # stands for infinity in tests on ranks


@dataclass(frozen=True)
class Spread:
    """Quartiles over seeds; infinite where the level was not reached."""

    low: float
    median: float
    high: float
    reached: int
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a seed."""
        quartiles = (_quantile(values, share) for share in (0.25, 0.5, 0.75))
        return cls(*quartiles, int(np.isfinite(values).sum()), len(values))


@dataclass(frozen=True)
class Goal:
    """A goal of this project's search, and whether it is met.

    Attributes:
        name: in words.
        figure: in words.
        met: or missed.
    """

    name: str
    figure: str
    met: bool

    def __str__(self) -> str:
        return f"{'PASS' if self.met else 'MISS'}: {self.name}: {self.figure}"


class Results:
    """Traces of every row, by table, workers and seed.

    Args:
        rows: that took part.
        traces: by (table, workers, key of the row), one a seed.
    """

    def __init__(
        self, rows: Sequence[Row], traces: dict[tuple[str, int, str], list[Trace]]
    ) -> None:
        self.rows = list(rows)
        self.traces = traces
        self.tables = list(dict.fromkeys(table for table, _, _ in traces))
        self.workers = list(dict.fromkeys(workers for _, workers, _ in traces))

    def epochs(self, table: str, workers: int, key: str, level: float) -> list[float]:
        """Epochs until a level, one a seed."""
        return [trace.epochs_until(level) for trace in self.traces[table, workers, key]]

    def seconds(self, table: str, workers: int, key: str, level: float) -> list[float]:
        """Virtual seconds until a level, one a seed."""
        return [trace.seconds_until(level) for trace in self.traces[table, workers, key]]

    def best(self, table: str, workers: int, level: float, kinds: Sequence[str]) -> Row | None:
        """The row of some kinds with the smallest median of epochs, then quartiles."""

        def order(row: Row) -> tuple[float, float, float, int]:
            spread = Spread.of(self.epochs(table, workers, row.key, level))
            return spread.median, spread.low, spread.high, -spread.reached

        return min((row for row in self.rows if row.kind in kinds), key=order, default=None)

    def p_value(self, table: str, workers: int, key: str, level: float) -> float | None:
        """Of needing no fewer epochs than the best published peer; None for that peer."""
        peer = self.best(table, workers, level, [PUBLISHED])
        if peer is None or peer.key == key:
            return None
        own = self.epochs(table, workers, key, level)
        return fewer(own, self.epochs(table, workers, peer.key, level))

    @property
    def judged(self) -> Row | None:
        """The row that the goals are about: this project's default, else its first."""
        own = [row for row in self.rows if row.kind == OWN]
        return next((row for row in own if row.key == DEFAULT), own[0] if own else None)

    def goals(self) -> list[Goal]:
        """Every goal for which the rows are there."""
        if self.judged is None:
            return []
        goals: list[Goal] = []
        for workers in self.workers:
            for level in _GOAL_LEVELS:
                goals += self._ratio_goals(workers, level)
        return goals + list(self._never_behind())

    def beside_the_rest(self, workers: int, level: float) -> float | None:
        """Median ratio to the best of all that is not ours, peers that know costs included."""
        return self._median_ratio(workers, level, [PUBLISHED, COSTS, BASELINE])

    def _ratio_goals(self, workers: int, level: float) -> Iterator[Goal]:
        where = f"{workers} worker{'s' if workers > 1 else ''}, epochs until {level:.0%}"
        ratio = self._median_ratio(workers, level, [PUBLISHED])
        if ratio is not None:
            name = f"{where}, ours / best published peer, at most {_GOAL_RATIO}"
            yield Goal(name, _number(ratio), ratio <= _GOAL_RATIO)
        if any(row.key == "cheapest" for row in self.rows):
            pairs = [(table, "cheapest") for table in self.tables]
            ratio = self._ratio(workers, level, pairs)
            yield Goal(f"{where}, ours / cheapest first, below 1", _number(ratio), ratio < 1)

    def _median_ratio(self, workers: int, level: float, kinds: Sequence[str]) -> float | None:
        pairs = []
        for table in self.tables:
            peer = self.best(table, workers, level, kinds)
            if peer is None:
                return None
            pairs.append((table, peer.key))
        return self._ratio(workers, level, pairs)

    def _ratio(self, workers: int, level: float, pairs: Sequence[tuple[str, str]]) -> float:
        """Median over tables and seeds of ours / theirs, both of the same recorded seed."""
        assert self.judged is not None
        ratios: list[float] = []
        for table, key in pairs:
            own = self.epochs(table, workers, self.judged.key, level)
            theirs = self.epochs(table, workers, key, level)
            ratios += [_divided(a, b) for a, b in zip(own, theirs, strict=True)]
        return _quantile(ratios, 0.5)

    def _never_behind(self) -> Iterator[Goal]:
        """One goal a table: nowhere significantly behind random order."""
        assert self.judged is not None
        if not any(row.key == "random" for row in self.rows):
            return
        for table in self.tables:
            least = min(
                (
                    fewer(
                        self.epochs(table, workers, "random", level),
                        self.epochs(table, workers, self.judged.key, level),
                    ),
                    workers,
                    level,
                )
                for workers in self.workers
                for level in _GOAL_LEVELS
            )
            yield Goal(
                f"{table}, ours not significantly behind random order at any of these",
                f"least p {least[0]:.3f}, {least[1]} workers, {least[2]:.0%}",
                least[0] >= SIGNIFICANT,
            )


def fewer(own: Sequence[float], others: Sequence[float]) -> float:
    """One-sided p of Mann and Whitney for ``own`` being smaller; infinity ranks last."""
    a, b = np.minimum(own, _NEVER), np.minimum(others, _NEVER)
    if np.ptp(np.concatenate([a, b])) == 0:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="less", method="asymptotic").pvalue)


def _quantile(values: Sequence[float], share: float) -> float:
    """Linear between order statistics, as numpy's; infinite next to an infinite one."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    if place == below or ordered[below] == np.inf:
        return ordered[below]
    return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])


def _divided(own: float, other: float) -> float:
    """A ratio of epochs; two that never reached the level are equal."""
    if own == np.inf:
        return 1.0 if other == np.inf else np.inf
    return own / other


def _number(value: float) -> str:
    return "never" if value == np.inf else f"{value:.2f}"
