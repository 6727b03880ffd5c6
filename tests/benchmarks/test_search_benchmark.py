"""The race of searches: nobody sees what is not paid for, and the sums are right."""

from __future__ import annotations

import csv
import dataclasses
import gc
import importlib.util
import itertools
import math
import sys
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from resnest_search.pareto import hypervolume

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from search_peers.orders import Order  # noqa: E402
from search_peers.race import (  # noqa: E402
    Clock,
    Measured,
    Meter,
    Problem,
    Search,
    UnpaidError,
    race,
)
from search_peers.rows import OWN, Row, rows_named  # noqa: E402
from search_peers.running import run  # noqa: E402
from search_peers.table import Table, read_table  # noqa: E402
from search_peers.truth import Truth  # noqa: E402

COLUMNS = "radix,cardinality,width,seed,epoch,accuracy,latency_ms,memory_mib,seconds,images"
EPOCHS = 3
# Radix, cardinality, width; final accuracy in percent; latency; memory. No full product.
CANDIDATES = (
    ((0, 1, 32), 60, 1.0, 1.0),
    ((0, 1, 64), 70, 2.0, 2.0),
    ((1, 1, 32), 80, 3.0, 1.5),
    ((1, 2, 64), 64, 4.0, 2.5),
    ((2, 1, 64), 90, 5.0, 3.0),
    ((2, 2, 32), 75, 6.0, 3.5),
    ((4, 1, 96), 92, 7.0, 4.0),
    ((4, 2, 64), 72, 8.0, 4.5),
    ((4, 2, 96), 66, 9.0, 5.0),
)


def write(path: Path, seeds: int = 2, drop: tuple[int, int] | None = None) -> Path:
    """A tiny table; drop names candidate and seed of a training that is left out."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS.split(","))
        product = itertools.product(enumerate(CANDIDATES), range(seeds), range(1, EPOCHS + 1))
        for (index, (setting, final, latency, memory)), seed, epoch in product:
            if (index, seed) == drop:
                continue
            sign = (-1) ** (index + seed)  # two seeds, half a point around the truth
            accuracy = final / 100 * (1 - 0.2 / epoch + 0.2 / EPOCHS) + sign * 0.005
            seconds = 1 + index / 10
            out.writerow([*setting, seed, epoch, accuracy, latency, memory, seconds, 500])
    return path


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return read_table(write(tmp_path / "tiny.csv"))


def usable(names: list[str] | None = None) -> Iterator[Row]:
    """Rows that can run here, the oracle not among them."""
    for row in rows_named(names, None):
        if not row.missing and row.make:
            yield row


ROWS = list(usable())


def problem(table: Table, *, costs: bool = True, seed: int = 0, workers: int = 1) -> Problem:
    return Problem.of(table, seed, workers, costs, Clock())


class Recorder:
    """Passes everything on, and keeps what was reported."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.reports: list[tuple[int, int, float]] = []
        self.ended: list[int] = []

    def next(self) -> int | None:
        return self.search.next()

    def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
        self.reports.append((candidate, epoch, measured.accuracy))
        return self.search.report(candidate, epoch, measured)

    def finished(self, candidate: int) -> None:
        self.ended.append(candidate)
        self.search.finished(candidate)


def raced(row: Row, table: Table, workers: int, seed: int = 0) -> Recorder:
    """A row, raced to its very end."""
    assert row.make
    clock = Clock()
    recorder = Recorder(row.make(Problem.of(table, seed, workers, row.knows_costs, clock)))
    race(recorder, Meter(table, 0), epochs=table.epochs, workers=workers, clock=clock)
    return recorder


# Tables


def test_a_table_is_read_in_its_order(table: Table) -> None:
    assert table.settings == tuple(candidate[0] for candidate in CANDIDATES)
    assert (table.seeds, table.epochs, table.images) == ((0, 1), EPOCHS, 500)
    assert table.accuracy.shape == (len(CANDIDATES), 2, EPOCHS)
    assert table.accuracy[1, :, -1] == pytest.approx([0.695, 0.705])


