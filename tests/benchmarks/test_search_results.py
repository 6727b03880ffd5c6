"""What is said of a race: ratios, tests and goals, of traces whose answers are found by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from search_peers.orders import Order
from search_peers.page import ratios_section
from search_peers.race import Clock, Meter, race
from search_peers.results import At, Goal, Results, Spread, fewer, holm
from search_peers.rows import COSTS, DEFAULT, OWN, PUBLISHED, UNPAUSED, Row
from search_peers.running import Trace
from search_peers.table import Table


def trace(epochs: float, seconds: float | None = None) -> Trace:
    """Reaches everything after so many epochs, in as many seconds where nothing else is said."""
    if epochs == math.inf:
        return Trace((5,), (5.0,), (0.5,), 10)
    took = epochs if seconds is None else seconds
    return Trace((1, int(epochs)), (1.0, took), (0.5, 1.0), int(epochs))


KINDS = {DEFAULT: OWN, UNPAUSED: OWN, "random": "baseline", "informed": COSTS}
Found = dict[str, list[Trace]]  # by key of the row, one trace a seed


def results(
    tables: dict[str, Found], workers: int = 1, length: int = 10, candidates: int = 100
) -> Results:
    """Of traces on tables of so many candidates, of which an epoch takes a second."""
    keys = next(iter(tables.values()))
    rows = [Row(key, key, KINDS.get(key, PUBLISHED), "", None) for key in keys]
    return Results(
        rows,
        {(name, workers, key): v for name, found in tables.items() for key, v in found.items()},
        [table_of(np.ones((candidates, length)), name) for name in tables],
    )


def table_of(seconds: np.ndarray, name: str = "made") -> Table:
    """Of one seed; the seconds are those of each candidate's epochs, (n, epochs)."""
    count = len(seconds)
    return Table(
        name=name,
        parameters=("index",),
        settings=tuple((index,) for index in range(count)),
        cost_names=("cost",),
        costs=((1.0,),) * count,
        seeds=(0,),
        accuracy=np.zeros_like(seconds)[:, None],
        seconds=seconds[:, None],
    )


def traces(**epochs: list[float]) -> Found:
    """Of each row, by its epochs; ``own`` is the default, ``unpaused`` the same without pausing."""
    named = {"own": DEFAULT, "unpaused": UNPAUSED}
    return {named.get(key, key): [trace(e) for e in values] for key, values in epochs.items()}


def peers(found: Results) -> list[Row]:
    return found.rows_of([PUBLISHED])


def test_never_ranks_last() -> None:
    spread = Spread.of([10.0, 20.0, math.inf, 30.0, math.inf])
    assert (spread.low, spread.median, spread.high) == (20.0, 30.0, math.inf)
    assert (spread.reached, spread.seeds) == (3, 5)
    assert Spread.of([10.0, 20.0, math.inf, math.inf]).median == math.inf
    assert fewer([10.0] * 8, [math.inf] * 8) < 0.01
    assert fewer([math.inf] * 8, [10.0] * 8) > 0.99
    assert fewer([math.inf] * 8, [math.inf] * 8) == 1.0


def test_real_tables_are_joined_by_the_geometric_mean() -> None:
    found = results(
        {
            "one": traces(own=[9, 10, 11], good=[40, 20, 80], bad=[50]),  # 10 / 40
            "two": traces(own=[90], good=[200], bad=[90]),  # 90 / 90
            "noise": traces(own=[500], good=[5], bad=[5]),  # made up
        }
    )
    assert found.ratio(At("one", 1, 0.9), peers(found)) == pytest.approx(0.25)
    assert found.ratio(At("two", 1, 0.9), peers(found)) == pytest.approx(1.0)
    assert found.joined(1, 0.9, "epochs", peers(found)) == pytest.approx(0.5)
    lines = ratios_section(found)
    assert "| **one, two: geometric mean** | 1 | 0.50 / 0.50 | 0.50 / 0.50 | 0.50 /" in lines[6]
    assert "| noise, made up | 1 | 100.00 / 100.00 |" in lines[-2]


def test_the_best_in_seconds_is_chosen_by_seconds() -> None:
    own, quick, short = (trace(60, 30), trace(100, 40), trace(80, 120))
    found = results({"one": {DEFAULT: [own], "quick": [quick], "short": [short]}})
    assert found.ratio(At("one", 1, 0.9), peers(found)) == pytest.approx(60 / 80)
    assert found.ratio(At("one", 1, 0.9, "seconds"), peers(found)) == pytest.approx(30 / 40)


