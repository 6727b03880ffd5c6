"""Several sweeps side by side: whose front is worth more, and how surely; what came and went."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnest_search.errors import UserError
from resnest_search.metrics import TRAINED, metric_of
from resnest_search.pareto import hypervolume, non_dominated
from resnest_search.study.read import candidate_results
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord
from resnest_search.study.uncertainty import DRAWS, CandidateResult, drawn

__all__ = ["Comparison", "Difference", "Standing", "compare"]

_MARGIN = 0.1  # of the range beyond the worst, where hypervolume begins
_TIMED = ("latency_ms", "latency_p95_ms", "images_per_s", "memory_mib", "train_memory_mib")
_APART = ("run", "plan", "verbose", "storage", "tracking", "sweep")  # keys that change no result

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """A sweep among others.

    Attributes:
        sweep: as it stands.
        hypervolume: of its front, as a share of that of all fronts together.
        apart: of that hypervolume and the first sweep's, the interval of 95 % of the drawn
            differences; None for the first one.
        come, gone: on its front and not on the first one's, and the other way round, by name.
    """

    sweep: Sweep
    hypervolume: float
    apart: tuple[float, float] | None = None
    come: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A candidate that all sweeps trained to its end.

    Attributes:
        name: the candidate's.
        trials: that stand for it, one for each sweep.
    """

    name: str
    trials: tuple[TrialRecord, ...]


@dataclass(frozen=True)
class Comparison:
    """What several sweeps come to.

    Attributes:
        objectives: of all of them.
        standings: in the order in which they were asked for.
        shared: candidates that all have, the best in the first sweep first.
        keys: configuration that differs, by key, a value for each sweep.
    """

    objectives: tuple[str, ...]
    standings: tuple[Standing, ...]
    shared: tuple[Difference, ...]
    keys: Mapping[str, tuple[Any, ...]]


def compare(sweeps: Sequence[Sweep], *, draws: int = DRAWS, seed: int = 0) -> Comparison:
    """Lay sweeps side by side.

    Hypervolume is that of the objectives scaled to [0, 1] over the complete candidates of all
    sweeps, its reference a tenth beyond the worst, as a share of what all have together. The
    differences are drawn as `uncertainty` draws noise: with the same validation images for
    candidates of several sweeps where they saw the same ones (Efron, 1979).

    Args:
        sweeps: two or more, as they stand.
        draws: how many.
        seed: of the draws.

    Raises:
        UserError: they have other objectives, or costs of other devices or modes, or one has no
            complete trial.
    """
    first = sweeps[0]
    for sweep in sweeps:
        if not any(trial.state == COMPLETE for trial in sweep.trials):
            raise UserError(f"run={sweep.folder}: has no complete trial to compare")
    _check(sweeps)
    results: list[list[CandidateResult]] = [
        [
            dataclasses.replace(result, identity=f"{number} {result.identity}")
            for result in candidate_results(sweep.trials, first.objectives)
        ]
        for number, sweep in enumerate(sweeps)
    ]
    for sweep, own in zip(sweeps, results, strict=True):
        if not own:
            raise UserError(f"run={sweep.folder}: of none of its trials all costs are known")
    names, accuracies, costs = drawn([r for own in results for r in own], draws=draws, seed=seed)
    owners = np.array([int(name.partition(" ")[0]) for name in names])
    means = {result.identity: result for own in results for result in own}
    points = np.array([[-means[name].accuracy, *means[name].costs] for name in names])
    if "accuracy" not in first.objectives:
        points = points[:, 1:]
    scale = _Scale(points)
    found = scale.shares(points, owners, len(sweeps))
    every = _drawn_points(accuracies, costs, "accuracy" in first.objectives, draws)
    shares = np.array([scale.shares(at, owners, len(sweeps)) for at in every])
    standings = []
    for number, sweep in enumerate(sweeps):
        if not number:
            standings.append(Standing(sweep, float(found[0])))
            continue
        low, high = np.percentile(shares[:, number] - shares[:, 0], [2.5, 97.5])
        come, gone = _changes(first, sweep)
        apart = (float(low), float(high))
        standings.append(Standing(sweep, float(found[number]), apart, come, gone))
    return Comparison(first.objectives, tuple(standings), _shared(sweeps), _keys(sweeps))


