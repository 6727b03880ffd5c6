"""What trials have shown so far, rung by rung, kept in order while a sweep adds to it."""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from resnest_search.search.forecast.outlook import Prospect

__all__ = ["Climb", "Climbs", "Look"]

Array = NDArray[np.float64]
# The moment, the trial's number, how many rungs it had reached, and the value there.
Look = tuple[float, int, int, float]


@dataclass(frozen=True)
class Climb:
    """A candidate, and what its trial has shown so far.

    Attributes:
        prospect: features, costs and the last epoch.
        number: of the trial; None for a candidate without one.
        shown: at each rung that was reached but the last one, see `Ladder`, (q,) each.
        levels: the value at each of these rungs, more is better.
        moments: when it got to each rung, the full length included, seconds.
        final: value at the full length, the mean over its seeds; NaN before it is there.
    """

    prospect: Prospect
    number: int | None = None
    shown: tuple[Array, ...] = ()
    levels: tuple[float, ...] = ()
    moments: tuple[float, ...] = ()
    final: float = math.nan

    @property
    def rungs(self) -> int:
        """How many rungs it has reached, the full length included."""
        return len(self.moments)

    @property
    def place(self) -> int:
        """What climbs are ordered by."""
        return -1 if self.number is None else self.number

    @property
    def looks(self) -> list[Look]:
        """At each rung."""
        values = (*self.levels, self.final)
        return [
            (moment, self.place, rung, values[rung - 1])
            for rung, moment in enumerate(self.moments, start=1)
        ]

    def until(self, rungs: int) -> Climb:
        """What was known of it when it had reached so many rungs."""
        if rungs >= self.rungs:
            return self
        return replace(
            self,
            shown=self.shown[:rungs],
            levels=self.levels[:rungs],
            moments=self.moments[:rungs],
            final=math.nan,
        )


class Climbs(Sequence[Climb]):
    """Climbs that have reached a rung, by number; not to be changed.

    One more look makes another of these in far less time than reading all trials takes.

    Args:
        climbs: by number.
        top: how many rungs there are, the full length included.

    Attributes:
        rungs: how many each has reached, (n,).
        values: at each rung, NaN where it was not reached, (n, top).
        costs: (n, m).
        looks: at all rungs of all of them, in the order in which they were had.
    """

    def __init__(self, climbs: Sequence[Climb], top: int) -> None:
        self._all = list(climbs)
        self._top = top
        self._places = [climb.place for climb in climbs]
        self.rungs = np.array([climb.rungs for climb in climbs], np.int64)
        self.values = np.array([self._row(climb) for climb in climbs]).reshape(len(climbs), top)
        width = len(climbs[0].prospect.costs) if climbs else 0
        self.costs = np.array([c.prospect.costs for c in climbs]).reshape(len(climbs), width)
        self.looks = sorted(look for climb in climbs for look in climb.looks)

    @property
    def finals(self) -> Array:
        """At the full length, NaN where it was not reached, (n,)."""
        return self.values[:, -1]

    def having(self, climb: Climb) -> Climbs:
        """The same with this one, in place of what its trial had shown before."""
        row = bisect.bisect_left(self._places, climb.place)
        is_there = row < len(self._places) and self._places[row] == climb.place
        if self._all[row] is climb if is_there else not climb.rungs:
            return self
        if not self._all:
            return Climbs([climb], self._top)
        found, end = copy.copy(self), row + is_there
        found._all, found._places = self._all.copy(), self._places.copy()
        if climb.rungs:
            found._all[row:end], found._places[row:end] = [climb], [climb.place]
            new = np.array([climb.rungs]), self._row(climb)[None], climb.prospect.costs[None]
        else:
            del found._all[row:end], found._places[row:end]
            new = np.empty(0, np.int64), self.values[:0], self.costs[:0]
        found.rungs = np.concatenate([self.rungs[:row], new[0], self.rungs[end:]])
        found.values = np.concatenate([self.values[:row], new[1], self.values[end:]])
        found.costs = np.concatenate([self.costs[:row], new[2], self.costs[end:]])
        found.looks = self.looks.copy()
        for look in self._all[row].looks if is_there else ():
            del found.looks[bisect.bisect_left(found.looks, look)]
        for look in climb.looks:
            bisect.insort(found.looks, look)
        return found

    def first(self, count: int) -> list[Climb]:
        """What was known after so many looks, in the order of the first look at each."""
        reached = {place: rung for _, place, rung, _ in self.looks[:count]}  # the last of each
        rows = (bisect.bisect_left(self._places, place) for place in reached)
        return [
            self._all[row].until(rung) for row, rung in zip(rows, reached.values(), strict=True)
        ]

    def _row(self, climb: Climb) -> Array:
        row = np.full(self._top, math.nan)
        row[: len(climb.levels)] = climb.levels
        if climb.rungs == self._top:
            row[-1] = climb.final
        return row

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Climb]:
        return iter(self._all)

    @overload
    def __getitem__(self, index: int) -> Climb: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Climb]: ...
    def __getitem__(self, index: int | slice) -> Climb | Sequence[Climb]:
        return self._all[index]
