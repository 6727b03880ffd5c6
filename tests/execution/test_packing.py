"""Trials that share a GPU: how many, and what becomes of one that lacks memory beside others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from tables import SIX, rows_of, write

from resnest_search.configuration.schema import (
    MethodConfig,
    ModelConfig,
    ResourcesConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.execution import driver
from resnest_search.execution.packing import packed, trials_per_gpu
from resnest_search.execution.replay import ReplayTrainable, replays
from resnest_search.execution.resources import Machine
from resnest_search.simulation.simulator import simulated
from resnest_search.simulation.table import Table
from resnest_search.study.costing import Costing

AUTO = ResourcesConfig(gpus_per_trial="auto")


@given(
    st.floats(1, 1e5),
    st.floats(1e3, 2e5),
    st.integers(1, 8),
    st.builds(Machine, st.integers(1, 64), st.integers(1, 8)),
)
def test_as_many_share_a_gpu_as_fit_with_a_margin(
    step_mib: float, gpu_mib: float, most: int, machine: Machine
) -> None:
    found = trials_per_gpu(ResourcesConfig(trials_per_gpu=most), step_mib, gpu_mib, machine)
    assert 1 <= found <= most
    assert found == 1 or found * machine.gpus <= machine.cpus
    assert found == 1 or found * (1.25 * step_mib + 1024) <= gpu_mib
    more = found + 1
    out = more > most or more * machine.gpus > machine.cpus
    assert out or more * (1.25 * step_mib + 1024) > gpu_mib


def of(step_mib: float, **facts: Any) -> Costing:
    return Costing({"train_memory_mib": step_mib}, details={"gpu_mib": 40960.0}, **facts)


@pytest.mark.parametrize(
    ("costings", "gpus", "words"),
    [
        ([of(9000.0), of(500.0)], 1 / 3, "3 trials for each GPU of 40960 MiB, of which the dear"),
        ([of(100.0), of(9e9, infeasible="too large")], 0.25, "resources.trials_per_gpu=4"),
        ([of(30000.0)], 1.0, "1 trial for each GPU"),
        ([Costing({"train_memory_mib": 100.0}, details={})], None, "no training step was meas"),
    ],
)
def test_the_dearest_network_that_is_trained_decides(
    costings: list[Costing], gpus: float | None, words: str
) -> None:
    known = {str(number): costing for number, costing in enumerate(costings)}
    config, line = packed(SweepConfig(resources=AUTO), known, Machine(16, 1))
    assert config.resources.gpus_per_trial == gpus
    assert words in line
    assert packed(config, known, None) == (config, ""), "what is resolved stays as it is"


class Silent:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def changed(self, number: int, over: bool) -> None:
        pass

    def message(self, text: str) -> None:
        self.said.append(text)


def cramped(log: Path) -> type[ReplayTrainable]:
    """Trials 1 and 3 lack memory in their second epoch beside others, 3 alone, too.

    Trial 0 is at work until trial 1 is, however long its process takes to start.
    """
    side_by_side = log.with_name("both")

    class Cramped(ReplayTrainable):  # in a function, so that workers get it by value
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config)
            self._number, self._alone = config["run"].number, config["alone"]

        def step(self) -> dict[str, Any]:
            import ray

            begun = time.time()
            if self._number == 1:
                side_by_side.touch()
            while self._number == 0 and not side_by_side.exists() and time.time() < begun + 300:
                time.sleep(0.05)
            time.sleep(0.1)
            found = super().step()
            held = ray.get_runtime_context().get_assigned_resources()
            gpu = max(share for name, share in held.items() if name.startswith("GPU"))
            with log.open("a") as file:
                file.write(f"{self._number} {begun} {time.time()} {gpu}\n")
            first = found["curve"][0]["epoch"] == 1
            if not first and (self._number == 3 or (self._number == 1 and not self._alone)):
                return {"curve": [], "note": "", "failure": "out of memory: planted"}
            return found

    return Cramped


def test_what_lacks_memory_beside_others_goes_on_alone_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that Ray only counts; nobody else trains while one is alone on it."""
    search = SearchConfig(
        space={"variant": list(SIX)},
        epochs=4,
        sampler=MethodConfig("grid"),
        pruner=MethodConfig("none"),
    )
    config = SweepConfig(sweep="q", model=ModelConfig(planes=[32, 64]), search=search)
    table = Table.read(write(tmp_path / "curves.csv", rows_of()))
    study, strategy = simulated(config, table, time.monotonic)
    monkeypatch.setattr(driver, "this_machine", lambda: Machine(2, 1))
    observer, log = Silent(), tmp_path / "log"
    with driver.cluster(ResourcesConfig(gpus_per_trial=0.5), verbose=False) as allotment:
        assert (allotment.slots, allotment.per_gpu) == (2, 2)
        make = replays(table, study)
        assert driver.run_trials(strategy, allotment, make, observer, False, cramped(log))
    trials = study.trials()
    states = [TrialState.COMPLETE] * len(SIX)
    states[3] = TrialState.FAIL
    assert [trial.state for trial in trials] == states
    assert [e["epoch"] for e in trials[1].user_attrs["curve"]] == [1, 2, 3, 4]
    assert trials[3].user_attrs["reason"] == (
        "out of memory: planted (alone on a GPU, after it had been beside others)"
    )
    assert observer.said == [
        f"trial {number}: out of memory: planted; goes on alone on a GPU" for number in (1, 3)
    ]
    lines = [line.split() for line in log.read_text().splitlines()]
    epochs = [(int(n), float(begun), float(end), float(gpu)) for n, begun, end, gpu in lines]
    alone = [epoch for epoch in epochs if epoch[3] == 1.0]
    assert [epoch[0] for epoch in alone] == [1, 1, 1, 3]
    assert {epoch[3] for epoch in epochs} == {0.5, 1.0}
    for number, begun, end, _ in alone:
        assert not [e for e in epochs if e[0] != number and e[1] < end and begun < e[2]]
    both = [(a, b) for a in epochs for b in epochs if a[0] < b[0] and a[1] < b[2] and b[1] < a[2]]
    assert both, "others did share it"
