"""What the trials of a study will end at, as far as that can be told now."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from resnest_search.metrics import COSTS, TRAINED, metric_of
from resnest_search.search.forecast.features import encode
from resnest_search.search.forecast.surrogate import SPREAD, Forecast, forecast
from resnest_search.search.situation import Goal

__all__ = ["MOST_KEPT", "Finished", "Outlook", "Prospect"]

MOST_KEPT = 50_000  # candidates whose features are kept

Array = NDArray[np.float64]
_TREND_BELOW = 3  # finished trials, from which on the data speak for themselves
_REFIT_ALL = 60  # finished trials up to which each further one is learned from at once
_REFIT_SHARE = 0.1  # growth after which a model is fitted again, beyond that


@dataclass(frozen=True)
class Prospect:
    """A candidate, with the last epoch of its trial where it has one.

    Attributes:
        features: (d,).
        costs: the known objectives, less is better, (m,).
        epoch: epochs trained; 0 for a candidate without a trial.
        value: at that epoch, more is better; NaN at epoch 0.
    """

    features: Array
    costs: Array
    epoch: int = 0
    value: float = math.nan

    @property
    def is_placed(self) -> bool:
        """Whether all its costs are known, so that it can be compared."""
        return bool(np.isfinite(self.costs).all())


@dataclass(frozen=True)
class Finished:
    """Complete trials, in the order in which they ended."""

    numbers: tuple[int, ...]
    features: Array  # (k, d)
    costs: Array  # (k, m), less is better
    finals: Array  # (k,), more is better
    curves: tuple[Mapping[int, float], ...]  # value by epoch, more is better

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class _Whole:
    order: tuple[float, int]
    prospect: Prospect
    curve: Mapping[int, float]


class Outlook:
    """Reads a study's trials as prospects and finished curves, and forecasts the former.

    A pure function of the trials of one study: what it keeps between calls are features and
    complete trials, which do not change, and fits, which are kept by what they were fitted to.

    Args:
        goal: what is sought; the reported metric is the uncertain one.
        distributions: of what varies, also of what not every trial has.
    """

    def __init__(
        self, goal: Goal, distributions: Mapping[str, BaseDistribution] | None = None
    ) -> None:
        self._goal = goal
        self._spanned = dict(distributions or {})
        self._sign = -metric_of(goal.reported).sign
        self._known = [name for name in goal.objectives if name not in TRAINED]
        self._costs = tuple(dict.fromkeys((*COSTS, *self._known)))
        self._expected: Callable[[Array], Array] | None = None  # the prior's word, if any
        self._scale = 1.0
        self._encoded: dict[Any, tuple[Array, Array]] = {}
        self._ended: dict[int, _Whole | None] = {}

    def span(self, trials: Iterable[FrozenTrial]) -> None:
        """Take up what any of these varies, so that the features of all have their places."""
        for trial in trials:
            if not trial.distributions.keys() <= self._spanned.keys():
                self._spanned |= trial.distributions
                self._encoded.clear()
                self._ended.clear()

    def prospect(self, trial: FrozenTrial) -> Prospect:
        """A trial at the last epoch that it has trained."""
        step = trial.last_step or 0
        known = self._spanned | trial.distributions
        features, costs = self._constants(trial.params, known, trial.user_attrs)
        value = self._sign * trial.intermediate_values[step] if step else math.nan
        return Prospect(features, costs, step, value)

    def candidate(
        self,
        parameters: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        costs: Mapping[str, Any],
    ) -> Prospect:
        """A candidate that has no trial."""
        return Prospect(*self._constants(parameters, distributions, costs))

    def costs(self, facts: Mapping[str, Any]) -> Array:
        """Known objectives among facts, less is better, NaN where one is missing, (m,)."""
        return np.array([metric_of(n).sign * facts.get(n, math.nan) for n in self._known])

    def finished(self, trials: Iterable[FrozenTrial]) -> Finished:
        """The complete trials, each with its whole curve."""
        found = [self._whole(trial) for trial in trials if trial.state == TrialState.COMPLETE]
        whole = sorted((w for w in found if w is not None), key=lambda w: w.order)
        width = len(whole[0].prospect.features) if whole else 0
        whole = [w for w in whole if len(w.prospect.features) == width]
        return Finished(
            numbers=tuple(w.order[1] for w in whole),
            features=np.array([w.prospect.features for w in whole]).reshape(len(whole), width),
            costs=np.array([w.prospect.costs for w in whole]).reshape(len(whole), len(self._known)),
            finals=np.array([w.prospect.value for w in whole]),
            curves=tuple(w.curve for w in whole),
        )

    def forecast(self, prospects: Sequence[Prospect], finished: Finished) -> Forecast:
        """Final values of the prospects, each from its own curve so far."""
        mean, deviation, evidence = np.empty((3, len(prospects)))
        for epoch in {prospect.epoch for prospect in prospects}:
            rows = [i for i, prospect in enumerate(prospects) if prospect.epoch == epoch]
            found = self._at(epoch, [prospects[i] for i in rows], finished)
            mean[rows], deviation[rows] = found.mean, found.deviation
            evidence[rows] = found.evidence
        return Forecast(mean, deviation, evidence)

    def learn_prior(self, known: Sequence[tuple[Prospect, float]]) -> None:
        """Take over what was found out about candidates that were trained differently.

        What a model of those values says of a candidate is what is expected of it here.

        Args:
            known: candidates with their final values, as they were reported.
        """
        if len(known) < _TREND_BELOW:
            return
        features = np.array([prospect.features for prospect, _ in known])
        finals = self._sign * np.array([value for _, value in known])
        center, scale = float(finals.mean()), float(finals.std()) or 1.0

        def expected(wanted: Array) -> Array:
            if not len(wanted):
                return np.zeros(0)
            found = forecast(wanted, None, features, None, finals)
            shares: Array = (found.mean - center) / scale
            return shares

        self._expected, self._scale = expected, scale

    def expected(self, prospects: Sequence[Prospect]) -> Array:
        """What is expected of candidates before any has been trained here, up to a constant, (n,).

        That dearer ones do better, or what earlier sweeps say.
        """
        costs = np.array([prospect.costs for prospect in prospects])
        return self._ahead(np.array([prospect.features for prospect in prospects]), costs)

    def _ahead(self, features: Array, costs: Array) -> Array:
        """What is expected before three trials have finished, up to a constant."""
        if self._expected is None:
            return _trend(costs)
        return self._scale * self._expected(features)

    def _at(self, epoch: int, prospects: Sequence[Prospect], finished: Finished) -> Forecast:
        features = np.array([prospect.features for prospect in prospects])
        count = _learned_from(len(finished))
        rows = np.arange(count)
        curve = known_curve = None
        if epoch:
            early = np.array([c.get(epoch, math.nan) for c in finished.curves[:count]])
            rows = np.flatnonzero(~np.isnan(early))
            known_curve = early[rows]
            curve = np.array([prospect.value for prospect in prospects])
        finals = finished.finals[rows]
        known = finished.features[rows]
        if len(rows) >= _TREND_BELOW:
            return forecast(features, curve, known, known_curve, finals)
        ahead = self._ahead(features, np.array([prospect.costs for prospect in prospects]))
        behind = self._ahead(known, finished.costs[rows])
        found = forecast(features, None, known, None, finals - behind)
        return Forecast(found.mean + ahead, found.deviation, found.evidence)

    def _whole(self, trial: FrozenTrial) -> _Whole | None:
        """A complete trial, read once; None for one without a value at the last epoch."""
        if trial.number not in self._ended:
            value = trial.intermediate_values.get(self._goal.epochs, math.nan)
            whole = None
            prospect = self.prospect(trial)
            if math.isfinite(value) and prospect.is_placed:
                curve = {e: self._sign * v for e, v in trial.intermediate_values.items()}
                whole = _Whole(_order(trial), prospect, curve)
            self._ended[trial.number] = whole
        return self._ended[trial.number]

    def _constants(
        self,
        parameters: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        costs: Mapping[str, Any],
    ) -> tuple[Array, Array]:
        """Features and known objectives of a candidate, kept since many decisions want them."""
        known = tuple((name, float(costs[name])) for name in self._costs if name in costs)
        key = (tuple(parameters.items()), known)
        if key not in self._encoded:
            if len(self._encoded) >= MOST_KEPT:  # of a space with a range, new ones at each step
                self._encoded.clear()
            features = encode(parameters, distributions, dict(known))
            self._encoded[key] = (features, self.costs(dict(known)))
        return self._encoded[key]


def _trend(costs: Array) -> Array:
    """What is expected of dearer candidates before anything is known: that they do better.

    One deviation of the values for each e-fold of the costs' geometric mean, (n,).
    """
    if costs.shape[1] == 0:
        return np.zeros(len(costs))
    signs = np.sign(costs)  # of a cost to be maximised, such as images per second, negative
    logs = signs * np.log(np.maximum(np.abs(costs), 1e-12))
    mean: Array = SPREAD * np.nan_to_num(logs.mean(axis=1))  # of unknown ones, nothing
    return mean


def _learned_from(count: int) -> int:
    """How many of so many finished trials the models know: long sweeps refit now and then."""
    if count <= _REFIT_ALL:
        return count
    steps = math.floor(math.log(count / _REFIT_ALL) / math.log(1 + _REFIT_SHARE))
    return math.floor(_REFIT_ALL * (1 + _REFIT_SHARE) ** steps + 1e-9)


def _order(trial: FrozenTrial) -> tuple[float, int]:
    """Key that sorts trials by when they ended, as far as the study knows."""
    curve = trial.user_attrs.get("curve") or [{}]
    return curve[-1].get("at") or 0.0, trial.number
