"""What the default search itself costs: decisions, proposals, CPU time, memory, writes, the report.

    python benchmarks/scale.py --table FILE                   # 40 full trainings of a table
    python benchmarks/scale.py --trials 1000 10000            # sweeps of many made-up trials
    python benchmarks/scale.py --trials 1000 10000 --most 600 # at most ten minutes of CPU time each
    python benchmarks/scale.py --filled 1000 10000 --most 60  # a minute of what comes after so many

Everything runs in the simulator with the sampler and the pruner that `conf/config.yaml` names, each
search in a process of its own.

A table is searched by one worker with a budget, once with the study in memory and once with
SQLite. Of many trials every one is a variant of its own with a made-up curve of nine epochs; 16
virtual workers, the study in memory, no budget. With ``--filled`` they are there already, a tenth
of them complete, the others paused after the first or the third epoch, and the default goes on for
``--most`` seconds.
Decisions are calls of ``Strategy.report``, proposals those of ``Strategy.next``. Times are CPU
times of the process unless it says wall, so that other work on the machine matters less. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import platform
import resource
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState
from search_peers.own import method, shipped

from resnest_search.configuration.schema import (
    ModelConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.errors import UserError
from resnest_search.metrics import COSTS
from resnest_search.report.html import write_report
from resnest_search.report.table import trials_csv
from resnest_search.search import Strategy
from resnest_search.search.pool import Pool
from resnest_search.search.pruners import build_pruner
from resnest_search.search.samplers import build_sampler
from resnest_search.search.situation import Goal
from resnest_search.simulation.simulator import VirtualClock, simulate, simulated
from resnest_search.simulation.table import Table
from resnest_search.space import Candidate, Space
from resnest_search.study.costing import Costing
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy, directions_of
from resnest_search.variant import Variant

EPOCHS, WORKERS = 9, 16
OBJECTIVES = ["accuracy", "latency_ms", "memory_mib"]
WRITES = ("start", "record", "pause", "go_on", "finish")  # of a study, that are timed in SQLite
GOALS = (
    "goals: p99 of decisions at most 20 ms, of proposals 300 ms, 40 full trainings in 120 s of CPU",
    "time; 10,000 trials in at most 12 times the time of 1,000, p99 of proposals 300 ms at the end",
)


class TooLongError(Exception):
    """A search has used up what it was given."""


@dataclass
class Calls:
    """Seconds of every call of a method, by CPU and by wall clock."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def milliseconds(self, share: float, begin: float = 0.0, end: float = 1.0) -> float:
        """What this share of the calls in a part of all stayed below, in CPU time."""
        part = self.cpu[int(begin * len(self.cpu)) : math.ceil(end * len(self.cpu))]
        return 1e3 * float(np.quantile(part, share)) if part else math.nan

    def shown(self) -> list[str]:
        """Number, p50, p99 and maximum, and p99 by wall clock."""
        if not self.cpu:
            return ["0", "-", "-", "-", "-"]
        wall = 1e3 * float(np.quantile(self.wall, 0.99))
        times = [*(self.milliseconds(share) for share in (0.5, 0.99, 1)), wall]
        return [str(len(self.cpu)), *(f"{t:.2f}" for t in times)]


@dataclass
class Measured:
    """What a search took.

    Attributes:
        decisions: all of them.
        looks: those on an epoch at a rung, where forecasts are made.
        proposals: steps that were asked for.
        cpu: seconds of the whole simulation, without reading or making the space.
        begun: trials.
        complete: of them.
        epochs: that were trained.
        whole: whether it came to its end.
        peak: MiB of resident memory at most, everything included.
        idle: MiB of it before the search.
        writes: seconds of a study's writes by name.
        report: what the report took, in words.
    """

    decisions: Calls = field(default_factory=Calls)
    looks: Calls = field(default_factory=Calls)
    proposals: Calls = field(default_factory=Calls)
    cpu: float = 0.0
    begun: int = 0
    complete: int = 0
    epochs: int = 0
    whole: bool = True
    peak: float = 0.0
    idle: float = 0.0
    writes: dict[str, list[float]] = field(default_factory=dict)
    report: str = ""

    @property
    def strategy(self) -> float:
        """CPU seconds within the strategy."""
        return sum(self.decisions.cpu) + sum(self.proposals.cpu)


