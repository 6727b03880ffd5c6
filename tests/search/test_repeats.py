"""Further seeds: only for what noise leaves in doubt, only once the front stands."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from synthetic import SIX, Workers, costs_of, make_config, make_space, make_strategy

from resnest_search.configuration.schema import MethodConfig
from resnest_search.record import Epoch
from resnest_search.search import Candidate, read_sweep


def level(candidate: Candidate) -> float:
    """The first four are far apart; the last two are equal, and dearer than the best of those."""
    return [0.5, 0.6, 0.7, 0.9, 0.9004, 0.9008][SIX.index(str(candidate.variant))]


def flat(candidate: Candidate, epoch: int) -> Epoch:
    return Epoch(epoch, level(candidate), 0.1, 0.1, 0.5, 2000)


def survives(candidate: Candidate, epoch: int) -> Epoch:
    """The first three are equal but for noise, and what halving keeps."""
    order = [*SIX[3:], *SIX[:3]]
    height = [0.5, 0.6, 0.7, 0.9, 0.9004, 0.9008][order.index(str(candidate.variant))]
    return Epoch(epoch, height, 0.1, 0.1, 0.5, 2000)


def make_facts(candidate: Candidate) -> dict[str, Any]:
    """What every trial holds."""
    return {
        "candidate": candidate.identity,
        "variant": str(candidate.variant),
        "parameters": dict(candidate.parameters),
        "device": "a device",
        "mode": "a mode",
        "state": "complete",
        **costs_of(candidate),
    }


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


def test_a_seed_that_an_earlier_run_brought_is_not_trained_again() -> None:
    config = make_config(repeats=2, epochs=2, pruner=MethodConfig("none"))
    strategy = make_strategy(config=config)
    study, space = strategy.study, make_space()
    for candidate in space.candidates or ():  # as a warm start enters what it reuses
        steps = {1: level(candidate), 2: level(candidate)}
        facts = {
            **make_facts(candidate),
            "seed": 1,
            "inherited": 2,
            "warm_start": {"folder": "earlier", "trial": 0},
            "curve": [dataclasses.asdict(flat(candidate, epoch)) for epoch in steps],
        }
        values = [level(candidate), facts["latency_ms"], facts["memory_mib"]]
        study.start(space, candidate, facts, TrialState.COMPLETE, steps, values)
    again = make_strategy(study, space, config)
    Workers(again, flat).run()
    seeds: dict[str, list[int]] = {}
    for trial in study.trials():
        seeds.setdefault(trial.user_attrs["variant"], []).append(trial.user_attrs["seed"])
    assert sorted(map(sorted, seeds.values()))[0] == [0, 1, 2]
    assert all(len(found) == len(set(found)) <= 3 for found in seeds.values())


def test_repeats_give_a_rung_no_room() -> None:
    """Another seed of a candidate is no further candidate at a rung."""
    states = []
    for repeats in (0, 2):
        strategy = make_strategy(config=make_config(repeats=repeats))
        Workers(strategy, survives).run()
        trials = strategy.study.trials()
        states.append([(t.number, t.state) for t in trials if "repeat" not in t.user_attrs])
        assert any("repeat" in trial.user_attrs for trial in trials) == bool(repeats)
    assert states[0] == states[1]


def test_repeats_come_last_and_are_never_pruned() -> None:
    strategy = make_strategy(config=make_config(repeats=2))
    Workers(strategy, survives, count=2).run()
    trials = strategy.study.trials()
    assert any("repeat" in trial.user_attrs for trial in trials)
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