class _Scale:
    """Objectives scaled over all candidates, and what fronts are worth in them."""

    def __init__(self, points: Floats) -> None:
        self._low = points.min(axis=0)
        span = np.ptp(points, axis=0)
        self._span = np.where(span > 0, span, 1.0)
        self._corner = [1.0 + _MARGIN] * points.shape[1]
        self._whole = self._volume(points)

    def shares(self, points: Floats, owners: NDArray[np.int64], count: int) -> Floats:
        """Of each owner's candidates, of what all had without noise, (count,)."""
        return np.array([self._volume(points[owners == n]) / self._whole for n in range(count)])

    def _volume(self, points: Floats) -> float:
        # Noise may take a value beyond the corner, where it is worth nothing.
        scaled = np.minimum((points - self._low) / self._span, self._corner)
        return hypervolume(scaled[non_dominated(scaled)], self._corner)


def _drawn_points(accuracies: Floats, costs: Floats, with_accuracy: bool, draws: int) -> Floats:
    """Objectives of every draw, less is better, (draws, candidates, objectives)."""
    bills = np.broadcast_to(costs, (*costs.shape[:2], draws))
    if with_accuracy:
        bills = np.concatenate([-accuracies[:, None], bills], axis=1)
    return np.moveaxis(bills, 2, 0)


def _check(sweeps: Sequence[Sweep]) -> None:
    first = sweeps[0]
    costs = [name for name in first.objectives if name not in TRAINED]
    for sweep in sweeps[1:]:
        if set(sweep.objectives) != set(first.objectives):
            raise UserError(
                f"run={sweep.folder}: seeks {', '.join(sweep.objectives)}, and run={first.folder} "
                f"{', '.join(first.objectives)}; valid: runs with the same search.objectives"
            )
        if not any(name in _TIMED for name in costs):
            continue
        here, there = (_modes(s) for s in (first, sweep))
        if here != there:
            raise UserError(
                f"run={sweep.folder}: its costs are of {_listed(there)}, those of "
                f"run={first.folder} of {_listed(here)}; valid: runs of one device and mode, or "
                "measure.profile=FILE to see all with the costs of one"
            )


def _modes(sweep: Sweep) -> set[str]:
    return {f"{t.device}: {t.mode}" for t in sweep.trials if t.state == COMPLETE and t.costs}


def _listed(modes: set[str]) -> str:
    return " and ".join(sorted(modes)) or "nothing"


def _changes(first: Sweep, other: Sweep) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of those that are on the other's front and not on the first one's, and the reverse."""
    old = {trial.candidate: trial.name for trial in first.front}
    new = {trial.candidate: trial.name for trial in other.front}
    come = tuple(name for key, name in new.items() if key not in old)
    return come, tuple(name for key, name in old.items() if key not in new)


def _shared(sweeps: Sequence[Sweep]) -> tuple[Difference, ...]:
    """Candidates with a complete trial in each of the sweeps."""
    standing = [
        {t.candidate: t for t in s.trials if t.state == COMPLETE and t.repeat_of is None}
        for s in sweeps
    ]
    both = [key for key in standing[0] if all(key in other for other in standing[1:])]
    found = [Difference(standing[0][k].name, tuple(own[k] for own in standing)) for k in both]
    name = sweeps[0].objectives[0]
    sign = -1.0 if metric_of(name).maximize else 1.0
    return tuple(sorted(found, key=lambda d: sign * _value(d.trials[0], name)))


def _value(trial: TrialRecord, name: str) -> float:
    value = trial.mean_accuracy if name == "accuracy" else trial.metric(name)
    return float("nan") if value is None else value


def _keys(sweeps: Sequence[Sweep]) -> dict[str, tuple[Any, ...]]:
    flat = [_flat(sweep.config) for sweep in sweeps]
    keys = sorted(set().union(*flat))
    values = {key: tuple(own.get(key) for own in flat) for key in keys}
    return {
        key: own
        for key, own in values.items()
        if key.partition(".")[0] not in _APART and any(value != own[0] for value in own)
    }


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        key = f"{prefix}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return flat
