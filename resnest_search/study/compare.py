"""Several sweeps side by side: whose front is worth more, and how surely; what came and went."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnest_search.configuration.compose import from_record, to_record
from resnest_search.errors import UserError
from resnest_search.metrics import SHARES, TRAINED, metric_of, sought_share
from resnest_search.pareto import Box
from resnest_search.study.read import candidate_results
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord
from resnest_search.study.redrawn import sheets_of
from resnest_search.study.transfer import come_and_gone
from resnest_search.study.uncertainty import DRAWS, CandidateResult, drawn
from resnest_search.words import flat

__all__ = ["Comparison", "Difference", "Standing", "check_alike", "compare"]

_TIMED = ("latency_ms", "latency_p95_ms", "images_per_s", "memory_mib", "train_memory_mib")
_APART = (
    "run",
    "plan",
    "verbose",
    "storage",
    "tracking",
    "dashboard",
    "sweep",
)  # keys that change no result

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """A sweep among others.

    Attributes:
        sweep: as it stands.
        hypervolume: of its front, as a share of that of all fronts together.
        apart: of that hypervolume and the first sweep's, the interval of 95 % of the drawn
            differences; None for the first one, and where noise is not known of all that is sought.
        come, gone: on its front and not on the first one's, and the other way round, by name.
        is_of_other_data: whether what it trained for is known to be no task of the first one's.
    """

    sweep: Sweep
    hypervolume: float
    apart: tuple[float, float] | None = None
    come: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    is_of_other_data: bool = False


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


def compare(sweeps: Sequence[Sweep], *, draws: int = DRAWS) -> Comparison:
    """Lay sweeps side by side.

    Hypervolume is that of the objectives scaled to [0, 1] over the complete candidates of all
    sweeps, its reference a tenth beyond the worst, as a share of what all have together. The
    differences are drawn as `uncertainty` draws noise: with the same validation images for
    candidates of several sweeps where they saw the same ones (Efron, 1979), and each difference
    is of shares of what all have in that draw. A run is drawn once, however often it is named.

    Args:
        sweeps: two or more, as they stand.
        draws: how many.

    Raises:
        UserError: they have other objectives, or costs of other devices or modes, or one has no
            complete trial of which all objectives are known.
    """
    first = sweeps[0]
    check_alike(sweeps)
    named = {sweep.folder: sweep for sweep in sweeps}
    results: dict[str, list[CandidateResult]] = {
        folder: [
            dataclasses.replace(result, identity=f"{number} {result.identity}")
            for result in candidate_results(sweep.trials, first.objectives)
        ]
        for number, (folder, sweep) in enumerate(named.items())
    }
    for folder, own in results.items():
        if not own:
            raise UserError(f"run={folder}: of none of its trials all objectives are known")
    every = list(results.values())
    volumes = _volumes(every, not {*SHARES}.isdisjoint(first.objectives), draws)
    by_folder = dict(zip(results, zip(*volumes, strict=True), strict=True))
    found, apart = zip(*(by_folder[sweep.folder] for sweep in sweeps), strict=True)
    sought = sought_share(first.objectives)
    is_known = _has_noise(sought, every) if sought else {*TRAINED}.isdisjoint(first.objectives)
    standings = [Standing(first, found[0])]
    for sweep, share, ends in zip(sweeps[1:], found[1:], apart[1:], strict=True):
        come, gone = come_and_gone(first, sweep)
        is_other = not {*TRAINED}.isdisjoint(first.objectives) and _of_other_data(first, sweep)
        told = ends if is_known and not is_other else None
        standings.append(Standing(sweep, share, told, tuple(come), tuple(gone), is_other))
    return Comparison(first.objectives, tuple(standings), _shared(sweeps), _keys(sweeps))


def _volumes(
    results: Sequence[Sequence[CandidateResult]], with_accuracy: bool, draws: int
) -> tuple[list[float], list[tuple[float, float]]]:
    """Hypervolume of each sweep as a share of all, and its interval against the first one.

    Args:
        results: of each sweep.
        with_accuracy: whether it is an objective.
        draws: how many.
    """
    every = [result for own in results for result in own]
    names, accuracies, costs = drawn(every, draws=draws)
    owners = np.array([int(name.partition(" ")[0]) for name in names])
    by_name = {result.identity: result for result in every}
    means = np.array([[by_name[name].accuracy] for name in names])
    exact = np.array([by_name[name].costs for name in names])
    (points,) = _drawn_points(means, exact[..., None], with_accuracy, 1)
    box = Box(points)

    def shares(at: Floats) -> list[float]:
        whole = box.volume(at)  # a draw may leave nothing this side of the reference
        parts = [box.volume(at[owners == number]) for number in range(len(results))]
        return [part / whole if whole else 0.0 for part in parts]

    drawn_shares = np.array(
        [shares(at) for at in _drawn_points(accuracies, costs, with_accuracy, draws)]
    )
    apart = drawn_shares - drawn_shares[:, :1]
    low, high = np.percentile(apart, [2.5, 97.5], axis=0).tolist()
    return shares(points), list(zip(low, high, strict=True))


def _has_noise(share: str, results: Sequence[Sequence[CandidateResult]]) -> bool:
    """Whether the noise of a share can be drawn: from images or seeds, of others from answers."""
    every = [result for own in results for result in own]
    if share != "accuracy":
        return None not in sheets_of(every)
    return all(r.images for r in every) or any(len(r.accuracies) > 1 for r in every)


def _of_other_data(first: Sweep, sweep: Sweep) -> bool:
    """Whether the images, or the recorded table, are known to be others."""
    if first.replayed or sweep.replayed:
        known = bool(first.table and sweep.table)
        return first.replayed != sweep.replayed or (known and first.table != sweep.table)
    if first.images and sweep.images:
        return first.images != sweep.images
    here, there = (s.config.get("data", {}).get("name") for s in (first, sweep))
    return bool(here and there and here != there)


def _drawn_points(accuracies: Floats, costs: Floats, with_accuracy: bool, draws: int) -> Floats:
    """Objectives of every draw, less is better, (draws, candidates, objectives)."""
    bills = np.broadcast_to(costs, (*costs.shape[:2], draws))
    if with_accuracy:
        bills = np.concatenate([-accuracies[:, None], bills], axis=1)
    return np.moveaxis(bills, 2, 0)


def check_alike(sweeps: Sequence[Sweep]) -> None:
    """That sweeps may be laid side by side.

    Raises:
        UserError: as `compare`.
    """
    first = sweeps[0]
    costs = first.sought_costs
    for sweep in sweeps:
        if not any(trial.state == COMPLETE for trial in sweep.trials):
            raise UserError(f"run={sweep.folder}: has no complete trial to compare")
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


def _shared(sweeps: Sequence[Sweep]) -> tuple[Difference, ...]:
    """Candidates with a complete trial in each of the sweeps."""
    standing = [{t.candidate: t for t in s.trials if t.stands} for s in sweeps]
    both = [key for key in standing[0] if all(key in other for other in standing[1:])]
    found = [Difference(standing[0][k].name, tuple(own[k] for own in standing)) for k in both]
    name = sweeps[0].objectives[0]
    sign = metric_of(name).sign
    return tuple(sorted(found, key=lambda d: sign * _value(d.trials[0], name)))


def _value(trial: TrialRecord, name: str) -> float:
    value = trial.mean(name)
    return float("nan") if value is None else value


def _keys(sweeps: Sequence[Sweep]) -> dict[str, tuple[Any, ...]]:
    every = [flat(_in_todays_keys(sweep.config)) for sweep in sweeps]
    keys = sorted(set().union(*every))
    values = {key: tuple(own.get(key) for own in every) for key in keys}
    return {
        key: own
        for key, own in values.items()
        if key.partition(".")[0] not in _APART and any(value != own[0] for value in own)
    }


def _in_todays_keys(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what an earlier version did not know as it is taken for now; else as recorded."""
    try:
        return to_record(from_record(dict(config)))
    except UserError:  # of a later version
        return config
