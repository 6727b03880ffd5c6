"""Reading a study: the front that a person is shown, against Optuna and plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
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

from resnest_search.errors import UserError
from resnest_search.record import COMPLETE, FAILED, INFEASIBLE, PRUNED, RUNNING, Epoch
from resnest_search.schema import MethodConfig
from resnest_search.search import Candidate, SweepStudy, read_sweep

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
    assert sweep.knee in front
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
