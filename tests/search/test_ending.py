"""What ended a sweep, what it left out, and what that may have cost."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from synthetic import Workers, learns, make_config, make_space, make_strategy

from resnest_search.configuration.schema import MethodConfig
from resnest_search.pareto import hypervolume
from resnest_search.search import Strategy
from resnest_search.space import Candidate
from resnest_search.study.record import Epoch

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SPACE = {"radix": [1, 2, 4], "cardinality": [1, 2], "width": [16, 32, 48, 64]}


@cache  # several tests look at the same sweep, and none of them changes it
def swept(
    workers: int = 1, sampler: str = "known_cost", pruner: str = "none", **changes: Any
) -> Strategy:
    changes = {name: list(v) if isinstance(v, tuple) else v for name, v in changes.items()}
    config = make_config(
        epochs=9, sampler=MethodConfig(sampler), pruner=MethodConfig(pruner), **changes
    )
    strategy = make_strategy(config=config, space=make_space(**SPACE))
    Workers(strategy, count=workers, curve=told).run()
    strategy.settle()
    return strategy


def told(candidate: Candidate, epoch: int) -> Epoch:
    """Half a second an epoch; two thirds of the networks learn nothing, which shows early."""
    good = learns(candidate, epoch).accuracy
    accuracy = good if candidate.variant.radix == 2 else 0.1 + 0.01 * good
    return Epoch(epoch, accuracy, 1 - accuracy, 1.1 - accuracy, 0.5, 360)


def spent(strategy: Strategy) -> int:
    return sum(len(trial.intermediate_values) for trial in strategy.study.trials())


def test_a_sweep_that_trained_all_left_nothing_out() -> None:
    ending = swept().ending()
    assert ending.reason == "every candidate was tried"
    assert (ending.untried, ending.epochs, ending.seconds, ending.lost) == (0, 0, 0.0, None)


@pytest.mark.parametrize("workers", [1, 3])
def test_what_the_tolerance_saved_is_what_was_not_trained(workers: int) -> None:
    strategy = swept(workers, tolerance=0.02)
    ending = strategy.ending()
    assert "less than search.tolerance" in ending.reason
    assert ending.epochs == 24 * 9 - spent(strategy)
    assert ending.seconds == pytest.approx(0.5 * ending.epochs)
    assert ending.untried == 24 - len(strategy.study.trials())


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("tolerance", [0.005, 0.02, 0.1])
def test_the_front_lost_no_more_than_was_said(workers: int, tolerance: float) -> None:
    strategy = swept(workers, tolerance=tolerance)
    lost = strategy.ending().lost
    assert lost is not None
    names = strategy.study.objectives
    points = {
        tuple(trial.user_attrs["parameters"].values()): [-trial.values[0], *trial.values[1:]]
        for trial in strategy.study.trials()
        if trial.state.name == "COMPLETE"
    }
    whole = swept(workers).study.trials()
    everything = np.array([[-t.values[0], *t.values[1:]] for t in whole])
    corner = everything.max(axis=0) + 0.1 * np.ptp(everything, axis=0)
    found = hypervolume(np.array(list(points.values())), corner)
    assert names[0] == "accuracy"
    assert 0 <= 1 - found / hypervolume(everything, corner) <= lost[1]
    assert lost[0] <= lost[1]


def test_a_budget_is_what_ended_it_and_saved_nothing() -> None:
    ending = swept(budget=60).ending()
    assert ending.reason == "the budget of 60 epochs is spent"
    assert (ending.epochs, ending.untried, ending.lost) == (0, 0, None)


@pytest.mark.parametrize("tolerance", [None, 0.02])
def test_a_number_of_trials_is_what_ended_it(tolerance: float | None) -> None:
    ending = swept(trials=5, sampler="random", tolerance=tolerance).ending()
    assert ending.reason == "all of search.trials=5 were tried"
    assert (ending.untried, ending.epochs, ending.lost) == (0, 0, None)


def test_a_tolerance_that_left_nothing_out_did_not_end_it() -> None:
    assert swept(sampler="grid", tolerance=1e-300).ending().reason == "every candidate was tried"


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("tolerance", [0.003, 0.03])
@pytest.mark.parametrize("budget", [30, 60, 90, 140, 190])
def test_with_a_budget_and_a_tolerance_a_sweep_comes_to_its_end(
    workers: int, tolerance: float, budget: int
) -> None:
    strategy = swept(workers, tolerance=tolerance, budget=budget)
    assert strategy.finished
    ended_by_budget = strategy.ending().reason.startswith("the budget")
    assert ended_by_budget == (spent(strategy) == budget)
    if not ended_by_budget:
        assert "less than search.tolerance" in strategy.ending().reason


def test_what_a_pruner_saved_counts_as_well() -> None:
    strategy = swept(sampler="random", pruner="pareto_halving")
    ending = strategy.ending()
    assert ending.reason == "every candidate was tried"
    assert ending.epochs == 24 * 9 - spent(strategy) > 0
    assert ending.lost is not None


def test_losses_that_nothing_forecasts_are_not_told() -> None:
    strategy = swept(
        sampler="random", pruner="pareto_halving", objectives=("latency_ms", "memory_mib")
    )
    assert strategy.ending().lost is None


@pytest.mark.parametrize("tolerance", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_is_given_up_unseen_where_a_look_costs_little(
    workers: int, tolerance: float
) -> None:
    strategy = swept(workers, tolerance=tolerance)
    untried = strategy.ending().untried
    assert untried == 0 or untried > 0.1 * spent(strategy)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_tolerance_ends_what_another_sampler_proposes(sampler: str) -> None:
    strategy = swept(sampler=sampler, tolerance=0.1)
    ending = strategy.ending()
    assert "less than search.tolerance" in ending.reason
    assert 0 < ending.untried == 24 - len(strategy.study.trials())
    assert {t.state.name for t in strategy.study.trials()} == {"COMPLETE"}
