"""What is known of a sweep and of its trials, as plain data read from the study.

Report, tracking and export see these and nothing of Optuna.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import floor, inf, isfinite, nan
from typing import Any

from resnest_search.metrics import (
    METRICS,
    TRAINED,
    accuracy_error,
    around,
    metric_of,
    rounds_error,
)
from resnest_search.variant import Variant

__all__ = [
    "COMPLETE",
    "FAILED",
    "INFEASIBLE",
    "INTERRUPTED",
    "MOST_WITHOUT_KNEE",
    "OPEN",
    "PAUSED",
    "PRUNED",
    "RUNNING",
    "Driver",
    "Ending",
    "Epoch",
    "Row",
    "Sweep",
    "TrialRecord",
    "name_of",
    "per_gpu",
    "value_text",
    "varied",
]

RUNNING = "running"
PAUSED = "paused"  # may go on: it waits while others train
INTERRUPTED = "interrupted"  # nobody is at work on it; a resume carries it on
COMPLETE = "complete"
PRUNED = "pruned"
FAILED = "failed"
INFEASIBLE = "infeasible"
OPEN = (RUNNING, PAUSED, INTERRUPTED)  # states that are no end
MOST_WITHOUT_KNEE = 2  # members of a front between whose ends there is nothing
_FROM_LATENCY = ("latency_ms", "images_per_s")  # of one median
_OF_ANY_MODE = ("train_memory_mib", "parameters_m", "gmacs")  # the same in each
_OF_VARIANT = {"radix", "cardinality", "width", "cardinality_width", "variant"}
_MOST_KEYS, _MOST_OF_KEYS = 3, 24  # that a name without a variant has, and their characters


def value_text(value: Any) -> str:
    """A parameter's value as YAML would have it, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def name_of(variant: str, parameters: Mapping[str, Any]) -> str:
    """What a person calls a candidate by: its variant, with whatever else varies.

    Without a variant it is the parameters, and where they are many or long, their values alone.
    """
    others = {key: value for key, value in parameters.items() if key not in _OF_VARIANT}
    if not variant and (len(others) > _MOST_KEYS or sum(map(len, others)) > _MOST_OF_KEYS):
        return "/".join(value_text(value) for value in others.values())
    extra = ", ".join(f"{key}={value_text(value)}" for key, value in sorted(others.items()))
    return f"{variant} ({extra})" if variant and extra else variant or extra


