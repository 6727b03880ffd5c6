"""What devices tell of themselves, by an NVML and a powercap that are made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from resnest_search import gauges
from resnest_search.cost.busy import Load, look
from resnest_search.gauges import Energy, GpuState, gpu_state


class NVMLError(Exception):
    pass


class Board:
    """A GPU of the made-up NVML."""

    def __init__(self) -> None:
        self.millijoules, self.reasons, self.silent = 5_000, 0x4 | 0x40, ""

    def module(self) -> Any:
        def answers(name: str, value: Any) -> Any:
            def ask(*arguments: Any) -> Any:
                if self.silent == name or (name == "handle" and arguments != ("GPU-1",)):
                    raise NVMLError(name)
                return value()

            return ask

        return SimpleNamespace(
            NVMLError=NVMLError,
            NVML_CLOCK_SM=1,
            NVML_TEMPERATURE_GPU=0,
            nvmlInit=answers("init", lambda: None),
            nvmlDeviceGetHandleByUUID=answers("handle", lambda: self),
            nvmlDeviceGetClockInfo=answers("clock", lambda: 1980),
            nvmlDeviceGetTemperature=answers("heat", lambda: 61),
            nvmlDeviceGetPowerUsage=answers("power", lambda: 123_400),
            nvmlDeviceGetCurrentClocksThrottleReasons=answers("reasons", lambda: self.reasons),
            nvmlDeviceGetUtilizationRates=answers("rates", lambda: SimpleNamespace(gpu=40)),
            nvmlDeviceGetTotalEnergyConsumption=answers("energy", lambda: self.millijoules),
        )


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    made = Board()
    monkeypatch.setitem(sys.modules, "pynvml", made.module())
    gauges._nvml.cache_clear()
    yield made
    gauges._nvml.cache_clear()


def test_a_gpu_tells_its_clock_heat_power_and_what_slows_it(board: Board) -> None:
    """Its own power limit, bit 2, is no fault."""
    assert gpu_state("GPU-1") == GpuState(1980, 61, 123.4, ("heat, by hardware",))
    board.silent = "power"
    assert gpu_state("GPU-1") == GpuState(1980, 61, None, ("heat, by hardware",))
    assert gpu_state("GPU-2") is None


def test_a_gpus_energy_is_what_its_counter_grew_by(board: Board) -> None:
    used, none = Energy("GPU-1"), Energy("GPU-2")
    board.millijoules += 2_500
    assert (used.joules(), none.joules()) == (2.5, None)
    board.silent = "energy"
    assert used.joules() is None


@pytest.mark.parametrize("silent", ["", "rates", "handle", "init"])
def test_who_else_uses_a_gpu_is_asked_by_its_uuid_and_may_be_unknown(
    board: Board, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a GPU does not tell, nor a lost one; networks are timed all the same."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(gauges, "gpu_uuid", lambda device: "GPU-1")
    board.silent = silent
    found = look(torch.device("cuda", 3), seconds=0.0)
    assert found.percent is None
    found = look(torch.device("cuda", 3), seconds=0.01)
    assert found == (Load() if silent else Load(0.4 * 0.01, 0.01))


def test_without_a_driver_nothing_is_told(board: Board) -> None:
    board.silent = "init"
    assert gpu_state("GPU-1") is None
    assert Energy("GPU-1").joules() is None


def test_a_cpus_energy_is_that_of_its_packages_beyond_the_counters_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies within a package, such as its memory, is not counted again, nor what holds them."""
    monkeypatch.setattr(gauges, "_POWERCAP", tmp_path)
    assert Energy().joules() is None

    def tells(name: str, microjoules: int) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "energy_uj").write_text(f"{microjoules}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("10000000\n")
        what = "package-" if name in ("intel-rapl:0", "intel-rapl:1") else "psys"
        (tmp_path / name / "name").write_text(f"{what}\n")

    for name, microjoules in (("intel-rapl:0", 9_000_000), ("intel-rapl:1", 0)):
        tells(name, microjoules)
    tells("intel-rapl:0:0", 0)
    tells("intel-rapl:2", 0)
    used = Energy()
    for name, microjoules in (("intel-rapl:0", 500_000), ("intel-rapl:1", 250_000)):
        tells(name, microjoules)
    tells("intel-rapl:0:0", 7_000_000)
    tells("intel-rapl:2", 3_000_000)
    assert used.joules() == pytest.approx(1.75)