def test_losses_and_a_truth_of_its_own_are_read(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "parameter:depth,parameter:op,cost:watts,seconds,true_accuracy,seed,epoch,accuracy,"
        "train_loss\n3,pool,1.5,2,0.625,0,1,0.25,1.5\n3,pool,1.5,2,0.625,0,2,0.5,1.25\n"
        "5,conv,2.5,3,0.875,0,1,0.75,0.5\n5,conv,2.5,3,0.875,0,2,0.5,nan\n"
    )
    found = read_table(path)
    assert (found.parameters, found.settings) == (("depth", "op"), ((3, "pool"), (5, "conv")))
    assert (found.cost_names, found.costs) == (("watts",), ((1.5,), (2.5,)))
    assert found.loss is None
    assert found.train_loss is not None
    assert found.train_loss[0].tolist() == [[1.5, 1.25]]
    assert math.isnan(found.train_loss[1, 0, 1])
    truth = Truth(found)
    assert (truth.accuracy.tolist(), truth.error) == ([0.625, 0.875], 0.0)
    meter = Meter(found, 0)
    meter.begin(1)
    assert meter.take(1)[1] == Measured(0.75, (2.5,), 3.0, 0, None, 0.5)


def test_a_candidate_that_is_not_whole_is_left_out(tmp_path: Path) -> None:
    found = read_table(write(tmp_path / "part.csv", drop=(3, 1)))
    assert len(found.settings) == len(CANDIDATES) - 1
    assert found.left_out == ("1s2x64d lacks seed 1",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("radix,cardinality\n1,1\n", "no column width"),
        (
            f"{COLUMNS}\n1,1,32,0,1,1.5,1,1,1,9\n",
            "line 2: accuracy=1.5: valid: a number from 0 to 1",
        ),
        (
            f"{COLUMNS}\n1,1,32,0,1,0.5,1,1,1,9\n1,1,32,0,1,0.5,1,1,1,9\n",
            "line 3: epoch=1: 1s1x32d with seed 0 has it in line 2",
        ),
        (f"{COLUMNS}\n1,1,x,0,1,0.5,1,1,1,9\n", "line 2"),
        (f"{COLUMNS}\n", "line 2: no rows"),
    ],
)
def test_an_impossible_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path)


# What a search may see


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 1.0])
def test_a_part_has_its_candidates_as_the_table_has_them(table: Table, share: float) -> None:
    count = len(table.settings)
    for seed in range(5):
        part = table.part(share, seed)
        assert len(part.settings) == max(2, round(share * count))
        rows = [table.settings.index(setting) for setting in part.settings]
        assert rows == sorted(rows)
        assert part.costs == tuple(table.costs[row] for row in rows)
        assert (part.accuracy == table.accuracy[rows]).all()
        assert (part.seconds == table.seconds[rows]).all()
        assert part.settings == table.part(share, seed).settings
        assert Truth(part).fraction(range(len(rows))) == 1.0
    assert share == 1 or len({table.part(share, seed).settings for seed in range(9)}) > 1


def test_no_epoch_is_handed_out_unpaid(table: Table) -> None:
    meter = Meter(table, 0)
    with pytest.raises(UnpaidError, match="nobody trained epoch 1"):
        meter.take(0)
    assert meter.begin(0) == table.seconds[0, 0, 0]
    with pytest.raises(UnpaidError, match="no epoch to begin"):
        meter.begin(0)
    epoch, measured = meter.take(0)
    assert (epoch, measured.accuracy) == (1, table.accuracy[0, 0, 0])
    with pytest.raises(UnpaidError, match="nobody trained epoch 2"):
        meter.take(0)


@pytest.mark.parametrize("order", [[0, 0], [0, 1, 0]])
def test_a_search_that_wants_more_epochs_than_there_are_fails(
    table: Table, order: list[int]
) -> None:
    with pytest.raises(UnpaidError):
        race(Order(order), Meter(table, 0), epochs=EPOCHS, workers=2, clock=Clock())


