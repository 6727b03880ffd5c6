"""Sweeps in virtual time: by hand, with many workers, and killed at any write of the study."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from tables import SIX, Row, rows_of, write

from resnest_search.configuration.schema import (
    LimitsConfig,
    MethodConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.errors import UserError
from resnest_search.search import Strategy
from resnest_search.simulation.simulator import (
    Arrival,
    Start,
    VirtualClock,
    arrivals_of,
    latest,
    simulate,
    simulated,
)
from resnest_search.simulation.table import Table
from resnest_search.space import Space
from resnest_search.study.costing import Costing
from resnest_search.study.read import read_sweep
from resnest_search.study.study import SweepStudy

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
MODEL = ModelConfig(depths=[1, 1], planes=[32, 64])
NO_PRUNER = MethodConfig("none")
HALVING = MethodConfig("pareto_halving", {"first_rung": 1, "reduction_factor": 2})


@cache
def table_of(**changes: Any) -> Table:
    return read(rows_of(**changes))


@cache
def noisy_table() -> Table:
    """On so few images that noise leaves everything in doubt."""
    return read([row | {"images": 50} for row in rows_of(seeds=(0, 1, 2))])


@cache
def diverging_table() -> Table:
    """Of the third variant, the loss of the second epoch is not finite."""
    rows = [row | {"loss": 0.5} for row in rows_of(seeds=(0,))]
    rows[9]["loss"] = "nan"
    return read([*rows[:10], *rows[12:]])


def read(rows: list[Row]) -> Table:
    with TemporaryDirectory() as folder:
        return Table.read(write(Path(folder) / "curves.csv", rows))


def config_of(variants: Sequence[str] = SIX, **changes: Any) -> SweepConfig:
    search: dict[str, Any] = {
        "space": {"variant": list(variants)},
        "epochs": 4,
        "sampler": MethodConfig("grid"),
        "pruner": NO_PRUNER,
    }
    return SweepConfig(sweep="tiny", model=MODEL, search=SearchConfig(**{**search, **changes}))


def run(
    config: SweepConfig, table: Table | None = None, workers: int = 1, **others: Any
) -> tuple[SweepStudy, VirtualClock]:
    clock, table = VirtualClock(), table or table_of()
    study, strategy = simulated(config, table, clock)
    simulate(strategy, table, clock, workers, **others)
    assert strategy.finished
    return study, clock


def exactly(study: SweepStudy) -> list[Any]:
    """All that a study says of its trials, moments too, and of what ended it."""
    trials = [
        (t.number, t.state.name, t.values, t.params, t.intermediate_values, t.user_attrs)
        for t in study.trials()
    ]
    return [*trials, study.notes.get("ending")]


# By hand


TWO = ("1s1x32d", "2s1x32d")
BY_HAND = {"1s1x32d": 2.0, "2s1x32d": 3.0}  # seconds an epoch


def test_one_worker_trains_one_trial_after_the_other() -> None:
    table = table_of(variants=TWO, seeds=(0,), epochs=2, seconds=_frozen(BY_HAND))
    study, clock = run(config_of(TWO, epochs=2), table)
    assert arrivals_of(study) == [
        Start(0, 0.0),
        Arrival(0, 1, 2.0),
        Arrival(0, 2, 4.0),
        Start(1, 4.0),
        Arrival(1, 1, 7.0),
        Arrival(1, 2, 10.0),
    ]
    assert clock() == 10.0
    assert study.notes["seconds"] == 10.0


def test_two_workers_train_side_by_side_and_the_smaller_number_comes_first() -> None:
    table = table_of(variants=TWO, seeds=(0,), epochs=3, seconds=_frozen(BY_HAND))
    told = Listener()
    study, clock = run(config_of(TWO, epochs=3), table, workers=2, observer=told)
    assert arrivals_of(study) == [
        Start(0, 0.0),
        Start(1, 0.0),
        Arrival(0, 1, 2.0),
        Arrival(1, 1, 3.0),
        Arrival(0, 2, 4.0),
        Arrival(0, 3, 6.0),
        Arrival(1, 2, 6.0),
        Arrival(1, 3, 9.0),
    ]
    assert clock() == 9.0
    assert told.heard == [
        *[(0, False), (1, False), (0, False), (1, False), (0, False)],
        *[(0, True), (1, False), (1, True)],
    ]


def test_curves_and_costs_are_those_of_the_table() -> None:
    table = table_of()
    study, _ = run(config_of(seed=1))
    for trial, name in zip(study.trials(), SIX, strict=True):
        variant = next(c for c in table.candidates if c.name == name)
        curve = [dataclasses.replace(entry, at=None) for entry in study.curve(trial.number)]
        assert tuple(curve) == table.curve(variant, 1)
        costs = table.costs(variant)
        assert {key: trial.user_attrs[key] for key in costs} == costs
        assert "parameters_m" not in trial.user_attrs
        assert trial.values == [curve[-1].accuracy, costs["latency_ms"], costs["memory_mib"]]


def test_a_budget_bounds_a_simulated_sweep() -> None:
    study, _ = run(config_of(budget=6))
    assert sum(len(trial.intermediate_values) for trial in study.trials()) == 6


def test_hours_are_virtual() -> None:
    table = table_of(seeds=(0,), seconds=_frozen(dict.fromkeys(SIX, 1800.0)))
    study, clock = run(config_of(hours=3.0), table)
    assert clock() == 3 * 3600
    assert sum(len(trial.intermediate_values) for trial in study.trials()) == 6


def test_a_limit_rules_out_before_the_first_epoch() -> None:
    study, _ = run(config_of(limits=LimitsConfig(latency_ms=2.0)))
    ruled_out = {entry["variant"] for entry in study.notes["infeasible"]}
    trained = {trial.user_attrs["variant"] for trial in study.trials()}
    assert ruled_out
    assert ruled_out | trained == set(SIX)
    assert not ruled_out & trained
    with pytest.raises(UserError, match=r"search\.limits\.latency_ms=0\.1: no variant meets it"):
        run(config_of(limits=LimitsConfig(latency_ms=0.1)))


def test_the_study_is_one_that_a_report_is_made_of(tmp_path: Path) -> None:
    study, clock = run(config_of(pruner=HALVING))
    sweep = read_sweep(study, tmp_path)
    assert (sweep.name, sweep.finished, sweep.replayed) == ("tiny", True, True)
    assert sweep.seconds == round(clock(), 1)
    assert len(sweep.trials) == len(SIX)
    assert sweep.front
    assert sweep.rungs == (1, 2)
    assert sweep.started
    assert sweep.versions
    assert sweep.budget == 24


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_simulation_is_the_same_each_time(workers: int) -> None:
    config = config_of(pruner=HALVING, sampler=MethodConfig("random"), budget=17)
    (one, at), (other, other_at) = (run(config, workers=workers) for _ in range(2))
    assert exactly(one) == exactly(other)
    assert at() == other_at()


def test_more_workers_take_less_time_and_no_more_than_there_is_to_do() -> None:
    times = {workers: run(config_of(), workers=workers)[1]() for workers in (1, 4, 16)}
    seconds = [1 + int(name[0]) / 2 for name in SIX]
    assert times[1] == 4 * sum(seconds)
    assert max(seconds) * 4 <= times[4] < times[1]
    assert times[16] == 4 * max(seconds)


def test_a_trial_that_diverged_in_the_table_fails() -> None:
    study, _ = run(config_of(), diverging_table(), workers=2)
    states = [trial.state.name for trial in study.trials()]
    assert states == ["COMPLETE"] * 2 + ["FAIL"] + ["COMPLETE"] * 3


# Following recorded arrivals


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("pruner", [NO_PRUNER, HALVING], ids=lambda method: method.name)
def test_its_own_arrivals_lead_to_the_same_study(workers: int, pruner: MethodConfig) -> None:
    table = table_of(seconds=_frozen({name: 1.0 + 0.01 * 2**i for i, name in enumerate(SIX)}))
    config = config_of(pruner=pruner)
    study, _ = run(config, table, workers)
    again, _ = run(config, table, arrivals=arrivals_of(study))
    assert exactly(again) == exactly(study)


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        ([Start(1)], "trial 1 was to start, not trial 0"),
        ([*map(Start, range(7))], "trial 6 was to start, not nothing"),
        ([Start(0), Arrival(0, 2)], "nobody trains epoch 2 of trial 0"),
        ([Arrival(0, 1)], "nobody trains epoch 1 of trial 0"),
    ],
)
def test_arrivals_that_the_strategy_does_not_answer_are_refused(
    arrivals: list[Start | Arrival], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        run(config_of(), arrivals=arrivals)


# Kills


class Killed(Exception):  # noqa: N818 (it is no error)
    """The process has ended before a write."""


class Mortal(InMemoryStorage):
    """A storage whose process is killed before its n-th write from now on; None lets it live."""

    left: int | None = None
    written = 0

    def _write(self) -> None:
        self.written += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def create_new_trial(self, *args: Any, **named: Any) -> int:
        self._write()
        return super().create_new_trial(*args, **named)

    def set_trial_user_attr(self, *args: Any) -> None:
        self._write()
        super().set_trial_user_attr(*args)

    def set_trial_intermediate_value(self, *args: Any) -> None:
        self._write()
        super().set_trial_intermediate_value(*args)

    def set_trial_state_values(self, *args: Any, **named: Any) -> bool:
        self._write()
        return super().set_trial_state_values(*args, **named)

    def set_study_user_attr(self, *args: Any) -> None:
        self._write()
        super().set_study_user_attr(*args)


@dataclasses.dataclass
class Lives:
    """One sweep, as often as it is taken up again."""

    config: SweepConfig
    table: Table
    workers: int

    def __post_init__(self) -> None:
        self.storage = Mortal()
        search = self.config.search
        study = optuna.create_study(
            study_name="sweep", storage=self.storage, directions=["maximize", *["minimize"] * 2]
        )
        study.set_metric_names(search.objectives)
        self.space = Space(search.space, self.config.model)
        self.costings: dict[str, Costing] = self.table.costings(self.space)
        self.study = self.opened()

    def opened(self) -> SweepStudy:
        """The study as a new process sees it."""
        return SweepStudy(self.storage, optuna.load_study(study_name="sweep", storage=self.storage))

    def live(self, writes: int | None = None) -> bool:
        """Take the sweep up, until it ends or so many writes were made; whether it has ended."""
        self.storage.left = writes
        self.study = self.opened()
        clock = VirtualClock(latest(self.study))
        try:
            strategy = Strategy(
                self.study,
                self.space,
                self.config.search,
                self.costings,
                elapsed=clock(),
                clock=clock,
                virtual=True,
            )
            simulate(strategy, self.table, clock, self.workers)
        except Killed:
            return False
        finally:
            self.storage.left = None
        assert strategy.finished
        return True


LATE_HALVING = MethodConfig("pareto_halving", {"first_rung": 2, "reduction_factor": 3})
TPE = MethodConfig("tpe", {"n_startup_trials": 2})
KNOWN_COST = MethodConfig("known_cost")  # the default
# Made to judge by early epochs after a few trials.
FRONT_PROBABILITY = MethodConfig(
    "front_probability", {"threshold": 0.4, "startup": 3, "evidence": 0.0}
)
SWEEPS: dict[str, tuple[SweepConfig, Callable[[], Table]]] = {
    "unpruned": (config_of(SIX[:3], epochs=3), table_of),
    "halving": (config_of(pruner=HALVING), table_of),
    "halving, budget": (config_of(pruner=HALVING, budget=13), table_of),
    "halving, hours": (config_of(pruner=HALVING, hours=11 / 3600), table_of),
    "tpe": (config_of(pruner=HALVING, trials=5, sampler=TPE), table_of),
    "known cost": (config_of(sampler=KNOWN_COST), table_of),
    "known cost, budget": (config_of(sampler=KNOWN_COST, budget=14), table_of),
    "known cost, tolerance": (config_of(sampler=KNOWN_COST, tolerance=0.2), table_of),
    "known cost, repeats": (
        config_of(SIX[:4], sampler=KNOWN_COST, repeats=2, tolerance=0.02),
        noisy_table,
    ),
    "front probability, budget": (
        config_of(sampler=KNOWN_COST, pruner=FRONT_PROBABILITY, budget=14),
        table_of,
    ),
    "late halving, budget": (config_of(pruner=LATE_HALVING, budget=10), table_of),
    "repeats": (config_of(SIX[:3], repeats=2), noisy_table),
    "known cost, divergence": (config_of(sampler=KNOWN_COST, tolerance=0.001), diverging_table),
    "divergence": (config_of(pruner=HALVING), diverging_table),
    "divergence, budget": (config_of(budget=15), diverging_table),
}


def lives_of(name: str, workers: int) -> Lives:
    config, table = SWEEPS[name]
    return Lives(config, table(), workers)


@cache
def never_killed(name: str, workers: int) -> tuple[list[Any], int]:
    """What a sweep leaves behind, and how many writes it makes."""
    lives = lives_of(name, workers)
    before = lives.storage.written
    assert lives.live()
    return exactly(lives.study), lives.storage.written - before


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("name", SWEEPS)
def test_killed_at_any_write_it_ends_as_if_never_killed(name: str, workers: int) -> None:
    whole, writes = never_killed(name, workers)
    # Each write of the simplest two and of the default with one worker; of the others some are
    # enough to see what they add.
    is_every = name in ("unpruned", "halving", "known cost") and workers == 1
    step = 1 if is_every else 12 if name == "tpe" else 3
    for kill in range(workers % step, writes, step):
        lives = lives_of(name, workers)
        assert not lives.live(kill)
        assert lives.live()
        assert exactly(lives.study) == whole, f"killed before write {kill} of {writes}"


def test_the_default_paused_and_pruned_in_what_is_killed_here() -> None:
    study, _ = run(SWEEPS["known cost"][0])
    assert any("paused" in trial.user_attrs for trial in study.trials())
    assert all(trial.state.name == "COMPLETE" for trial in study.trials())
    study, _ = run(SWEEPS["known cost, tolerance"][0], workers=5)
    assert "PRUNED" in {trial.state.name for trial in study.trials()}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(SWEEPS.keys() - {"tpe"})),
    workers=st.sampled_from([1, 2, 5]),
    kills=st.lists(st.integers(0, 40), min_size=2, max_size=6),
)
def test_killed_again_and_again_it_ends_as_if_never_killed(
    name: str, workers: int, kills: list[int]
) -> None:
    whole, _ = never_killed(name, workers)
    lives = lives_of(name, workers)
    for kill in kills:
        if lives.live(kill):
            break
    else:
        assert lives.live()
    assert exactly(lives.study) == whole


@pytest.mark.parametrize(("costs", "workers"), [(7, 5), (9, 4)])
def test_many_costs_and_workers_are_weighed_on_few_points(costs: int, workers: int) -> None:
    """Cells of the cost space grow with its power: of all points here there were 10^7 and 10^8."""
    names = [f"c{number}" for number in range(costs)]

    def bill(row: Row) -> dict[str, float]:
        draw = random.Random(f"{row['radix']} {row['cardinality']} {row['width']}")
        return {f"cost:{name}": draw.uniform(1, 9) for name in names}

    table = read([row | bill(row) for row in rows_of(seeds=(0,), epochs=2)])
    config = config_of(sampler=KNOWN_COST, objectives=["accuracy", *names], epochs=2)
    study, _ = run(config, table, workers)
    assert {trial.state.name for trial in study.trials()} == {"COMPLETE"}


def _frozen(seconds: dict[str, float]) -> Any:
    """A mapping that a cache takes."""
    return FrozenSeconds(seconds)


class FrozenSeconds(dict[str, float]):
    """Seconds an epoch by variant."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


class Listener:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bool]] = []

    def changed(self, number: int, over: bool) -> None:
        self.heard.append((number, over))

    def message(self, text: str) -> None:
        raise AssertionError(text)
