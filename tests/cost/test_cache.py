"""What is measured once, is kept: by what it is looked up, and when it is measured anew."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from resnest_search.configuration.schema import MeasureConfig, ModelConfig
from resnest_search.cost import CostRequest, Costs, busy, machine, measure_all, space
from resnest_search.cost.busy import Load
from resnest_search.cost.cache import Cache, Known
from resnest_search.cost.latency import Timing
from resnest_search.cost.measure import Measurement

CPU = torch.device("cpu")
MODE = MeasureConfig(warmup=0, repeats=5, device="cpu", half_width=None, processes=1)
MODEL = ModelConfig(depths=[1], planes=[16], stem_width=4)
DIGESTS = ("78404793c6779f14", "d302b455032bab33", "2b39b51511d3b35c")  # of `request()`


def request(variant: str = "1s1x64d", mode: MeasureConfig = MODE, **changes: Any) -> CostRequest:
    values = {"channels": 3, "classes": 10, "image_size": 8, "train_batch": 4, "model": MODEL}
    return CostRequest(variant, measure=mode, **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run beside these, and what a busy device shows is not kept."""
    monkeypatch.setattr(busy, "TROUBLE_PERCENT", 1000.0)


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "folder" / "costs.db")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The variants of all visits, in their order; each takes what `speeds` says."""
    seen: list[str] = []

    def time(self: Measurement, repeats: int, by: object = None) -> None:
        seen.append(self.request.variant)
        self.begun = self.begun or f"begun {len(seen)}"
        self.timings.append(Timing((SPEEDS[self.request.variant],) * repeats, 1))

    monkeypatch.setattr(Measurement, "time", time)
    return seen


SPEEDS: dict[str, float] = {}


@pytest.fixture(autouse=True)
def speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    for radix in (0, 1, 2, 4):
        monkeypatch.setitem(SPEEDS, f"{radix}s1x64d", 1.0 + radix)


def measured(kept: Cache | None, *variants: str) -> list[Costs]:
    found = measure_all([request(variant) for variant in variants], cache=kept)
    assert all(isinstance(costs, Costs) for costs in found), found
    return [costs for costs in found if isinstance(costs, Costs)]


CHANGES: list[Callable[[CostRequest], CostRequest]] = [
    lambda r: dataclasses.replace(r, variant="2s1x64d"),
    lambda r: dataclasses.replace(r, channels=1),
    lambda r: dataclasses.replace(r, classes=11),
    lambda r: dataclasses.replace(r, image_size=16),
    lambda r: dataclasses.replace(r, model=dataclasses.replace(MODEL, planes=[32])),
    *(
        lambda r, change=change: dataclasses.replace(  # type: ignore[misc]
            r, measure=dataclasses.replace(MODE, **change)
        )
        for change in (
            {"batch": 2},
            {"image_size": 24},
            {"precision": "bf16"},
            {"channels_last": True},
            {"compile": True},
            {"form": "fast"},
            {"warmup": 2},
            {"repeats": 7},
            {"processes": 2},
            {"threads": 2},
            {"half_width": 1.0},
            {"time_limit_s": 9.0},
            {"cuda_graph": True},
            {"cold_l2": True},
        )
    ),
]


def test_a_network_is_looked_up_by_all_that_its_costs_depend_on() -> None:
    keys = {request().timed_on(CPU), *(change(request()).timed_on(CPU) for change in CHANGES)}
    assert len(keys) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"image_size": 8},
        {"device": None},
        {"cache": "none"},
        {"profile": "a.json"},
        {"also": ["throughput"]},
    ],
)
def test_and_by_nothing_else(change: dict[str, Any]) -> None:
    other = request(mode=dataclasses.replace(MODE, **change))
    assert other.timed_on(CPU) == request().timed_on(CPU)
    trained = request(train_batch=8, train_precision="bf16", train_channels_last=True)
    assert trained.timed_on(CPU) == request().timed_on(CPU)


@pytest.mark.parametrize(
    ("of", "name", "value"),
    [
        (machine.platform, "node", lambda: "another host"),
        (machine.platform, "python_version", lambda: "3.99.0"),
        (machine, "device_name", lambda device: "another CPU"),
        (machine, "cpus_of_process", lambda: list(range(99))),
        (machine.torch, "__version__", "99.0"),
    ],
)
def test_another_machine_or_version_is_another_entry(
    monkeypatch: pytest.MonkeyPatch, of: Any, name: str, value: Any
) -> None:
    here, step = request().timed_on(CPU), request().step_on(CPU)
    monkeypatch.setattr(of, name, value)
    assert request().timed_on(CPU) != here
    assert request().step_on(CPU) != step


def test_a_gpus_libraries_and_driver_are_looked_up_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "version"
    monkeypatch.setattr(machine, "_DRIVER", driver)
    monkeypatch.setattr(machine.torch.backends.cudnn, "version", lambda: 91000)
    monkeypatch.setattr(machine.torch.cuda, "get_device_name", lambda device: "a GPU")
    gpu = torch.device("cuda")
    driver.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
    )
    found = machine.machine(gpu)
    assert found["driver"] == "570.86.15"
    keys = {request().timed_on(gpu)}
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n")
    assert machine.machine(gpu)["driver"] == "535.129.03"
    keys.add(request().timed_on(gpu))
    monkeypatch.setattr(machine.torch.backends.cudnn, "version", lambda: 92000)
    keys.add(request().timed_on(gpu))
    monkeypatch.setattr(machine.torch.version, "cuda", "99")
    keys.add(request().timed_on(gpu))
    keys.add(request(mode=dataclasses.replace(MODE, precision="tf32")).timed_on(gpu))
    assert len(keys) == 5


@pytest.mark.parametrize(
    "change",
    [
        {"train_batch": 8},
        {"train_precision": "bf16"},
        {"train_channels_last": True},
        {"train_workers": 2},
        {"train_optimizer": "adamw"},
        {"train_ema": True},
        {"train_fused": False},
        {"classes": 11},
        {"image_size": 16},
        {"model": dataclasses.replace(MODEL, dropblock=0.1)},
    ],
)
def test_a_training_step_is_looked_up_by_what_its_memory_depends_on(change: dict[str, Any]) -> None:
    assert request(**change).step_on(CPU) != request().step_on(CPU)
    assert request(gpu_share=0.5).step_on(CPU) == request().step_on(CPU)


def test_nothing_is_measured_twice(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured(kept, "1s1x64d", "2s1x64d")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    for name in ("account", "account_training"):
        monkeypatch.setattr(importlib.import_module("resnest_search.cost.measure"), name, never)
    monkeypatch.setattr(Measurement, "time", never)
    monkeypatch.setattr(space, "visitors", never)
    calls: list[tuple[int, int]] = []
    again = measure_all(
        [request("2s1x64d"), request()], cache=kept, progress=lambda *call: calls.append(call)
    )
    assert again == first[::-1]
    assert calls[-1][0] == 2


def test_what_is_missing_is_timed_between_three_anchors(kept: Cache, timed: list[str]) -> None:
    first = measured(kept, "0s1x64d", "1s1x64d", "4s1x64d")
    del timed[:]
    found = measured(kept, "0s1x64d", "1s1x64d", "2s1x64d", "4s1x64d")
    assert timed == ["2s1x64d", "0s1x64d", "1s1x64d", "4s1x64d"] * 5
    assert [found[0], found[1], found[3]] == first
    del timed[:]
    assert measured(kept, "2s1x64d", "0s1x64d") == [found[2], found[0]]
    assert not timed


def test_where_an_anchor_has_moved_everything_is_measured_anew(
    kept: Cache, timed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = measured(kept, "0s1x64d", "1s1x64d")
    SPEEDS["1s1x64d"] *= 1.01  # beyond an interval of nothing
    del timed[:]
    found = measured(kept, "0s1x64d", "1s1x64d", "2s1x64d")
    assert timed[-15:] == ["0s1x64d", "1s1x64d", "2s1x64d"] * 5
    assert "not as fast as they were before" in capsys.readouterr().err
    assert found[1].values["latency_ms"] == SPEEDS["1s1x64d"] > first[1].values["latency_ms"]
    assert found[0].begun != first[0].begun
    del timed[:]
    assert measured(kept, "0s1x64d", "1s1x64d", "2s1x64d") == found
    assert not timed


def test_no_figure_of_another_clock_is_ever_beside_those_of_this_one(
    kept: Cache, timed: list[str]
) -> None:
    """What was measured first is gone, also for those that were not asked for again."""
    names = ("0s1x64d", "1s1x64d", "2s1x64d", "4s1x64d")
    measured(kept, *names[:3])
    for name in names:
        SPEEDS[name] *= 2
    measured(kept, names[0], names[3])
    found = measured(kept, *names)
    assert [costs.values["latency_ms"] for costs in found] == [SPEEDS[name] for name in names]


def test_rounds_beside_anchors_are_kept_when_these_have_not_moved(
    kept: Cache, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(kept, "0s1x64d", "1s1x64d")
    time = Measurement.time

    def killed(self: Measurement, repeats: int, by: Any = None) -> None:
        if len(timed) > 16:
            raise KeyboardInterrupt
        time(self, repeats, by)

    monkeypatch.setattr(Measurement, "time", killed)
    with pytest.raises(KeyboardInterrupt):
        measured(kept, "0s1x64d", "1s1x64d", "2s1x64d")
    monkeypatch.setattr(Measurement, "time", time)
    del timed[:]
    measured(kept, "0s1x64d", "1s1x64d", "2s1x64d")
    assert timed.count("2s1x64d") == 5


def test_an_anchor_without_a_narrow_interval_may_move_by_a_tenth(
    kept: Cache, timed: list[str]
) -> None:
    """Of one round no interval is known."""
    once = dataclasses.replace(MODE, repeats=1)

    def ask(*names: str) -> list[float]:
        found = measure_all([request(name, once) for name in names], cache=kept)
        return [costs.values["latency_ms"] for costs in found if isinstance(costs, Costs)]

    ask("0s1x64d", "1s1x64d")
    SPEEDS["2s1x64d"] *= 3
    assert ask("0s1x64d", "2s1x64d")[1] == SPEEDS["2s1x64d"]
    for name in SPEEDS:
        SPEEDS[name] *= 1.2
    assert ask("0s1x64d", "4s1x64d") == [SPEEDS["0s1x64d"], SPEEDS["4s1x64d"]]


def test_an_anchor_within_its_interval_has_not_moved(
    kept: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval of five rounds that deviate by a tenth is far above a hundredth."""
    wobble = iter([1.0, 1.1, 0.9, 1.05, 0.95] * 20)

    def time(self: Measurement, repeats: int, by: object = None) -> None:
        self.timings.append(Timing((next(wobble),), 1))

    monkeypatch.setattr(Measurement, "time", time)
    first = measured(kept, "1s1x64d")
    assert measured(kept, "1s1x64d", "2s1x64d")[0] == first[0]


