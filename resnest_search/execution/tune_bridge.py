"""Ray Tune runs the trials, the strategy decides: a searcher and a scheduler that only ask."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from resnest_search.errors import ImagesChanged
from resnest_search.execution.resources import Allotment
from resnest_search.execution.training_thread import OUT_OF_MEMORY
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
        self._alone: set[int] = set()  # at work, each with a whole GPU
        self._unheard: set[int] = set()  # of these, until their first epoch

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config; None while no slot is free.

        A trial that is to be alone takes all slots of a GPU. Until it is at work none is given
        away, or others would take in turns what it waits for.
        """
        share = self._allotment.per_gpu
        taken = self._strategy.live + (share - 1) * len(self._alone)
        wanted = share if self._strategy.next_is_alone else 1
        if self._unheard or taken + min(wanted, self._allotment.slots) > self._allotment.slots:
            return None
        assignment = self._strategy.next()
        if assignment is None:
            for number in self._strategy.settle():
                self._observer.changed(number, over=True)
            return Searcher.FINISHED if self._strategy.finished else None
        self._numbers[trial_id] = assignment.number
        if assignment.alone and share > 1:
            self._alone.add(assignment.number)
            self._unheard.add(assignment.number)
        self._observer.changed(assignment.number, over=False)
        return {
            "run": self._make_run(assignment),
            "allotment": self._allotment,
            "alone": assignment.alone,
        }

    def heard(self, number: int) -> None:
        """A trial is at work."""
        self._unheard.discard(number)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A trial whose worker was lost more often than Tune retries has failed.

        How a trial ended otherwise, the scheduler has told the strategy already.
        """
        number = self._numbers.pop(trial_id)
        self._alone.discard(number)
        self._unheard.discard(number)
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

    def __init__(
        self,
        strategy: Strategy,
        observer: Observer,
        allotment: Allotment,
        heard: Callable[[int], None] = lambda number: None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._strategy = strategy
        self._allotment = allotment
        self._observer = observer
        self._heard = heard  # is told of each trial that is at work

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """CONTINUE or STOP, as the strategy says.

        Raises:
            OSError: the disk is full.
            ImagesChanged: the images are others.
        """
        number = trial.config["run"].number
        if result["note"]:
            self._observer.message(f"trial {number}: {result['note']}")
        whose = result.get("whose", "trial")
        if whose == "disk":  # what is no fault of the trial's a resume trains on
            raise OSError(errno.ENOSPC, result["failure"], trial.config["run"].folder)
        if whose == "images":
            raise ImagesChanged(result["failure"])
        self._heard(number)
        if result["failure"] and self._sent_back(number, result["failure"]):
            return str(TrialScheduler.STOP)
        if result["failure"]:
            self._strategy.fail(number, self._why(number, result["failure"]))
            goes_on = False
        else:
            curve = [Epoch(**entry) for entry in result["curve"]]
            goes_on = self._strategy.report(number, curve)
        self._observer.changed(number, over=not goes_on and not self._strategy.waits(number))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _sent_back(self, number: int, failure: str) -> bool:
        """Whether a trial lacked memory beside others, and goes on alone."""
        shares = self._allotment.per_gpu > 1 and failure.startswith(OUT_OF_MEMORY)
        if not shares or self._strategy.is_alone(number):
            return False
        self._strategy.alone(number, failure)
        self._observer.message(f"trial {number}: {failure}; goes on alone on a GPU")
        self._observer.changed(number, over=False)
        return True

    def _why(self, number: int, failure: str) -> str:
        if failure.startswith(OUT_OF_MEMORY) and self._strategy.is_alone(number):
            return f"{failure} (alone on a GPU, after it had been beside others)"
        return failure

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A worker was lost; Tune starts the trial again while its retries last."""
        number = trial.config["run"].number
        self._observer.message(f"trial {number}: its worker was lost ({trial.num_failures})")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as in the searcher
