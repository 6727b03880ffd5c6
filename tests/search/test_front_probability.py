"""The default pruner: what it pauses, and above all what it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import norm

from resnest_search.metrics import METRICS
from resnest_search.search.forecast.outlook import Finished, Prospect
from resnest_search.search.forecast.surrogate import Forecast
from resnest_search.search.pruners.front_probability import (
    FrontProbabilityPruner,
    front_probabilities,
)

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
EPOCHS = 4
Curve = list[float]


def make_pruner(reported: str = "accuracy", **args: Any) -> FrontProbabilityPruner:
    return FrontProbabilityPruner(**args, epochs=EPOCHS, reported=reported)


def make_study(reported: str = "accuracy") -> optuna.Study:
    ways = ["maximize" if METRICS[reported].maximize else "minimize", "minimize"]
    study = optuna.create_study(directions=ways)
    study.set_metric_names([reported, "latency_ms"])
    return study


def enter(study: optuna.Study, x: float, curve: Curve, sign: float = 1.0) -> FrozenTrial:
    """A trial with this curve, complete where that is whole; its latency follows ``x``."""
    values = {epoch: sign * value for epoch, value in enumerate(curve, start=1)}
    latency = math.exp(x)
    complete = len(curve) == EPOCHS
    trial = create_trial(
        state=TrialState.COMPLETE if complete else TrialState.RUNNING,
        values=[values[EPOCHS], latency] if complete else None,
        params={"x": x},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=values,
        user_attrs={"latency_ms": latency},
    )
    study.add_trial(trial)
    return study.get_trials(deepcopy=False)[-1]


def rows(count: int, seed: int, telling: bool) -> list[tuple[float, Curve]]:
    """Candidates that differ in ability beyond their features; early epochs show it, or don't."""
    rng = np.random.default_rng(seed)
    found = []
    for x in rng.uniform(0, 1, count):
        final = 0.7 + 0.05 * x + rng.normal(0, 0.03)
        early = np.array([0.3, 0.4, 0.5]) + rng.normal(0, 0.03, 3)
        if telling:
            early = final * np.array([0.5, 0.7, 0.9]) + rng.normal(0, 0.001, 3)
        found.append((float(x), [*map(float, early), float(final)]))
    return found


def sweep(
    known: Sequence[tuple[float, Curve]], reported: str = "accuracy"
) -> tuple[optuna.Study, float]:
    """A study in which these have finished, and the sign of its values."""
    study, sign = make_study(reported), 1.0 if METRICS[reported].maximize else -1.0
    for x, curve in known:
        enter(study, x, curve, sign)
    return study, sign


# Arguments


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.0}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"startup": 2}, "startup"),
        ({"startup": True}, "startup"),
        ({"startup": 4.0}, "startup"),
        ({"evidence": -1.0}, "evidence"),
        ({"evidence": math.inf}, "evidence"),
        ({"evidence": math.nan}, "evidence"),
    ],
)
def test_an_argument_out_of_its_range_is_named(args: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} must be .* not "):
        make_pruner(**args)


# Probabilities


def test_the_probability_is_that_of_ending_above_all_rivals() -> None:
    prospects = [Prospect(np.zeros(1), np.array([cost])) for cost in (0.5, 1.0, 2.5)]
    finished = Finished(
        numbers=(0, 1),
        features=np.zeros((2, 1)),
        costs=np.array([[1.0], [2.0]]),
        finals=np.array([0.6, 0.8]),
        curves=({}, {}),
    )
    found = Forecast(np.full(3, 0.7), np.full(3, 0.1), np.zeros(3))
    expected = [1.0, norm.sf(-1.0), norm.sf(1.0)]
    assert front_probabilities(found, prospects, finished) == pytest.approx(expected)


def test_a_candidate_cheaper_than_all_is_on_the_front_whatever_it_does() -> None:
    study, _ = sweep(rows(12, 0, telling=True))
    decision = make_pruner().explain(study, enter(study, 0.0, [0.01]))
    assert decision is not None
    assert decision.kept
    assert decision.probability == 1.0


# Decisions


def test_nothing_is_decided_before_enough_have_finished() -> None:
    study, _ = sweep(rows(5, 1, telling=True))
    bad = enter(study, 1.0, [0.1])
    assert make_pruner(startup=6, evidence=0.0).explain(study, bad) is None
    assert make_pruner(startup=5, evidence=0.0).explain(study, bad) is not None


