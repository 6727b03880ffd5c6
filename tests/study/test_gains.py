from dataclasses import replace

import pytest
from sample_sweeps import doubtful, make_sweep, make_trial, mixed, timed

from resnest_search.study.gains import gains
from resnest_search.study.importance import LEAST, importance
from resnest_search.study.record import PRUNED, varied


def test_hypervolume_grows_up_to_all_of_it_and_counts_the_epochs_of_all():
    sweep = timed(mixed())
    found = gains(sweep)
    shares = [gain.share for gain in found]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert shares[0] < 0.9
    for gain in found:
        ended = [e for t in sweep.trials for e in t.curve if e.at <= gain.seconds + 1e-9]
        assert gain.epochs == len(ended)


def test_epochs_that_a_trial_took_over_are_counted_once():
    first = make_trial(0, "2s1x64d", PRUNED)  # at a bound, that a resume raised
    (before,) = timed(make_sweep([first])).trials
    whole = make_trial(1, "2s1x64d", candidate=first.candidate)
    done = len(before.curve)
    rest = [replace(e, at=100.0 + e.epoch) for e in whole.curve[done:]]
    sweep = make_sweep([before, replace(whole, curve=(*before.curve, *rest), inherited=done)])
    assert gains(sweep)[-1].epochs == sweep.epochs == len(whole.curve)


def test_what_is_off_the_front_gains_nothing():
    worse = make_trial(1, "4s4x64d")
    worse = replace(worse, curve=tuple(replace(e, accuracy=0.1) for e in worse.curve))
    found = gains(timed(make_sweep([make_trial(0, "1s1x16d"), worse])))
    assert found[0].share == found[1].share == pytest.approx(1.0)


def test_without_moments_nothing_is_known():
    assert gains(mixed()) == []
    assert gains(make_sweep([])) == []


def test_a_candidate_counts_once_however_many_seeds_it_has():
    sweep = timed(doubtful())
    repeats = sum(t.repeat_of is not None for t in sweep.trials)
    complete = sum(t.state == "complete" for t in sweep.trials)
    assert repeats
    assert len(gains(sweep)) == complete - repeats


def grid(measure, states=None):
    variants = [f"{r}s{k}x{w}d" for r in (1, 2, 4) for k in (1, 2, 4) for w in (16, 40, 64)]
    trials = []
    for number, variant in enumerate(variants):
        trial = make_trial(number, variant, *([states[number]] if states else []))
        trial = replace(trial, costs={**trial.costs, "latency_ms": measure(trial.dimensions)})
        trials.append(trial)
    return replace(make_sweep(trials), objectives=("accuracy", "latency_ms"))


def test_what_alone_decides_a_cost_has_all_its_variance():
    shares, count = importance(grid(lambda found: 10.0 + found["width"]))["latency_ms"]
    assert count == 27
    assert shares["width"] > 0.95
    assert shares["radix"] < 0.02
    both, _ = importance(grid(lambda found: found["width"] / 24 + found["radix"]))["latency_ms"]
    assert both["radix"] == pytest.approx(0.70, abs=0.05)  # of variances 14 / 9 and 6 / 9
    assert both["cardinality"] < 0.02


def test_a_cost_counts_all_candidates_and_accuracy_the_complete_ones():
    states = [PRUNED if n % 2 else "complete" for n in range(27)]
    found = importance(grid(lambda found: 10.0 + found["width"], states))
    assert found["latency_ms"][1] == 27
    assert found["accuracy"][1] == 14


def test_of_few_candidates_or_one_parameter_nothing_is_said():
    few = make_sweep([make_trial(n, f"{n}s1x{16 + n}d") for n in range(LEAST - 1)])
    assert importance(few) == {}
    alone = make_sweep([make_trial(n, f"1s1x{16 + n}d") for n in range(20)])
    assert varied(alone.trials) == ["width"]
    assert importance(alone) == {}
    assert "latency_ms" not in importance(grid(lambda found: 3.0))


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.4), ("none", "shift", "flip")])
def test_a_key_that_does_not_exist_beside_others_is_counted_too(values):
    sweep = grid(lambda found: 10.0 + found["width"])
    trials = []
    for number, trial in enumerate(sweep.trials):
        if trial.dimensions["radix"] == 2:
            mixed = {**trial.parameters, "train.mixup": values[number % 3]}
            costs = {**trial.costs, "latency_ms": 100.0 * (1 + number % 3)}
            trial = replace(trial, parameters=mixed, costs=costs)
        trials.append(trial)
    shares, count = importance(replace(sweep, trials=tuple(trials)))["latency_ms"]
    assert count == 27
    assert shares["train.mixup"] > max(shares["cardinality"], shares["width"])
