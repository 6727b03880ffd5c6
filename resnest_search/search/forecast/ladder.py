"""What trials will end at, learnt from rung to rung: what is unfinished teaches, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress, pairwise
from operator import attrgetter, is_not

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from resnest_search.metrics import metric_of
from resnest_search.search.forecast.climbs import Climb, Climbs, Look
from resnest_search.search.forecast.outlook import MOST_KEPT, Outlook, Prospect
from resnest_search.search.forecast.process import Inputs, Process, even_share, fitted, modes
from resnest_search.search.forecast.surrogate import SPREAD
from resnest_search.search.situation import Goal

__all__ = ["Climb", "Ladder", "rungs_of"]

Array = NDArray[np.float64]
_FACTOR = 3  # from one rung to the next
_GAP = 1.5  # by which the full length exceeds the last rung before it
_TRUST = (0.5, 0.2)  # in what costs let expect, before and after the first epoch
_GAIN = SPREAD / 2  # deviation of a value from its last one, while nothing is known
_MOST = 160  # trials that one rung's process knows: its time grows with their cube
_MOST_FITTED = 64  # that its hyperparameters are fitted to
_FIT_ALL = 20  # looks up to which each further one is fitted to
_FIT_GROWTH = 1.25  # of the looks, after which hyperparameters are fitted again
_FIT_MOST = 5000  # looks that they are fitted to
_LEARN_ALL = 1000  # looks up to which processes learn from each further one at once
_LEARN_GROWTH = 1.02  # of the looks, after which they learn what is new
_BLOCK = 256  # trials that are compared at once
_FEW = 64  # changed trials, beyond which all are read


def rungs_of(epochs: int) -> tuple[int, ...]:
    """Epochs at which curves are looked at: 1, 3, 9, 27 and so on, and the full length."""
    rungs = [1] if epochs > 1 else []
    while rungs and rungs[-1] * _FACTOR * _GAP <= epochs:
        rungs.append(rungs[-1] * _FACTOR)
    return (*rungs, epochs)


class Ladder:
    """Forecasts final values from a study's trials, whether these are finished or not.

    From each rung a Gaussian process forecasts the final value. It is learnt from every trial that
    got to the rung above, whatever became of it: its target there is the forecast from
    that rung, and the final value at the top (fitted value iteration: Gordon, 1995). Who
    goes on is chosen by what had been seen, which the process is given, so that pausing does not
    bias it. The variance is the process's own, and on average what remains from the rung above.

    Of a curve it sees the value at the rung, the mean since the rung below, the difference between
    both rungs, the value at the rung below and the logarithm of the training loss.

    A pure function of the trials: what it keeps between calls follows from them. Its
    hyperparameters are those of the first looks, in the order in which they were had, so that one
    more epoch does not change them all.

    Args:
        goal: what is sought; the reported metric is the uncertain one.
        outlook: reads features and costs.
        reference: candidates of the space, whose spread is the unit of features.
    """

    def __init__(self, goal: Goal, outlook: Outlook, reference: Sequence[Prospect]) -> None:
        self.rungs = rungs_of(goal.epochs)
        self._goal = goal
        self._outlook = outlook
        self._sign = -metric_of(goal.reported).sign
        features = np.array([prospect.features for prospect in reference])
        known = ~np.isnan(features)
        counts = np.maximum(known.sum(axis=0), 1)
        self._middle = np.where(known, features, 0.0).sum(axis=0) / counts
        apart = np.where(known, features - self._middle, 0.0)
        self._width = np.sqrt((apart**2).sum(axis=0) / counts)
        self._told = self._width > 1e-9
        expected = outlook.expected(reference)
        self._hope = float(expected.mean()), float(expected.std()) or 1.0
        self._features = int(self._told.sum())
        self._known = _Rows(self._features + 1 + len(reference[0].costs), self._facts)
        self._kept: dict[int, tuple[FrozenTrial, int, Climb]] = {}
        self._trials: Sequence[FrozenTrial] = ()  # that were read last, and what was found
        self._climbs = Climbs([], len(self.rungs))
        self._is_plain = True  # no trial is a further seed of another's candidate
        self._gone: set[int] = set()  # trials that another one continues
        self._fitted: tuple[list[Look], Mapping[int, Array]] | None = None  # with what to
        self._learnt: tuple[list[Look], Chain] | None = None  # from what

    # Reading trials

    def climb(self, trial: FrozenTrial) -> Climb:
        """A trial as far as it has got."""
        number = trial.number
        kept = self._kept.get(number)
        if kept is None or kept[0] is not trial:
            step = trial.last_step or 0
            # Storage hands out another object for each change, and some for each question.
            is_same = kept is not None and kept[1] == step
            climb = kept[2] if kept is not None and is_same else self._read(trial, step)
            self._kept[number] = kept = (trial, step, climb)
        return kept[2]

    def climbs(self, trials: Sequence[FrozenTrial]) -> Climbs:
        """Every candidate that has been looked at, once, those of several seeds with their mean.

        Args:
            trials: by number; of those that were there the last time, only what has changed
                since is read.
        """
        known = len(self._trials)
        fresh = [*_changed(self._trials, trials), *trials[known:]]
        is_plain = self._is_plain and all(map(_is_plain, fresh))
        if len(trials) < known or not is_plain or len(fresh) > _FEW:
            self._is_plain = all(map(_is_plain, trials))
            self._gone = _continued(trials)
            self._climbs = Climbs(self._all_of(trials), len(self.rungs))
        else:
            self._gone |= _continued(fresh)
            for trial in fresh:
                climb = self.climb(trial)
                if (old := trial.user_attrs.get("continues")) is not None:
                    self._climbs = self._climbs.having(replace(climb.until(0), number=old))
                is_over = trial.state == TrialState.FAIL or trial.number in self._gone
                self._climbs = self._climbs.having(climb.until(0) if is_over else climb)
        self._trials = list(trials)
        return self._climbs

    def _all_of(self, trials: Sequence[FrozenTrial]) -> list[Climb]:
        ends: dict[str, list[float]] = {}
        found = []
        for trial in trials:
            if trial.state == TrialState.FAIL or trial.number in self._gone:
                continue
            climb = self.climb(trial)
            is_repeat = "repeat" in trial.user_attrs
            if not math.isnan(climb.final):
                ends.setdefault(trial.user_attrs.get("candidate", ""), []).append(climb.final)
            if climb.rungs and not is_repeat:
                found.append((trial.user_attrs.get("candidate", ""), climb))
        several = {name: finals for name, finals in ends.items() if name and len(finals) > 1}
        return [
            climb
            if name not in several or math.isnan(climb.final)
            else replace(climb, final=float(np.mean(several[name])))
            for name, climb in found
        ]

    def _read(self, trial: FrozenTrial, step: int) -> Climb:
        prospect = self._outlook.prospect(trial)
        values = {epoch: self._sign * v for epoch, v in trial.intermediate_values.items()}
        entries = {entry["epoch"]: entry for entry in trial.user_attrs.get("curve", ())}
        shown, levels, moments = [], [], []
        below = 0
        for rung in self.rungs:
            window = [values.get(epoch, math.nan) for epoch in range(below + 1, rung + 1)]
            if rung > step or not all(map(math.isfinite, window)):
                break
            entry = entries.get(rung, {})
            moments.append(float(entry.get("at") or 0.0))
            if rung < self._goal.epochs:
                before = values[below] if below else math.nan
                loss = entry.get("train_loss")
                is_usable = loss is not None and 0 < loss < math.inf
                log_loss = math.log(loss) if is_usable else math.nan
                now = window[-1]
                mean = sum(window) / len(window)
                shown.append(np.array([now, mean, now - before, before, log_loss]))
                levels.append(now)
            below = rung
        is_whole = len(moments) == len(self.rungs)
        final = values[self._goal.epochs] if is_whole else math.nan
        return Climb(prospect, trial.number, tuple(shown), tuple(levels), tuple(moments), final)

    # Forecasting

    def chain(self, climbs: Climbs) -> Chain:
        """What these climbs teach: of very many looks the first, all but a fiftieth at most.

        A process knows a bounded number of trials, so that one more of thousands tells it nothing.
        """
        number = _steady(len(climbs.looks), _LEARN_ALL, _LEARN_GROWTH)
        hyperparameters = self._hyperparameters(climbs, number)
        if len(climbs.looks) <= _LEARN_ALL:
            return Chain(self, climbs, hyperparameters)
        first = climbs.looks[:number]
        if self._learnt is None or self._learnt[0] != first:
            early = sorted(climbs.first(number), key=attrgetter("place"))
            chain = _Steady(self, Climbs(early, len(self.rungs)), hyperparameters)
            self._learnt = first, chain
        return self._learnt[1]

    def inputs(self, climbs: Sequence[Climb], rung: int) -> Inputs:
        """What is known of candidates that have reached so many rungs, (n,)."""
        known, count = self._known_of(climbs), self._features
        curve = np.array([climb.shown[rung - 1] for climb in climbs]) if rung else None
        return Inputs(known[:, :count], known[:, count], curve)

    def costs(self, climbs: Sequence[Climb]) -> Array:
        """Of candidates, (n, m)."""
        return self._known_of(climbs)[:, self._features + 1 :]

    def _known_of(self, climbs: Sequence[Climb]) -> Array:
        """What `_facts` says of candidates, which stand by their features, (n, …)."""
        return self._known.of([climb.prospect.features for climb in climbs], climbs)

    def _facts(self, climbs: Sequence[Climb]) -> Array:
        """Features in deviations, what is expected, and costs, of candidates, (n, …)."""
        told, (middle, width) = self._told, self._hope
        rows = []
        for prospect in (climb.prospect for climb in climbs):
            apart = (prospect.features[told] - self._middle[told]) / self._width[told]
            expected = (self._outlook.expected([prospect]) - middle) / width
            rows.append(np.concatenate([np.nan_to_num(apart), expected, prospect.costs]))
        return np.array(rows)

    def _hyperparameters(self, climbs: Climbs, looks: int) -> Mapping[int, Array]:
        """Of each rung's process that learns from so many looks, fitted to the first of them."""
        number = _steady(min(looks, _FIT_MOST), _FIT_ALL, _FIT_GROWTH)
        # What the first looks are may change: a trial fails, or further seeds of it are trained.
        first = climbs.looks[:number]
        if self._fitted is None or self._fitted[0] != first:
            early = Climbs(climbs.first(number), len(self.rungs))
            self._fitted = first, Chain(self, early, None).hyperparameters
        return self._fitted[1]