@pytest.mark.parametrize("slower", [1.0, 1.04, 1.5])
def test_a_measuring_that_was_killed_goes_on_where_it_stood(
    kept: Cache, timed: list[str], monkeypatch: pytest.MonkeyPatch, slower: float
) -> None:
    visits = 0
    time = Measurement.time

    def killed(self: Measurement, repeats: int, by: Any = None) -> None:
        nonlocal visits
        visits += 1
        if visits == 6:
            raise KeyboardInterrupt
        time(self, repeats, by)

    monkeypatch.setattr(Measurement, "time", killed)
    with pytest.raises(KeyboardInterrupt):
        measured(kept, "1s1x64d", "2s1x64d")
    monkeypatch.setattr(Measurement, "time", time)
    assert timed == ["1s1x64d", "2s1x64d", "1s1x64d", "2s1x64d", "1s1x64d"]
    for name in SPEEDS:
        SPEEDS[name] *= slower
    found = measured(kept, "1s1x64d", "2s1x64d")
    assert timed == ["1s1x64d", "2s1x64d"] * (5 if slower < 1.05 else 10)
    assert [costs.rounds for costs in found] == [5, 5]
    if slower > 1.05:  # nothing of before is left
        speeds = [SPEEDS["1s1x64d"], SPEEDS["2s1x64d"]]
        assert [costs.values["latency_ms"] for costs in found] == speeds


