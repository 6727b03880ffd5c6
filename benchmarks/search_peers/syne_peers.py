"""Syne Tune's MO-ASHA, whose scheduler proposes and stops; imported where it is installed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from search_peers.race import Measured, Problem
from search_peers.table import Setting

__all__ = ["MoAsha"]

SETTINGS = {"grace_period": 1, "reduction_factor": 3}


class MoAsha:
    """Sampler and stopper at once: random proposals, halving by non-dominated sorting.

    The scheduler draws from numpy's global generator, which is seeded here: no other search
    runs in the process meanwhile.
    """

    def __init__(self, problem: Problem) -> None:
        from syne_tune.backend.trial_status import Trial
        from syne_tune.config_space import choice
        from syne_tune.optimizer.scheduler import SchedulerDecision
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        np.random.seed(problem.seed)
        self._continue = SchedulerDecision.CONTINUE
        self._trial = Trial
        self._problem = problem
        columns = zip(problem.parameters, zip(*problem.settings, strict=True), strict=True)
        self._scheduler = MOASHA(
            {name: choice(sorted(set(values))) for name, values in columns},
            metrics=list(problem.objectives),  # all to be minimised
            max_t=problem.epochs,
            random_seed=problem.seed,
            **SETTINGS,
        )
        self._trials: list[Any] = []

    def propose(self) -> tuple[int, Setting | None]:
        """Its suggestion, as a trial that has not begun."""
        return self._enter(self._scheduler.suggest().config)

    def refuse(self, ticket: int) -> None:
        """The scheduler never heard of it."""

    def insist(self, setting: Setting) -> int:
        """A trial that it did not suggest."""
        return self._enter(self._problem.named(setting))[0]

    def begin(self, ticket: int) -> None:
        """A trial enters."""
        self._scheduler.on_trial_add(self._trials[ticket])

    def report(self, ticket: int, epoch: int, measured: Measured) -> bool:
        """Whether the scheduler says CONTINUE."""
        result = self._result(epoch, measured)
        decision = self._scheduler.on_trial_result(self._trials[ticket], result)
        return bool(decision == self._continue)

    def end(self, ticket: int, *_: object) -> None:
        """A trial leaves, once as of a stopper and once as of a sampler.

        Syne Tune removes what it stopped, and it stops at the full length, too.
        """
        if ticket in self._scheduler.trial_info:
            self._scheduler.on_trial_remove(self._trials[ticket])

    def _enter(self, config: dict[str, Any]) -> tuple[int, Setting]:
        ticket = len(self._trials)
        self._trials.append(self._trial(ticket, config, datetime.min))
        return ticket, tuple(config[name] for name in self._problem.parameters)

    def _result(self, epoch: int, measured: Measured) -> dict[str, float]:
        more = self._problem.objectives
        values = measured.result(self._problem).items()
        return {
            "training_iteration": epoch,
            **{name: -value if more[name] else value for name, value in values},
        }
