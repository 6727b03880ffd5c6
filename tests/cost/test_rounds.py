"""The interval of a latency: what it promises, on rounds whose truth is known."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_search.configuration.schema import MeasureConfig, ModelConfig
from resnest_search.cost import CostRequest, Costs, latency, measure_all, space
from resnest_search.cost.account import Account
from resnest_search.cost.cache import Known
from resnest_search.cost.latency import Rounds, Timing
from resnest_search.cost.processes import visitors
from resnest_search.gauges import GpuState

FEW = MeasureConfig(warmup=0, repeats=5, device="cpu", half_width=None, processes=1)


def rounds_of(*medians: float, batch: int = 1) -> Rounds:
    return Rounds([Timing((median,) * 3, batch) for median in medians])


def measuring(rng: np.random.Generator, count: int, spread: float, passes: float = 0.1) -> Rounds:
    """Rounds around 2 ms: each has its own deviation, by which all its passes are shifted."""
    shifts = rng.normal(0.0, spread, count)
    noise = np.abs(rng.normal(0.0, passes, (count, 15)))  # what disturbs a pass makes it slower
    return Rounds([Timing(tuple(2.0 * np.exp(row)), 1) for row in shifts[:, None] + noise])


times = st.lists(st.floats(0.1, 10.0), min_size=2, max_size=9)


@settings(max_examples=60, deadline=None)
@given(times, st.floats(0.01, 100.0), st.randoms(use_true_random=False))
def test_neither_the_unit_nor_the_order_of_rounds_matters(medians, unit, random) -> None:  # type: ignore[no-untyped-def]
    plain = rounds_of(*medians)
    mixed = [median * unit for median in medians]
    random.shuffle(mixed)
    other = rounds_of(*mixed)
    assert other.values["latency_ms"] == pytest.approx(plain.values["latency_ms"] * unit)
    assert other.half_width == pytest.approx(plain.half_width, abs=1e-9, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(times, st.integers(1, 64))
def test_what_rounds_come_to_is_consistent(medians: list[float], batch: int) -> None:
    found = rounds_of(*medians, batch=batch)
    values = found.values
    assert min(medians) <= values["latency_ms"] <= max(medians)
    assert values["latency_ms"] <= values["latency_p95_ms"] + 1e-9
    assert values["images_per_s"] == pytest.approx(1000 * batch / values["latency_ms"])
    assert found.deviations["images_per_s"] == found.deviations["latency_ms"]
    apart = max(medians) / min(medians) - 1
    assert (apart == 0) <= (found.half_width < 1e-9)
    assert (apart > 1e-6) <= (found.half_width > 1e-9)


def test_a_round_counts_once_however_many_passes_it_has() -> None:
    long = Rounds([Timing((1.0,) * 100, 1), Timing((2.0,), 1), Timing((3.0,), 1)])
    assert long.values["latency_ms"] == 2.0
    assert (long.n, long.passes) == (3, 102)


def test_the_interval_is_that_of_student() -> None:
    """Two rounds, of one degree of freedom: t is 12.706; both medians err."""
    error = math.log(2) / math.sqrt(2) * math.sqrt(math.pi / 2 / 2)
    assert rounds_of(1.0, 2.0).half_width == pytest.approx(
        math.expm1(12.7062 * 2**0.5 * error), rel=1e-4
    )


def test_one_round_knows_no_interval() -> None:
    alone = rounds_of(1.0)
    assert alone.deviations == {}
    assert alone.half_width == math.inf
    for timings in ([], [Timing((1.0,), 2), Timing((1.0,), 3)]):
        with pytest.raises(ValueError, match="one batch"):
            Rounds(timings)


@pytest.mark.parametrize(("count", "spread"), [(5, 0.02), (8, 0.02), (20, 0.1)])
def test_another_measuring_falls_into_the_interval(count: int, spread: float) -> None:
    """In 95 of 100 cases, to three standard errors of 600 pairs; a little more of few rounds."""
    rng = np.random.default_rng(0)
    pairs = [(measuring(rng, count, spread), measuring(rng, count, spread)) for _ in range(600)]
    inside = np.mean(
        [
            abs(math.log(b.values["latency_ms"] / a.values["latency_ms"]))
            <= math.log1p(a.half_width)
            for a, b in pairs
        ]
    )
    assert 0.95 - 3 * math.sqrt(0.95 * 0.05 / 600) <= inside <= 0.985


@pytest.mark.parametrize(("between", "within"), [(0.03, 0.01), (0.01, 0.03), (0.0, 0.03)])
def test_what_stays_with_a_process_is_in_the_interval(between: float, within: float) -> None:
    """Rounds go on until it is narrow, which no number of rounds of the same processes makes it."""
    rng, most, processes = np.random.default_rng(3), 30, 5

    def measured() -> Rounds:
        own = rng.normal(0.0, between, processes)
        timings: list[Timing] = []
        while True:
            shifts = own + rng.normal(0.0, within, processes)
            timings += [Timing((float(time),), 1) for time in np.exp(shifts)]
            found = Rounds(timings, processes)
            if found.half_width <= 0.03 or len(timings) == most:
                return found

    several = [measured() for _ in range(250)]
    inside = [
        abs(math.log(b.values["latency_ms"] / a.values["latency_ms"])) <= math.log1p(a.half_width)
        for a, b in itertools.pairwise(several)
    ]
    assert np.mean(inside) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(inside))


def test_rounds_of_one_process_are_one_draw() -> None:
    timings = [Timing((median,), 1) for median in (1.0, 2.0, 1.2, 2.2, 1.1, 2.1)]
    found = Rounds(timings, processes=2)
    assert found.n == 2
    assert found.values["latency_ms"] == pytest.approx((1.1 + 2.1) / 2)
    assert found.half_width == pytest.approx(rounds_of(1.1, 2.1).half_width)


def test_passes_of_one_round_say_nothing_of_the_next() -> None:
    """Rounds apart by 5 %, passes by 1 %: as draws of their own they would promise too much."""
    rng = np.random.default_rng(1)
    found = [measuring(rng, 5, 0.05, passes=0.01) for _ in range(200)]
    assert np.median([one.half_width for one in found]) > 0.05


def request(**changes: object) -> CostRequest:
    mode = dataclasses.replace(FEW, **changes)  # type: ignore[arg-type]
    model = ModelConfig(stem_width=4, planes=[16, 16])
    return CostRequest("1s1x64d", model, 1, 10, 8, mode, 4)


def test_rounds_go_on_until_the_interval_is_as_asked() -> None:
    asked = [
        request(),
        request(half_width=1e-9, time_limit_s=0.3),
        request(half_width=1e-9, time_limit_s=0),
        request(half_width=1e9),
    ]
    calls: list[tuple[int, int]] = []
    found = measure_all(asked, progress=lambda *call: calls.append(call))
    rounds = [costs.rounds for costs in found if isinstance(costs, Costs)]
    assert rounds[1] > 5
    assert [rounds[0], *rounds[2:]] == [5, 5, 5]
    assert calls[-1] == (4 + sum(rounds),) * 2
    for costs in found:
        assert isinstance(costs, Costs)
        assert costs.passes == costs.rounds  # one of each
        assert costs.half_width is not None
        assert set(costs.deviations) == {"latency_ms", "latency_p95_ms", "images_per_s"}


def test_a_round_of_a_throttled_gpu_is_made_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the CPU says that it is one: cool, hot in the second round, and hot to the end."""
    cool, hot = GpuState(1900, 50, 300), GpuState(1200, 90, 300, ("heat",))
    told = iter([cool] * 3 + [hot] + [cool] * 5 + [hot] * 99)
    monkeypatch.setattr(latency, "state_of", lambda device: next(told))
    monkeypatch.setattr(space, "_COOLING_S", 0.0)
    calls: list[tuple[int, int]] = []
    (costs,) = measure_all([request(repeats=4)], rounds=4, progress=lambda *c: calls.append(c))
    assert isinstance(costs, Costs)
    assert (costs.rounds, costs.passes) == (4, 4)
    assert costs.gpu == {
        "sm_mhz": [1200, 1900],
        "celsius": [50, 90],
        "watts": [300, 300],
        "throttled_rounds": 1,
        "throttled_by": ["heat"],
    }
    assert len([*told]) == 99 - 3  # of the last round, which was made again


