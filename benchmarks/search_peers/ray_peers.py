"""Ray Tune's scheduler and searcher, driven without a cluster."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from search_peers.race import Measured, Problem
from search_peers.table import Setting

__all__ = ["Asha", "RandomSampler", "RaySearcher"]

ASHA = {"grace_period": 1, "reduction_factor": 3}


class RandomSampler:
    """Every candidate once, in random order: Tune's random search without its repeats."""

    def __init__(self, problem: Problem) -> None:
        order = np.random.default_rng(problem.seed).permutation(len(problem.settings))
        self._left = [problem.settings[index] for index in order[::-1]]
        self._out: dict[int, Setting] = {}
        self._tickets = 0

    def propose(self) -> tuple[int, Setting | None]:
        """The next of the order."""
        self._tickets += 1
        setting = self._left.pop() if self._left else None
        if setting is not None:
            self._out[self._tickets] = setting
        return self._tickets, setting

    def refuse(self, ticket: int) -> None:
        """It comes again after all others."""
        if ticket in self._out:
            self._left.insert(0, self._out.pop(ticket))

    def insist(self, setting: Setting) -> int:
        """Takes it out of the order."""
        self._tickets += 1
        self._left.remove(setting)
        return self._tickets

    def end(self, ticket: int, measured: Measured, stopped: bool) -> None:
        """Nothing is learnt."""


class Asha:
    """Ray's asynchronous successive halving on accuracy.

    Its decisions read a trial's id and the result, and no controller. After the last result of a
    trial Tune calls ``on_trial_complete`` with it, stopped or not.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="training_iteration",
            metric="accuracy",
            mode="max",
            max_t=problem.epochs,
            **ASHA,
        )

    def begin(self, ticket: int) -> None:
        """A trial enters."""
        self._scheduler.on_trial_add(None, _trial(ticket))

    def report(self, ticket: int, epoch: int, measured: Measured) -> bool:
        """Whether the scheduler says CONTINUE."""
        decision = self._scheduler.on_trial_result(
            None, _trial(ticket), self._result(epoch, measured)
        )
        return bool(decision == TrialScheduler.CONTINUE)

    def end(self, ticket: int, epoch: int, measured: Measured) -> None:
        """A trial leaves."""
        self._scheduler.on_trial_complete(None, _trial(ticket), self._result(epoch, measured))

    def _result(self, epoch: int, measured: Measured) -> dict[str, float]:
        return {"training_iteration": epoch, **measured.result(self._problem)}


class RaySearcher:
    """Ray's OptunaSearch on accuracy and the costs: Optuna's TPE, told each trial's last result."""

    def __init__(self, problem: Problem) -> None:
        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
        self._space = problem.space().distributions
        modes = ["max" if more else "min" for more in problem.objectives.values()]
        self._searcher = OptunaSearch(
            self._space, metric=list(problem.objectives), mode=modes, seed=problem.seed
        )
        self._problem = problem
        self._tickets = 0

    def propose(self) -> tuple[int, Setting | None]:
        """Its suggestion."""
        self._tickets += 1
        found = self._searcher.suggest(str(self._tickets))
        return self._tickets, tuple(found[name] for name in self._space)

    def refuse(self, ticket: int) -> None:
        """As a trial that failed, from which Optuna learns nothing."""
        self._searcher.on_trial_complete(str(ticket), error=True)

    def insist(self, setting: Setting) -> int:
        """As it does with its own points_to_evaluate, which are given at the start alone."""
        self._searcher._ot_study.enqueue_trial(self._problem.named(setting))
        return self.propose()[0]

    def end(self, ticket: int, measured: Measured, stopped: bool) -> None:
        """Told as Tune tells it: complete with the last result, stopped or not."""
        result = {"training_iteration": 0, **measured.result(self._problem)}
        self._searcher.on_trial_complete(str(ticket), result)


def _trial(ticket: int) -> Any:
    return SimpleNamespace(trial_id=str(ticket))
