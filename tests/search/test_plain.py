"""Plain Optuna scripts: reports, pruning and samplers in studies with several objectives."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from resnest_search.search.pruners import ParetoHalvingPruner
from resnest_search.search.pruners.plain import TolerantSampler, report, should_prune

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
ROOT = Path(__file__).parents[2]


def tpe() -> BaseSampler:
    return optuna.samplers.TPESampler(seed=0, n_startup_trials=3)


def make_study(sampler: BaseSampler, storage: str | None = None) -> optuna.Study:
    ways = ["maximize", "minimize"]
    study = optuna.create_study(directions=ways, sampler=sampler, storage=storage)
    study.set_metric_names(["accuracy", "latency_ms"])
    return study


def optimize(study: optuna.Study, trials: int = 12, jobs: int = 1) -> optuna.Study:
    pruner = ParetoHalvingPruner(1, 2, epochs=4)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        width, depth = trial.suggest_float("width", 0, 1), trial.suggest_float("depth", 0, 1)
        trial.set_user_attr("latency_ms", width + depth)
        for epoch in range(1, 5):
            report(trial, width * epoch, epoch)
            if should_prune(pruner, study, trial):
                raise optuna.TrialPruned
        return width * 4, width + depth

    study.optimize(objective, n_trials=trials, n_jobs=jobs)
    return study


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.db"], ids=["memory", "sqlite"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: TolerantSampler(tpe()),
        lambda: TolerantSampler(optuna.samplers.TPESampler(multivariate=True, n_startup_trials=3)),
        lambda: TolerantSampler(optuna.samplers.NSGAIISampler(population_size=4, seed=0)),
        lambda: optuna.samplers.RandomSampler(seed=0),
        lambda: optuna.samplers.NSGAIISampler(population_size=4, seed=0),
    ],
    ids=["tpe", "multivariate tpe", "tolerant nsga2", "random", "nsga2"],
)
def test_a_pruned_trial_stands_as_pruned(
    make: Callable[[], BaseSampler], url: str | None, tmp_path: Path
) -> None:
    study = optimize(make_study(make(), url and url.format(tmp_path)))
    by_state = {trial.state: trial for trial in study.trials}
    assert set(by_state) == {TrialState.COMPLETE, TrialState.PRUNED}
    pruned = by_state[TrialState.PRUNED]
    assert pruned.values is None
    assert pruned.last_step in (1, 2)
    assert {t.number for t in study.best_trials} <= {
        t.number for t in study.trials if t.state == TrialState.COMPLETE
    }


def test_without_help_tpe_cannot_go_on() -> None:
    with pytest.raises(RuntimeError, match="single direction"):
        optimize(make_study(tpe()))


def test_a_sampler_that_nothing_was_pruned_for_proposes_as_ever() -> None:
    proposals = []
    for sampler in (tpe(), TolerantSampler(tpe())):
        study = make_study(sampler)
        for _ in range(12):
            trial = study.ask()
            x = trial.suggest_float("x", 0, 1)
            study.tell(trial, [x, x * x])
        proposals.append([trial.params for trial in study.trials])
    assert proposals[0] == proposals[1]


def test_several_jobs_share_a_pruner() -> None:
    study = optimize(make_study(TolerantSampler(tpe())), trials=16, jobs=4)
    assert len(study.trials) == 16
    assert TrialState.FAIL not in {trial.state for trial in study.trials}


def test_ask_and_tell() -> None:
    study = make_study(optuna.samplers.RandomSampler(seed=0))
    pruner = ParetoHalvingPruner(1, 2)
    for accuracy in (0.9, 0.5):
        trial = study.ask()
        trial.set_user_attr("latency_ms", 1.0)
        report(trial, accuracy, 1)
    assert should_prune(pruner, study, trial)
    study.tell(trial, state=TrialState.PRUNED)
    assert (study.trials[1].state, study.trials[1].values) == (TrialState.PRUNED, None)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_of_a_sampler_still_proposes(copied: Callable[[BaseSampler], BaseSampler]) -> None:
    sampler = TolerantSampler(tpe())
    study = optimize(make_study(sampler))
    study.sampler = copied(sampler)
    optimize(study, 3)
    assert len(study.trials) == 15


def test_the_example_runs() -> None:
    path = ROOT / "examples" / "plain_optuna.py"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=True,
    )
    first, *front = ran.stdout.splitlines()
    pruned, total = int(first.split()[0]), int(first.split()[2])
    assert 0 < pruned < total
    assert len(front) >= 3
