"""What the first sweep prunes, for several seeds, and what that would have ended at.

    python benchmarks/first_run.py                 # sweep=radix_card, seeds 0 to 4
    python benchmarks/first_run.py --sweep width --seeds 0 1

Runs the command of the README for each seed, then trains what it pruned from its checkpoint to the
end, as a resume would, and asks whether it would have been on the front of all that then has an
end. Prints Markdown. Nine minutes on two cores that do nothing else.
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
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from resnest_search.configuration.schema import ResumeConfig
from resnest_search.cost.machine import device_name
from resnest_search.execution.resources import allot, this_machine
from resnest_search.execution.sweep import SweepRun, make_run, reopen
from resnest_search.metrics import accuracy_error
from resnest_search.search import Assignment
from resnest_search.simulation.simulator import space_of
from resnest_search.study.read import placed, read_sweep
from resnest_search.study.record import COMPLETE, PRUNED, Epoch, Sweep, TrialRecord
from resnest_search.training import fit


@dataclass(frozen=True)
class Outcome:
    """One sweep, and what became of what it pruned."""

    seed: int
    sweep: Sweep
    wall_s: float  # of the whole command, imports and export included
    whole: tuple[TrialRecord, ...]  # all of its trials, had none been pruned

    @property
    def pruned(self) -> list[TrialRecord]:
        """What the sweep pruned, as it would have ended."""
        states = {trial.number: trial.state for trial in self.sweep.trials}
        return [trial for trial in self.whole if states[trial.number] == PRUNED]

    @property
    def missed(self) -> int:
        """How many of these would have been on the front."""
        return sum(trial.on_front for trial in self.pruned)

    @property
    def spread(self) -> float:
        """Best minus worst accuracy of all that has an end, in standard errors of one."""
        finals = [trial.accuracy or 0.0 for trial in self.whole if trial.state == COMPLETE]
        images = max(trial.validation_images for trial in self.sweep.trials)
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
    run = reopen(folder, ResumeConfig())
    sweep = read_sweep(run.study, folder)
    ends = (trained_on(run, t) if t.state == PRUNED else t for t in sweep.trials)
    found = Outcome(seed, sweep, wall, tuple(placed(list(ends), sweep.objectives)))
    print(f"seed {seed}: {len(found.pruned)} pruned, {found.missed} of the front", file=sys.stderr)
    return found


def trained_on(run: SweepRun, trial: TrialRecord) -> TrialRecord:
    """A pruned trial, had it been trained to its end."""
    candidate = space_of(run.config, run.table).candidate(run.study.trial(trial.number).params)
    make = make_run(run, allot(run.config.resources, this_machine()))
    curve: list[Epoch] = []

    def report(so_far: Sequence[Epoch], note: str) -> bool:
        curve[:] = so_far
        return True

    fit(make(Assignment(trial.number, candidate, trial.seed)), report)
    if [e.accuracy for e in curve[: trial.epochs]] != [e.accuracy for e in trial.curve]:
        sys.exit(f"first_run.py: the checkpoint of trial {trial.number} is not what was recorded")
    return replace(trial, state=COMPLETE, curve=tuple(curve))


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
        "- what was pruned is trained from its checkpoint to its end",
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
            f"| {', '.join(map(str, after))} | {each.missed} | {each.sweep.epochs} "
            f"| {each.spread:.1f} | {seconds:.0f} | {each.wall_s:.0f} |"
        )
    pruned = sum(len(each.pruned) for each in outcomes)
    wrong = sum(each.missed for each in outcomes)
    lines += ["", f"{pruned - wrong} of {pruned} pruned trials end off the front."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
