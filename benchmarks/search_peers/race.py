"""The event loop in virtual time, and the narrow door through which a search sees a table.

A search is given a `Problem` and nothing else: the candidates, their costs where its row says
so, and a clock. Accuracies stay with the `Meter`, which the loop alone holds; it hands out each
epoch once, in order, when a virtual worker has spent the epoch's seconds on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from resnest_search.metrics import metric_of
from resnest_search.simulation.space import TableSpace
from resnest_search.space import candidate_of
from search_peers.table import Costs, Floats, Setting, Table

__all__ = ["Clock", "Finish", "Measured", "Meter", "Problem", "Search", "UnpaidError", "race"]


class UnpaidError(RuntimeError):
    """An accuracy was asked for whose epoch nobody has trained."""


class Clock:
    """Virtual seconds since the race began."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Problem:
    """All that a search knows before its first epoch.

    Attributes:
        parameters: names of what varies.
        settings: the candidates; a search names one by its index.
        epochs: a candidate's full length.
        seed: of the search.
        workers: how many train at once.
        cost_names: of the costs.
        costs: of each candidate, None where the row does not give them beforehand.
        clock: virtual seconds.
    """

    parameters: tuple[str, ...]
    settings: tuple[Setting, ...]
    epochs: int
    seed: int
    workers: int
    cost_names: tuple[str, ...]
    costs: tuple[Costs, ...] | None
    clock: Callable[[], float]

    @classmethod
    def of(
        cls, table: Table, seed: int, workers: int, costs: bool, clock: Callable[[], float]
    ) -> Problem:
        """What a search over a table knows, with its costs where its row says so."""
        return cls(
            parameters=table.parameters,
            settings=table.settings,
            epochs=table.epochs,
            seed=seed,
            workers=workers,
            cost_names=table.cost_names,
            costs=table.costs if costs else None,
            clock=clock,
        )

    @property
    def objectives(self) -> dict[str, bool]:
        """Names of accuracy and of the costs, and whether more of each is better."""
        return {name: metric_of(name).maximize for name in ("accuracy", *self.cost_names)}

    def named(self, setting: Setting) -> dict[str, Any]:
        """A setting by the names of the parameters."""
        return dict(zip(self.parameters, setting, strict=True))

    def space(self) -> TableSpace:
        """The candidates as this project's space of a table."""
        return TableSpace([candidate_of(self.named(setting)) for setting in self.settings])

    @property
    def known_costs(self) -> tuple[Costs, ...]:
        """The costs of a row that is given them.

        Raises:
            UnpaidError: this row is not.
        """
        if self.costs is None:
            raise UnpaidError("this row does not know costs before it has trained")
        return self.costs


class Measured(NamedTuple):
    """What a trained epoch reveals."""

    accuracy: float  # a fraction
    costs: Costs
    seconds: float  # that the epoch took
    images: int  # behind the accuracy; 0 where the table does not say
    loss: float | None = None  # of validation; None where the table has none, as of training
    train_loss: float | None = None

    def result(self, problem: Problem) -> dict[str, float]:
        """Accuracy and costs by their names."""
        return dict(zip(problem.objectives, (self.accuracy, *self.costs), strict=True))


class Search(Protocol):
    """A search for the front."""

    def next(self) -> int | None:
        """A candidate to train from where it stands; None where there is none for now."""

    def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
        """Take an epoch; whether the candidate goes on. At the full length it does not anyway."""

    def finished(self, candidate: int) -> None:
        """A candidate is at its full length, or was told to stop."""


class Meter:
    """Keeps the curves of one recorded seed, and hands out what is paid for.

    Args:
        table: the curves.
        seed_index: which of its seeds.
    """

    def __init__(self, table: Table, seed_index: int) -> None:
        self._accuracy = table.accuracy[:, seed_index]
        self._loss, self._train_loss = (
            None if losses is None else losses[:, seed_index]
            for losses in (table.loss, table.train_loss)
        )
        self._seconds = table.seconds[:, seed_index]
        self._costs = table.costs
        self._images = table.images
        self._begun = np.zeros(len(table.settings), dtype=int)
        self._done = np.zeros(len(table.settings), dtype=int)

    def done(self, candidate: int) -> int:
        """Epochs of a candidate that were handed out."""
        return int(self._done[candidate])

    def begin(self, candidate: int) -> float:
        """Pay for a candidate's next epoch; the seconds that it takes.

        Raises:
            UnpaidError: there is no next epoch, or it is under way already.
        """
        epoch = self.done(candidate)
        if self._begun[candidate] != epoch or epoch >= self._accuracy.shape[1]:
            raise UnpaidError(f"candidate {candidate} has no epoch to begin after {epoch}")
        self._begun[candidate] += 1
        return float(self._seconds[candidate, epoch])

    def take(self, candidate: int) -> tuple[int, Measured]:
        """The epoch that was begun, from 1, and what it measured.

        Raises:
            UnpaidError: none was begun.
        """
        epoch = self.done(candidate)
        if self._begun[candidate] == epoch:
            raise UnpaidError(f"nobody trained epoch {epoch + 1} of candidate {candidate}")
        self._done[candidate] += 1
        return epoch + 1, Measured(
            accuracy=float(self._accuracy[candidate, epoch]),
            costs=self._costs[candidate],
            seconds=float(self._seconds[candidate, epoch]),
            images=self._images,
            loss=_at(self._loss, candidate, epoch),
            train_loss=_at(self._train_loss, candidate, epoch),
        )


def _at(losses: Floats | None, candidate: int, epoch: int) -> float | None:
    return None if losses is None else float(losses[candidate, epoch])


class Finish(NamedTuple):
    """A candidate reached its full length."""

    candidate: int
    epochs: int  # finished by all workers until then
    seconds: float  # virtual, since the race began


def race(
    search: Search,
    meter: Meter,
    *,
    epochs: int,
    workers: int,
    clock: Clock,
    enough: Callable[[int], bool] = lambda _: False,
) -> tuple[list[Finish], int]:
    """Let a search run until it has nothing more to train.

    A free worker asks for a candidate; where there is none, it asks again after the next epoch
    of any other worker. Epochs that end at the same moment are reported in the order in which
    they were begun.

    Args:
        search: has not begun.
        meter: of the recorded seed.
        epochs: a candidate's full length.
        workers: virtual ones.
        clock: that the search was given.
        enough: told of each candidate that reached its full length; whether to end the race
            because nothing is left to be learnt about the search.

    Returns:
        The candidates that reached their full length, and all epochs that were finished.
    """
    finishes: list[Finish] = []
    underway: list[tuple[float, int, int]] = []  # a heap: end, order of beginning, candidate
    begun = spent = 0

    def begin(candidate: int) -> None:
        nonlocal begun
        begun += 1
        heapq.heappush(underway, (clock.now + meter.begin(candidate), begun, candidate))

    while True:
        while len(underway) < workers and (candidate := search.next()) is not None:
            begin(candidate)
        if not underway:
            return finishes, spent
        clock.now, _, candidate = heapq.heappop(underway)
        epoch, measured = meter.take(candidate)
        spent += 1
        goes_on = search.report(candidate, epoch, measured)
        if epoch < epochs and goes_on:
            begin(candidate)
            continue
        search.finished(candidate)
        if epoch == epochs:
            finishes.append(Finish(candidate, spent, clock.now))
            if enough(candidate):
                return finishes, spent
