"""Time and memory of a pruner's decisions while thousands of trials arrive at its rungs.

    python benchmarks/pruner_scale.py                      # 10,000 trials, three objectives
    python benchmarks/pruner_scale.py --trials 2000 --shape conflict

Trials enter an in-memory study one after the other. Each decision is timed, from the call of
the pruner to its answer. A kept trial goes on to the next rung, one that is stopped waits, and
a tenth of those that would be complete fail. Shapes of the objectives: ``sweep`` (costs that go
together, noisy accuracies that grow with them), ``uniform`` (a cube), ``conflict`` (every trial
on the front), ``chain`` (every trial beats or loses to every other), and, when asked for, the
worst case: ``ladders`` (two chains side by side, so that newcomers move thousands of fronts).
Prints a Markdown table. Takes minutes.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import os
import platform
import random
import shlex
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from resnest_search.configuration.schema import MethodConfig
from resnest_search.search.pruners import PausingPruner, build_pruner
from resnest_search.search.pruners.plain import report

OBJECTIVES = {"accuracy": "maximize", "latency_ms": "minimize", "memory_mib": "minimize"}
EPOCHS = 9
Row = tuple[float, float, float]


def sweep(draw: random.Random) -> Row:
    """Accuracy saturates with the load, costs grow with it, all with noise of their own."""
    load = draw.uniform(0.1, 3.0)
    accuracy = 1 - 0.4 * math.exp(-load) - abs(draw.gauss(0, 0.05))
    return accuracy, load * draw.uniform(0.7, 1.4), 5 + load * draw.uniform(0.8, 1.2)


def uniform(draw: random.Random) -> Row:
    """No objective knows of another."""
    return draw.random(), draw.random(), draw.random()


def conflict(draw: random.Random) -> Row:
    """Points of the plane whose coordinates add up to one: none dominates another."""
    parts = [draw.expovariate(1) for _ in range(3)]
    accuracy, latency, memory = (part / sum(parts) for part in parts)
    return 1 - accuracy, latency, memory


def chain(draw: random.Random) -> Row:
    """All objectives agree."""
    merit = draw.random()
    return merit, 1 - merit, 1 - merit


def ladders(draw: random.Random) -> Row:
    """Two chains side by side: each newcomer moves half of all that is below it."""
    merit, side = draw.random(), 2.0 * draw.randrange(2)
    return merit - side, 1 - merit - side, 1 - merit


SHAPES: dict[str, Callable[[random.Random], Row]] = {
    shape.__name__: shape for shape in (sweep, uniform, conflict, chain, ladders)
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pruner", default="pareto_halving")
    parser.add_argument("--spare-front", action="store_true", help="of pareto_halving")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES)[:4])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def make_pruner(name: str, spare_front: bool) -> PausingPruner:
    """The pruner with its own defaults, or Pareto halving by two from the first epoch."""
    halving = {"first_rung": 1, "reduction_factor": 2, "spare_front": spare_front}
    config = MethodConfig(name, halving if name == "pareto_halving" else {})
    return build_pruner(config, objectives=list(OBJECTIVES), reported="accuracy", epochs=EPOCHS)


class Arrivals:
    """A study that trials enter one by one, and the seconds that each decision took."""

    def __init__(self, pruner: PausingPruner) -> None:
        sampler = optuna.samplers.RandomSampler(seed=0)
        self.study = optuna.create_study(directions=list(OBJECTIVES.values()), sampler=sampler)
        self.study.set_metric_names(list(OBJECTIVES))
        self.seconds: list[float] = []
        self._pruner = pruner

    def enter(self, row: Row, fails: bool) -> None:
        """One trial: epoch after epoch while it is kept, then it waits, fails or is complete."""
        accuracy, *costs = row
        trial = self.study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        for name, cost in zip(list(OBJECTIVES)[1:], costs, strict=True):
            trial.set_user_attr(name, cost)
        for epoch in range(1, EPOCHS + 1):
            report(trial, accuracy * (1 - math.exp(-epoch)), epoch)
            if self._pruned(trial):
                return
        state = TrialState.FAIL if fails else TrialState.COMPLETE
        self.study.tell(trial, None if fails else row, state)

    def _pruned(self, trial: optuna.Trial) -> bool:
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        began = time.perf_counter()
        decision = self._pruner.explain(self.study, frozen)
        if decision is not None:
            self.seconds.append(time.perf_counter() - began)
        return decision is not None and not decision.kept


def run(shape: str, options: argparse.Namespace) -> list[str]:
    """One row of the table: what the decisions took, and what a pruner keeps in memory."""
    draw = random.Random(options.seed)
    arrivals = Arrivals(make_pruner(options.pruner, options.spare_front))
    for number in range(options.trials):
        arrivals.enter(SHAPES[shape](draw), fails=number % 10 == 0)
    milliseconds = np.array(arrivals.seconds) * 1e3
    late = milliseconds[len(milliseconds) * 9 // 10 :]
    p50, p99, most = np.percentile(milliseconds, [50, 99, 100])
    times = [p50, p99, np.percentile(late, 99), most]
    afresh, mib = restart(arrivals.study, make_pruner(options.pruner, options.spare_front))
    figures = [f"{figure:.2f}" for figure in times]
    return [shape, str(len(milliseconds)), *figures, f"{afresh:.1f}", f"{mib:.1f}"]


def restart(study: optuna.Study, pruner: PausingPruner) -> tuple[float, float]:
    """Seconds that the first decision takes a new pruner, and MiB that it keeps after it."""
    trial = study.get_trials(deepcopy=False)[-1]
    first = copy.copy(trial)
    first.intermediate_values = {1: trial.intermediate_values[1]}
    began = time.perf_counter()
    pruner.explain(study, first)
    seconds = time.perf_counter() - began
    return seconds, memory(study, first, copy.deepcopy(pruner))


def memory(study: optuna.Study, trial: FrozenTrial, pruner: PausingPruner) -> float:
    """MiB that a new pruner keeps after a decision."""
    gc.collect()
    tracemalloc.start()
    pruner.explain(study, trial)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / 2**20


def main() -> None:
    """Run every shape and print the table."""
    options = arguments()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print(
        f"{options.pruner}, {options.trials} trials, Python {platform.python_version()}, ", end=""
    )
    print(f"numpy {np.__version__}, optuna {optuna.__version__}, {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} CPUs at a load of {os.getloadavg()[0]:.1f}; `{command()}`\n")
    print("| shape | decisions | p50 ms | p99 ms | p99 of the last tenth | max ms | ", end="")
    print("a new pruner's first, s | MiB |\n|---|" + "---:|" * 7)
    for shape in options.shape:
        print("| " + " | ".join(run(shape, options)) + " |", flush=True)


def command() -> str:
    """How this was started."""
    return "python " + shlex.join(["benchmarks/pruner_scale.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