def test_what_was_timed_on_a_busy_device_is_timed_again(
    kept: Cache, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "TROUBLE_PERCENT", 10.0)
    time = Measurement.time

    def beside_others(self: Measurement, repeats: int, by: Any = None) -> None:
        time(self, repeats, by)
        self.load += Load(busy_s=0.05, offered_s=0.1)  # too short to be made again at once

    monkeypatch.setattr(Measurement, "time", beside_others)
    (disturbed,) = measured(kept, "1s1x64d")
    assert disturbed.busy_percent == 50
    monkeypatch.setattr(Measurement, "time", time)
    (idle,) = measured(kept, "1s1x64d")
    assert idle.busy_percent is None
    assert timed == ["1s1x64d"] * 10
    assert measured(kept, "1s1x64d") == [idle]
    assert len(timed) == 10


def test_what_was_not_as_sure_as_asked_is_kept_as_it_is(kept: Cache) -> None:
    """Its time was over; it is marked, and another time is as long."""
    sure = dataclasses.replace(MODE, half_width=1e-9, time_limit_s=0.1)
    (first,) = measure_all([request(mode=sure)], cache=kept)
    assert isinstance(first, Costs)
    assert first.rounds > 5
    assert measure_all([request(mode=sure)], cache=kept) == [first]


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_one_that_was_killed_among_its_further_rounds_gets_the_others(
    kept: Cache, monkeypatch: pytest.MonkeyPatch, slower: float
) -> None:
    wobble, visits, scale = itertools.cycle([1.0, 1.1, 0.9, 1.05, 0.95]), 0, 1.0

    def time(self: Measurement, repeats: int, by: object = None) -> None:
        nonlocal visits
        visits += 1
        if visits == 8:
            raise KeyboardInterrupt
        self.timings.append(Timing((scale * next(wobble),), 1))

    monkeypatch.setattr(Measurement, "time", time)
    sure = dataclasses.replace(MODE, half_width=1e-9, time_limit_s=0.2)
    with pytest.raises(KeyboardInterrupt):
        measure_all([request(mode=sure)], cache=kept)
    scale = slower
    (second,) = measure_all([request(mode=sure)], cache=kept)
    assert isinstance(second, Costs)
    assert second.rounds > 8
    assert second.rounds == visits - 1 - (7 + 5 if slower > 1.05 else 0)  # none of another clock
    assert measure_all([request(mode=sure)], cache=kept) == [second]  # its time was over


