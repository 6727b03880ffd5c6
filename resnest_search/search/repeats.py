"""Further seeds for the candidates of which noise leaves open whether they are on the front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from resnest_search.search.read import candidate_results, record_of
from resnest_search.search.uncertainty import contested

__all__ = ["wanted_repeat"]


def wanted_repeat(
    trials: Sequence[FrozenTrial], objectives: Sequence[str], most: int
) -> tuple[FrozenTrial, int] | None:
    """The trial to repeat next, and as which repeat, from 1; None where none is wanted.

    Among the contested candidates that with the fewest repeats, begun ones included, then
    the most doubtful.

    Args:
        trials: of the sweep.
        objectives: names of metrics.
        most: repeats of one candidate.
    """
    records = [record_of(trial) for trial in trials]
    # Distinct ones: a trial that takes over another is the same repeat.
    repeats = {repeat for trial in trials if (repeat := _repeat(trial)) is not None}
    begun = Counter(candidate for candidate, _ in repeats)
    doubtful = [
        identity
        for identity in contested(candidate_results(records, objectives))
        if begun[identity] < most
    ]
    if not doubtful:
        return None
    chosen = min(doubtful, key=lambda identity: begun[identity])
    first = next(trial for trial in trials if trial.user_attrs["candidate"] == chosen)
    return first, begun[chosen] + 1


def _repeat(trial: FrozenTrial) -> tuple[str, int] | None:
    """Which repeat of which candidate a trial is; None for none."""
    facts = trial.user_attrs
    return (facts["candidate"], facts["repeat"]) if "repeat" in facts else None
