"""Optuna's samplers by ask and tell, and OptunaHub's pruner for several metrics."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from search_peers.race import Measured, Problem
from search_peers.table import Setting

__all__ = ["HubStopper", "OptunaSampler", "hub_pruner", "multi_metric_pruner"]


class OptunaSampler:
    """One of Optuna's samplers in a study of accuracy and the costs.

    Args:
        problem: its space is a choice or a range for each parameter.
        make: the sampler from a seed.
        pruner: of the study.
    """

    def __init__(
        self, problem: Problem, make: Callable[[int], BaseSampler], pruner: Any = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            directions=list(_directions(problem).values()),
            sampler=make(problem.seed),
            pruner=pruner,
        )
        self._space = problem.space().distributions
        self._problem = problem
        self.trials: dict[int, optuna.Trial] = {}

    def propose(self) -> tuple[int, Setting | None]:
        """What the study asks for."""
        trial = self._study.ask(self._space)
        self.trials[trial.number] = trial
        return trial.number, tuple(trial.params[name] for name in self._space)

    def refuse(self, ticket: int) -> None:
        """As a trial that failed, from which the samplers learn nothing."""
        self._study.tell(self.trials.pop(ticket), state=TrialState.FAIL)

    def insist(self, setting: Setting) -> int:
        """By Optuna's queue."""
        self._study.enqueue_trial(self._problem.named(setting))
        return self.propose()[0]

    def end(self, ticket: int, measured: Measured, stopped: bool) -> None:
        """The values of a complete trial, or the news that it was pruned."""
        trial = self.trials.pop(ticket)
        if stopped:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, [measured.accuracy, *measured.costs])


class HubStopper:
    """OptunaHub's multi_metric_pruner over Optuna's median pruner, on Pareto ranks.

    Args:
        problem: of the search.
        sampler: of the study that has the pruner.
        module: the package, see `multi_metric_pruner`.
    """

    def __init__(self, problem: Problem, sampler: OptunaSampler, module: Any) -> None:
        self._problem = problem
        self._sampler = sampler
        self._module = module

    def begin(self, ticket: int) -> None:
        """The trial is in the study already."""

    def report(self, ticket: int, epoch: int, measured: Measured) -> bool:
        """Whether the pruner lets it go on."""
        trial = self._module.MultiMetricPrunerTrial(self._sampler.trials[ticket])
        trial.report(measured.result(self._problem), epoch)
        return not trial.should_prune()

    def end(self, ticket: int, epoch: int, measured: Measured) -> None:
        """The sampler ends it."""


def _directions(problem: Problem) -> dict[str, str]:
    return {n: "maximize" if more else "minimize" for n, more in problem.objectives.items()}


def hub_pruner(problem: Problem, module: Any) -> Any:
    """The pruner as its README has it: joint, over a median pruner."""
    return module.MultiMetricPruner(
        optuna.pruners.MedianPruner(), metric_directions=_directions(problem), joint=True
    )


def multi_metric_pruner(registry: Path) -> Any:
    """The package of that name from a clone of OptunaHub's registry.

    ``optunahub.load_module`` would fetch the same files from GitHub at run time.
    """
    name = "optunahub_multi_metric_pruner"
    if name not in sys.modules:
        folder = registry / "package" / "pruners" / "multi_metric_pruner"
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"no package in {folder}")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
