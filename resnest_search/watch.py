"""Shows a sweep while it runs, and hands its trials to tracking: over, or online each epoch."""

from __future__ import annotations

import dataclasses
import time

from resnest_search.execution.sweep import SweepRun
from resnest_search.report.live import LiveTable
from resnest_search.study.read import read_sweep, record_of, with_uncertainty
from resnest_search.study.record import Sweep
from resnest_search.tracking.listeners import Told

__all__ = ["Watch"]

_REDRAW_S = 0.3  # reading a long study costs; nobody reads a table faster than this
_PAGE_S = 30.0  # between two drawings of the page, at least
_PAGE_SHARE = 0.03  # of the time, that drawing it may take


class Watch:
    """A search.observer.Observer over a live table, the page and a tracker."""

    def __init__(self, run: SweepRun, live: LiveTable, tracker: Told) -> None:
        self._run = run
        self._live = live
        self._tracker = tracker
        self._drawn = 0.0
        self._page_due = 0.0
        self._page_failed = False

    def begin(self) -> None:
        """Write the page, so that there is one from the first minute, and say where.

        A sweep in virtual time is over before anybody could open it.
        """
        if self._run.clock is None:
            self._live.message(f"Page, drawn anew as it goes: {self._run.folder / 'report.html'}")
            self._page(self._read())

    def changed(self, number: int, over: bool) -> None:
        """Redraw where the last drawing is old, and track what is to be known."""
        if self._tracker.live and not over:
            self._tracker.trial(record_of(self._run.study.trial(number)))
        if not over and time.monotonic() - self._drawn < _REDRAW_S:
            return
        sweep = self._read()
        self._live.update(sweep)
        self._drawn = time.monotonic()
        if self._run.clock is None and self._drawn >= self._page_due:
            self._page(sweep)
        if over:
            self._tracker.trial(next(t for t in sweep.trials if t.number == number))

    def message(self, text: str) -> None:
        """Show a line."""
        self._live.message(text)

    def _read(self) -> Sweep:
        sweep = read_sweep(self._run.study, self._run.folder, uncertainty=False)
        return dataclasses.replace(sweep, seconds=self._run.strategy.elapsed)

    def _page(self, sweep: Sweep) -> None:
        """Draw the page; where that fails, say so once: no page is worth a sweep."""
        from resnest_search.report.html import write_report

        begun = time.monotonic()
        try:
            write_report(with_uncertainty(sweep), self._run.folder / "report.html")
        except Exception as error:
            if not self._page_failed:
                self._live.message(f"The page could not be drawn ({error}); the sweep goes on")
            self._page_failed = True
        now = time.monotonic()
        self._page_due = now + max(_PAGE_S, (now - begun) / _PAGE_SHARE)
