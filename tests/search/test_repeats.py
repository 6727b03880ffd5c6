"""Further seeds: only for what noise leaves in doubt, only once the front stands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import TrialState
from synthetic import SIX, Workers, make_config, make_strategy

from resnest_search.record import Epoch
from resnest_search.schema import MethodConfig
from resnest_search.search import Candidate, read_sweep


def level(candidate: Candidate) -> float:
    """The first four are far apart; the last two are equal, and dearer than the best of those."""
    return [0.5, 0.6, 0.7, 0.9, 0.9004, 0.9008][SIX.index(str(candidate.variant))]


def flat(candidate: Candidate, epoch: int) -> Epoch:
    return Epoch(epoch, level(candidate), 0.1, 0.1, 0.5, 2000)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("repeats", [0, 1, 3])
def test_only_contested_candidates_get_further_seeds(workers: int, repeats: int) -> None:
    config = make_config(repeats=repeats, epochs=2, pruner=MethodConfig("none"))
    strategy = make_strategy(config=config)
    Workers(strategy, flat, count=workers).run()
    assert strategy.finished
    trials = strategy.study.trials()
    again = Counter(t.user_attrs["variant"] for t in trials if "repeat" in t.user_attrs)
    assert set(again) <= set(SIX[3:]), "nobody doubts the others"
    assert max(again.values(), default=0) <= repeats
    assert bool(again) == bool(repeats)
    for trial in trials:
        assert trial.state == TrialState.COMPLETE
        assert trial.user_attrs["seed"] == trial.user_attrs.get("repeat", 0)
    for variant in again:
        seeds = [t.user_attrs["seed"] for t in trials if t.user_attrs["variant"] == variant]
        assert sorted(seeds) == list(range(len(seeds)))


def test_repeats_come_last_and_are_never_pruned() -> None:
    strategy = make_strategy(config=make_config(repeats=2))
    Workers(strategy, flat, count=2).run()
    trials = strategy.study.trials()
    repeats = [trial.number for trial in trials if "repeat" in trial.user_attrs]
    assert repeats == list(range(len(trials) - len(repeats), len(trials)))
    assert all(trials[number].state == TrialState.COMPLETE for number in repeats)


def test_repeats_count_against_the_budget_and_a_resume_goes_on_with_them() -> None:
    whole = make_strategy(config=make_config(repeats=2, budget=40, pruner=MethodConfig("none")))
    Workers(whole, flat).run()
    spent = read_sweep(whole.study, Path()).epochs
    assert 24 < spent <= 40
    first = make_strategy(config=make_config(repeats=2, budget=25, pruner=MethodConfig("none")))
    checkpoints: dict[int, list[Epoch]] = {}
    Workers(first, flat, checkpoints=checkpoints).run()
    assert read_sweep(first.study, Path()).epochs == 25
    second = make_strategy(
        first.study, config=make_config(repeats=2, budget=40, pruner=MethodConfig("none"))
    )
    Workers(second, flat, checkpoints=checkpoints).run()
    assert read_sweep(first.study, Path()).epochs == spent
