"""Balanced accuracy and macro F1 as objectives: whatever accuracy is, they are in its place."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tables import SIX, rows_of, write

from resnest_search.configuration.schema import (
    MethodConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.errors import UserError
from resnest_search.report.table import table_rows
from resnest_search.search import find_earlier
from resnest_search.simulation.simulator import VirtualClock, simulate, simulated, space_of
from resnest_search.simulation.table import Table
from resnest_search.study.gains import gains
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Sweep
from resnest_search.study.select import select_trial
from resnest_search.study.study import SweepStudy
from resnest_search.tracking.tracked import trial_table

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
METHODS = {
    "known_cost": (MethodConfig("known_cost"), MethodConfig("none")),
    "front_probability": (
        MethodConfig("grid"),
        MethodConfig("front_probability", {"threshold": 0.4, "startup": 3, "evidence": 0.0}),
    ),
    "halving": (MethodConfig("grid"), MethodConfig("pareto_halving", {"reduction_factor": 2})),
    "median": (MethodConfig("grid"), MethodConfig("MedianPruner", {"n_startup_trials": 2})),
}


@cache
def table_of(name: str) -> Table:
    """Of accuracies under this name; accuracy itself turns them round."""
    rows = [row | {name: row["accuracy"], "images": 50} for row in rows_of()]
    if name != "accuracy":
        rows = [row | {"accuracy": 1 - row["accuracy"]} for row in rows]
    with TemporaryDirectory() as folder:
        return Table.read(write(Path(folder) / "curves.csv", rows))


def swept(name: str, method: str = "halving", **changes: Any) -> tuple[SweepStudy, Sweep]:
    sampler, pruner = METHODS[method]
    search = SearchConfig(
        space={"variant": list(SIX)},
        epochs=4,
        objectives=[name, "latency_ms"],
        sampler=sampler,
        pruner=pruner,
        **changes,
    )
    clock = VirtualClock()
    config = SweepConfig(sweep="tiny", model=ModelConfig(planes=[32, 64]), search=search)
    study, strategy = simulated(config, table_of(name), clock)
    simulate(strategy, table_of(name), clock)
    return study, read_sweep(study, Path())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1"])
def test_a_sweep_goes_as_if_it_were_accuracy(name: str, method: str) -> None:
    (study, sweep), (plain_study, plain) = swept(name, method), swept("accuracy", method)
    assert [t.intermediate_values for t in study.trials()] == [
        t.intermediate_values for t in plain_study.trials()
    ]
    assert [t.values for t in study.trials()] == [t.values for t in plain_study.trials()]
    for trial, other in zip(sweep.trials, plain.trials, strict=True):
        assert (trial.state, trial.variant, trial.on_front) == (
            other.state,
            other.variant,
            other.on_front,
        )
        assert trial.metric(name) == other.accuracy
        assert trial.mean(name) == other.mean("accuracy")
    assert sweep.reported == name
    ours, theirs = gains(sweep), gains(plain)
    assert [gain.share for gain in ours] == [gain.share for gain in theirs]
    assert select_trial(sweep, name).number == select_trial(plain, "accuracy").number
    assert (
        select_trial(sweep, "accuracy").number
        == min(sweep.front, key=lambda t: t.metric(name) or 0).number
    )  # turned round


def test_tables_have_what_is_known_and_no_noise_that_is_not() -> None:
    _, sweep = swept("balanced_accuracy")
    assert sweep.noise == ()  # a table has no answers to draw from
    assert all(trial.membership is None and not trial.errors for trial in sweep.trials)
    columns, rows = table_rows([({}, sweep, sweep.trials)])
    for row, trial in zip(rows, sweep.trials, strict=True):
        assert row["balanced_accuracy"] == trial.curve[-1].balanced_accuracy
        assert row["mean_balanced_accuracy"] == trial.means.get("balanced_accuracy")
        assert (
            row["macro_f1"] is row["mean_macro_f1"] is row["mean_balanced_accuracy_error"] is None
        )
    assert set(rows[0]) <= set(columns)
    names, told = trial_table(sweep)
    assert list(told[0])[names.index("balanced_accuracy")] == rows[0]["balanced_accuracy"]
    with pytest.raises(UserError, match="select=macro_f1: this run did not record it; valid: knee"):
        select_trial(sweep, "macro_f1")


def test_further_seeds_are_for_one_share(tmp_path: Path) -> None:
    _, sweep = swept("macro_f1", repeats=1)
    assert all(trial.seeds == 1 for trial in sweep.trials)  # of a table nothing is in doubt


def test_a_table_without_the_column_is_refused() -> None:
    search = SearchConfig(epochs=4, objectives=["macro_f1", "latency_ms"])
    with pytest.raises(UserError, match=r"macro_f1: .* has no such column; valid: accuracy, lat"):
        simulated(SweepConfig(sweep="tiny", search=search), table_of("accuracy"), VirtualClock())


def test_runs_that_did_not_record_it_are_no_warm_start(tmp_path: Path) -> None:
    table = table_of("balanced_accuracy")
    search = SearchConfig(
        epochs=4, sampler=MethodConfig("grid"), pruner=MethodConfig("none"), trials=2
    )
    config = SweepConfig(sweep="tiny", search=search)
    config = dataclasses.replace(
        config, search=dataclasses.replace(search, objectives=["accuracy", "latency_ms"])
    )
    clock, folder = VirtualClock(), tmp_path / "run"
    folder.mkdir()
    study, strategy = simulated(config, table, clock, f"sqlite:///{folder / 'study.db'}")
    simulate(strategy, table, clock)
    recorded = study.notes["config"]
    assert recorded["search"]["objectives"] == ["accuracy", "latency_ms"]
    study.close()
    for name, usable in (("balanced_accuracy", 2), ("macro_f1", 0), ("accuracy", 2)):
        later = dataclasses.replace(
            config,
            trial=dataclasses.replace(config.trial, name="table"),
            search=dataclasses.replace(
                search, objectives=[name, "latency_ms"], warm_start=[str(folder)]
            ),
        )
        found, _ = find_earlier(later, space_of(later, table), table.digest)
        assert len(found) == usable, name
