"""From the study to the plain records that a person is shown."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from resnest_search.metrics import COSTS, SHARES, TRAINED, metric_of, sought_share
from resnest_search.pareto import non_dominated
from resnest_search.study.knee import first_in_order, knee
from resnest_search.study.record import (
    COMPLETE,
    INFEASIBLE,
    INTERRUPTED,
    MOST_WITHOUT_KNEE,
    PAUSED,
    RUNNING,
    Driver,
    Ending,
    Epoch,
    Row,
    Sweep,
    TrialRecord,
)
from resnest_search.study.study import SweepStudy, curve_of, paused_because
from resnest_search.study.uncertainty import CandidateResult, Uncertainty, estimate

__all__ = [
    "candidate_results",
    "candidate_values",
    "costs_in",
    "judged_anew",
    "placed",
    "read_sweep",
    "record_of",
    "rivals_of",
    "with_uncertainty",
]

_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: RUNNING,
}


def read_sweep(
    study: SweepStudy, folder: Path, uncertainty: bool = True, at_work: bool = True
) -> Sweep:
    """The sweep as the study has it now, with its front, and what is chosen of it.

    Args:
        study: of the sweep.
        folder: the run's.
        uncertainty: also estimate what noise leaves open, which takes longer the more trials are
            complete, and choose, which needs that.
        at_work: whether a driver may be at work on it; else what is not over was interrupted.
    """
    notes = study.notes
    records = [record_of(trial) for trial in study.trials()]
    if not at_work:
        records = [_interrupted(record) for record in records]
    trials = placed(records, study.objectives)
    ruled_out = [_ruled_out(entry) for entry in notes.get("infeasible", [])]
    search = notes.get("config", {}).get("search", {})
    most = int(search.get("epochs", 0)) * (1 + int(search.get("repeats", 0)))  # of a candidate
    sweep = Sweep(
        name=notes.get("name", ""),
        question=notes.get("question", ""),
        folder=str(folder),
        config=notes.get("config", {}),
        objectives=study.objectives,
        trials=(*trials, *ruled_out),
        rungs=tuple(notes.get("rungs", ())),
        budget=search.get("budget") or most * int(notes.get("most_trials", 0)),
        started=notes.get("started", ""),
        seconds=float(notes.get("seconds", 0.0)),
        finished=bool(notes.get("finished", False)),
        at_work=at_work,
        command=notes.get("command", ""),
        versions=notes.get("versions", {}),
        images=notes.get("images", {}).get("digest"),
        names=notes.get("images", {}).get("names") or None,
        table=notes.get("table"),
        warnings=tuple(notes.get("warnings", ())),
        cost_doubts=tuple(notes.get("cost_doubts", ())),
        packing=notes.get("packing", ""),
        drivers=tuple(Driver(**driver) for driver in notes.get("drivers", ())),
        ending=_ending(notes),
        rows=tuple(Row(**row) for row in notes.get("rows", ())),
    )
    return with_uncertainty(sweep) if uncertainty else sweep


def _ending(notes: Mapping[str, Any]) -> Ending | None:
    """Of a finished sweep; a resume with larger bounds may have made an older one void."""
    found = notes.get("ending")
    if not found or not notes.get("finished"):
        return None
    lost = found["lost"]
    return Ending(**{**found, "lost": lost and (lost[0], lost[1])})


def placed(trials: Sequence[TrialRecord], objectives: Sequence[str]) -> list[TrialRecord]:
    """The trials with means over seeds and the front of these means.

    Of several seeds of a candidate the first complete trial stands for all.
    """
    repeats = _repeats(trials)
    members = _front(list(repeats.values()), objectives)
    return [_placed(trial, repeats.get(trial.candidate, []), members) for trial in trials]


def with_uncertainty(sweep: Sweep) -> Sweep:
    """The sweep with what noise leaves open, and with what is chosen of its front.

    Noise is left aside where none is known, and where the one trained objective is none of
    `metrics.SHARES`: of a loss the noise is not recorded, and without any the front is exact.
    """
    share = sought_share(sweep.objectives)
    results = candidate_results(sweep.trials, sweep.objectives)
    if share is None or not results:
        return dataclasses.replace(sweep, chosen=_chosen(sweep))
    costs = sweep.sought_costs
    found = estimate(
        results,
        error_weight=sweep.weights.get(share, 1.0),
        cost_weights=[sweep.weights.get(name, 1.0) for name in costs],
    )
    numbers = {result.identity: result.number for result in results}
    middle = None if found.knee is None else numbers[found.knee]
    sweep = dataclasses.replace(
        sweep,
        chosen=_chosen(sweep, middle),
        alike=tuple(numbers[identity] for identity in found.alike),
    )
    known = {
        "images": found.with_images,
        "seeds": found.seed_deviation is not None,
        "costs": any(any(result.log_errors) for result in results),
    }
    noise = tuple(source for source, measured in known.items() if measured)
    if not noise:
        return sweep
    trials = tuple(
        _judged(trial, found, share, numbers, with_knee=sweep.knee is not None)
        for trial in sweep.trials
    )
    return dataclasses.replace(
        sweep, trials=trials, noise=noise, seed_deviation=found.seed_deviation
    )


def judged_anew(sweep: Sweep, trials: Sequence[TrialRecord], **changes: Any) -> Sweep:
    """The sweep with other trials or rules: the front, the choice and what noise leaves of both.

    Args:
        sweep: as it stands.
        trials: in place of its own; what was ruled out before it was a trial is kept as it is.
        changes: fields of the sweep that are otherwise, too.
    """
    fresh = [_unjudged(trial) for trial in trials if trial.number >= 0]
    others = [trial for trial in trials if trial.number < 0]
    judged = (*placed(fresh, sweep.objectives), *others)
    return with_uncertainty(
        dataclasses.replace(sweep, trials=judged, chosen=None, alike=(), **changes)
    )


def rivals_of(sweep: Sweep, trial: TrialRecord) -> tuple[int, ...]:
    """Trials within noise of one that cost no more, by number, on the front or not."""
    if trial.on_front or trial.membership is None:
        return trial.rivals
    results = candidate_results(sweep.trials, sweep.objectives)
    numbers = {result.identity: result.number for result in results}
    return _rivals(trial, estimate(results), numbers)


def _rivals(trial: TrialRecord, found: Uncertainty, numbers: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(numbers[rival] for rival in found.rivals[trial.candidate])


def _unjudged(trial: TrialRecord) -> TrialRecord:
    """A trial without what its place among the others made of it."""
    return dataclasses.replace(
        trial,
        on_front=False,
        seeds=1,
        means={},
        errors={},
        repeat_of=None,
        membership=None,
        knee_share=None,
        rivals=(),
    )


def candidate_results(
    trials: Iterable[TrialRecord], objectives: Sequence[str]
) -> list[CandidateResult]:
    """What `uncertainty` asks, of each candidate with a complete trial, by their numbers.

    A candidate of which an objective is not known is on no front, and not among them. Of several
    trained objectives that in `metrics.SHARES` which comes first is the uncertain one.
    """
    share = next((name for name in objectives if name in SHARES), "accuracy")
    costs = [name for name in objectives if name != share]
    found = [
        CandidateResult(
            identity=group[0].candidate,
            number=group[0].number,
            costs=tuple(_mean(group, name) for name in costs),
            accuracies=tuple(-_less_is_better(trial.metric(share), share) for trial in group),
            images=group[0].validation_images,
            metric=share,
            correct=tuple(_answers(trial.curve[-1], share) for trial in group),
            cost_errors=tuple(group[0].cost_error(name) for name in costs),
            log_errors=tuple(group[0].log_error(name) for name in costs),
            rounds=group[0].latency_rounds,
        )
        for group in _repeats(trials).values()
        if all(trial.curve for trial in group)
    ]
    return [r for r in found if not any(map(math.isnan, (*r.costs, *r.accuracies)))]


def _answers(epoch: Epoch, share: str) -> str | None:
    """What tells the noise of a share: which images are right, or what each was taken for."""
    return epoch.correct if share == "accuracy" else epoch.sheet


def candidate_values(
    trials: Iterable[FrozenTrial], objectives: Sequence[str]
) -> dict[int, list[float] | None]:
    """What Optuna is to show of candidates with several complete trials, by their numbers.

    The first has the means over the seeds, the others None: Optuna's front is that of ``placed``.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    seeds = Counter(trial.user_attrs["candidate"] for trial in complete)
    several = [trial for trial in complete if seeds[trial.user_attrs["candidate"]] > 1]
    found: dict[int, list[float] | None] = dict.fromkeys(trial.number for trial in several)
    for group in _repeats(map(record_of, several)).values():
        means = [_mean(group, name) for name in objectives]
        found[group[0].number] = [
            metric_of(name).sign * mean for name, mean in zip(objectives, means, strict=True)
        ]
    return found


