"""A sweep of 10,000 trials in the simulator: decisions, proposals, writes, memory, the report.

    python benchmarks/scale.py                                  # 1,000, 3,000 and 10,000 trials
    python benchmarks/scale.py --trials 300 1000 --pruner front_probability

Every trial is a variant of its own with a made-up curve of nine epochs; 16 virtual workers, the
study in memory. Prints, for each number of trials, the time of the pruner's decisions and of the
sampler's proposals, the rest of the strategy, all of it for each trial, and the growth of resident
memory; then what the report of the largest sweep takes, and what a trial's writes take in SQLite.
"""

from __future__ import annotations

import argparse
import gc
import math
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil

from resnest_search.configuration.schema import MethodConfig, ModelConfig, SearchConfig
from resnest_search.metrics import COSTS
from resnest_search.report.html import write_report
from resnest_search.report.table import trials_csv
from resnest_search.search import Strategy
from resnest_search.search.pruners import FrontProbabilityPruner, ParetoHalvingPruner
from resnest_search.search.samplers import KnownCostSampler, OrderedSampler
from resnest_search.simulation.simulator import VirtualClock, simulate
from resnest_search.space import Space
from resnest_search.study.costing import Costing
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy
from resnest_search.variant import Variant

EPOCHS, WORKERS = 9, 16
OBJECTIVES = ["accuracy", "latency_ms", "memory_mib"]
PRUNERS = {"pareto_halving": ParetoHalvingPruner, "front_probability": FrontProbabilityPruner}
SAMPLERS = {"random": OrderedSampler, "known_cost": KnownCostSampler}


class Formula:
    """Curves and costs of any variant, the same at each call."""

    def epoch(self, variant: Variant, seed: int, epoch: int) -> Epoch:
        """One epoch: it rises with the load, at a rate and to a height of the variant's own."""
        draw = np.random.default_rng([seed, variant.radix, variant.cardinality, variant.width])
        height = 1 - 0.4 * math.exp(-3 * _load(variant)) - abs(draw.normal(0, 0.02))
        accuracy = height * (1 - math.exp(-draw.uniform(0.4, 1.2) * epoch))
        return Epoch(epoch, round(accuracy, 4), None, None, 1 + _load(variant), 2000)

    def costs(self, variant: Variant) -> dict[str, float]:
        """Costs that grow with the load, each with a part of its own."""
        draw = np.random.default_rng([7, variant.radix, variant.cardinality, variant.width])
        load = _load(variant)
        return {name: (0.2 + load) * draw.uniform(0.8, 1.25) for name in COSTS}


class Watch:
    """Seconds of every call of a method, while it is entered."""

    def __init__(self, kind: type[Any], name: str) -> None:
        self.seconds: list[float] = []
        self._kind, self._name = kind, name
        self._method: Callable[..., Any] = getattr(kind, name)

    def __enter__(self) -> Watch:
        method, seconds = self._method, self.seconds

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                seconds.append(time.perf_counter() - start)

        setattr(self._kind, self._name, timed)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self._kind, self._name, self._method)

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the calls stayed below."""
        return 1e3 * float(np.quantile(self.seconds, share)) if self.seconds else 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweeps and print the tables."""
    options = _options(arguments)
    print(f"`{shlex.join(['python', *sys.orig_argv[1:]])}`; {platform.processor()}, ", end="")
    print(f"Python {platform.python_version()}, optuna {optuna.__version__}\n")
    heads = ["trials", "complete", "decisions", "p50 ms", "p99 ms", "max ms", "proposals"]
    heads += ["p50 ms", "p99 ms", "all, s", "ms a trial", "memory, MiB"]
    print(f"| {' | '.join(heads)} |\n|" + " ---: |" * len(heads))
    study = None
    for trials in options.trials:
        study = _row(trials, options.sampler, options.pruner)
    if study is not None:
        _report(study)
    _sqlite(options.sampler, options.pruner)


def _row(trials: int, sampler: str, pruner: str) -> SweepStudy:
    gc.collect()
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    name = "step" if sampler == "known_cost" else "propose"
    with (
        Watch(PRUNERS[pruner], "explain") as decisions,
        Watch(SAMPLERS[sampler], name) as proposals,
    ):
        study = _searched(trials, sampler, pruner, None)
    seconds = time.perf_counter() - start
    gc.collect()
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    complete = sum(t.state.name == "COMPLETE" for t in study.trials())
    times = [f"{watch.quantile(q):.2f}" for watch, q in ((decisions, 0.5), (decisions, 0.99))]
    cells = [trials, complete, len(decisions.seconds), *times, f"{decisions.quantile(1):.1f}"]
    cells += [len(proposals.seconds), *(f"{proposals.quantile(q):.2f}" for q in (0.5, 0.99))]
    cells += [f"{seconds:.1f}", f"{1e3 * seconds / trials:.1f}", f"{grown:.0f}"]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return study


def _searched(trials: int, sampler: str, pruner: str, url: str | None) -> SweepStudy:
    formula, space = Formula(), _space()
    costings = {c.network: Costing(formula.costs(c.variant), "-", "-") for c in space.networks}
    config = SearchConfig(
        objectives=OBJECTIVES,
        trials=trials,
        epochs=EPOCHS,
        sampler=MethodConfig(sampler),
        pruner=MethodConfig(pruner),
    )
    study = SweepStudy.create(url, OBJECTIVES)
    clock = VirtualClock()
    strategy = Strategy(study, space, config, costings, clock=clock)
    simulate(strategy, formula, clock, WORKERS)  # type: ignore[arg-type]  # epoch() is all it asks
    return study


def _report(study: SweepStudy) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        sweep = read_sweep(study, folder)
        read = time.perf_counter() - start
        start = time.perf_counter()
        trials_csv(sweep, folder / "trials.csv")
        write_report(sweep, folder / "report.html")
        written = time.perf_counter() - start
        size = (folder / "report.html").stat().st_size / 2**20
    print(
        f"\nReport of {len(sweep.trials)} trials: read in {read:.1f} s, written in {written:.1f} s,"
    )
    print(f"{size:.1f} MiB of HTML.")


def _sqlite(sampler: str, pruner: str, trials: int = 60) -> None:
    names = ("start", "record", "pause", "go_on", "finish")
    with tempfile.TemporaryDirectory() as folder:
        watches = [Watch(SweepStudy, name) for name in names]
        for watch in watches:
            watch.__enter__()
        study = _searched(trials, sampler, pruner, f"sqlite:///{folder}/study.db")
        for watch in watches:
            watch.__exit__()
        study.close()
    print(f"\nSQLite, {trials} trials, medians in ms:", end=" ")
    medians = {n: w.seconds for n, w in zip(names, watches, strict=True) if w.seconds}
    print(", ".join(f"{n} {1e3 * statistics.median(s):.1f}" for n, s in medians.items()))


def _space() -> Space:
    choices = {"radix": [0, 1, 2, 4], "cardinality": list(range(1, 33)), "width": []}
    choices["width"] = list(range(2, 257))
    return Space(choices, ModelConfig(planes=[64, 128]))


def _load(variant: Variant) -> float:
    return (1 + 0.2 * variant.radix) * variant.cardinality * variant.width / 4096


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 3000, 10000])
    parser.add_argument("--sampler", choices=SAMPLERS, default="random")
    parser.add_argument("--pruner", choices=PRUNERS, default="pareto_halving")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
