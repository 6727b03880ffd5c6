"""Which trial ``select=`` means."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from resnest_search.configuration.compose import from_record
from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.errors import UserError
from resnest_search.metrics import SHARES
from resnest_search.space import Space, configured
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord

__all__ = ["check_trained", "configured_as", "described", "select_trial"]


def _lack(trial: TrialRecord, name: str) -> float:
    """What is least for the best in a share."""
    return -(trial.mean(name) or 0.0)


_KEYS: dict[str, Callable[[TrialRecord], float]] = {
    **{name: partial(_lack, name=name) for name in SHARES},
    "latency": lambda trial: trial.costs.get("latency_ms", math.inf),
    "memory": lambda trial: trial.costs.get("memory_mib", math.inf),
}
_WORDS = {
    "knee": "the knee of the front",
    "accuracy": "the most accurate of the front",
    "balanced_accuracy": "the one of the front with the highest balanced accuracy",
    "macro_f1": "the one of the front with the highest macro F1",
    "latency": "the fastest of the front",
    "memory": "the leanest of the front",
}


def check_trained(sweep: Sweep) -> None:
    """Raises UserError where the run replays a table, so that no network was trained."""
    if sweep.replayed:
        raise UserError(
            f"run={sweep.folder}: replays a table, which has no weights; train it first"
        )


def select_trial(sweep: Sweep, select: str) -> TrialRecord:
    """The front's knee, its most accurate, fastest or leanest member, or a variant by name.

    A front of one or two members has no knee: what the order of the objectives puts first is
    taken.
    A variant that was trained more than once, with other parameters, is its most accurate, or
    the best in the share that is sought in its place;
    a candidate's identity names each of them. Of several seeds of a candidate it is always
    the first: the best of them would be best by chance.

    Raises:
        UserError: nothing is complete, or nothing complete is meant.
    """
    done = [trial for trial in sweep.trials if trial.state == COMPLETE]
    complete = [trial for trial in done if trial.stands]
    if not complete:
        raise UserError(f"run={sweep.folder}: has no complete trial to export yet")
    if select == "knee":
        return next(trial for trial in complete if trial.number == sweep.chosen)
    if select in SHARES and not any(select in trial.means for trial in sweep.front):
        known = [key for key in _KEYS if key == "accuracy" or key not in SHARES]
        raise UserError(
            f"select={select}: this run did not record it; valid: knee, {', '.join(known)}"
        )
    if select in _KEYS:
        best = min(sweep.front, key=_KEYS[select])
        if math.isinf(_KEYS[select](best)):
            raise UserError(f"select={select}: it is known of no member of the front; valid: knee")
        return best
    named = [trial for trial in complete if select in (trial.variant, trial.candidate)]
    if not named:
        raise UserError(_no_such(sweep, select, complete))
    return min(named, key=_KEYS[sweep.reported if sweep.reported in SHARES else "accuracy"])


def configured_as(sweep: Sweep, trial: TrialRecord) -> tuple[ModelConfig, DataConfig, TrainConfig]:
    """Network, images and recipe as a trial of a sweep had them."""
    config = from_record(sweep.config)
    space = Space(config.search.space, config.model)
    return configured(config, space.candidate(space.labels(trial.parameters)))


def described(sweep: Sweep, select: str) -> str:
    """What ``select=`` has taken, in words: what is said of it where it is exported."""
    whose = f", by the costs of {sweep.costs_of}" if sweep.costs_of else ""
    return f"{_taken(sweep, select)}{_narrowed(sweep)}{whose}"


def _narrowed(sweep: Sweep) -> str:
    """The limits and the weights of the choice, as they are typed."""
    limits = " and ".join(f"limits.{name}={bound:g}" for name, bound in sweep.limits.items())
    weights = " and ".join(f"weights.{name}={value:g}" for name, value in sweep.weights.items())
    return f"{limits and f' within {limits}'}{weights and f', with {weights}'}"


def _taken(sweep: Sweep, select: str) -> str:
    if select == "knee" and sweep.knee is None:
        order = ", ".join(sweep.objectives)
        size = len(sweep.front)
        if size == 1:
            return "the only one on the front"
        if sweep.weights:
            return f"what weighs least on a front of {size}"
        return f"the first in the order {order} on a front of {size}, which has no knee"
    return _WORDS.get(select, "chosen by name")


def _no_such(sweep: Sweep, select: str, complete: list[TrialRecord]) -> str:
    others = [t for t in sweep.trials if select in (t.variant, t.candidate)]
    why = f"is {others[0].state} ({others[0].reason})" if others else "is no trial of this run"
    variants = ", ".join(sorted({trial.variant for trial in complete}))
    return f"select={select}: {why}; valid: knee, {', '.join(_KEYS)}, {variants}"
