"""How much of a front is noise: which candidates would be on it, and at its knee, another time.

Accuracy has two sources of noise, costs that were timed have one, and all are drawn anew:

- **Validation images.** Images are drawn with replacement (Efron, 1979), and for all candidates
  the same ones, where it is recorded which each of them answered correctly: what is hard for
  one is hard for most, and differences are surer than the accuracies are. Where only the
  accuracy and the number of images are known, correct answers are binomial.
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
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnest_search.metrics import accuracy_error
from resnest_search.pareto import non_dominated
from resnest_search.study.answers import unpack
from resnest_search.study.knee import log_costs, log_error

__all__ = ["DRAWS", "CandidateResult", "Uncertainty", "contested", "drawn", "estimate"]

DRAWS = 1000
_ALPHA = 0.05  # two-sided: above it two accuracies, or two costs, are not told apart
_Z = 1.96  # standard errors within which two costs without rounds are the same
_FEW = 50  # candidates, up to which comparing all pairs takes less than a front for each draw
_FARTHEST = 50.0  # a logarithm of a factor on a cost
_AT_ONCE = 1_000_000  # images drawn at a time, which bounds the memory

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class CandidateResult:
    """What is known of a candidate that was trained to full length at least once.

    Attributes:
        identity: of the candidate.
        number: of its first complete trial; ties go to the lowest.
        costs: every objective but accuracy, oriented so that less is better.
        accuracies: fractions at the last epoch, one for each seed; at least one.
        images: validation images behind each accuracy; 0 where that is not known.
        correct: ``record.Epoch.correct`` of each seed's last epoch; empty for None of all.
        cost_errors: standard error of each cost, which counts for rivals alone; empty for 0.
        log_errors: standard error of each cost's logarithm, between rounds, which is drawn; empty
            for 0.
        rounds: behind each of these; below 2 none is drawn.
    """

    identity: str
    number: int
    costs: tuple[float, ...]
    accuracies: tuple[float, ...]
    images: int = 0
    correct: tuple[str | None, ...] = ()
    cost_errors: tuple[float, ...] = ()
    log_errors: tuple[float, ...] = ()
    rounds: int = 0

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return math.fsum(self.accuracies) / len(self.accuracies)


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
    """

    membership: dict[str, float]
    knee_share: dict[str, float]
    rivals: dict[str, tuple[str, ...]]
    errors: dict[str, float | None]
    seed_deviation: float | None
    knee: str | None = None
    alike: tuple[str, ...] = ()


def estimate(
    results: Iterable[CandidateResult], *, draws: int = DRAWS, seed: int = 0
) -> Uncertainty:
    """Draw images, seeds and rounds anew, and see what becomes of the front.

    The order of the results does not matter, and the same seed gives the same answer.

    Args:
        results: one for each candidate, all with the same objectives.
        draws: how many.
        seed: of the draws.
    """
    ordered = sorted(results, key=lambda result: (result.number, result.identity))
    if not ordered:
        return Uncertainty({}, {}, {}, {}, None)
    names = [result.identity for result in ordered]
    costs = np.array([result.costs for result in ordered], dtype=np.float64)
    sheets = [_Sheet.of(result) for result in ordered]
    deviation = _seed_deviation(ordered)
    rng = np.random.default_rng(seed)
    drawn = _accuracies(ordered, sheets, deviation, draws, rng)
    factors = _log_factors(ordered, costs, draws, rng)
    members = _members(drawn, costs[..., None] * np.exp(factors))
    burden = log_costs(costs)[:, None]
    rule = _Rule(np.array([result.images for result in ordered]), drawn)
    knees = rule.knees(drawn, burden + _shifts(factors, costs), members)
    means = np.array([[result.accuracy] for result in ordered])
    front = _members(means, costs[..., None])
    (middle,) = rule.knees(means, burden, front)
    (least,) = rule.least(means, burden, front)
    alike = np.flatnonzero(front[:, 0] & rule.alike(middle) & rule.alike(least))
    return Uncertainty(
        membership=dict(zip(names, members.mean(axis=1).tolist(), strict=True)),
        knee_share=dict(zip(names, _shares(knees, len(names)), strict=True)),
        rivals=_rivals(ordered, costs, drawn, factors),
        errors={
            result.identity: _error(result, sheet, deviation)
            for result, sheet in zip(ordered, sheets, strict=True)
        },
        seed_deviation=deviation,
        knee=names[middle],
        alike=tuple(names[index] for index in alike if index != middle),
    )


