"""The simulator and Ray Tune replay one table, and leave the same study behind."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest
from synthetic import everything
from tables import SIX, rows_of, write

from resnest_search.configuration.schema import (
    MethodConfig,
    ModelConfig,
    ResourcesConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.execution.driver import cluster, run_trials
from resnest_search.execution.replay import ReplayTrainable, replays
from resnest_search.execution.resources import Allotment
from resnest_search.simulation.simulator import (
    Arrival,
    Start,
    VirtualClock,
    arrivals_of,
    simulate,
    simulated,
)
from resnest_search.simulation.table import Table
from resnest_search.study.study import SweepStudy

HALVING = MethodConfig("pareto_halving", {"first_rung": 1, "reduction_factor": 2})
SWEEPS = {
    "known cost": SearchConfig(
        sampler=MethodConfig("known_cost"),
        pruner=MethodConfig("front_probability", {"threshold": 0.4, "startup": 3, "evidence": 0.0}),
    ),
    "halving": SearchConfig(sampler=MethodConfig("random"), pruner=HALVING),
    "budget": SearchConfig(sampler=MethodConfig("grid"), pruner=HALVING, budget=15),
    "tpe": SearchConfig(
        sampler=MethodConfig("tpe", {"n_startup_trials": 2}), pruner=MethodConfig("none"), trials=5
    ),
}


class Silent:
    """An observer that does nothing."""

    def changed(self, number: int, over: bool) -> None:
        pass

    def message(self, text: str) -> None:
        pass


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return Table.read(write(tmp_path_factory.mktemp("table") / "curves.csv", rows_of()))


@pytest.fixture(scope="module")
def allotment() -> Iterator[Allotment]:
    """Of a running Ray."""
    with cluster(ResourcesConfig(gpus_per_trial=0), verbose=False) as allotted:
        yield allotted


def config_of(name: str) -> SweepConfig:
    search = dataclasses.replace(SWEEPS[name], space={"variant": list(SIX)}, epochs=4)
    return SweepConfig(sweep=name, model=ModelConfig(planes=[32, 64]), search=search)


def through_ray(config: SweepConfig, table: Table, allotment: Allotment, slots: int) -> SweepStudy:
    """The study after Ray Tune has replayed the table in so many slots, in real time."""
    study, strategy = simulated(config, table, time.monotonic)
    allotment = dataclasses.replace(allotment, slots=slots)
    make = replays(table, study)
    assert run_trials(strategy, allotment, make, Silent(), False, ReplayTrainable)
    return study


def through_the_simulator(
    config: SweepConfig, table: Table, arrivals: list[Start | Arrival] | None = None
) -> SweepStudy:
    clock = VirtualClock()
    study, strategy = simulated(config, table, clock)
    simulate(strategy, table, clock, arrivals=arrivals)
    assert strategy.finished
    return study


@pytest.mark.parametrize("name", SWEEPS)
def test_one_worker_leaves_the_same_study(name: str, table: Table, allotment: Allotment) -> None:
    config = config_of(name)
    real = through_ray(config, table, allotment, slots=1)
    assert everything(through_the_simulator(config, table)) == everything(real)


@pytest.mark.parametrize("name", SWEEPS)
def test_two_workers_leave_the_same_study_once_their_arrivals_are_known(
    name: str, table: Table, allotment: Allotment
) -> None:
    config = config_of(name)
    real = through_ray(config, table, allotment, slots=2)
    arrivals = arrivals_of(real)
    assert side_by_side(arrivals), "two trials were in flight at once"
    again = through_the_simulator(config, table, arrivals)
    assert everything(again) == everything(real)
    # The moments, which everything() leaves out, are those of Ray's clock.
    assert arrivals_of(again) == arrivals


def side_by_side(arrivals: list[Start | Arrival]) -> bool:
    """Whether anything happened to a trial while an epoch of another one was in flight."""
    last: dict[int, int] = {}
    for place, event in enumerate(arrivals):
        if isinstance(event, Arrival) and last[event.number] < place - 1:
            return True
        last[event.number] = place
    return False
