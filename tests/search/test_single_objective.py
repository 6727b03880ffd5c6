"""Optuna's pruners on one objective of three decide as they do in a study of that one alone."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import optuna
import pytest
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.trial import TrialState, create_trial

from resnest_search.configuration.schema import MethodConfig
from resnest_search.search.pruners import SingleObjectivePruner, build_pruner
from resnest_search.search.pruners.plain import report, should_prune

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:optuna"),  # Wilcoxon's on NaN
    pytest.mark.filterwarnings("ignore:All-NaN slice"),
]
EPOCHS = 8
NAMES = ["latency_ms", "accuracy", "memory_mib"]  # the followed one is not the first
Curve = list[float]

STOCK: dict[str, Callable[[], BasePruner]] = {
    "nop": NopPruner,
    "median": lambda: MedianPruner(n_startup_trials=2, n_warmup_steps=1),
    "percentile": lambda: PercentilePruner(25.0, n_startup_trials=1, interval_steps=2),
    "successive_halving": lambda: SuccessiveHalvingPruner(reduction_factor=2),
    "successive_halving_from_2": lambda: SuccessiveHalvingPruner(2, 2, bootstrap_count=1),
    "hyperband": lambda: HyperbandPruner(1, EPOCHS, 2),
    "hyperband_auto": HyperbandPruner,
    "patient": lambda: PatientPruner(None, patience=1),
    "patient_median": lambda: PatientPruner(MedianPruner(n_startup_trials=1), patience=0),
    "threshold": lambda: ThresholdPruner(lower=0.2, n_warmup_steps=2),
    "wilcoxon": lambda: WilcoxonPruner(p_threshold=0.3),
}
every = pytest.mark.parametrize("name", STOCK)


def curves(seed: int, count: int = 24) -> list[Curve]:
    draw = Random(seed)
    heights = [(draw.uniform(0.2, 1.0), draw.uniform(0.1, 1.0)) for _ in range(count)]
    found = [
        [height * (1 - math.exp(-rate * e)) + draw.gauss(0, 0.03) for e in range(1, EPOCHS + 1)]
        for height, rate in heights
    ]
    found[count // 2][3] = math.nan
    return found


def alone(pruner: BasePruner, rows: list[Curve], direction: str) -> list[tuple[int, int]]:
    """Where Optuna itself prunes: (trial, epoch)."""
    study = optuna.create_study(study_name="s", direction=direction, pruner=pruner)
    found = []
    for row in rows:
        trial = study.ask()
        for epoch, value in enumerate(row, start=1):
            trial.report(value, epoch)
            if trial.should_prune():
                found.append((trial.number, epoch))
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, row[-1])
    return found


def among_three(pruner: BasePruner, rows: list[Curve], direction: str) -> list[tuple[int, int]]:
    """Where the wrapped pruner prunes, beside two costs that say the opposite."""
    ways = ["maximize" if direction == "minimize" else "minimize"] * 3
    ways[NAMES.index("accuracy")] = direction
    study = optuna.create_study(study_name="s", directions=ways)
    study.set_metric_names(NAMES)
    wrapped = SingleObjectivePruner(pruner)
    found = []
    for row in rows:
        trial = study.ask()
        for epoch, value in enumerate(row, start=1):
            report(trial, value, epoch)
            if should_prune(wrapped, study, trial):
                found.append((trial.number, epoch))
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, [-row[-1], row[-1], -row[-1]])
    return found


@every
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_prunes_where_optuna_would(name: str, direction: str) -> None:
    total = 0
    for seed in range(3):
        expected = alone(STOCK[name](), curves(seed), direction)
        assert among_three(STOCK[name](), curves(seed), direction) == expected
        total += len(expected)
    assert (total == 0) == (name == "nop")


@every
def test_a_study_of_one_objective_needs_no_names(name: str) -> None:
    rows = curves(5, 10)
    study = optuna.create_study(study_name="s", direction="maximize")
    wrapped = SingleObjectivePruner(STOCK[name]())
    found = []
    for row in rows:
        trial = study.ask()
        for epoch, value in enumerate(row, start=1):
            report(trial, value, epoch)
            if should_prune(wrapped, study, trial):
                found.append((trial.number, epoch))
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, row[-1])
    assert found == alone(STOCK[name](), rows, "maximize")


# What stands in the study


def three() -> optuna.Study:
    study = optuna.create_study(directions=["minimize", "maximize", "minimize"])
    study.set_metric_names(NAMES)
    return study


def enter(study: optuna.Study, *values: float, state: TrialState = TrialState.RUNNING) -> Any:
    complete = state == TrialState.COMPLETE
    study.add_trial(
        create_trial(
            state=state,
            values=[1.0, values[-1], 1.0] if complete else None,
            intermediate_values=dict(enumerate(values, start=1)),
        )
    )
    return study.get_trials()[-1]


def test_what_was_answered_stands_whoever_comes_later() -> None:
    study = three()
    wrapped = SingleObjectivePruner(SuccessiveHalvingPruner(1, 2))
    first = enter(study, 0.1)
    assert not wrapped.prune(study, first)
    assert wrapped.prune(study, enter(study, 0.05))
    again = SingleObjectivePruner(SuccessiveHalvingPruner(1, 2))
    for pruner in (wrapped, again):
        assert [pruner.prune(study, trial) for trial in study.get_trials()] == [False, True]
    assert not again.prune(study, first)  # as it was before it had been asked about
    attributes = study.get_trials()[1].system_attrs
    kept = {"completed_rung_0": 0.05}
    answer = {"1": {"refused": True, "kept": kept}}
    assert attributes == {**kept, "single_objective:pruned": answer}


def test_a_trial_that_is_over_stays_as_it_was() -> None:
    study = three()
    enter(study, 0.9, 0.9, state=TrialState.COMPLETE)
    ended = enter(study, 0.1, state=TrialState.PRUNED)
    SingleObjectivePruner(SuccessiveHalvingPruner(1, 2)).prune(study, ended)
    assert study.get_trials()[1].system_attrs == {}


def test_a_trial_that_changes_is_seen_as_it_is_now() -> None:
    study = three()
    wrapped = SingleObjectivePruner(MedianPruner(n_startup_trials=1))
    rival = enter(study, 0.9)
    trial = enter(study, 0.5)
    assert not wrapped.prune(study, trial)
    study._storage.set_trial_state_values(rival._trial_id, TrialState.COMPLETE, [1.0, 0.9, 1.0])
    assert wrapped.prune(study, trial)


def test_it_says_why_and_promotes_nobody() -> None:
    study = three()
    enter(study, 0.9, state=TrialState.COMPLETE)
    trial = enter(study, 0.5)
    wrapped = SingleObjectivePruner(MedianPruner(n_startup_trials=1))
    verdict = wrapped.explain(study, trial)
    assert verdict is not None
    assert (verdict.kept, verdict.reason) == (False, "MedianPruner on accuracy: 0.5 at epoch 1")
    assert wrapped.explain(study, enter(study, 0.95)) is None
    assert wrapped.promotable(study, [trial]) == []


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_decides_alike(copied: Any) -> None:
    study = three()
    enter(study, 0.9, state=TrialState.COMPLETE)
    wrapped = SingleObjectivePruner(MedianPruner(n_startup_trials=1))
    assert wrapped.prune(study, enter(study, 0.5))
    assert copied(wrapped).prune(study, study.get_trials()[1])


class Watched:
    """Something in a trial that counts how often it is copied."""

    def __init__(self) -> None:
        self.copies = 0

    def __deepcopy__(self, memo: object) -> Watched:
        self.copies += 1
        return self


def test_a_decision_copies_no_other_trial() -> None:
    study, watched = three(), Watched()
    study.add_trials(
        create_trial(
            state=TrialState.COMPLETE,
            values=[1.0, 0.5, 1.0],
            intermediate_values={1: 0.5},
            user_attrs={"watched": watched},
        )
        for _ in range(30)
    )
    wrapped = SingleObjectivePruner(MedianPruner())
    entered = [enter(study, 0.1) for _ in range(2)]
    before = watched.copies
    assert before >= 30  # they were entered as copies: copying is counted
    for trial in entered:
        assert wrapped.prune(study, trial)
    assert watched.copies == before


# What it refuses


def test_the_objective_must_be_the_reported_one() -> None:
    with pytest.raises(ValueError, match="objective=latency_ms: trials report accuracy"):
        SingleObjectivePruner(NopPruner(), "latency_ms", reported="accuracy")


def test_the_study_must_know_the_objective() -> None:
    study = three()
    with pytest.raises(ValueError, match="objective=loss: the study has none"):
        SingleObjectivePruner(NopPruner(), "loss").prune(study, enter(study, 0.5))
    nameless = optuna.create_study(directions=["minimize"] * 3)
    with pytest.raises(ValueError, match="have no names"):
        SingleObjectivePruner(NopPruner()).prune(nameless, enter(nameless, 0.5))


# The factory


def build(name: str, **args: Any) -> Any:
    return build_pruner(
        MethodConfig(name, args), objectives=NAMES, reported="accuracy", epochs=EPOCHS
    )


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("NopPruner", {}),
        ("MedianPruner", {"n_startup_trials": 2}),
        ("PercentilePruner", {"percentile": 25.0, "objective": "accuracy"}),
        ("SuccessiveHalvingPruner", {}),
        ("SuccessiveHalvingPruner", {"bootstrap_count": 2}),
        ("HyperbandPruner", {"reduction_factor": 2}),
        ("ThresholdPruner", {"lower": 0.1}),
        ("WilcoxonPruner", {}),
        ("PatientPruner", {"wrapped_pruner": None, "patience": 2}),
        ("PatientPruner", {"patience": 2, "wrapped_pruner": {"name": "NopPruner"}}),
    ],
)
def test_each_of_optunas_serves_a_sweep_of_three_objectives(
    name: str, args: dict[str, Any]
) -> None:
    pruner = build(name, **args)
    assert isinstance(pruner, SingleObjectivePruner)
    study = three()
    for _ in range(3):
        enter(study, *[0.9] * EPOCHS, state=TrialState.COMPLETE)
    pruner.prune(study, enter(study, 0.5, 0.4))


def test_lengths_are_told_so_that_no_trial_decides_them() -> None:
    """Both would wait for the first complete trial, and prune nothing until then."""
    for name in ("SuccessiveHalvingPruner", "HyperbandPruner"):
        study, pruner = three(), build(name)
        pruned = [pruner.prune(study, enter(study, 1.0 - number / 100)) for number in range(60)]
        assert any(pruned), name
