"""Pausing by the sampler: for a step that promises more, and for good where nothing is worth it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from synthetic import Workers, everything, learns, make_config, make_space, make_strategy

from resnest_search.configuration.schema import MethodConfig
from resnest_search.search import Strategy
from resnest_search.search.samplers.known_cost import _Weighed
from resnest_search.space import Candidate
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SPACE = {"radix": [1, 2, 4], "cardinality": [1, 2], "width": [16, 32, 48, 64]}


def swept(
    workers: int = 1, curve: Any = learns, args: dict[str, Any] | None = None, **changes: Any
) -> Strategy:
    config = make_config(
        epochs=9,
        sampler=MethodConfig("known_cost", args or {}),
        pruner=MethodConfig("none"),
        **changes,
    )
    strategy = make_strategy(config=config, space=make_space(**SPACE))
    Workers(strategy, count=workers, curve=curve).run()
    return strategy


@cache
def plain(workers: int = 1) -> Strategy:
    """The sweep that several tests look at; none of them changes it."""
    return swept(workers)


def told_at_once(candidate: Candidate, epoch: int) -> Epoch:
    """The first epoch shows the last; half of the networks learn nothing."""
    good = learns(candidate, 9).accuracy
    accuracy = good if candidate.variant.radix == 2 else 0.1 + 0.01 * good
    return Epoch(epoch, accuracy, 1 - accuracy, 1.1 - accuracy, 0.5, 360)


def epochs_of(strategy: Strategy) -> list[int]:
    return [len(trial.intermediate_values) for trial in strategy.study.trials()]


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_paused_goes_on_in_the_end(workers: int) -> None:
    strategy = plain(workers)
    trials = strategy.study.trials()
    assert any("paused" in trial.user_attrs for trial in trials)
    assert epochs_of(strategy) == [9] * 24
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


@pytest.mark.parametrize("workers", [1, 3])
def test_without_pausing_nothing_waits(workers: int) -> None:
    trials = swept(workers, args={"pausing": False}).study.trials()
    assert not any("paused" in trial.user_attrs for trial in trials)


def test_a_decision_names_what_promises_more() -> None:
    trials = plain().study.trials()
    decisions = [e["decision"] for t in trials for e in t.user_attrs["curve"] if "decision" in e]
    assert {d["by"] for d in decisions} == {"sampler"}
    assert all("as much for its training" in d["reason"] for d in decisions if not d["kept"])


def test_decisions_are_taken_at_the_rungs_alone() -> None:
    strategy = plain()
    assert strategy.rungs == (1, 3)
    for trial in strategy.study.trials():
        decided = {e["epoch"] for e in trial.user_attrs["curve"] if "decision" in e}
        assert decided <= {1, 3}


@pytest.mark.parametrize("workers", [1, 3])
def test_what_promises_less_than_the_tolerance_is_pruned_and_says_so(workers: int) -> None:
    strategy = swept(workers, curve=told_at_once, tolerance=0.02)
    trials = strategy.study.trials()
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert pruned
    assert sum(epochs_of(strategy)) < 24 * 9 / 2
    for trial in pruned:
        assert "less than search.tolerance" in trial.user_attrs["reason"]
        assert trial.user_attrs["pruned_at"] == len(trial.intermediate_values)
    # Whoever learns something was found, and what learns nothing was not trained for long.
    ended = [t.user_attrs["parameters"]["radix"] for t in trials if t.state.name == "COMPLETE"]
    assert ended.count(2) >= 3


def test_a_smaller_tolerance_trains_more() -> None:
    spent = [sum(epochs_of(swept(tolerance=t))) for t in (0.3, 0.03, 0.0001)]
    assert spent == sorted(spent)
    assert spent[0] < spent[-1]


@pytest.mark.parametrize("budget", [20, 60, 100])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_budget_is_not_spent_on_what_cannot_end(workers: int, budget: int) -> None:
    strategy = swept(workers, budget=budget)
    epochs = epochs_of(strategy)
    assert sum(epochs) == budget
    assert epochs.count(9) >= budget // 9 // 2


RANGE = {"variant": ["1s1x32d", "2s1x64d"], "train.momentum": {"low": 0.5, "high": 0.9}}


def driven(made_anew: bool, **chosen: Any) -> list[Any]:
    """A sweep over a space, whose strategy is the same all along or always new."""
    config = make_config(
        epochs=9, trials=5, sampler=MethodConfig("known_cost"), pruner=MethodConfig("none")
    )
    space = make_space(**chosen)
    study = SweepStudy.create(None, config.objectives)
    strategy = make_strategy(study, space, config)
    while (assignment := strategy.next()) is not None:
        epoch = len(study.curve(assignment.number)) + 1
        while strategy.report(assignment.number, [learns(assignment.candidate, epoch)]):
            epoch += 1
        if made_anew:
            strategy = make_strategy(study, space, config)
    return everything(study)


@pytest.mark.parametrize("looks", [1000, 4])
@pytest.mark.parametrize("chosen", [RANGE, SPACE], ids=["range", "list"])
def test_a_resumed_sweep_decides_as_the_one_never_stopped(
    chosen: dict[str, Any], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many that wait, of which each step weighs some, and after many looks, too."""
    monkeypatch.setattr("resnest_search.search.samplers.known_cost._MOST_WAITING", 2)
    monkeypatch.setattr("resnest_search.search.forecast.ladder._LEARN_ALL", looks)
    monkeypatch.setattr("resnest_search.search.forecast.ladder._LEARN_GROWTH", 1.3)
    assert driven(made_anew=True, **chosen) == driven(made_anew=False, **chosen)


