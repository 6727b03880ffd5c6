"""What a plain Optuna script needs to prune a study with several objectives.

Optuna's ``Trial.report`` and ``Trial.should_prune`` refuse such a study. ``report`` and
``should_prune`` stand in their place. The rest is Optuna's own: raise ``optuna.TrialPruned``
within ``Study.optimize``, or ``study.tell(trial, state=TrialState.PRUNED)`` after
``Study.ask``, and the trial stands as pruned, without values. After that ``TPESampler`` fails
at its next proposal ("A single direction cannot be retrieved"), for it would rank pruned
trials by their reported values; ``TolerantSampler`` keeps those from it. Random, quasi-random,
Gaussian-process and NSGA samplers learn from complete trials alone and need no help.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from resnest_search.search.view import PerStudy, StorageView, seen_through

__all__ = ["TolerantSampler", "report", "should_prune"]


def report(trial: optuna.Trial, value: float, step: int) -> None:
    """Enter the trained objective after a step, as ``trial.report`` would."""
    trial.storage.set_trial_intermediate_value(trial._trial_id, step, float(value))


def should_prune(pruner: BasePruner, study: Study, trial: optuna.Trial) -> bool:
    """Whether the pruner has the trial stop here, as ``trial.should_prune`` would tell."""
    return pruner.prune(study, trial.storage.get_trial(trial._trial_id))


class TolerantSampler(BaseSampler):
    """Any of Optuna's samplers, shown pruned trials without the values that they reported.

    To ``TPESampler`` a pruned trial is then one that did worse than every complete one.

    Args:
        sampler: proposes.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        self._views: PerStudy[StorageView] = PerStudy()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The sampler's own."""
        return self._sampler.infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The sampler's own."""
        return self._sampler.sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        """The sampler's own."""
        return self._sampler.sample_independent(self._view(study), trial, param_name, distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """The sampler's own."""
        self._sampler.before_trial(self._view(study), trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """The sampler's own."""
        self._sampler.after_trial(self._view(study), trial, state, values)

    def reseed_rng(self) -> None:
        """The sampler's own."""
        self._sampler.reseed_rng()

    def _view(self, study: Study) -> Study:
        if study not in self._views:
            self._views[study] = StorageView(study._storage, _without_reports)
        return seen_through(self._views[study], study)


def _without_reports(trial: FrozenTrial) -> FrozenTrial:
    if trial.state != TrialState.PRUNED:
        return trial
    shown = copy.copy(trial)
    shown.intermediate_values = {}
    return shown
