"""What the recorded facts of a trial say of it: pure functions over frozen trials and epochs."""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial, TrialState

from resnest_search.record import Epoch
from resnest_search.search.study import decision_on

__all__ = ["diverged", "is_a_start", "met_a_bound", "paused_by", "progress", "spent"]

_NO_STARTS = {"continues", "repeat", "warm_start"}


def diverged(epoch: Epoch) -> bool:
    """Whether a loss is not finite."""
    losses = (epoch.loss, epoch.train_loss)
    return not all(loss is None or math.isfinite(loss) for loss in losses)


def met_a_bound(trial: FrozenTrial) -> bool:
    """Whether budget or hours ended this trial, and not a rung of a later driver."""
    facts = trial.user_attrs
    bound = facts.get("bound")
    return trial.state == TrialState.PRUNED and bound is not None and bound == facts["pruned_at"]


def is_a_start(trial: FrozenTrial) -> bool:
    """Whether a trial counts among the candidates that were started."""
    facts = trial.user_attrs
    return facts.get("phase") != "measuring" and not facts.keys() & _NO_STARTS


def paused_by(trial: FrozenTrial) -> str:
    """Who paused a trial: ``pruner`` or ``sampler``; empty for nobody."""
    decision = decision_on(trial, trial.last_step or 0)
    return str(decision["by"]) if decision else ""


def progress(trial: FrozenTrial) -> tuple[int, int]:
    """Order in which what waits is trained once nothing else is left: the furthest first."""
    return trial.last_step or 0, -trial.number


def spent(trial: FrozenTrial) -> int:
    """Epochs trained for this trial: not those it took over, but one that diverged."""
    facts = trial.user_attrs
    inherited = int(facts.get("inherited", 0))
    return len(trial.intermediate_values) - inherited + ("diverged" in facts)
