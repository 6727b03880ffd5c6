"""Reading a study: the front that a person is shown, against Optuna and plain arithmetic."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from synthetic import (
    OBJECTIVES,
    SIX,
    Workers,
    diverges_at,
    make_config,
    make_costings,
    make_space,
    make_strategy,
)

from resnest_search.configuration.schema import MethodConfig
from resnest_search.errors import UserError
from resnest_search.space import Candidate
from resnest_search.study.answers import pack
from resnest_search.study.read import (
    candidate_results,
    placed,
    read_sweep,
    record_of,
    rivals_of,
)
from resnest_search.study.record import (
    COMPLETE,
    FAILED,
    INFEASIBLE,
    INTERRUPTED,
    PAUSED,
    PRUNED,
    RUNNING,
    Epoch,
    TrialRecord,
)
from resnest_search.study.study import SweepStudy
from resnest_search.study.uncertainty import estimate

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def plain_front(study: optuna.Study) -> set[int]:
    """Numbers of the complete trials that no other complete trial dominates."""
    signs = [-1 if d == optuna.study.StudyDirection.MAXIMIZE else 1 for d in study.directions]
    points = {
        trial.number: [sign * value for sign, value in zip(signs, trial.values, strict=True)]
        for trial in study.trials
        if trial.state == TrialState.COMPLETE
    }
    return {
        number
        for number, point in points.items()
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other in points.values()
        )
    }


def finished_file(tmp_path: Path) -> Path:
    """The database of a sweep with complete, pruned and failed trials."""
    space = make_space()
    study = SweepStudy.create(f"sqlite:///{tmp_path / 'study.db'}", OBJECTIVES)
    strategy = make_strategy(study, space, costings=make_costings(space, failed=SIX[5:]))
    Workers(strategy, diverges_at(SIX[1], 2)).run()
    study.close()
    return tmp_path / "study.db"


def test_the_front_is_that_of_plain_optuna(tmp_path: Path) -> None:
    file = finished_file(tmp_path)
    sweep = read_sweep(SweepStudy.open(tmp_path), tmp_path)
    plain = optuna.load_study(study_name=None, storage=f"sqlite:///{file}")
    assert plain.metric_names == OBJECTIVES
    front = {trial.number for trial in sweep.front}
    assert front == plain_front(plain) == {trial.number for trial in plain.best_trials}
    assert front
    assert sweep.chosen in front
    assert {trial.number for trial in sweep.trials if trial.on_front} == front


def test_states_reasons_and_curves_are_those_of_plain_optuna(tmp_path: Path) -> None:
    file = finished_file(tmp_path)
    sweep = read_sweep(SweepStudy.open(tmp_path), tmp_path)
    plain = optuna.load_study(study_name="sweep", storage=f"sqlite:///{file}").trials
    names = {
        TrialState.COMPLETE: COMPLETE,
        TrialState.PRUNED: PRUNED,
        TrialState.FAIL: FAILED,
    }
    assert {trial.state for trial in plain} == set(names)
    for record, trial in zip(sweep.trials, plain, strict=True):
        assert record.number == trial.number
        assert record.state == names[trial.state]
        assert record.reason == trial.user_attrs["reason"]
        assert {e.epoch: e.accuracy for e in record.curve} == trial.intermediate_values
        if trial.state == TrialState.COMPLETE:
            assert [record.metric(name) for name in OBJECTIVES] == trial.values
        assert (record.pruned_at is not None) == (trial.state == TrialState.PRUNED)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_the_front_of_tied_accuracies(levels: list[int]) -> None:
    def tied(candidate: Candidate, epoch: int) -> Epoch:
        level = levels[SIX.index(str(candidate.variant))]
        return Epoch(epoch, level / 4, 0.1, 0.1, 0.1, 360)

    strategy = make_strategy(config=make_config(pruner=MethodConfig("none"), epochs=1))
    Workers(strategy, tied).run()
    sweep = read_sweep(strategy.study, Path("runs"))
    study = strategy.study.optuna
    front = {trial.number for trial in sweep.front}
    assert front == plain_front(study) == {trial.number for trial in study.best_trials}


def test_whose_costs_are_not_known_is_on_no_front() -> None:
    study = sweep_of(("1s1x32d", 0, 0.95), ("4s1x64d", 0, 0.9))
    first, second = (record_of(trial) for trial in study.trials())
    first = dataclasses.replace(first, costs={})
    assert [t.on_front for t in placed([first, second], study.objectives)] == [False, True]
    assert [t.on_front for t in placed([first], study.objectives)] == [False]
    assert [r.number for r in candidate_results([first, second], study.objectives)] == [1]


def test_a_sweep_that_runs_shows_what_it_has() -> None:
    strategy = make_strategy()
    assert strategy.next() is not None
    sweep = read_sweep(strategy.study, Path("runs"))
    (trial,) = sweep.trials
    assert (trial.state, trial.reason, trial.curve) == (RUNNING, "", ())
    assert sweep.front == ()
    assert sweep.knee is None


def test_what_was_ruled_out_stands_apart_from_the_trials() -> None:
    strategy = make_strategy()
    Workers(strategy).run()
    entry = {
        "candidate": "0123456789",
        "variant": "4s4x24d",
        "parameters": {},
        "reason": "latency_ms 9 above the limit 5",
        "costs": {"latency_ms": 9.0},
        "device": "",
        "mode": "",
    }
    strategy.study.note("infeasible", [entry])
    last = read_sweep(strategy.study, Path("runs")).trials[-1]
    assert (last.number, last.state, last.on_front) == (-1, INFEASIBLE, False)
    assert last.metric("latency_ms") == 9.0


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no study\.db"):
        SweepStudy.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no database at all, but longer than its header" * 9])
def test_a_file_that_is_no_study_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(UserError, match="is no study of a sweep") as caught:
        SweepStudy.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_second_sweep_in_the_same_storage_is_refused(tmp_path: Path) -> None:
    finished_file(tmp_path)
    with pytest.raises(UserError, match="holds a sweep already; carry it on with resume"):
        SweepStudy.create(f"sqlite:///{tmp_path / 'study.db'}", OBJECTIVES)


# Several seeds of a candidate, and what noise leaves open


def sweep_of(*trainings: tuple[str, int, float], objectives: list[str] | None = None) -> SweepStudy:
    """Complete trials of (variant, seed, accuracy) on 400 images; the more splits, the slower."""
    study = SweepStudy.create(None, objectives or ["accuracy", "latency_ms"])
    for variant, seed, accuracy in trainings:
        add(study, variant, seed, accuracy)
    return study


def add(
    study: SweepStudy,
    variant: str,
    seed: int,
    accuracy: float,
    state: TrialState | None = None,
    **more: Any,
) -> None:
    latency = float(variant[0])
    right = np.arange(400) < round(accuracy * 400)
    epoch = {
        "epoch": 4,
        "accuracy": accuracy,
        "loss": 1 - accuracy,
        "train_loss": 0.1,
        "seconds": 1.0,
        "images": 400,
        "correct": pack(right, "a" * 64),
    }
    facts = {
        "candidate": f"hash of {variant}",
        "variant": variant,
        "parameters": {"variant": variant},
        "seed": seed,
        "device": "a device",
        "mode": "a mode",
        "latency_ms": latency,
        "latency_p95_ms": latency * 1.1,
        "latency_passes": 100,
        "curve": [epoch],
        **more,
    }
    values = {"accuracy": accuracy, "loss": 1 - accuracy, "latency_ms": latency}
    state = state or TrialState.COMPLETE
    study.optuna.add_trial(
        create_trial(
            state=state,
            values=[values[name] for name in study.objectives]
            if state == TrialState.COMPLETE
            else None,
            user_attrs=facts,
            intermediate_values={4: accuracy},
        )
    )


def read(study: SweepStudy) -> tuple[TrialRecord, ...]:
    return read_sweep(study, Path("runs")).trials


def test_the_front_is_of_means_over_seeds() -> None:
    """By its first seed alone the slow one would be on the front."""
    study = sweep_of(("1s1x32d", 0, 0.90), ("2s1x32d", 0, 0.92), ("2s1x32d", 1, 0.86))
    sweep = read_sweep(study, Path("runs"))
    fast, slow, again = sweep.trials
    assert [trial.on_front for trial in sweep.trials] == [True, False, False]
    assert (sweep.chosen, sweep.knee) == (0, None)
    assert slow.mean_accuracy == again.mean_accuracy == pytest.approx(0.89)
    assert (slow.accuracy, again.accuracy) == (0.92, 0.86)
    assert [trial.seeds for trial in sweep.trials] == [1, 2, 2]
    assert [trial.repeat_of for trial in sweep.trials] == [None, None, 1]
    assert fast.mean_accuracy == fast.accuracy


def test_the_first_complete_trial_stands_for_its_candidate() -> None:
    study = sweep_of(("1s1x32d", 0, 0.90))
    add(study, "2s1x32d", 0, 0.99, TrialState.PRUNED)
    add(study, "2s1x32d", 1, 0.95)
    add(study, "2s1x32d", 2, 0.97)
    add(study, "2s1x32d", 3, 0.50, TrialState.FAIL)
    trials = read(study)
    assert [trial.on_front for trial in trials] == [True, False, True, False, False]
    assert [trial.repeat_of for trial in trials] == [None, None, None, 2, 2]
    assert trials[2].mean_accuracy == pytest.approx(0.96)
    assert [trial.mean_accuracy for trial in trials if trial.state != COMPLETE] == [None, None]
    assert [trial.membership is not None for trial in trials] == [True, False, True, False, False]


def test_the_same_seed_again_is_no_further_seed() -> None:
    study = sweep_of(("1s1x32d", 0, 0.90), ("1s1x32d", 0, 0.90))
    first, again = read(study)
    assert (first.seeds, again.seeds, again.repeat_of) == (1, 1, 0)
    assert read_sweep(study, Path("runs")).noise == ("images",)


def test_a_loss_is_a_mean_over_seeds_too() -> None:
    study = sweep_of(
        ("1s1x32d", 0, 0.90),
        ("2s1x32d", 0, 0.92),
        ("2s1x32d", 1, 0.86),
        objectives=["loss", "latency_ms"],
    )
    sweep = read_sweep(study, Path("runs"))
    assert [trial.on_front for trial in sweep.trials] == [True, False, False]
    assert sweep.noise == ()  # of a loss it is not recorded
    assert {trial.membership for trial in sweep.trials} == {None}


def test_memberships_rivals_and_errors_are_those_of_the_estimate() -> None:
    study = sweep_of(
        ("1s1x32d", 0, 0.90), ("2s1x32d", 0, 0.9025), ("2s1x32d", 1, 0.9), ("4s1x32d", 0, 0.95)
    )
    sweep = read_sweep(study, Path("runs"))
    records = [record_of(trial) for trial in study.trials()]
    results = candidate_results(records, study.objectives)
    assert results == candidate_results(sweep.trials, study.objectives)
    found = estimate(results)
    assert [result.number for result in results] == [0, 1, 3]
    for result in results:
        trial = sweep.trials[result.number]
        assert trial.membership == found.membership[result.identity]
        assert trial.knee_share == found.knee_share[result.identity]
        assert trial.mean_error == found.errors[result.identity]
    assert sweep.trials[2].mean_error == sweep.trials[1].mean_error
    assert rivals_of(sweep, sweep.trials[1]) == (0,)
    assert sweep.noise == ("images", "seeds")
    assert sweep.seed_deviation == found.seed_deviation == pytest.approx(0.0025 / 2**0.5)
    assert (sweep.chosen, sweep.knee) == (0, 0)
    assert (sweep.rivals, sweep.knee_share) == ((), sweep.trials[0].knee_share)


def test_a_front_of_two_has_no_knee_and_one_of_three_has() -> None:
    rows = [("1s1x32d", 0, 0.60), ("2s1x32d", 0, 0.90), ("4s1x32d", 0, 0.905)]
    for objectives, chosen in (["accuracy", "latency_ms"], 1), (["latency_ms", "accuracy"], 0):
        sweep = read_sweep(sweep_of(*rows[:2], objectives=objectives), Path("runs"))
        assert (sweep.chosen, sweep.knee, sweep.knee_share) == (chosen, None, None)
    for objectives in (["accuracy", "latency_ms"], ["latency_ms", "accuracy"]):
        sweep = read_sweep(sweep_of(*rows, objectives=objectives), Path("runs"))
        assert (sweep.chosen, sweep.knee, sweep.alike) == (1, 1, (2,))
        trials = [sweep.trials[number] for number in (0, 1, 2)]
        assert sum(trial.knee_share or 0 for trial in trials) == pytest.approx(1)


def test_a_front_of_losses_has_a_knee_without_noise() -> None:
    rows = [("1s1x32d", 0, 0.60), ("2s1x32d", 0, 0.90), ("4s1x32d", 0, 0.905)]
    sweep = read_sweep(sweep_of(*rows, objectives=["loss", "latency_ms"]), Path("runs"))
    assert (sweep.chosen, sweep.knee, sweep.alike, sweep.noise) == (1, 1, (), ())


def test_what_waits_is_paused_and_what_nobody_is_at_was_interrupted() -> None:
    strategy = make_strategy()
    study = strategy.study
    for _ in range(2):
        assert strategy.next() is not None
    study.pause(0, at=1.0, reason="others promise more")
    paused, running = read_sweep(study, Path("runs")).trials
    assert (paused.state, paused.reason, running.state) == (PAUSED, "others promise more", RUNNING)
    paused, interrupted = read_sweep(study, Path("runs"), at_work=False).trials
    assert (paused.state, interrupted.state, interrupted.reason) == (PAUSED, INTERRUPTED, "")


def test_one_seed_has_the_error_of_its_images() -> None:
    (trial,) = read(sweep_of(("1s1x32d", 0, 0.90)))
    assert trial.mean_error == pytest.approx(trial.accuracy_error)


def test_a_sweep_that_is_redrawn_estimates_nothing() -> None:
    study = sweep_of(("1s1x32d", 0, 0.90), ("2s1x32d", 0, 0.95))
    quick = read_sweep(study, Path("runs"), uncertainty=False)
    whole = read_sweep(study, Path("runs"))
    assert {trial.membership for trial in quick.trials} == {None}
    assert [t.on_front for t in quick.trials] == [t.on_front for t in whole.trials]
    assert (quick.chosen, quick.rivals, quick.knee_share) == (None, (), None)
    assert whole.chosen == 1


def test_a_record_without_answers_is_read() -> None:
    study = sweep_of(("1s1x32d", 0, 0.90))
    (trial,) = study.trials()
    older = {key: trial.user_attrs["curve"][0][key] for key in ("epoch", "accuracy", "loss")}
    older |= {"train_loss": 0.1, "seconds": 1.0, "images": 400}
    trial.user_attrs["curve"][0] = older
    record = record_of(trial)
    assert record.curve[-1].correct is None
    assert candidate_results([record], study.objectives)[0].correct == (None,)


def test_a_latency_has_the_error_of_a_median() -> None:
    (trial,) = read(sweep_of(("2s1x32d", 0, 0.90)))
    assert trial.cost_error("latency_ms") == pytest.approx(1.253 * 0.2 / 1.645 / 10)
    assert trial.cost_error("memory_mib") == 0


def test_rounds_of_timing_are_read_and_drawn() -> None:
    """Of two that are as accurate, the one that is 0.4 % faster."""
    study = sweep_of()
    for variant, latency in (("1s1x32d", 1.0), ("2s1x32d", 1.004)):
        rounds = {"deviations": {"latency_ms": 0.02}, "latency_rounds": 5}
        add(study, variant, 0, 0.90, latency_ms=latency, latency_half_width=0.04, **rounds)
    sweep = read_sweep(study, Path("runs"))
    faster, slower = sweep.trials
    assert (faster.half_width, faster.latency_rounds) == (0.04, 5)
    error = 0.02 * math.sqrt(math.pi / 2 / 5)  # of the median of many rounds
    assert faster.log_error("latency_ms") == pytest.approx(error)
    assert faster.log_error("memory_mib") == faster.cost_error("latency_ms") == 0
    assert sweep.noise == ("images", "costs")
    assert [trial.on_front for trial in sweep.trials] == [True, False]
    assert 0.3 < (slower.membership or 0) < (faster.membership or 0) < 0.7
    assert faster.rivals == (1,)


def test_without_rounds_costs_are_exact_as_they_were() -> None:
    sweep = read_sweep(sweep_of(("1s1x32d", 0, 0.90), ("2s1x32d", 0, 0.90)), Path("runs"))
    assert sweep.noise == ("images",)
    assert [(t.half_width, t.membership) for t in sweep.trials] == [(None, 1.0), (None, 0.0)]
