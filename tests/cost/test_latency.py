"""Timing: order and consistency, never absolute times."""

import gc
import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost import busy
from resnest_search.cost.busy import (
    CpuWatch,
    Load,
    cores_for,
    cpus_of_process,
    idlest_cpus,
    look,
)
from resnest_search.cost.latency import deploy, time_network

FEW = MeasureConfig(warmup=2, repeats=15)


def wide(channels):
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 8, 3))


def test_more_work_takes_longer():
    images = torch.randn(2, 3, 48, 48)
    small, large = (time_network(wide(channels), images, FEW) for channels in (2, 256))
    assert small.median_ms < large.median_ms


def test_numbers_are_consistent():
    timing = time_network(wide(4), torch.randn(5, 3, 16, 16), FEW)
    assert timing.n == 15
    assert 0 < min(timing.samples_ms) <= timing.median_ms <= timing.p95_ms
    assert timing.images_per_s == pytest.approx(5000 / timing.median_ms)


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("a fault of the network")


@pytest.mark.parametrize("network", [wide(4), Fails()])
def test_the_process_is_left_as_it_was(network):
    def state():
        return torch.get_num_threads(), cpus_of_process(), gc.isenabled()

    before = state()
    try:
        time_network(network, torch.randn(1, 3, 16, 16), FEW)
    except RuntimeError as error:
        assert isinstance(network, Fails), error  # noqa: PT017 - one of the two cases
    assert state() == before


class Watches(nn.Module):
    def forward(self, x):
        self.seen = (torch.get_num_threads(), len(cpus_of_process()), gc.isenabled())
        self.inference = torch.is_inference_mode_enabled() and not self.training
        return x


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform")
def test_passes_run_pinned_in_inference_mode_without_garbage_collection():
    network = Watches()
    time_network(network, torch.randn(1, 3, 4, 4), FEW)
    assert network.seen == (1, 1, False)
    assert network.inference


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_network_is_deployed_in_its_mode(precision, channels_last):
    mode = MeasureConfig(precision=precision, channels_last=channels_last)
    network, images = deploy(wide(4), torch.randn(2, 3, 8, 8), mode)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert images.dtype == network[0].weight.dtype == dtype
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert images.is_contiguous(memory_format=layout)
    assert network[0].weight.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"repeats": 0}, "repeats"),
        ({"warmup": -1}, "warmup"),
        ({"threads": 0}, "threads"),
        ({"threads": 10**6}, "1000000"),
        ({"precision": "fp8"}, "'fp8'"),
    ],
)
def test_bad_modes_are_refused(change, named):
    mode = MeasureConfig(**{"warmup": 0, "repeats": 1, **change})
    with pytest.raises(ValueError, match=named):
        time_network(wide(2), torch.randn(1, 3, 8, 8), mode)


def test_idlest_cpus_are_ours():
    assert set(idlest_cpus(1)) <= set(cpus_of_process())
    assert idlest_cpus(len(cpus_of_process())) == cpus_of_process()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two cores of two threads and one of one, CPU 3 of them ours not; two loads a second apart."""
    for cpu, siblings in enumerate(["0,4", "1", "2-3", "2-3", "0,4"]):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(busy, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(busy, "_last_look", {})
    monkeypatch.setattr(busy, "cpus_of_process", lambda: [0, 1, 2, 4])

    def idle(*seconds):
        looks = iter([[0.0] * 5, seconds])
        times = [[SimpleNamespace(idle=second) for second in look] for look in looks]
        monkeypatch.setattr(busy.psutil, "cpu_times", lambda percpu: times.pop(0))

    return idle


def test_threads_get_cores_of_their_own(machine):
    machine(0.9, 0.5, 0.7, 0.8, 1.0)
    assert idlest_cpus(2, 0.0) == [4, 2], "0 is idle, but on the core of 4"
    assert idlest_cpus(3, 0.0) == [4, 2, 1]
    assert [cores_for(threads) for threads in (1, 2, 3, 4)] == [1, 2, 3, 3]


def test_a_core_is_as_idle_as_its_busiest_thread(machine):
    machine(0.1, 0.5, 0.6, 0.2, 1.0)
    assert idlest_cpus(1, 0.0) == [1], "4 idles beside a busy 0, and 2 beside a busy 3"


def test_where_nobody_tells_cores_cpus_are_taken_as_they_idle(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(busy, "_TOPOLOGY", tmp_path / "nowhere")
    machine(0.9, 0.5, 0.7, 0.8, 1.0)
    assert idlest_cpus(2, 0.0) == [4, 0]
    assert cores_for(2) is None


def test_load_adds_up_and_knows_when_it_knows_nothing():
    assert Load().percent is None
    assert (Load(1.0, 4.0) + Load(1.0, 4.0)).percent == 25.0
    assert Load(5.0, 4.0).percent == 100.0


def test_busy_is_a_percentage_of_others():
    percent = look(torch.device("cpu"), 0.1).percent
    assert percent is None or 0.0 <= percent <= 100.0


def test_own_work_is_not_others(monkeypatch):
    readings = iter([(0.0, 0.0, 0.0), (4.0, 3.0, 2.5)])
    monkeypatch.setattr(CpuWatch, "_now", lambda self: next(readings))
    assert CpuWatch().read() == Load(0.5, 4.0)
