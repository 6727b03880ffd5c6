"""The candidates of a sweep: what may still be started, and what measuring found out of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from resnest_search.space import Candidate, Space
from resnest_search.study.costing import Costing

__all__ = ["Pool"]


class Pool:
    """Candidates that no trial has and that nothing rules out.

    Args:
        space: what varies.
        costings: of every network of the space, by ``Candidate.network``.
        used: identities of the candidates that have a trial.
    """

    def __init__(self, space: Space, costings: Mapping[str, Costing], used: set[str]) -> None:
        self._costings = costings
        self._space = space
        self._used = set(used)
        self.unused: dict[str, Candidate] | None = (
            None  # by identity; None for a space with a range
        )
        if space.candidates is not None:
            self.unused = {c.identity: c for c in space.candidates if self.allows(c)}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to start."""
        return self.unused is not None and not self.unused

    def allows(self, candidate: Candidate) -> bool:
        """Whether a candidate may be started."""
        costing = self._costings[candidate.network]
        ruled_out = costing.failure or costing.infeasible
        return candidate.identity not in self._used and not ruled_out

    def take(self, candidate: Candidate) -> None:
        """A candidate is started."""
        self._used.add(candidate.identity)
        if self.unused is not None:
            del self.unused[candidate.identity]

    def unmeasured(self) -> Iterator[tuple[Candidate, str]]:
        """Candidates without a trial that could not be measured, and why."""
        for candidate in self._space.candidates or ():
            failure = self._costings[candidate.network].failure
            if failure and candidate.identity not in self._used:
                yield candidate, failure

    def costs(self, candidate: Candidate) -> Mapping[str, float]:
        """Measured costs, by the names of metrics."""
        return self._costings[candidate.network].costs

    def facts(self, candidate: Candidate) -> dict[str, Any]:
        """What a trial of the candidate keeps of it: names, costs, and how they were measured."""
        costing = self._costings[candidate.network]
        return {
            "candidate": candidate.identity,
            "variant": candidate.in_words,
            "parameters": dict(candidate.parameters),
            **costing.facts,
        }
