"""A sweep as it stands for whoever has a budget, or to whom one objective is worth more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from resnest_search.errors import UserError
from resnest_search.metrics import broken, excess
from resnest_search.study.read import judged_anew
from resnest_search.study.record import COMPLETE, INFEASIBLE, Sweep, TrialRecord

__all__ = ["narrowed"]


def narrowed(
    sweep: Sweep, limits: Mapping[str, float], weights: Mapping[str, float] | None = None
) -> Sweep:
    """The sweep with the front of what holds the limits, and the choice that the weights make.

    What breaks a limit is infeasible, and so is that of which the cost is not known.

    Args:
        sweep: as it stands.
        limits: of costs, by name, in their units; of those to be large the least.
        weights: what multiplies the logarithm of an objective at the knee, by name; 1 of others.

    Raises:
        UserError: nothing complete holds the limits, or a weight is of no objective.
    """
    weights = weights or {}
    _check_weights(weights, sweep.objectives)
    if not limits and not weights:
        return sweep
    trials = [_within(trial, limits) for trial in sweep.trials]
    whole = [trial for trial in sweep.trials if trial.state == COMPLETE]
    if whole and all(trial.state != COMPLETE for trial in trials):
        raise UserError(_nothing_within(whole, limits))
    return judged_anew(sweep, trials, limits=dict(limits), weights=dict(weights))


def _check_weights(weights: Mapping[str, float], objectives: Sequence[str]) -> None:
    for name, weight in weights.items():
        if name not in objectives:
            raise UserError(
                f"weights.{name}={weight:g}: is no objective of this run; "
                f"valid: {', '.join(objectives)}"
            )
    if weights and not any(weights.get(name, 1.0) for name in objectives):
        given = ", ".join(f"weights.{name}=0" for name in weights)
        raise UserError(f"{given}: leave nothing to choose by; valid: one of them above 0")


def _within(trial: TrialRecord, limits: Mapping[str, float]) -> TrialRecord:
    """The trial, infeasible where it is complete and does not hold the limits."""
    if trial.state != COMPLETE:
        return trial
    unknown = [f"{name} is not known" for name in limits if name not in trial.costs]
    reason = "; ".join([*filter(None, [broken(trial.costs, limits)]), *unknown])
    return dataclasses.replace(trial, state=INFEASIBLE, reason=reason) if reason else trial


def _nothing_within(whole: Sequence[TrialRecord], limits: Mapping[str, float]) -> str:
    """Why nothing is left, with who is beyond the limits by the least factor."""
    given = ", ".join(f"limits.{name}={bound:g}" for name, bound in limits.items())
    known = [trial for trial in whole if limits.keys() <= trial.costs.keys()]
    if not known:
        return f"{given}: not known of any complete trial; valid: limits of what was measured"
    closest = min(
        known, key=lambda t: max(excess(name, t.costs[name], limits[name]) for name in limits)
    )
    values = ", ".join(f"{name} {closest.costs[name]:.4g}" for name in limits)
    all_of = "it" if len(limits) == 1 else "all of them"
    return f"{given}: no complete trial is within {all_of}; the closest, {closest.name}: {values}"
