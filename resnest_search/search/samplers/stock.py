"""Optuna's own samplers, taught from a view of the study that they can stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnest_search.search.situation import ProposingSampler, Situation
from resnest_search.space import Candidate, Space
from resnest_search.study.study import paused_because

__all__ = ["StockSampler"]

_GENERATION = "NSGAIISampler:generation"
_DRAWS = 1000  # random ones, where a space with a range has few allowed candidates
_ATTEMPTS = 20  # proposals asked of the sampler before a random unused candidate is taken


class StockSampler(ProposingSampler):
    """Asks one of Optuna's samplers, and never takes a candidate twice from a finite space.

    The study that records the truth is not the one that the sampler sees. With several
    objectives Optuna's TPESampler raises as soon as a pruned trial has intermediate values
    (``_get_pruned_trial_score`` wants a single direction), and ignoring pruned trials would
    teach it nothing of the bad regions. So it sees, in memory: complete trials as they are,
    pruned ones as if complete with the accuracy they had reached and their exact costs,
    paused ones alike, running ones as running, failed ones not at all.

    The sampler is made anew for each proposal from (seed, trial number), since its random
    state is not in the study: a resumed sweep proposes what the uninterrupted one would.

    Args:
        make: the sampler from a seed.
        space: what varies.
        directions: of the objectives.
        values: objective values of a pruned trial so far, None where they are not known.
        seed: of the sweep.
        population: trials of one generation, for NSGA-II.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        space: Space,
        directions: Sequence[StudyDirection],
        values: Callable[[FrozenTrial], list[float] | None],
        seed: int,
        population: int = 50,
    ) -> None:
        self._make = make
        self._population = population
        self._space = space
        self._directions = list(directions)
        self._values = values
        self._seed = seed

    def propose(self, situation: Situation) -> Candidate | None:
        """The next candidate; None where of a space with a range nothing new is found."""
        number = len(situation.trials)
        # A trial that was taken over is learned from once, as the one that continues it.
        continued = {trial.user_attrs.get("continues") for trial in situation.trials}
        trials = (trial for trial in situation.trials if trial.number not in continued)
        shown = [copied for t in trials if (copied := self._shown(t)) is not None]
        for attempt in range(_ATTEMPTS):
            candidate = self._ask(self._make(self._reseeded(number, attempt)), shown)
            if candidate is not None and situation.allowed(candidate):
                return candidate
        if situation.unused is not None:
            rng = np.random.default_rng([self._seed, number])
            return situation.unused[
                sorted(situation.unused)[int(rng.integers(len(situation.unused)))]
            ]
        for attempt in range(_ATTEMPTS, _ATTEMPTS + _DRAWS):
            candidate = self._ask(RandomSampler(seed=self._reseeded(number, attempt)), [])
            if candidate is not None and situation.allowed(candidate):
                return candidate
        return None

    def _reseeded(self, number: int, attempt: int) -> int:
        return int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0])

    def _ask(self, sampler: BaseSampler, taught: Sequence[FrozenTrial]) -> Candidate | None:
        view = optuna.create_study(directions=self._directions, sampler=sampler)
        view.add_trials(taught)
        asked = view.ask(dict(self._space.distributions))
        try:
            return self._space.proposed(asked.params)
        except ValueError:  # an impossible variant
            return None

    def _shown(self, trial: FrozenTrial) -> FrozenTrial | None:
        if trial.state == TrialState.FAIL:
            return None
        values = trial.values if trial.state == TrialState.COMPLETE else self._values(trial)
        if trial.state == TrialState.RUNNING and not paused_because(trial):
            values = None
        elif values is None:
            return None
        return create_trial(
            state=TrialState.RUNNING if values is None else TrialState.COMPLETE,
            values=values,
            params=trial.params,
            distributions=trial.distributions,
            # NSGA-II looks for its generations here; those of the record are the order of trials.
            system_attrs={_GENERATION: trial.number // self._population},
        )