def varied(trials: Iterable[TrialRecord]) -> list[str]:
    """Dimensions in which trials differ, in the order in which they come."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for key, value in trial.dimensions.items():
            values.setdefault(key, set()).add(value_text(value))
    return [key for key, found in values.items() if len(found) > 1]


@dataclass(frozen=True)
class Epoch:
    """One epoch of a trial, counted from 1; accuracy as a fraction, over all validation images."""

    epoch: int
    accuracy: float
    loss: float | None  # of validation; None where a table has none
    train_loss: float | None
    seconds: float
    images: int = 0  # validation images that accuracy and loss were taken on
    at: float | None = None  # seconds since the sweep began, when the study learned of it
    correct: str | None = None  # of the last epoch: which images were right, see answers.py
    learning_rate: float | None = None  # of its last step; None where it was not recorded
    # The mean over classes, see answers.class_scores; None of earlier versions and most tables
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    sheet: str | None = None  # of the last epoch: classes and answers, see answers.pack_sheet
    ended: str = ""  # why the training ends with it before its full length
    image_size: int | None = None  # of training images, pixels; None where it was not recorded
    joules: float | None = None  # of what trained it, see gauges; None where that does not tell


@dataclass(frozen=True)
class TrialRecord:
    """One trial. A number that was not measured is absent or None, never zero."""

    number: int  # Optuna's; -1 for a candidate that was ruled out before any trial
    candidate: str  # hash of the variant and whatever else the sweep varies
    variant: str  # empty where a table brings parameters of its own
    parameters: dict[str, Any]  # what the space varied, by key
    state: str
    reason: str = ""  # why it is in this state; empty while it runs, or was interrupted
    curve: tuple[Epoch, ...] = ()
    validation_images: int = 0
    costs: dict[str, float] = field(default_factory=dict)  # names of metrics.COSTS
    pruned_at: int | None = None  # epochs: the rung, or where the budget ended
    seed: int = 0
    device: str = ""
    mode: str = ""  # in which the costs were measured
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # of training
    joules: float | None = None  # of the same epochs; None: not known of each
    on_front: bool = False
    occupied: float = 0.0  # seconds that it held a slot, from its starts to its last epochs
    inherited: int = 0  # epochs taken over from the trial that it continues
    lost: int = 0  # epochs trained without a place in the curve: one that diverged
    train_mode: str = ""  # of the training step whose memory was measured; empty: not known
    latency_passes: int = 0  # that the latency is the median of; 0: not known
    latency_rounds: int = 0  # of these passes, or processes that took turns; 0: not known
    half_width: float | None = None  # of the latency's interval of 95 %, a share; None: not known
    deviations: dict[str, float] = field(default_factory=dict)  # of costs' logs, between rounds
    # What it costs in modes beside its own, by name: a `Costing`, and the mode as ``asked``.
    also: dict[str, Any] = field(default_factory=dict)
    # Of a candidate that was trained to full length with several seeds
    seeds: int = 1  # of its complete trials
    means: dict[str, float] = field(default_factory=dict)  # of metrics.SHARES, over them
    # Standard error of the mean that is sought, from images and, once measured, seeds
    errors: dict[str, float] = field(default_factory=dict)
    repeat_of: int | None = None  # number of the first complete trial, which stands for all
    # What noise leaves open, of the trial that stands for its candidate; see study/uncertainty
    membership: float | None = None  # probability of being on the front
    knee_share: float | None = None  # probability of being its knee
    rivals: tuple[int, ...] = ()  # of a member of the front: see `read.rivals_of`

    @property
    def extras(self) -> dict[str, Any]:
        """What the space varied beside the variant, by key, sorted."""
        return {k: v for k, v in sorted(self.parameters.items()) if k not in _OF_VARIANT}

    @property
    def dimensions(self) -> dict[str, Any]:
        """What it is, by dimension: radix, cardinality and width of its variant, and the extras."""
        try:
            variant = vars(Variant.parse(self.variant))
        except ValueError:
            variant = {}
        return {**variant, **self.extras}

    @property
    def name(self) -> str:
        """What a person calls it by."""
        return name_of(self.variant, self.parameters)

    @property
    def stands(self) -> bool:
        """Whether it is complete and stands for its candidate, as a further seed does not."""
        return self.state == COMPLETE and self.repeat_of is None

    @property
    def is_whole(self) -> bool:
        """Whether it was trained to its end; also one that another device's limits rule out."""
        return self.state == COMPLETE or (self.state == INFEASIBLE and bool(self.curve))

    @property
    def own_curve(self) -> tuple[Epoch, ...]:
        """Epochs that it trained itself, without those taken over from another trial."""
        return self.curve[self.inherited :]

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
        """Standard error of that accuracy, from the images; see `metrics.accuracy_error`."""
        found = self.accuracy
        return None if found is None else accuracy_error(found, self.validation_images)

    @property
    def mean_accuracy(self) -> float | None:
        """Over the seeds of its candidate; of complete trials alone."""
        return self.means.get("accuracy")

    @property
    def mean_error(self) -> float | None:
        """Standard error of that mean."""
        return self.errors.get("accuracy")

    def mean(self, name: str) -> float | None:
        """A metric, of what has a mean over seeds that; None where it is not known."""
        return self.means.get(name, self.metric(name))

    def log_error(self, name: str) -> float:
        """Standard error of a cost's logarithm, between rounds: 0 where exact or not known."""
        deviation = self.deviations.get(name)
        return 0.0 if deviation is None else rounds_error(deviation, self.latency_rounds)

    def cost_error(self, name: str) -> float:
        """Standard error of a cost whose rounds were not recorded: 0 where it is not known.

        A latency is a median, of error 1.253 sigma / sqrt(n) over n passes; sigma is taken
        from the 95th percentile, which lies 1.645 sigma above a normal median. That takes passes
        for independent draws, and is too small.
        """
        median, p95 = self.costs.get("latency_ms"), self.costs.get("latency_p95_ms")
        if self.deviations or not median or p95 is None or not self.latency_passes:
            return 0.0
        share = 1.253 * (p95 - median) / 1.645 / self.latency_passes**0.5 / median
        return share * self.costs.get(name, 0.0) if name in _FROM_LATENCY else 0.0

    @property
    def costs_beside(self) -> dict[str, float]:
        """What was timed in other modes, as ``onnxruntime.latency_ms``, with its interval."""
        found: dict[str, float] = {}
        for mode, costing in self.also.items():
            costs = {n: v for n, v in costing["costs"].items() if n not in _OF_ANY_MODE}
            half = (costing.get("details") or {}).get("latency_half_width")
            if half is not None and "latency_ms" in costs:
                low, high = around(costs["latency_ms"], half)
                costs |= {"latency_low_ms": low, "latency_high_ms": high}
            found |= {f"{mode}.{name}": value for name, value in costs.items()}
        return found

    def metric(self, name: str) -> float | None:
        """A recorded metric by its name in metrics.METRICS; None where it is not known."""
        if name not in TRAINED:
            return self.costs.get(name)
        found: float | None = getattr(self.curve[-1], name) if self.curve else None
        return found


