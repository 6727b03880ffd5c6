"""What the recorded facts of a trial say of it: pure functions over frozen trials and epochs."""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial, TrialState

from resnest_search.study.record import Epoch

__all__ = ["diverged", "is_a_start", "met_a_bound", "spent"]

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


def spent(trial: FrozenTrial) -> int:
    """Epochs trained for this trial: not those it took over, but one that diverged."""
    facts = trial.user_attrs
    inherited = int(facts.get("inherited", 0))
    return len(trial.intermediate_values) - inherited + ("diverged" in facts)
