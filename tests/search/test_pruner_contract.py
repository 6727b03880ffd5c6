"""What every pruner keeps to, whatever it decides by. To add a pruner, add a line to PRUNERS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnest_search.configuration.schema import MethodConfig
from resnest_search.metrics import METRICS
from resnest_search.search.pruners import PausingPruner, build_pruner

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:optuna"),  # Wilcoxon's on NaN
    pytest.mark.filterwarnings("ignore::RuntimeWarning:numpy"),  # the median's on NaN
]
EPOCHS = 9
THREE = ("accuracy", "latency_ms", "memory_mib")
ALONE = ("accuracy",)
DOCUMENTED = ("completed_rung_", "single_objective:")  # what pruners keep in system attributes

Make = Callable[[str], PausingPruner]  # from the reported objective


def made(name: str, **args: Any) -> Make:
    """The pruner of this name as a sweep of three objectives makes it."""

    def make(reported: str) -> PausingPruner:
        objectives = (reported, *THREE[1:])
        config = MethodConfig(name, args)
        return build_pruner(config, objectives=objectives, reported=reported, epochs=EPOCHS)

    return make


def threshold(reported: str) -> PausingPruner:
    """It knows no direction, so that its bound has to be turned round by hand."""
    bound = {"lower": 0.3} if METRICS[reported].maximize else {"upper": -0.3}
    return made("ThresholdPruner", **bound)(reported)


PRUNERS: dict[str, Make] = {
    "none": made("none"),
    "pareto_halving": made("pareto_halving", first_rung=1, reduction_factor=2),
    "spare_front": made("pareto_halving", first_rung=1, reduction_factor=3, spare_front=True),
    "front_probability": made("front_probability", startup=3, evidence=0.0),
    "nop": made("NopPruner"),
    "median": made("MedianPruner", n_startup_trials=2),
    "percentile": made("PercentilePruner", percentile=25.0, n_startup_trials=1),
    "successive_halving": made("SuccessiveHalvingPruner", reduction_factor=2),
    "hyperband": made("HyperbandPruner", reduction_factor=2),
    "patient": made("PatientPruner", wrapped_pruner=None, patience=1),
    "patient_median": made(
        "PatientPruner", patience=0, wrapped_pruner={"name": "MedianPruner", "args": {}}
    ),
    "threshold": threshold,
    "wilcoxon": made("WilcoxonPruner", p_threshold=0.4),
}
BY_NUMBER = {"hyperband"}  # it draws a trial's bracket from its number
every = pytest.mark.parametrize("name", PRUNERS)
few = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Row:
    """A trial to come: what it will report, what it costs, and how it ends unless stopped."""

    curve: Mapping[int, float]
    costs: Mapping[str, float] = field(default_factory=dict)
    ends: TrialState = TrialState.COMPLETE
    x: float = 0.5


@dataclass(frozen=True)
class Answer:
    """What a pruner said of the trial of a row at an epoch."""

    row: int
    epoch: int
    pruned: bool


def rows_of(seed: int, count: int = 10) -> list[Row]:
    """Trials whose curves rise to heights that the costs tell something of, and cross."""
    draw = Random(seed)
    found = []
    for _ in range(count):
        x = draw.random()
        height, rate = 0.4 + 0.4 * x + draw.gauss(0, 0.1), draw.uniform(0.2, 1.0)
        curve = {e: height * (1 - math.exp(-rate * e)) for e in range(1, EPOCHS + 1)}
        costs = {"latency_ms": 1 + x + draw.random() / 2, "memory_mib": 5 + 3 * draw.random()}
        ends = draw.choice([TrialState.COMPLETE] * 3 + [TrialState.PRUNED])
        found.append(Row(curve, costs, ends, x))
    return found


def template(
    row: Row, state: TrialState = TrialState.RUNNING, objectives: Sequence[str] = THREE
) -> FrozenTrial:
    """A trial with all of a row's reports."""
    values = [row.curve[max(row.curve)]] if row.curve else []
    values += [row.costs[name] for name in objectives[1:] if name in row.costs]
    return create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params={"x": row.x},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=dict(row.curve),
        user_attrs=dict(row.costs),
    )


