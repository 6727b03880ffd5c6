"""Pause what will hardly end on the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from resnest_search.search.forecast.improvement import beats
from resnest_search.search.forecast.outlook import Finished, Outlook, Prospect
from resnest_search.search.forecast.surrogate import Forecast
from resnest_search.search.pruners.base import PausingPruner
from resnest_search.search.situation import Goal

__all__ = ["FrontDecision", "FrontProbabilityPruner", "front_probabilities"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FrontDecision:
    """How probable it is that a trial ends on the front, and what follows."""

    epoch: int
    kept: bool
    probability: float
    threshold: float

    @property
    def reason(self) -> str:
        """The decision in words."""
        return (
            f"ends on the front with a probability of {self.probability:.2f} "
            f"(threshold {self.threshold:g})"
        )


class FrontProbabilityPruner(PausingPruner):
    """Pauses a trial whose probability of ending on the front has fallen below a threshold.

    Its final value is forecast by a Gaussian process from its curve so far, the finished
    curves and the features of the candidates (``surrogate.forecast``); the other objectives
    are known costs. The probability is that of ending above every finished trial that is no
    dearer in any cost. Nothing is pruned before ``startup`` trials have finished, nor while
    the values at the trial's epoch do not explain the finished trials' finals ``evidence``
    times better than the features alone do: early epochs that say nothing decide nothing. A
    value that is not a number is never kept.

    Args:
        threshold: probability below which a trial is paused; above 0, below 1.
        startup: finished trials before the first decision, at least 3.
        evidence: how many times likelier the finals of the finished trials must be given their
            values at that epoch than without (a Bayes factor); at least 0, where any will do.
        epochs: a trial's full length; no decision is taken there or beyond.
        reported: name of the objective whose intermediate values the trials hold. The
            names of all objectives come from ``study.set_metric_names``, the values of the
            others from each trial's user attributes of the same name.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        threshold: float = 0.1,
        startup: int = 4,
        evidence: float = 100.0,
        *,
        epochs: int | None = None,
        reported: str = "accuracy",
    ) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be above 0 and below 1, not {threshold}")
        if isinstance(startup, bool) or not isinstance(startup, int) or startup < 3:
            raise ValueError(f"startup must be a whole number of at least 3, not {startup}")
        if not 0 <= evidence < math.inf:
            raise ValueError(f"evidence must be a finite number of at least 0, not {evidence}")
        self._threshold = threshold
        self._startup = startup
        self._evidence = math.log(evidence) if evidence else -math.inf
        self._epochs = epochs
        self._reported = reported
        self._kept: tuple[Study, Goal, Outlook] | None = None  # of the study asked about last

    def explain(self, study: Study, trial: FrozenTrial) -> FrontDecision | None:
        """The decision at the trial's last epoch; None where there is too little to go by."""
        step = trial.last_step
        if step is None or (self._epochs is not None and step >= self._epochs):
            return None
        if math.isnan(trial.intermediate_values[step]):
            return FrontDecision(step, False, 0.0, self._threshold)
        outlook = self._outlook(study)
        prospect = outlook.prospect(trial)
        if not prospect.is_placed:
            return FrontDecision(step, False, 0.0, self._threshold)
        finished = outlook.finished(study.get_trials(deepcopy=False))
        return self._decide(outlook, [prospect], finished)[0]

    def promotable(self, study: Study, paused: Sequence[FrozenTrial]) -> list[int]:
        """Those whose probability has risen above the threshold, the most probable first."""
        outlook = self._outlook(study)
        usable = [t for t in paused if _has_a_value(t) and outlook.prospect(t).is_placed]
        if not usable:
            return []
        finished = outlook.finished(study.get_trials(deepcopy=False))
        decisions = self._decide(outlook, [outlook.prospect(t) for t in usable], finished)
        scored = [
            (-(d.probability if d else 1.0), trial.number)
            for trial, d in zip(usable, decisions, strict=True)
            if d is None or d.kept
        ]
        return [number for _, number in sorted(scored)]

    def _outlook(self, study: Study) -> Outlook:
        names = tuple(study.metric_names or [self._reported])
        goal = Goal(names, self._reported, self._epochs or _longest(study))
        if self._kept is None or self._kept[:2] != (study, goal):
            self._kept = (study, goal, Outlook(goal))
        self._kept[2].span(study.get_trials(deepcopy=False))
        return self._kept[2]

    def _decide(
        self, outlook: Outlook, prospects: Sequence[Prospect], finished: Finished
    ) -> list[FrontDecision | None]:
        width = finished.features.shape[1]
        if len(finished) < self._startup or any(len(p.features) != width for p in prospects):
            return [None] * len(prospects)
        found = outlook.forecast(prospects, finished)
        probability = front_probabilities(found, prospects, finished)
        telling = found.evidence >= self._evidence
        return [
            FrontDecision(p.epoch, bool(value >= self._threshold), float(value), self._threshold)
            if told
            else None
            for p, value, told in zip(prospects, probability, telling, strict=True)
        ]


def front_probabilities(
    found: Forecast, prospects: Sequence[Prospect], finished: Finished
) -> Array:
    """Probability that each prospect ends above every finished trial that is no dearer, (n,)."""
    level = beats(np.array([p.costs for p in prospects]), finished.finals, finished.costs)
    deviation = np.maximum(found.deviation, 1e-12)
    return np.where(np.isinf(level), 1.0, ndtr((found.mean - level) / deviation))


def _has_a_value(trial: FrozenTrial) -> bool:
    step = trial.last_step
    return step is not None and step > 0 and not math.isnan(trial.intermediate_values[step])


def _longest(study: Study) -> int:
    """Full length of the trials where nobody told it: that of the longest complete one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max((trial.last_step or 0 for trial in complete), default=0)
