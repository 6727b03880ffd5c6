"""Seconds that a trial costs besides its training, beside those of bare Ray Tune.

    python benchmarks/overhead.py                       # 72 trials of 9 epochs, twice each
    python benchmarks/overhead.py --sampler known_cost

Trials that do nothing: their epochs stand in a table. ``ours`` is a sweep as the command line
runs it, study.db, live table and decisions included and W&B off; ``bare`` is Ray Tune with a
class Trainable that reports as many results of the same shape, with its actors reused. Both run
in one Ray with the same settings, in turns. What is printed is the time from the end of the first
trial to the end of the last, by trial: the start of the workers is in neither. Prints a Markdown
table. Takes minutes.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from ray import tune

from resnest_search.configuration.schema import (
    MethodConfig,
    SearchConfig,
    SweepConfig,
    TrackingConfig,
    TrialConfig,
)
from resnest_search.execution.driver import cluster, run_trials
from resnest_search.execution.replay import ReplayTrainable, replays
from resnest_search.execution.resources import Allotment
from resnest_search.execution.sweep import create, table_costs
from resnest_search.report.live import LiveTable
from resnest_search.simulation.table import COLUMNS
from resnest_search.space import Space
from resnest_search.study.record import Epoch
from resnest_search.tracking.wandb import Tracker
from resnest_search.watch import Watch

GOAL_S = 0.15
SPACE = {"radix": [0, 1, 2, 4], "cardinality": [1, 2, 4], "width": list(range(8, 88, 8))}


class Bare(tune.Trainable):
    """Reports what a replayed trial reports, to nobody."""

    def setup(self, config: dict[str, Any]) -> None:
        self._left = config["epochs"]
        self._epoch = dataclasses.asdict(Epoch(1, 0.5, None, None, 0.0, 100))

    def step(self) -> dict[str, Any]:
        self._left -= 1
        return {"curve": [self._epoch], "note": "", "failure": "", "done": self._left == 0}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True


class Ends(tune.Callback):
    """When each trial ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.at.append(time.perf_counter())


class Watched(Watch):
    """A sweep's own observer, which also knows when each trial ended."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.at: list[float] = []

    def changed(self, number: int, over: bool) -> None:
        super().changed(number, over)
        if over:
            self.at.append(time.perf_counter())


def write_table(path: Path, epochs: int) -> None:
    """Curves that rise, each to its own height; of every variant of the space."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for load, variant in enumerate(Space(SPACE, SweepConfig().model).candidates or ()):
            name = variant.variant
            key = (name.radix, name.cardinality, name.width, 0)
            for epoch in range(1, epochs + 1):
                accuracy = (1 - 0.5**epoch) * (0.5 + (load * 37 % 100) / 250)
                values = (accuracy, 1 + load / 50, 2 + (load * 61 % 97) / 50, 0.0)
                row = dict(zip(COLUMNS, (*key, epoch, *values), strict=True))
                writer.writerow(row.values())


def ours(folder: Path, arguments: argparse.Namespace, allotment: Allotment) -> list[float]:
    """A replayed sweep through the driver; when its trials ended."""
    write_table(folder / "curves.csv", arguments.epochs)
    config = SweepConfig(
        sweep="overhead",
        search=SearchConfig(
            space=SPACE,
            trials=arguments.trials,
            epochs=arguments.epochs,
            sampler=MethodConfig(arguments.sampler),
            pruner=MethodConfig(arguments.pruner),
        ),
        trial=TrialConfig(name="table", path=str(folder / "curves.csv"), engine="ray"),
        tracking=TrackingConfig("none"),
    )
    space = Space(config.search.space, config.model)
    run = create(config, space, folder, table_costs(config, space), typed="")
    assert run.table is not None
    with LiveTable(config.sweep) as live:
        tracker = Tracker(TrackingConfig("none"), folder, "overhead", vars(config), live.message)
        watched = Watched(run, live, tracker)
        make = replays(run.table, run.study)
        with run.study.written_ahead():
            run_trials(run.strategy, allotment, make, watched, False, ReplayTrainable)
    assert len(run.study.trials()) == arguments.trials
    return watched.at


def bare(folder: Path, arguments: argparse.Namespace, allotment: Allotment) -> list[float]:
    """As many trials of Tune's own; when they ended."""
    ends = Ends()
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(allotment.slots)
    resources = tune.PlacementGroupFactory(allotment.bundles, strategy="PACK")
    tune.Tuner(
        tune.with_resources(Bare, resources),
        param_space={"epochs": arguments.epochs},
        tune_config=tune.TuneConfig(
            num_samples=arguments.trials,
            reuse_actors=True,
            max_concurrent_trials=allotment.slots,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="bare",
            storage_path=str(folder),
            verbose=0,
            callbacks=[ends],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    return ends.at


Way = Callable[[Path, argparse.Namespace, Allotment], list[float]]


def measured(way: Way, arguments: argparse.Namespace, allotment: Allotment) -> tuple[float, float]:
    """Seconds by trial between the first end and the last, and seconds of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        at = way(Path(folder), arguments, allotment)
        return (at[-1] - at[0]) / (len(at) - 1), at[-1] - began


def print_head(arguments: argparse.Namespace) -> None:
    """What was measured, where, with what, and the head of the table."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "sqlalchemy"))
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"
    print(f"\n{arguments.trials} trials, {arguments.epochs} epochs each, {arguments.rounds} rounds")
    print(f"{machine}; {versions}")
    print(f"python {shlex.join(sys.argv)}\n")
    print("| | s per trial | each round | whole s |\n| --- | ---: | ---: | ---: |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=72)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sampler", default="random", help="random or known_cost")
    parser.add_argument("--pruner", default="none", help="none, or one that pauses")
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    with cluster(SweepConfig().resources, verbose=False) as allotment:
        for _ in range(arguments.rounds):
            found["bare"].append(measured(bare, arguments, allotment))
            found["ours"].append(measured(ours, arguments, allotment))
    print_head(arguments)
    for name, rounds in found.items():
        each = ", ".join(f"{by_trial:.3f}" for by_trial, _ in rounds)
        whole = mean(whole for _, whole in rounds)
        print(f"| {name} | {mean(s for s, _ in rounds):.3f} | {each} | {whole:.1f} |")
    more = mean(s for s, _ in found["ours"]) - mean(s for s, _ in found["bare"])
    print(f"\nours is {more:+.3f} s per trial beside bare Ray Tune; the goal is {GOAL_S} at most.")


if __name__ == "__main__":
    main()
