"""Further seeds for the candidates of which noise leaves open whether they are on the front."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from resnest_search.study.read import candidate_results, record_of
from resnest_search.study.uncertainty import contested

__all__ = ["wanted_repeat"]


def wanted_repeat(
    trials: Sequence[FrozenTrial], objectives: Sequence[str], most: int, least: int
) -> tuple[FrozenTrial, int, int] | None:
    """The trial to repeat next, as which repeat, from 1, with which seed; None for none.

    Among the contested candidates that with the fewest seeds, begun ones included, then
    the most doubtful.

    Args:
        trials: of the sweep.
        objectives: names of metrics.
        most: repeats of one candidate.
        least: the smallest seed; the smallest that a candidate lacks is taken.
    """
    records = [record_of(trial) for trial in trials]
    # Distinct ones: a trial that takes over another has its seed, and an earlier run's counts.
    seeds: dict[str, set[int]] = {}
    for trial in trials:
        facts = trial.user_attrs
        seeds.setdefault(facts["candidate"], set()).add(int(facts["seed"]))
    doubtful = [
        identity
        for identity in contested(candidate_results(records, objectives))
        if len(seeds[identity]) <= most
    ]
    if not doubtful:
        return None
    chosen = min(doubtful, key=lambda identity: len(seeds[identity]))
    first = next(trial for trial in trials if trial.user_attrs["candidate"] == chosen)
    seed = next(seed for seed in itertools.count(least) if seed not in seeds[chosen])
    return first, len(seeds[chosen]), seed
