"""Measuring in a process of its own: what it finds, and what becomes of a process that dies."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from command_line import started

from resnest_search.configuration.schema import (
    DataConfig,
    MeasureConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
    TrainConfig,
)
from resnest_search.cost import CostRequest, Costs
from resnest_search.cost.busy import Load
from resnest_search.cost.cache import FILE
from resnest_search.errors import UserError
from resnest_search.execution.doubts import (
    age_line,
    busy_warnings,
    check_trusted,
    cost_doubts,
    throttle_warnings,
    width_warnings,
)
from resnest_search.execution.measuring import (
    alone,
    costings_of,
    locally,
    measure_space,
)
from resnest_search.execution.resources import Allotment
from resnest_search.metrics import COSTS
from resnest_search.space import Space
from resnest_search.study.costing import Costing


def request(variant: str = "1s1x64d", image_size: int = 8) -> CostRequest:
    return CostRequest(
        variant=variant,
        model=ModelConfig(depths=[1], planes=[32], stem_width=8),
        channels=1,
        classes=10,
        image_size=image_size,
        measure=MeasureConfig(warmup=1, repeats=3, device="cpu", half_width=None, processes=1),
        train_batch=4,
    )


def costing(busy: float | None) -> Costing:
    return Costing(dict.fromkeys(COSTS, 1.0), details={"busy_percent": busy})


def test_one_that_cannot_be_measured_leaves_the_others_alone() -> None:
    """100,000 pixels a side need terabytes, which are counted and never allocated."""
    seen: list[tuple[int, int]] = []
    found = locally(
        [request(), request(image_size=100_000), request("3s1x64d")],
        lambda done, total: seen.append((done, total)),
    )
    assert isinstance(found[0], Costs)
    assert set(found[0].values) == set(COSTS)
    assert isinstance(found[1], str)
    assert "out of memory" in found[1]
    assert isinstance(found[2], str)
    assert "radix x cardinality = 3" in found[2]
    assert seen[-1] == (6, 6)  # three steps, three rounds of a pass


def test_modes_beside_the_objectives_are_measured_with_it_and_apart_from_it() -> None:
    """In one measuring, on its threads and images; what fails in one of them fails there alone."""
    asked: list[CostRequest] = []

    def measure(requests: Sequence[CostRequest]) -> list[Costs | str]:
        asked.extend(requests)
        values = [dict.fromkeys(COSTS, float(n)) for n in range(1, len(requests) + 1)]
        found: list[Costs | str] = [
            Costs(v, "a device", r.measure.name, None, 5, {})
            for r, v in zip(requests, values, strict=True)
        ]
        return [*found[:-1], "out of memory"]

    own = MeasureConfig(image_size=8, threads=2, also=["throughput"], device="cpu")
    two = {name: dataclasses.replace(request(name), measure=own) for name in ("1s1x64d", "2s1x64d")}
    found = costings_of(two, measure)
    assert [(r.variant, r.measure.name) for r in asked] == [
        ("1s1x64d", "eager"),
        ("2s1x64d", "eager"),
        ("1s1x64d", "throughput"),
        ("2s1x64d", "throughput"),
    ]
    beside = asked[-1].measure
    assert (beside.batch, beside.threads, beside.image_size, beside.device) == (32, 2, 8, "cpu")
    first, last = (found[name].beside("throughput") for name in two)
    assert first is not None
    assert (first.costs["latency_ms"], first.mode) == (3.0, "throughput")
    assert found["1s1x64d"].costs["latency_ms"] == 1.0
    assert last is not None
    assert last.failure == "not measured: out of memory"
    (line,) = cost_doubts(found, None)
    assert line == "throughput: 1 of 2 networks are without costs: not measured: out of memory"


def test_where_the_process_dies_each_network_gets_its_own() -> None:
    """The kernel kills a process that takes too much memory; here the test does."""
    killed: list[int] = []

    def kill_once(done: int, total: int) -> None:
        if not killed:
            children = psutil.Process().children()
            measuring = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
            assert measuring
            for child in measuring:
                killed.append(child.pid)
                os.kill(child.pid, signal.SIGKILL)

    larger = dataclasses.replace(request(), train_batch=8)
    found = locally([request(), request("2s1x64d"), larger], kill_once)
    assert killed
    assert all(isinstance(costs, Costs) for costs in found)
    first, _, last = (costs.values for costs in found if isinstance(costs, Costs))
    assert last["latency_ms"] == first["latency_ms"], "one network, timed once"
    assert last["train_memory_mib"] > first["train_memory_mib"]


@dataclasses.dataclass(frozen=True)
class Faulty(CostRequest):
    """One on which measuring itself fails."""

    @property
    def timed(self) -> str:
        raise ZeroDivisionError("a fault of ours\nand more")


@dataclasses.dataclass(frozen=True)
class Dying(CostRequest):
    """One on which the process ends, as where a library of a device's fails."""

    @property
    def timed(self) -> str:
        if multiprocessing.parent_process() is None:
            return super().timed
        os._exit(7)


