"""A storage with one writer: every write goes to the database at once, reads cost none."""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

__all__ = ["Mirror"]


class Mirror(BaseStorage):
    """What a database holds, kept in memory as well.

    A run's lock leaves its study one writer, so that what was read or written once need not be
    read again; asking a database for a trial takes ten times as long as deciding on it. A trial
    that changes is a new object: whoever holds the old one sees it as it was.

    Args:
        backend: the database, which is written before the memory is.
    """

    def __init__(self, backend: BaseStorage) -> None:
        self.backend = backend
        self._trials: dict[int, list[int]] = {}  # their ids, of each study that was read
        self._by_id: dict[int, FrozenTrial] = {}
        self._facts: dict[int, dict[str, Any]] = {}

    # Studies

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self.backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self.backend.delete_study(study_id)
        for trial_id in self._trials.pop(study_id, ()):
            del self._by_id[trial_id]
        self._facts.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.backend.set_study_user_attr(study_id, key, value)
        if study_id in self._facts:
            self._facts[study_id][key] = _as_stored(value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self.backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self.backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        if study_id not in self._facts:
            self._facts[study_id] = self.backend.get_study_user_attrs(study_id)
        return dict(self._facts[study_id])

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self.backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        return self.backend.get_all_studies()

    # Trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        ids = self._ids(study_id)
        trial_id = self.backend.create_new_trial(study_id, template_trial)
        ids.append(trial_id)
        self._read(trial_id)
        return trial_id

    def set_trial_param(
        self, trial_id: int, name: str, value: float, distribution: BaseDistribution
    ) -> None:
        self.backend.set_trial_param(trial_id, name, value, distribution)
        self._read(trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        changed = self.backend.set_trial_state_values(trial_id, state, values)
        self._read(trial_id)
        return changed

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        self.backend.set_trial_intermediate_value(trial_id, step, value)
        changed = self._copied(trial_id)
        changed.intermediate_values = {**changed.intermediate_values, step: value}
        self._by_id[trial_id] = changed

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.backend.set_trial_user_attr(trial_id, key, value)
        changed = self._copied(trial_id)
        changed.user_attrs = {**changed.user_attrs, key: _as_stored(value)}
        self._by_id[trial_id] = changed

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.backend.set_trial_system_attr(trial_id, key, value)
        self._read(trial_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._by_id:
            self._read(trial_id)
        return self._by_id[trial_id]

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        ids = self._ids(study_id)
        if not 0 <= trial_number < len(ids):
            raise KeyError(f"no trial {trial_number} in study {study_id}")
        return ids[trial_number]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        trials = [self._by_id[trial_id] for trial_id in self._ids(study_id)]
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def remove_session(self) -> None:
        self.backend.remove_session()

    def read_again(self, trial_id: int) -> None:
        """Take note of what was written to the database beside this storage."""
        self._read(trial_id)

    def _ids(self, study_id: int) -> list[int]:
        """Ids of a study's trials by number."""
        if study_id not in self._trials:
            trials = self.backend.get_all_trials(study_id, deepcopy=False)
            trials.sort(key=lambda trial: trial.number)
            self._by_id |= {trial._trial_id: trial for trial in trials}
            self._trials[study_id] = [trial._trial_id for trial in trials]
        return self._trials[study_id]

    def _read(self, trial_id: int) -> None:
        self._by_id[trial_id] = self.backend.get_trial(trial_id)

    def _copied(self, trial_id: int) -> FrozenTrial:
        return copy.copy(self.get_trial(trial_id))


def _as_stored(value: Any) -> Any:
    """A fact as the database gives it back."""
    return json.loads(json.dumps(value))
