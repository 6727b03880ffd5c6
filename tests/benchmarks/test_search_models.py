"""The peers of the race that learn by Gaussian processes, and those in a process of their own."""

from __future__ import annotations

import os
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from search_peers.race import Clock, Meter, Problem, race
from search_peers.rows import Row, rows_named
from search_peers.running import run
from search_peers.table import Table
from search_peers.truth import Truth

EPOCHS = 3
LEARNING = ["optuna_gp", "botorch_qlognehvi"]
NEPS = ["neps_moasha", "neps_primo"]
NEPS_PYTHON = os.environ.get("NEPS_PYTHON")  # an interpreter that has NePS


def row(key: str) -> Row:
    """A row, or a skipped test that says what it lacks."""
    found = rows_named([key], None, Path(NEPS_PYTHON) if NEPS_PYTHON else None)[0]
    if found.missing:
        pytest.skip(found.missing)
    return found


def made(parameters: tuple[str, ...], settings: list[Any], finals: Any, costs: Any) -> Table:
    """A table of curves that rise to their finals by a tenth."""
    rise = np.linspace(-0.1, 0.0, EPOCHS)
    accuracy = np.asarray(finals, dtype=float)[:, None, None] + rise
    return Table(
        name="made",
        parameters=parameters,
        settings=tuple(settings),
        cost_names=("watts",),
        costs=tuple((float(cost),) for cost in costs),
        seeds=(0,),
        accuracy=accuracy,
        seconds=np.ones_like(accuracy),
    )


def trend(side: int) -> Table:
    """Accuracy grows with depth, which costs, and falls with waste, which is free to leave out."""
    settings = [(depth, waste) for depth in range(side) for waste in range(side)]
    finals = [0.5 + 0.06 * depth - 0.05 * waste for depth, waste in settings]
    costs = [1 + depth + 0.1 * waste for depth, waste in settings]
    return made(("depth", "waste"), settings, finals, costs)


def mixed() -> Table:
    """A range of whole numbers, one of others, words, and what never varies; no full product."""
    sizes = range(1, 15)
    settings = [(10 * k * k, 0.5 + k / 3, "ab"[k % 2], 7) for k in sizes]
    finals = [0.5 + 0.02 * k for k in sizes]
    return made(("size", "rate", "word", "same"), settings, finals, [float(k) for k in sizes])


def lengths(found: Row, table: Table, workers: int, seed: int = 0) -> dict[int, int]:
    """Race to the very end, and count each candidate's epochs: the meter hands out none twice."""
    assert found.make
    clock, meter = Clock(), Meter(table, 0)
    search = found.make(Problem.of(table, seed, workers, found.knows_costs, clock))
    _, spent = race(search, meter, epochs=table.epochs, workers=workers, clock=clock)
    counts = {c: meter.done(c) for c in range(len(table.settings))}
    assert sum(counts.values()) == spent
    return counts


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("key", [*LEARNING, "botorch_qlognehvi_costs", "neps_primo"])
def test_everything_is_trained_once(key: str, workers: int) -> None:
    assert set(lengths(row(key), trend(4), workers).values()) == {EPOCHS}


@pytest.mark.parametrize("key", [*LEARNING, "botorch_qlognehvi_costs", *NEPS])
def test_words_and_ranges_are_understood(key: str) -> None:
    counts = lengths(row(key), mixed(), 1)
    assert min(counts.values()) >= 1
    assert max(counts.values()) == EPOCHS


@pytest.mark.parametrize("key", [*NEPS, "neps_moasha_costs", "neps_primo_costs"])
def test_neps_ends_its_trials_at_rungs(key: str) -> None:
    counts = Counter(lengths(row(key), trend(4), 3).values())
    assert set(counts) <= {1, EPOCHS}
    assert counts[EPOCHS] >= 5


@pytest.mark.parametrize("key", NEPS)
def test_a_seed_decides_what_neps_does(key: str) -> None:
    first, again, other = (lengths_in_order(row(key), seed) for seed in (0, 0, 1))
    assert first == again != other


def lengths_in_order(found: Row, seed: int) -> list[int]:
    """Candidates in the order in which they ended."""
    assert found.make
    clock = Clock()
    search = found.make(Problem.of(trend(4), seed, 2, found.knows_costs, clock))
    finishes, _ = race(search, Meter(trend(4), 0), epochs=EPOCHS, workers=2, clock=clock)
    return [finish.candidate for finish in finishes]


@pytest.mark.parametrize("key", [*LEARNING, "botorch_qlognehvi_costs"])
def test_a_trend_is_learnt(key: str) -> None:
    table = trend(6)
    truth = Truth(table)
    theirs, random = (
        [run(found, table, truth, 1, seed, 0.95).epochs_until(0.95) for seed in range(3)]
        for found in (row(key), row("random"))
    )
    assert statistics.median(theirs) < statistics.median(random)
    assert max(theirs) < EPOCHS * len(table.settings)
