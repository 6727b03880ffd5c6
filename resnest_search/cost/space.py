"""The costs of a whole space of networks, measured in rounds so that drift is shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from resnest_search.cost.busy import Load, look
from resnest_search.cost.machine import resolve_device
from resnest_search.cost.measure import CostRequest, Costs, Measurement, Visit, training_bytes
from resnest_search.cost.memory import OutOfMemory
from resnest_search.cost.processes import visitors
from resnest_search.errors import UserError

__all__ = ["ROUNDS", "measure_all"]

Progress = Callable[[int, int], None]
ROUNDS = 5  # of fewer the interval is wide, since their deviation is hardly known
_V = TypeVar("_V")


def measure_all(
    requests: Sequence[CostRequest], *, rounds: int = ROUNDS, progress: Progress | None = None
) -> list[Costs | str]:
    """Measure many networks; one that fails does not stop the others.

    A machine's clock drifts with heat and neighbours, so networks that were timed one
    after another would be compared across that drift. Every round visits each network
    once, for its share of ``measure.repeats``, and a latency is the median over its rounds.
    Networks are built anew for each visit: memory holds one. On a CPU ``measure.processes``
    processes take turns in the rounds, see `processes`. What only training tells apart is one
    network, timed once for all its requests.

    Then a network whose latency is not yet as sure as ``measure.half_width`` asks is visited in
    further rounds of as many passes, until it is or ``measure.time_limit_s`` is over.

    Args:
        requests: what to measure.
        rounds: visits of each network, at least 1; of fewer than 2 no interval is known.
        progress: called with (visits made, visits in all) after each; further rounds add to
            the latter.

    Returns:
        In the order of the requests, the costs, or one line that says why there are none.

    Raises:
        ValueError: rounds is below 1.
        EOFError: one of the processes has died.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    processes = min(rounds, max(map(_processes, requests), default=1))
    with visitors(processes) as (by, ready):
        return _measured(requests, rounds, progress, by, ready)


def _measured(
    requests: Sequence[CostRequest],
    rounds: int,
    progress: Progress | None,
    by: Sequence[Visit],
    ready: Callable[[], None],
) -> list[Costs | str]:
    """As `measure_all`; ``ready`` returns when all that ``by`` visits with is there."""
    groups = {request.timed: request for request in requests}
    visits = _Visits(len(requests) + rounds * len(groups), progress)
    trainings = [visits.made(_training(request)) for request in requests]
    pairs = list(zip(requests, trainings, strict=True))
    fit = {request.timed for request, step in pairs if isinstance(step, int)}
    found = {key: _accounted(request) for key, request in groups.items() if key in fit}
    ready()  # what still starts would be in the figures
    begun = time.monotonic()
    for turn in range(rounds):
        gpus = _look_at_gpus(requests)
        for key, request in groups.items():
            if key in fit:
                found[key] = _visited(found[key], _share(request, turn, rounds), gpus, by)
            visits.made(key)
    taken = time.monotonic() - begun
    ends = {key: begun + taken + _limit(groups[key], taken) for key in found}
    while wide := [key for key in found if _is_wide(found[key]) and time.monotonic() < ends[key]]:
        visits.add(len(wide))
        gpus = _look_at_gpus(requests)
        for key in wide:
            if time.monotonic() >= ends[key]:
                visits.add(-1)
                continue
            found[key] = _visited(found[key], _share(groups[key], 0, rounds), gpus, by)
            visits.made(key)
    return [
        step if isinstance(step, str) else _costs(found[request.timed], request, step)
        for request, step in pairs
    ]


def _processes(request: CostRequest) -> int:
    """Processes that take turns in its rounds: one on a GPU, or where each would compile."""
    try:
        device = resolve_device(request.measure.device)
    except ValueError:  # it will say so
        return 1
    alone = device.type == "cuda" or request.measure.compile
    return 1 if alone else request.measure.processes


def _share(request: CostRequest, turn: int, rounds: int) -> int:
    """Passes of one visit; the first rounds take what does not divide."""
    share, rest = divmod(request.measure.repeats, rounds)
    return share + (turn < rest)


def _limit(request: CostRequest, taken: float) -> float:
    """Seconds of further rounds, where the first ones took so many."""
    limit = request.measure.time_limit_s
    return taken if limit is None else limit


def _is_wide(found: Measurement | str) -> bool:
    """Whether the interval of a latency is wider than was asked."""
    if isinstance(found, str) or (asked := found.request.measure.half_width) is None:
        return False
    return 100.0 * found.half_width > asked


class _Visits:
    """Tells a progress of each visit."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._made = 0

    def add(self, visits: int) -> None:
        """So many more are to come."""
        self._total += visits

    def made(self, found: _V) -> _V:
        """Count the visit that found this."""
        self._made += 1
        if self._progress is not None:
            self._progress(self._made, self._total)
        return found


def _accounted(request: CostRequest) -> Measurement | str:
    """A network before its first round, or why it cannot be measured."""
    try:
        return Measurement(request)
    except Exception as error:  # whatever it is, the others go on
        return _reason(error)


def _visited(
    measurement: Measurement | str,
    repeats: int,
    gpus: Mapping[str | None, Load],
    by: Sequence[Visit],
) -> Measurement | str:
    """What is known of a network after a further round, or why it cannot be measured."""
    if isinstance(measurement, str):
        return measurement
    request, made = measurement.request, len(measurement.timings)
    measurement.processes = min(len(by), _processes(request))
    try:
        measurement.load += gpus.get(request.measure.device, Load())
        if repeats or not made:  # fewer passes than rounds: the last rounds have none
            measurement.time(repeats, by[made % measurement.processes])
    except EOFError:  # a process that times has died, of whatever it was asked
        raise
    except Exception as error:  # whatever it is, the others go on
        return _reason(error)
    return measurement


def _training(request: CostRequest) -> int | str:
    """Bytes of a training step, or why there are none."""
    try:
        return training_bytes(request)
    except Exception as error:  # whatever it is, the others go on
        return _reason(error)


def _costs(found: Measurement | str, request: CostRequest, training: int) -> Costs | str:
    try:
        return found if isinstance(found, str) else found.costs(request, training)
    except Exception as error:  # whatever it is, the others are told
        return _reason(error)


def _look_at_gpus(requests: Sequence[CostRequest]) -> dict[str | None, Load]:
    """The others' load of every GPU that the requests name, by that name, before a round.

    While networks are timed their own kernels would count; a CPU is watched meanwhile.
    """
    loads: dict[str | None, Load] = {}
    for name in {request.measure.device for request in requests}:
        try:
            device = resolve_device(name)
        except ValueError:  # each of its requests will say so
            continue
        if device.type == "cuda":
            loads[name] = look(device)
    return loads


def _reason(error: Exception) -> str:
    """One line; the type is named where the message was not written for the user."""
    message = str(error).strip().partition("\n")[0]
    if isinstance(error, ValueError | UserError | OutOfMemory):
        return message
    return f"{type(error).__name__}: {message}"
