"""Shows a sweep while it runs, and hands each trial that is over to tracking."""

from __future__ import annotations

import dataclasses
import time

from resnest_search.execution.sweep import SweepRun
from resnest_search.report.live import LiveTable
from resnest_search.study.read import read_sweep
from resnest_search.tracking.wandb import Tracker

__all__ = ["Watch"]

_REDRAW_S = 0.3  # reading a long study costs; nobody reads a table faster than this


class Watch:
    """A search.observer.Observer over a live table and a tracker."""

    def __init__(self, run: SweepRun, live: LiveTable, tracker: Tracker) -> None:
        self._run = run
        self._live = live
        self._tracker = tracker
        self._drawn = 0.0

    def changed(self, number: int, over: bool) -> None:
        """Redraw where the last drawing is old, and track a trial that is over."""
        if not over and time.monotonic() - self._drawn < _REDRAW_S:
            return
        sweep = read_sweep(self._run.study, self._run.folder, uncertainty=False)
        sweep = dataclasses.replace(sweep, seconds=self._run.strategy.elapsed)
        self._live.update(sweep)
        self._drawn = time.monotonic()
        if over:
            self._tracker.trial(next(t for t in sweep.trials if t.number == number))

    def message(self, text: str) -> None:
        """Show a line."""
        self._live.message(text)
