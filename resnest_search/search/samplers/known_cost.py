"""The step that promises most hypervolume for its training time, with every cost known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from resnest_search.pareto import non_dominated
from resnest_search.search.forecast.improvement import expected_improvements
from resnest_search.search.forecast.outlook import Finished, Outlook, Prospect
from resnest_search.search.situation import Goal, Sampler, Situation
from resnest_search.space import Candidate, Space
from resnest_search.study.study import paused_because

__all__ = ["KnownCostSampler"]

Array = NDArray[np.float64]
_MOST = 2000  # new candidates that one proposal weighs
_DRAWS = 256  # of a space with a range
_SEEN = 100  # last trials that the seconds of an epoch are learned from
_MARGIN = 0.1  # of the range beyond the worst, where hypervolume begins
_PAIRS = 16  # draws, each with its mirror image, of what is being trained
_CELLS = 50_000  # of the cost space, beyond which there are fewer draws
_MOST_CELLS = 1_000_000  # beyond which the front is thinned: four costs and more
_WEIGHED = 100  # steps that are weighed over these draws: the best ones if all ends as forecast


@dataclass(frozen=True)
class _Step:
    """A step that could be taken next."""

    prospect: Prospect
    seconds: float  # of training until its last epoch
    candidate: Candidate | None = None  # a new one
    number: int | None = None  # of a trial that waits


class KnownCostSampler(Sampler):
    """Weighs new candidates against paused trials by what each promises for its price.

    Latency and memory are measured before the first epoch, so that only the trained value of
    a candidate is uncertain. Its distribution comes from a Gaussian process (see
    ``surrogate.forecast``), the expected hypervolume improvement from that in closed form,
    and the price is the training time that is left until the candidate's last epoch. The
    improvement is averaged over draws of what the trials of other workers will end at, so that
    parallel workers neither all go after the same gap nor count on it being filled (the
    expected improvement of parallel searches: Ginsbourger et al., 2010; Snoek et al., 2012).

    The more of all candidates can be trained at once, the less time an order of theirs saves:
    with a share ``a`` of them at work, the price counts to the power of ``1 - a``.

    Args:
        space: what varies.
        goal: what is sought.
        seed: of the draws where a space cannot be listed.
        price: ``seconds`` of training that are left, or ``epochs``.

    Raises:
        ValueError: the price is neither.
    """

    def __init__(self, space: Space, goal: Goal, seed: int, *, price: str = "seconds") -> None:
        if price not in ("seconds", "epochs"):
            raise ValueError(f"price must be seconds or epochs, not {price}")
        self._space = space
        self._goal = goal
        self._seed = seed
        self._price = price
        self._outlook = Outlook(goal)
        self._has_prior = False

    def step(self, situation: Situation) -> Candidate | int | None:
        """The step that promises most: a new candidate, or the number of a trial that waits."""
        steps = self._steps(situation)
        if not steps:
            return None
        best = steps[int(np.argmax(self._scores(steps, situation)))]
        return best.number if best.candidate is None else best.candidate

    # Steps and their worth

    def _steps(self, situation: Situation) -> list[_Step]:
        seconds = self._seconds(situation.trials)
        steps = [self._of_trial(trial, seconds) for trial in situation.waiting]
        for candidate in self._new(situation) if situation.may_start else ():
            price = self._goal.epochs * seconds.of(situation.costs(candidate))
            steps.append(_Step(self._of(candidate, situation), price, candidate=candidate))
        return steps

    def _of_trial(self, trial: FrozenTrial, seconds: _Seconds) -> _Step:
        prospect = self._outlook.prospect(trial)
        left = self._goal.epochs - prospect.epoch
        return _Step(prospect, left * seconds.of(trial.user_attrs), number=trial.number)

    def _new(self, situation: Situation) -> Sequence[Candidate]:
        number = len(situation.trials)
        rng = np.random.default_rng([self._seed, number])
        if situation.unused is None:
            return self._drawn(situation, rng)
        unused = list(situation.unused.values())
        if len(unused) <= _MOST:
            return unused
        chosen = np.sort(rng.choice(len(unused), _MOST, replace=False))
        return [unused[index] for index in chosen]

    def _drawn(self, situation: Situation, rng: np.random.Generator) -> list[Candidate]:
        sampler = optuna.samplers.RandomSampler(seed=int(rng.integers(2**31)))
        study = optuna.create_study(sampler=sampler)
        found = []
        for _ in range(_DRAWS):
            asked = study.ask(dict(self._space.distributions))
            try:
                candidate = self._space.candidate(asked.params)
            except ValueError:  # an impossible variant
                continue
            if situation.allowed(candidate):
                found.append(candidate)
        return found

    def _scores(self, steps: Sequence[_Step], situation: Situation) -> Array:
        """Expected hypervolume improvement of each step for its price, (n,)."""
        self._take_prior(situation)
        finished = self._finished(situation)
        live = [
            self._outlook.prospect(trial)
            for trial in situation.trials
            if trial.state == TrialState.RUNNING and not paused_because(trial)
        ]
        count, prospects = len(steps), [*(step.prospect for step in steps), *live]
        mean, deviation = self._forecast(prospects, finished)
        costs = np.array([p.costs for p in prospects])
        known = finished.costs.reshape(len(finished), costs.shape[1])
        reference, limits = _corner(np.append(finished.finals, mean), np.vstack([known, costs]))
        # What another finished trial dominates adds no height, and the cells grow with each.
        best = np.flatnonzero(non_dominated(np.column_stack([-finished.finals, known])))
        best = best[_thinned(finished.finals[best], costs.shape[1])]
        heights, front = finished.finals[best], np.concatenate([known[best], costs[count:]])
        at_work = 1 + len(live) if live else 0
        share = at_work / (count + len(live))
        prices = np.array([step.seconds for step in steps]) ** (1 - share)

        def worths(chosen: NDArray[np.int64], ends: Array) -> Array:
            values = np.broadcast_to(heights, (len(ends), len(heights)))
            gains = expected_improvements(
                mean[chosen],
                deviation[chosen],
                costs[chosen],
                np.concatenate([values, ends], axis=1),
                front,
                reference,
                limits,
            )
            worth: Array = gains / prices[chosen]
            return worth

        found = worths(np.arange(count), mean[None, count:])
        if not live:
            return found
        rng = np.random.default_rng([self._seed, len(situation.trials), len(finished)])
        cells = (len(front) + 1) ** costs.shape[1]
        first = np.sort(np.argsort(-found, kind="stable")[:_WEIGHED])
        weighed = np.full(count, -math.inf)
        weighed[first] = worths(first, _draws(mean[count:], deviation[count:], cells, rng))
        return weighed

    def _take_prior(self, situation: Situation) -> None:
        """What earlier sweeps found, once: it does not change during this one."""
        if situation.prior and not self._has_prior:
            known = [(self._of(c, situation), value) for c, value in situation.prior]
            self._outlook.learn_prior(known)
            self._has_prior = True

    def _of(self, candidate: Candidate, situation: Situation) -> Prospect:
        parameters = self._space.optuna_parameters(candidate)
        return self._outlook.candidate(
            parameters, self._space.distributions, situation.costs(candidate)
        )

    def _forecast(self, prospects: Sequence[Prospect], finished: Finished) -> tuple[Array, Array]:
        found = self._outlook.forecast(prospects, finished)
        return found.mean, found.deviation

    def _finished(self, situation: Situation) -> Finished:
        return self._outlook.finished(situation.trials)

    def _seconds(self, trials: Sequence[FrozenTrial]) -> _Seconds:
        return _Seconds([] if self._price == "epochs" else trials, self._price)


def _draws(mean: Array, deviation: Array, cells: int, rng: np.random.Generator) -> Array:
    """What n trials may end at, in pairs that mirror each other, (draws, n)."""
    pairs = max(1, min(_PAIRS, _PAIRS * _CELLS // cells))
    apart = deviation * rng.standard_normal((pairs, len(mean)))
    ends: Array = mean + np.concatenate([apart, -apart])
    return ends


def _thinned(values: Array, costs: int) -> NDArray[np.int64]:
    """Indices of all points of a front, or of an even share by value where cells would explode."""
    most = int(_MOST_CELLS ** (1 / costs)) if costs else len(values)
    if len(values) <= most:
        return np.arange(len(values))
    order = np.argsort(values, kind="stable")
    return order[np.linspace(0, len(values) - 1, most).round().astype(np.int64)]


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
