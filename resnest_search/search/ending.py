"""What a sweep that is over left out, and what that may have cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial

from resnest_search.search.samplers.known_cost import KnownCostSampler
from resnest_search.search.situation import Situation
from resnest_search.study.study import curve_of

__all__ = ["lost", "saved"]

_SURELY = 95  # percent of the draws


def saved(
    ended: Sequence[FrozenTrial], untried: int, trials: Sequence[FrozenTrial], epochs: int
) -> tuple[int, float]:
    """Epochs that were not trained, and about how many seconds they would have taken.

    Args:
        ended: trials that were pruned.
        untried: candidates that were never begun; an epoch of theirs counts as the mean one.
        trials: all of them.
        epochs: a trial's full length.
    """
    paces = {t.number: np.mean([e.seconds for e in curve_of(t)]) for t in trials if curve_of(t)}
    mean = float(np.mean(list(paces.values()))) if paces else 0.0
    left = {trial.number: epochs - (trial.last_step or 0) for trial in ended}
    seconds = sum(paces.get(number, mean) * count for number, count in left.items())
    return sum(left.values()) + untried * epochs, float(seconds + untried * epochs * mean)


def lost(forecaster: KnownCostSampler | None, situation: Situation) -> tuple[float, float] | None:
    """Share of the hypervolume that the steps of a situation may still have added.

    The mean and the 95th percentile over draws of the forecasts; None without them, before
    anything has finished, or where nothing is left.
    """
    draws = np.empty(0) if forecaster is None else forecaster.missed(situation)
    if not len(draws):
        return None
    return float(draws.mean()), float(np.percentile(draws, _SURELY))
