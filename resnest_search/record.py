"""What is known of a sweep and of its trials, as plain data read from the study.

Report, tracking and export see these and nothing of Optuna.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

__all__ = ["COMPLETE", "FAILED", "INFEASIBLE", "PRUNED", "RUNNING", "Epoch", "Sweep", "TrialRecord"]

RUNNING = "running"
COMPLETE = "complete"
PRUNED = "pruned"
FAILED = "failed"
INFEASIBLE = "infeasible"


@dataclass(frozen=True)
class Epoch:
    """One epoch of a trial, counted from 1; accuracy as a fraction, over all validation images."""

    epoch: int
    accuracy: float
    loss: float
    train_loss: float
    seconds: float
    images: int = 0  # validation images that accuracy and loss were taken on


@dataclass(frozen=True)
class TrialRecord:
    """One trial. A number that was not measured is absent or None, never zero."""

    number: int  # Optuna's; -1 for a candidate that was ruled out before any trial
    candidate: str  # hash of the variant and whatever else the sweep varies
    variant: str
    parameters: dict[str, Any]  # what the space varied, by key
    state: str
    reason: str = ""  # why it is in this state; empty while it runs
    curve: tuple[Epoch, ...] = ()
    validation_images: int = 0
    costs: dict[str, float] = field(default_factory=dict)  # names of metrics.COSTS
    pruned_at: int | None = None  # epochs: the rung, or where the budget ended
    seed: int = 0
    device: str = ""
    mode: str = ""  # in which the costs were measured
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # of training
    on_front: bool = False
    inherited: int = 0  # epochs taken over from the trial that it continues

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return self.curve[-1].epoch if self.curve else 0

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy at the last epoch trained, as a fraction."""
        return self.curve[-1].accuracy if self.curve else None

    @property
    def accuracy_error(self) -> float | None:
        """Standard error of that accuracy: sqrt(p (1 - p) / n), binomial, on n images."""
        p, n = self.accuracy, self.validation_images
        return (p * (1 - p) / n) ** 0.5 if p is not None and 0 <= p <= 1 and n else None

    def metric(self, name: str) -> float | None:
        """A recorded metric by its name in metrics.METRICS; None where it is not known."""
        if name == "accuracy":
            return self.accuracy
        if name == "loss":
            return self.curve[-1].loss if self.curve else None
        return self.costs.get(name)


@dataclass(frozen=True)
class Sweep:
    """A sweep as it stands."""

    name: str
    question: str  # line 1 of its file
    folder: str  # the run's
    config: dict[str, Any]  # resolved
    objectives: tuple[str, ...]
    trials: tuple[TrialRecord, ...]
    knee: int | None = None  # number of the trial at the knee of the front
    rungs: tuple[int, ...] = ()  # epochs at which trials may be pruned
    budget: int = 0  # most training epochs that the sweep may spend
    started: str = ""  # ISO 8601, UTC
    seconds: float = 0.0  # spent by all drivers so far
    finished: bool = False
    command: str = ""  # that started it
    versions: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()  # what makes its numbers doubtful

    @property
    def epochs(self) -> int:
        """Training epochs spent."""
        return sum(trial.epochs - trial.inherited for trial in self.trials)

    @property
    def front(self) -> tuple[TrialRecord, ...]:
        """The Pareto front, fastest first where latency is known."""
        members = (trial for trial in self.trials if trial.on_front and trial.state == COMPLETE)
        return tuple(sorted(members, key=lambda t: (t.costs.get("latency_ms", inf), t.number)))
