"""What to train next, and whether a trial goes on: every decision of a sweep, without Ray.

All that it knows stands in the study, so that a strategy made anew after a kill decides
as the killed one would have.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from resnest_search.metrics import TRAINED
from resnest_search.record import Epoch
from resnest_search.schema import SearchConfig
from resnest_search.search.costing import Costing
from resnest_search.search.pruners import ParetoHalvingPruner, build_pruner, rungs_of
from resnest_search.search.samplers import build_sampler
from resnest_search.search.space import Candidate, Space
from resnest_search.search.study import SweepStudy, curve_of, directions_of

__all__ = ["Assignment", "Strategy"]


@dataclass(frozen=True)
class Assignment:
    """A trial to train from the epoch after its last checkpoint."""

    number: int
    candidate: Candidate
    seed: int
    continues: int | None = None  # the trial whose checkpoint it starts from


class Strategy:
    """Proposes, records and prunes the trials of one study.

    Args:
        study: the state.
        space: what varies.
        config: bounds and methods.
        costings: of every network of the space, by ``Candidate.network``.
        elapsed: seconds that earlier drivers of this sweep spent.
        clock: seconds now, for ``hours``.

    Raises:
        UserError: sampler or pruner do not suit the space or the objectives.
    """

    def __init__(
        self,
        study: SweepStudy,
        space: Space,
        config: SearchConfig,
        costings: Mapping[str, Costing],
        *,
        elapsed: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self._space = space
        self._config = config
        self._costings = costings
        self._pruner = build_pruner(
            config.pruner,
            objectives=config.objectives,
            reported=study.reported,
            epochs=config.epochs,
        )
        self.rungs = rungs_of(self._pruner, config.epochs)
        self._sampler = build_sampler(
            config.sampler, space, directions_of(config.objectives), self._values, config.seed
        )
        self._clock = clock
        self._started = clock() - elapsed
        self._live: set[int] = set()  # trials that somebody trains now
        trials = study.trials()
        self._waiting = [t.number for t in trials if t.state == TrialState.RUNNING]
        self._spent = sum(_spent(trial) for trial in trials)
        continued = {trial.user_attrs.get("continues") for trial in trials}
        self._stopped = [t.number for t in trials if _met_a_bound(t) and t.number not in continued]
        self._started_trials = sum(
            t.user_attrs.get("phase") != "measuring" and "continues" not in t.user_attrs
            for t in trials
        )
        self._enter_failures(trials)
        self._unused = self._allowed(self.study.trials())

    @property
    def elapsed(self) -> float:
        """Seconds spent on this sweep by all its drivers."""
        return self._clock() - self._started

    @property
    def live(self) -> int:
        """How many trials are being trained."""
        return len(self._live)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train, now or later."""
        more = self._waiting or self._may_continue() or self._may_start()
        return not self._live and not more

    def next(self) -> Assignment | None:
        """A trial to train, or None.

        First those that were interrupted, then those that an earlier, smaller bound
        stopped, then new candidates.
        """
        while self._waiting:
            number = self._waiting.pop(0)
            if self._settled(number):
                continue
            self._live.add(number)
            return self._assignment(number)
        if self._may_continue():
            # A finished trial cannot be reopened in Optuna: a new one takes over what it had.
            number = self.study.take_over(self._stopped.pop(0))
        elif self._may_start():
            number = self._start(self._propose())
        else:
            return None
        self._live.add(number)
        return self._assignment(number)

    def report(self, number: int, curve: Sequence[Epoch]) -> bool:
        """Enter the epochs of a trial that the study lacks; whether it goes on.

        Epochs are decided on in their order, so that a trial whose worker was ahead of a
        killed driver meets the rungs that it passed unseen.
        """
        known = self.study.trial(number).intermediate_values
        for epoch in curve:
            if epoch.epoch in known:
                continue
            if not (math.isfinite(epoch.loss) and math.isfinite(epoch.train_loss)):
                self.study.set(number, "unrecorded", 1)  # it was trained, and has no place
                self._spent += 1
                self.fail(number, f"diverged: the loss of epoch {epoch.epoch} is not finite")
                return False
            self.study.record(number, epoch)
            self._spent += 1
            if not self._goes_on(number, epoch):
                return False
        return True

    def fail(self, number: int, reason: str) -> None:
        """End a trial that cannot be trained; without effect on one that is over."""
        if number in self._live:
            self._end(number, TrialState.FAIL, reason)

    # Ending trials

    def _goes_on(self, number: int, epoch: Epoch) -> bool:
        if epoch.epoch >= self._config.epochs:
            self._complete(number, epoch)
            return False
        if reason := self._pruned(number, epoch.epoch):
            self.study.set(number, "pruned_at", epoch.epoch)
            self._end(number, TrialState.PRUNED, reason)
            return False
        return not self._stopped_by_bound(number, epoch.epoch)

    def _stopped_by_bound(self, number: int, epoch: int) -> bool:
        reason = self._out_of_bounds()
        if not reason:
            return False
        self.study.set(number, "bound", epoch)  # a resume with a larger one may continue it
        self.study.set(number, "pruned_at", epoch)
        self._end(number, TrialState.PRUNED, reason)
        return True

    def _complete(self, number: int, epoch: Epoch) -> None:
        trial = self.study.trial(number)
        values = [self._objective(trial, name, epoch) for name in self._config.objectives]
        self._end(number, TrialState.COMPLETE, f"trained all {epoch.epoch} epochs", values)

    def _pruned(self, number: int, epoch: int) -> str:
        """The pruner's reason against the trial, empty where it goes on."""
        trial = self.study.trial(number)
        decisions: dict[str, Any] = trial.user_attrs.get("rungs", {})
        if str(epoch) not in decisions:  # a decision once taken stands, whoever has come since
            decided = self._decide(trial, epoch)
            if decided is None:
                return ""
            decisions = {**decisions, str(epoch): decided}
            self.study.set(number, "rungs", decisions)
        decided = decisions[str(epoch)]
        return "" if decided["kept"] else str(decided["reason"])

    def _decide(self, trial: FrozenTrial, epoch: int) -> dict[str, Any] | None:
        if isinstance(self._pruner, ParetoHalvingPruner):
            decision = self._pruner.decide(self.study.optuna, trial)
            if decision is None:
                return None
            return {"kept": decision.kept, "reason": decision.reason}
        if not self._pruner.prune(self.study.optuna, trial):
            return None
        return {"kept": False, "reason": type(self._pruner).__name__}

    def _out_of_bounds(self) -> str:
        # Every other live trial is in the middle of an epoch that will be spent.
        committed = self._spent + len(self._live) - 1
        budget, hours = self._config.budget, self._config.hours
        if budget is not None and committed >= budget:
            return f"the budget of {budget} epochs is spent"
        if hours is not None and self.elapsed >= hours * 3600:
            return f"the limit of {hours:g} hours is reached"
        return ""

    def _end(
        self, number: int, state: TrialState, reason: str, values: list[float] | None = None
    ) -> None:
        self.study.set(number, "state", _STATES[state])
        self.study.finish(number, state, reason, values)
        self.study.note("seconds", round(self.elapsed, 1))
        self._live.discard(number)

    def _settled(self, number: int) -> bool:
        """Decide what a killed driver left undecided at a trial's last epoch; whether it ended."""
        curve = self.study.curve(number)
        self._live.add(number)
        last = curve[-1] if curve else None
        ended = not self._goes_on(number, last) if last else self._stopped_by_bound(number, 0)
        self._live.discard(number)
        return ended

    # Starting trials

    def _may_start(self) -> bool:
        config = self._config
        if config.trials is not None and self._started_trials >= config.trials:
            return False
        return self._within_bounds() and (self._unused is None or bool(self._unused))

    def _may_continue(self) -> bool:
        return bool(self._stopped) and self._within_bounds()

    def _within_bounds(self) -> bool:
        budget, hours = self._config.budget, self._config.hours
        if budget is not None and self._spent + len(self._live) >= budget:
            return False
        return hours is None or self.elapsed < hours * 3600

    def _allowed(self, trials: Sequence[FrozenTrial]) -> dict[str, Candidate] | None:
        """Candidates of a finite space that no trial has and that nothing rules out."""
        if self._space.candidates is None:
            return None
        used = {trial.user_attrs["candidate"] for trial in trials}
        return {
            candidate.identity: candidate
            for candidate in self._space.candidates
            if candidate.identity not in used and not self._ruled_out(candidate)
        }

    def _ruled_out(self, candidate: Candidate) -> bool:
        costing = self._costings[candidate.network]
        return bool(costing.failure or costing.infeasible)

    def _propose(self) -> Candidate:
        trials = self.study.trials()
        candidate = self._sampler.propose(
            len(trials), trials, self._unused, self._is_allowed, self._latency
        )
        if self._unused is not None:
            del self._unused[candidate.identity]
        return candidate

    def _is_allowed(self, candidate: Candidate) -> bool:
        if self._unused is not None:
            return candidate.identity in self._unused
        return not self._ruled_out(candidate)

    def _latency(self, candidate: Candidate) -> float:
        return self._costings[candidate.network].costs.get("latency_ms", math.inf)

    def _start(self, candidate: Candidate) -> int:
        self._started_trials += 1
        return self.study.start(self._space, candidate, self._facts(candidate))

    def _facts(self, candidate: Candidate) -> dict[str, Any]:
        costing = self._costings[candidate.network]
        return {
            "candidate": candidate.identity,
            "variant": str(candidate.variant),
            "parameters": dict(candidate.parameters),
            "state": "running",
            "seed": self._config.seed,
            "device": costing.device,
            "mode": costing.mode,
            **costing.costs,
            **(costing.details or {}),
        }

    def _enter_failures(self, trials: Sequence[FrozenTrial]) -> None:
        """What could not be measured is recorded as failed, once, and never trained."""
        known = {trial.user_attrs["candidate"] for trial in trials}
        for candidate in self._space.candidates or ():
            failure = self._costings[candidate.network].failure
            if failure and candidate.identity not in known:
                facts = {**self._facts(candidate), "phase": "measuring"}
                facts |= {"state": "failed", "reason": failure}
                self.study.start(self._space, candidate, facts, TrialState.FAIL)

    def _assignment(self, number: int) -> Assignment:
        trial = self.study.trial(number)
        facts = trial.user_attrs
        candidate = self._space.candidate(trial.params)
        return Assignment(number, candidate, facts["seed"], facts.get("continues"))

    # Values

    def _objective(self, trial: FrozenTrial, name: str, epoch: Epoch) -> float:
        return float(getattr(epoch, name) if name in TRAINED else trial.user_attrs[name])

    def _values(self, trial: FrozenTrial) -> list[float] | None:
        """Objective values of a trial at the last epoch it trained, None where it trained none."""
        curve = curve_of(trial)
        if not curve:
            return None
        return [self._objective(trial, name, curve[-1]) for name in self._config.objectives]


def _met_a_bound(trial: FrozenTrial) -> bool:
    """Whether budget or hours ended this trial, and not a rung of a later driver."""
    facts = trial.user_attrs
    bound = facts.get("bound")
    return trial.state == TrialState.PRUNED and bound is not None and bound == facts["pruned_at"]


def _spent(trial: FrozenTrial) -> int:
    """Epochs trained for this trial: not those it took over, but one that diverged."""
    facts = trial.user_attrs
    inherited, unrecorded = int(facts.get("inherited", 0)), int(facts.get("unrecorded", 0))
    return len(trial.intermediate_values) - inherited + unrecorded


_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