class Formula:
    """Curves and costs of any variant, the same at each call."""

    def epoch(self, candidate: Candidate, seed: int, epoch: int) -> Epoch:
        """One epoch: it rises with the load, at a rate and to a height of the variant's own."""
        variant = candidate.variant
        draw = np.random.default_rng([seed, variant.radix, variant.cardinality, variant.width])
        height = 1 - 0.4 * math.exp(-3 * _load(variant)) - abs(draw.normal(0, 0.02))
        accuracy = height * (1 - math.exp(-draw.uniform(0.4, 1.2) * epoch))
        return Epoch(epoch, round(accuracy, 4), None, None, 1 + _load(variant), 2000)

    def costs(self, variant: Variant) -> dict[str, float]:
        """Costs that grow with the load, each with a part of its own."""
        draw = np.random.default_rng([7, variant.radix, variant.cardinality, variant.width])
        load = _load(variant)
        return {name: (0.2 + load) * draw.uniform(0.8, 1.25) for name in COSTS}


def main(words: Sequence[str] | None = None) -> None:
    """Search and print."""
    asked = arguments(words)
    methods = asked.sampler, asked.pruner
    try:
        for path in asked.table:
            Table.read(path)
        goal = Goal(tuple(OBJECTIVES), "accuracy", EPOCHS)
        ways = directions_of(OBJECTIVES)
        build_sampler(method("sampler", asked.sampler), _space(), ways, lambda _: None, 0, goal)
        build_pruner(
            method("pruner", asked.pruner),
            objectives=OBJECTIVES,
            reported="accuracy",
            epochs=EPOCHS,
        )
    except UserError as error:
        sys.exit(f"scale.py: {error}")
    print("\n".join(head(asked, words)))
    for path in asked.table:
        print("\n".join(table_section(path, asked.trainings, methods, asked.most)), flush=True)
    for numbers, is_filled in ((asked.trials, False), (asked.filled, True)):
        for line in trials_section(numbers, methods, asked.most, is_filled) if numbers else ():
            print(line, flush=True)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = shipped()
    parser.add_argument("--table", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--trainings", type=int, default=40, help="the budget in full trainings")
    parser.add_argument("--trials", type=int, nargs="+", default=[], help="of made-up sweeps")
    parser.add_argument("--filled", type=int, nargs="+", default=[], help="trials to begin with")
    parser.add_argument("--sampler", default=default["sampler"], help="NAME or NAME:KEY=VALUE,…")
    parser.add_argument("--pruner", default=default["pruner"])
    parser.add_argument("--most", type=float, default=math.inf, help="CPU seconds of a search")
    asked = parser.parse_args(words)
    if asked.filled and asked.most == math.inf:
        parser.error("--filled: goes on for --most seconds; needed: --most")
    if not (asked.table or asked.trials or asked.filled):
        asked.trials = [1000, 10000]
    return asked


def head(asked: argparse.Namespace, words: Sequence[str] | None) -> list[str]:
    """Command, methods, versions and goals."""
    import torch  # for the CPU's name alone

    from resnest_search.cost.machine import device_name

    tables = {str(path): path.name for path in asked.table}
    given = sys.argv[1:] if words is None else words
    command = shlex.join(["benchmarks/scale.py", *(tables.get(word, word) for word in given)])
    packages = ("numpy", "scipy", "optuna")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return [
        f"- command: `python {command}`",
        f"- machine: {device_name(torch.device('cpu'))}",
        f"- versions: Python {platform.python_version()}, {versions}",
        f"- sampler `{asked.sampler}`, pruner `{asked.pruner}`",
        f"- {GOALS[0]}",
        f"  {GOALS[1]}",
    ]


# A table


def table_section(path: Path, trainings: int, methods: tuple[str, str], most: float) -> list[str]:
    """A search of a table, in memory and with SQLite."""
    heads = ["study", "calls", "n", "p50 ms", "p99 ms", "max ms", "p99 ms, wall"]
    lines = ["", f"## {path.stem}, {trainings} full trainings", "", *header(heads)]
    further = []
    for name in ("memory", "SQLite"):
        found = alone(of_table, path, trainings, *methods, name == "SQLite", most)
        lines += [
            row([name, "decisions", *found.decisions.shown()]),
            row([name, "of them at a rung", *found.looks.shown()]),
            row([name, "proposals", *found.proposals.shown()]),
        ]
        text = f"Study in {name}: {found.strategy:.1f} s of CPU time in the strategy, "
        text += f"{found.cpu:.1f} s in all; {found.begun} trials begun, {found.complete} complete, "
        text += f"{found.epochs} epochs{'' if found.whole else '; not whole'}; peak memory "
        further.append(f"{text}{found.peak:.0f} MiB ({found.idle:.0f} before the search).")
        if found.writes:
            medians = [f"{n} {1e3 * statistics.median(s):.1f}" for n, s in found.writes.items()]
            further.append(f"Writes, medians in ms by wall clock: {', '.join(medians)}.")
    return [*lines, "", *further]


def of_table(
    path: Path, trainings: int, sampler: str, pruner: str, sqlite: bool, most: float
) -> Measured:
    """Search it."""
    table = Table.read(path)
    search = SearchConfig(
        objectives=["accuracy", *table.cost_names],
        epochs=table.epochs,
        budget=trainings * table.epochs,
        sampler=method("sampler", sampler),
        pruner=method("pruner", pruner),
    )
    clock = VirtualClock()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db" if sqlite else None
        study, strategy = simulated(SweepConfig(search=search), table, clock, url)
        found = measured(study, strategy, lambda: simulate(strategy, table, clock), most)
        study.close()
    if not sqlite:
        found.writes = {}
    return found


# Many trials


def trials_section(
    numbers: Sequence[int], methods: tuple[str, str], most: float, is_filled: bool
) -> Iterator[str]:
    """Sweeps of so many trials, a line at a time."""
    heads = ["trials", "begun", "complete", "epochs", "decisions p50", "p99", "proposals p50"]
    heads += ["p99", "p99 of the last tenth", "of the slowest", "CPU, s", "ms an epoch"]
    yield from [
        "",
        f"## {'After many trials' if is_filled else 'Many trials'}",
        "",
        f"{WORKERS} virtual workers, {EPOCHS} epochs, {len(_space().candidates or ()):,} variants; "
        "CPU times in ms.",
        "",
        *header([*heads, "peak, MiB"]),
    ]
    seconds: dict[int, float] = {}
    reports = []
    for number in numbers:
        found = alone(of_trials, number, *methods, most, is_filled)
        tenths = [found.proposals.milliseconds(0.99, i / 10, (i + 1) / 10) for i in range(10)]
        times = [found.decisions.milliseconds(share) for share in (0.5, 0.99)]
        times += [found.proposals.milliseconds(share) for share in (0.5, 0.99)]
        times += [tenths[-1], max(tenths)]
        is_cut = not (found.whole or is_filled)
        name = f"{number}, cut off" if is_cut else str(number)
        counts = map(str, (found.begun, found.complete, found.epochs))
        cells = [name, *counts, *(f"{t:.2f}" for t in times), f"{found.cpu:.0f}"]
        cells += [f"{1e3 * found.cpu / max(1, found.epochs):.1f}", f"{found.peak:.0f}"]
        yield row(cells)
        reports.append(found.report)
        if found.whole:
            seconds[number] = found.cpu
    yield ""
    if len(seconds) > 1:
        low, high = min(seconds), max(seconds)
        ratio = seconds[high] / seconds[low]
        yield f"{high} trials take {ratio:.1f} times the time of {low}."
    yield reports[-1]


def of_trials(trials: int, sampler: str, pruner: str, most: float, is_filled: bool) -> Measured:
    """Search among made-up variants, or go on where a faster search has begun so many."""
    formula, space = Formula(), _space()
    costings = {c.network: Costing(formula.costs(c.variant), "-", "-") for c in space.networks}
    study = SweepStudy.create(None, OBJECTIVES)
    clock = VirtualClock()

    if is_filled:
        fill(study, space, formula, costings, trials)
    config = SearchConfig(
        objectives=OBJECTIVES,
        trials=None if is_filled else trials,
        epochs=EPOCHS,
        sampler=method("sampler", sampler),
        pruner=method("pruner", pruner),
    )
    strategy = Strategy(study, space, config, costings, clock=clock)

    def run() -> None:
        simulate(strategy, formula, clock, WORKERS)  # type: ignore[arg-type]  # epoch() is enough

    found = measured(study, strategy, run, most)
    found.report = report(study)
    return found


def fill(
    study: SweepStudy,
    space: Space,
    formula: Formula,
    costings: Mapping[str, Costing],
    trials: int,
) -> None:
    """Enter so many trials, a tenth complete, a quarter of the others paused after 3 epochs."""
    every = space.candidates or ()
    pool, at = Pool(space, costings, set()), 0.0
    for place, index in enumerate(np.random.default_rng(0).permutation(len(every))[:trials]):
        candidate = every[index]
        facts = {**pool.facts(candidate), "state": "running", "seed": 0}
        number = study.start(space, candidate, {**facts, "segments": [{"at": at, "from": 0}]})
        end = EPOCHS if place % 10 == 0 else 3 if place % 4 == 0 else 1
        for epoch in range(1, end + 1):
            at += 1.0
            entry = replace(formula.epoch(candidate, 0, epoch), at=at)
            decision = {"kept": epoch < end, "reason": "filled", "by": "sampler"}
            study.record(number, entry, decision if epoch in (1, 3) else None)
        if end < EPOCHS:
            study.pause(number, at, "filled")
        else:
            costs = [pool.costs(candidate)[name] for name in OBJECTIVES[1:]]
            study.finish(number, TrialState.COMPLETE, "filled", [entry.accuracy, *costs])


def report(study: SweepStudy) -> str:
    """What reading a study and writing its report take."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.process_time()
        sweep = read_sweep(study, folder)
        read = time.process_time() - start
        trials_csv(sweep, folder / "trials.csv")
        write_report(sweep, folder / "report.html")
        written = time.process_time() - start - read
        size = (folder / "report.html").stat().st_size / 2**20
    text = f"Report of {len(sweep.trials)} trials: read in {read:.1f} s, written in {written:.1f} s"
    return f"{text}, {size:.1f} MiB of HTML."


def _space() -> Space:
    choices = {"radix": [0, 1, 2, 4], "cardinality": list(range(1, 33)), "width": []}
    choices["width"] = list(range(2, 257))
    return Space(choices, ModelConfig(planes=[64, 128]))


def _load(variant: Variant) -> float:
    return (1 + 0.2 * variant.radix) * variant.cardinality * variant.width / 4096


# Measuring


def alone(task: Callable[..., Measured], *given: Any) -> Measured:
    """Run it in a process of its own, whose memory nobody else has grown."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(task, given)


def measured(
    study: SweepStudy, strategy: Strategy, run: Callable[[], None], most: float
) -> Measured:
    """A search, timed; cut off after so many CPU seconds."""
    found = Measured(idle=_peak())
    until = time.process_time() + most

    def is_look(*given: Any) -> bool:
        return given[2][-1].epoch in strategy.rungs

    writes = {name: Calls() for name in WRITES}
    with ExitStack() as stack:
        for name, calls in writes.items():
            stack.enter_context(timed(SweepStudy, name, calls))
        stack.enter_context(timed(Strategy, "next", found.proposals, until=until))
        stack.enter_context(timed(Strategy, "report", found.decisions, found.looks, is_look, until))
        begun = time.process_time()
        try:
            run()
        except TooLongError:
            found.whole = False
        found.cpu = time.process_time() - begun
    trials = study.trials()
    found.begun = len(trials)
    found.complete = sum(trial.state.name == "COMPLETE" for trial in trials)
    found.epochs = len(found.decisions.cpu)
    found.peak = _peak()
    found.writes = {name: calls.wall for name, calls in writes.items() if calls.wall}
    return found


@contextmanager
def timed(
    kind: type[Any],
    name: str,
    calls: Calls,
    chosen: Calls | None = None,
    is_chosen: Callable[..., bool] | None = None,
    until: float = math.inf,
) -> Iterator[None]:
    """While this lasts, every call of a method is timed, and chosen ones once more."""
    real: Callable[..., Any] = getattr(kind, name)

    def call(*given: Any, **named: Any) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        if cpu > until:
            raise TooLongError
        try:
            return real(*given, **named)
        finally:
            took = time.process_time() - cpu, time.perf_counter() - wall
            for kept in (calls, chosen if is_chosen and is_chosen(*given) else None):
                if kept is not None:
                    kept.cpu.append(took[0])
                    kept.wall.append(took[1])

    setattr(kind, name, call)
    try:
        yield
    finally:
        setattr(kind, name, real)


def _peak() -> float:
    """MiB of resident memory at most, so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# Markdown


def header(names: Sequence[str]) -> list[str]:
    """First lines of a table, all columns but names to the right."""
    marks = ["---" if name in ("study", "calls") else "---:" for name in names]
    return [row(names), row(marks)]


def row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
