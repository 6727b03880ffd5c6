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

from resnest_search.search.forecast.climbs import Climb, Climbs
from resnest_search.search.forecast.ladder import Ladder, rungs_of
from resnest_search.search.forecast.outlook import Outlook, Prospect
from resnest_search.search.situation import Goal

LR = {"lr": FloatDistribution(0.0, 1.0)}
GOAL = Goal(("accuracy", "latency_ms"), "accuracy", 9)
EPOCHS = range(1, 10)


def trial_of(
    number: int, curve: Sequence[float], state: TrialState = TrialState.RUNNING, **facts: Any
) -> FrozenTrial:
    """A trial whose only parameter tells its number (up to 40), and whose latency tells nothing."""
    entries = [
        {"epoch": epoch, "accuracy": value, "train_loss": 1 - value, "at": 10.0 * number + epoch}
        for epoch, value in enumerate(curve, start=1)
    ]
    attributes = {"candidate": f"c{number}", "latency_ms": 1.0, "curve": entries, **facts}
    trial = create_trial(
        state=TrialState.RUNNING,
        params={"lr": number % 41 / 40},
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
    mean, _ = ladder.chain(ladder.climbs([])).forecast([Climb(prospect) for prospect in dear])
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


@pytest.mark.parametrize("rung", [0, 1, 2])
def test_of_very_many_an_even_share_is_learned_from(rung: int) -> None:
    """What is chosen by what came later would make all others look better than they are."""
    rng = np.random.default_rng(rung)
    curves = rng.normal(0.7, 0.05, (700, 9))  # of which no part tells another
    done = [trial_of(n, curve, TrialState.COMPLETE) for n, curve in enumerate(curves[:400])]
    others = [trial_of(400 + n, curve[: (0, 1, 3)[rung]]) for n, curve in enumerate(curves[400:])]
    mean, _ = forecast(done, others)
    assert mean.mean() == pytest.approx(curves[:400, -1].mean(), abs=0.01)


def test_what_failed_teaches_nothing() -> None:
    assert not ladder_of().climbs([trial_of(0, [0.1, 0.1, 0.1], TrialState.FAIL)])


@settings(max_examples=6)
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


def test_of_very_many_looks_a_few_more_change_nothing() -> None:
    """A fiftieth of them does. What is asked for in between does not matter."""
    heights = np.random.default_rng(0).uniform(0.5, 0.9, 1020)
    trials = [trial_of(number, rising(height, 1)) for number, height in enumerate(heights)]
    wanted = [trial_of(2000, []), trial_of(2001, rising(0.7, 1))]
    told = {n: forecast(trials[:n], wanted)[0].tolist() for n in (999, 1000, 1001, 1019, 1020)}
    assert told[1000] == pytest.approx(told[1001], rel=1e-6)
    assert told[1001] == told[1019]
    for before, after in [(999, 1000), (1019, 1020)]:
        assert told[before] != pytest.approx(told[after], rel=1e-6)
    kept = ladder_of()
    for number, means in [*told.items(), *reversed(told.items())]:
        chain = kept.chain(kept.climbs(trials[:number]))
        assert chain.forecast([kept.climb(trial) for trial in wanted])[0].tolist() == means


@given(st.integers(0, 10**6))
def test_of_very_many_looks_the_first_are_those_that_were_had_first(seed: int) -> None:
    """Whatever numbers the trials have."""
    rng = np.random.default_rng(seed)
    trials = [
        trial_of(number, rising(rng.uniform(0.5, 0.9), int(rng.choice([1, 3, 9]))))
        for number in range(20)
    ]
    for trial in trials:
        curve = trial.user_attrs["curve"]
        for entry, at in zip(curve, np.sort(rng.uniform(size=len(curve))), strict=True):
            entry["at"] = float(at)
    curves = [trial.user_attrs["curve"] for trial in trials]
    looks = sorted(e["at"] for curve in curves for e in curve if e["epoch"] in (1, 3, 9))
    early = []
    for number, curve in enumerate(curves):
        known = [entry for entry in curve if entry["at"] <= looks[19]]
        early.append(trial_of(number, [entry["accuracy"] for entry in known]))
        early[-1].user_attrs["curve"][:] = known
    wanted = [trial_of(2000, []), trial_of(2001, rising(0.7, 1)), trial_of(2002, rising(0.7, 3))]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("resnest_search.search.forecast.ladder._LEARN_ALL", 20)
        patched.setattr("resnest_search.search.forecast.ladder._LEARN_GROWTH", 10.0)
        few, many = (np.array(forecast(known, wanted)) for known in (early, trials))
    assert many == pytest.approx(few, rel=1e-6)


CHANGES = [1, 3, 9, "fails", "again", "continues"]


def facts_of(climbs: Climbs) -> list[Any]:
    """All that is kept of climbs, NaN equal to itself."""
    kept = (climbs.rungs, climbs.values, climbs.costs, climbs.looks, [c.number for c in climbs])
    return [repr(list(map(list, each)) if np.ndim(each) == 2 else list(each)) for each in kept]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 2, 3, 9])), max_size=25))
def test_kept_in_order_climbs_are_those_of_all_trials(changes: list[tuple[int, int]]) -> None:
    """Whatever trial gets ahead, falls back, or is taken out again."""
    ladder = ladder_of()
    trials = [trial_of(number, []) for number in range(7)]
    kept = Climbs([], len(ladder.rungs))
    for number, epochs in changes:
        trials[number] = trial_of(number, rising(0.5 + number / 20, epochs))
        kept = kept.having(ladder.climb(trials[number]))
        every = [climb for trial in trials if (climb := ladder.climb(trial)).rungs]
        assert facts_of(kept) == facts_of(Climbs(every, len(ladder.rungs)))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(CHANGES))))
def test_read_by_and_by_trials_say_what_they_say_at_once(changes: list[tuple[int, Any]]) -> None:
    """Also where one fails, another goes on for it, or a further seed of it is trained."""
    old = ladder_of()
    trials: list[FrozenTrial] = []
    for place, change in changes:
        is_new = change in ("again", "continues")
        number = len(trials) if is_new else min(place, len(trials))
        epochs = change if isinstance(change, int) else {"again": 9}.get(change, 3)
        state = {"fails": TrialState.FAIL, "again": TrialState.COMPLETE}.get(change)
        facts: dict[str, Any] = {"again": {"repeat": 1, "candidate": f"c{place}"}}.get(change, {})
        if change == "continues" and place < len(trials):
            facts = {"continues": place}
        for trial in trials[number : number + 1]:  # what it is it stays
            facts = {k: v for k, v in trial.user_attrs.items() if k not in ("curve", "latency_ms")}
        curve = rising(0.5 + number / 20, epochs)
        made = trial_of(number, curve, state or TrialState.RUNNING, **facts)
        trials[number : number + 1] = [made]
        new = ladder_of()
        assert facts_of(old.climbs(trials)) == facts_of(new.climbs(trials))
        fitted = [ladder.chain(ladder.climbs(trials)).hyperparameters for ladder in (old, new)]
        assert repr(fitted[0]) == repr(fitted[1])
