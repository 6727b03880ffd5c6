"""A study as one of Optuna's own methods can stand it: the same study, its trials shown otherwise.

Optuna's pruners and samplers ask a study for its trials, and some its storage as well. A view
stands in the storage's place and hands out other trials; all else is the storage's own, and
what is written through it is written there.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Container
from itertools import compress, count
from operator import is_not
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

__all__ = ["PerStudy", "StorageView", "seen_through"]

_V = TypeVar("_V")


class PerStudy(WeakKeyDictionary[Study, _V]):
    """What is kept of each study while it lives: no state, so that copies begin empty."""

    def __deepcopy__(self, memo: object) -> PerStudy[_V]:
        return PerStudy()

    def __reduce__(self) -> tuple[type[PerStudy[_V]], tuple[()]]:
        return PerStudy, ()


class StorageView:
    """The storage of one study, with every trial as ``show`` makes it.

    Trials shown are kept, and made anew where the storage's own have been replaced, so that
    a question costs little more than it costs the storage.

    Args:
        storage: the one behind it.
        show: a trial to hand out instead; it must not change the one given.
    """

    def __init__(self, storage: BaseStorage, show: Callable[[FrozenTrial], FrozenTrial]) -> None:
        self._storage = storage
        self._show = show
        self._lock = threading.Lock()
        self._known: list[FrozenTrial] = []
        self._shown: list[FrozenTrial] = []

    def __getattr__(self, name: str) -> Any:
        if name == "_storage":  # asked for before there is one, as copy and pickle do
            raise AttributeError(name)
        return getattr(self._storage, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial as it is shown."""
        return self._show(self._storage.get_trial(trial_id))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """All trials, or those in some states, as they are shown."""
        trials = self._storage.get_all_trials(study_id, deepcopy=False)
        with self._lock:
            for index in compress(count(), map(is_not, trials, self._known)):
                self._shown[index] = self._show(trials[index])
            self._shown += map(self._show, trials[len(self._known) :])
            self._known = trials
            shown = [t for t in self._shown if states is None or t.state in states]
        return copy.deepcopy(shown) if deepcopy else shown


def seen_through(view: StorageView, study: Study) -> Study:
    """The study with the view in its storage's place."""
    return optuna.Study(study.study_name, cast(BaseStorage, view), study.sampler, study.pruner)
