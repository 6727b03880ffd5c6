"""The rows that a sweep's file names, and how sure each one's change to the row before is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from resnest_search.study.read import candidate_results
from resnest_search.study.record import COMPLETE, Row, Sweep, TrialRecord
from resnest_search.study.uncertainty import drawn

__all__ = ["Compared", "compared_rows"]

_ENDS = (2.5, 97.5)  # percentiles that hold 95 %


@dataclass(frozen=True)
class Compared:
    """A row with its trial, and the change of its accuracy from the row before.

    Attributes:
        row: as the file has it.
        trial: of its candidate, the first complete one if any; None where none was begun.
        change: of the accuracy, a fraction; None for the first row, and where one did not end.
        interval: of 95 % of that; None where the noise is not known.
    """

    row: Row
    trial: TrialRecord | None
    change: float | None = None
    interval: tuple[float, float] | None = None


def compared_rows(sweep: Sweep) -> list[Compared]:
    """Each row beside the one before.

    The interval is that of the drawn differences: validation images drawn with replacement, the
    same ones for both where it is recorded which each answered correctly, and the deviation between
    seeds where it was measured (`uncertainty`).
    """
    if not sweep.rows:
        return []
    results = candidate_results(sweep.trials, ["accuracy"])
    means = {result.identity: result.accuracy for result in results}
    known = {result.identity for result in results if result.images or len(result.accuracies) > 1}
    names, accuracies, _ = drawn(results) if results else ([], np.empty((0, 0)), None)
    draws = dict(zip(names, accuracies, strict=True))
    found = []
    before = None
    for row in sweep.rows:
        pair = (row.candidate, before)
        change = interval = None
        if before is not None and all(name in means for name in pair):
            change = means[row.candidate] - means[before]
            if known.issuperset(pair):
                low, high = np.percentile(draws[row.candidate] - draws[before], _ENDS)
                interval = (float(low), float(high))
        found.append(Compared(row, _trial_of(sweep.trials, row.candidate), change, interval))
        before = row.candidate
    return found


def _trial_of(trials: Iterable[TrialRecord], candidate: str) -> TrialRecord | None:
    """The first complete trial of a candidate, else the one that got furthest."""
    own = [trial for trial in trials if trial.candidate == candidate]
    return max(own, key=lambda t: (t.state == COMPLETE, t.epochs, -t.number), default=None)
