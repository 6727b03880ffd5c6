"""Optuna's own pruners on one objective of several."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from resnest_search.search.pruners.base import PausingPruner, Verdict
from resnest_search.search.view import PerStudy, StorageView, seen_through

__all__ = ["SingleObjectivePruner"]

_ANSWERS = "single_objective:pruned"  # system attribute of a trial: answers by epoch


class SingleObjectivePruner(PausingPruner):
    """Any of Optuna's pruners, following one objective of a study that may have several.

    The pruner sees the study with that objective alone: its direction, its value of each
    complete trial, the last reported one of a pruned trial, nothing of a failed one. Only
    trials that have changed since it was last asked are copied.

    ``SuccessiveHalvingPruner`` and ``HyperbandPruner`` keep in a trial's system attributes
    which rungs it has passed (``completed_rung_0`` and so on), and these stand in the study.
    Asked a second time about an epoch they would take the trial for one at the next rung, so
    their answer is kept there, too (``single_objective:pruned``), and given again. Their
    ``auto`` arguments are settled by the first complete trial that a pruner object meets;
    with numbers instead, decisions depend on the study alone.

    What such a pruner has stopped it was not made to ask again about: none is promotable.

    Args:
        pruner: decides.
        objective: name of the objective to follow, which must be the reported one: that is
            whose values Optuna's pruners find at every epoch.
        reported: name of the objective whose intermediate values the trials hold.

    Raises:
        ValueError: the objective is not the reported one.
    """

    def __init__(
        self, pruner: BasePruner, objective: str = "accuracy", *, reported: str | None = None
    ) -> None:
        if reported is not None and objective != reported:
            raise ValueError(
                f"objective={objective}: trials report {reported} at each epoch; valid: {reported}"
            )
        self._pruner = pruner
        self._objective = objective
        self._views: PerStudy[_View] = PerStudy()

    def explain(self, study: Study, trial: FrozenTrial) -> Verdict | None:
        """The pruner's no; None where it lets the trial go on, for it gives no grounds.

        Raises:
            ValueError: the study has no objective of that name.
        """
        step = trial.last_step
        if step is None or not self._refuses(study, trial, step):
            return None
        value = trial.intermediate_values[step]
        name = type(self._pruner).__name__
        return Verdict(False, f"{name} on {self._objective}: {value:.6g} at epoch {step}")

    def promotable(self, study: Study, paused: Sequence[FrozenTrial]) -> list[int]:
        """None: one of Optuna's pruners was not made to be asked again."""
        return []

    def _refuses(self, study: Study, trial: FrozenTrial, step: int) -> bool:
        view = self._view(study)
        known = view.stored(trial).system_attrs
        answers = known.get(_ANSWERS, {})
        if str(step) in answers:
            answer = answers[str(step)]
            for key, value in answer["kept"].items():  # a kill may have come between the writes
                if key not in known:
                    view.set_trial_system_attr(trial._trial_id, key, value)
            return bool(answer["refused"])
        asked = view.shown(trial)
        asked.system_attrs = known  # the trial given may be older than what is stored of it
        with view.held() as kept:
            refused = bool(self._pruner.prune(seen_through(view, study), asked))
        if kept:  # the answer first: asked again, the pruner would take its note for its answer
            answers = {**answers, str(step): {"refused": refused, "kept": kept}}
            for key, value in {_ANSWERS: answers, **kept}.items():
                view.set_trial_system_attr(trial._trial_id, key, value)
        return refused

    def _view(self, study: Study) -> _View:
        view, names = self._views.get(study), study.metric_names
        if view is None or view.names != names:
            view = self._views[study] = _View(study, names, self._objective)
        return view


class _View(StorageView):
    """The storage of a study as if it had one of its objectives alone."""

    def __init__(self, study: Study, names: list[str] | None, objective: str) -> None:
        if names is None and len(study.directions) > 1:
            raise ValueError("the study's objectives have no names; see Study.set_metric_names")
        if names is not None and objective not in names:
            raise ValueError(f"objective={objective}: the study has none of that name: {names}")
        super().__init__(study._storage, self.shown)
        self.names = names
        self._index = names.index(objective) if names else 0
        self._direction = study.directions[self._index]
        self._held: dict[str, Any] | None = None

    def shown(self, trial: FrozenTrial) -> FrozenTrial:
        """A copy of the trial with one value, or none."""
        shown = copy.copy(trial)
        shown.values = None
        if trial.state == TrialState.FAIL:  # counts for nothing, at no rung either
            shown.intermediate_values, shown.system_attrs = {}, {}
        elif trial.state == TrialState.COMPLETE:
            shown.values = trial.values[self._index : self._index + 1]
        elif trial.state == TrialState.PRUNED and trial.last_step is not None:
            shown.values = [trial.intermediate_values[trial.last_step]]  # as Study.tell has it
        return shown

    @contextmanager
    def held(self) -> Iterator[dict[str, Any]]:
        """Keep back what the pruner wants to note meanwhile."""
        kept: dict[str, Any] = {}
        self._held = kept
        try:
            yield kept
        finally:
            self._held = None

    def stored(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as the storage has it; itself where that has none."""
        try:
            return self._storage.get_trial(trial._trial_id)
        except KeyError:
            return trial

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """The one direction."""
        return [self._direction]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The complete trial of the best value; ValueError where there is none."""
        complete = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        best = max if self._direction == StudyDirection.MAXIMIZE else min
        return best(complete, key=lambda trial: trial.values[0])

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Kept in the study, but for trials that are over or that it does not have."""
        if self._held is not None:
            self._held[key] = value
            return
        try:
            finished = self._storage.get_trial(trial_id).state.is_finished()
        except KeyError:
            return
        if not finished:
            self._storage.set_trial_system_attr(trial_id, key, value)