class Study:
    """A study that rows enter, and a pruner that is asked after each epoch."""

    def __init__(
        self, make: Make, objectives: Sequence[str] = THREE, storage: str | None = None
    ) -> None:
        ways = ["maximize" if METRICS[name].maximize else "minimize" for name in objectives]
        self.optuna = optuna.create_study(study_name="s", directions=ways, storage=storage)
        self.optuna.set_metric_names(list(objectives))
        self.objectives = tuple(objectives)
        self.reported = objectives[0]
        self.make = make
        self.pruner = make(self.reported)
        self._storage = self.optuna._storage

    def add(self, row: Row, state: TrialState = TrialState.RUNNING) -> FrozenTrial:
        """A trial with all of a row's reports, unasked."""
        self.optuna.add_trial(template(row, state, self.objectives))
        return self.optuna.get_trials(deepcopy=False)[-1]

    def train(self, rows: Iterable[Row], fresh: bool = False, twice: bool = False) -> list[Answer]:
        """One row after the other, until it is stopped or ends; all answers."""
        answers = []
        for index, row in enumerate(rows):
            trial = self.add(replace(row, curve={}))
            for epoch, value in row.curve.items():
                self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
                answers.append(Answer(index, epoch, self.ask(trial.number, fresh, twice)))
                if answers[-1].pruned:
                    break
            else:
                costs = [row.costs[name] for name in self.objectives[1:]]
                done = [value, *costs] if row.ends == TrialState.COMPLETE else None
                self._storage.set_trial_state_values(trial._trial_id, row.ends, done)
        return answers

    def ask(self, number: int, fresh: bool = False, twice: bool = False) -> bool:
        """Whether a trial is pruned where it stands."""
        pruner = self.make(self.reported) if fresh else self.pruner
        pruned = pruner.prune(self.optuna, self.optuna.get_trials()[number])
        if twice:
            assert pruner.prune(self.optuna, self.optuna.get_trials()[number]) == pruned
        return pruned


def mirrored(row: Row) -> Row:
    """The same with a loss in the accuracy's place."""
    return replace(row, curve={epoch: -value for epoch, value in row.curve.items()})


# Pure functions of the study


@every
@pytest.mark.parametrize("objectives", [THREE, ALONE], ids=["three", "one"])
@pytest.mark.parametrize("seed", [0, 1])
def test_neither_a_second_question_nor_a_new_pruner_changes_an_answer(
    name: str, objectives: Sequence[str], seed: int
) -> None:
    rows = [replace(row, costs={k: row.costs[k] for k in objectives[1:]}) for row in rows_of(seed)]
    answers = Study(PRUNERS[name], objectives).train(rows)
    assert Study(PRUNERS[name], objectives).train(rows, twice=True) == answers
    assert Study(PRUNERS[name], objectives).train(rows, fresh=True) == answers


@every
def test_a_database_makes_no_difference(name: str, tmp_path: Path) -> None:
    rows = rows_of(2, 5)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert Study(PRUNERS[name], storage=url).train(rows) == Study(PRUNERS[name]).train(rows)


@every
def test_only_documented_system_attributes_change(name: str) -> None:
    study = Study(PRUNERS[name])
    study.train(rows_of(3))
    study.add(rows_of(4)[0])
    before = [_facts(trial) for trial in study.optuna.get_trials()]
    for trial in study.optuna.get_trials():
        study.ask(trial.number)
    running = [t for t in study.optuna.get_trials() if t.state == TrialState.RUNNING]
    study.pruner.promotable(study.optuna, running)
    assert [_facts(trial) for trial in study.optuna.get_trials()] == before
    assert study.optuna.user_attrs == {}
    for trial in study.optuna.get_trials():
        assert all(key.startswith(DOCUMENTED) for key in trial.system_attrs)


def _facts(trial: FrozenTrial) -> str:
    return repr((trial.state, trial.values, trial.intermediate_values, trial.user_attrs))


@every
def test_pruned_is_what_is_not_kept_and_has_a_reason(name: str) -> None:
    study = Study(PRUNERS[name])
    study.train(rows_of(5))
    for trial in study.optuna.get_trials():
        decision = study.pruner.explain(study.optuna, trial)
        assert study.ask(trial.number) == (decision is not None and not decision.kept)
        if decision is not None:
            assert decision.reason.strip()
            assert "\n" not in decision.reason


@every
def test_what_may_go_on_is_among_what_is_paused_and_repeats_itself(name: str) -> None:
    study = Study(PRUNERS[name])
    study.train(rows_of(6, 14))
    paused = [t for t in study.optuna.get_trials() if t.state == TrialState.RUNNING]
    found = study.pruner.promotable(study.optuna, paused)
    assert len(set(found)) == len(found)
    assert set(found) <= {trial.number for trial in paused}
    assert study.make(study.reported).promotable(study.optuna, paused[::-1]) == found
    assert study.pruner.promotable(study.optuna, []) == []


