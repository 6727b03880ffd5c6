"""Samplers: what all of them promise of a finite space, and what each adds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from synthetic import (
    OBJECTIVES,
    SIX,
    SMALL,
    Workers,
    costs_of,
    diverges_at,
    learns,
    make_config,
    make_costings,
    make_space,
    make_strategy,
)

from resnest_search.configuration.schema import MethodConfig
from resnest_search.errors import UserError
from resnest_search.search.samplers import build_sampler
from resnest_search.search.situation import Goal
from resnest_search.space import Candidate, Space
from resnest_search.study.study import SweepStudy, directions_of, paused_because

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

METHODS = [
    MethodConfig("grid"),
    MethodConfig("random"),
    MethodConfig("cheapest"),
    MethodConfig("tpe", {"n_startup_trials": 3, "multivariate": True}),
    MethodConfig("known_cost"),
    MethodConfig("qmc"),
    MethodConfig("nsga2", {"population_size": 4}),
]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
SEEDED = [METHODS[1], METHODS[3], *METHODS[5:]]
each_seeded = pytest.mark.parametrize("method", SEEDED, ids=lambda method: method.name)


def order_of(method: MethodConfig, seed: int = 0, workers: int = 1, **changes: Any) -> list[str]:
    """Variants in the order in which a whole sweep hands them out."""
    config = make_config(sampler=method, seed=seed, **changes)
    ran = Workers(make_strategy(space=twelve(), config=config), count=workers).run()
    return [str(candidate.variant) for candidate in ran.order]


def twelve() -> Space:
    return make_space(radix=[0, 1, 2, 4], cardinality_width=["1x64d", "2x40d", "4x24d"])


# Every method


@each_method
@pytest.mark.parametrize("workers", [1, 3])
def test_every_candidate_once(method: MethodConfig, workers: int) -> None:
    expected = sorted(str(candidate.variant) for candidate in twelve().candidates or ())
    assert sorted(order_of(method, workers=workers)) == expected


@each_method
def test_same_seed_same_order(method: MethodConfig) -> None:
    assert order_of(method, seed=5) == order_of(method, seed=5)


@each_seeded
def test_another_seed_another_order(method: MethodConfig) -> None:
    assert len({tuple(order_of(method, seed=seed)) for seed in range(4)}) == 4


@each_method
@pytest.mark.parametrize("before", [0, 1, 5, 11, 20, 30])
def test_a_resumed_search_proposes_what_the_uninterrupted_one_would(
    method: MethodConfig, before: int
) -> None:
    config = make_config(sampler=method, seed=3)
    study = SweepStudy.create(None, OBJECTIVES)
    killed = Workers(make_strategy(study, twelve(), config)).run(reports=before)
    Workers(make_strategy(study, twelve(), config), checkpoints=killed.checkpoints).run()
    order = [trial.user_attrs["variant"] for trial in study.trials()]
    assert order == order_of(method, seed=3)


# Orders


def test_grid_is_the_order_of_the_sweep() -> None:
    assert order_of(METHODS[0]) == [str(c.variant) for c in twelve().candidates or ()]


def test_cheapest_is_the_fastest_first() -> None:
    by_latency = sorted(twelve().candidates or (), key=lambda c: costs_of(c)["latency_ms"])
    assert order_of(METHODS[2]) == [str(candidate.variant) for candidate in by_latency]


def test_random_is_not_the_grid_and_keeps_its_order_when_something_is_ruled_out() -> None:
    whole = order_of(METHODS[1])
    assert whole != order_of(METHODS[0])
    space = twelve()
    without = make_costings(space, infeasible=[whole[0], whole[5]])
    config = make_config(sampler=METHODS[1])
    ran = Workers(make_strategy(space=space, config=config, costings=without)).run()
    left = [variant for variant in whole if variant not in (whole[0], whole[5])]
    assert [str(candidate.variant) for candidate in ran.order] == left


@pytest.mark.parametrize(
    "objectives",
    [["accuracy"], ["loss"], ["loss", "latency_ms"], ["accuracy", "images_per_s", "gmacs"]],
    ids="+".join,
)
def test_known_costs_may_be_any_or_none(objectives: list[str]) -> None:
    assert len(order_of(MethodConfig("known_cost"), objectives=objectives)) == 12


def test_known_cost_refuses_what_it_cannot_model() -> None:
    for objectives in (["latency_ms"], ["accuracy", "loss"]):
        with pytest.raises(UserError, match="models one trained objective"):
            order_of(MethodConfig("known_cost"), objectives=objectives)


# Optuna's own


def test_optuna_itself_refuses_what_tpe_is_given_here() -> None:
    """The reason for the view: should this ever pass, the view can go."""
    strategy = make_strategy(config=make_config())
    Workers(strategy).run()
    study = strategy.study.optuna
    assert any(t.state == TrialState.PRUNED and t.intermediate_values for t in study.trials)
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=0, seed=0)
    with pytest.raises(RuntimeError, match="single direction"):
        study.ask(dict(make_space().distributions))


def test_tpe_is_taught_by_paused_failed_and_running_trials() -> None:
    space = twelve()
    method = MethodConfig("tpe", {"n_startup_trials": 0})
    strategy = make_strategy(space=space, config=make_config(sampler=method))
    Workers(strategy, diverges_at("1s1x64d", 2), count=3).run(reports=20)
    running = [t for t in strategy.study.trials() if t.state == TrialState.RUNNING]
    assert {bool(paused_because(trial)) for trial in running} == {True, False}
    # A trial of every state, then the rest of the sweep.
    Workers(strategy, diverges_at("1s1x64d", 2), count=2).run()
    assert len(strategy.study.trials()) == 12


def test_tpe_prefers_what_did_well() -> None:
    """A rate near 0.5 wins: after the start-up, draws gather there more than at random."""

    def learns_by_rate(candidate: Candidate, epoch: int) -> Any:
        entry = learns(candidate, epoch)
        accuracy = 1 - abs(candidate.others["train.momentum"] - 0.5)
        return type(entry)(epoch, accuracy, 1.0, 1.0, 0.1, 360)

    def distance(method: MethodConfig) -> float:
        space = Space({"variant": ["1s1x64d"], "train.momentum": {"low": 0.0, "high": 0.99}}, SMALL)
        config = make_config(
            sampler=method,
            pruner=MethodConfig("none"),
            objectives=["accuracy"],
            trials=40,
            epochs=1,
        )
        ran = Workers(make_strategy(space=space, config=config), learns_by_rate).run()
        late = [abs(c.others["train.momentum"] - 0.5) for c in ran.order[20:]]
        return sum(late) / len(late)

    assert distance(MethodConfig("tpe", {"n_startup_trials": 8})) < 0.5 * distance(METHODS[1])


@each_seeded
def test_a_range_is_drawn_without_end_until_the_trials_are_used(method: MethodConfig) -> None:
    space = Space(
        {
            "radix": [1, 3],
            "cardinality_width": ["1x48d", "1x64d"],  # 3s1x64d is impossible
            "train.momentum": {"low": 0.5, "high": 0.9},
        },
        SMALL,
    )
    config = make_config(sampler=method, trials=15, pruner=MethodConfig("none"), epochs=1)
    strategy = make_strategy(space=space, config=config)
    ran = Workers(strategy).run()
    assert len({candidate.identity for candidate in ran.order}) == 15
    assert "3s1x64d" not in {str(candidate.variant) for candidate in ran.order}
    assert all(0.5 <= candidate.others["train.momentum"] <= 0.9 for candidate in ran.order)


@each_seeded
def test_a_range_never_brings_what_is_ruled_out(method: MethodConfig) -> None:
    space = Space(
        {
            "variant": ["1s1x64d", "2s1x64d", "4s1x64d"],
            "train.momentum": {"low": 0.5, "high": 0.9},
        },
        SMALL,
    )
    costings = make_costings(space, failed=["4s1x64d"], infeasible=["2s1x64d"])
    config = make_config(sampler=method, trials=8, pruner=MethodConfig("none"), epochs=1)
    ran = Workers(make_strategy(space=space, config=config, costings=costings)).run()
    assert [str(candidate.variant) for candidate in ran.order] == ["1s1x64d"] * 8


@pytest.mark.parametrize("seed", [0, 1])
def test_optunas_gaussian_process_tries_each_candidate_once(seed: int) -> None:
    """A space of four, since its fits of all objectives take seconds."""
    method = MethodConfig("gp", {"n_startup_trials": 3})
    space = make_space(variant=SIX[:4])
    config = make_config(sampler=method, seed=seed, epochs=1, pruner=MethodConfig("none"))
    ran = Workers(make_strategy(space=space, config=config)).run()
    assert sorted(str(candidate.variant) for candidate in ran.order) == sorted(SIX[:4])


# The factory


@pytest.mark.parametrize(
    ("method", "choices", "words"),
    [
        (
            MethodConfig("nsga"),
            {},
            "sampler.name=nsga: no such sampler; valid: known_cost, g",
        ),
        (MethodConfig(""), {}, "no such sampler"),
        (MethodConfig("grid", {"seed": 1}), {}, "search.sampler.args={'seed': 1}"),
        (MethodConfig("tpe", {"startup": 1}), {}, "search.sampler.args.startup: tpe has no such"),
        (MethodConfig("tpe", {"seed": 1}), {}, "search.sampler.args.seed"),
        (MethodConfig("tpe", {"gamma": 5}), {}, "search.sampler.args.gamma: tpe has no such"),
        (MethodConfig("nsga2", {"crossover": "x"}), {}, "search.sampler.args.crossover: nsga2 has"),
        (
            MethodConfig("tpe", {"n_startup_trials": "x"}),
            {},
            "search.sampler.args.n_startup_trials=x: tpe takes int",
        ),
        (MethodConfig("tpe", {"group": True, "multivariate": False}), {}, "search.sampler.args"),
        (MethodConfig("grid"), {"train.momentum": {"low": 0.1, "high": 0.2}}, "continuous range"),
        (
            MethodConfig("cheapest"),
            {"train.momentum": {"low": 0.1, "high": 0.2}},
            "valid: known_cost, random",
        ),
        (MethodConfig("known_cost", {"price": "euros"}), {}, "price must be seconds or epochs"),
        (MethodConfig("known_cost", {"pausing": "x"}), {}, "pausing must be true or false"),
        (MethodConfig("known_cost", {"seed": 1}), {}, "search.sampler.args.seed: known_cost has"),
        (MethodConfig("qmc", {"seed": 1}), {}, "search.sampler.args.seed: qmc has no such"),
    ],
)
def test_the_factory_refuses_in_one_line(
    method: MethodConfig, choices: dict[str, Any], words: str
) -> None:
    nothing: Callable[[Any], None] = lambda trial: None  # noqa: E731
    space = Space({"variant": ["1s1x64d"], **choices}, SMALL)
    goal = Goal(tuple(OBJECTIVES), "accuracy", 4)
    with pytest.raises(UserError) as caught:
        build_sampler(method, space, directions_of(OBJECTIVES), nothing, 0, goal)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_costs_than_can_be_weighed_are_refused_before_anything_begins() -> None:
    space = Space({"variant": ["1s1x64d", "2s1x64d"]}, SMALL)
    names = ["accuracy", *(f"c{number}" for number in range(11))]
    nothing: Callable[[Any], None] = lambda trial: None  # noqa: E731
    goal, method = Goal(tuple(names), "accuracy", 4), MethodConfig("known_cost")
    with pytest.raises(UserError, match="weighs 10 costs at most, not the 11 of"):
        build_sampler(method, space, directions_of(names), nothing, 0, goal)
    goal = Goal(tuple(names[:-1]), "accuracy", 4)
    build_sampler(method, space, directions_of(names[:-1]), nothing, 0, goal)


def test_a_costing_without_latency_comes_last_in_the_cheapest_order() -> None:
    space = twelve()
    costings = make_costings(space)
    slowest = max(costings, key=lambda network: costings[network].costs["latency_ms"])
    costings[slowest].costs["latency_ms"] = math.inf
    config = make_config(sampler=METHODS[2])
    ran = Workers(make_strategy(space=space, config=config, costings=costings)).run()
    assert ran.order[-1].network == slowest