def record_of(trial: FrozenTrial) -> TrialRecord:
    """A trial as a plain record; where it stands among the others is not in it."""
    facts = trial.user_attrs
    curve = tuple(curve_of(trial))
    paused = paused_because(trial)
    own = curve[int(facts.get("inherited", 0)) :]  # its `own_curve`
    return TrialRecord(
        number=trial.number,
        candidate=facts["candidate"],
        variant=facts["variant"],
        parameters=facts["parameters"],
        state=PAUSED if paused else _STATES[trial.state],
        reason=paused or _why(trial),
        curve=curve,
        validation_images=curve[-1].images if curve else 0,
        pruned_at=facts.get("pruned_at") if trial.state == TrialState.PRUNED else None,
        seed=facts["seed"],
        seconds=sum(entry.seconds for entry in own),
        joules=_joules(own),
        occupied=_occupied(facts, curve),
        lost=int("diverged" in facts),
        inherited=int(facts.get("inherited", 0)),
        **costs_in(facts),
    )


def costs_in(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial's facts, or a `Costing`'s, say of costs, as a record has it."""
    return {
        "costs": {n: facts[n] for n in (*COSTS, *facts.get("own_costs", ())) if n in facts},
        "device": facts["device"],
        "mode": facts["mode"],
        "train_mode": facts.get("train_mode", ""),
        "versions": facts.get("versions", {}),
        "latency_passes": int(facts.get("latency_passes", 0)),
        "latency_rounds": int(facts.get("latency_rounds", 0)),
        "half_width": facts.get("latency_half_width"),
        "deviations": facts.get("deviations", {}),
        "also": facts.get("also", {}),
    }


def _joules(curve: Sequence[Epoch]) -> float | None:
    """Of epochs, where each is known."""
    known = [epoch.joules for epoch in curve if epoch.joules is not None]
    return sum(known) if known and len(known) == len(curve) else None


def _occupied(facts: Mapping[str, Any], curve: Sequence[Epoch]) -> float:
    """Seconds from each start of a trial to the last epoch that followed it."""
    starts = [float(segment["at"]) for segment in facts.get("segments", ())]
    ends = [epoch.at for epoch in curve if epoch.at is not None]
    ends += [facts["diverged"]["at"]] if "diverged" in facts else []
    seconds = 0.0
    for start, following in itertools.pairwise([*starts, math.inf]):
        last = max((end for end in ends if start <= end <= following), default=start)
        seconds += last - start
    return seconds


def _why(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("reason", "")) if trial.state.is_finished() else ""


def _interrupted(trial: TrialRecord) -> TrialRecord:
    """A trial that nobody is at work on."""
    return dataclasses.replace(trial, state=INTERRUPTED) if trial.state == RUNNING else trial


def _ruled_out(entry: dict[str, Any]) -> TrialRecord:
    return TrialRecord(number=-1, state=INFEASIBLE, **entry)


def _repeats(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """The complete trials of each candidate, one for each seed, by their numbers."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state == COMPLETE:
            group = groups.setdefault(trial.candidate, [])
            if all(trial.seed != other.seed for other in group):
                group.append(trial)
    return groups


def _front(repeats: Sequence[Sequence[TrialRecord]], objectives: Sequence[str]) -> set[int]:
    """Numbers of the first trials of the candidates on the front."""
    if not repeats:
        return set()
    points = np.array([[_mean(group, name) for name in objectives] for group in repeats])
    return {repeats[i][0].number for i in np.flatnonzero(_on_front(points)).tolist()}


def _chosen(sweep: Sweep, middle: int | None = None) -> int | None:
    """Number of the trial that stands for the front: its knee, where there is anything to choose.

    Of a front of one or two members it is what the order of the objectives puts first, unless
    weights say what they are worth.

    Args:
        sweep: with its front.
        middle: the number at the knee, where noise was asked; worked out without noise if not.
    """
    groups = _repeats(sweep.trials)
    members = [groups[trial.candidate] for trial in sweep.trials if trial.on_front]
    if not members:
        return None
    points = np.array([[_mean(group, name) for name in sweep.objectives] for group in members])
    if len(members) <= MOST_WITHOUT_KNEE and not sweep.weights:
        return members[first_in_order(points)][0].number
    if middle is None:
        images = [group[0].validation_images for group in members]
        middle = members[knee(points, sweep.objectives, images, sweep.weights)][0].number
    return middle


def _on_front(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Who is on the front, (n,): nobody of whom an objective is not known or not a number."""
    found: NDArray[np.bool_] = np.logical_not(np.isnan(points).any(axis=1))
    found[found] = non_dominated(points[found])
    return found


def _mean(group: Sequence[TrialRecord], name: str) -> float:
    """A candidate's metric, oriented: the mean over its seeds where they differ."""
    if name not in TRAINED:
        return _less_is_better(group[0].metric(name), name)
    return math.fsum(_less_is_better(trial.metric(name), name) for trial in group) / len(group)


def _placed(trial: TrialRecord, group: Sequence[TrialRecord], members: set[int]) -> TrialRecord:
    """The trial among the complete ones of its candidate, and on the front or not."""
    if not group:
        return trial
    first = group[0].number
    repeat_of = first if trial.number > first else None
    if trial.state != COMPLETE:
        return dataclasses.replace(trial, repeat_of=repeat_of)
    means = {name: -_mean(group, name) for name in SHARES}
    return dataclasses.replace(
        trial,
        on_front=trial.number in members,
        seeds=len(group),
        means={name: mean for name, mean in means.items() if not math.isnan(mean)},
        repeat_of=repeat_of,
    )


def _judged(
    trial: TrialRecord, found: Uncertainty, name: str, numbers: dict[str, int], with_knee: bool
) -> TrialRecord:
    """The trial with what noise leaves open of its candidate; ``name`` is the trained objective."""
    if trial.state != COMPLETE or trial.candidate not in numbers:
        return trial
    error = found.errors[trial.candidate]
    trial = dataclasses.replace(trial, errors={} if error is None else {name: error})
    if trial.number != numbers[trial.candidate]:
        return trial
    return dataclasses.replace(
        trial,
        membership=found.membership[trial.candidate],
        knee_share=found.knee_share[trial.candidate] if with_knee else None,
        # Those of thousands would take minutes: see `rivals_of`.
        rivals=_rivals(trial, found, numbers) if trial.on_front else (),
    )


def _less_is_better(value: float | None, name: str) -> float:
    if value is None:
        return float("nan")
    return metric_of(name).sign * value
