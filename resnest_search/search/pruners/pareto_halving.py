"""Asynchronous successive halving on Pareto rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from resnest_search.search.pareto import contributions, fronts

__all__ = ["ParetoHalvingPruner", "RungDecision"]


@dataclass(frozen=True)
class RungDecision:
    """What a rung decided on one trial, and on which grounds."""

    rung: int  # epochs
    kept: bool
    rank: int  # Pareto rank of the trial among those that reached the rung; 0 is the front
    fronts: int  # how many fronts there are
    reached: int  # trials that reached the rung, this one among them
    room: int  # how many of them the rung keeps

    @property
    def reason(self) -> str:
        """The decision in words."""
        return (
            f"Pareto rank {self.rank + 1} of {self.fronts} among {self.reached} trials, "
            f"room for {self.room}"
        )


class ParetoHalvingPruner(BasePruner):
    """Keeps the best ``1 / reduction_factor`` of the trials at each rung, by Pareto rank.

    Asynchronous successive halving (ASHA; Li et al., arXiv 1810.05934) with non-dominated
    sorting in place of one metric's order, as MO-ASHA has it (Schmucker et al.,
    arXiv 2106.12639). At a rung the trial is compared with every trial that has reached it,
    whatever became of that one since: the reported objective by its value at that rung, the
    others by their known costs. Within the last front that still fits, the larger
    hypervolume contribution is kept, then the smaller trial number. A trial that nobody has
    preceded is kept. NaN ranks last and is never kept.

    ``Trial.should_prune`` refuses multi-objective studies; call ``prune(study, trial)``.

    Args:
        first_rung: epochs before the first decision, at least 1.
        reduction_factor: at least 2; rungs lie at first_rung x reduction_factor^k.
        spare_front: never prune a trial that no other dominates at its rung, room or not:
            with costs among the objectives, a front wider than the rung is the front itself.
        epochs: a trial's full length; no decision is taken there or beyond.
        reported: name of the objective whose intermediate values the trials hold. The
            names of all objectives come from ``study.set_metric_names``, and the values of
            the others from each trial's user attributes of the same name, or by epoch from
            its user attribute ``curve``, a list of ``{"epoch": 1, "loss": 0.5}``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        first_rung: int = 1,
        reduction_factor: int = 3,
        spare_front: bool = False,
        *,
        epochs: int | None = None,
        reported: str = "accuracy",
    ) -> None:
        for name, value, least in (
            ("first_rung", first_rung, 1),
            ("reduction_factor", reduction_factor, 2),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value}")
        if not isinstance(spare_front, bool):
            raise ValueError(f"spare_front must be true or false, not {spare_front!r}")
        self._first = first_rung
        self._factor = reduction_factor
        self._spare = spare_front
        self._epochs = epochs
        self._reported = reported

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """The rungs below a full length of so many epochs."""
        found, rung = [], self._first
        while rung < epochs:
            found.append(rung)
            rung *= self._factor
        return tuple(found)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial, at the last epoch it reported, should go no further."""
        decision = self.decide(study, trial)
        return decision is not None and not decision.kept

    def decide(self, study: Study, trial: FrozenTrial) -> RungDecision | None:
        """The decision of the rung that the trial's last epoch stands on; None between rungs."""
        step = trial.last_step
        if step is None or step not in self.rungs(self._epochs or step + 1):
            return None
        rivals = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and step in other.intermediate_values
            and other.state != TrialState.FAIL
        ]
        trials = sorted([*rivals, trial], key=lambda t: t.number)
        points = np.array([self._point(study, other, step) for other in trials])
        index = [t.number for t in trials].index(trial.number)
        return _decide(points, index, step, self._factor, self._spare)

    def _point(self, study: Study, trial: FrozenTrial, step: int) -> list[float]:
        names = study.metric_names or [self._reported]
        return [
            sign * self._objective(name, trial, step)
            for sign, name in zip(_signs(study.directions), names, strict=True)
        ]

    def _objective(self, name: str, trial: FrozenTrial, step: int) -> float:
        if name == self._reported:
            return trial.intermediate_values[step]
        for entry in trial.user_attrs.get("curve", ()):  # a second trained objective
            if entry["epoch"] == step and name in entry:
                return float(entry[name])
        return float(trial.user_attrs.get(name, math.nan))


def _decide(
    points: NDArray[np.float64], index: int, rung: int, factor: int, spare_front: bool
) -> RungDecision:
    """The decision on ``points[index]`` among points, (n, m), all objectives minimised."""
    ranks = fronts(points)
    room = max(1, math.ceil(len(points) / factor))
    ahead = int((ranks < ranks[index]).sum())
    mates = np.flatnonzero(ranks == ranks[index])
    if np.isnan(points[index]).any():
        kept = False
    elif spare_front and ranks[index] == 0:
        kept = True
    elif ahead >= room:
        kept = False
    elif ahead + len(mates) <= room:
        kept = True
    else:
        order = np.argsort(-contributions(points[mates]), kind="stable")
        kept = index in mates[order[: room - ahead]]
    last = int(ranks[index])
    return RungDecision(rung, bool(kept), last, int(ranks.max()) + 1, len(points), room)


def _signs(directions: Sequence[StudyDirection]) -> list[float]:
    return [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
