"""What a sweep has come to by each of its moments: the hypervolume of what was complete then."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnest_search.metrics import metric_of
from resnest_search.pareto import Box, non_dominated
from resnest_search.study.record import Sweep, TrialRecord

__all__ = ["Gain", "gains"]

_WITHIN = 1e-6  # seconds; moments are stored as text


@dataclass(frozen=True)
class Gain:
    """A candidate became complete.

    Attributes:
        trial: the one that did.
        seconds: since the sweep began.
        epochs: that all trials had been trained by then.
        share: hypervolume of what was complete, as a share of what it has come to now.
    """

    trial: TrialRecord
    seconds: float
    epochs: int
    share: float


def gains(sweep: Sweep) -> list[Gain]:
    """In the order in which candidates became complete; none where no moments were recorded.

    Objectives are scaled to [0, 1] over the complete candidates, and the reference lies a tenth
    beyond the worst. A further seed of a candidate adds nothing: its values are those it has now.
    """
    done = sorted(
        (t for t in sweep.trials if t.stands and _timed(t)),
        key=lambda trial: trial.curve[-1].at or 0.0,
    )
    points = {trial.number: _point(sweep, trial) for trial in done}
    done = [trial for trial in done if np.isfinite(points[trial.number]).all()]
    if not done:
        return []
    table = np.stack([points[trial.number] for trial in done])
    box = Box(table)
    whole = box.volume(table)
    moments = sorted(e.at for t in sweep.trials for e in t.own_curve if e.at is not None)
    found, front = [], table[:0]
    for trial, point in zip(done, table, strict=True):
        front = np.vstack([front, point])
        front = front[non_dominated(front)]
        at = trial.curve[-1].at or 0.0
        share = box.volume(front) / whole if whole else 1.0
        found.append(Gain(trial, at, bisect_right(moments, at + _WITHIN), share))
    return found


def _timed(trial: TrialRecord) -> bool:
    return bool(trial.curve) and trial.curve[-1].at is not None


def _point(sweep: Sweep, trial: TrialRecord) -> NDArray[np.float64]:
    """Objectives, oriented so that less is better; NaN where one is not known."""
    values = {name: trial.mean(name) for name in sweep.objectives}
    return np.array(
        [np.nan if v is None else metric_of(name).sign * v for name, v in values.items()]
    )
