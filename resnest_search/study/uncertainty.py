"""How much of a front is noise: which candidates would be on it, and at its knee, another time.

Accuracy has two sources of noise, costs that were timed have one, and all are drawn anew. Where
balanced accuracy or macro F1 is the trained objective, it takes the place of accuracy in all this.

- **Validation images.** The same ones are drawn with replacement for all candidates
  (`study/redrawn.py`).
- **Seeds.** The deviation between the seeds of a candidate, pooled over all candidates that
  have several, is normal noise on each: over the square root of its seeds on its mean. Two or
  three seeds are too few to be drawn from: two that happen to agree would look exact. Where no
  candidate has two seeds this noise is not measured, and left out.
- **Rounds.** A latency is the median over rounds of timing. Its logarithm is drawn from Student's t
  around what was measured, with the standard error between its rounds (`metrics.rounds_error`) and
  one degree of freedom less than there were. What follows from one timing moves in one draw: images
  per second fall as latency rises, and candidates that share a network share its latency. What is
  counted, such as parameters or the memory of an account, is exact; so are costs of which no rounds
  are recorded, as in runs of earlier versions.

The knee of each draw is that of `study/knee.py`: the least of log(error) + mean of log(costs)
on the draw's front, or what is cheaper there and not told from it in accuracy. Which pairs are told
apart is settled once, from all draws: the interval of 95 % of their drawn differences holds no 0.

Trainings of different seeds also disagree on single images, which is in both sources: what is
stated errs on the side of noise (as bootstraps of two factors do; Owen, 2007).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnest_search.pareto import non_dominated
from resnest_search.study.knee import first_least, log_costs, log_error
from resnest_search.study.redrawn import CandidateResult, image_error, redrawn, sheets_of

__all__ = ["DRAWS", "CandidateResult", "Uncertainty", "contested", "drawn", "estimate"]

DRAWS = 1000
_ALPHA = 0.05  # two-sided: above it two accuracies, or two costs, are not told apart
_Z = 1.96  # standard errors within which two costs without rounds are the same
_FEW = 50  # candidates, up to which comparing all pairs takes less than a front for each draw
_FARTHEST = 50.0  # a logarithm of a factor on a cost

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Uncertainty:
    """What noise leaves open, by identity.

    Attributes:
        membership: share of the draws in which the candidate is on the front.
        knee_share: share of the draws in which it is the knee.
        rivals: candidates that cost no more in any objective, or are not told apart in it, and
            whose accuracy is not told from its own: the interval of 95 % of the drawn
            differences holds 0. A little more accuracy would put each in its place.
        errors: standard error of the mean accuracy; None where no noise is known.
        seed_deviation: standard deviation of accuracy between seeds, pooled; None where no
            candidate has two.
        knee: of the front of the mean accuracies; None where there is no candidate.
        alike: on that front, too, and not told from the knee in accuracy, but no cheaper.
        with_images: whether the noise of the validation images is in all this.
    """

    membership: dict[str, float]
    knee_share: dict[str, float]
    rivals: Mapping[str, tuple[str, ...]]
    errors: dict[str, float | None]
    seed_deviation: float | None
    knee: str | None = None
    alike: tuple[str, ...] = ()
    with_images: bool = False


def estimate(
    results: Iterable[CandidateResult],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    error_weight: float = 1.0,
    cost_weights: Sequence[float] = (),
) -> Uncertainty:
    """Draw images, seeds and rounds anew, and see what becomes of the front.

    The order of the results does not matter, and the same seed gives the same answer.

    Args:
        results: one for each candidate, all with the same objectives.
        draws: how many.
        seed: of the draws.
        error_weight: of log(error) at the knee.
        cost_weights: of the logarithm of each cost there; empty for 1 of all.
    """
    results = list(results)
    if not results:
        return Uncertainty({}, {}, {}, {}, None)
    made = _Draws(results, draws, seed)
    ordered, costs, factors = made.ordered, made.costs, made.factors
    names = [result.identity for result in ordered]
    members = _members(made.accuracies, made.bills)
    burden = log_costs(costs, cost_weights)[:, None]
    rule = _Rule(np.array([result.images for result in ordered]), made.accuracies, error_weight)
    knees = rule.knees(made.accuracies, burden + _shifts(factors, costs, cost_weights), members)
    means = np.array([[result.accuracy] for result in ordered])
    front = _members(means, costs[..., None])
    (middle,) = rule.knees(means, burden, front)
    (least,) = rule.least(means, burden, front)
    alike = np.flatnonzero(front[:, 0] & rule.alike(middle) & rule.alike(least))
    return Uncertainty(
        membership=dict(zip(names, members.mean(axis=1).tolist(), strict=True)),
        knee_share=dict(zip(names, _shares(knees, len(names)), strict=True)),
        rivals=_Rivals(ordered, costs, made.accuracies, factors),
        errors={
            result.identity: _error(
                image_error(result, sheet, row), made.deviation, len(result.accuracies)
            )
            for result, sheet, row in zip(ordered, made.sheets, made.pictured, strict=True)
        },
        with_images=any(
            result.images and (sheet is not None or result.metric == "accuracy")
            for result, sheet in zip(ordered, made.sheets, strict=True)
        ),
        seed_deviation=made.deviation,
        knee=names[middle],
        alike=tuple(names[index] for index in alike if index != middle),
    )


def drawn(
    results: Iterable[CandidateResult], *, draws: int = DRAWS, seed: int = 0
) -> tuple[list[str], Floats, Floats]:
    """Images, seeds and rounds drawn anew, as `estimate` draws them.

    Args:
        results: one for each candidate, all with the same objectives; at least one.
        draws: how many.
        seed: of the draws.

    Returns:
        The candidates by identity, their mean accuracies, (n, draws), and their costs,
        (n, costs, draws or 1).
    """
    made = _Draws(results, draws, seed)
    return [result.identity for result in made.ordered], made.accuracies, made.bills


class _Draws:
    """What `estimate` and `drawn` see, made once by the same lines.

    Attributes:
        ordered: the results, by the numbers of their candidates.
        costs: as measured, (candidates, costs).
        pictured: accuracies on the images of each draw, (candidates, draws).
        accuracies: the same with the noise of seeds.
        factors: logarithms of what multiplies each cost, (candidates, costs, draws or 1).
        bills: costs of each draw, of that shape.
        deviation: see `Uncertainty.seed_deviation`.
    """

    def __init__(self, results: Iterable[CandidateResult], draws: int, seed: int) -> None:
        self.ordered = sorted(results, key=lambda result: (result.number, result.identity))
        self.costs = np.array([result.costs for result in self.ordered], dtype=np.float64)
        self.sheets = sheets_of(self.ordered)
        self.deviation = _seed_deviation(self.ordered)
        rng = np.random.default_rng(seed)
        self.pictured = redrawn(self.ordered, self.sheets, draws, rng)
        self.accuracies = _with_seeds(self.ordered, self.pictured, self.deviation, rng)
        self.factors = _log_factors(self.ordered, self.costs, draws, rng)
        self.bills = self.costs[..., None] * np.exp(self.factors)


def contested(
    results: Iterable[CandidateResult],
    *,
    low: float = 0.05,
    high: float = 0.95,
    draws: int = DRAWS,
) -> list[str]:
    """Identities of the candidates of which noise leaves open whether they are on the front.

    Those whose membership lies strictly between ``low`` and ``high``, the most doubtful first.
    """
    results = list(results)
    membership = estimate(results, draws=draws).membership
    open_ = [result for result in results if low < membership[result.identity] < high]
    open_.sort(key=lambda r: (abs(membership[r.identity] - 0.5), r.number, r.identity))
    return [result.identity for result in open_]


def _seed_deviation(results: Sequence[CandidateResult]) -> float | None:
    """Standard deviation within candidates, pooled; None where none has two seeds."""
    repeated = [result.accuracies for result in results if len(result.accuracies) > 1]
    freedom = sum(len(accuracies) - 1 for accuracies in repeated)
    if not freedom:
        return None
    # Exact: equal accuracies have no deviation, not one of rounding.
    squares = math.fsum(statistics.variance(a) * (len(a) - 1) for a in repeated)
    return math.sqrt(squares / freedom)


def _with_seeds(
    results: Sequence[CandidateResult],
    pictured: Floats,
    deviation: float | None,
    rng: np.random.Generator,
) -> Floats:
    """Mean accuracies on the images of each draw, (candidates, draws), with the noise of seeds."""
    if not deviation:
        return pictured
    seeds = np.array([len(result.accuracies) for result in results])
    noise: Floats = rng.normal(0.0, deviation / np.sqrt(seeds)[:, None], pictured.shape)
    return pictured + noise


def _log_factors(
    results: Sequence[CandidateResult], costs: Floats, draws: int, rng: np.random.Generator
) -> Floats:
    """Logarithms of what multiplies each cost in each draw, (candidates, costs, draws).

    The last axis is 1 where no cost is drawn.
    """
    errors = np.array([r.log_errors or (0.0,) * costs.shape[1] for r in results], dtype=np.float64)
    rounds = np.array([result.rounds for result in results])
    drawn = (rounds[:, None] > 1) & np.isfinite(costs) & (costs != 0.0)
    errors = np.where(drawn, errors, 0.0)
    if not errors.any():
        return np.zeros((*costs.shape, 1))
    # The same figures with the same errors are of one timing.
    rows = np.where(errors > 0, costs, 0.0)
    keys = np.column_stack([rows, errors, rounds])
    _, first, timing = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    freedom = np.maximum(rounds[first] - 1, 1)[:, None]
    moved = rng.standard_t(freedom, (len(first), draws))[timing.ravel()]
    # A maximised cost comes negated: its inverse rises with the time.
    found: Floats = np.copysign(errors, costs)[..., None] * moved[:, None]
    # Of two draws Student's t has no bound that a number could hold.
    return np.clip(found, -_FARTHEST, _FARTHEST)


def _shifts(factors: Floats, costs: Floats, weights: Sequence[float] = ()) -> Floats:
    """What the factors add to the mean logarithm of the costs, (candidates, draws or 1)."""
    if not costs.shape[1]:
        return np.zeros((len(costs), 1))
    signed = np.copysign(1.0, costs) * (weights or 1.0)
    found: Floats = (signed[..., None] * factors).mean(axis=1)
    return found


def _members(drawn: Floats, costs: Floats) -> Flags:
    """Who is not dominated in each draw, (candidates, draws); equals do not dominate.

    Args:
        drawn: accuracies, (candidates, draws).
        costs: (candidates, costs, draws or 1).
    """
    if len(drawn) > _FEW:
        each = np.broadcast_to(costs, (*costs.shape[:2], drawn.shape[1]))
        draws = range(drawn.shape[1])
        fronts = [non_dominated(np.column_stack([-drawn[:, d], each[..., d]])) for d in draws]
        return np.stack(fronts, axis=1)
    members = np.ones(drawn.shape, dtype=np.bool_)
    for index, own in enumerate(drawn):  # all draws of one candidate at once
        no_dearer = (costs <= costs[index]).all(axis=1)
        cheaper = no_dearer & (costs < costs[index]).any(axis=1)
        beaten = (no_dearer & (drawn > own)) | (cheaper & (drawn >= own))
        members[index] = ~beaten.any(axis=0)
    return members


def _shares(indices: NDArray[np.int64], count: int) -> list[float]:
    """How often each of so many indices occurs, as a share."""
    found: list[float] = (np.bincount(indices, minlength=count) / len(indices)).tolist()
    return found


class _Rule:
    """Names the knee of fronts, given what the draws tell apart.

    Args:
        images: behind each accuracy, (candidates,).
        drawn: accuracies, (candidates, draws).
        error_weight: of log(error).
    """

    def __init__(self, images: NDArray[np.int64], drawn: Floats, error_weight: float = 1.0) -> None:
        self._images = images
        self._error_weight = error_weight
        self._drawn = drawn
        self._alike: dict[int, Flags] = {}

    def alike(self, index: int) -> Flags:
        """Whose accuracy is not told from the candidate's, itself included, (candidates,)."""
        if index not in self._alike:
            self._alike[index] = _alike(self._drawn[index], self._drawn)
        return self._alike[index]

    def least(self, accuracies: Floats, burden: Floats, members: Flags) -> NDArray[np.int64]:
        """Of each column's members that with the least sum, (columns,), noise left aside.

        Args:
            accuracies: (candidates, columns).
            burden: mean logarithm of the costs, (candidates, columns or 1).
            members: of the front, (candidates, columns).
        """
        total = self._error_weight * log_error(accuracies, self._images[:, None]) + burden
        return first_least(np.where(members, total, np.inf))

    def knees(self, accuracies: Floats, burden: Floats, members: Flags) -> NDArray[np.int64]:
        """The knee of each column's members, (columns,), from what `least` takes."""
        least = self.least(accuracies, burden, members)
        burden = np.broadcast_to(burden, accuracies.shape)
        found = least.copy()
        for index in np.unique(least):
            column = np.flatnonzero(least == index)
            open_ = members[:, column] & self.alike(int(index))[:, None]
            # What is as cheap is no cheaper: it does not take the place of the least.
            price = np.where(open_, burden[:, column], np.inf)
            cheapest = np.argmin(price, axis=0)
            cheaper = price[cheapest, np.arange(len(column))] < burden[index, column]
            found[column] = np.where(cheaper, cheapest, index)
        return found


