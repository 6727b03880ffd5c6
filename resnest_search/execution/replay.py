"""Trials of a table as Ray Tune runs them: each step is an epoch, and takes no time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.tune import Trainable

from resnest_search.search import Assignment
from resnest_search.simulation.table import Table
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy

__all__ = ["Replay", "ReplayTrainable", "replays"]


@dataclass(frozen=True)
class Replay:
    """A trial and the epochs that it is going to find out."""

    number: int
    curve: tuple[Epoch, ...]


def replays(table: Table, study: SweepStudy) -> Callable[[Assignment], Replay]:
    """What turns an assignment into a replay from the epoch after its last one."""

    def make(assignment: Assignment) -> Replay:
        done = len(study.curve(assignment.number))
        curve = table.curve(assignment.candidate, assignment.seed)
        return Replay(assignment.number, curve[done:])

    return make


class ReplayTrainable(Trainable):
    """Reports the ``run`` of its config, a `Replay`, and is reused for the next one."""

    def setup(self, config: dict[str, Any]) -> None:
        self._left = iter(config["run"].curve)

    def step(self) -> dict[str, Any]:
        return {"curve": [dataclasses.asdict(next(self._left))], "note": "", "failure": ""}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True
