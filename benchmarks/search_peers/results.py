"""Sums up traces: medians, quartiles, ratios to the best of others, tests, and the goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu

from search_peers.rows import BASELINE, COSTS, DEFAULT, OWN, PUBLISHED, UNPAUSED, Row
from search_peers.running import Trace
from search_peers.table import Table

__all__ = [
    *("EPOCHS", "GOAL_LEVELS", "LEVELS", "MEASURES", "OTHERS", "SECONDS", "SIGNIFICANT"),
    *("At", "Goal", "Results", "Spread", "fewer", "holm", "workers_named"),
]

EPOCHS, SECONDS = MEASURES = ("epochs", "seconds")
LEVELS = (0.90, 0.95, 0.99)
GOAL_LEVELS = LEVELS[:2]  # of ratios
SIGNIFICANT = 0.05
OTHERS = {  # whom ratios are to, by kinds of rows, with the most that is aimed at
    "best published peer": ((PUBLISHED,), 0.6),
    "best of all rows that are not ours": ((PUBLISHED, COSTS, BASELINE), 0.8),
}
_MOST_CROWDED, _CROWDED = 0.85, 16  # where so many workers leave little order to choose
_MOST_PAUSING, _LONG = 0.75, 27  # of the epochs without pausing, on tables of so many epochs
_NEVER = 1e18  # stands for infinity in tests on ranks


class At(NamedTuple):
    """Where searches are compared."""

    table: str
    workers: int
    level: float  # of the true front's hypervolume
    measure: str = EPOCHS  # or SECONDS


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
        tables: that were raced on.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        traces: dict[tuple[str, int, str], list[Trace]],
        tables: Sequence[Table],
    ) -> None:
        self.rows = list(rows)
        self.traces = traces
        self.tables = {table.name: table for table in tables}
        self.workers = list(dict.fromkeys(workers for _, workers, _ in traces))

    @property
    def judged(self) -> Row | None:
        """The row that the goals are about: this project's default, else its first."""
        own = self.rows_of([OWN])
        return next((row for row in own if row.key == DEFAULT), own[0] if own else None)

    @property
    def real(self) -> list[str]:
        """Names of the tables that nobody made up."""
        return [name for name, table in self.tables.items() if not table.made_up]

    def rows_of(self, kinds: Sequence[str]) -> list[Row]:
        """The rows of some kinds."""
        return [row for row in self.rows if row.kind in kinds]

    def until(self, at: At, row: Row) -> list[float]:
        """Epochs or virtual seconds until the level, one a seed; infinite where it never was."""
        traces = self.traces[at.table, at.workers, row.key]
        if at.measure == EPOCHS:
            return [trace.epochs_until(at.level) for trace in traces]
        return [trace.seconds_until(at.level) for trace in traces]

    def best(self, at: At, rows: Sequence[Row]) -> Row | None:
        """The row with the smallest median, then lower quartile; None of none."""

        def order(row: Row) -> tuple[float, float]:
            return self._median(at, row), Spread.of(self.until(at, row)).low

        return min(rows, key=order, default=None)

    def ratio(self, at: At, rows: Sequence[Row]) -> float | None:
        """Median of ours over that of the best of some rows; None where one is missing."""
        best = self.best(at, rows)
        if self.judged is None or best is None:
            return None
        return self._median(at, self.judged) / self._median(at, best)

    def joined(
        self, workers: int, level: float, measure: str, rows: Sequence[Row], least: int = 1
    ) -> float | None:
        """Geometric mean of the ratios on real tables of at least so many epochs, None of none."""
        tables = [table for table in self.real if self.tables[table].epochs >= least]
        found = (self.ratio(At(table, workers, level, measure), rows) for table in tables)
        ratios = [ratio for ratio in found if ratio is not None]
        return geometric_mean(ratios) if ratios else None

    def p_value(self, at: At, row: Row, others: Sequence[Row]) -> float | None:
        """Of a row needing no fewer epochs than the best of others, Holm over tables.

        Real tables are corrected for each other, and so are made-up ones. None where the row is
        itself the best, or there are no others.
        """
        made_up = self.tables[at.table].made_up
        found: dict[str, float] = {}
        for name, table in self.tables.items():
            there = at._replace(table=name)
            best = self.best(there, others)
            if table.made_up == made_up and best is not None and best is not row:
                found[name] = fewer(self.until(there, row), self.until(there, best))
        return dict(zip(found, holm(list(found.values())), strict=True)).get(at.table)

    def goals(self) -> list[Goal]:
        """Every goal for which the rows are there."""
        if self.judged is None:
            return []
        unpaused = [row for row in self.rows if row.key == UNPAUSED and row is not self.judged]
        goals: list[Goal] = []
        for workers in self.workers:
            for name, (kinds, few) in OTHERS.items():
                most = few if workers < _CROWDED else _MOST_CROWDED
                for measure in MEASURES:
                    goals += self._ratio_goal(name, workers, measure, self.rows_of(kinds), most)
            name = f"itself with pausing=false on real tables of {_LONG} epochs and more"
            goals += self._ratio_goal(name, workers, EPOCHS, unpaused, _MOST_PAUSING, _LONG)
        for row in (*(row for row in self.rows if row.key == "random"), *unpaused):
            goals += self._never_behind(row)
        return goals

    def _ratio_goal(
        self,
        name: str,
        workers: int,
        measure: str,
        rows: Sequence[Row],
        most: float,
        least: int = 1,
    ) -> Iterator[Goal]:
        found = [self.joined(workers, level, measure, rows, least) for level in GOAL_LEVELS]
        ratios = [ratio for ratio in found if ratio is not None]
        if ratios:
            where = f"{workers_named(workers)}, {measure} until 90 / 95%"
            yield Goal(
                f"{where}, ours / {name}, at most {most}",
                " / ".join(f"{ratio:.2f}" for ratio in ratios),
                max(ratios) <= most,
            )

    def _never_behind(self, row: Row) -> Iterator[Goal]:
        """One goal a table: at no level does a row need significantly fewer epochs than ours."""
        assert self.judged is not None
        for table in self.tables:
            places = [At(table, workers, level) for workers in self.workers for level in LEVELS]
            found = [(self.p_value(at, row, [self.judged]), at) for at in places]
            least, at = min((p, at) for p, at in found if p is not None)
            yield Goal(
                f"{table}, ours never significantly behind {row.title.removeprefix('ours: ')}",
                f"least p {least:.3f}, {workers_named(at.workers)}, {at.level:.0%}",
                least >= SIGNIFICANT,
            )

    def _median(self, at: At, row: Row) -> float:
        """Over seeds, where never counts as the whole table."""
        whole = self._whole(at)
        return median(whole if value == np.inf else value for value in self.until(at, row))

    def _whole(self, at: At) -> float:
        """What a whole table takes: its epochs, or seconds at most, whatever the order.

        Of workers who are never idle while there is work; the bound is that of R. L. Graham,
        Bounds for certain multiprocessing anomalies, 1966.
        """
        table = self.tables[at.table]
        if at.measure == EPOCHS:
            return float(len(table.settings) * table.epochs)
        seconds = table.seconds.mean(axis=1).sum(axis=1)  # of each candidate, (n,)
        return float(seconds.sum() / at.workers + (1 - 1 / at.workers) * seconds.max())


def fewer(own: Sequence[float], others: Sequence[float]) -> float:
    """One-sided p of Mann and Whitney for ``own`` being smaller; infinity ranks last."""
    a, b = np.minimum(own, _NEVER), np.minimum(others, _NEVER)
    if np.ptp(np.concatenate([a, b])) == 0:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="less", method="asymptotic").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number (Holm, A simple sequentially rejective test, 1979)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.take(p_values, order) * factors), 1)
    return [float(p) for p in adjusted]


def workers_named(count: int) -> str:
    """A number of workers in words."""
    return f"{count} worker{'s' if count > 1 else ''}"


def _quantile(values: Sequence[float], share: float) -> float:
    """Linear between order statistics, as numpy's; infinite next to an infinite one."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    if place == below or ordered[below] == np.inf:
        return ordered[below]
    return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])
