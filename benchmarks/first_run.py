"""What the first sweep prunes, for several seeds, and what that would have ended at.

    python benchmarks/first_run.py                 # sweep=radix_card, seeds 0 to 4
    python benchmarks/first_run.py --sweep width --seeds 0 1

Runs the command of the README for each seed, then trains what it pruned to the end, from the
start and with its own seed, and asks whether it would have been on the front of all that then
has an end. A training that does not repeat what the sweep had recorded ends the program. Prints
Markdown. Five minutes on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from resnest_search.configuration.compose import from_record
from resnest_search.cost.machine import device_name
from resnest_search.execution.prepare import config_of_trials
from resnest_search.metrics import accuracy_error, metric_of
from resnest_search.pareto import non_dominated
from resnest_search.space import Space, configured
from resnest_search.study.read import read_sweep
from resnest_search.study.record import COMPLETE, PRUNED, Epoch, Sweep, TrialRecord
from resnest_search.study.study import SweepStudy
from resnest_search.training import Run, fit


@dataclass(frozen=True)
class Outcome:
    """One sweep, and what became of what it pruned."""

    seed: int
    sweep: Sweep
    wall_s: float  # of the whole command, imports and export included
    ends: dict[int, float]  # accuracy of each pruned trial at the full length, by number
    would_be: tuple[int, ...]  # pruned ones that would have been on the front

    @property
    def spread(self) -> float:
        """Best minus worst accuracy of all that has an end, in standard errors of one."""
        finals = [t.accuracy or 0.0 for t in self.sweep.trials if t.state == COMPLETE]
        finals += self.ends.values()
        images = max(t.validation_images for t in self.sweep.trials)
        return float(np.ptp(finals)) / (accuracy_error(float(np.mean(finals)), images) or 1.0)


def main() -> None:
    """Run, train, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweep", default="radix_card")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [outcome(asked.sweep, seed, Path(folder) / str(seed)) for seed in asked.seeds]
    print(page(outcomes))


def outcome(name: str, seed: int, folder: Path) -> Outcome:
    """Run one sweep as a user does, and train what it pruned to the end."""
    command = [sys.executable, "-m", "resnest_search", f"sweep={name}", f"search.seed={seed}"]
    began = time.perf_counter()
    ran = subprocess.run([*command, f"run={folder}"], capture_output=True, text=True)
    wall = time.perf_counter() - began
    if ran.returncode:
        sys.exit(f"first_run.py: {shlex.join(command)} ended with {ran.returncode}:\n{ran.stderr}")
    study = SweepStudy.open(folder, None)
    sweep = read_sweep(study, folder)
    pruned = [trial for trial in sweep.trials if trial.state == PRUNED]
    ends = {trial.number: end_of(study, trial, folder) for trial in pruned}
    complete = [trial for trial in sweep.trials if trial.state == COMPLETE]
    costs = [name for name in sweep.objectives if name != "accuracy"]
    points = [[-(ends.get(t.number) or t.accuracy or 0.0)] for t in [*complete, *pruned]]
    for point, trial in zip(points, [*complete, *pruned], strict=True):
        point += [trial.costs[c] * (-1 if metric_of(c).maximize else 1) for c in costs]
    front = non_dominated(points)[len(complete) :]
    would_be = tuple(t.number for t, on in zip(pruned, front, strict=True) if on)
    print(f"seed {seed}: {len(pruned)} pruned, {len(would_be)} of the front", file=sys.stderr)
    return Outcome(seed, sweep, wall, ends, would_be)


def end_of(study: SweepStudy, trial: TrialRecord, folder: Path) -> float:
    """Final accuracy of a pruned trial, trained anew as it was."""
    config = config_of_trials(from_record(study.notes["config"]))
    space = Space(config.search.space, config.model)
    candidate = space.candidate(study.trial(trial.number).params)
    model, data, train = configured(config, candidate)
    curve: list[Epoch] = []

    def report(so_far: Sequence[Epoch], note: str) -> bool:
        curve[:] = so_far
        return True

    fit(
        Run(
            number=trial.number,
            variant=trial.variant,
            model=model,
            data=data,
            train=train,
            seed=trial.seed,
            folder=str(folder / "again" / str(trial.number)),
            threads=1,
        ),
        report,
    )
    if [e.accuracy for e in curve[: trial.epochs]] != [e.accuracy for e in trial.curve]:
        sys.exit(f"first_run.py: trial {trial.number} was not trained as it had been")
    return curve[-1].accuracy


def page(outcomes: Sequence[Outcome]) -> str:
    """The Markdown page."""
    first, machine = outcomes[0].sweep, device_name(torch.device("cpu"))
    packages = {"resnest-search": version("resnest-search"), **first.versions}
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    lines = [
        "# What the first sweep prunes",
        "",
        f"- command: `python benchmarks/first_run.py {shlex.join(sys.argv[1:])}`".rstrip(" `")
        + "`",
        f"- machine: {machine}, python {platform.python_version()}, {versions}",
        "- what was pruned is trained to its end with its own seed; the first epochs are the same",
        "- spread: best minus worst final accuracy, in binomial standard errors of one",
        "",
        "| seed | complete | pruned after epochs | of these on the front, trained to the end "
        "| epochs | spread | training s | whole command s |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in outcomes:
        trials = each.sweep.trials
        after = sorted(t.epochs for t in trials if t.state == PRUNED)
        seconds = sum(t.seconds for t in trials)
        lines.append(
            f"| {each.seed} | {sum(t.state == COMPLETE for t in trials)} "
            f"| {', '.join(map(str, after))} | {len(each.would_be)} | {each.sweep.epochs} "
            f"| {each.spread:.1f} | {seconds:.0f} | {each.wall_s:.0f} |"
        )
    pruned = sum(len(each.ends) for each in outcomes)
    wrong = sum(len(each.would_be) for each in outcomes)
    lines += ["", f"{pruned - wrong} of {pruned} pruned trials end off the front."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