# What counts, and what does not


@every
@pytest.mark.parametrize("seed", [0, 1])
def test_mirrored_objectives_have_mirrored_decisions(name: str, seed: int) -> None:
    rows = rows_of(seed)
    answers = Study(PRUNERS[name]).train(rows)
    turned = Study(PRUNERS[name], ("loss", *THREE[1:])).train([mirrored(row) for row in rows])
    assert turned == answers


@every
def test_failed_trials_do_not_count(name: str) -> None:
    rows = rows_of(7)
    plain, troubled = Study(PRUNERS[name]), Study(PRUNERS[name])
    if name in BY_NUMBER:
        pytest.skip("a failed trial takes a number")
    for row in rows_of(8, 5):
        better = {epoch: value + 0.3 for epoch, value in row.curve.items()}
        failed = troubled.add(replace(row, curve=better))
        troubled.ask(failed.number)
        troubled._storage.set_trial_state_values(failed._trial_id, TrialState.FAIL)
    assert troubled.train(rows) == plain.train(rows)


@every
def test_the_order_of_those_before_does_not_matter(name: str) -> None:
    if name in BY_NUMBER:
        pytest.skip("another order, other numbers")
    rivals, last = rows_of(9, 8), rows_of(10, 1)
    found = []
    for _ in range(2):
        study = Study(PRUNERS[name])
        for row in rivals:
            study.add(row, row.ends)
        found.append(study.train(last))
        rivals = rivals[::-1]
    assert found[0] == found[1]


@every
def test_the_first_of_all_goes_on(name: str) -> None:
    for seed in range(5):
        answers = Study(PRUNERS[name]).train(rows_of(seed, 1))
        reports = {answer.epoch for answer in answers}
        risen = rows_of(seed, 1)[0].curve[1] >= 0.3  # what a threshold asks of anybody
        if name != "threshold" or risen:
            assert reports == set(range(1, EPOCHS + 1))
            assert not any(answer.pruned for answer in answers)


@every
def test_of_identical_trials_some_go_on(name: str) -> None:
    study = Study(PRUNERS[name])
    [row] = [
        replace(row, curve={e: v + 0.3 for e, v in row.curve.items()}) for row in rows_of(1, 1)
    ]
    answers = study.train([row] * 9)
    assert {a.row for a in answers if a.epoch == EPOCHS}, "none was trained to its end"


# Odd trials

REPORTS = st.sampled_from([0.1, 0.4, 0.5, 0.6, math.nan, math.inf, -math.inf])
ODD = st.lists(
    st.builds(
        Row,
        curve=st.dictionaries(st.integers(1, EPOCHS), REPORTS, max_size=4).map(
            lambda curve: dict(sorted(curve.items()))
        ),
        costs=st.one_of(
            st.just({}),
            st.fixed_dictionaries({"latency_ms": REPORTS, "memory_mib": st.just(1.0)}),
        ),
        ends=st.sampled_from([TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL]),
    ),
    max_size=5,
)


@every
@few
@given(odd=ODD, seed=st.integers(0, 9))
def test_nothing_that_a_trial_lacks_or_reports_is_too_much(
    name: str, odd: list[Row], seed: int
) -> None:
    """No report, epochs left out, no cost, NaN, infinities: answers, and the same ones again."""
    study = Study(PRUNERS[name])
    for row in rows_of(seed, 4):
        study.add(row, TrialState.COMPLETE)
    for row in odd:
        study.add(row, row.ends)
    running = [t for t in study.optuna.get_trials() if t.state == TrialState.RUNNING]
    for trial in running:
        pruned = study.ask(trial.number)
        assert study.ask(trial.number) == study.ask(trial.number, fresh=True) == pruned
        assert not (pruned and not trial.intermediate_values)
    study.pruner.promotable(study.optuna, [t for t in running if t.intermediate_values])


@every
def test_a_trial_that_nobody_has_entered_is_judged_all_the_same(name: str) -> None:
    study = Study(PRUNERS[name])
    study.train(rows_of(11, 6))
    stranger = template(rows_of(12, 1)[0])
    stranger.intermediate_values = {1: 0.5}
    before = repr(study.optuna.get_trials())
    study.pruner.prune(study.optuna, stranger)
    assert repr(study.optuna.get_trials()) == before
