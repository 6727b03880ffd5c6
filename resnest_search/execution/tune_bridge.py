"""Ray Tune runs the trials, the strategy decides: a searcher and a scheduler that only ask."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from resnest_search.execution.resources import Allotment
from resnest_search.search import Assignment, Strategy
from resnest_search.search.observer import Observer
from resnest_search.study.record import Epoch
from resnest_search.training import Run

__all__ = ["StrategyScheduler", "StrategySearcher"]


class StrategySearcher(Searcher):
    """Hands out the strategy's trials, one for each free slot."""

    def __init__(
        self,
        strategy: Strategy,
        allotment: Allotment,
        make_run: Callable[[Assignment], Run],
        observer: Observer,
    ) -> None:
        super().__init__()
        self._strategy = strategy
        self._allotment = allotment
        self._make_run = make_run
        self._observer = observer
        self._numbers: dict[str, int] = {}  # of Tune's trials

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config; None while no slot is free."""
        if self._strategy.live >= self._allotment.slots:
            return None
        assignment = self._strategy.next()
        if assignment is None:
            for number in self._strategy.settle():
                self._observer.changed(number, over=True)
            return Searcher.FINISHED if self._strategy.finished else None
        self._numbers[trial_id] = assignment.number
        self._observer.changed(assignment.number, over=False)
        return {"run": self._make_run(assignment), "allotment": self._allotment}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A trial whose worker was lost more often than Tune retries has failed.

        How a trial ended otherwise, the scheduler has told the strategy already.
        """
        number = self._numbers.pop(trial_id)
        if error:
            self._strategy.fail(number, "its worker was lost again and again")
            self._observer.changed(number, over=True)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state, Tune's snapshots are views."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see save."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, and nobody reads it


class StrategyScheduler(FIFOScheduler):
    """Reports each epoch to the strategy, and stops the trials that it ends or pauses.

    A paused trial goes on as another trial of Tune's: Tune's own pausing keeps a place among
    the trials at once, and would stick once all of them are paused.
    """

    def __init__(self, strategy: Strategy, observer: Observer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._strategy = strategy
        self._observer = observer

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """CONTINUE or STOP, as the strategy says.

        Raises:
            OSError: the disk is full.
        """
        number = trial.config["run"].number
        if result["note"]:
            self._observer.message(f"trial {number}: {result['note']}")
        if result.get("full"):  # no fault of the trial's, which a resume trains on
            raise OSError(errno.ENOSPC, result["failure"], trial.config["run"].folder)
        if result["failure"]:
            self._strategy.fail(number, result["failure"])
            goes_on = False
        else:
            curve = [Epoch(**entry) for entry in result["curve"]]
            goes_on = self._strategy.report(number, curve)
        self._observer.changed(number, over=not goes_on and not self._strategy.waits(number))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A worker was lost; Tune starts the trial again while its retries last."""
        number = trial.config["run"].number
        self._observer.message(f"trial {number}: its worker was lost ({trial.num_failures})")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as in the searcher