@pytest.mark.parametrize("row", [row for row in ROWS if not row.knows_costs], ids=lambda r: r.key)
def test_a_row_without_costs_is_not_given_them(table: Table, row: Row) -> None:
    given = problem(table, costs=False)
    with pytest.raises(UnpaidError, match="does not know costs"):
        _ = given.known_costs
    assert row.make
    row.make(given)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_from_no_search_does_a_path_lead_to_the_table(table: Table, row: Row) -> None:
    assert row.make
    costs = row.knows_costs
    search = row.make(problem(table, costs=costs))
    candidate = search.next()
    assert candidate is not None
    secrets = {id(table), id(table.accuracy)}
    for found in reachable(search):
        assert id(found) not in secrets
        assert not isinstance(found, Table | Meter | Truth)


def test_a_search_that_holds_the_table_would_be_found(table: Table) -> None:
    class Cheat(Order):
        def __init__(self) -> None:
            super().__init__([])
            self.look = lambda: table.accuracy

    assert any(found is table for found in reachable(Cheat()))


def reachable(start: Any) -> Iterator[Any]:
    """Every object that references lead to, but modules, types and what functions import."""
    seen, left = {id(start)}, [start]
    while left:
        found = left.pop()
        yield found
        for other in referents(found):
            skipped = isinstance(other, types.ModuleType | type | types.CodeType)
            if id(other) not in seen and not skipped:
                seen.add(id(other))
                left.append(other)


