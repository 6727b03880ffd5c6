"""A sampler that proposes and a stopper that ends trials early, made into one search.

Samplers repeat themselves on small spaces; a repeat costs nothing here. It is asked again, and
where it keeps repeating, a random unused candidate takes the place of its proposal. A
combination that is no candidate stands for the nearest one (`TableSpace.candidate`), which the
sampler is told in its place.

Where the costs are known beforehand, the sampler is asked for several distinct candidates, and the
one is trained whose costs lie farthest from those of all that were begun: so the search spreads
over the costs, as the front does. (Tried, too: the one that would add most hypervolume were it as
accurate as the best so far. That is little else than cheapest first.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from search_peers.race import Measured, Problem
from search_peers.table import Costs, Setting

__all__ = ["PROPOSALS", "TRIES", "NoStopper", "Sampled", "Sampler", "Spread", "Stopper"]

TRIES = 5  # proposals asked of a sampler before a random unused candidate is taken
PROPOSALS = 3  # distinct ones to choose among where costs are known


class Sampler(Protocol):
    """Proposes what to train."""

    def propose(self) -> tuple[int, Setting | None]:
        """A ticket and a setting, possibly used or no candidate; None where it has no more."""

    def refuse(self, ticket: int) -> None:
        """This proposal is not trained, and tells nothing."""

    def insist(self, setting: Setting) -> int:
        """A setting is trained that was not proposed; its ticket."""

    def end(self, ticket: int, measured: Measured, stopped: bool) -> None:
        """The last of a trial: at its full length, or where it was stopped."""


class Stopper(Protocol):
    """Ends trials early."""

    def begin(self, ticket: int) -> None:
        """A trial begins."""

    def report(self, ticket: int, epoch: int, measured: Measured) -> bool:
        """Whether the trial goes on."""

    def end(self, ticket: int, epoch: int, measured: Measured) -> None:
        """The trial is over."""


class NoStopper:
    """Ends nothing."""

    def begin(self, ticket: int) -> None:
        """Nothing to note."""

    def report(self, ticket: int, epoch: int, measured: Measured) -> bool:
        """It goes on."""
        return True

    def end(self, ticket: int, epoch: int, measured: Measured) -> None:
        """Nothing to note."""


class Sampled:
    """A sampler with a stopper.

    Args:
        problem: with costs where proposals are to be chosen by them.
        sampler, stopper: of somebody else's.
    """

    def __init__(self, problem: Problem, sampler: Sampler, stopper: Stopper) -> None:
        self._problem = problem
        self._settings = problem.settings
        self._space = problem.space()
        self._known = frozenset(problem.settings)
        self._epochs = problem.epochs
        self._sampler = sampler
        self._stopper = stopper
        self._unused = {setting: index for index, setting in enumerate(problem.settings)}
        self._rng = np.random.default_rng([problem.seed, 1])
        self._tickets: dict[int, int] = {}
        self._last: dict[int, tuple[int, Measured]] = {}
        self._stopped: set[int] = set()
        self._spread = Spread(problem.costs) if problem.costs else None

    def next(self) -> int | None:
        """A candidate that was not trained before."""
        if not self._unused:
            return None
        proposals = self._proposals()
        if proposals:
            candidate = next(iter(proposals))
            if self._spread:
                candidate = self._spread.farthest(list(proposals), list(self._tickets))
            ticket = proposals.pop(candidate)
            for refused in proposals.values():
                self._sampler.refuse(refused)
        else:
            left = list(self._unused.values())
            candidate = left[int(self._rng.integers(len(left)))]
            ticket = self._sampler.insist(self._settings[candidate])
        del self._unused[self._settings[candidate]]
        self._tickets[candidate] = ticket
        self._stopper.begin(ticket)
        return candidate

    def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
        """Ask the stopper."""
        self._last[candidate] = epoch, measured
        goes_on = self._stopper.report(self._tickets[candidate], epoch, measured)
        if not goes_on and epoch < self._epochs:
            self._stopped.add(candidate)
        return goes_on

    def finished(self, candidate: int) -> None:
        """Tell both."""
        ticket, (epoch, measured) = self._tickets[candidate], self._last[candidate]
        self._stopper.end(ticket, epoch, measured)
        self._sampler.end(ticket, measured, candidate in self._stopped)

    def _proposals(self) -> dict[int, int]:
        """Tickets of unused candidates that the sampler proposes, one or a few."""
        wanted = min(PROPOSALS if self._spread else 1, len(self._unused))
        found: dict[int, int] = {}
        for _ in range(TRIES):
            ticket, setting = self._proposal()
            candidate = self._unused.get(setting) if setting is not None else None
            if candidate is None or candidate in found:
                self._sampler.refuse(ticket)
                continue
            found[candidate] = ticket
            if len(found) == wanted:
                break
        return found

    def _proposal(self) -> tuple[int, Setting | None]:
        """What the sampler proposes, or the candidate that is nearest to it."""
        ticket, setting = self._sampler.propose()
        if setting is None or setting in self._known:
            return ticket, setting
        self._sampler.refuse(ticket)
        nearest = self._space.candidate(self._problem.named(setting))
        setting = tuple(value for _, value in nearest.parameters)
        return self._sampler.insist(setting), setting


class Spread:
    """Chooses by costs: a search that spreads over them.

    Args:
        costs: of each candidate.
    """

    def __init__(self, costs: Sequence[Costs]) -> None:
        logs = np.log(np.array(costs, dtype=float))
        span = np.ptp(logs, axis=0)
        # In [0, 1] over the candidates, (n, m).
        self._places = (logs - logs.min(axis=0)) / np.where(span > 0, span, 1.0)

    def farthest(self, candidates: list[int], begun: list[int]) -> int:
        """The one whose costs are least like any begun one's, the first where none was begun."""
        if not begun:
            return candidates[0]
        apart = self._places[candidates][:, None] - self._places[begun][None]  # (k, begun, m)
        nearest = np.linalg.norm(apart, axis=2).min(axis=1)
        return candidates[int(np.argmax(nearest))]
