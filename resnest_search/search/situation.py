"""What a sampler is asked with: where a sweep stands when somebody is free to train."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from resnest_search.space import Candidate

__all__ = ["Goal", "ProposingSampler", "Sampler", "Situation", "Verdict"]


@dataclass(frozen=True)
class Goal:
    """What a sweep seeks.

    Attributes:
        objectives: names of metrics.
        reported: the trained metric that stands as intermediate value.
        epochs: a trial's full length.
    """

    objectives: tuple[str, ...]
    reported: str
    epochs: int


@dataclass(frozen=True)
class Situation:
    """Where a sweep stands.

    Attributes:
        trials: every trial by number.
        unused: candidates of a finite space that no trial has and nothing rules out, by
            identity in the sweep's order; None where a space has a range.
        allowed: whether a candidate may be proposed.
        costs: measured costs of a candidate, by the names of metrics.
        working: trials that are being trained, or were when a driver was killed.
        waiting: trials that are paused, or were when an earlier budget ended, and that may
            go on from where they stand, by number; the one that is judged among them, as if it
            were to wait.
        promote: finds those of them that the pruner would let go on by now.
        may_start: whether a new candidate may be started.
        prior: final values of candidates that earlier sweeps trained differently.
        affordable: epochs of the budget that nobody at work needs; infinite without a budget.
        tolerance: share of the hypervolume that is not worth any training.
    """

    trials: Sequence[FrozenTrial]
    unused: Mapping[str, Candidate] | None
    allowed: Callable[[Candidate], bool]
    costs: Callable[[Candidate], Mapping[str, float]]
    working: Sequence[FrozenTrial] = ()
    waiting: Sequence[FrozenTrial] = ()
    promote: Callable[[], Sequence[FrozenTrial]] = tuple
    may_start: bool = True
    prior: Sequence[tuple[Candidate, float]] = ()
    affordable: float = math.inf
    tolerance: float = 0.0

    @property
    def promoted(self) -> Sequence[FrozenTrial]:
        """What waits and would go on if the pruner were asked, the best first."""
        return self.promote()


@dataclass(frozen=True)
class Verdict:
    """Whether a trial goes on, and on which grounds, in words."""

    kept: bool
    reason: str


class Sampler(ABC):
    """Chooses what somebody who is free trains next."""

    @abstractmethod
    def step(self, situation: Situation) -> Candidate | int | None:
        """A new candidate, the number of a trial that waits, or None where there is neither."""

    def rungs(self) -> tuple[int, ...]:
        """Epochs below the full length after which a trial may pause for another step."""
        return ()

    def explain(self, situation: Situation, trial: FrozenTrial) -> Verdict | None:
        """Whether a trial goes on from a rung; None where there is nothing to decide.

        Args:
            situation: with the trial as it is now among its trials.
            trial: at work.
        """
        return None


class ProposingSampler(Sampler):
    """Chooses among new candidates alone.

    What the pruner lets go on comes before them, and what else waits after them, the furthest
    first.
    """

    @abstractmethod
    def propose(self, situation: Situation) -> Candidate | None:
        """The next candidate to start, None where none is found; asked only where ``may_start``."""

    def step(self, situation: Situation) -> Candidate | int | None:
        """See Sampler."""
        if promoted := situation.promoted:
            return promoted[0].number
        if situation.may_start and (found := self.propose(situation)) is not None:
            return found
        furthest = max(situation.waiting, key=_progress, default=None)
        return None if furthest is None else furthest.number


def _progress(trial: FrozenTrial) -> tuple[int, int]:
    return trial.last_step or 0, -trial.number