def per_gpu(gpus: float) -> int:
    """How many share a GPU that have so much of one each; 1 where none is shared."""
    return floor(1 / gpus + 1e-9) if 0 < gpus < 1 else 1


@dataclass(frozen=True)
class Driver:
    """A process that conducted a sweep, the first or one that resumed it.

    Attributes:
        begun: when its trials could begin, seconds since the sweep began.
        slots: trials that could train at once.
        gpus: of a slot.
    """

    begun: float
    slots: int
    gpus: float


@dataclass(frozen=True)
class Ending:
    """What ended a sweep, and what it saved by not training everything to its end.

    Attributes:
        reason: what ended it.
        untried: candidates that were never begun, since they promised too little.
        epochs: that these and paused trials did not train.
        seconds: of training, about, that those would have taken.
        lost: share of the hypervolume with them that the front has not: the mean and the 95th
            percentile of what their forecasts let expect; None where nothing was left out.
    """

    reason: str
    untried: int = 0
    epochs: int = 0
    seconds: float = 0.0
    lost: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A candidate that a sweep's file names, to be read in its order."""

    name: str
    candidate: str  # its identity
    published: dict[str, float]  # figures of others, by the names of metrics, in their units


@dataclass(frozen=True)
class Sweep:
    """A sweep as it stands."""

    name: str
    question: str  # line 1 of its file
    folder: str  # the run's
    config: dict[str, Any]  # resolved
    objectives: tuple[str, ...]
    trials: tuple[TrialRecord, ...]
    chosen: int | None = None  # number of the trial that stands for the front: see study/knee
    alike: tuple[int, ...] = ()  # on the front, not told from the knee in accuracy, but no cheaper
    rungs: tuple[int, ...] = ()  # epochs at which trials may be pruned
    budget: int = 0  # most training epochs that the sweep may spend
    started: str = ""  # ISO 8601, UTC
    seconds: float = 0.0  # spent by all drivers so far
    finished: bool = False
    at_work: bool = True  # whether a driver may be at work on it, where it is not finished
    command: str = ""  # that started it
    versions: dict[str, str] = field(default_factory=dict)
    costs_of: str = ""  # whose costs these are, where they are not the sweep's own
    limits: dict[str, float] = field(default_factory=dict)  # that its choice holds, see narrow
    weights: dict[str, float] = field(default_factory=dict)  # of objectives, in that choice
    images: str | None = None  # digest of the images; None where it was not taken
    names: str | None = None  # of their listing
    table: str | None = None  # digest of the table that is replayed
    warnings: tuple[str, ...] = ()  # of its images; in runs of earlier versions of costs, too
    cost_doubts: tuple[str, ...] = ()  # what makes its costs doubtful
    noise: tuple[str, ...] = ()  # what memberships account for: images, seeds
    seed_deviation: float | None = None  # of accuracy between seeds, pooled over candidates
    packing: str = ""  # how many trials share a GPU, where measured memory decided that
    drivers: tuple[Driver, ...] = ()  # none in virtual time, and in runs of earlier versions
    ending: Ending | None = None  # None of one at work, and of those of earlier versions
    rows: tuple[Row, ...] = ()  # in the order of its file

    @property
    def epochs(self) -> int:
        """Training epochs spent."""
        return sum(trial.epochs - trial.inherited + trial.lost for trial in self.trials)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes its numbers doubtful."""
        return (*self.warnings, *self.cost_doubts)

    @property
    def replayed(self) -> bool:
        """Whether its epochs come from a table of recorded curves, so that there are no weights."""
        return bool(self.config.get("trial", {}).get("name") == "table")

    @property
    def reported(self) -> str:
        """The trained metric that stands for the training: an objective, else accuracy."""
        return next((name for name in self.objectives if name in TRAINED), "accuracy")

    @property
    def sought_costs(self) -> list[str]:
        """The objectives that are costs, in their order."""
        return [name for name in self.objectives if name not in TRAINED]

    @property
    def own_costs(self) -> list[str]:
        """Names of the costs that a recorded table alone knows, sorted."""
        return sorted({n for trial in self.trials for n in trial.costs if n not in METRICS})

    @property
    def modes_beside(self) -> dict[str, str]:
        """Modes that were measured beside that of the objectives: device and mode, by name."""
        return {
            name: f"{found['device']}: {found['mode']}"
            for trial in self.trials
            for name, found in trial.also.items()
            if found["costs"]
        }

    @property
    def interrupted(self) -> bool:
        """Whether it is not finished, and nobody is at work on it."""
        return not self.finished and not self.at_work

    @cached_property
    def front(self) -> tuple[TrialRecord, ...]:
        """The Pareto front, the best in the first objective that is a cost first.

        By latency where no objective is a cost; a member of which that is not known comes last.
        """
        members = (trial for trial in self.trials if trial.on_front and trial.state == COMPLETE)
        return tuple(sorted(members, key=self.by_cost))

    def by_cost(self, trial: TrialRecord) -> tuple[float, int]:
        """By which trials are sorted: the first objective that is a cost, else latency."""
        name = next(iter(self.sought_costs), "latency_ms")
        value = trial.costs.get(name, nan)
        oriented = metric_of(name).sign * value
        return (oriented if isfinite(oriented) else inf, trial.number)

    @property
    def knee(self) -> int | None:
        """Number of the trial at the knee; None where a front is too small to have one."""
        return self.chosen if len(self.front) > MOST_WITHOUT_KNEE else None

    @property
    def rivals(self) -> tuple[int, ...]:
        """Trials within noise of the chosen one that cost no more."""
        return self._chosen.rivals if self._chosen else ()

    @property
    def knee_share(self) -> float | None:
        """Probability that the knee is the knee; None where there is none."""
        return self._chosen.knee_share if self._chosen else None

    @property
    def _chosen(self) -> TrialRecord | None:
        return next((trial for trial in self.front if trial.number == self.chosen), None)
