"""The step that promises most hypervolume for its training time, with every cost known."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from resnest_search.pareto import hypervolume, non_dominated
from resnest_search.search.forecast.climbs import Climb, Climbs
from resnest_search.search.forecast.improvement import Claims, Front, beats
from resnest_search.search.forecast.ladder import Ladder, rungs_of
from resnest_search.search.forecast.outlook import Outlook, Prospect
from resnest_search.search.forecast.process import even_share
from resnest_search.search.situation import Goal, Sampler, Situation, Verdict
from resnest_search.space import Candidate, Space

__all__ = ["MOST_COSTS", "KnownCostSampler", "nothing_left"]

MOST_COSTS = 10  # objectives, of which even two points make very many cells

Array = NDArray[np.float64]
_MOST = 1000  # steps that are weighed at once
_MOST_WAITING = 500  # of them trials that wait
_DRAWS = 256  # of a space with a range
_SEEN = 100  # last trials that the seconds of an epoch are learned from
_MARGIN = 0.1  # of the range beyond the worst, where hypervolume begins
_MOST_CELLS = 1_000_000  # beyond which the front is thinned: four costs and more
_MOST_COLUMNS = 2000  # the same of five costs and more
_PLANE = 2  # costs whose cells are found at once
_TELLING = 3  # finished trials, before which the scale of values is a guess
_FINEST = 1e-4  # share of the hypervolume that is shown
_MANY = 100  # times, beyond which nobody wants to know
_LITTLE = 0.1  # of the epochs so far, for which what is left is looked at before it is given up
_MANY_COSTS = 4
_WORLDS = 500  # draws of what all that was left out would have ended at
_BATCH = 64  # steps that are weighed at once


@dataclass(frozen=True)
class _Step:
    """A step that could be taken next."""

    climb: Climb
    seconds: float  # of training until its last epoch
    left: int  # epochs until then
    candidate: Candidate | None = None  # a new one
    number: int | None = None  # of a trial that waits

    @property
    def taken(self) -> Candidate | int | None:
        """What is trained where it is taken."""
        return self.number if self.candidate is None else self.candidate


@dataclass(frozen=True)
class _Scores:
    """What steps are worth.

    Attributes:
        share: expected growth of the hypervolume, of that so far, (n,); infinite before enough
            has finished to tell.
        rates: of the growth for the price, up to a common factor, (n,).
    """

    share: Array
    rates: Array


@dataclass(frozen=True)
class _Weighed:
    """What was weighed for a trial that then waits: the next step is the best of it.

    Attributes:
        climbs: what was known.
        standing: see `_standing`.
        best: of the steps.
    """

    climbs: Climbs
    standing: tuple[Any, ...]
    best: _Step

    def is_of(self, climbs: Climbs, situation: Situation) -> bool:
        """Whether weighing again would come to the same."""
        return climbs is self.climbs and _standing(situation) == self.standing


class _Likely(NamedTuple):
    """What n candidates will end at, normal, more is better, with their costs, (n, m)."""

    mean: Array
    deviation: Array
    costs: Array

    def take(self, rows: NDArray[np.int64]) -> _Likely:
        """Some of them."""
        return _Likely(self.mean[rows], self.deviation[rows], self.costs[rows])


@dataclass(frozen=True)
class _Field:
    """What steps are weighed on.

    Attributes:
        steps: each of them.
        working: trials at work.
        finals, known: values of all that has ended, (e,), and its costs, (e, m).
        best: indices of what of it is the front, (k,).
        front: of these.
        reference: value at which the hypervolume begins.
        limits: costs at which it ends, (m,).
    """

    steps: _Likely
    working: _Likely
    finals: Array
    known: Array
    best: NDArray[np.int64]
    front: Front
    reference: float
    limits: Array

    @property
    def volume(self) -> float:
        """The hypervolume so far."""
        points = np.column_stack([-self.finals, self.known])
        return hypervolume(points, np.concatenate([[-self.reference], self.limits]))

    def gains(self) -> _Bounded:
        """Expected growth of the hypervolume by each step, whatever those at work may end at."""
        bounds = self.front.most(*self.steps)

        def alone(rows: NDArray[np.int64]) -> Array:
            return self.front.gains(*self.steps.take(rows))

        if not len(self.working.mean):
            return _Bounded(bounds, alone)
        front = self.finals[self.best], self.known[self.best]
        lowest = self.steps.costs.min(axis=0)
        claims = Claims(front, self.working, lowest, self.reference, self.limits)
        return _Bounded(bounds, lambda rows: alone(rows) * claims.left(*self.steps.take(rows)))


class _Bounded:
    """Values of 0 or more, of which the best are wanted, each found only where its bound leaves it
    a chance.

    Args:
        bounds: what each is at most, (n,).
        find: takes indices to values.

    Attributes:
        values: (n,); -inf where they are not known.
    """

    def __init__(self, bounds: Array, find: Callable[[NDArray[np.int64]], Array]) -> None:
        self._bounds = bounds
        self._find = find
        self.values = np.where(bounds > 0, -math.inf, 0.0)

    def settle(self, chosen: NDArray[np.int64]) -> None:
        """Find these."""
        missing = chosen[np.isneginf(self.values[chosen])]
        if len(missing):
            self.values[missing] = self._find(missing)

    def best(self, weights: Array, number: int) -> NDArray[np.int64]:
        """Indices of so many of the best by value times weight, the best first."""
        bounds = self._bounds * weights
        order = np.argsort(-bounds, kind="stable")
        for end in range(_BATCH, len(order) + _BATCH, _BATCH):
            self.settle(order[end - _BATCH : end])
            if end >= len(order) or bounds[order[end]] <= 0:
                break
            known = self.values[order[:end]] * weights[order[:end]]
            if np.sum(known > bounds[order[end]]) >= number:
                break
        known = np.full(len(order), -math.inf)
        settled = ~np.isneginf(self.values)
        known[settled] = self.values[settled] * weights[settled]
        return np.argsort(-known, kind="stable")[:number]


class KnownCostSampler(Sampler):
    """Weighs new candidates against trials under way by what each promises for its price.

    Latency and memory are measured before the first epoch, so that only the trained value of
    a candidate is uncertain. Its distribution comes from the looks at all trials so far (see
    ``Ladder``), the expected hypervolume improvement from that in closed form,
    and the price is the training that is left until the candidate's last epoch. The
    improvement is the mean over what the trials of other workers may end at, so that
    parallel workers neither all go after the same gap nor count on it being filled (the
    expected improvement of parallel searches: Ginsbourger et al., 2010; Snoek et al., 2012).

    A trial that gets to a rung is weighed in the same way, and pauses where another step
    promises more (freeze-thaw: Swersky et al., 2014).

    The more of all candidates can be trained at once, the less time an order of theirs saves:
    with a share ``a`` of them at work, the price counts to the power of ``1 - a``.

    Args:
        space: what varies.
        goal: what is sought.
        seed: of the draws where a space cannot be listed.
        price: ``epochs`` that are left, or ``seconds`` of training.
        pausing: whether a trial may wait; else what is begun is trained to its end.

    Raises:
        ValueError: the price is neither.
    """

    def __init__(
        self, space: Space, goal: Goal, seed: int, *, price: str = "epochs", pausing: bool = True
    ) -> None:
        if price not in ("seconds", "epochs"):
            raise ValueError(f"price must be seconds or epochs, not {price}")
        if not isinstance(pausing, bool):
            raise ValueError(f"pausing must be true or false, not {pausing}")
        self._space = space
        self._goal = goal
        self._seed = seed
        self._price = price
        self._pausing = pausing
        self._outlook = Outlook(goal, space.distributions)
        self._ladder: Ladder | None = None  # once the candidates are known
        self._fresh: dict[str, _Step] = {}  # new candidates, of which at most the price changes
        self._waiting: dict[int, tuple[FrozenTrial, _Step]] = {}  # trials that wait, or did
        self._extremes: tuple[Array, ...] = ()  # see `_span`, once the ladder is known
        # The last front, by what it is of, and which trials are that.
        self._front: tuple[tuple[bytes, ...], NDArray[np.int64], Front] | None = None
        self._read: tuple[Situation, Climbs] | None = None  # what the last decision was made on
        self._weighed: _Weighed | None = None  # lately, for a trial that waits since

    def rungs(self) -> tuple[int, ...]:
        """See Sampler."""
        return rungs_of(self._goal.epochs)[:-1] if self._pausing else ()

    def step(self, situation: Situation) -> Candidate | int | None:
        """The step that promises most: a new candidate, or the number of a trial that waits."""
        if self._weighed and self._weighed.is_of(self._climbs(situation), situation):
            return self._weighed.best.taken
        steps = self._steps(situation)
        within = [step for step in steps if step.left <= situation.affordable]
        steps = within or steps  # what cannot be finished is better than nothing
        if not steps:
            return None
        new = np.array([step.candidate is not None for step in steps])
        scores = self._scores(steps, situation, new=new)
        order = scores.rates
        if scores.share.max() < situation.tolerance and new.any():
            order = np.where(new, scores.share, -1.0)  # a last look at what nobody has seen
        return steps[int(np.argmax(order))].taken

    def explain(self, situation: Situation, trial: FrozenTrial) -> Verdict | None:
        """Whether a trial goes on from a rung, or another step promises more."""
        # Before anything is whole nobody knows what a look is worth, and several workers would
        # begin more and more.
        if not any(other.state == TrialState.COMPLETE for other in situation.trials):
            return None
        steps = [
            step
            for step in self._steps(situation)
            if step.left <= situation.affordable or step.number == trial.number
        ]
        own = next((i for i, step in enumerate(steps) if step.number == trial.number), len(steps))
        among = own < len(steps)
        if not among:
            steps.append(self._of_trial(trial, situation, self._seconds(situation.trials)))
        scores = self._scores(steps, situation, own)
        rates = scores.rates
        if scores.share[own] < situation.tolerance:
            return Verdict(False, f"promises {_percent(scores.share[own])}")
        other = steps[int(np.argmax(rates))]
        if rates.max() <= rates[own]:
            return Verdict(True, "no other step promises more for its training")
        if among and math.isinf(situation.affordable):  # else the next step weighs others
            standing = _standing(situation, judged=trial.number)
            self._weighed = _Weighed(self._climbs(situation), standing, other)
        name = f"trial {other.number}" if other.candidate is None else other.candidate.in_words
        more = _times(rates.max(), rates[own])
        return Verdict(False, f"{name} promises {more} for its training")

    def promised(self, situation: Situation) -> float:
        """The most that any step is expected to add, as a share of the hypervolume so far.

        Without bound where a look at all that was never begun costs little beside what was spent:
        nothing is given up unseen then.
        """
        if self._unseen(situation):
            return math.inf
        for every in (False, True):  # nothing ends before all that waits has been weighed
            steps = self._steps(situation, every)
            share = float(self._scores(steps, situation).share.max()) if steps else 0.0
            if share >= situation.tolerance or len(situation.waiting) <= _MOST_WAITING:
                break
        return share

    def _unseen(self, situation: Situation) -> bool:
        """Whether candidates wait for a first look that costs little."""
        rungs = self.rungs()
        if not rungs or not situation.may_start or not situation.unused:
            return False
        spent = sum(len(trial.intermediate_values) for trial in situation.trials)
        return len(situation.unused) * rungs[0] <= _LITTLE * spent

    def missed(self, situation: Situation) -> Array:
        """What the steps that are left would add if all were taken, over draws of their ends.

        Returns:
            Shares of the hypervolume that the front would have with them, (draws,); none before
            anything has finished, where nothing is left, or where only some of it is weighed.
        """
        if situation.may_start and (situation.unused is None or len(situation.unused) > _MOST):
            return np.empty(0)
        steps = self._steps(situation, every=True)
        ladder = self._known(situation)
        climbs = self._climbs(situation)
        finals, known = _finished(climbs)
        if not steps or not len(finals):
            return np.empty(0)
        mean, deviation = ladder.chain(climbs).forecast([step.climb for step in steps])
        costs = np.array([step.climb.prospect.costs for step in steps])
        reference, limits = _corner(np.append(finals, mean), np.vstack([known, costs]))
        corner = np.concatenate([[-reference], limits])
        points = np.column_stack([-finals, known])
        whole, least = hypervolume(points, corner), beats(costs, finals, known)
        rng = np.random.default_rng([self._seed, len(situation.trials), len(finals)])
        # Of many costs a hypervolume takes long.
        shares = np.zeros(_WORLDS if costs.shape[1] < _MANY_COSTS else _WORLDS // 10)
        for world in range(len(shares)):
            ends = mean + deviation * rng.standard_normal(len(mean))
            better = ends > least  # the others add nothing
            if better.any():
                every = np.vstack([points, np.column_stack([-ends[better], costs[better]])])
                shares[world] = 1 - whole / hypervolume(every[non_dominated(every)], corner)
        return shares

    # Steps and their worth

    def _steps(self, situation: Situation, every: bool = False) -> list[_Step]:
        """New candidates and trials that wait: of very many a share, unless all are wanted."""
        seconds = self._seconds(situation.trials)
        waiting = situation.waiting
        least = self._goal.epochs - situation.affordable
        if len(waiting) > _MOST_WAITING and not every and least > 0:
            within = [trial for trial in waiting if (trial.last_step or 0) >= least]
            waiting = within or waiting  # what cannot be finished is better than nothing
        if len(waiting) > _MOST_WAITING and not every:
            rng = np.random.default_rng([self._seed, len(situation.trials), len(waiting)])
            some = rng.choice(len(waiting), _MOST_WAITING, replace=False)
            if (latest := self._latest(situation, waiting)) is not None and latest not in some:
                some[0] = latest
            waiting = [waiting[index] for index in np.sort(some)]
        steps = [self._of_trial(trial, situation, seconds) for trial in waiting]
        room = _MOST - min(len(steps), _MOST_WAITING)
        new = self._new(situation, room) if situation.may_start else ()
        return steps + [self._of_new(candidate, situation, seconds) for candidate in new]

    def _latest(self, situation: Situation, waiting: Sequence[FrozenTrial]) -> int | None:
        """Where the trial that was looked at last waits: it is judged, or has been just now."""
        looks = self._climbs(situation).looks
        if not looks:
            return None
        last = looks[-1][1]
        place = bisect.bisect_left(waiting, last, key=attrgetter("number"))
        is_there = place < len(waiting) and waiting[place].number == last
        return place if is_there else None

    def _of_trial(self, trial: FrozenTrial, situation: Situation, seconds: _Seconds) -> _Step:
        """Kept while the trial waits, unless its price changes."""
        kept = self._waiting.get(trial.number)
        if kept is not None and kept[0] is trial and self._price == "epochs":
            return kept[1]
        climb = self._known(situation).climb(trial)
        left = self._goal.epochs - climb.prospect.epoch
        step = _Step(climb, left * seconds.of(trial.user_attrs), left, number=trial.number)
        self._waiting[trial.number] = trial, step
        return step

    def _of_new(self, candidate: Candidate, situation: Situation, seconds: _Seconds) -> _Step:
        """Of a finite space kept, since every decision wants all of them."""
        kept = self._fresh.get(candidate.identity)
        if kept is not None and self._price == "epochs":
            return kept
        climb = Climb(self._of(candidate, situation)) if kept is None else kept.climb
        left = self._goal.epochs
        price = left * seconds.of(situation.costs(candidate))
        step = _Step(climb, price, left, candidate=candidate)
        if situation.unused is not None:
            self._fresh[candidate.identity] = step
        return step

    def _new(self, situation: Situation, most: int) -> Sequence[Candidate]:
        number = len(situation.trials)
        rng = np.random.default_rng([self._seed, number])
        if situation.unused is None:
            return self._drawn(rng, situation.allowed)
        unused = list(situation.unused.values())
        if len(unused) <= most:
            return unused
        chosen = np.sort(rng.choice(len(unused), most, replace=False))
        return [unused[index] for index in chosen]

    def _drawn(
        self, rng: np.random.Generator, allowed: Callable[[Candidate], bool]
    ) -> list[Candidate]:
        sampler = optuna.samplers.RandomSampler(seed=int(rng.integers(2**31)))
        study = optuna.create_study(sampler=sampler)
        found: dict[str, Candidate] = {}
        for _ in range(_DRAWS):
            asked = study.ask(dict(self._space.distributions))
            try:
                candidate = self._space.proposed(asked.params)
            except ValueError:  # an impossible variant
                continue
            if allowed(candidate):
                found.setdefault(candidate.identity, candidate)
        return list(found.values())

    def _scores(
        self,
        steps: Sequence[_Step],
        situation: Situation,
        own: int | None = None,
        new: NDArray[np.bool_] | None = None,
    ) -> _Scores:
        """What each step is worth, as far as it may be the best.

        Args:
            steps: new candidates and trials that wait.
            situation: where the sweep stands.
            own: which step is that of a trial at work.
            new: which steps are new candidates, where the best of them is wanted, too, once
                nothing is worth the tolerance, (n,).
        """
        field = self._field(steps, situation, own)
        count, live = len(steps), len(field.working.mean)
        prices = np.array([step.seconds for step in steps])
        prices **= 1 - (1 + live if live else 0) / (count + live)
        gains = field.gains()
        if own is not None:
            gains.settle(np.array([own]))
        gains.best(1 / prices, 1)
        share = np.full(count, math.inf)
        if situation.tolerance and len(field.finals) >= _TELLING:
            whole = field.volume
            gains.best(np.ones(count), 1)
            if new is not None and new.any() and gains.values.max() < situation.tolerance * whole:
                gains.best(new.astype(float), 1)
            share = gains.values / whole
        return _Scores(share, gains.values / prices)

    def _field(self, steps: Sequence[_Step], situation: Situation, own: int | None) -> _Field:
        """What steps are weighed on."""
        ladder = self._known(situation)
        climbs = self._climbs(situation)
        finals, known = _finished(climbs)
        judged = None if own is None else steps[own].number
        live = [ladder.climb(trial) for trial in situation.working if trial.number != judged]
        every = [*(step.climb for step in steps), *live]
        mean, deviation = ladder.chain(climbs).forecast(every)
        costs = ladder.costs(every)
        known = known.reshape(len(finals), costs.shape[1])
        values = np.append(finals, mean)
        reference, limits = _corner(values, np.vstack([known, costs, *self._extremes]))
        best, front = self._front_of(finals, known, limits)
        about = _Likely(*(each[: len(steps)] for each in (mean, deviation, costs)))
        working = _Likely(*(each[len(steps) :] for each in (mean, deviation, costs)))
        above = front.above(reference)
        return _Field(about, working, finals, known, best, above, reference, limits)

    def _front_of(
        self, finals: Array, known: Array, limits: Array
    ) -> tuple[NDArray[np.int64], Front]:
        """Which of what has ended are the front, and that, without a reference.

        Mostly that of the last decision: few trials end between two of them.
        """
        key = finals.tobytes(), known.tobytes(), limits.tobytes()
        if self._front is None or self._front[0] != key:
            # What another finished trial dominates adds no height, and the cells grow with each.
            best = np.flatnonzero(non_dominated(np.column_stack([-finals, known])))
            best = best[even_share(finals[best], _most_points(known.shape[1]))]
            self._front = key, best, Front(finals[best], known[best], -math.inf, limits)
        return self._front[1:]

    def _known(self, situation: Situation) -> Ladder:
        """The ladder, made of what does not change during a sweep."""
        if self._ladder is None:
            if situation.prior:
                prior = [(self._of(c, situation), value) for c, value in situation.prior]
                self._outlook.learn_prior(prior)
            every: Sequence[Candidate] | None = self._space.candidates
            if every is None:
                # Also what has a trial by now: a resumed sweep must have the same reference.
                every = self._drawn(np.random.default_rng(self._seed), lambda _: True)
            if len(every) > _MOST:
                chosen = np.random.default_rng(self._seed).choice(len(every), _MOST, replace=False)
                every = [every[index] for index in np.sort(chosen)]
            measured = [candidate for candidate in every if situation.costs(candidate)]
            reference = [self._of(candidate, situation) for candidate in measured or every]
            self._ladder = Ladder(self._goal, self._outlook, reference)
            self._extremes = self._span(situation)
        return self._ladder

    def _span(self, situation: Situation) -> tuple[Array, ...]:
        """Least and largest costs of a finite space, (m,) each; none of one with a range.

        With these the hypervolume ends at the same costs, whichever of very many steps are weighed.
        """
        if situation.unused is None:
            return ()
        unused = map(situation.costs, situation.unused.values())
        begun = (trial.user_attrs for trial in situation.trials)
        costs = [self._outlook.costs(facts) for facts in (*begun, *unused)]
        whole = [own for own in costs if not np.isnan(own).any()]
        return (np.min(whole, axis=0), np.max(whole, axis=0)) if whole else ()

    def _climbs(self, situation: Situation) -> Climbs:
        """What all trials have shown, read once for a decision."""
        if self._read is None or self._read[0] is not situation:
            self._read = situation, self._known(situation).climbs(situation.trials)
        return self._read[1]

    def _of(self, candidate: Candidate, situation: Situation) -> Prospect:
        parameters = self._space.optuna_parameters(candidate)
        return self._outlook.candidate(
            parameters, self._space.distributions, situation.costs(candidate)
        )

    def _seconds(self, trials: Sequence[FrozenTrial]) -> _Seconds:
        return _Seconds([] if self._price == "epochs" else trials, self._price)


def _standing(situation: Situation, judged: int | None = None) -> tuple[Any, ...]:
    """What beside the looks decides which steps there are, and what they are worth.

    That of a trial that is judged is the one in which it waits. Who waits changes with a look, or
    with who is at work.
    """
    live = [trial.number for trial in situation.working if trial.number != judged]
    unused = None if situation.unused is None else len(situation.unused)
    counts = len(situation.trials), len(situation.waiting), unused
    return live, counts, situation.may_start


def _most_points(costs: int) -> int:
    """How many of the front are weighed: cells are of its power."""
    most = _MOST_CELLS ** (1 / max(1, costs))
    if costs > _PLANE:  # each column of cells over the others is a step of its own
        most = min(most, _MOST_COLUMNS ** (1 / (costs - _PLANE)))
    return max(2, int(most) - 1)


def nothing_left(share: float) -> str:
    """Why a sweep ends whose best step promises a share of the hypervolume, in words."""
    if share < _FINEST:
        most = f"{100 * _FINEST:g} % of the hypervolume, less than search.tolerance"
        return f"nothing that is left promises even {most}"
    return f"nothing that is left promises more than {_percent(share)}"


def _finished(climbs: Climbs) -> tuple[Array, Array]:
    """Values, (k,), and costs, (k, m), of what has ended."""
    done = ~np.isnan(climbs.finals)
    return climbs.finals[done], climbs.costs[done]


def _percent(share: float) -> str:
    shown = f"{100 * share:.2g}" if share >= _FINEST else f"under {100 * _FINEST:g}"
    return f"{shown} % of the hypervolume, less than search.tolerance"


def _times(more: float, less: float) -> str:
    if more > _MANY * less:
        return f"over {_MANY} times as much"
    return f"{more / less:.3g} times as much"


def _corner(values: Array, costs: Array) -> tuple[float, Array]:
    """Value and costs at which the hypervolume ends, somewhat beyond the worst."""
    low, high = float(values.min()), float(values.max())
    span = np.ptp(costs, axis=0)
    limits = costs.max(axis=0) + _MARGIN * np.where(span > 0, span, 1.0)
    return low - _MARGIN * max(high - low, 1e-6), limits


class _Seconds:
    """Training seconds of an epoch, from the trials so far and the latency of a candidate.

    Their ratio is taken as ``latency^b`` with b near one: fitted in logarithms, with four
    pseudo-observations in favour of one.
    """

    def __init__(self, trials: Sequence[FrozenTrial], price: str) -> None:
        self._price = price
        recent = trials[-_SEEN:]
        seen = [(float(t.user_attrs.get("latency_ms", math.nan)), _mean_seconds(t)) for t in recent]
        usable = [(latency, s) for latency, s in seen if latency > 0 and s > 0]
        self._level, self._power = 0.0, 1.0
        if usable:
            x, y = np.log(np.array(usable)).T
            dx = x - x.mean()
            prior = 4.0 * max(float(np.var(dx)), 0.05)
            self._power = float((dx @ (y - y.mean()) + prior) / (dx @ dx + prior))
            self._level = float(y.mean() - self._power * x.mean())

    def of(self, costs: Mapping[str, object]) -> float:
        """Seconds of an epoch of the candidate with these costs, up to a common factor."""
        latency = costs.get("latency_ms")
        if self._price == "epochs" or not isinstance(latency, float) or latency <= 0:
            return 1.0
        return math.exp(self._level + self._power * math.log(latency))


def _mean_seconds(trial: FrozenTrial) -> float:
    curve = trial.user_attrs.get("curve")
    return sum(entry["seconds"] for entry in curve) / len(curve) if curve else math.nan