def referents(found: Any) -> list[Any]:
    if isinstance(found, types.FunctionType):
        cells = [cell.cell_contents for cell in found.__closure__ or ()]
        return [*cells, *(found.__defaults__ or ()), *vars(found).values()]
    return gc.get_referents(found)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_each_epoch_is_reported_once_and_in_order(table: Table, row: Row, workers: int) -> None:
    recorder = raced(row, table, workers)
    reports = Counter((candidate, epoch) for candidate, epoch, _ in recorder.reports)
    assert set(reports.values()) == {1}
    for candidate in {candidate for candidate, _ in reports}:
        epochs = [epoch for other, epoch, _ in recorder.reports if other == candidate]
        assert epochs == list(range(1, len(epochs) + 1))
        accuracies = [a for other, _, a in recorder.reports if other == candidate]
        assert accuracies == table.accuracy[candidate, 0, : len(epochs)].tolist()
    assert {candidate for candidate, _ in reports} == set(range(len(table.settings)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_seed_decides_everything(table: Table, row: Row) -> None:
    assert raced(row, table, 4, seed=3).reports == raced(row, table, 4, seed=3).reports


# The loop


def test_two_workers_by_hand(table: Table) -> None:
    # Epochs take 1.0, 1.1 and 1.2 s. Candidate 0 ends at 3.0, 1 at 3.3, then 2 from 3.0 to 6.6.
    clock = Clock()
    finishes, spent = race(Order([0, 1, 2]), Meter(table, 0), epochs=EPOCHS, workers=2, clock=clock)
    assert [finish.candidate for finish in finishes] == [0, 1, 2]
    assert [finish.seconds for finish in finishes] == pytest.approx([3.0, 3.3, 6.6])
    # At 3.0 candidate 1 has two epochs; at 3.3 candidate 2 has none.
    assert [finish.epochs for finish in finishes] == [5, 6, 9]
    assert spent == 9


def test_a_paused_candidate_goes_on_where_it_stood(table: Table) -> None:
    class Pausing(Order):
        def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
            return False

    recorder = Recorder(Pausing([0, 1, 0, 1, 1]))
    finishes, spent = race(recorder, Meter(table, 0), epochs=EPOCHS, workers=1, clock=Clock())
    steps = [(candidate, epoch) for candidate, epoch, _ in recorder.reports]
    assert steps == [(0, 1), (1, 1), (0, 2), (1, 2), (1, 3)]
    assert [(finish.candidate, finish.epochs) for finish in finishes] == [(1, 5)]
    assert spent == 5


def test_the_random_order_by_hand(table: Table) -> None:
    truth = Truth(table)
    row = next(usable(["random"]))
    trace = run(row, table, truth, 1, seed=5)
    order = np.random.default_rng(5).permutation(len(table.settings)).tolist()
    count = len(trace.epochs)
    assert trace.epochs == tuple(EPOCHS * k for k in range(1, count + 1))
    by_hand = [truth.fraction(order[:k]) for k in range(1, count + 1)]
    assert trace.fractions == pytest.approx(by_hand)
    assert truth.fraction(order[:count]) == 1.0
    assert truth.fraction(order[: count - 1]) < 1.0
    assert trace.seconds[0] == pytest.approx(EPOCHS * (1 + order[0] / 10))


def test_a_search_trains_on_its_recorded_seed(table: Table) -> None:
    seen: list[float] = []

    class Watch(Order):
        def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
            seen.append(measured.accuracy)
            return True

    row = Row("watch", "watch", OWN, "", lambda _: Watch([0]))
    for seed in (0, 1, 2):
        run(row, table, Truth(table), 1, seed)
    assert seen[:EPOCHS] == table.accuracy[0, 0].tolist() == seen[2 * EPOCHS :]
    assert seen[EPOCHS : 2 * EPOCHS] == table.accuracy[0, 1].tolist()


# Truth


def exact(finals: np.ndarray, costs: np.ndarray, chosen: list[int]) -> float:
    """Hypervolume by the package's own exact algorithm."""
    points = np.column_stack([-finals, costs])
    scaled = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    corner = [1.1] * points.shape[1]
    return hypervolume(scaled[chosen], corner) / hypervolume(scaled, corner)


def counted(truth: Truth, table: Table, chosen: list[int]) -> float:
    """The fraction by its definition: the sum over every cell between all candidates' costs."""
    values = np.column_stack([truth.accuracy, np.array(table.costs)])
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    scaled = (values - low) / np.where(span > 0, span, 1)
    axes = [np.unique(column) for column in scaled[:, 1:].T]
    edges = [np.append(axis, 1.1) for axis in axes]
    whole = lost = 0.0
    for cell in itertools.product(*(range(len(axis)) for axis in axes)):
        bounds = [axis[place] for axis, place in zip(axes, cell, strict=True)]
        volume = math.prod(e[p + 1] - e[p] for e, p in zip(edges, cell, strict=True))
        within = [i for i, row in enumerate(scaled) if (row[1:] <= bounds).all()]
        best = max((scaled[i, 0] + 0.1 for i in within), default=0.0)
        reached = max((scaled[i, 0] + 0.1 for i in within if i in chosen), default=0.0)
        forgiven = reached > 0 and best - reached <= truth.error / span[0] + 1e-12
        whole += best * volume
        lost += 0.0 if forgiven else (best - reached) * volume
    return 1 - lost / whole


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Few candidates with one, two or three costs, with ties, of one or two seeds."""
    n, costs = draw(st.integers(2, 7)), draw(st.integers(1, 3))
    seeds = draw(st.integers(1, 2))
    grid = draw(arrays(np.int64, (n, costs), elements=st.integers(1, 4)))
    finals = draw(arrays(np.int64, (n, seeds, 1), elements=st.integers(50, 60)))
    assume(np.ptp(finals.mean(axis=1)) > 0)
    return made(finals / 100, grid.astype(float))


@given(tables(), st.data())
@settings(deadline=None, max_examples=60)
def test_the_fraction_is_the_sum_over_the_cells(table: Table, data: st.DataObject) -> None:
    truth = Truth(table)
    indices = st.integers(0, len(table.settings) - 1)
    chosen = data.draw(st.lists(indices, min_size=1, unique=True))
    assert truth.fraction(chosen) == pytest.approx(counted(truth, table, chosen), abs=1e-9)
    assert truth.fractions(chosen)[-1] == truth.fraction(chosen)


@given(tables())
@settings(deadline=None, max_examples=60)
def test_the_oracle_is_the_naive_one(table: Table) -> None:
    truth = Truth(table)
    left, order = list(range(len(table.settings))), []
    while left:
        gains = [truth.fraction([*order, candidate]) for candidate in left]
        order.append(left.pop(int(np.argmax(gains))))
    assert truth.greedy() == order


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_fraction_is_the_exact_hypervolume(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.integers(1, 6, (12, count)).astype(float)  # with ties
    finals = rng.integers(50, 70, 12) / 100
    table = made(finals[:, None, None], costs)
    truth = Truth(table)
    assert truth.error == 0
    for size in (1, 4, 9, 12):
        chosen = rng.choice(12, size, replace=False).tolist()
        assert truth.fraction(chosen) == pytest.approx(exact(finals, costs, chosen))
    chosen = rng.permutation(12).tolist()
    by_one = [truth.fraction(chosen[: k + 1]) for k in range(12)]
    assert truth.fractions(chosen) == pytest.approx(by_one)
    assert by_one[-1] == 1.0


def made(accuracy: np.ndarray, costs: np.ndarray, images: int = 0) -> Table:
    """A table of accuracies (n, seeds, epochs) and costs (n, m)."""
    return Table(
        name="made",
        parameters=("index",),
        settings=tuple((index,) for index in range(len(accuracy))),
        cost_names=tuple(f"cost{axis}" for axis in range(costs.shape[1])),
        costs=tuple(tuple(map(float, row)) for row in costs),
        seeds=tuple(range(accuracy.shape[1])),
        accuracy=accuracy,
        seconds=np.ones_like(accuracy),
        images=images,
    )


def test_noise_is_forgiven_and_costs_are_not() -> None:
    # Standard error of an average: deviation 0.02 * sqrt(2) of each pair / sqrt(2) = 0.02.
    finals = np.add([[0.5], [0.80], [0.815], [0.825], [0.5]], [[-0.02, 0.02]])
    costs = np.array([[1, 1], [2, 2], [2, 2], [2, 2], [3, 3]])
    truth = Truth(made(finals[:, :, None], costs))
    assert truth.error == pytest.approx(0.02)
    assert truth.fraction([0, 2]) == 1.0  # 0.815 for 0.825: within an error
    assert truth.fraction([0, 1]) < 1.0  # 0.80 for 0.825: beyond it
    lost = 1 - truth.fraction([0, 1])
    assert lost == pytest.approx(1 - exact(finals.mean(axis=1), costs, [0, 1]))  # in full
    assert truth.fraction([2, 3]) < 1.0  # the cheapest is missing, however bad
    assert truth.front() == [0, 3]


def test_one_seed_takes_the_error_from_the_images() -> None:
    table = made(np.full((2, 1, 1), 0.5), np.array([[1, 1], [2, 2]]), images=100)
    assert Truth(table).error == pytest.approx(0.05)


def test_the_oracle_takes_the_most_first(table: Table) -> None:
    truth = Truth(table)
    order = truth.greedy()
    assert sorted(order) == list(range(len(table.settings)))
    assert truth.fraction(order[:1]) == max(truth.fraction([i]) for i in order)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_the_oracle_is_not_beaten(table: Table, row: Row) -> None:
    truth = Truth(table)
    oracle = run(rows_named(["oracle"], None)[0], table, truth, 1, 0)
    trace = run(row, table, truth, 1, 0)
    for level in (0.5, 0.9, 0.95, 0.99, 1.0):
        assert trace.epochs_until(level) >= oracle.epochs_until(level)


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize("key", ["random", "cheapest", "optuna_nsga2", "random+none"])
def test_what_stops_nothing_ends_with_the_whole_front(table: Table, key: str, workers: int) -> None:
    trace = run(next(usable([key])), table, Truth(table), workers, 1)
    assert trace.fractions[-1] == 1.0
    assert math.isfinite(trace.epochs_until(0.99))
    assert trace.spent <= len(table.settings) * EPOCHS


# Peers


def test_asha_stops_what_is_below_the_best_third(table: Table) -> None:
    recorder = raced(next(usable(["ray_asha"])), table, 1)
    lengths = Counter(candidate for candidate, _, _ in recorder.reports)
    firsts = [(c, a) for c, epoch, a in recorder.reports if epoch == 1]
    for index, (candidate, accuracy) in enumerate(firsts):
        before = [a for _, a in firsts[:index]]
        kept = not before or accuracy >= np.percentile(before, 100 * 2 / 3)
        assert (lengths[candidate] > 1) == kept
    assert min(lengths.values()) == 1
    assert sum(lengths.values()) < len(table.settings) * EPOCHS


def test_cheapest_first_is_by_latency(table: Table) -> None:
    recorder = raced(next(usable(["cheapest"])), table, 1)
    assert recorder.ended == list(range(len(table.settings)))


def test_ours_ends_with_everything_trained(table: Table) -> None:
    recorder = raced(next(usable(["random+none"])), table, 4)
    assert len(recorder.reports) == len(table.settings) * EPOCHS


def test_arguments_of_ours_can_be_given() -> None:
    row = next(usable(["random+pareto_halving:first_rung=1,reduction_factor=4"]))
    assert "first_rung=1, reduction_factor=4, spare_front=" in row.settings
    bad = rows_named(["random+pareto_halving:nothing=1"], None)[0]
    assert "no such argument" in bad.missing


def test_a_proposal_that_is_no_candidate_stands_for_the_nearest() -> None:
    """Of 30 sizes and two words, some are there: Optuna proposes all of them."""
    sizes = [10 * k * k for k in range(1, 31)]
    accuracy = np.linspace(0.5, 0.9, 30)[:, None, None]
    costs = np.array([[size] for size in sizes], dtype=float)
    given = made(accuracy, costs)
    named = [(size, "ab"[index % 2]) for index, size in enumerate(sizes)]
    own = dataclasses.replace(given, parameters=("size", "word"), settings=tuple(named))
    recorder = raced(next(usable(["optuna_tpe"])), own, 1)
    assert sorted(recorder.ended) == list(range(30))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="--methods nobody: valid: oracle, random, cheapest"):
        rows_named(["nobody"], None)


# The program


def test_the_program_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "tiny.csv")
    monkeypatch.chdir(tmp_path)
    words = "--table tiny.csv --seeds 2 --workers 1 4 --methods oracle random cheapest ray_asha"
    words += " optuna_tpe random+pareto_halving --out"
    program().main([*words.split(), "one", "--jobs", "1"])
    printed = capsys.readouterr()
    assert "ours / best published peer, at most 0.6" in printed.out
    assert "| tiny | 4 | " in printed.out
    assert printed.err.count("of 2\n") == 12
    page = (tmp_path / "one" / "search.md").read_text()
    assert "| Ray: random + ASHA |" in page
    assert "candidates on the front" in page
    assert str(tmp_path) not in page
    assert (tmp_path / "one" / "search-tiny.png").stat().st_size > 10_000
    program().main([*words.split(), "two", "--jobs", "2"])
    other = (tmp_path / "two" / "search.md").read_text()
    assert page.partition("## Goals")[2] == other.partition("## Goals")[2]


def test_each_seed_may_search_a_part_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two candidates take one worker no more than two full trainings, whichever they are."""
    write(tmp_path / "tiny.csv")
    monkeypatch.chdir(tmp_path)
    words = (
        "--table tiny.csv --seeds 6 --workers 1 --methods random --jobs 1 --share 0.01 --out out"
    )
    program().main(words.split())
    page = (tmp_path / "out" / "search.md").read_text()
    assert "6 seeds, each of its own 1% of the candidates" in page
    line = next(line for line in page.splitlines() if line.startswith("| full grid, random"))
    assert "100% / 100% / 100%" in line
    epochs = [float(cell.split()[0]) for cell in line.split("|")[2:8:2]]
    assert all(EPOCHS <= found <= 2 * EPOCHS for found in epochs)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--table", "none.csv"], "none.csv"), (["--methods", "nobody"], "valid: oracle")],
)
def test_the_program_refuses_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=f"search.py: .*{message}"):
        program().main(words)


def program() -> types.ModuleType:
    """benchmarks/search.py under a name of its own: ``search`` is a folder of tests, too."""
    spec = importlib.util.spec_from_file_location("search_program", BENCHMARKS / "search.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
