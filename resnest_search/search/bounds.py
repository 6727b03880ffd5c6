"""How much a sweep may train: its epochs and its hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from resnest_search.configuration.schema import SearchConfig
from resnest_search.study.study import SweepStudy

__all__ = ["Bounds"]


class Bounds:
    """``search.budget`` and ``search.hours`` of a sweep.

    Args:
        study: of the sweep.
        config: with the bounds.
        elapsed: seconds spent on the sweep by now.
    """

    def __init__(
        self, study: SweepStudy, config: SearchConfig, elapsed: Callable[[], float]
    ) -> None:
        self._study = study
        self._config = config
        self._elapsed = elapsed

    def met(self, epochs: int) -> str:
        """The bound that is met with so many epochs spent, or about to be; empty for none."""
        budget, hours = self._config.budget, self._config.hours
        if budget is not None and epochs >= budget:
            return f"the budget of {budget} epochs is spent"
        if hours is not None and self._elapsed() >= hours * 3600:
            return f"the limit of {hours:g} hours is reached"
        return ""

    def left(self, number: int) -> int:
        """Epochs of the budget that a trial may still need; 0 where there is no budget."""
        if self._config.budget is None:
            return 0
        return self._config.epochs - (self._study.trial(number).last_step or 0)

    def reserved(self, number: int, others: Iterable[int], spent: int) -> str:
        """Why a trial waits for those that were taken up before it; empty where it need not.

        A budget is kept for all that they have left, and for the epoch that every other one is
        at. What they do not need after all, since they were paused or failed, is free again.

        Args:
            number: of the trial.
            others: trials at work, or at work when a driver was killed.
            spent: epochs by now.
        """
        budget = self._config.budget
        if budget is None:
            return ""
        turn = self._turn(number)
        claims = (self.left(other) if self._turn(other) < turn else 1 for other in others)
        if spent + sum(claims) < budget:
            return ""
        return f"the rest of the budget of {budget} epochs is kept for earlier trials"

    def _turn(self, number: int) -> tuple[float, int]:
        """Key that sorts trials by when they were taken up."""
        return self._study.trial(number).user_attrs["segments"][-1]["at"], number
