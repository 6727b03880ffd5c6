"""The strategy: whole sweeps over synthetic curves, with several workers, bounds and kills."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.engine import Engine
from synthetic import (
    OBJECTIVES,
    SIX,
    SMALL,
    Curve,
    Workers,
    costs_of,
    diverges_at,
    everything,
    learns,
    make_config,
    make_costings,
    make_space,
    make_strategy,
)

from resnest_search.configuration.schema import MethodConfig, SearchConfig
from resnest_search.report.reading import state_text
from resnest_search.search import Strategy
from resnest_search.space import Candidate, Space
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy, paused_because

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
some = settings(max_examples=50, deadline=None)
NO_PRUNER = MethodConfig("none")
several = pytest.mark.parametrize("workers", [1, 2, 4])


def by_variant(study: SweepStudy) -> dict[str, Any]:
    return {trial.user_attrs["variant"]: trial for trial in study.trials()}


def without_times(curve: list[Epoch]) -> list[Epoch]:
    return [dataclasses.replace(epoch, at=None) for epoch in curve]


def front_of(study: SweepStudy, folder: Path) -> list[tuple[int, float | None]]:
    return [(trial.number, trial.accuracy) for trial in read_sweep(study, folder).front]


def rungs_of(trial: Any) -> dict[int, dict[str, Any]]:
    """What was decided on a trial, by epoch."""
    curve = trial.user_attrs.get("curve", ())
    return {entry["epoch"]: entry["decision"] for entry in curve if "decision" in entry}


def epochs_recorded(study: SweepStudy) -> int:
    return sum(len(trial.intermediate_values) for trial in study.trials())


# What a whole sweep leaves behind


@several
def test_every_trial_ends_and_no_pruned_one_is_complete(workers: int) -> None:
    strategy = make_strategy()
    Workers(strategy, count=workers).run()
    trials = strategy.study.trials()
    assert strategy.finished
    assert strategy.live == 0
    assert strategy.next() is None
    assert sorted(by_variant(strategy.study)) == sorted(SIX)
    states = {trial.state for trial in trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        full = len(trial.intermediate_values) == 4
        assert (trial.state == TrialState.COMPLETE) == full
        assert trial.user_attrs["state"] == trial.state.name.lower()
        assert trial.user_attrs["reason"]
        if trial.state == TrialState.PRUNED:
            assert trial.values is None
            assert trial.user_attrs["pruned_at"] == max(trial.intermediate_values)
            assert "Pareto rank" in trial.user_attrs["reason"]


def test_a_training_that_ends_itself_is_complete_and_says_how_far_it_came(tmp_path: Path) -> None:
    strategy = make_strategy(config=make_config(pruner=NO_PRUNER))
    assignment = strategy.next()
    assert assignment is not None
    first, second = (learns(assignment.candidate, epoch) for epoch in (1, 2))
    early = dataclasses.replace(second, ended="stopped after 2 of 4 epochs")
    assert strategy.report(assignment.number, [first])
    assert not strategy.report(assignment.number, [first, early])
    trial = read_sweep(strategy.study, tmp_path).trials[assignment.number]
    assert (trial.state, trial.epochs) == ("complete", 2)
    assert state_text(trial) == "complete: stopped after 2 of 4 epochs"


@several
def test_curves_costs_and_values_are_those_of_the_training(workers: int) -> None:
    space = make_space()
    strategy = make_strategy(space=space)
    Workers(strategy, count=workers).run()
    for trial in strategy.study.trials():
        candidate = space.candidate(trial.params)
        expected = [learns(candidate, epoch + 1) for epoch in range(len(trial.intermediate_values))]
        assert without_times(strategy.study.curve(trial.number)) == expected
        assert trial.intermediate_values == {e.epoch: e.accuracy for e in expected}
        costs = costs_of(candidate)
        assert {name: trial.user_attrs[name] for name in costs} == costs
        assert trial.user_attrs["candidate"] == candidate.identity
        assert trial.user_attrs["seed"] == 0
        assert (trial.user_attrs["device"], trial.user_attrs["mode"]) == ("a device", "a mode")
        if trial.state == TrialState.COMPLETE:
            accuracy = learns(candidate, 4).accuracy
            assert trial.values == [accuracy, costs["latency_ms"], costs["memory_mib"]]


def test_the_assignment_is_the_candidate_of_the_trial() -> None:
    strategy = make_strategy(config=make_config(seed=7))
    assignment = strategy.next()
    assert assignment is not None
    assert (assignment.number, assignment.seed, strategy.live) == (0, 7, 1)
    assert str(assignment.candidate.variant) == SIX[0]
    assert strategy.study.trial(0).state == TrialState.RUNNING
    assert strategy.study.trial(0).user_attrs["state"] == "running"


@pytest.mark.parametrize(
    "objectives",
    [
        ["accuracy"],
        ["loss"],
        ["loss", "latency_ms"],
        ["latency_ms", "memory_mib"],
        ["accuracy", "loss", "latency_ms"],
        ["accuracy", "images_per_s", "parameters_m", "gmacs", "train_memory_mib"],
    ],
    ids="+".join,
)
def test_any_recorded_metrics_may_be_the_objectives(objectives: list[str]) -> None:
    strategy = make_strategy(config=make_config(objectives=objectives))
    Workers(strategy, count=2).run()
    trials = strategy.study.trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert complete
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in complete:
        last = dataclasses.asdict(strategy.study.curve(trial.number)[-1])
        assert trial.values == [{**trial.user_attrs, **last}[name] for name in objectives]


def test_a_stock_pruner_decides_for_one_objective() -> None:
    pruner = MethodConfig("MedianPruner", {"n_startup_trials": 2, "n_warmup_steps": 0})
    config = make_config(objectives=["accuracy"], pruner=pruner)
    strategy = make_strategy(config=config)
    Workers(strategy).run()
    pruned = [t for t in strategy.study.trials() if t.state == TrialState.PRUNED]
    assert pruned
    assert all(t.user_attrs["reason"].startswith("MedianPruner on accuracy") for t in pruned)


def test_no_pruner_trains_all_to_the_end() -> None:
    strategy = make_strategy(config=make_config(pruner=NO_PRUNER))
    Workers(strategy, count=2).run()
    assert {trial.state for trial in strategy.study.trials()} == {TrialState.COMPLETE}


# Failures


@several
@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_diverged_trial_fails_and_harms_no_other(workers: int, at: int) -> None:
    strategy = make_strategy(config=make_config(pruner=NO_PRUNER))
    Workers(strategy, diverges_at(SIX[2], at), count=workers).run()
    trials = by_variant(strategy.study)
    failed = trials.pop(SIX[2])
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["state"] == "failed"
    assert failed.user_attrs["reason"] == f"diverged: the loss of epoch {at} is not finite"
    assert failed.values is None
    assert sorted(failed.intermediate_values) == list(range(1, at))
    assert {trial.state for trial in trials.values()} == {TrialState.COMPLETE}
    assert strategy.finished


@pytest.mark.parametrize("field", ["loss", "train_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_any_loss_that_is_not_finite_is_a_divergence(field: str, value: float) -> None:
    strategy = make_strategy()
    assignment = strategy.next()
    assert assignment is not None
    entry = dataclasses.replace(learns(assignment.candidate, 1), **{field: value})
    assert not strategy.report(0, [entry])
    assert strategy.study.trial(0).state == TrialState.FAIL


def test_a_reported_failure_is_recorded_with_its_reason_and_only_once() -> None:
    strategy = make_strategy()
    assignment = strategy.next()
    assert assignment is not None
    strategy.fail(0, "out of memory: 3 GiB")
    strategy.fail(0, "its worker was lost")
    trial = strategy.study.trial(0)
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "out of memory: 3 GiB")
    assert strategy.live == 0
    Workers(strategy).run()
    assert sorted(by_variant(strategy.study)) == sorted(SIX)


def test_a_late_failure_leaves_an_ended_trial_as_it_is() -> None:
    strategy = make_strategy()
    Workers(strategy).run()
    before = everything(strategy.study)
    for number in range(6):
        strategy.fail(number, "its worker was lost")
    assert everything(strategy.study) == before


# What is ruled out before


def test_infeasible_candidates_are_never_proposed() -> None:
    space = make_space()
    strategy = make_strategy(space=space, costings=make_costings(space, infeasible=SIX[:2]))
    Workers(strategy).run()
    assert sorted(by_variant(strategy.study)) == sorted(SIX[2:])


def test_what_could_not_be_measured_fails_once_and_is_never_trained() -> None:
    space = make_space()
    costings = make_costings(space, failed=SIX[1:3])
    study = SweepStudy.create(None, OBJECTIVES)
    for _ in range(3):
        strategy = make_strategy(study, space, costings=costings)
    ran = Workers(strategy).run()
    assert not {str(candidate.variant) for candidate in ran.order} & set(SIX[1:3])
    failed = [trial for trial in study.trials() if trial.state == TrialState.FAIL]
    assert [trial.user_attrs["variant"] for trial in failed] == SIX[1:3]
    for trial in failed:
        assert trial.user_attrs["reason"] == "not measured: out of memory"
        assert trial.user_attrs["state"] == "failed"
        assert not trial.intermediate_values
    assert len(study.trials()) == 6


def test_a_failed_measurement_takes_no_place_among_the_trials() -> None:
    space = make_space()
    costings = make_costings(space, failed=SIX[:1])
    study = SweepStudy.create(None, OBJECTIVES)
    config = make_config(trials=3)
    Workers(make_strategy(study, space, config, costings=costings)).run(reports=2)
    Workers(make_strategy(study, space, config, costings=costings)).run()
    assert len(study.trials()) == 4


def test_candidates_of_one_network_fail_together() -> None:
    space = Space({"variant": SIX[:2], "train.momentum": [0.8, 0.9]}, SMALL)
    strategy = make_strategy(space=space, costings=make_costings(space, failed=SIX[:1]))
    Workers(strategy).run()
    states = [(t.user_attrs["variant"], t.state.name) for t in strategy.study.trials()]
    assert states[:2] == [(SIX[0], "FAIL"), (SIX[0], "FAIL")]
    assert len(states) == 4


# Bounds


@some
@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_the_budget_is_spent_and_never_exceeded(
    budget: int, workers: int, seed: int, prunes: bool
) -> None:
    config = make_config(budget=budget)
    config = config if prunes else dataclasses.replace(config, pruner=NO_PRUNER)
    strategy = make_strategy(config=config)
    ran = Workers(strategy, count=workers, seed=seed).run()
    assert len(ran.trained) == epochs_recorded(strategy.study) <= budget
    assert all(trial.state.is_finished() for trial in strategy.study.trials())
    assert strategy.finished
    if not prunes:
        assert len(ran.trained) == min(budget, 24)


def test_who_runs_out_of_budget_is_pruned_and_says_so() -> None:
    strategy = make_strategy(config=make_config(budget=6, pruner=NO_PRUNER))
    Workers(strategy).run()
    trials = strategy.study.trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED"]
    assert trials[1].user_attrs["reason"] == "the budget of 6 epochs is spent"
    assert trials[1].user_attrs["pruned_at"] == 2


def test_epochs_of_a_diverged_trial_count_against_the_budget() -> None:
    """The epoch in which a loss stopped being finite was trained like any other."""
    config = make_config(budget=5, pruner=NO_PRUNER)
    ran = Workers(make_strategy(config=config), lambda c, e: _diverged(e)).run()
    assert len(ran.trained) <= 5


def _diverged(epoch: int) -> Epoch:
    return Epoch(epoch, 0.1, math.nan, math.nan, 0.1, 360)


@pytest.mark.parametrize("most", [1, 3, 6, 50])
def test_no_more_trials_than_asked_for(most: int) -> None:
    strategy = make_strategy(config=make_config(trials=most))
    Workers(strategy, count=2).run()
    assert len(strategy.study.trials()) == min(most, 6)
    assert strategy.finished


@several
def test_the_hours_end_a_sweep_and_all_its_trials(workers: int) -> None:
    seconds = [100.0]
    config = make_config(hours=1.0, pruner=NO_PRUNER)
    strategy = make_strategy(config=config, clock=lambda: seconds[0])
    ran = Workers(strategy, count=workers).run(reports=5)
    assert strategy.elapsed == 0.0
    live = strategy.live
    seconds[0] += 3600.0
    ran.run()
    trials = strategy.study.trials()
    assert strategy.finished
    assert len(ran.trained) == 5 + live, "each live trial ends with the epoch that it is at"
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            assert trial.user_attrs["reason"] == "the limit of 1 hours is reached"
        assert trial.state.is_finished()


def test_hours_of_earlier_drivers_count() -> None:
    config = make_config(hours=2.0)
    strategy = make_strategy(config=config, elapsed=7200.0, clock=lambda: 55.0)
    assert strategy.elapsed == 7200.0
    assert strategy.finished
    assert strategy.next() is None


@pytest.mark.parametrize("reports", [1, 3, 5])
@pytest.mark.parametrize("spent", [{"hours": 2.0}, {"budget": 1}])
@several
def test_a_resume_whose_bound_is_spent_trains_nothing(
    workers: int, spent: dict[str, Any], reports: int
) -> None:
    first = make_strategy(config=make_config(pruner=NO_PRUNER))
    checkpoints: dict[int, list[Epoch]] = {}
    Workers(first, count=workers, checkpoints=checkpoints).run(reports=reports)
    assert first.live, "a kill leaves trials at work"
    config = make_config(**spent, pruner=NO_PRUNER)
    second = make_strategy(first.study, config=config, elapsed=7200.0, clock=lambda: 55.0)
    idle = Workers(second, count=workers, checkpoints=checkpoints).run()
    assert idle.trained == []
    assert second.finished
    for trial in first.study.trials():
        assert trial.state.is_finished()
        if trial.state == TrialState.PRUNED:
            assert "is spent" in trial.user_attrs["reason"] or "hours" in trial.user_attrs["reason"]
            assert trial.user_attrs["pruned_at"] == len(trial.intermediate_values)
    third = make_strategy(first.study, config=make_config(pruner=NO_PRUNER))
    Workers(third, count=workers, checkpoints=checkpoints).run()
    complete = [t for t in first.study.trials() if t.state == TrialState.COMPLETE]
    assert len({t.user_attrs["candidate"] for t in complete}) == len(complete) == 6
    assert read_sweep(first.study, Path()).epochs == 6 * 4, "and no epoch is trained twice"


def test_a_larger_bound_carries_a_finished_sweep_on() -> None:
    study = SweepStudy.create(None, OBJECTIVES)
    assert Workers(make_strategy(study, config=make_config(trials=2))).run().strategy.finished
    Workers(make_strategy(study, config=make_config(trials=5))).run()
    assert len({trial.user_attrs["candidate"] for trial in study.trials()}) == 5


# Kills


def test_epochs_that_are_sent_again_are_entered_once() -> None:
    strategy = make_strategy(config=make_config(pruner=NO_PRUNER))
    assignment = strategy.next()
    assert assignment is not None
    curve = [learns(assignment.candidate, epoch) for epoch in (1, 2, 3)]
    for sent in (curve[:1], curve[:2], curve[:2], curve):
        assert strategy.report(0, sent)
    assert without_times(strategy.study.curve(0)) == curve
    assert len(strategy.study.trial(0).intermediate_values) == 3


def test_a_worker_ahead_of_a_killed_driver_meets_the_rungs_that_it_passed_unseen() -> None:
    strategy = make_strategy()
    for number in (0, 1):
        assignment = strategy.next()
        assert assignment is not None
        best = [Epoch(e, 0.9 - number / 2, 0.1, 0.1, 0.1, 360) for e in (1, 2, 3)]
        goes_on = strategy.report(number, best)
        assert goes_on == (number == 0)
    loser = strategy.study.trial(1)
    assert loser.state == TrialState.COMPLETE or sorted(loser.intermediate_values) == [1]


class DyingStudy(SweepStudy):
    """Its driver is killed right after so many epochs were entered, before any decision."""

    left = math.inf

    def record(self, number: int, epoch: Epoch, decision: Any = None) -> None:
        super().record(number, epoch, decision)
        self.left -= 1
        if self.left <= 0:
            raise KeyboardInterrupt


@some
@given(
    kills=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    workers=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    budget=st.one_of(st.none(), st.integers(1, 24)),
    prunes=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kills_with_several_workers(
    kills: list[int], workers: list[int], budget: int | None, prunes: bool, seed: int
) -> None:
    """Killed between an epoch and its decision, again and again: the bounds and records hold."""
    config = make_config(budget=budget)
    config = config if prunes else dataclasses.replace(config, pruner=NO_PRUNER)
    study = DyingStudy.create(None, OBJECTIVES)
    assert isinstance(study, DyingStudy)
    checkpoints: dict[int, list[Epoch]] = {}
    trained: list[tuple[int, int]] = []
    for left, count in zip([*kills, math.inf], workers, strict=False):
        study.left = left
        strategy = make_strategy(study, config=config)
        life = Workers(strategy, count=count, checkpoints=checkpoints, seed=seed)
        try:
            life.run()
        except KeyboardInterrupt:
            continue
        finally:
            trained += life.trained
        assert strategy.finished
        break
    assert len(trained) == len(set(trained)), "an epoch was trained twice"
    assert epochs_recorded(study) == len(trained)
    assert budget is None or len(trained) <= budget
    for trial in study.trials():
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        assert sorted(trial.intermediate_values) == [e.epoch for e in study.curve(trial.number)]
        assert trial.user_attrs["reason"]
        decisions = rungs_of(trial)
        passed = {e for e in (1, 2) if e in trial.intermediate_values}
        assert {e for e, d in decisions.items() if d["by"] == "pruner"} <= passed
        assert not prunes or passed <= set(decisions), "a rung was passed unseen"


def test_a_trial_killed_before_its_decision_gets_it_on_resume() -> None:
    study = DyingStudy.create(None, OBJECTIVES)
    assert isinstance(study, DyingStudy)
    study.left = 5  # epochs 1 to 4 of the first trial, then epoch 1 of the second

    def fades(candidate: Candidate, epoch: int) -> Epoch:
        """Each variant of the list is worse than the one before."""
        rank = SIX.index(str(candidate.variant))
        return Epoch(epoch, 0.9 - rank / 10, 0.1, 0.1, 0.1, 360)

    killed = Workers(make_strategy(study), fades)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    assert study.trial(1).state == TrialState.RUNNING
    study.left = math.inf
    resumed = make_strategy(study)
    assert not resumed.finished
    assignment = resumed.next()
    assert assignment is not None
    assert assignment.number == 2, "the second trial was over before anybody trained it again"
    assert resumed.waits(1)
    assert "Pareto rank" in paused_because(study.trial(1))
    Workers(resumed, fades).run()
    assert study.trial(1).state == TrialState.COMPLETE, "second of six: there is room by now"


def test_fewer_workers_after_a_kill_do_not_overspend() -> None:
    study = SweepStudy.create(None, OBJECTIVES)
    config = make_config(budget=9, pruner=NO_PRUNER)
    first = make_strategy(study, config=config)
    for _ in range(3):
        assert first.next() is not None
    Workers(make_strategy(study, config=config)).run()
    assert epochs_recorded(study) == 9


# Kills at every write of the database


@contextmanager
def snapshots(study_file: Path, into: Path, checkpoints: dict[int, list[Epoch]]) -> Iterator[list]:
    """Copies of a database before each commit, with what then lay on the disk of the trials.

    SQLite writes its file when it commits, so that a copy holds what had been committed.
    """
    taken: list[tuple[Path, dict[int, list[Epoch]]]] = []
    seen: list[tuple[bytes, dict[int, list[Epoch]]]] = []

    def before_commit(connection: Any) -> None:
        disk = {number: list(curve) for number, curve in checkpoints.items()}
        now = (study_file.read_bytes(), disk)
        if seen and seen[-1] == now:  # that commit was of a reading
            return
        seen.append(now)
        folder = into / str(len(taken))
        folder.mkdir()
        (folder / "study.db").write_bytes(now[0])
        taken.append((folder, disk))

    event.listen(Engine, "commit", before_commit)
    try:
        yield taken
    finally:
        event.remove(Engine, "commit", before_commit)


def sweeps() -> dict[str, tuple[Space, SearchConfig, dict[str, Any], Curve]]:
    small = make_space(variant=SIX[1:4])
    failing = make_costings(small, failed=SIX[1:2])
    tpe = MethodConfig("tpe", {"n_startup_trials": 1})
    return {
        "pruned": (make_space(variant=SIX[:2]), make_config(epochs=3), {}, learns),
        "failures": (small, make_config(epochs=2), {"costings": failing}, diverges_at(SIX[3], 2)),
        "budget": (make_space(), make_config(budget=4, pruner=NO_PRUNER, epochs=3), {}, learns),
        "tpe": (make_space(variant=SIX[:4]), make_config(sampler=tpe, epochs=1), {}, learns),
        "stock": (
            make_space(variant=SIX[:3]),
            make_config(
                objectives=["accuracy"],
                epochs=2,
                pruner=MethodConfig("SuccessiveHalvingPruner", {"reduction_factor": 2}),
            ),
            {},
            learns,
        ),
    }


@pytest.mark.parametrize("name", sweeps())
def test_killed_at_any_write_it_ends_as_if_never_killed(name: str, tmp_path: Path) -> None:
    space, config, others, curve = sweeps()[name]

    def strategy_of(study: SweepStudy) -> Strategy:
        return make_strategy(study, space, config, **others)

    (tmp_path / "whole").mkdir()
    file = tmp_path / "whole" / "study.db"
    study = SweepStudy.create(f"sqlite:///{file}", config.objectives)
    checkpoints: dict[int, list[Epoch]] = {}
    with snapshots(file, tmp_path, checkpoints) as taken:
        Workers(strategy_of(study), curve, checkpoints=checkpoints).run()
    whole, front = everything(study), front_of(study, tmp_path)
    study.close()
    assert len(taken) > 15
    # Each write of the shortest two; a third of them is enough to see what the others add.
    for folder, disk in taken[:: 1 if name in ("pruned", "failures") else 3]:
        killed = SweepStudy.open(folder)
        resumed = Workers(strategy_of(killed), curve, checkpoints=disk).run()
        assert resumed.strategy.finished
        assert everything(killed) == whole, f"killed at write {folder.name}"
        assert front_of(killed, tmp_path) == front
        killed.close()
