"""The Optuna study of a sweep: its only state, and the only place that reads or writes it."""

from __future__ import annotations

import dataclasses
import datetime
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnest_search.errors import UserError
from resnest_search.metrics import METRICS, TRAINED
from resnest_search.record import Epoch
from resnest_search.search.space import Candidate, Space

__all__ = ["SweepStudy", "curve_of", "directions_of", "now", "reported_of"]

_NAME = "sweep"
optuna.logging.set_verbosity(optuna.logging.WARNING)
# Names of metrics are how a pruner knows its objectives; they have been "experimental" since 3.2.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def directions_of(objectives: Iterable[str]) -> list[StudyDirection]:
    """Optuna's direction of each objective, from the table of metrics."""
    ways = {True: StudyDirection.MAXIMIZE, False: StudyDirection.MINIMIZE}
    return [ways[METRICS[name].maximize] for name in objectives]


def reported_of(objectives: Iterable[str]) -> str:
    """The trained metric whose values stand as intermediate values: an objective, else accuracy."""
    return next((name for name in objectives if name in TRAINED), "accuracy")


class SweepStudy:
    """One sweep's study: trials, their epochs and costs, states with reasons, the configuration.

    The storage is written through Optuna's public storage interface, since ``Trial.report``
    and ``Study.tell`` refuse what a multi-objective study with pruned trials needs.

    Args:
        storage: holds exactly this sweep.
        study: in that storage.
    """

    def __init__(self, storage: BaseStorage, study: optuna.Study) -> None:
        self.optuna = study
        self._storage = storage
        self._id = storage.get_study_id_from_name(study.study_name)
        self.objectives: tuple[str, ...] = tuple(study.metric_names or ())
        self.reported = reported_of(self.objectives)

    @classmethod
    def create(cls, url: str | None, objectives: list[str]) -> SweepStudy:
        """A new study at a storage URL, in memory where that is None.

        Raises:
            UserError: there is one already.
        """
        storage = get_storage(url)
        try:
            study = optuna.create_study(
                study_name=_NAME, storage=storage, directions=directions_of(objectives)
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise UserError(f"run: {url} holds a sweep already; carry it on with resume") from None
        study.set_metric_names(objectives)
        return cls(storage, study)

    @classmethod
    def open(cls, folder: Path) -> SweepStudy:
        """The study of a run's folder.

        Raises:
            UserError: the folder is none of a run.
        """
        path = folder / "study.db"
        if not path.is_file():
            raise UserError(f"run: {folder} is no folder of a run: it has no study.db")
        try:
            storage = get_storage(f"sqlite:///{path}")
            return cls(storage, optuna.load_study(study_name=_NAME, storage=storage))
        except Exception as error:  # whatever SQLAlchemy or Optuna make of a foreign file
            lines = str(error).splitlines() or [type(error).__name__]
            raise UserError(f"run: {path} is no study of a sweep: {lines[0]}") from error

    def close(self) -> None:
        """Let go of the database."""
        backend = getattr(self._storage, "_backend", self._storage)
        if isinstance(backend, RDBStorage):
            backend.engine.dispose()

    # The sweep itself

    def note(self, key: str, value: Any) -> None:
        """Keep a JSON-able fact of the whole sweep."""
        self.optuna.set_user_attr(key, value)

    @property
    def notes(self) -> dict[str, Any]:
        """The facts of the whole sweep."""
        return self.optuna.user_attrs

    # Its trials

    def trials(self) -> list[FrozenTrial]:
        """Every trial by number; not to be changed."""
        return self.optuna.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        """One trial as it stands."""
        return self._storage.get_trial(self._trial_id(number))

    def start(
        self,
        space: Space,
        candidate: Candidate,
        attributes: Mapping[str, Any],
        state: TrialState = TrialState.RUNNING,
    ) -> int:
        """Enter a candidate as a trial, all of it in one write; returns its number."""
        template = create_trial(
            state=state,
            params=space.optuna_parameters(candidate),
            distributions=dict(space.distributions),
            user_attrs=dict(attributes),
        )
        trial_id = self._storage.create_new_trial(self._id, template_trial=template)
        return self._storage.get_trial_number_from_id(trial_id)

    def take_over(self, number: int) -> int:
        """Enter a running trial with the epochs and facts of a finished one; returns its number."""
        old = self.trial(number)
        ended = {"reason", "state", "pruned_at", "bound"}
        facts = {key: value for key, value in old.user_attrs.items() if key not in ended}
        facts |= {
            "state": "running",
            "continues": number,
            "inherited": len(old.intermediate_values),
        }
        template = create_trial(
            state=TrialState.RUNNING,
            params=old.params,
            distributions=old.distributions,
            user_attrs=facts,
            intermediate_values=old.intermediate_values,
        )
        trial_id = self._storage.create_new_trial(self._id, template_trial=template)
        return self._storage.get_trial_number_from_id(trial_id)

    def record(self, number: int, epoch: Epoch) -> None:
        """Enter one epoch: all of it in the curve, then its reported metric as intermediate value.

        The second write makes it count: an epoch without it is not there (see ``curve_of``).
        """
        curve = [e for e in self.curve(number) if e.epoch != epoch.epoch]
        curve = sorted([*curve, epoch], key=lambda e: e.epoch)
        trial_id = self._trial_id(number)
        self._storage.set_trial_user_attr(
            trial_id, "curve", [dataclasses.asdict(entry) for entry in curve]
        )
        value = getattr(epoch, self.reported)
        self._storage.set_trial_intermediate_value(trial_id, epoch.epoch, value)

    def curve(self, number: int) -> list[Epoch]:
        """The epochs entered so far."""
        return curve_of(self.trial(number))

    def set(self, number: int, key: str, value: Any) -> None:
        """Keep a JSON-able fact of a running trial."""
        self._storage.set_trial_user_attr(self._trial_id(number), key, value)

    def finish(
        self, number: int, state: TrialState, reason: str, values: list[float] | None = None
    ) -> None:
        """End a trial for good: its reason first, so that no state stands without one."""
        trial_id = self._trial_id(number)
        self._storage.set_trial_user_attr(trial_id, "reason", reason)
        self._storage.set_trial_state_values(trial_id, state, values)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def curve_of(trial: FrozenTrial) -> list[Epoch]:
    """The epochs entered for a trial, in their order."""
    entries = (Epoch(**entry) for entry in trial.user_attrs.get("curve", []))
    return [entry for entry in entries if entry.epoch in trial.intermediate_values]


def now() -> str:
    """This moment, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
