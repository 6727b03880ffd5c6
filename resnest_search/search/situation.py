"""What a sampler is asked with: where a sweep stands when somebody is free to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from optuna.trial import FrozenTrial

from resnest_search.search.space import Candidate

__all__ = ["Goal", "Sampler", "Situation"]


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
        waiting: trials that are paused, or were when an earlier budget ended, and that may
            go on from where they stand.
        may_start: whether a new candidate may be started.
        prior: final values of candidates that earlier sweeps trained differently.
    """

    trials: Sequence[FrozenTrial]
    unused: Mapping[str, Candidate] | None
    allowed: Callable[[Candidate], bool]
    costs: Callable[[Candidate], Mapping[str, float]]
    waiting: Sequence[FrozenTrial] = ()
    may_start: bool = True
    prior: Sequence[tuple[Candidate, float]] = ()


class Sampler(Protocol):
    """Proposes new candidates."""

    def propose(self, situation: Situation) -> Candidate:
        """The next candidate to start; asked only where ``may_start``."""
