"""Digests of what searches decide, so that a change that should change no decision can show it.

    python benchmarks/decisions.py > before.md            # 180 searches, two minutes on two cores
    python benchmarks/decisions.py > after.md && diff before.md after.md
    python benchmarks/decisions.py --seeds 1 --methods random+pareto_halving --keep orders.json

Searches run in the simulator, in virtual time: of every table of benchmarks/tables, or of those of
``--table``, whatever their parameters and costs. What is digested is the order of events: which
candidate was started or went on, which epoch of it ended when, what was decided there and by whom;
then how each trial ended, and which are on the front. One row a table, method and number of
workers; one column a seed. ``results/decisions.md`` is what this version printed; another processor
may round a forecast otherwise, so compare on one machine. Where a digest differs, ``--keep`` has
the orders themselves.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
import warnings
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
from search_peers.own import method

from resnest_search.configuration.schema import SearchConfig, SweepConfig
from resnest_search.errors import UserError
from resnest_search.simulation.simulator import (
    Start,
    VirtualClock,
    arrivals_of,
    simulate,
    simulated,
)
from resnest_search.simulation.table import Table
from resnest_search.study.read import read_sweep
from resnest_search.study.study import SweepStudy, decision_on

TABLES = Path(__file__).parent / "tables"
METHODS = [
    "known_cost+none",
    "known_cost+front_probability",
    "known_cost+pareto_halving",
    "random+pareto_halving",
    "random+pareto_halving:first_rung=1,reduction_factor=2,spare_front=true",
    "random+front_probability",
]
Asked = tuple[Path, str, int, int]  # table, method, workers, seed


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, nargs="+", default=sorted(TABLES.glob("*.csv")))
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="SAMPLER+PRUNER")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--keep", type=Path, help="a JSON file for the orders themselves")
    return parser.parse_args(words)


def order(asked: Asked) -> list[Any]:
    """What a search decided, in its order, as JSON has it."""
    path, methods, workers, seed = asked
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    sampler, _, pruner = methods.partition("+")
    table, clock = Table.read(path), VirtualClock()
    search = SearchConfig(
        objectives=["accuracy", *table.cost_names],
        epochs=table.epochs,
        seed=seed,
        sampler=method("sampler", sampler),
        pruner=method("pruner", pruner),
    )
    study, strategy = simulated(SweepConfig(sweep="decisions", search=search), table, clock)
    simulate(strategy, table, clock, workers)
    return _events(study)


def _events(study: SweepStudy) -> list[Any]:
    trials = {trial.number: trial for trial in study.trials()}
    found: list[Any] = []
    for event in arrivals_of(study):
        trial = trials[event.number]
        if isinstance(event, Start):
            found.append([event.at, event.number, "starts", trial.user_attrs["candidate"]])
            continue
        decision = decision_on(trial, event.epoch) or {}
        taken = [decision.get(key) for key in ("kept", "by")]
        found.append([event.at, event.number, event.epoch, *taken])
    found += [[number, trial.state.name, trial.values] for number, trial in trials.items()]
    front = read_sweep(study, Path(), uncertainty=False).front
    return [*found, sorted(trial.number for trial in front)]


def main(words: Sequence[str] | None = None) -> None:
    """Search, digest, print."""
    asked = arguments(words)
    try:
        for path in asked.table:
            Table.read(path)
    except UserError as error:
        sys.exit(f"decisions.py: {error}")
    rows = list(itertools.product(asked.table, asked.methods, asked.workers))
    runs = [(*row, seed) for row in rows for seed in range(asked.seeds)]
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of each process
    with get_context("spawn").Pool(asked.jobs) as pool:
        orders = dict(zip(runs, pool.map(order, runs, chunksize=1), strict=True))
    digests = {
        run: hashlib.sha256(json.dumps(events).encode()).hexdigest()[:12]
        for run, events in orders.items()
    }
    seeds = [f"seed {seed}" for seed in range(asked.seeds)]
    print(f"| table | method | workers | {' | '.join(seeds)} |")
    print("| --- | --- | ---: |" + " --- |" * asked.seeds)
    for path, methods, workers in rows:
        found = [digests[path, methods, workers, seed] for seed in range(asked.seeds)]
        print(f"| {path.stem} | {methods} | {workers} | {' | '.join(found)} |")
    if asked.keep:
        kept = {f"{p.stem} {m} {w} {s}": events for (p, m, w, s), events in orders.items()}
        asked.keep.write_text(json.dumps(kept, indent=0))


if __name__ == "__main__":
    main(sys.argv[1:])