def test_never_counts_as_the_whole_table() -> None:
    never = math.inf
    one = traces(own=[10, never, 12, never], good=[never] * 4)
    found = results({"one": one}, workers=4, length=5, candidates=8)
    # 10, 12, 40 and 40 of 8 * 5 epochs; of 4 workers at most 40 / 4 + (1 - 1 / 4) * 5 seconds.
    assert found.ratio(At("one", 4, 0.9), peers(found)) == pytest.approx(26 / 40)
    ratio = found.ratio(At("one", 4, 0.9, "seconds"), peers(found))
    assert ratio == pytest.approx((12 + 13.75) / 2 / 13.75)
    both = results({"one": traces(own=[never] * 3, good=[never] * 3)})
    assert both.ratio(At("one", 1, 0.9), peers(both)) == 1.0
    assert not any(goal.met for goal in both.goals())


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_no_order_takes_longer_than_the_whole_table(order: list[int]) -> None:
    """What the seconds of a search that never ends are bounded by, with the race's own loop."""
    table = table_of(np.array([[length] * 2 for length in order], dtype=float))
    for workers in (1, 2, 3):
        clock = Clock()
        candidates = Order(list(range(len(order))))
        race(candidates, Meter(table, 0), epochs=2, workers=workers, clock=clock)
        row = Row(DEFAULT, "", OWN, "", None)
        found = Results([row], {("made", workers, DEFAULT): [trace(math.inf)]}, [table])
        peer = Row("peer", "", PUBLISHED, "", None)
        found.traces["made", workers, "peer"] = [trace(1, clock.now)]
        ratio = found.ratio(At("made", workers, 0.9, "seconds"), [peer])
        assert ratio is not None
        assert ratio >= 1 - 1e-12
        assert workers > 1 or ratio == pytest.approx(1)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.2]) == pytest.approx([0.9, 0.4])
    assert holm([0.8, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_significance_is_corrected_for_tables_of_a_kind() -> None:
    """Three seeds, all apart: U is 0, z = (4.5 - 0.5) / sqrt(9 * 7 / 12), p = 0.0404."""
    behind = traces(own=[30, 40, 50], random=[5, 6, 7], peer=[100, 110, 120])
    level = traces(own=[5] * 3, random=[5] * 3, peer=[5] * 3)

    def p_and_met(**tables: Found) -> tuple[float | None, bool]:
        found = results(tables)
        rows = {row.key: row for row in found.rows}
        p = found.p_value(At("one", 1, 0.99), rows["random"], [rows[DEFAULT]])
        goal = next(g for g in found.goals() if g.name.startswith("one, ours never sign"))
        return p, goal.met

    assert p_and_met(one=behind) == (pytest.approx(0.0404, abs=1e-4), False)
    assert p_and_met(one=behind, noise=level) == (pytest.approx(0.0404, abs=1e-4), False)
    assert p_and_met(one=behind, two=level) == (pytest.approx(0.0808, abs=1e-4), True)
    assert p_and_met(one=behind, two=behind) == (pytest.approx(0.0808, abs=1e-4), True)


def test_goals_pass_and_miss() -> None:
    slow, fast = [100.0 + i for i in range(9)], [50.0 + i for i in range(9)]
    never = [math.inf] * 9
    rest = {"bad": never, "informed": slow}
    found = results({"t": traces(own=fast, unpaused=slow, good=slow, random=slow, **rest)})
    best = found.best(At("t", 1, 0.9), peers(found))
    assert best is not None
    assert best.key == "good"
    goals = found.goals()
    assert all(goal.met for goal in goals)
    name = "PASS: 1 worker, epochs until 90 / 95%, ours / best published peer, at most 0.6: "
    assert str(goals[0]) == name + "0.52 / 0.52"
    assert [goal.name.partition(", ours ")[2] for goal in goals[4:]] == [
        "never significantly behind random",
        f"never significantly behind {UNPAUSED}",
    ]
    slower = traces(own=slow, unpaused=fast, good=slow, random=fast, **rest)
    missed: list[Goal] = results({"t": slower}).goals()
    assert not any(goal.met for goal in missed)
    assert "least p 0.000" in missed[-1].figure


def test_what_knows_the_costs_and_what_has_many_workers_is_measured_otherwise() -> None:
    found = {"t": traces(own=[70], good=[100], random=[90], informed=[95])}

    def met(workers: int) -> list[bool]:
        goals = results(found, workers).goals()
        return [goal.met for goal in goals if "epochs until" in goal.name]

    assert met(1) == [False, True]  # 0.70 of the best published, 0.78 of all
    assert met(16) == [True, True]


def test_pausing_is_to_pay_on_long_tables() -> None:
    long = traces(own=[75], unpaused=[100])
    short = traces(own=[100], unpaused=[100])
    assert not any("pausing=false on" in goal.name for goal in results({"t": short}).goals())
    goal = next(g for g in results({"t": long}, length=27).goals() if "pausing=false on" in g.name)
    assert (goal.met, goal.figure) == (True, "0.75 / 0.75")