def test_a_process_that_ends_by_itself_had_no_lack_of_memory_either() -> None:
    (said,) = locally([Dying(**vars(request()))], lambda done, total: None)
    assert said == "the measuring process was ended with exit code 7; what it said stands above"


def test_a_fault_of_measuring_is_no_lack_of_memory() -> None:
    (said,) = locally([Faulty(**vars(request()))], lambda done, total: None)
    assert said == "ZeroDivisionError: a fault of ours"


def test_where_the_command_is_killed_its_measuring_ends_at_once_and_without_a_word(
    tmp_path: Path,
) -> None:
    """What went on would be in the latencies of whoever measures next."""
    words = ("profile", "variant=1s1x64d", "measure.repeats=10000000", "measure.processes=2")
    with started(tmp_path, *words, "measure.cache=none") as command:
        command.until(lambda: sum(map(_is_spawned, command.descendants)) == 2)
        time.sleep(5)  # a few seconds later they have imported torch, and time
        command.process.kill()
        assert command.left_behind() == []
        assert command.said().err == ""


def _is_spawned(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def test_a_busy_device_is_said_and_an_idle_one_is_not() -> None:
    assert busy_warnings({"a": costing(2.0), "b": costing(None)}) == []
    lines = busy_warnings({"a": costing(60.4), "b": costing(1.0)})
    assert len(lines) == 1
    assert "60 % busy while 1 of 2 networks" in lines[0]


def test_ticks_of_a_short_watch_are_no_work_of_others() -> None:
    def watched(seconds: float) -> Costing:
        details = {"busy_percent": 20.0, "busy_s": seconds}
        return Costing(dict.fromkeys(COSTS, 1.0), details=details)

    assert busy_warnings({"a": watched(0.03)}) == []
    assert len(busy_warnings({"a": watched(0.3)})) == 1
    assert not Load(0.03, 0.15).is_trouble
    assert Load(0.3, 1.5).is_trouble
    assert not Load(0.3, 10.0).is_trouble
    assert not Load().is_trouble


def test_a_throttled_gpu_is_said_with_the_reason() -> None:
    def told(**gpu: object) -> Costing:
        return Costing(dict.fromkeys(COSTS, 1.0), details={"gpu": gpu})

    cool = told(celsius=[40, 60], throttled_rounds=0, throttled_by=[])
    hot = told(celsius=[70, 91], throttled_rounds=2, throttled_by=["heat"])
    assert throttle_warnings({"a": cool, "b": costing(1.0)}) == []
    (line,) = cost_doubts({"a": cool, "b": hot}, None)
    assert line.startswith("The GPU was throttled (heat, at up to 91 °C) while 1 of 2 networks")


HOT = Costing({}, details={"gpu": {"throttled_rounds": 1, "throttled_by": ["heat"]}})


@pytest.mark.parametrize(
    ("doubtful", "on_gpu", "second", "is_refused"),
    [
        ("auto", True, costing(60.0), True),
        ("auto", True, HOT, True),
        ("auto", True, costing(9.0), False),
        ("auto", False, costing(60.0), False),
        ("mark", True, costing(60.0), False),
        ("refuse", False, costing(60.0), True),
        ("refuse", False, costing(None), False),
        ("refuse", True, costing(None), True),
        ("auto", True, costing(None), False),
    ],
)
def test_doubtful_latencies_are_no_objective_unless_allowed(
    doubtful: str, on_gpu: bool, second: Costing, is_refused: bool
) -> None:
    config = SweepConfig(measure=MeasureConfig(doubtful=doubtful))
    second = dataclasses.replace(second, costs=dict.fromkeys(COSTS, 2.0))
    found = {"a": costing(1.0), "b": second}
    if not is_refused:
        return check_trusted(config, found, on_gpu)
    with pytest.raises(UserError, match=f"measure.doubtful={doubtful}: .* Valid: mark"):
        check_trusted(config, found, on_gpu)
    ruled_out = {**found, "b": dataclasses.replace(second, infeasible="memory_mib: too much")}
    check_trusted(config, ruled_out, on_gpu)
    config.search.objectives = ["accuracy", "gmacs"]
    check_trusted(config, found, on_gpu)
    config.search.limits.latency_ms = 2.0
    with pytest.raises(UserError):
        check_trusted(config, found, on_gpu)
    with pytest.raises(UserError):  # a limit of latency may be what ruled it out
        check_trusted(config, ruled_out, on_gpu)
    if doubtful == "auto":  # a network alone is compared with none
        check_trusted(config, {"b": second}, on_gpu)
    return None


def test_latencies_that_are_not_as_sure_as_asked_are_said() -> None:
    def known(half_width: float | None) -> Costing:
        details = {"latency_half_width": half_width}
        return Costing(dict.fromkeys(COSTS, 1.0), details=details)

    found = {"a": known(0.01), "b": known(0.25), "c": known(None), "d": costing(1.0)}
    assert width_warnings(found, None) == width_warnings(found, 30.0) == []
    (line,) = width_warnings(found, 3.0)
    assert "of 1 of 2 networks are known to ±25.0 % at worst" in line
    assert "measure.half_width=3 " in line
    once = Costing(dict.fromkeys(COSTS, 1.0), details={"latency_rounds": 1})
    (line,) = width_warnings({"a": once, "d": costing(1.0)}, 3.0)
    assert line.startswith("Of 1 networks one round was timed")


@pytest.mark.parametrize(
    ("asked", "workers", "parts", "measured"),
    [(64, 1, 1, 64), (8192, 1, 1, 1617), (8192, 2, 1, 809), (64, 1, 4, 16), (64, 2, 4, 8)],
)
def test_a_step_is_measured_with_the_batch_that_is_trained(
    asked: int, workers: int, parts: int, measured: int
) -> None:
    """A tenth of the 1,797 digits is held out."""
    search = SearchConfig(space={"variant": ["1s1x64d"]})
    recipe = TrainConfig(batch_size=asked, accumulate=parts)
    config = SweepConfig(search=search, train=recipe)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, classes=10))
    seen: list[CostRequest] = []

    def measure(requests: Sequence[CostRequest]) -> list[Costs | str]:
        seen.extend(requests)
        return ["not now"] * len(requests)

    space = Space(search.space, config.model)
    measure_space(config, space, Allotment(workers, 1, 0, 1), measure)
    assert [request.train_batch for request in seen] == [measured]
    assert [request.train_workers for request in seen] == [workers]
    assert [request.train_fused for request in seen] == [workers == 1]  # norms of two are one
    assert [request.gpu_share for request in seen] == [1.0]
    measure_space(config, space, Allotment(1, 1, 0.5, 2), measure)
    assert seen[-1].gpu_share == 0.5


