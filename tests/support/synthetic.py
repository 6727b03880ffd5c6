"""Sweeps whose trainings are formulas: spaces, costs, curves, and workers that only pretend."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from resnest_search.configuration.schema import MethodConfig, ModelConfig, SearchConfig
from resnest_search.metrics import COSTS
from resnest_search.search import Assignment, Strategy
from resnest_search.space import Candidate, Space
from resnest_search.study.costing import Costing
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy

SMALL = ModelConfig(depths=[1, 1], planes=[32, 64])
OBJECTIVES = ["accuracy", "latency_ms", "memory_mib"]
SIX = ["1s1x32d", "2s1x32d", "2s2x16d", "1s1x64d", "2s2x40d", "4s1x64d"]

Curve = Callable[[Candidate, int], Epoch]


def make_space(**choices: Any) -> Space:
    return Space(choices or {"variant": SIX}, SMALL)


def make_config(**changes: Any) -> SearchConfig:
    """Rungs at epochs 1 and 2 of 4, in the order of the sweep, unless told otherwise."""
    defaults: dict[str, Any] = {
        "objectives": list(OBJECTIVES),
        "epochs": 4,
        "sampler": MethodConfig("grid"),
        "pruner": MethodConfig("pareto_halving", {"first_rung": 1, "reduction_factor": 2}),
    }
    return SearchConfig(**{**defaults, **changes})


def costs_of(candidate: Candidate) -> dict[str, float]:
    """Costs that grow with the variant, each a little differently."""
    variant = candidate.variant
    load = variant.cardinality * variant.width / 64
    latency = 1 + load + 0.3 * variant.radix + 0.05 * variant.cardinality
    figures = {name: load + index for index, name in enumerate(COSTS)}
    return {**figures, "latency_ms": latency, "memory_mib": 2 + load * (1 + 0.2 * variant.radix)}


def make_costings(
    space: Space, failed: Sequence[str] = (), infeasible: Sequence[str] = ()
) -> dict[str, Costing]:
    """Costs of every network; the named variants could not be measured, or break a limit."""
    found = {}
    for candidate in space.networks:
        name = str(candidate.variant)
        if name in failed:
            costing = Costing({}, failure="not measured: out of memory")
        else:
            broken = "latency_ms above the limit" if name in infeasible else ""
            costing = Costing(costs_of(candidate), "a device", "a mode", infeasible=broken)
        found[candidate.network] = costing
    return found


def learns(candidate: Candidate, epoch: int) -> Epoch:
    """A curve that rises at the candidate's own rate to its own height: curves cross."""
    draw = random.Random(candidate.identity)
    height, rate = draw.uniform(0.6, 0.95), draw.uniform(0.3, 1.5)
    accuracy = height * (1 - math.exp(-rate * epoch))
    return Epoch(epoch, accuracy, 1 - accuracy, 1.1 - accuracy, 0.5, 360)


def diverges_at(variant: str, at: int) -> Curve:
    """As ``learns``, but the loss of one variant is NaN from an epoch on."""

    def curve(candidate: Candidate, epoch: int) -> Epoch:
        entry = learns(candidate, epoch)
        if str(candidate.variant) == variant and epoch >= at:
            return Epoch(epoch, entry.accuracy, math.nan, math.nan, 0.5, 360)
        return entry

    return curve


class Workers:
    """Train what the strategy hands out, some at once, an epoch at a time in a random order.

    ``checkpoints`` is what lies on the disk: the epochs trained of each trial. A worker that
    finds one sends the whole curve first, as real workers do.
    """

    def __init__(
        self,
        strategy: Strategy,
        curve: Curve = learns,
        count: int = 1,
        checkpoints: dict[int, list[Epoch]] | None = None,
        seed: int = 0,
    ) -> None:
        self.strategy = strategy
        self.checkpoints = {} if checkpoints is None else checkpoints
        self.trained: list[tuple[int, int]] = []  # (trial, epoch), each time that one is trained
        self.order: list[Candidate] = []  # as they were handed out first
        self._begun: set[int] = set()
        self._curve = curve
        self._count = count
        self._random = random.Random(seed)
        self._busy: list[tuple[Assignment, list[int]]] = []  # with the number of epochs sent

    def run(self, reports: int | None = None) -> Workers:
        """Work until nothing is left, or until so many reports were made."""
        while (reports is None or reports > 0) and self._step():
            reports = None if reports is None else reports - 1
        return self

    def _step(self) -> bool:
        while len(self._busy) < self._count and (given := self.strategy.next()) is not None:
            self._busy.append((given, [0]))
            if given.number not in self._begun and given.continues is None:
                self.order.append(given.candidate)
            self._begun.add(given.number)
            if given.continues is not None and given.number not in self.checkpoints:
                # its checkpoint is handed over
                self.checkpoints[given.number] = list(self.checkpoints.get(given.continues, []))
        if not self._busy:
            self.strategy.settle()
            return False
        index = self._random.randrange(len(self._busy))
        assignment, sent = self._busy[index]
        disk = self.checkpoints.setdefault(assignment.number, [])
        if sent[0] == len(disk):
            disk.append(self._curve(assignment.candidate, len(disk) + 1))
            self.trained.append((assignment.number, len(disk)))
        fresh, sent[0] = disk[sent[0] :], len(disk)
        if not self.strategy.report(assignment.number, fresh):
            del self._busy[index]
        return True


def make_strategy(
    study: SweepStudy | None = None,
    space: Space | None = None,
    config: SearchConfig | None = None,
    **others: Any,
) -> Strategy:
    """A strategy over an in-memory study unless another is given."""
    space = space or make_space()
    config = config or make_config()
    study = study or SweepStudy.create(None, config.objectives)
    return Strategy(study, space, config, others.pop("costings", make_costings(space)), **others)


def everything(study: SweepStudy) -> list[tuple[Any, ...]]:
    """All that a study says of its trials, but for the moments at which it was said."""
    return [_facts(trial) for trial in study.trials()]


def _facts(trial: FrozenTrial) -> tuple[Any, ...]:
    return (
        trial.number,
        trial.state.name,
        trial.values,
        trial.params,
        trial.intermediate_values,
        timeless(trial.user_attrs),
    )


def timeless(facts: Any) -> Any:
    """Facts without the moments that a real clock gave them."""
    if isinstance(facts, dict):
        return {key: timeless(value) for key, value in facts.items() if key != "at"}
    return [timeless(value) for value in facts] if isinstance(facts, list) else facts
