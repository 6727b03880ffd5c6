"""What to train next, and whether a trial goes on: every decision of a sweep, without Ray.

All that it knows stands in the study, so that a strategy made anew after a kill decides
as the killed one would have.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from optuna.trial import FrozenTrial, TrialState

from resnest_search.configuration.schema import SearchConfig
from resnest_search.metrics import TRAINED
from resnest_search.search.bounds import Bounds
from resnest_search.search.ending import lost, saved
from resnest_search.search.named import first_candidates
from resnest_search.search.pool import Pool
from resnest_search.search.pruners import build_pruner
from resnest_search.search.repeats import wanted_repeat
from resnest_search.search.samplers import (
    KnownCostSampler,
    build_forecaster,
    build_sampler,
    nothing_left,
)
from resnest_search.search.situation import Goal, Situation
from resnest_search.space import Candidate, Space
from resnest_search.study.costing import Costing
from resnest_search.study.facts import (
    diverged,
    is_a_start,
    met_a_bound,
    spent,
)
from resnest_search.study.read import candidate_values
from resnest_search.study.record import Ending, Epoch
from resnest_search.study.study import (
    SweepStudy,
    curve_of,
    decision_on,
    directions_of,
    last_event,
    paused_because,
)

__all__ = ["Assignment", "Strategy"]


@dataclass(frozen=True)
class Assignment:
    """A trial to train from the epoch after its last checkpoint."""

    number: int
    candidate: Candidate
    seed: int
    continues: int | None = None  # the trial whose checkpoint it starts from
    since: float = 0.0  # seconds since the sweep began: when its epoch in flight was begun
    alone: bool = False  # it shares no device: beside others its memory was not enough


class Strategy:
    """Proposes, records, pauses and ends the trials of one study.

    A trial that sampler or pruner stop is paused: its checkpoint is kept, and it goes on when it
    has become worth it, or, where a budget is given, when nothing better is left. Without a
    budget the sweep is over when nothing is worth it any more. What is paused then is pruned.

    Args:
        study: the state.
        space: what varies.
        config: bounds and methods.
        costings: of every network of the space, by ``Candidate.network``.
        elapsed: seconds that earlier drivers of this sweep spent.
        clock: seconds now, for ``hours`` and for the moments that the study keeps.
        virtual: whether that clock stands still between drivers, so that an epoch that was in
            flight when one was killed costs nothing and is replayed whatever bound is met since.

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
        virtual: bool = False,
    ) -> None:
        self.study = study
        self._virtual = virtual
        self._space = space
        self._config = config
        self._pruner = build_pruner(
            config.pruner,
            objectives=config.objectives,
            reported=study.reported,
            epochs=config.epochs,
        )
        goal = Goal(tuple(config.objectives), study.reported, config.epochs)
        self._sampler = build_sampler(
            config.sampler,
            space,
            directions_of(config.objectives),
            self._values,
            config.seed,
            goal,
        )
        own = self._sampler if isinstance(self._sampler, KnownCostSampler) else None
        self._forecaster = own or build_forecaster(space, goal, config.seed)
        rungs = {*self._pruner.rungs(config.epochs), *self._sampler.rungs()}
        self.rungs = tuple(sorted(rungs))
        trials = study.trials()
        # A killed driver may have noted less: what happens next comes after what the study has.
        elapsed = max([elapsed, *(last_event(trial) for trial in trials)])
        self._clock = clock
        self._started = clock() - elapsed
        self._noted = elapsed  # seconds that the study knows of
        self._bounds = Bounds(study, config, lambda: self.elapsed)
        self._live: set[int] = set()  # trials that somebody trains now
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        self._paused = {t.number for t in running if paused_because(t)}
        self._interrupted = [t.number for t in running if t.number not in self._paused]
        self._sent_back: set[int] = set()  # interrupted by `alone`
        self._spent = sum(spent(trial) for trial in trials)
        continued = {trial.user_attrs.get("continues") for trial in trials}
        over = [t for t in trials if t.state == TrialState.PRUNED and t.number not in continued]
        self._stopped = [trial.number for trial in over if met_a_bound(trial)]
        self._ended = {trial.number for trial in over} - set(self._stopped)
        self._started_trials = sum(is_a_start(trial) for trial in trials)
        self._prior = [
            (space.candidate(entry["parameters"]), float(entry[study.reported]))
            for entry in study.notes.get("prior", ())
        ]
        self._pool = Pool(space, costings, {trial.user_attrs["candidate"] for trial in trials})
        self._first = first_candidates(space, config.first)
        self._exhausted = False
        self._enter_failures()
        self._restate(trials)

    @property
    def elapsed(self) -> float:
        """Seconds spent on this sweep by all its drivers."""
        return self._clock() - self._started

    @property
    def live(self) -> int:
        """How many trials are being trained."""
        return len(self._live)

    @property
    def next_is_alone(self) -> bool:
        """Whether the next trial shares its device with none."""
        return bool(self._interrupted) and self.is_alone(self._interrupted[0])

    def is_alone(self, number: int) -> bool:
        """Whether a trial shares its device with none: beside others its memory was not enough."""
        return "alone" in self.study.trial(number).user_attrs

    @property
    def started(self) -> int:
        """How many candidates were started; further seeds of one are none."""
        return self._started_trials

    @property
    def finished(self) -> bool:
        """Whether every trial is over and nothing is left to train, now or later."""
        return not (self._live or self._interrupted or self._paused) and self._nothing_is_left()

    def next(self) -> Assignment | None:
        """A trial to train, or None.

        First those that were interrupted, unless a bound is met by now, which stops them where
        they stand; then those that an earlier, smaller bound stopped,
        then the step that sampler and pruner find best: a new candidate, or a trial that was
        paused. Last, further seeds of the candidates that noise leaves in doubt.
        """
        while self._interrupted:
            number = self._interrupted.pop(0)
            if self._settled(number):
                continue
            reason = self._bounds.met(self._spent + len(self._live))
            if reason and not self._virtual:
                self._stop(number, self.study.trial(number).last_step or 0, reason)
                continue
            if number in self._sent_back:
                self._sent_back.discard(number)
                self.study.go_on(number, self._now())
            return self._assignment(number)
        # Nothing is begun with epochs that those at work need to come to their end.
        if self._bounds.met(self._spent + sum(map(self._bounds.left, self._live))):
            return None
        taken = self._taken(self._step())
        return None if taken is None else self._assignment(taken)

    def report(self, number: int, curve: Sequence[Epoch]) -> bool:
        """Enter the epochs of a trial that the study lacks; whether it goes on.

        Epochs are decided on in their order, so that a trial whose worker was ahead of a
        killed driver meets the rungs that it passed unseen.
        """
        known = self.study.trial(number).intermediate_values
        for epoch in curve:
            if epoch.epoch in known:
                continue
            if diverged(epoch):
                self._spent += 1
                # The epoch was trained, and has no place in a curve.
                self.study.set(number, "diverged", {"epoch": epoch.epoch, "at": self._now()})
                self.fail(number, _divergence(epoch.epoch))
                return False
            self._spent += 1
            entry = dataclasses.replace(epoch, at=self._now())
            decision = self._decide(number, entry)
            self.study.record(number, entry, decision)
            if not self._obeyed(number, entry, decision):
                return False
        return True

    def fail(self, number: int, reason: str) -> None:
        """End a trial that cannot be trained; without effect on one that is over."""
        if number in self._live:
            self._end(number, TrialState.FAIL, reason)

    def alone(self, number: int, reason: str) -> None:
        """Let a trial that lacked memory beside others go on next, alone, from its checkpoint."""
        self.study.set(number, "alone", reason)
        self._live.discard(number)
        self._sent_back.add(number)
        self._interrupted.insert(0, number)

    def waits(self, number: int) -> bool:
        """Whether a trial is paused."""
        return number in self._paused

    def settle(self) -> list[int]:
        """Prune what is paused once nothing is left to train; the numbers of those trials."""
        if self._live or self._interrupted or not self._paused or not self._nothing_is_left():
            return []
        ended = sorted(self._paused)
        enough = "" if self._bounds.met(self._spent) else self._enough(self._situation())
        for number in ended:
            trial = self.study.trial(number)
            self.study.set(number, "pruned_at", max(trial.intermediate_values))
            self._end(number, TrialState.PRUNED, enough or paused_because(trial))
            self._ended.add(number)
        return ended

    def ending(self) -> Ending:
        """What ended the sweep and what that left out, once it is finished."""
        situation = self._situation()
        bound, enough = self._bounds.met(self._spent), self._enough(situation)
        unused = self._pool.unused
        untried = len(unused) if unused else 0
        ended = [situation.trials[number] for number in sorted(self._ended)]
        aside = untried if enough and not bound and situation.may_start else 0
        left_out = dataclasses.replace(situation, waiting=ended, may_start=bool(aside))
        epochs, seconds = saved(ended, aside, situation.trials, self._config.epochs)
        return Ending(
            reason=bound or enough or self._all_tried(),
            untried=aside,
            epochs=0 if bound else epochs,  # a bound is spent, on whatever it is
            seconds=0.0 if bound else seconds,
            lost=None if bound else lost(self._forecaster, left_out),
        )

    def _all_tried(self) -> str:
        if self._pool.is_empty:
            return "every candidate was tried"
        if self._exhausted:
            return "no draw found another candidate"
        return f"all of search.trials={self._config.trials} were tried"

    # Deciding on an epoch

    def _decide(self, number: int, epoch: Epoch) -> dict[str, Any] | None:
        """What becomes of a trial after an epoch that the study does not have yet.

        Decided before it is entered, so that epoch and decision are one write: a decision
        once taken stands, whoever has come since.
        """
        if self._is_last(epoch):
            return None
        trial = self._with(self.study.trial(number), epoch)
        is_repeat = "repeat" in trial.user_attrs  # worth nothing before its end
        decision = None if is_repeat else self._judged(trial)
        if decision is not None and not decision["kept"]:
            return decision
        if reason := self._bound_met():
            return {"kept": False, "reason": reason, "by": "bound"}
        others = (self._live | set(self._interrupted)) - {number}
        if reason := self._bounds.reserved(number, others, self._spent):
            return {"kept": False, "reason": reason, "by": "reserve"}
        return decision

    def _is_last(self, epoch: Epoch) -> bool:
        return epoch.epoch >= self._config.epochs or bool(epoch.ended)

    def _judged(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """The decision of pruner and sampler; None where they have none to take."""
        found = self._pruner.explain(self.study.optuna, trial)
        if found is not None and not found.kept:
            return {"kept": False, "reason": found.reason, "by": "pruner"}
        if trial.last_step in self._sampler.rungs():
            chosen = self._sampler.explain(self._situation(trial), trial)
            if chosen is not None:
                return {"kept": chosen.kept, "reason": chosen.reason, "by": "sampler"}
        return None if found is None else {"kept": True, "reason": found.reason, "by": "pruner"}

    def _with(self, trial: FrozenTrial, epoch: Epoch) -> FrozenTrial:
        """The trial as it will be with this epoch."""
        ahead = copy.copy(trial)
        value = getattr(epoch, self.study.reported)
        ahead.intermediate_values = {**trial.intermediate_values, epoch.epoch: value}
        curve = [e for e in trial.user_attrs.get("curve", ()) if e["epoch"] != epoch.epoch]
        ahead.user_attrs = {**trial.user_attrs, "curve": [*curve, dataclasses.asdict(epoch)]}
        return ahead

    def _obeyed(self, number: int, epoch: Epoch, decision: Mapping[str, Any] | None) -> bool:
        """Do what was decided on a trial's last epoch; whether it goes on."""
        if self._is_last(epoch):
            self._complete(number, epoch)
            return False
        if decision is None or decision["kept"]:
            return True
        if decision["by"] == "bound":
            return not self._stopped_by_bound(number, epoch.epoch)
        at = self._now() if epoch.at is None else epoch.at
        self.study.pause(number, at, decision["reason"])
        self._live.discard(number)
        self._paused.add(number)
        return False

    def _stopped_by_bound(self, number: int, epoch: int) -> bool:
        reason = self._bound_met()
        if not reason:
            return False
        self._stop(number, epoch, reason)
        return True

    def _stop(self, number: int, epoch: int, reason: str) -> None:
        """End a trial at a bound; a resume with a larger one may continue it."""
        self.study.set(number, "bound", epoch)
        self.study.set(number, "pruned_at", epoch)
        self._end(number, TrialState.PRUNED, reason)

    def _complete(self, number: int, epoch: Epoch) -> None:
        trial = self.study.trial(number)
        values = [self._objective(trial, name, epoch) for name in self._config.objectives]
        reason = epoch.ended or f"trained all {epoch.epoch} epochs"
        self._end(number, TrialState.COMPLETE, reason, values)
        if "repeat" in trial.user_attrs:
            candidate = trial.user_attrs["candidate"]
            alike = [t for t in self.study.trials() if t.user_attrs["candidate"] == candidate]
            self._restate(alike)

    def _restate(self, trials: Sequence[FrozenTrial]) -> None:
        """Let the study show each candidate of several seeds once, with its means.

        Also of an earlier run, whose version did not, or that was killed just before.
        """
        for number, values in candidate_values(trials, self._config.objectives).items():
            if values is None:
                self.study.set_aside(number)
            else:
                self.study.restate(number, values)

    def _bound_met(self) -> str:
        """The bound that ends a trial after its epoch; empty for none."""
        # Every other trial at work is in the middle of an epoch that will be spent, and so is
        # one that was when a driver was killed.
        return self._bounds.met(self._spent + len(self._live | set(self._interrupted)) - 1)

    def _end(
        self, number: int, state: TrialState, reason: str, values: list[float] | None = None
    ) -> None:
        self.study.set(number, "state", _STATES[state])
        self.study.finish(number, state, reason, values)
        self._note_seconds()
        self._live.discard(number)
        self._paused.discard(number)

    def _note_seconds(self) -> None:
        """Keep the time that was spent, now and then: a kill costs no more than that."""
        if self.elapsed - self._noted >= _NOTE_EVERY_S:
            self._noted = self.elapsed
            self.study.note("seconds", round(self._noted, 1))

    def _settled(self, number: int) -> bool:
        """Do what a killed driver had decided on a trial and left undone; whether it rests now."""
        trial = self.study.trial(number)
        curve = curve_of(trial)
        begun = trial.user_attrs["segments"][-1]["from"]
        goes_on = True
        self._live.add(number)
        if "diverged" in trial.user_attrs:
            self.fail(number, _divergence(trial.user_attrs["diverged"]["epoch"]))
            goes_on = False
        elif curve and curve[-1].epoch > begun:  # else its last decision was carried out
            goes_on = self._obeyed(number, curve[-1], decision_on(trial, curve[-1].epoch))
        self._live.discard(number)
        return not goes_on

    # Choosing a step

    def _step(self) -> Candidate | int | None:
        """A new candidate, the number of a trial that goes on, or None."""
        if self._stopped:
            return self._stopped[0]
        situation = self._situation()
        if situation.may_start and (ahead := self._asked_first()) is not None:
            return ahead
        if self._enough(situation):
            return None
        step = self._sampler.step(situation)
        if step is None and situation.may_start and self._pool.unused is None:
            self._exhausted = True  # a space with a range in which no draw finds anything new
        return step

    def _asked_first(self) -> Candidate | None:
        """The next of ``search.first`` that has no trial; what a limit rules out has none."""
        return next((one for one in self._first if self._pool.allows(one)), None)

    def _taken(self, step: Candidate | int | None) -> int | None:
        """Take a step, or repeat what noise leaves in doubt; the trial's number."""
        if step is None:
            return self._repeat()
        return self._go_on(step) if isinstance(step, int) else self._start(step)

    def _situation(self, ahead: FrozenTrial | None = None) -> Situation:
        """Where the sweep stands, with one trial at work as it will be, were it to wait."""
        trials, numbers = self.study.trials(), self._paused | self._ended
        if ahead is not None:
            trials = [*trials]
            trials[ahead.number] = ahead
            numbers.add(ahead.number)
        paused = _Numbered(trials, sorted(numbers))

        @functools.cache
        def promoted() -> list[FrozenTrial]:
            chosen = self._pruner.promotable(self.study.optuna, list(paused)) if paused else []
            return [trials[number] for number in chosen]

        waiting: Sequence[FrozenTrial] = paused
        if self._config.budget is None and self._pruner.gives_up:
            # With a budget nothing is given up before that is spent; what the sampler itself
            # paused it may always take up again.
            chosen = {trial.number for trial in promoted()}
            waiting = [t for t in paused if t.number in chosen or _is_of_sampler(t)]
        return Situation(
            trials=trials,
            unused=self._pool.unused,
            allowed=self._pool.allows,
            costs=self._pool.costs,
            working=[trials[number] for number in sorted(self._live | set(self._interrupted))],
            waiting=waiting,
            promote=promoted,
            may_start=self._may_start(),
            prior=self._prior,
            affordable=self._affordable(ahead),
            tolerance=self._config.tolerance or 0.0,
        )

    def _enough(self, situation: Situation) -> str:
        """Why nothing that is left is worth its training; empty where something is."""
        is_left = situation.may_start or situation.waiting
        if self._stopped or not is_left or not situation.tolerance or self._forecaster is None:
            return ""
        if situation.may_start and self._asked_first() is not None:
            return ""
        share = self._forecaster.promised(situation)
        return nothing_left(share) if share < situation.tolerance else ""

    def _affordable(self, ahead: FrozenTrial | None) -> float:
        """Epochs of the budget that nobody at work needs, a trial that is judged aside."""
        if self._config.budget is None:
            return math.inf
        at_work = self._live | set(self._interrupted)
        if ahead is not None:
            at_work -= {ahead.number}
        return self._config.budget - self._spent - sum(map(self._bounds.left, at_work))

    def _nothing_is_left(self) -> bool:
        if self._bounds.met(self._spent):
            return True
        situation = self._situation()
        is_left = self._stopped or situation.may_start or situation.waiting
        if is_left and not self._enough(situation):
            return False
        return self._wanted_repeat() is None

    def _wanted_repeat(self) -> tuple[FrozenTrial, int, int] | None:
        """What noise wants trained again, once the front stands."""
        if not self._config.repeats:
            return None
        trials = self.study.trials()
        if any("repeat" not in trials[number].user_attrs for number in self._live):
            return None
        config = self._config
        return wanted_repeat(trials, config.objectives, config.repeats, config.seed)

    def _may_start(self) -> bool:
        config = self._config
        if config.trials is not None and self._started_trials >= config.trials:
            return False
        return not (self._pool.is_empty or self._exhausted)

    # Starting trials

    def _start(self, candidate: Candidate) -> int:
        self._started_trials += 1
        self._pool.take(candidate)
        return self.study.start(self._space, candidate, self._facts(candidate))

    def _repeat(self) -> int | None:
        """Start another seed of a candidate that noise leaves in doubt; None for none."""
        wanted = self._wanted_repeat()
        if wanted is None:
            return None
        first, count, seed = wanted
        candidate = self._space.candidate(first.params)
        further = {"seed": seed, "repeat": count}
        return self.study.start(self._space, candidate, {**self._facts(candidate), **further})

    def _go_on(self, number: int) -> int:
        if number in self._paused:
            self._paused.discard(number)
            self.study.go_on(number, self._now())
            return number
        # A finished trial cannot be reopened in Optuna: a new one takes over what it had.
        taken = self.study.take_over(number, self._now())
        self._ended.discard(number)
        self._stopped = [other for other in self._stopped if other != number]
        return taken

    def _facts(self, candidate: Candidate) -> dict[str, Any]:
        """What a trial holds from its beginning."""
        return {
            **self._pool.facts(candidate),
            "state": "running",
            "seed": self._config.seed,
            "segments": [{"at": self._now(), "from": 0}],
        }

    def _enter_failures(self) -> None:
        """What could not be measured is recorded as failed, once, and never trained."""
        for candidate, failure in list(self._pool.unmeasured()):
            facts = {**self._pool.facts(candidate), "seed": self._config.seed}
            facts |= {"phase": "measuring", "state": "failed", "reason": failure}
            self.study.start(self._space, candidate, facts, TrialState.FAIL)

    def _assignment(self, number: int) -> Assignment:
        self._live.add(number)
        trial = self.study.trial(number)
        facts = trial.user_attrs
        candidate = self._space.candidate(trial.params)
        return Assignment(
            number,
            candidate,
            facts["seed"],
            facts.get("continues"),
            last_event(trial),
            alone="alone" in facts,
        )

    # Values

    def _now(self) -> float:
        return round(self.elapsed, 6)

    def _objective(self, trial: FrozenTrial, name: str, epoch: Epoch) -> float:
        return float(getattr(epoch, name) if name in TRAINED else trial.user_attrs[name])

    def _values(self, trial: FrozenTrial) -> list[float] | None:
        """Objective values of a trial at the last epoch it trained, None where it trained none."""
        curve = curve_of(trial)
        if not curve:
            return None
        return [self._objective(trial, name, curve[-1]) for name in self._config.objectives]


class _Numbered(Sequence[FrozenTrial]):
    """Trials of these numbers, looked up when they are asked for: of thousands few are."""

    def __init__(self, trials: Sequence[FrozenTrial], numbers: Sequence[int]) -> None:
        self._trials = trials
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> FrozenTrial: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FrozenTrial]: ...
    def __getitem__(self, index: int | slice) -> FrozenTrial | Sequence[FrozenTrial]:
        if isinstance(index, slice):
            return _Numbered(self._trials, self._numbers[index])
        return self._trials[self._numbers[index]]


def _is_of_sampler(trial: FrozenTrial) -> bool:
    """Whether the sampler paused a trial."""
    decision = decision_on(trial, trial.last_step or 0)
    return decision is not None and decision.get("by") == "sampler"


def _divergence(epoch: int) -> str:
    return f"diverged: the loss of epoch {epoch} is not finite"


_NOTE_EVERY_S = 5.0
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