def test_what_a_gpu_told_is_kept_with_its_rounds_and_a_hot_one_is_not_taken_again() -> None:
    def known(state: GpuState) -> Known:
        return Known(Account(1, 2, 3, None), "now", (Timing((1.0, 2.0), 1, (state, state)),))

    for state in (GpuState(1900, 50, None), GpuState(None, 90, 300, ("heat", "power brake"))):
        again = Known.read(json.dumps(dataclasses.asdict(known(state))))
        assert again == known(state)
        assert again.is_doubtful == bool(state.throttled)


def test_processes_that_take_turns_end_with_the_measuring() -> None:
    def children() -> set[psutil.Process]:
        found = psutil.Process().children()
        return {child for child in found if "spawn_main" in " ".join(child.cmdline())}

    before = children()
    with visitors(2) as (by, ready):
        ready()
        (child,) = children() - before
        timing, _ = by[1](request(), None, 3)
        assert timing.n == 3
        with pytest.raises(RuntimeError, match="radix x cardinality = 3"):
            by[1](dataclasses.replace(request(), variant="3s1x64d"), None, 1)
        child.kill()
        with pytest.raises(EOFError):
            by[1](request(), None, 3)
    (costs,) = measure_all([request(processes=2)])
    assert isinstance(costs, Costs)
    assert (costs.rounds, costs.passes) == (2, 5)
    assert children() <= before
