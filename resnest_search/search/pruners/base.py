"""What every pruner of this package can be asked, besides Optuna's ``prune``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from resnest_search.search.situation import Verdict

__all__ = ["Decision", "PausingPruner", "Verdict"]


class Decision(Protocol):
    """What a pruner decided on one trial at one epoch."""

    @property
    def kept(self) -> bool:
        """Whether the trial goes on."""

    @property
    def reason(self) -> str:
        """On which grounds, in words."""


class PausingPruner(BasePruner):
    """A pruner whose no is not for good: what it stops is paused, and may go on later.

    A paused trial is one that still runs in the study and whose last epoch is where it was
    stopped. ``Trial.should_prune`` refuses multi-objective studies; call
    ``prune(study, frozen_trial)``. A decision depends on study and trial alone, so that a
    pruner made anew after a kill decides as the old one would have.

    Attributes:
        gives_up: whether it may never let go on what is paused.
    """

    gives_up = True

    @abstractmethod
    def explain(self, study: Study, trial: FrozenTrial) -> Decision | None:
        """The decision at the trial's last epoch; None where there is nothing to decide."""

    @abstractmethod
    def promotable(self, study: Study, paused: Sequence[FrozenTrial]) -> list[int]:
        """Numbers of those, of the paused by number, that by now deserve to go on, best first."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should go no further for now."""
        decision = self.explain(study, trial)
        return decision is not None and not decision.kept

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Epochs below the full length at which it decides, where these are few and fixed."""
        return ()