def _alike(own: Floats, others: Floats) -> Flags:
    """Which figures (n, draws) are not told from these (draws,): their differences hold 0."""
    gaps = own - others
    rarer = np.minimum((gaps <= 0).mean(axis=1), (gaps >= 0).mean(axis=1))
    found: Flags = rarer >= _ALPHA / 2
    return found


class _Rivals(Mapping[str, tuple[str, ...]]):
    """Rivals by candidate, worked out when they are asked for: those of all are of its square."""

    def __init__(
        self, results: Sequence[CandidateResult], costs: Floats, drawn: Floats, factors: Floats
    ) -> None:
        self._names = [result.identity for result in results]
        self._places = {name: place for place, name in enumerate(self._names)}
        errors = [result.cost_errors or (0.0,) * len(result.costs) for result in results]
        self._errors = np.array(errors, dtype=np.float64)
        self._costs = costs
        self._drawn = drawn
        self._factors = factors

    def __getitem__(self, name: str) -> tuple[str, ...]:
        index, costs = self._places[name], self._costs
        slack = _Z * np.hypot(self._errors, self._errors[index])
        no_more = costs <= costs[index] + slack
        for cost in np.flatnonzero(self._factors.any(axis=(0, 2))):  # those that are drawn
            bills = costs[:, cost, None] * np.exp(self._factors[:, cost])
            no_more[:, cost] |= _alike(bills[index], bills)
        affordable = no_more.all(axis=1)
        affordable[index] = False
        others = np.flatnonzero(affordable)
        alike = others[_alike(self._drawn[index], self._drawn[others])]
        return tuple(self._names[other] for other in alike)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _error(of_images: float, deviation: float | None, seeds: int) -> float | None:
    """Standard error of a mean accuracy, from the images and between seeds; never 0."""
    of_seeds = 0.0 if deviation is None else deviation / math.sqrt(seeds)
    return math.hypot(of_images, of_seeds) or None
