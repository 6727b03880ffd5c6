"""The choice within a budget, and with objectives of different worth."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_sweeps import doubtful, make_sweep, make_trial

from resnest_search.errors import UserError
from resnest_search.pareto import non_dominated
from resnest_search.study.narrow import narrowed
from resnest_search.study.read import placed, with_uncertainty
from resnest_search.study.record import COMPLETE, INFEASIBLE, Sweep
from resnest_search.study.select import described, select_trial


def first_seeds(sweep: Sweep) -> list:
    return [t for t in sweep.trials if t.state == COMPLETE and t.repeat_of is None]


@given(bound=st.floats(1.71, 4.0), name=st.sampled_from(["latency_ms", "parameters_m"]))
def test_the_front_is_that_of_what_holds_the_limits(bound: float, name: str) -> None:
    sweep = doubtful()
    if name == "parameters_m":
        bound /= 2
    within = [t for t in first_seeds(sweep) if t.costs[name] <= bound]
    if not within:
        with pytest.raises(UserError, match="no complete trial"):
            narrowed(sweep, {name: bound})
        return
    points = [(-t.mean_accuracy, t.costs["latency_ms"], t.costs["memory_mib"]) for t in within]
    kept = [t for t, on in zip(within, non_dominated(np.array(points)), strict=True) if on]
    seen = narrowed(sweep, {name: bound})
    assert {t.number for t in seen.front} == {t.number for t in kept}
    assert seen.chosen in {t.number for t in kept}
    best = select_trial(seen, "accuracy")
    assert best.mean_accuracy == max(t.mean_accuracy for t in kept)
    assert (
        described(seen, "accuracy")
        == f"the most accurate of the front within limits.{name}={bound:g}"
    )


def test_where_all_of_the_front_is_beyond_a_limit_the_others_are_looked_at() -> None:
    big = make_trial(0, "2s1x64d")
    costs = big.costs | {"latency_ms": 1.0, "memory_mib": 1.0}
    best = dataclasses.replace(big, costs=costs | {"parameters_m": 9.0})
    small = make_trial(1, "1s1x16d")
    small = dataclasses.replace(small, costs=small.costs | {"parameters_m": 0.1})
    worse = [dataclasses.replace(epoch, accuracy=epoch.accuracy / 2) for epoch in small.curve]
    sweep = make_sweep([best, dataclasses.replace(small, curve=tuple(worse))])
    sweep = with_uncertainty(
        dataclasses.replace(sweep, trials=tuple(placed(sweep.trials, sweep.objectives)))
    )
    assert [t.number for t in sweep.front] == [0]
    seen = narrowed(sweep, {"parameters_m": 1.0})
    assert [t.number for t in seen.front] == [1]
    assert described(seen, "knee") == "the only one on the front within limits.parameters_m=1"
    (beyond,) = [t for t in seen.trials if t.state == INFEASIBLE]
    assert beyond.reason == "parameters_m 9 above the limit 1"
    with pytest.raises(UserError, match=r"is infeasible \(parameters_m 9 above the limit 1\)"):
        select_trial(seen, best.variant)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            {"latency_ms": 0.5},
            "limits.latency_ms=0.5: no complete trial is within it; the closest, 1s1x40d: "
            "latency_ms 1.7",
        ),
        (
            {"images_per_s": 1e9},
            "limits.images_per_s=1e+09: no complete trial is within it; the closest, ",
        ),
        (
            {"latency_ms": 2.0, "memory_mib": 0.1},
            "limits.latency_ms=2, limits.memory_mib=0.1: no complete trial is within all of them; "
            "the closest, 1s1x40d: latency_ms 1.7, memory_mib 3.7",
        ),
    ],
)
def test_limits_that_nothing_holds_name_the_closest(limits: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        narrowed(doubtful(), limits)


def test_a_cost_that_nobody_knows_holds_no_limit() -> None:
    sweep = doubtful()
    lost = [
        dataclasses.replace(t, costs={k: v for k, v in t.costs.items() if k != "gmacs"})
        for t in sweep.trials
    ]
    with pytest.raises(UserError, match=r"limits\.gmacs=1: not known of any complete trial"):
        narrowed(dataclasses.replace(sweep, trials=tuple(lost)), {"gmacs": 1.0})
    one = first_seeds(sweep)[0].number
    some = [t if t.number != one else lost[i] for i, t in enumerate(sweep.trials)]
    seen = narrowed(dataclasses.replace(sweep, trials=tuple(some)), {"gmacs": 1.0})
    assert [t.reason for t in seen.trials if t.number == one] == ["gmacs is not known"]


def test_weights_of_one_change_nothing() -> None:
    sweep = doubtful()
    seen = narrowed(sweep, {}, dict.fromkeys(sweep.objectives, 1.0))
    assert (seen.chosen, seen.alike, seen.knee_share) == (
        sweep.chosen,
        sweep.alike,
        sweep.knee_share,
    )
    assert narrowed(sweep, {}) is sweep


def test_the_knee_has_the_least_weighted_sum_of_what_noise_tells_apart() -> None:
    sweep = doubtful()
    fast = narrowed(sweep, {}, {"accuracy": 0.0})
    assert fast.chosen == min(sweep.front, key=lambda t: t.costs["latency_ms"]).number
    sure = narrowed(sweep, {}, {"accuracy": 1e6})
    most = max(sweep.front, key=lambda t: t.mean_accuracy)
    chosen = next(t for t in sure.front if t.number == sure.chosen)
    # Noise does not tell the most accurate from what is cheaper: the cheapest of these is taken.
    assert chosen.costs["latency_ms"] < most.costs["latency_ms"]
    assert most.number in sure.alike
    # Where costs weigh nothing nothing is cheaper.
    blind = narrowed(sweep, {}, {"latency_ms": 0.0, "memory_mib": 0.0})
    assert blind.chosen == most.number
    assert described(sure, "knee") == "the knee of the front, with weights.accuracy=1e+06"


def test_weights_count_without_noise_and_on_a_small_front() -> None:
    sweep = dataclasses.replace(doubtful(), objectives=("loss", "latency_ms"))
    sweep = with_uncertainty(
        dataclasses.replace(sweep, trials=tuple(placed(sweep.trials, sweep.objectives)))
    )
    fast, slow = (narrowed(sweep, {}, {"latency_ms": w}).chosen for w in (1e3, 0.0))
    members = {t.number: t for t in sweep.front}
    assert members[fast].costs["latency_ms"] == min(t.costs["latency_ms"] for t in sweep.front)
    assert members[slow].metric("loss") == min(t.metric("loss") for t in sweep.front)
    bound = sorted(t.costs["latency_ms"] for t in doubtful().front)[1]
    few = narrowed(doubtful(), {"latency_ms": bound}, {"latency_ms": 1e3})
    assert len(few.front) == 2
    assert few.chosen == min(few.front, key=lambda t: t.costs["latency_ms"]).number
    assert described(few, "knee").startswith("what weighs least on a front of 2 within limits.")


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"gmacs": 2.0}, "weights.gmacs=2: is no objective of this run; valid: accuracy, latency"),
        (
            {"accuracy": 0.0, "latency_ms": 0.0, "memory_mib": 0.0},
            "weights.accuracy=0, weights.latency_ms=0, weights.memory_mib=0: leave nothing",
        ),
    ],
)
def test_weights_that_weigh_nothing_are_refused(weights: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        narrowed(doubtful(), {}, weights)


def test_costs_of_another_device_and_a_budget_go_together() -> None:
    sweep = dataclasses.replace(doubtful(), costs_of="jetson (a toaster)")
    seen = narrowed(sweep, {"latency_ms": 2.0})
    assert described(seen, "latency") == (
        "the fastest of the front within limits.latency_ms=2, by the costs of jetson (a toaster)"
    )