@pytest.mark.parametrize("workers", [1, 3])
def test_beside_a_pruner_that_keeps_all_everything_ends(workers: int) -> None:
    """What the sampler paused it takes up again, whether or not the pruner would."""
    config = make_config(
        epochs=9, sampler=MethodConfig("known_cost"), pruner=MethodConfig("NopPruner")
    )
    strategy = make_strategy(config=config, space=make_space(**SPACE))
    Workers(strategy, count=workers).run()
    assert epochs_of(strategy) == [9] * 24


def story_of(strategy: Strategy) -> list[Any]:
    """What was trained and decided, in the order of the trials."""
    return [
        (trial.user_attrs["candidate"], trial.state.name, entry["epoch"], entry.get("decision"))
        for trial in strategy.study.trials()
        for entry in trial.user_attrs["curve"]
    ]


@pytest.mark.parametrize("tolerance", [None, 0.02])
@pytest.mark.parametrize("workers", [1, 3])
def test_steps_that_bounds_leave_out_are_none_that_would_be_taken(
    workers: int, tolerance: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_cost = "resnest_search.search.samplers.known_cost"
    stories = []
    for batch in (1, 1000):  # each step as its bound asks for it, and all of them at once
        monkeypatch.setattr(f"{known_cost}._BATCH", batch)
        stories.append(story_of(swept(workers, tolerance=tolerance)))
    assert stories[0] == stories[1]


@pytest.mark.parametrize("waiting", [1000, 3])
@pytest.mark.parametrize("tolerance", [None, 1e-3])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_trial_waits_for_the_step_that_would_be_found_without_it(
    workers: int, tolerance: float | None, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was weighed for it need not be weighed again, and comes to the same."""
    known_cost = "resnest_search.search.samplers.known_cost"
    monkeypatch.setattr(f"{known_cost}._MOST_WAITING", waiting)
    real, answers = _Weighed.is_of, []

    def is_of(weighed: _Weighed, *now: Any) -> bool:
        answers.append(real(weighed, *now))
        return answers[-1]

    monkeypatch.setattr(_Weighed, "is_of", is_of)
    story = story_of(swept(workers, tolerance=tolerance))
    assert sum(answers) > 5
    monkeypatch.setattr(_Weighed, "is_of", lambda *now: False)
    assert story_of(swept(workers, tolerance=tolerance)) == story


@pytest.mark.parametrize("workers", [1, 3])
def test_of_many_that_wait_or_are_new_some_are_weighed_and_all_come_to_their_end(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_search.search.samplers.known_cost._MOST_WAITING", 3)
    monkeypatch.setattr("resnest_search.search.samplers.known_cost._MOST", 5)
    one, other = swept(workers), swept(workers)
    assert epochs_of(one) == [9] * 24
    assert story_of(one) == story_of(other)


def test_of_many_that_wait_one_that_can_still_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few are weighed at once, the last epochs of a budget are not spent in vain."""
    monkeypatch.setattr("resnest_search.search.samplers.known_cost._MOST_WAITING", 2)
    for budget in (60, 100):
        epochs = epochs_of(swept(budget=budget))
        assert sum(epochs) == budget
        assert epochs.count(9) >= budget // 9 // 2


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_ends_before_all_that_waits_was_weighed(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_search.search.samplers.known_cost._MOST_WAITING", 1)
    strategy = swept(workers, tolerance=0.02)
    strategy.settle()
    lost = strategy.ending().lost
    monkeypatch.undo()
    config = make_config(
        epochs=9,
        sampler=MethodConfig("known_cost"),
        pruner=MethodConfig("none"),
        tolerance=0.02,
    )
    again = make_strategy(strategy.study, make_space(**SPACE), config)
    assert again.finished
    assert again.ending().lost == lost