def test_a_compiler_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # what is known is not compiled
    asked = request("0s1x64d")
    compiled = dataclasses.replace(asked.measure, compile=True)
    (found,) = locally([dataclasses.replace(asked, measure=compiled)])
    assert isinstance(found, Costs), found
    assert "compiled" in found.mode
    assert any(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_behind() -> None:
    before = {child.pid for child in psutil.Process().children()}
    locally([request()])
    after = {c.pid for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())}
    assert after <= before


def test_a_second_measuring_waits_for_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = threading.Event()

    def second() -> None:
        with alone(str(tmp_path)):
            begun.set()

    waiting = threading.Thread(target=second)
    with alone(str(tmp_path)):
        waiting.start()
        assert not begun.wait(0.3)
    assert begun.wait(60)
    waiting.join()
    said = capsys.readouterr().err
    assert said.count("another sweep is measuring on this machine") == 1


def test_where_no_lock_can_be_written_it_is_measured_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with alone(str(tmp_path / "file" / "below")):
        pass


def test_how_old_costs_are_is_said() -> None:
    def of(moment: str) -> Costing:
        return Costing({}, details={"measured": moment})

    now = "2026-03-10T12:00:00+00:00"
    assert (
        age_line({"a": of(now), "b": of("2026-03-10T12:00:05+00:00"), "c": Costing({})}, now) == ""
    )
    old = {"a": of("2026-03-07T11:00:00+00:00"), "b": of("2026-03-10T11:59:00+00:00"), "c": of(now)}
    assert age_line(old, now).startswith(
        "2 of 3 networks were measured on this machine before, up to 3 days ago"
    )
    assert "up to 1 minute ago" in age_line({"b": old["b"]}, now)


def test_costs_that_another_version_kept_are_left_to_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "costs.db")) as database, database:
        database.execute("create table networks (measuring integer, key text, other text)")
    theirs = (tmp_path / "costs.db").read_bytes()
    for _ in range(2):
        asked = request()
        kept = dataclasses.replace(asked.measure, cache=str(tmp_path))
        (found,) = locally([dataclasses.replace(asked, measure=kept)])
        assert isinstance(found, Costs)
    assert "cannot be used" not in capfd.readouterr().err
    assert (tmp_path / "costs.db").read_bytes() == theirs
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("select count(*) from networks").fetchone() == (1,)


@pytest.mark.parametrize(
    ("images", "parts", "workers", "valid"),
    [(12, 8, 1, 6), (12, 16, 1, 6), (12, 6, 1, None), (12, 7, 2, 6), (12, 6, 2, None)],
)
def test_too_few_images_for_the_parts_of_a_batch_are_refused_before(
    images: int, parts: int, workers: int, valid: int | None
) -> None:
    """Of several workers whose norms are synchronised, one image each is enough."""
    recipe = TrainConfig(batch_size=64, accumulate=parts)
    data = DataConfig(name="digits", image_size=8, channels=1, classes=10, train_images=images)
    config = SweepConfig(model=ModelConfig(), data=data, train=recipe)
    space = Space({"variant": ["1s1x64d"]}, config.model)
    allotment = Allotment(workers, 1, 0.0, 1)
    if valid is None:
        assert measure_space(config, space, allotment, lambda asked: ["no"] * len(asked))
        return
    refusal = rf"^train\.accumulate={parts}: {images} training images .*valid: at most {valid}$"
    with pytest.raises(UserError, match=refusal):
        measure_space(config, space, allotment, lambda asked: ["no"] * len(asked))
