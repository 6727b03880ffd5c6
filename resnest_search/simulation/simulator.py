"""Sweeps in virtual time: the strategy itself, with recorded curves in place of trainings."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnest_search.configuration.schema import SweepConfig
from resnest_search.search import Assignment, Strategy
from resnest_search.search.limits import check_limits, within_limits
from resnest_search.search.notes import note_bounds, note_end, note_start, note_sweep
from resnest_search.simulation.space import TableSpace
from resnest_search.simulation.table import Table
from resnest_search.space import Candidate, Space
from resnest_search.study.costing import Costing
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy, last_event

if TYPE_CHECKING:
    from resnest_search.search.observer import Observer

__all__ = [
    "Arrival",
    "Start",
    "VirtualClock",
    "arrivals_of",
    "latest",
    "recorded",
    "simulate",
    "simulated",
    "space_of",
]

_DIGITS = 6  # of the study's moments, so that one read from it goes on as the one remembered


class VirtualClock:
    """Seconds that pass when they are told to, and never back.

    Args:
        seconds: at which it stands first.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._now = seconds

    def __call__(self) -> float:
        """Seconds now."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass until then."""
        self._now = max(self._now, seconds)


@dataclass(frozen=True)
class Start:
    """A worker has taken up a trial: a new one, or one that goes on."""

    number: int
    at: float = 0.0  # seconds since the sweep began


@dataclass(frozen=True)
class Arrival:
    """A worker has ended an epoch of a trial."""

    number: int
    epoch: int
    at: float = 0.0  # seconds since the sweep began


@dataclass
class _Training:
    candidate: Candidate
    seed: int
    epoch: int  # in flight


def simulate(
    strategy: Strategy,
    table: Table,
    clock: VirtualClock,
    workers: int = 1,
    arrivals: Iterable[Start | Arrival] | None = None,
    observer: Observer | None = None,
) -> None:
    """Train a strategy's trials out of a table, until the strategy has no more.

    A worker trains an epoch in the seconds that the table has for it. What happens at the
    same moment happens in the order of the trials' numbers. A strategy over the study of a
    simulation that was killed goes on as that would have, given as many workers.

    Args:
        strategy: decides; it was made with ``clock``.
        table: has every candidate of the strategy's space.
        clock: stands at the last moment that the study knows, see `latest`.
        workers: how many train at once.
        arrivals: an order of events that is followed in place of the workers', each at its
            moment.
        observer: is told of each start and each epoch.

    Raises:
        ValueError: the strategy does not start what the arrivals say, or one of them is of an
            epoch that nobody trains.
    """
    simulation = _Simulation(strategy, table, clock, observer)
    if arrivals is None:
        simulation.run(workers)
    else:
        simulation.follow(arrivals)
    for number in strategy.settle():
        simulation.tell(number, over=True)
    note_end(strategy)


def simulated(
    config: SweepConfig, table: Table, clock: Callable[[], float], storage: str | None = None
) -> tuple[SweepStudy, Strategy]:
    """A new sweep over a table, with all the notes of a real one.

    Args:
        config: of the sweep.
        table: its costs are those of the space.
        clock: seconds now, of the strategy; a `VirtualClock` where this is to be simulated.
        storage: an Optuna URL; None keeps the study in memory.

    Raises:
        UserError: the table lacks what the search wants, or sampler or pruner do not suit.
    """
    trial = dataclasses.replace(config.trial, name="table", path=str(table.path))
    config = dataclasses.replace(config, trial=trial)
    space = space_of(config, table)
    costings = recorded(config, space, table)
    study = SweepStudy.create(storage, config.search.objectives)
    note_sweep(study, config, space, costings, command="")
    study.note("table", table.digest)
    note_start(study)
    strategy = Strategy(study, space, config.search, costings, clock=clock)
    note_bounds(study, config, space, strategy)
    return study, strategy


def latest(study: SweepStudy) -> float:
    """The last moment that a study knows, in seconds since the sweep began."""
    return max((last_event(trial) for trial in study.trials()), default=0.0)


def space_of(config: SweepConfig, table: Table | None) -> Space:
    """What a sweep varies; where it names nothing, all that its table has."""
    if table is not None and not config.search.space:
        return TableSpace(table.candidates)
    return Space(config.search.space, config.model)


