"""The costs of a whole space of networks, measured in rounds so that drift is shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resnest_search.cost.busy import Load, look
from resnest_search.cost.machine import resolve_device
from resnest_search.cost.measure import CostRequest, Costs, Measurement
from resnest_search.cost.memory import OutOfMemory

__all__ = ["measure_all"]

Progress = Callable[[int, int], None]


def measure_all(
    requests: Sequence[CostRequest], *, rounds: int = 3, progress: Progress | None = None
) -> list[Costs | str]:
    """Measure many networks; one that fails does not stop the others.

    A machine's clock drifts with heat and neighbours, so networks that were timed one
    after another would be compared across that drift. Every round visits each network
    once, for its share of ``measure.repeats``, and medians and percentiles are over the
    passes of all rounds. Networks are built anew for each visit: memory holds one.

    Args:
        requests: what to measure.
        rounds: visits of each network, at least 1.
        progress: called with (visits made, visits in all) after each.

    Returns:
        In the order of the requests, the costs, or one line that says why there are none.

    Raises:
        ValueError: rounds is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    measurements: dict[int, Measurement] = {}
    reasons: dict[int, str] = {}
    for turn in range(rounds):
        gpus = _look_at_gpus(requests)
        for index, request in enumerate(requests):
            if index not in reasons:
                try:
                    measurement = measurements.get(index) or Measurement(request)
                    measurements[index] = measurement
                    measurement.load += gpus.get(request.measure.device, Load())
                    _visit(measurement, turn, rounds)
                except Exception as error:  # whatever it is, the others go on
                    reasons[index] = _reason(error)
            if progress is not None:
                progress(turn * len(requests) + index + 1, rounds * len(requests))
    return [reasons.get(i) or measurements[i].costs() for i in range(len(requests))]


def _visit(measurement: Measurement, turn: int, rounds: int) -> None:
    """One network's share of one round; the first rounds take what does not divide."""
    share, rest = divmod(measurement.request.measure.repeats, rounds)
    repeats = share + (turn < rest)
    if repeats or turn == 0:  # fewer passes than rounds: the last rounds have none
        measurement.time(repeats)


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
    if isinstance(error, ValueError | OutOfMemory):
        return message
    return f"{type(error).__name__}: {message}"
