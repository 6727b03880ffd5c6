"""The Optuna study of a sweep: its only state, and the only place that reads or writes it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnest_search.errors import UserError
from resnest_search.metrics import TRAINED, metric_of
from resnest_search.redact import without_password
from resnest_search.space import Candidate, Space
from resnest_search.study.record import Epoch
from resnest_search.study.storage import (
    amend,
    connect,
    let_go,
    recorded_place,
    write_ahead,
)

__all__ = [
    "SweepStudy",
    "curve_of",
    "decision_on",
    "directions_of",
    "last_event",
    "paused_because",
    "reported_of",
]

_NAME = "sweep"
# What Optuna and optuna-dashboard know of a trial's constraints: a list, of which anything above 0
# makes it infeasible and leaves it out of `best_trials`. `Trial.set_constraint` has another form,
# which optuna-dashboard 0.21 does not read.
_CONSTRAINTS = "constraints"
_ANOTHER_SEED = 1.0  # the last of the list: a further seed of a candidate is none of its own
optuna.logging.set_verbosity(optuna.logging.WARNING)
# Names of metrics are how a pruner knows its objectives; they have been "experimental" since 3.2.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def directions_of(objectives: Iterable[str]) -> list[StudyDirection]:
    """Optuna's direction of each objective, from the table of metrics."""
    ways = {True: StudyDirection.MAXIMIZE, False: StudyDirection.MINIMIZE}
    return [ways[metric_of(name).maximize] for name in objectives]


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
    def create(cls, url: str | None, objectives: list[str], name: str = _NAME) -> SweepStudy:
        """A new study at a storage URL, in memory where that is None.

        Raises:
            UserError: there is one already.
        """
        storage = connect(url)
        try:
            study = optuna.create_study(
                study_name=name, storage=storage, directions=directions_of(objectives)
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise UserError(
                f"run: {without_password(url or '')} holds a sweep already; carry it on with resume"
            ) from None
        study.set_metric_names(objectives)
        return cls(storage, study)

    @classmethod
    def open(cls, folder: Path, url: str | None = None) -> SweepStudy:
        """The study of a run's folder.

        Args:
            folder: of the run.
            url: of its database now, where that is not what the folder has on record.

        Raises:
            UserError: the folder is none of a run, or its database cannot be used.
        """
        place = recorded_place(folder, url)
        try:
            storage = connect(place.url)
            return cls(storage, optuna.load_study(study_name=place.study, storage=storage))
        except UserError:
            raise
        except Exception as error:  # whatever SQLAlchemy or Optuna make of a foreign file
            raise place.refused(error) from error

    def close(self) -> None:
        """Let go of the database."""
        let_go(self._storage)

    @contextmanager
    def written_ahead(self) -> Iterator[None]:
        """Let a file of its own be written faster, by the one machine that uses it meanwhile."""
        own = self.optuna.study_name == _NAME
        with write_ahead(self._storage) if own else nullcontext():
            yield

    # The sweep itself

    def note(self, key: str, value: Any) -> None:
        """Keep a JSON-able fact of the whole sweep."""
        self.optuna.set_user_attr(key, value)

    @property
    def notes(self) -> dict[str, Any]:
        """The facts of the whole sweep; not to be changed."""
        return self._storage.get_study_user_attrs(self._id)  # Optuna's own copies all of them

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
        steps: Mapping[int, float] | None = None,
        values: list[float] | None = None,
    ) -> int:
        """Enter a candidate as a trial, all of it in one write; returns its number."""
        parameters = space.optuna_parameters(candidate)
        template = create_trial(
            state=state,
            values=values,
            intermediate_values=dict(steps or {}),
            params=parameters,
            distributions={name: space.distributions[name] for name in parameters},
            user_attrs=dict(attributes),
            system_attrs=self._constraints(attributes),
        )
        trial_id = self._storage.create_new_trial(self._id, template_trial=template)
        return self._storage.get_trial_number_from_id(trial_id)

    def take_over(self, number: int, at: float) -> int:
        """Enter a running trial with the epochs and facts of a finished one; returns its number."""
        old = self.trial(number)
        ended = {"reason", "state", "pruned_at", "bound", "paused"}
        facts = {key: value for key, value in old.user_attrs.items() if key not in ended}
        done = max(old.intermediate_values, default=0)
        facts |= {
            "state": "running",
            "continues": number,
            "inherited": len(old.intermediate_values),
            "segments": [{"at": at, "from": done}],
        }
        template = create_trial(
            state=TrialState.RUNNING,
            params=old.params,
            distributions=old.distributions,
            user_attrs=facts,
            system_attrs=self._constraints(facts),
            intermediate_values=old.intermediate_values,
        )
        trial_id = self._storage.create_new_trial(self._id, template_trial=template)
        return self._storage.get_trial_number_from_id(trial_id)

    def record(self, number: int, epoch: Epoch, decision: Mapping[str, Any] | None = None) -> None:
        """Enter one epoch with what was decided on it, then its reported metric.

        The second write makes it count: an epoch without an intermediate value is not there
        (see ``curve_of``), nor is its decision.
        """
        trial = self.trial(number)
        entry = dataclasses.asdict(epoch) | ({"decision": dict(decision)} if decision else {})
        known = [e for e in trial.user_attrs.get("curve", ()) if e["epoch"] != epoch.epoch]
        curve = sorted([*known, entry], key=lambda e: int(e["epoch"]))
        trial_id = self._trial_id(number)
        self._storage.set_trial_user_attr(trial_id, "curve", curve)
        value = getattr(epoch, self.reported)
        self._storage.set_trial_intermediate_value(trial_id, epoch.epoch, value)

    def pause(self, number: int, at: float, reason: str) -> None:
        """Let a running trial wait, its checkpoint kept, until it goes on."""
        segments = self.trial(number).user_attrs["segments"]
        self.set(number, "paused", {"segment": len(segments), "at": at, "reason": reason})

    def go_on(self, number: int, at: float) -> None:
        """Let a paused trial train again."""
        trial = self.trial(number)
        done = max(trial.intermediate_values, default=0)
        self.set(number, "segments", [*trial.user_attrs["segments"], {"at": at, "from": done}])

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

    def restate(self, number: int, values: list[float]) -> None:
        """Give a complete trial the values of its candidate, such as means over several seeds.

        Its own results stay in its curve. Without effect where it has these values.
        """
        if self.trial(number).values != values:
            amend(self._storage, self._trial_id(number), values, {})

    def set_aside(self, number: int) -> None:
        """Let Optuna take a complete trial for no candidate of its own, once."""
        known = self.trial(number).system_attrs.get(_CONSTRAINTS, [])
        if not any(value > 0 for value in known):
            marked = {_CONSTRAINTS: [*known, _ANOTHER_SEED]}
            amend(self._storage, self._trial_id(number), None, marked)

    def _constraints(self, facts: Mapping[str, Any]) -> dict[str, list[float]]:
        """By how much a trial with these facts is beyond each limit of the search, then its mark.

        In the units of the costs; 0 or less holds the limit. Nothing where there is none.
        """
        limits = self.notes.get("config", {}).get("search", {}).get("limits", {})
        found = [
            metric_of(name).sign * (facts[name] - bound)
            for name, bound in limits.items()
            if bound is not None and name in facts
        ]
        found += [_ANOTHER_SEED] if "repeat" in facts else []
        return {_CONSTRAINTS: found} if found else {}

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def curve_of(trial: FrozenTrial) -> list[Epoch]:
    """The epochs entered for a trial, in their order."""
    return [
        Epoch(**{key: value for key, value in entry.items() if key != "decision"})
        for entry in trial.user_attrs.get("curve", ())
        if entry["epoch"] in trial.intermediate_values
    ]


def decision_on(trial: FrozenTrial, epoch: int) -> dict[str, Any] | None:
    """What was decided when this epoch was entered: ``kept``, ``reason``; None for nothing."""
    for entry in trial.user_attrs.get("curve", ()):
        if entry["epoch"] == epoch and epoch in trial.intermediate_values:
            decision: dict[str, Any] | None = entry.get("decision")
            return decision
    return None


def paused_because(trial: FrozenTrial) -> str:
    """Why a running trial waits; empty where it trains, or is over."""
    paused = trial.user_attrs.get("paused")
    if trial.state != TrialState.RUNNING or not paused:
        return ""
    current = paused["segment"] == len(trial.user_attrs["segments"])
    return str(paused["reason"]) if current else ""


def last_event(trial: FrozenTrial) -> float:
    """When the study last heard of a trial: seconds since the sweep began, 0 where it has not."""
    facts = trial.user_attrs
    times = [segment["at"] for segment in facts.get("segments", ())]
    times += [epoch.at for epoch in curve_of(trial) if epoch.at is not None]
    if "diverged" in facts:
        times.append(facts["diverged"]["at"])
    return max(times, default=0.0)
