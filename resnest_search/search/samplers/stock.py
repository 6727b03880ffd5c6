"""Optuna's own samplers, taught from a view of the study that they can stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnest_search.search.space import Candidate, Space

__all__ = ["StockSampler"]

_DRAWS = 1000  # random ones, where a space with a range has few allowed candidates
_ATTEMPTS = 20  # proposals asked of the sampler before a random unused candidate is taken


class StockSampler:
    """Asks one of Optuna's samplers, and never takes a candidate twice from a finite space.

    The study that records the truth is not the one that the sampler sees. With several
    objectives Optuna's TPESampler raises as soon as a pruned trial has intermediate values
    (``_get_pruned_trial_score`` wants a single direction), and ignoring pruned trials would
    teach it nothing of the bad regions. So it sees, in memory: complete trials as they are,
    pruned ones as if complete with the accuracy they had reached and their exact costs,
    running ones as running, failed ones not at all.

    The sampler is made anew for each proposal from (seed, trial number), since its random
    state is not in the study: a resumed sweep proposes what the uninterrupted one would.

    Args:
        make: the sampler from a seed.
        space: what varies.
        directions: of the objectives.
        values: objective values of a pruned trial so far, None where they are not known.
        seed: of the sweep.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        space: Space,
        directions: Sequence[StudyDirection],
        values: Callable[[FrozenTrial], list[float] | None],
        seed: int,
    ) -> None:
        self._make = make
        self._space = space
        self._directions = list(directions)
        self._values = values
        self._seed = seed

    def propose(
        self,
        number: int,
        trials: Sequence[FrozenTrial],
        unused: Mapping[str, Candidate] | None,
        allowed: Callable[[Candidate], bool],
        latency: Callable[[Candidate], float],
    ) -> Candidate:
        """The next candidate; unused are the allowed ones of a finite space, None of others.

        Raises:
            RuntimeError: of a space with a range, next to nothing is possible and allowed.
        """
        taught = [shown for trial in trials if (shown := self._shown(trial)) is not None]
        for attempt in range(_ATTEMPTS):
            candidate = self._ask(self._make(self._reseeded(number, attempt)), taught)
            if candidate is not None and allowed(candidate):
                return candidate
        if unused is not None:
            rng = np.random.default_rng([self._seed, number])
            return unused[sorted(unused)[int(rng.integers(len(unused)))]]
        for attempt in range(_ATTEMPTS, _ATTEMPTS + _DRAWS):
            candidate = self._ask(RandomSampler(seed=self._reseeded(number, attempt)), [])
            if candidate is not None and allowed(candidate):
                return candidate
        raise RuntimeError(f"none of {_DRAWS} random draws of the space is possible and allowed")

    def _reseeded(self, number: int, attempt: int) -> int:
        return int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0])

    def _ask(self, sampler: BaseSampler, taught: Sequence[FrozenTrial]) -> Candidate | None:
        view = optuna.create_study(directions=self._directions, sampler=sampler)
        view.add_trials(taught)
        asked = view.ask(dict(self._space.distributions))
        try:
            return self._space.candidate(asked.params)
        except ValueError:  # an impossible variant
            return None

    def _shown(self, trial: FrozenTrial) -> FrozenTrial | None:
        if trial.state == TrialState.RUNNING:
            return _copy(trial, self._space.distributions, TrialState.RUNNING, None)
        values = trial.values if trial.state == TrialState.COMPLETE else self._values(trial)
        if trial.state == TrialState.FAIL or values is None:
            return None
        return _copy(trial, self._space.distributions, TrialState.COMPLETE, list(values))


def _copy(
    trial: FrozenTrial,
    distributions: Mapping[str, BaseDistribution],
    state: TrialState,
    values: list[float] | None,
) -> FrozenTrial:
    return create_trial(
        state=state, values=values, params=trial.params, distributions=dict(distributions)
    )
