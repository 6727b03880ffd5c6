"""No pruning at all."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial

from resnest_search.search.pruners.base import Decision, PausingPruner

__all__ = ["KeepAllPruner"]


class KeepAllPruner(PausingPruner):
    """Lets every trial go on, whatever paused it."""

    gives_up = False

    def explain(self, study: Study, trial: FrozenTrial) -> Decision | None:
        """Nothing is ever decided."""
        return None

    def promotable(self, study: Study, paused: Sequence[FrozenTrial]) -> list[int]:
        """All of them, those that have trained longest first."""
        order = sorted(paused, key=lambda trial: -len(trial.intermediate_values))
        return [trial.number for trial in order]
