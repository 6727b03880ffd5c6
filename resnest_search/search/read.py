"""From the study to the plain records that a person is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from resnest_search.metrics import COSTS, METRICS
from resnest_search.record import COMPLETE, INFEASIBLE, RUNNING, Sweep, TrialRecord
from resnest_search.search.pareto import knee, non_dominated
from resnest_search.search.study import SweepStudy, curve_of

__all__ = ["read_sweep"]

_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: RUNNING,
}


def read_sweep(study: SweepStudy, folder: Path) -> Sweep:
    """The sweep as the study has it now, with its front and knee."""
    notes = study.notes
    trials = [_trial(trial) for trial in study.trials()]
    members, middle = _front(trials, study.objectives)
    trials = [dataclasses.replace(trial, on_front=trial.number in members) for trial in trials]
    ruled_out = [_ruled_out(entry) for entry in notes.get("infeasible", [])]
    epochs = int(notes.get("config", {}).get("search", {}).get("epochs", 0))
    bound = notes.get("config", {}).get("search", {}).get("budget")
    return Sweep(
        name=notes.get("name", ""),
        question=notes.get("question", ""),
        folder=str(folder),
        config=notes.get("config", {}),
        objectives=study.objectives,
        trials=(*trials, *ruled_out),
        knee=middle,
        rungs=tuple(notes.get("rungs", ())),
        budget=bound or epochs * int(notes.get("most_trials", 0)),
        started=notes.get("started", ""),
        seconds=float(notes.get("seconds", 0.0)),
        finished=bool(notes.get("finished", False)),
        command=notes.get("command", ""),
        versions=notes.get("versions", {}),
        warnings=tuple(notes.get("warnings", ())),
    )


def _trial(trial: FrozenTrial) -> TrialRecord:
    facts = trial.user_attrs
    curve = tuple(curve_of(trial))
    return TrialRecord(
        number=trial.number,
        candidate=facts["candidate"],
        variant=facts["variant"],
        parameters=facts["parameters"],
        state=_STATES[trial.state],
        reason=facts.get("reason", "") if trial.state.is_finished() else "",
        curve=curve,
        validation_images=curve[-1].images if curve else 0,
        costs={name: facts[name] for name in COSTS if name in facts},
        pruned_at=facts.get("pruned_at") if trial.state == TrialState.PRUNED else None,
        seed=facts["seed"],
        device=facts["device"],
        mode=facts["mode"],
        versions=facts.get("versions", {}),
        seconds=sum(entry.seconds for entry in curve),
        inherited=int(facts.get("inherited", 0)),
    )


def _ruled_out(entry: dict[str, Any]) -> TrialRecord:
    return TrialRecord(number=-1, state=INFEASIBLE, **entry)


def _front(trials: Sequence[TrialRecord], objectives: Sequence[str]) -> tuple[set[int], int | None]:
    """Numbers of the non-dominated complete trials, and of the one at the knee."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    if not complete:
        return set(), None
    points = np.array([[_less_is_better(t, name) for name in objectives] for t in complete])
    on_front = np.flatnonzero(non_dominated(points))
    middle = complete[on_front[knee(points[on_front])]].number
    return {complete[i].number for i in on_front}, middle


def _less_is_better(trial: TrialRecord, name: str) -> float:
    value = trial.metric(name)
    if value is None:
        return float("nan")
    return -value if METRICS[name].maximize else value