def test_nothing_is_decided_before_the_first_epoch_or_at_the_last() -> None:
    study, _ = sweep(rows(8, 1, telling=True))
    assert make_pruner().explain(study, enter(study, 0.5, [])) is None
    assert make_pruner().explain(study, enter(study, 0.5, [0.1, 0.1, 0.1, 0.1])) is None


def test_a_value_that_is_no_number_is_never_kept() -> None:
    study = make_study()
    broken = enter(study, 0.5, [0.4, math.nan])
    decision = make_pruner().explain(study, broken)
    assert decision is not None
    assert not decision.kept
    assert decision.probability == 0.0
    assert make_pruner().promotable(study, [broken]) == []


@pytest.mark.parametrize("seed", range(3))
def test_early_epochs_that_show_the_order_decide(seed: int) -> None:
    known = rows(12, seed, telling=True)
    study, _ = sweep(known)
    for ability, kept in ((0.95, True), (0.4, False)):
        trial = enter(study, 0.9, [0.5 * ability])
        decision = make_pruner().explain(study, trial)
        assert decision is not None
        assert decision.kept == kept
        assert decision.epoch == 1
        assert f"probability of {decision.probability:.2f} (threshold 0.1)" in decision.reason


def test_early_epochs_that_say_nothing_prune_nothing() -> None:
    pauses = decisions = 0
    for seed in range(4):
        everyone = rows(40, seed, telling=False)
        for count in (4, 6, 9, 14, 22):
            study, _ = sweep(everyone[:count])
            pruner = make_pruner()
            for x, curve in everyone[count : count + 10]:
                for epochs in (1, 2, 3):
                    pauses += pruner.prune(study, enter(study, x, curve[:epochs]))
                    decisions += 1
    assert decisions == 600
    assert pauses <= 6  # chance may look like evidence now and then


def test_without_evidence_asked_for_the_features_alone_may_decide() -> None:
    everyone = rows(40, 0, telling=False)
    study, _ = sweep(everyone[:20])
    trials = [enter(study, x, curve[:1]) for x, curve in everyone[20:]]
    easy, strict = make_pruner(evidence=0.0), make_pruner()
    assert sum(easy.prune(study, t) for t in trials) > sum(strict.prune(study, t) for t in trials)


@pytest.mark.parametrize("seed", range(3))
def test_a_loss_is_an_accuracy_the_other_way_round(seed: int) -> None:
    everyone = rows(24, seed, telling=True)
    answers = []
    for reported in ("accuracy", "loss"):
        study, sign = sweep(everyone[:10], reported)
        trials = [enter(study, x, curve[:2], sign) for x, curve in everyone[10:]]
        pruner = make_pruner(reported)
        decisions = [pruner.explain(study, trial) for trial in trials]
        answers.append((decisions, pruner.promotable(study, trials)))
    assert answers[0] == answers[1]
    kept = {decision.kept for decision in answers[0][0] if decision}
    assert kept == {True, False}


# Promotions


def test_the_most_probable_goes_on_first_and_the_hopeless_wait() -> None:
    study, _ = sweep(rows(12, 0, telling=True))
    abilities = (0.4, 0.76, 0.9, 0.45)
    trials = [enter(study, 0.9, [0.5 * ability]) for ability in abilities]
    pruner = make_pruner()
    assert pruner.promotable(study, trials)[0] == trials[2].number
    assert not {trials[0].number, trials[3].number} & set(pruner.promotable(study, trials))
    hopeful = {t.number for t in trials if not pruner.prune(study, t)}
    assert set(pruner.promotable(study, trials)) == hopeful
    assert pruner.promotable(study, []) == []


def test_what_was_paused_goes_on_where_nothing_can_be_told() -> None:
    study, _ = sweep(rows(2, 0, telling=True))
    trials = [enter(study, 0.9, [0.1]), enter(study, 0.1, [0.3])]
    assert make_pruner().promotable(study, trials) == [t.number for t in trials]


def test_trials_at_different_epochs_are_each_judged_by_their_own() -> None:
    study, _ = sweep(rows(12, 0, telling=True))
    # 0.42 is good at the first epoch, and poor at the second.
    early, late = enter(study, 0.9, [0.42]), enter(study, 0.9, [0.30, 0.42])
    assert make_pruner().promotable(study, [early, late]) == [early.number]


def test_a_lower_threshold_pauses_no_more() -> None:
    everyone = rows(30, 5, telling=False)
    study, _ = sweep(everyone[:10])
    trials = [enter(study, x, curve[:1]) for x, curve in everyone[10:]]
    counts = [
        sum(make_pruner(threshold=threshold, evidence=0.0).prune(study, t) for t in trials)
        for threshold in (0.01, 0.1, 0.5)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
