"""Forecasts from rung to rung: what is unfinished teaches, and what is had twice counts once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnest_search.search.forecast.ladder import Climb, Ladder, rungs_of
from resnest_search.search.forecast.outlook import Outlook, Prospect
from resnest_search.search.situation import Goal

LR = {"lr": FloatDistribution(0.0, 1.0)}
GOAL = Goal(("accuracy", "latency_ms"), "accuracy", 9)
EPOCHS = range(1, 10)


def trial_of(
    number: int, curve: Sequence[float], state: TrialState = TrialState.RUNNING, **facts: Any
) -> FrozenTrial:
    """A trial whose only parameter tells its number, and whose latency tells nothing."""
    entries = [
        {"epoch": epoch, "accuracy": value, "train_loss": 1 - value, "at": 10.0 * number + epoch}
        for epoch, value in enumerate(curve, start=1)
    ]
    attributes = {"candidate": f"c{number}", "latency_ms": 1.0, "curve": entries, **facts}
    trial = create_trial(
        state=TrialState.RUNNING,
        params={"lr": number / 40},
        distributions=dict(LR),
        user_attrs=attributes,
        intermediate_values=dict(enumerate(curve, start=1)),
    )
    trial.state = state
    trial.number = number
    return trial


def rising(height: float, epochs: int = 9) -> list[float]:
    return [height * (1 - math.exp(-epoch / 3)) for epoch in range(1, epochs + 1)]


def ladder_of(goal: Goal = GOAL) -> Ladder:
    outlook = Outlook(goal)
    reference = [candidate(number, outlook) for number in range(40)]
    return Ladder(goal, outlook, reference)


def candidate(number: int, outlook: Outlook) -> Prospect:
    return outlook.candidate({"lr": number / 40}, dict(LR), {"latency_ms": 1.0})


def forecast(trials: Sequence[FrozenTrial], wanted: Sequence[FrozenTrial]) -> tuple[Any, Any]:
    ladder = ladder_of()
    return ladder.chain(ladder.climbs(trials)).forecast([ladder.climb(t) for t in wanted])


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (4, (1, 4)),
        (5, (1, 3, 5)),
        (9, (1, 3, 9)),
        (27, (1, 3, 9, 27)),
        (49, (1, 3, 9, 27, 49)),
        (90, (1, 3, 9, 27, 90)),
    ],
)
def test_rungs(epochs: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(epochs) == rungs


@given(st.integers(1, 2000))
def test_rungs_rise_to_the_full_length(epochs: int) -> None:
    rungs = rungs_of(epochs)
    assert rungs[-1] == epochs
    assert list(rungs) == sorted(set(rungs))


def test_of_a_curve_it_sees_more_than_one_number() -> None:
    shown = ladder_of().climb(trial_of(0, [0.2, 0.3, 0.5, 0.6])).shown
    assert len(shown) == 2
    assert shown[0][:3] == pytest.approx([0.2, 0.2, np.nan], nan_ok=True)
    assert shown[1] == pytest.approx([0.5, 0.4, 0.3, 0.2, math.log(0.5)])


def test_a_curve_with_a_gap_counts_until_there() -> None:
    assert ladder_of().climb(trial_of(0, [0.2, math.nan, 0.5])).rungs == 1


# Of candidates in an order that tells nothing of them.
HEIGHTS = np.random.default_rng(0).permutation(np.linspace(0.5, 0.9, 12))


def test_curves_that_tell_their_end_are_believed() -> None:
    done = [trial_of(n, rising(h), TrialState.COMPLETE) for n, h in enumerate(HEIGHTS)]
    under_way = [trial_of(12 + n, rising(h, 3)) for n, h in enumerate(HEIGHTS[::-1])]
    mean, deviation = forecast(done, under_way)
    truth = np.array([rising(h)[-1] for h in HEIGHTS[::-1]])
    assert mean == pytest.approx(truth, abs=0.04)
    assert (np.abs(mean - truth) < 2 * deviation).all()


def test_what_is_unfinished_teaches() -> None:
    """Looks at candidates on one side move the forecast of a new one there, and not far off."""
    heights = {1: 0.65, 8: 0.75, 16: 0.7, 24: 0.66, 30: 0.74}
    done = [trial_of(n, rising(h), TrialState.COMPLETE) for n, h in heights.items()]
    looks = [trial_of(n, rising(0.9, 3)) for n in range(33, 39)]
    new = [trial_of(39, []), trial_of(0, [])]
    before, _ = forecast(done, new)
    after, _ = forecast([*done, *looks], new)
    assert after[0] > before[0] + 0.03
    assert abs(after[1] - before[1]) < after[0] - before[0]


def test_a_look_makes_a_forecast_surer() -> None:
    done = [trial_of(n, rising(h), TrialState.COMPLETE) for n, h in enumerate(HEIGHTS)]
    shown = [trial_of(12, rising(0.8, epochs)) for epochs in (0, 1)]
    _, deviation = forecast(done, shown)
    assert deviation[0] > 2 * deviation[1]


def test_before_anything_is_known_dearer_is_expected_to_be_better() -> None:
    outlook = Outlook(GOAL)
    dear = [
        outlook.candidate({"lr": 0.5}, dict(LR), {"latency_ms": latency})
        for latency in (1.0, 2.0, 4.0)
    ]
    ladder = Ladder(GOAL, outlook, dear)
    mean, _ = ladder.chain([]).forecast([Climb(prospect) for prospect in dear])
    assert mean[0] < mean[1] < mean[2]


def test_a_metric_to_be_minimised_is_forecast_upside_down() -> None:
    goal = Goal(("loss", "latency_ms"), "loss", 9)
    climb = ladder_of(goal).climb(trial_of(0, [0.9, 0.8, 0.7]))
    assert climb.levels == (-0.9, -0.7)


def test_a_trial_that_another_one_continues_counts_once() -> None:
    ladder = ladder_of()
    trials = [trial_of(0, rising(0.8, 3), TrialState.PRUNED)]
    trials.append(trial_of(1, rising(0.8, 5), continues=0))
    assert [climb.number for climb in ladder.climbs(trials)] == [1]


def test_seeds_of_a_candidate_are_one_with_their_mean() -> None:
    ladder = ladder_of()
    same = {"candidate": "c0"}
    trials = [
        trial_of(0, rising(0.8), TrialState.COMPLETE),
        trial_of(1, rising(0.6), TrialState.COMPLETE, repeat=1, **same),
        trial_of(2, rising(0.5), TrialState.COMPLETE),
    ]
    finals = [climb.final for climb in ladder.climbs(trials)]
    assert finals == pytest.approx([(rising(0.8)[-1] + rising(0.6)[-1]) / 2, rising(0.5)[-1]])


def test_what_failed_teaches_nothing() -> None:
    assert not ladder_of().climbs([trial_of(0, [0.1, 0.1, 0.1], TrialState.FAIL)])


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_made_anew_it_says_the_same(seed: int) -> None:
    """Whatever was asked of a ladder before: a resumed sweep decides as the killed one would."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(14):
        curve = rising(rng.uniform(0.5, 0.9), int(rng.choice([1, 3, 9])))
        state = TrialState.COMPLETE if len(curve) == 9 else TrialState.RUNNING
        trials.append(trial_of(number, curve, state))
    old = ladder_of()
    for count in range(1, len(trials)):
        old.chain(old.climbs(trials[:count]))
    wanted = [old.climb(trial) for trial in trials if len(trial.intermediate_values) < 9]
    if wanted:
        mean, _ = forecast(trials, [t for t in trials if len(t.intermediate_values) < 9])
        assert old.chain(old.climbs(trials)).forecast(wanted)[0].tolist() == mean.tolist()