def recorded(config: SweepConfig, space: Space, table: Table) -> dict[str, Costing]:
    """The costs of a space as a table has them, with the limits that they break.

    Raises:
        UserError: the table lacks what the search wants, or no network meets the limits.
    """
    table.check(config.search)
    costings = within_limits(table.costings(space), config.search.limits)
    check_limits(costings, config.search.limits)
    return costings


def arrivals_of(study: SweepStudy) -> list[Start | Arrival]:
    """The order in which the workers of a sweep began and ended, as its moments have it.

    Of what happened at the same moment, ends come before beginnings, and smaller numbers
    first; real clocks leave no such doubt.
    """
    events = [
        _events_of(trial.number, trial.user_attrs, study.curve(trial.number))
        for trial in study.trials()
    ]
    return list(heapq.merge(*events, key=lambda e: (e.at, isinstance(e, Start), e.number)))


class _Simulation:
    """Workers that know what they will find out."""

    def __init__(
        self, strategy: Strategy, table: Table, clock: VirtualClock, observer: Observer | None
    ) -> None:
        self._strategy = strategy
        self._table = table
        self._clock = clock
        self._observer = observer
        self._opened = clock()
        self._trainings: dict[int, _Training] = {}  # by trial
        self._ends: list[tuple[float, int]] = []  # a heap: when which trial's epoch will end

    def run(self, workers: int) -> None:
        """Let so many workers train until nothing is left."""
        self._employ(workers)
        while self._ends:
            end, number = heapq.heappop(self._ends)
            self._clock.advance(end)
            if self._report(number):
                self._put(number, self._clock())
            self._employ(workers)

    def follow(self, arrivals: Iterable[Start | Arrival]) -> None:
        """Let happen what has happened before, in its order."""
        for event in arrivals:
            self._clock.advance(event.at)
            if isinstance(event, Start):
                given = self._strategy.next()
                if given is None or given.number != event.number:
                    answer = "nothing" if given is None else f"trial {given.number}"
                    raise ValueError(f"trial {event.number} was to start, not {answer}")
                self._take(given)
                continue
            training = self._trainings.get(event.number)
            if training is None or training.epoch != event.epoch:
                raise ValueError(f"nobody trains epoch {event.epoch} of trial {event.number}")
            self._report(event.number)

    def tell(self, number: int, over: bool) -> None:
        """Let the observer know."""
        if self._observer is not None:
            self._observer.changed(number, over)

    def _employ(self, workers: int) -> None:
        """Give every worker that is free something to do, where there is anything."""
        while len(self._ends) < workers and (given := self._strategy.next()) is not None:
            self._take(given)
            # What an earlier simulation had begun ends when it would have ended then.
            resumed = self._clock() == self._opened
            self._put(given.number, given.since if resumed else self._clock())

    def _take(self, given: Assignment) -> None:
        done = len(self._strategy.study.curve(given.number))
        self._trainings[given.number] = _Training(given.candidate, given.seed, done + 1)
        self.tell(given.number, over=False)

    def _put(self, number: int, begun: float) -> None:
        """The epoch in flight of a trial, begun then, will end after the table's seconds."""
        end = round(begun + self._epoch(number).seconds, _DIGITS)
        heapq.heappush(self._ends, (end, number))

    def _report(self, number: int) -> bool:
        """Hand in the epoch in flight; whether the trial goes on."""
        goes_on = self._strategy.report(number, [self._epoch(number)])
        self._trainings[number].epoch += 1
        if not goes_on:
            del self._trainings[number]
        self.tell(number, over=not goes_on and not self._strategy.waits(number))
        return goes_on

    def _epoch(self, number: int) -> Epoch:
        training = self._trainings[number]
        return self._table.epoch(training.candidate, training.seed, training.epoch)


def _events_of(
    number: int, facts: Mapping[str, Any], curve: Sequence[Epoch]
) -> list[Start | Arrival]:
    """What happened to a trial, in its order: a start is after the epoch that it goes on from."""
    placed: list[tuple[int, bool, Start | Arrival]] = [
        (segment["from"], True, Start(number, segment["at"]))
        for segment in facts.get("segments", ())
    ]
    placed += [
        (entry.epoch, False, Arrival(number, entry.epoch, entry.at or 0.0))
        for entry in curve
        if entry.epoch > facts.get("inherited", 0)
    ]
    if diverged := facts.get("diverged"):
        placed.append(
            (diverged["epoch"], False, Arrival(number, diverged["epoch"], diverged["at"]))
        )
    return [event for *_, event in sorted(placed, key=lambda p: p[:2])]
