"""Further seeds: only for what noise leaves in doubt, only once the front stands."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from synthetic import SIX, Workers, costs_of, make_config, make_space, make_strategy

from resnest_search.configuration.schema import MethodConfig, SweepConfig
from resnest_search.search.notes import note_bounds
from resnest_search.space import Candidate
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy


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


@pytest.mark.parametrize("most", [None, 1])
def test_further_seeds_stay_within_the_epochs_that_are_promised(most: int | None) -> None:
    """``epochs`` of ``budget`` is what a person reads while the sweep runs."""
    search = make_config(repeats=2, trials=5, pruner=MethodConfig("none"))
    strategy = make_strategy(config=search)
    Workers(strategy, flat).run()
    config = SweepConfig(search=dataclasses.replace(search, trials=most or search.trials))
    strategy.study.note("config", dataclasses.asdict(config))
    note_bounds(strategy.study, config, make_space(), strategy)
    sweep = read_sweep(strategy.study, Path())
    assert any(trial.repeat_of is not None for trial in sweep.trials)
    assert 5 * 4 < sweep.epochs <= sweep.budget == 5 * 4 * 3


@dataclasses.dataclass
class Lucky:
    """The first seed of a variant does better than any that follows, so that the front changes."""

    variant: str
    times: Counter[tuple[str, int]] = dataclasses.field(default_factory=Counter)

    def __call__(self, candidate: Candidate, epoch: int) -> Epoch:
        self.times[str(candidate.variant), epoch] += 1
        first = self.times[str(candidate.variant), epoch] == 1
        luck = 0.0009 if str(candidate.variant) == self.variant and first else 0.0
        return dataclasses.replace(flat(candidate, epoch), accuracy=level(candidate) + luck)


def with_seeds(folder: Path) -> SweepStudy:
    """A finished sweep, in a file, in which the last variant was lucky at first."""
    config = make_config(repeats=2, epochs=2, pruner=MethodConfig("none"))
    study = SweepStudy.create(f"sqlite:///{folder / 'study.db'}", config.objectives)
    strategy = make_strategy(study, config=config)
    Workers(strategy, Lucky(SIX[4])).run()
    assert strategy.finished
    return study


def shown(folder: Path) -> optuna.Study:
    """The study as anybody sees it who knows Optuna alone."""
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'study.db'}")


def test_optuna_has_the_same_front_as_we_have(tmp_path: Path) -> None:
    study = with_seeds(tmp_path)
    sweep = read_sweep(study, tmp_path)
    found = shown(tmp_path)
    assert {t.number for t in found.best_trials} == {t.number for t in sweep.front}
    assert any(trial.seeds > 1 for trial in sweep.front)
    records = {trial.number: trial for trial in sweep.trials}
    for trial in found.trials:
        record = records[trial.number]
        if record.repeat_of is None:
            assert trial.values[0] == pytest.approx(record.mean_accuracy)
            assert trial.values[1:] == [record.costs["latency_ms"], record.costs["memory_mib"]]
        else:
            assert trial.values[0] == record.accuracy, "a further seed keeps its own"
        assert trial.intermediate_values[2] == record.accuracy
        later = [t for t in found.trials if t.number > trial.number]
        assert all(trial.datetime_complete <= other.datetime_complete for other in later)
    before = {t.number: t.values for t in study.trials()}
    assert before == {t.number: t.values for t in found.trials}, "the writer knows what is there"


def test_a_study_of_an_earlier_version_has_it_once_it_is_resumed(tmp_path: Path) -> None:
    """There each seed was a candidate of its own, with its own values."""
    study = with_seeds(tmp_path)
    right = {t.number for t in shown(tmp_path).best_trials}
    study.close()
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("DELETE FROM trial_system_attributes WHERE key = 'constraints'")
        for trial in shown(tmp_path).trials:
            database.execute(
                "UPDATE trial_values SET value = ? WHERE objective = 0 AND trial_id = ?",
                (trial.intermediate_values[2], trial._trial_id),
            )
    assert {t.number for t in shown(tmp_path).best_trials} != right
    config = make_config(repeats=2, epochs=2, pruner=MethodConfig("none"))
    assert make_strategy(SweepStudy.open(tmp_path), config=config).finished
    assert {t.number for t in shown(tmp_path).best_trials} == right