def _changed(before: Sequence[FrozenTrial], now: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
    """What stands in place of other trials; thousands are mostly the same objects."""
    for start in range(0, min(len(before), len(now)), _BLOCK):
        old, new = before[start : start + _BLOCK], now[start : start + _BLOCK]
        if new[: len(old)] != old[: len(new)]:  # quick where each is the very same
            yield from compress(new, map(is_not, new, old))


def _is_plain(trial: FrozenTrial) -> bool:
    """Whether it is no further seed of a candidate."""
    return "repeat" not in trial.user_attrs


def _continued(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials that these go on for."""
    found = (trial.user_attrs.get("continues") for trial in trials)
    return {number for number in found if number is not None}


class Chain:
    """The processes of all rungs, each learnt from the one above.

    Args:
        ladder: reads their inputs.
        climbs: to learn from.
        hyperparameters: by rung; None to fit them.
    """

    def __init__(
        self, ladder: Ladder, climbs: Climbs, hyperparameters: Mapping[int, Array] | None
    ) -> None:
        self._ladder = ladder
        self._processes: list[Process | None] = []
        self._remaining: list[float] = []  # variance that is left one rung further up
        self.hyperparameters: dict[int, Array] = {}
        top = len(ladder.rungs)
        for rung in reversed(range(top)):
            rows = np.flatnonzero(climbs.rungs > rung)
            chosen = rows[_representative(climbs.values[rows], rung)]
            known = [climbs[int(row)] for row in chosen]
            given = None if hyperparameters is None else hyperparameters.get(rung)
            self._add(rung, known, given, hyperparameters is None)

    def forecast(self, climbs: Sequence[Climb]) -> tuple[Array, Array]:
        """Means and deviations of what candidates will end at, each from its last rung, (n,)."""
        mean, variance = np.empty((2, len(climbs)))
        reached = np.array([len(climb.shown) for climb in climbs])
        for rung in np.unique(reached):
            rows = np.flatnonzero(reached == rung)
            mean[rows], variance[rows] = self._from(int(rung), [climbs[i] for i in rows.tolist()])
        return mean, np.sqrt(variance)

    def _add(self, rung: int, known: Sequence[Climb], given: Array | None, fit: bool) -> None:
        """The process from a rung on; those above it are there."""
        top = len(self._ladder.rungs)
        above: tuple[Array, Array] | None = None
        if rung + 1 < top and known:
            above = self._from(rung + 1, [c.until(rung + 1) for c in known])
        process = None
        if known:
            finals = np.array([climb.final for climb in known]) if above is None else above[0]
            trust = _TRUST[min(rung, 1)]
            scale = SPREAD if rung == 0 else _GAIN
            inputs = self._ladder.inputs(known, rung)
            if given is None and not fit:
                given = modes(with_curve=rung > 0)
            if given is None:
                some = np.linspace(0, len(known) - 1, min(len(known), _MOST_FITTED)).astype(int)
                given = fitted(inputs.take(some), finals[some], trust, scale)
            self.hyperparameters[rung] = given
            process = Process(inputs, finals, given, trust, scale)
        self._processes.insert(0, process)
        if rung + 1 == top:
            remaining = 0.0
        elif above is not None:
            remaining = float(above[1].mean())
        else:
            remaining = self._remaining[0] + _GAIN**2
        self._remaining.insert(0, remaining)

    def _from(self, rung: int, climbs: Sequence[Climb]) -> tuple[Array, Array]:
        """Means and variances of final values from a rung, while processes are being added, too."""
        place = rung - (len(self._ladder.rungs) - len(self._processes))
        process, remaining = self._processes[place], self._remaining[place]
        inputs = self._ladder.inputs(climbs, rung)
        if process is None:
            now = (
                SPREAD * inputs.expected
                if rung == 0
                else np.array([c.levels[rung - 1] for c in climbs])
            )
            unknown = SPREAD if rung == 0 else _GAIN
            return now, np.full(len(climbs), unknown**2 + remaining)
        mean, variance = process.predict(inputs)
        return mean, variance + process.noise + remaining


class _Steady(Chain):
    """A chain that is asked again and again, and works each forecast out once."""

    def __init__(
        self, ladder: Ladder, climbs: Climbs, hyperparameters: Mapping[int, Array] | None
    ) -> None:
        super().__init__(ladder, climbs, hyperparameters)
        self._kept = _Rows(2, self._rounded)

    def forecast(self, climbs: Sequence[Climb]) -> tuple[Array, Array]:
        """See Chain."""
        mean, deviation = self._kept.of(climbs, climbs).T
        return mean, deviation

    def _rounded(self, climbs: Sequence[Climb]) -> Array:
        # Products of matrices are rounded by how many rows they have. What is kept must not
        # depend on with what else it was asked for first.
        return np.column_stack(super().forecast(climbs)).astype(np.float32).astype(np.float64)


class _Rows:
    """Rows of numbers, each found once for the object that it is of, which stays the same object.

    Args:
        width: of a row.
        find: takes climbs to their rows, (n, width).
    """

    def __init__(self, width: int, find: Callable[[Sequence[Climb]], Array]) -> None:
        self._find = find
        self._places: dict[int, tuple[int, object]] = {}  # by identity, which nothing else can have
        self._rows = np.empty((0, width))

    def of(self, owners: Sequence[object], climbs: Sequence[Climb]) -> Array:
        """The rows of climbs, whose owners tell them apart, (n, width)."""
        keys = list(map(id, owners))
        if not all(map(self._places.__contains__, keys)):
            self._add(keys, owners, climbs)
        return self._rows[[self._places[key][0] for key in keys]]

    def _add(self, keys: Sequence[int], owners: Sequence[object], climbs: Sequence[Climb]) -> None:
        if len(self._places) + len(keys) > MOST_KEPT:
            self._places.clear()
        begin = len(self._places)
        new = {key: index for index, key in enumerate(keys) if key not in self._places}
        for key, index in new.items():
            self._places[key] = len(self._places), owners[index]
        end = len(self._places)
        if end > len(self._rows):  # twice as many, so that few are copied each time
            self._rows = np.resize(self._rows, (2 * end, self._rows.shape[1]))
        self._rows[begin:end] = self._find([climbs[index] for index in new.values()])


def _representative(values: Array, rung: int) -> NDArray[np.int64]:
    """Indices of the trials that the process of a rung learns from: all, if they are not too many.

    Else half of what it takes are the best, and half an even share of the others, by the value at
    the rung, which the process is given: what is chosen by what came later would make all others
    look better. So of new candidates, for which there is no value yet, it is an even share.
    """
    if rung == 0 or len(values) <= _MOST:
        return np.sort(even_share(values[:, 0], _MOST))
    now = values[:, rung - 1]
    best, others = np.split(np.argsort(-now, kind="stable"), [_MOST // 2])
    return np.sort(np.append(best, others[even_share(now[others], _MOST - len(best))]))


def _steady(count: int, least: int, growth: float) -> int:
    """The most of a series up to a count: each number up to the least one, then by a factor."""
    if count <= least:
        return count
    return next(before for before, number in pairwise(_series(least, growth)) if number > count)


def _series(number: int, growth: float) -> Iterator[int]:
    while True:
        yield number
        number = math.ceil(number * growth)