def drawn(
    results: Iterable[CandidateResult], *, draws: int = DRAWS, seed: int = 0
) -> tuple[list[str], Floats, Floats]:
    """Images, seeds and rounds drawn anew, as `estimate` draws them.

    Args:
        results: one for each candidate, all with the same objectives.
        draws: how many.
        seed: of the draws.

    Returns:
        The candidates by identity, their mean accuracies, (n, draws), and their costs,
        (n, costs, draws or 1).
    """
    ordered = sorted(results, key=lambda result: (result.number, result.identity))
    costs = np.array([result.costs for result in ordered], dtype=np.float64)
    rng = np.random.default_rng(seed)
    sheets = [_Sheet.of(result) for result in ordered]
    accuracies = _accuracies(ordered, sheets, _seed_deviation(ordered), draws, rng)
    factors = _log_factors(ordered, costs, draws, rng)
    return [r.identity for r in ordered], accuracies, costs[..., None] * np.exp(factors)


def contested(
    results: Iterable[CandidateResult],
    *,
    low: float = 0.05,
    high: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[str]:
    """Identities of the candidates of which noise leaves open whether they are on the front.

    Those whose membership lies strictly between ``low`` and ``high``, the most doubtful first.
    """
    results = list(results)
    membership = estimate(results, draws=draws, seed=seed).membership
    open_ = [result for result in results if low < membership[result.identity] < high]
    open_.sort(key=lambda r: (abs(membership[r.identity] - 0.5), r.number, r.identity))
    return [result.identity for result in open_]


@dataclass(frozen=True)
class _Sheet:
    """A candidate's answers, image by image."""

    images: str  # which images, see answers.py
    right: Floats  # (n,): how many of its seeds are right
    seeds: int

    @classmethod
    def of(cls, result: CandidateResult) -> _Sheet | None:
        """None where an answer sheet lacks, or does not give the recorded accuracy."""
        found = [unpack(text, result.images) for text in result.correct]
        sheets = [sheet for sheet in found if sheet is not None]
        if not sheets or len(sheets) != len(result.accuracies):
            return None
        pairs = zip(sheets, result.accuracies, strict=True)
        agree = all(abs(s.right.sum() - a * result.images) < 0.5 for s, a in pairs)
        if not agree or len({sheet.images for sheet in sheets}) > 1:
            return None
        right = np.stack([sheet.right for sheet in sheets]).sum(axis=0).astype(np.float64)
        return cls(sheets[0].images, right, len(sheets))


def _seed_deviation(results: Sequence[CandidateResult]) -> float | None:
    """Standard deviation within candidates, pooled; None where none has two seeds."""
    repeated = [result.accuracies for result in results if len(result.accuracies) > 1]
    freedom = sum(len(accuracies) - 1 for accuracies in repeated)
    if not freedom:
        return None
    # Exact: equal accuracies have no deviation, not one of rounding.
    squares = math.fsum(statistics.variance(a) * (len(a) - 1) for a in repeated)
    return math.sqrt(squares / freedom)


def _accuracies(
    results: Sequence[CandidateResult],
    sheets: Sequence[_Sheet | None],
    deviation: float | None,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Mean accuracy of each candidate in each draw of images and seeds, (candidates, draws)."""
    found = _with_images(results, sheets, draws, rng)
    if deviation:
        seeds = np.array([len(result.accuracies) for result in results])
        found += rng.normal(0.0, deviation / np.sqrt(seeds)[:, None], found.shape)
    return found


def _with_images(
    results: Sequence[CandidateResult],
    sheets: Sequence[_Sheet | None],
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Mean accuracy of each candidate on the images of each draw, (candidates, draws)."""
    drawn = np.repeat([[result.accuracy] for result in results], draws, axis=1)
    shared: dict[tuple[str, int], list[int]] = defaultdict(list)  # candidates, by their images
    for index, (result, sheet) in enumerate(zip(results, sheets, strict=True)):
        if sheet is not None:
            shared[sheet.images, result.images].append(index)
        elif result.images:
            share = min(1.0, max(0.0, result.accuracy))
            drawn[index] = rng.binomial(result.images, share, draws) / result.images
    for (_, images), alike in shared.items():
        group = [sheet for index in alike if (sheet := sheets[index]) is not None]
        right = np.stack([sheet.right for sheet in group])
        most = images * np.array([sheet.seeds for sheet in group])
        # Sums of whole numbers are exact, so that equal answers are equal in every draw.
        drawn[alike] = _sums(right, draws, rng) / most[:, None]
    return drawn


def _sums(right: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Sums of rows (candidates, images) over images drawn anew, (candidates, draws)."""
    images = right.shape[1]
    at_once = max(1, _AT_ONCE // images)
    parts = []
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        picked = rng.integers(images, size=(size, images))
        picked += images * np.arange(size)[:, None]
        times = np.bincount(picked.ravel(), minlength=size * images).reshape(size, images)
        parts.append(right @ times.T.astype(np.float64))
    return np.concatenate(parts, axis=1)


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


def _shifts(factors: Floats, costs: Floats) -> Floats:
    """What the factors add to the mean logarithm of the costs, (candidates, draws or 1)."""
    if not costs.shape[1]:
        return np.zeros((len(costs), 1))
    found: Floats = (np.copysign(1.0, costs)[..., None] * factors).mean(axis=1)
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
    """

    def __init__(self, images: NDArray[np.int64], drawn: Floats) -> None:
        self._images = images
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
        total = log_error(accuracies, self._images[:, None]) + burden
        found: NDArray[np.int64] = np.argmin(np.where(members, total, np.inf), axis=0)
        return found

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


def _rivals(
    results: Sequence[CandidateResult], costs: Floats, drawn: Floats, factors: Floats
) -> dict[str, tuple[str, ...]]:
    errors = np.array([r.cost_errors or (0.0,) * len(r.costs) for r in results], dtype=np.float64)
    rivals = {}
    for index, result in enumerate(results):
        slack = _Z * np.hypot(errors, errors[index])
        no_more = costs <= costs[index] + slack
        for cost in np.flatnonzero(factors.any(axis=(0, 2))):  # those that are drawn
            bills = costs[:, cost, None] * np.exp(factors[:, cost])
            no_more[:, cost] |= _alike(bills[index], bills)
        affordable = no_more.all(axis=1)
        affordable[index] = False
        others = np.flatnonzero(affordable)
        alike = others[_alike(drawn[index], drawn[others])]
        rivals[result.identity] = tuple(results[i].identity for i in alike)
    return rivals


def _error(result: CandidateResult, sheet: _Sheet | None, deviation: float | None) -> float | None:
    """Standard error of the mean accuracy, from the images and between seeds; never 0."""
    variances = []
    if result.images:
        spread = None if sheet is None else float(np.var(sheet.right / sheet.seeds))
        of_images = accuracy_error(result.accuracy, result.images, spread)
        variances.append((of_images or 0.0) ** 2)
    if deviation is not None:
        variances.append(deviation**2 / len(result.accuracies))
    return math.sqrt(math.fsum(variances)) or None
