"""Asynchronous successive halving on Pareto rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from resnest_search.search.pruners.base import PausingPruner
from resnest_search.search.pruners.rung import Point, Ranking, Rung, Rungs

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


class ParetoHalvingPruner(PausingPruner):
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
        self._rungs = Rungs()

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """The rungs below a full length of so many epochs."""
        found, rung = [], self._first
        while rung < epochs:
            found.append(rung)
            rung *= self._factor
        return tuple(found)

    def explain(self, study: Study, trial: FrozenTrial) -> RungDecision | None:
        """The decision of the rung that the trial's last epoch stands on; None between rungs."""
        step = trial.last_step
        if step is None or not self._is_judged(trial, step):
            return None
        with self._rung(study, step) as rung:
            rung.see(trial)
            return self._decide(rung, trial.number, step)

    def promotable(self, study: Study, paused: Sequence[FrozenTrial]) -> list[int]:
        """Those that their rung has room for by now; the furthest first, then by rank.

        ASHA's promotion: as more trials arrive, the room grows. Within a front the larger
        hypervolume contribution goes first. What was paused between rungs, by somebody
        else, goes on as well.
        """
        found: list[int] = []
        by_step: dict[int, list[FrozenTrial]] = {}
        for trial in paused:
            by_step.setdefault(trial.last_step or 0, []).append(trial)
        for step in sorted(by_step, reverse=True):
            is_rung = step in self.rungs(self._epochs or step + 1)
            here = [t for t in by_step[step] if is_rung and step > _taken_over(t)]
            if len(here) < len(by_step[step]):
                judged = {trial.number for trial in here}
                found += sorted(t.number for t in by_step[step] if t.number not in judged)
            if not here:
                continue
            with self._rung(study, step) as rung:
                for trial in here:
                    rung.see(trial)
                found += self._best(rung, {trial.number for trial in here})
        return found

    def _is_judged(self, trial: FrozenTrial, step: int) -> bool:
        """Whether this epoch is a rung that the trial has come to itself."""
        return step in self.rungs(self._epochs or step + 1) and step > _taken_over(trial)

    def _rung(self, study: Study, step: int) -> AbstractContextManager[Rung]:
        names = tuple(study.metric_names or [self._reported])
        signs = tuple(_signs(study.directions))

        def point(trial: FrozenTrial) -> Point | None:
            if step not in trial.intermediate_values or step <= _taken_over(trial):
                return None
            if "repeat" in trial.user_attrs:  # another seed of a candidate that is there already
                return None
            values = (self._objective(name, trial, step) for name in names)
            return tuple(sign * value for sign, value in zip(signs, values, strict=True))

        return self._rungs.updated(study, (step, names, signs), point)

    def _objective(self, name: str, trial: FrozenTrial, step: int) -> float:
        if name == self._reported:
            return trial.intermediate_values[step]
        for entry in trial.user_attrs.get("curve", ()):  # a second trained objective
            if entry["epoch"] == step and name in entry:
                return float(entry[name])
        return float(trial.user_attrs.get(name, math.nan))

    def _room(self, rung: Rung) -> int:
        return max(1, math.ceil(rung.reached / self._factor))

    def _decide(self, rung: Rung, number: int, step: int) -> RungDecision:
        ranking, room = rung.ranking, self._room(rung)
        fronts = ranking.fronts + bool(rung.unranked)
        if number in rung.unranked:
            return RungDecision(step, False, fronts - 1, fronts, rung.reached, room)
        rank = ranking.rank(number)
        kept = number in self._kept(ranking, rank, room - ranking.ahead(rank))
        return RungDecision(step, kept, rank, fronts, rung.reached, room)

    def _kept(self, ranking: Ranking, rank: int, room: int, ordered: bool = False) -> list[int]:
        """The trials that a front, with so much room left, keeps; best first where asked for."""
        front = ranking.front(rank)
        spared = (self._spare and rank == 0) or len(front) <= room
        if room <= 0 and not spared:
            return []
        if ordered or not spared:
            front = ranking.ordered(rank)
        return front if spared else front[:room]

    def _best(self, rung: Rung, numbers: set[int]) -> list[int]:
        """Those of the trials that a rung keeps, best first."""
        found: list[int] = []
        ranking, room = rung.ranking, self._room(rung)
        for rank in range(ranking.fronts):
            if room <= 0 and not (self._spare and rank == 0):
                break
            front = ranking.front(rank)
            if numbers.intersection(front):
                kept = self._kept(ranking, rank, room, ordered=True)
                found += [number for number in kept if number in numbers]
            room -= len(front)
        return found


def _taken_over(trial: FrozenTrial) -> int:
    """Epochs at which a trial stands in the place of the one that it continues, and is no other."""
    facts = trial.user_attrs
    return int(facts.get("inherited", 0)) if "continues" in facts else 0


def _signs(directions: Sequence[StudyDirection]) -> list[float]:
    return [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
