"""The costs of a whole space of networks, measured in rounds so that drift is shared."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from resnest_search.cost.busy import Load, is_trouble, look
from resnest_search.cost.cache import Cache, Known, Shelf
from resnest_search.cost.latency import Timing
from resnest_search.cost.machine import resolve_device
from resnest_search.cost.measure import CostRequest, Costs, Measurement, Visit, training_bytes
from resnest_search.cost.memory import OutOfMemory
from resnest_search.cost.processes import visitors
from resnest_search.errors import UserError

__all__ = ["ROUNDS", "measure_all"]

Progress = Callable[[int, int], None]
ROUNDS = 5  # of fewer the interval is wide, since their deviation is hardly known
_DRIFT = 0.05  # of all networks, beyond which rounds of before a kill are of another clock
_FARTHEST = 0.1  # that an anchor may move, however wide its interval is
_TELLING_S = 0.5  # of device time, in which a load shows
_COOLING_S = 5.0  # for a throttled GPU, before its round is made again
_LOOKS = 5  # at a GPU that others use, a second apart, before a round is made all the same
_V = TypeVar("_V")


def measure_all(
    requests: Sequence[CostRequest],
    *,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
    cache: Cache | None = None,
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

    What the cache has of one measuring is taken from it. What it lacks is timed in rounds
    together with three networks that it has, the anchors: where one of these has moved by more
    than its interval, or by a tenth, all are measured anew. A measuring that was killed goes on;
    where networks are by 5 % faster or slower than before, all are measured anew, too.

    Args:
        requests: what to measure.
        rounds: visits of each network, at least 1; of fewer than 2 no interval is known.
        progress: called with (visits made, visits in all) after each; further rounds add to
            the latter.
        cache: of earlier measurings, which takes up each round of this one.

    Returns:
        In the order of the requests, the costs, or one line that says why there are none.

    Raises:
        ValueError: rounds is below 1.
        EOFError: one of the processes has died.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    return _Measuring(requests, rounds, progress, cache).costs()


class _Measuring:
    """A call of `measure_all`."""

    def __init__(
        self,
        requests: Sequence[CostRequest],
        rounds: int,
        progress: Progress | None,
        cache: Cache | None,
    ) -> None:
        self._requests = requests
        self._rounds = rounds
        self._groups = {request.timed: request for request in requests}
        self._shelf = Shelf(cache, _places(self._groups) if cache is not None else {}, _told)
        self._is_kept = True  # each round, as soon as it is over
        self._visits = _Visits(len(requests) + rounds * len(self._groups), progress)
        self._steps = [self._visits.made(_training(request, self._shelf)) for request in requests]
        pairs = zip(requests, self._steps, strict=True)
        fit = {request.timed for request, step in pairs if isinstance(step, int)}
        self._found = {
            key: _accounted(request, self._shelf.known(key))
            for key, request in self._groups.items()
            if key in fit
        }

    def costs(self) -> list[Costs | str]:
        """What the rounds come to, when those that are missing have been made."""
        due = [key for key in self._found if self._rounds_due(key)]
        unsure = [key for key in self._found if key not in due and self._is_unsure(key)]
        if due or unsure:
            most = max(_processes(self._groups[key]) for key in self._found)
            self._visits.add(sum(map(self._rounds_due, due)) - self._rounds * len(self._groups))
            with visitors(min(self._rounds, most)) as (by, ready):
                ready()  # what still starts would be in the figures
                begun = time.monotonic()
                timed = self._time(due, by) if due else []
                taken = time.monotonic() - begun
                if left := [key for key in unsure if key not in timed]:
                    begun = time.monotonic()
                    timed = [*timed, *self._take_up(left, by)]
                    taken = max(taken, time.monotonic() - begun)
                self._make_sure([*dict.fromkeys(timed)], taken, by)
        return [
            step if isinstance(step, str) else _costs(self._found[request.timed], request, step)
            for request, step in zip(self._requests, self._steps, strict=True)
        ]

    def _rounds_due(self, key: str) -> int:
        """Rounds that a network lacks; one that cannot be measured lacks none."""
        found = self._found[key]
        if isinstance(found, str):
            return 0
        # Fewer passes than rounds: the last rounds have none.
        return max(0, min(self._rounds, max(1, found.request.measure.repeats)) - found.timed)

    def _is_unsure(self, key: str) -> bool:
        """Whether a network was to get further rounds when its measuring was killed."""
        found = self._found[key]
        return isinstance(found, Measurement) and not found.is_settled and _is_wide(found)

    def _take_up(self, keys: Sequence[str], by: Sequence[Visit]) -> Sequence[str]:
        """Rounds of networks that are unsure; all of everything where the clock is another.

        It is where most of them have moved, each by more than its interval.

        Returns:
            Those that were timed.
        """
        before = {key: (_timings(self._found[key]), _reach(self._found[key])) for key in keys}
        self._visits.add(self._rounds * len(keys))
        self._is_kept = False
        for _ in range(self._rounds):
            gpus = _look_at_gpus(self._requests)
            for key in keys:
                self._visit(key, 0, gpus, by)
        self._is_kept = True
        shifts = {key: _shift(timings, self._found[key]) for key, (timings, _) in before.items()}
        moved = [abs(shift or 0.0) > before[key][1] for key, shift in shifts.items()]
        if 2 * sum(moved) > len(moved):
            return self._all_anew(by)
        for key in keys:
            self._keep(key)
        return keys

    def _time(self, due: Sequence[str], by: Sequence[Visit]) -> Sequence[str]:
        """The rounds that are due; all of everything, where the clock is another than before.

        Returns:
            Those that were timed.
        """
        before = {key: _timings(self._found[key]) for key in due}
        anchors = self._anchors(due)
        self._visits.add(self._rounds * len(anchors))
        self._is_kept = not anchors  # else only what is found to be of the same clock
        for turn in range(self._rounds):
            gpus = _look_at_gpus(self._requests)
            for key in due:
                found = self._found[key]
                if isinstance(found, str):
                    self._visits.add(-1)
                elif found.timed <= turn and self._rounds_due(key):
                    self._visit(key, turn, gpus, by)
            for key, anchor in anchors.items():
                share = _share(self._groups[key], turn, self._rounds)
                anchors[key] = self._visits.made(_visited(anchor, share, gpus, by))
        moved = (_has_moved(self._found[key], anchor) for key, anchor in anchors.items())
        shifts = (_shift(earlier, self._found[key]) for key, earlier in before.items())
        if any(moved) or _is_drift([shift for shift in shifts if shift is not None]):
            return self._all_anew(by)
        if anchors:
            self._is_kept = True
            for key in due:
                self._keep(key)
        return due

    def _all_anew(self, by: Sequence[Visit]) -> Sequence[str]:
        """Forget what is of another clock, and time everything."""
        _say("networks are not as fast as they were before: all are measured anew")
        self._shelf.begin_anew()
        measured = [key for key, found in self._found.items() if not isinstance(found, str)]
        self._found |= {key: _anew(self._found[key]) for key in measured}
        self._visits.add(self._rounds * len(measured))
        return self._time(measured, by)

    def _anchors(self, due: Sequence[str]) -> dict[str, Measurement | str]:
        """Three of those that lack nothing, from fast to slow, with their rounds still to come."""
        whole = {
            found.latency_ms: key
            for key, found in self._found.items()
            if key not in due and isinstance(found, Measurement)
        }
        if not whole:
            return {}
        order = [whole[latency] for latency in sorted(whole)]
        return {
            key: _anew(self._found[key]) for key in (order[0], order[len(order) // 2], order[-1])
        }

    def _make_sure(self, due: Sequence[str], taken: float, by: Sequence[Visit]) -> None:
        """Further rounds of what is not as sure as asked; the first ones took so many seconds."""
        now = time.monotonic()
        ends = {key: now + _limit(self._groups[key], taken) for key in due}

        def wide() -> list[str]:
            return [k for k in due if _is_wide(self._found[k]) and time.monotonic() < ends[k]]

        while left := wide():
            self._visits.add(len(left))
            gpus = _look_at_gpus(self._requests)
            for key in left:
                if time.monotonic() >= ends[key]:
                    self._visits.add(-1)
                else:
                    self._visit(key, 0, gpus, by)
        for key in due:
            if isinstance(found := self._found[key], Measurement):
                found.is_settled = True
            self._keep(key)

    def _keep(self, key: str) -> None:
        """What is known of a network by now."""
        if isinstance(found := self._found[key], Measurement) and found.timed:
            self._shelf.keep(key, found.known)

    def _visit(
        self, key: str, turn: int, gpus: Mapping[str | None, Load], by: Sequence[Visit]
    ) -> None:
        """A round of a network, kept."""
        before = self._found[key]
        share = _share(self._groups[key], turn, self._rounds)
        load = before.load if isinstance(before, Measurement) else Load()
        made = before.timed if isinstance(before, Measurement) else 0
        found = _visited(before, share, gpus, by)
        if isinstance(found, Measurement) and found.timed > made and _is_in_doubt(found, load):
            found.drop(load)
            found = _visited(found, share, gpus, by)
        self._found[key] = self._visits.made(found)
        if self._is_kept:
            self._keep(key)


def _told(error: Exception) -> None:
    _say(f"the kept costs cannot be used ({error}): all is measured anew, and nothing kept")


def _say(line: str) -> None:
    print(f"resnest-search: measure.cache: {line}", file=sys.stderr, flush=True)


def _places(groups: Mapping[str, CostRequest]) -> dict[str, str]:
    """Where a cache keeps each network, by the keys of the groups; nowhere without a device."""
    found = {}
    for key, request in groups.items():
        try:
            found[key] = request.timed_on(resolve_device(request.measure.device))
        except (ValueError, UserError):  # its measuring will say so
            continue
    return found


def _anew(found: Measurement | str) -> Measurement | str:
    """A network that was measured, before its first round."""
    if isinstance(found, str):
        return found
    return Measurement(found.request, Known(found.account, form=found.form))


def _is_in_doubt(found: Measurement, before: Load) -> bool:
    """Whether the last round is made again, once: others took the device, or heat slowed it.

    Of a hot one after a rest.
    """
    if found.timings[-1].throttled:
        time.sleep(_COOLING_S)
        return True
    return _is_busy(found.load - before)


def _is_busy(load: Load) -> bool:
    """Whether others took so much of the device in a visit that it is made again, once.

    Of a short one the kernel's ticks tell nothing.
    """
    percent = load.percent
    return load.offered_s >= _TELLING_S and percent is not None and is_trouble(percent)


def _has_moved(before: Measurement | str, now: Measurement | str) -> bool:
    """Whether a latency lies outside the interval that was found of it, or far from it."""
    if isinstance(before, str) or isinstance(now, str):
        return True
    apart = abs(math.log(now.latency_ms / before.latency_ms))
    return apart > math.log1p(min(before.half_width, _FARTHEST))


def _reach(found: Measurement | str) -> float:
    """Logarithm by which a latency may be another and still of the same clock."""
    wide = _FARTHEST if isinstance(found, str) else min(found.half_width, _FARTHEST)
    return math.log1p(max(_DRIFT, wide))


def _timings(found: Measurement | str) -> Sequence[Timing]:
    return () if isinstance(found, str) else tuple(found.timings)


def _shift(before: Sequence[Timing], found: Measurement | str) -> float | None:
    """Logarithm by which later rounds are slower than these; None without both."""
    later = _timings(found)[len(before) :]
    if not before or not later:
        return None
    slower = [float(np.median([t.median_ms for t in rounds])) for rounds in (later, before)]
    return math.log(slower[0] / slower[1])


def _is_drift(shifts: Sequence[float]) -> bool:
    """Whether all networks together are faster or slower than before a kill."""
    return bool(shifts) and abs(float(np.median(shifts))) > math.log1p(_DRIFT)


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


def _accounted(request: CostRequest, known: Known | None) -> Measurement | str:
    """A network with what is known of it, or why it cannot be measured."""
    try:
        found = Measurement(request, known)
        found.processes = _processes(request)
        return found
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
    request, made = measurement.request, measurement.timed
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


def _training(request: CostRequest, shelf: Shelf) -> int | str:
    """Bytes of a training step, or why there are none."""
    try:
        return training_bytes(request, shelf.step)
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
            loads[name] = _at_rest(device)
    return loads


def _at_rest(device: torch.device) -> Load:
    """The load of a GPU once others leave it alone, or the last of several looks."""
    for _ in range(_LOOKS):
        load = look(device)
        if not is_trouble(load.percent or 0.0):
            break
        time.sleep(1.0)
    return load


def _reason(error: Exception) -> str:
    """One line; the type is named where the message was not written for the user."""
    message = str(error).strip().partition("\n")[0]
    if isinstance(error, ValueError | UserError | OutOfMemory):
        return message
    return f"{type(error).__name__}: {message}"
