"""Which trial ``select=`` means."""

from __future__ import annotations

from collections.abc import Callable

from resnest_search.errors import UserError
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord

__all__ = ["described", "select_trial"]

_KEYS: dict[str, Callable[[TrialRecord], float]] = {
    "accuracy": lambda trial: -(trial.mean_accuracy or trial.accuracy or 0.0),
    "latency": lambda trial: trial.costs["latency_ms"],
    "memory": lambda trial: trial.costs["memory_mib"],
}
_WORDS = {
    "knee": "the knee of the front",
    "accuracy": "the most accurate of the front",
    "latency": "the fastest of the front",
    "memory": "the leanest of the front",
}


def select_trial(sweep: Sweep, select: str) -> TrialRecord:
    """The front's knee, its most accurate, fastest or leanest member, or a variant by name.

    A front of one or two members has no knee: what the order of the objectives puts first is
    taken.
    A variant that was trained more than once, with other parameters, is its most accurate;
    a candidate's identity names each of them. Of several seeds of a candidate it is always
    the first: the best of them would be best by chance.

    Raises:
        UserError: nothing is complete, or nothing complete is meant.
    """
    done = [trial for trial in sweep.trials if trial.state == COMPLETE]
    complete = [trial for trial in done if trial.repeat_of is None]
    if not complete:
        raise UserError(f"run={sweep.folder}: has no complete trial to export yet")
    if select == "knee":
        return next(trial for trial in complete if trial.number == sweep.chosen)
    if select in _KEYS:
        return min(sweep.front, key=_KEYS[select])
    named = [trial for trial in complete if select in (trial.variant, trial.candidate)]
    if not named:
        raise UserError(_no_such(sweep, select, complete))
    return min(named, key=_KEYS["accuracy"])


def described(sweep: Sweep, select: str) -> str:
    """What ``select=`` has taken, in words: what is said of it where it is exported."""
    whose = f", by the costs of {sweep.costs_of}" if sweep.costs_of else ""
    return f"{_taken(sweep, select)}{whose}"


def _taken(sweep: Sweep, select: str) -> str:
    if select == "knee" and sweep.knee is None:
        order = ", ".join(sweep.objectives)
        size = len(sweep.front)
        if size == 1:
            return "the only one on the front"
        return f"the first in the order {order} on a front of {size}, which has no knee"
    return _WORDS.get(select, "chosen by name")


def _no_such(sweep: Sweep, select: str, complete: list[TrialRecord]) -> str:
    others = [t for t in sweep.trials if select in (t.variant, t.candidate)]
    why = f"is {others[0].state} ({others[0].reason})" if others else "is no trial of this run"
    variants = ", ".join(sorted({trial.variant for trial in complete}))
    return f"select={select}: {why}; valid: knee, {', '.join(_KEYS)}, {variants}"