@pytest.mark.parametrize("harm", ["garbage", "pages", "layout", "gone"])
def test_a_cache_that_is_of_no_use_is_done_without(
    kept: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    measured(kept, "1s1x64d", "2s1x64d")
    file = tmp_path / "folder" / "costs.db"
    if harm == "garbage":
        file.write_bytes(b"no database at all" * 500)
    elif harm == "pages":
        whole = file.read_bytes()
        file.write_bytes(whole[:200] + b"\xff" * (len(whole) - 200))
    elif harm == "layout":
        with sqlite3.connect(file) as database:
            database.execute("drop table networks")
            database.execute("create table networks (other integer)")
    else:
        shutil.rmtree(file.parent)
    assert len(measured(kept, "1s1x64d", "2s1x64d")) == 2
    said = capsys.readouterr().err
    assert said.count("resnest-search: measure.cache: the kept costs cannot be used") == 1
    assert len(said.splitlines()) == 1


def test_what_comes_back_is_what_was_kept(kept: Cache) -> None:
    found = Measurement(request())
    found.time(3)
    known = found.known
    kept.keep(7, "key", known)
    assert kept.known(7, "key") == known
    assert kept.known(8, "key") is None
    assert kept.most(["key", "other"]) == 7
    assert kept.new() == 8
    kept.forget(7, "key")
    assert kept.known(7, "key") is None


def test_the_last_of_the_measurings_that_have_most_is_taken(kept: Cache) -> None:
    known = dataclasses.replace(Known(Measurement(request()).account), timings=(Timing((1.0,), 1),))

    def keep(measuring: int, keys: Sequence[str]) -> None:
        for key in keys:
            kept.keep(measuring, key, known)

    keep(1, "abc")
    keep(2, "ab")
    assert kept.most("abc") == 1
    assert kept.most("ab") == 2
    assert kept.most("d") == kept.new() == 3


def test_a_round_beside_others_is_made_again_once(
    kept: Cache, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "TROUBLE_PERCENT", 10.0)
    time = Measurement.time
    loads = iter([0.0, 0.5, 0.0, 0.4, 0.3, *[0.0] * 20])

    def beside_others(self: Measurement, repeats: int, by: Any = None) -> None:
        time(self, repeats, by)
        self.load += Load(busy_s=next(loads), offered_s=1.0)

    monkeypatch.setattr(Measurement, "time", beside_others)
    (found,) = measured(kept, "1s1x64d")
    assert len(timed) == 7  # two of the five rounds twice
    assert found.rounds == found.passes == 5
    # The second time counts whatever it is.
    assert found.busy_percent == pytest.approx(100 * 0.3 / 5)
    assert measured(kept, "1s1x64d") == [found]


def test_a_gpu_is_waited_for_until_others_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "TROUBLE_PERCENT", 10.0)
    looks = iter([0.9, 0.8, 0.05])
    slept: list[float] = []
    monkeypatch.setattr(space, "look", lambda device: Load(next(looks), 1.0))
    monkeypatch.setattr(space.time, "sleep", slept.append)
    assert space._at_rest(torch.device("cuda")).percent == pytest.approx(5)
    assert slept == [1.0, 1.0]
    looks = iter([0.9] * 9)
    assert space._at_rest(torch.device("cuda")).percent == pytest.approx(90)


def test_keys_that_came_since_leave_the_identity_of_what_was_cached_before() -> None:
    """Digests of 0.2.0, before its modes had CUDA graphs and its recipes another optimizer."""
    asked = request()
    assert (asked.timed, asked.structure, asked.step) == DIGESTS
    for changed in ({"train_optimizer": "adamw"}, {"train_fused": False}, {"train_ema": True}):
        assert request(**changed).step != asked.step
    for key in ("cuda_graph", "cold_l2"):
        mode = dataclasses.replace(MODE, **{key: True})
        assert request(mode=mode).timed != asked.timed
