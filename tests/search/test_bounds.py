"""What a larger budget makes of the trials that a smaller one stopped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from synthetic import SIX, Workers, diverges_at, make_config, make_space, make_strategy

from resnest_search.configuration.schema import MethodConfig
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy

FULL = make_config(pruner=MethodConfig("none"))


@settings(deadline=None, max_examples=40)
@given(
    first=st.integers(1, 23),
    more=st.integers(1, 30),
    workers=st.integers(1, 3),
)
def test_a_larger_budget_continues_what_a_smaller_one_stopped(
    first: int, more: int, workers: int
) -> None:
    """Six candidates of four epochs: no epoch is trained twice, and the sum is never exceeded."""
    study = SweepStudy.create(None, FULL.objectives)
    checkpoints: dict[int, list[Epoch]] = {}
    trained: Counter[tuple[str, int]] = Counter()
    for budget in (first, first + more):
        config = make_config(pruner=MethodConfig("none"), budget=budget)
        ran = Workers(make_strategy(study, config=config), count=workers, checkpoints=checkpoints)
        ran.run()
        names = {t.number: t.user_attrs["variant"] for t in study.trials()}
        trained.update((names[number], epoch) for number, epoch in ran.trained)
        assert trained.total() == min(budget, 24)
        assert read_sweep(study, Path()).epochs == trained.total()
    assert max(trained.values()) == 1
    complete = [t for t in study.trials() if t.state == TrialState.COMPLETE]
    if first + more >= 24:
        assert {t.user_attrs["variant"] for t in complete} == set(names.values())
        assert len(complete) == 6
    assert all(len(t.intermediate_values) == 4 for t in complete)


@settings(deadline=None, max_examples=60)
@given(budget=st.integers(1, 30), workers=st.integers(1, 8), seed=st.integers(0, 999))
def test_a_budget_is_spent_on_trials_that_end_however_many_workers_there_are(
    budget: int, workers: int, seed: int
) -> None:
    """Side by side, eight workers would spend a budget of 12 and end none of six trials."""
    config = make_config(pruner=MethodConfig("none"), budget=budget)
    strategy = make_strategy(config=config)
    ran = Workers(strategy, count=workers, seed=seed).run()
    assert len(ran.trained) == min(budget, 24)
    states = Counter(trial.state.name for trial in strategy.study.trials())
    whole, rest = divmod(min(budget, 24), 4)
    assert states == Counter({"COMPLETE": whole, "PRUNED": 1 if rest else 0})


def test_what_was_kept_for_a_trial_that_failed_is_trained_by_those_that_waited() -> None:
    variants = SIX[:2]
    config = make_config(pruner=MethodConfig("none"), budget=6)
    strategy = make_strategy(space=make_space(variant=variants), config=config)
    ran = Workers(strategy, diverges_at(variants[0], 2), count=2, seed=1).run()
    assert strategy.finished
    states = [trial.state.name for trial in strategy.study.trials()]
    assert states == ["FAIL", "COMPLETE"]
    assert len(ran.trained) == read_sweep(strategy.study, Path()).epochs == 6


@pytest.mark.parametrize("sampler", ["known_cost", "tpe", "qmc"])
def test_a_range_with_few_values_comes_to_its_end(sampler: str) -> None:
    rates = {"low": 0.05, "high": 0.15, "step": 0.05}
    space = make_space(**{"variant": SIX[:2], "train.learning_rate": rates})
    config = make_config(budget=100, sampler=MethodConfig(sampler), pruner=MethodConfig("none"))
    strategy = make_strategy(space=space, config=config)
    Workers(strategy, count=2).run()
    assert strategy.finished
    assert [trial.state.name for trial in strategy.study.trials()] == ["COMPLETE"] * 6


def test_what_a_rung_paused_goes_on_before_the_budget_is_spent_and_after_a_larger_one() -> None:
    """A budget that covers the space ends exact, at once or after a smaller one."""
    for budget in (4, 7, 11, 24):
        study = SweepStudy.create(None, FULL.objectives)
        checkpoints: dict[int, list[Epoch]] = {}
        for bound in (budget, 24):
            config = make_config(budget=bound)
            ran = Workers(make_strategy(study, config=config), count=2, checkpoints=checkpoints)
            ran.run()
        trained = {t.user_attrs["variant"] for t in study.trials() if t.state.name == "COMPLETE"}
        assert len(trained) == 6
        assert read_sweep(study, Path()).epochs == 24


def test_without_a_budget_what_no_rung_has_room_for_is_pruned() -> None:
    study = SweepStudy.create(None, FULL.objectives)
    checkpoints: dict[int, list[Epoch]] = {}
    Workers(make_strategy(study), count=2, checkpoints=checkpoints).run()
    pruned = [t for t in study.trials() if t.state == TrialState.PRUNED]
    assert pruned
    before = len(study.trials())
    again = make_strategy(study)
    assert again.finished
    assert again.next() is None
    assert len(study.trials()) == before


def test_no_trial_is_continued_twice() -> None:
    study = SweepStudy.create(None, FULL.objectives)
    checkpoints: dict[int, list[Epoch]] = {}
    for budget in (5, 10, 15):
        config = make_config(pruner=MethodConfig("none"), budget=budget)
        Workers(make_strategy(study, config=config), count=2, checkpoints=checkpoints).run()
    continued = Counter(t.user_attrs.get("continues") for t in study.trials())
    del continued[None]
    assert continued
    assert max(continued.values()) == 1


def test_a_trial_that_takes_over_another_counts_once_at_a_rung() -> None:
    study = SweepStudy.create(None, FULL.objectives)
    checkpoints: dict[int, list[Epoch]] = {}
    for budget in (6, 12, 24):
        config = make_config(budget=budget)
        Workers(make_strategy(study, config=config), count=2, checkpoints=checkpoints).run()
    assert any("continues" in trial.user_attrs for trial in study.trials())
    reasons = [
        entry["decision"]["reason"]
        for trial in study.trials()
        for entry in trial.user_attrs.get("curve", ())
        if "decision" in entry and "among" in entry["decision"]["reason"]
    ]
    assert reasons
    reached = [int(reason.split("among ")[1].split()[0]) for reason in reasons]
    assert max(reached) <= 6, "there are six candidates"
