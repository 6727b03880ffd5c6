"""The paper's ablation as tables: what is published, what is counted, and the front of both."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from resnest_search.configuration.schema import MethodConfig, SearchConfig, SweepConfig
from resnest_search.pareto import non_dominated
from resnest_search.simulation.simulator import VirtualClock, simulate, simulated
from resnest_search.simulation.table import Table
from resnest_search.study.read import read_sweep

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from paper_table import TABLES, counts, page, published

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def counted():
    return counts(published())


def test_the_settings_are_those_of_the_paper_and_of_both_ports():
    rows = published()
    assert [row.variant for row in rows if row.accuracy is not None] == [
        *("0s1x64d", "1s1x64d", "2s1x64d", "4s1x64d", "2s2x40d")
    ]
    assert [row.variant for row in rows if row.ports] == [
        *("1s1x64d", "2s1x64d", "4s1x64d", "1s2x40d", "2s2x40d", "4s2x40d", "1s4x24d")
    ]
    assert all((row.accuracy is None) == (row.images_per_s is None) for row in rows)


# Counted with an implementation of its own, which is none of this project.
INDEPENDENT = {
    "0s1x64d": ("25.58", "4.329"),
    "1s1x64d": ("26.22", "4.329"),
    "2s1x64d": ("27.48", "4.331"),
    "4s1x64d": ("31.91", "4.335"),
    "2s2x40d": ("26.94", "4.366"),
}


def test_counts_are_those_of_an_independent_count_and_near_the_authors(counted):
    found = {}
    for line in page(published(), counted, []).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "x" in cells[0] and len(cells) > 6:
            found[cells[0]] = cells
    assert {name: tuple(found[name][5:7]) for name in INDEPENDENT} == INDEPENDENT
    theirs = [cells for cells in found.values() if cells[4] != "–"]
    assert len(theirs) == 7
    for cells in theirs:  # of 1s1x64d they print 26.3
        millions, billions = map(float, cells[4].split(" / "))
        assert float(cells[5]) == pytest.approx(millions, abs=0.09)
        assert float(cells[6]) == pytest.approx(billions, abs=0.05)


def test_the_tables_have_the_counts_of_the_package(counted):
    known = {row.variant: cost for row, cost in zip(published(), counted, strict=True)}
    for name in ("radix_card", "ports"):
        table = Table.read(TABLES / f"{name}.csv")
        for candidate in table.candidates:
            costs = table.costs(candidate)
            for metric in ("parameters_m", "gmacs"):
                assert costs[metric] == pytest.approx(known[candidate.name][metric], abs=1e-6)


def test_a_sweep_over_the_table_finds_the_papers_own_front():
    with (TABLES / "radix_card.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = [[-float(row["accuracy"]), -float(row["images_per_s"])] for row in rows]
    kept = [row for row, on in zip(rows, non_dominated(points), strict=True) if on]
    expected = {f"{row['radix']}s{row['cardinality']}x{row['width']}d" for row in kept}

    table, clock = Table.read(TABLES / "radix_card.csv"), VirtualClock()
    search = SearchConfig(
        epochs=1,
        objectives=["accuracy", "images_per_s"],
        sampler=MethodConfig("known_cost"),
        pruner=MethodConfig("none"),
    )
    study, strategy = simulated(SweepConfig(sweep="paper", search=search), table, clock)
    simulate(strategy, table, clock, workers=1)
    sweep = read_sweep(study, Path("."))
    assert {trial.variant for trial in sweep.trials if trial.on_front} == expected
    assert expected == {"0s1x64d", "1s1x64d", "2s1x64d", "2s2x40d"}


def test_the_rank_correlation_is_of_the_settings_with_images_a_second(counted):
    rows = published()
    timed = [
        {**cost, "latency_ms": 1.0, "images_per_s": row.images_per_s or 1e9}
        for row, cost in zip(rows, counted, strict=True)
    ]
    assert "img/s over 5: 1.00" in page(rows, timed, [])
    for cost in timed:
        cost["images_per_s"] *= -1
    assert "img/s over 5: -1.00" in page(rows, timed, [])
    assert "Kendall" not in page(rows, counted, [])


def test_it_prints_the_counts_alone():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "paper_table.py", "--counts"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert (
        "| 2s2x40d | 81.00 | 80.61 / 80.84 | 481.8 | 26.9 / 4.38 | 26.94 | 4.366 |" in done.stdout
    )
