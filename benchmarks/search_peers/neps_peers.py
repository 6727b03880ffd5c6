"""NePS's MO-ASHA and PriMO, in a process of their own.

NePS's pins exclude this project's, so an interpreter that has it runs ``neps_child.py``, which is
asked through a pipe. Both algorithms pause: they ask for a new candidate up to the first rung, or
for one that they know up to a later rung. PriMO turns, after the epochs of a few full trainings,
to a Gaussian process of what was trained to its full length.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from resnest_search.simulation.space import TableSpace
from resnest_search.space import Candidate
from search_peers.race import Measured, Problem
from search_peers.sampled import PROPOSALS, TRIES, Spread

__all__ = ["Neps"]


class _Child:
    """The process; one search at a time."""

    def __init__(self, python: Path) -> None:
        command = [str(python), "-I", str(Path(__file__).with_name("neps_child.py"))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self._owner: object = None

    def make(self, owner: object, **asked: Any) -> None:
        """A search begins, and those before it are forgotten."""
        self._owner = owner
        self.call(owner, **asked)

    def call(self, owner: object, **asked: Any) -> dict[str, Any]:
        """Ask one thing.

        Raises:
            RuntimeError: the process ended, or belongs to another search by now.
        """
        if owner is not self._owner:
            raise RuntimeError("NePS serves another search by now")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"NePS ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


_child = cache(_Child)  # its imports take seconds


class _Trial(NamedTuple):
    name: str  # NePS's id: NUMBER_rung_RUNG, or a number where PriMO asks for a full training
    config: dict[str, Any]
    end: int  # epoch that it goes to
    rung: str  # empty where PriMO's Gaussian process proposes it
    promoted: int | None  # the candidate, where NePS knows it


class Neps:
    """A search by an optimizer of NePS.

    A candidate is open where nobody began it, or for a full training where nobody ended it. What
    NePS draws at random is drawn again until it is open, and after a few tries a random open one
    is taken. What PriMO's Gaussian process proposes stands for the nearest open one.

    Args:
        problem: with costs where new candidates are to be chosen by them.
        python: an interpreter that has NePS.
        algorithm: ``moasha`` or ``primo``.
    """

    def __init__(self, problem: Problem, python: Path, algorithm: str) -> None:
        self._problem = problem
        self._space = problem.space()
        self._index = {c.identity: index for index, c in enumerate(self._space.candidates)}
        varied = {n: d for n, d in self._space.distributions.items() if not d.single()}
        first = problem.named(problem.settings[0])
        self._fixed = {name: value for name, value in first.items() if name not in varied}
        self._signs = [-1 if more else 1 for more in problem.objectives.values()]
        self._rng = np.random.default_rng([problem.seed, 1])
        self._spread = Spread(problem.costs) if problem.costs else None
        self._wanted = PROPOSALS if self._spread else 1
        self._epochs = [0] * len(problem.settings)
        self._trials: dict[int, _Trial] = {}  # of candidates at work
        self._begun: list[int] = []
        self._numbers: dict[str, int] = {}  # candidates by the first part of NePS's ids
        self._child = _child(python)
        self._child.make(
            self,
            make=algorithm,
            space={name: _described(distribution) for name, distribution in varied.items()},
            epochs=max(problem.epochs, 2),  # a fidelity has a range
            seed=problem.seed,
        )

    def next(self) -> int | None:
        """A new candidate, or one that goes on."""
        trial = self._ask()
        if trial.promoted is not None:
            return self._begin(trial.promoted, trial)
        if trial.rung:
            trial, found = self._drawn(trial)
        else:
            found = self._nearest(trial)
        if not found:
            self._child.call(self, forget=trial.name)
            return None
        candidate = self._spread.farthest(found, self._begun) if self._spread else found[0]
        config = {name: v for name, v in self._named(candidate).items() if name not in self._fixed}
        self._child.call(self, replace=trial.name, config=config)
        return self._begin(candidate, trial)

    def _drawn(self, trial: _Trial) -> tuple[_Trial, list[int]]:
        """Open candidates that NePS draws, or one at random; and the trial that may be of them."""
        found: list[int] = []
        for tries in range(1, TRIES + 1):
            candidate = self._index[self._candidate(self._space, trial).identity]
            if candidate not in found and self._is_open(candidate, trial.end):
                found.append(candidate)
            if tries == TRIES or len(found) == self._wanted:
                break
            self._child.call(self, forget=trial.name)
            trial = self._ask()
        left = self._open(trial.end)
        if not found and left:
            found = [left[int(self._rng.integers(len(left)))]]
        return trial, found

    def _nearest(self, trial: _Trial) -> list[int]:
        """Open candidates that are nearest to a proposal that takes long to make."""
        left, found = self._open(trial.end), []
        while left and len(found) < self._wanted:
            space = TableSpace([self._space.candidates[index] for index in left])
            found.append(self._index[self._candidate(space, trial).identity])
            left.remove(found[-1])
        return found

    def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
        """It is paused where its trial ends."""
        self._epochs[candidate] = epoch
        trial = self._trials[candidate]
        if epoch < trial.end:
            return True
        del self._trials[candidate]
        found = (measured.accuracy, *measured.costs)
        values = [sign * value for sign, value in zip(self._signs, found, strict=True)]
        self._child.call(self, tell=trial.name, values=values)
        return False

    def finished(self, candidate: int) -> None:
        """NePS was told."""

    def _ask(self) -> _Trial:
        answer = self._child.call(self, ask=True)
        number, _, rung = answer["id"].partition("_rung_")
        promoted = self._numbers.get(number) if rung else None
        end = min(answer["epochs"], self._problem.epochs)
        return _Trial(answer["id"], answer["config"], end, rung, promoted)

    def _begin(self, candidate: int, trial: _Trial) -> int:
        if trial.rung:
            self._numbers[trial.name.partition("_rung_")[0]] = candidate
        self._trials[candidate] = trial
        self._begun.append(candidate)
        return candidate

    def _candidate(self, space: TableSpace, trial: _Trial) -> Candidate:
        return space.candidate({**self._fixed, **trial.config})

    def _named(self, candidate: int) -> dict[str, Any]:
        return self._problem.named(self._problem.settings[candidate])

    def _is_open(self, candidate: int, end: int) -> bool:
        """Whether a new trial may be of this candidate."""
        if candidate in self._trials or self._epochs[candidate] >= end:
            return False
        return self._epochs[candidate] == 0 or end == self._problem.epochs

    def _open(self, end: int) -> list[int]:
        return [c for c in range(len(self._epochs)) if self._is_open(c, end)]


def _described(distribution: BaseDistribution) -> dict[str, Any]:
    """For ``neps_child.py``."""
    if isinstance(distribution, CategoricalDistribution):
        return {"kind": "choices", "choices": distribution.choices}
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    kind = "int" if isinstance(distribution, IntDistribution) else "float"
    bounds = {"lower": distribution.low, "upper": distribution.high}
    return {"kind": kind, **bounds, "log": distribution.log}
