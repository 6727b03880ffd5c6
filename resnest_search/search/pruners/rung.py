"""The trials that reached a rung, kept sorted while the study grows."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from operator import is_not

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from resnest_search.search.levels import Levels
from resnest_search.search.view import PerStudy

__all__ = ["Point", "Rung", "Rungs"]

Point = tuple[float, ...]  # objectives, to be minimised


class Rung:
    """Points of the trials of one study that reached one rung, in fronts.

    A mirror of the study and nothing more: each update compares it with the trials as they
    stand. Optuna's storages never change a trial that they have handed out, they replace it,
    so that a trial which is the same object is the same trial.

    Args:
        point: of a trial; None where it has not reached the rung.
    """

    def __init__(self, point: Callable[[FrozenTrial], Point | None]) -> None:
        self.levels = Levels()
        self.unranked: set[int] = set()  # with a NaN
        self._point = point
        self._points: dict[int, Point] = {}  # empty for the unranked
        self._known: list[FrozenTrial] = []
        self._strangers: set[int] = set()  # seen, but none of the study's

    @property
    def reached(self) -> int:
        """How many trials there are."""
        return len(self._points)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the trials of the study, which may have come, changed or failed."""
        shrunk = len(trials) < len(self._known)  # they are another study's
        known = [] if shrunk else self._known
        changed = [*compress(trials, map(is_not, trials, known)), *trials[len(known) :]]
        found = {trial.number: self._counted(trial) for trial in changed}
        found = {**dict.fromkeys(self._points if shrunk else self._strangers), **found}
        self._known, self._strangers = list(trials), set()
        self._enter({n: point for n, point in found.items() if point != self._points.get(n)})

    def see(self, trial: FrozenTrial) -> None:
        """Count a trial as it is given until the next update, whatever the study says of it."""
        number = trial.number
        among_them = 0 <= number < len(self._known)
        if among_them and self._known[number] is trial:
            return  # the update has counted it
        point = self._ordered(trial)
        if among_them and self._known[number].number == number:
            self._known[number] = trial
        else:
            self._strangers.add(number)
        if point != self._points.get(number):
            self._place(number, point)

    def _counted(self, trial: FrozenTrial) -> Point | None:
        return None if trial.state == TrialState.FAIL else self._ordered(trial)

    def _ordered(self, trial: FrozenTrial) -> Point | None:
        point = self._point(trial)
        return () if point is not None and any(map(math.isnan, point)) else point

    def _enter(self, points: dict[int, Point | None]) -> None:
        if len(points) <= max(len(self._points) // 4, 10):
            for number, point in points.items():
                self._place(number, point)
            return
        together = {**self._points, **points}
        self._points = {n: point for n, point in together.items() if point is not None}
        self.unranked = {number for number, point in self._points.items() if not point}
        ranked = [number for number in self._points if number not in self.unranked]
        self.levels.build(ranked, [self._points[number] for number in ranked])

    def _place(self, number: int, point: Point | None) -> None:
        if self._points.pop(number, None):
            self.levels.remove(number)
        self.unranked.discard(number)
        if point is None:
            return
        self._points[number] = point
        if point:
            self.levels.add(number, point)
        else:
            self.unranked.add(number)


class Rungs:
    """The rungs of all studies that a pruner was asked about: no state, only a cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for ``Study.optimize`` with several jobs
        self._rungs: PerStudy[dict[object, Rung]] = PerStudy()

    @contextmanager
    def updated(
        self, study: Study, key: object, point: Callable[[FrozenTrial], Point | None]
    ) -> Iterator[Rung]:
        """The rung under this key, with every trial of the study as it now stands."""
        with self._lock:
            rungs = self._rungs.setdefault(study, {})
            if key not in rungs:
                rungs[key] = Rung(point)
            rungs[key].update(study.get_trials(deepcopy=False))
            yield rungs[key]

    def __reduce__(self) -> tuple[type[Rungs], tuple[()]]:
        return Rungs, ()
