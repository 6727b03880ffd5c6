"""A sweep while it runs: one calm table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from resnest_search.metrics import SHARES, metric_of
from resnest_search.report.reading import (
    duration,
    front,
    full_epochs,
    metric_text,
    on_front,
    state_text,
    under_way,
)
from resnest_search.study.record import OPEN, RUNNING, Sweep, TrialRecord
from resnest_search.words import counted

__all__ = ["LiveTable", "measuring"]

_MOST_ROWS = 25
_EVERY_S = 10.0  # between progress lines where there is no terminal
_FRAME = 6  # lines of a screen that are not rows: title, head, "more", footer and room to type


class LiveTable:
    """Shows a sweep as it goes; a context manager.

    On a terminal one table is redrawn in place. Elsewhere each trial's end is a line,
    and a line tells the progress, at most one in ten seconds.

    Args:
        name: of the sweep.
        console: where to; standard output by default.
        every_epoch: whether each epoch is a line, too.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        name: str,
        console: Console | None = None,
        every_epoch: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._console = console or Console()
        self._every_epoch = every_epoch
        self._told: dict[int, int] = {}  # epochs of each trial that were a line
        self._clock = clock
        self._said = clock()
        self._over: set[tuple[int, str]] = set()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            # the closing table replaces this one; after an error it is all there is to see
            self._live.transient = error is None
            self._live.stop()
            self._live = None

    def message(self, text: str) -> None:
        """Print one line; on a terminal above the table."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self, sweep: Sweep) -> None:
        """Show the sweep as it stands."""
        if self._every_epoch:
            self._epochs(sweep)
        if self._live:
            self._live.update(self._table(sweep), refresh=True)
        elif not self._console.is_terminal:
            self._lines(sweep)

    def _table(self, sweep: Sweep) -> RenderableType:
        rows = _visible(sweep, max(3, min(_MOST_ROWS, self._console.height - _FRAME)))
        table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
        table.add_column("", no_wrap=True)
        named = any(trial.variant for trial in sweep.trials)
        table.add_column("variant" if named else "candidate", no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        names = _shown(sweep)
        for name in names:
            table.add_column(metric_of(name).label, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True, overflow="ellipsis")
        for trial in rows:
            table.add_row(*map(Text, _cells(trial, full_epochs(sweep), names)), style=_style(trial))
        parts: list[RenderableType] = [Text(self._name, style="bold"), table]
        if hidden := len(sweep.trials) - len(rows):
            parts.append(Text(f"… and {hidden} more", style="dim"))
        return Group(*parts, Text(under_way(sweep), no_wrap=True, overflow="ellipsis"))

    def _epochs(self, sweep: Sweep) -> None:
        full = full_epochs(sweep)
        for trial in sweep.trials:
            for epoch in trial.curve[self._told.get(trial.number, 0) :]:
                of = f"/{full}" if full else ""
                names = dict.fromkeys(["accuracy", sweep.reported, "loss"])
                values = [(name, getattr(epoch, name)) for name in names]
                shown = [metric_of(n).say(value) for n, value in values if value is not None]
                parts = [f"trial {trial.number}", trial.name, f"epoch {epoch.epoch}{of}", *shown]
                self.message(" · ".join([*parts, duration(epoch.seconds)]))
            self._told[trial.number] = len(trial.curve)

    def _lines(self, sweep: Sweep) -> None:
        ended = [t for t in sweep.trials if t.state not in OPEN and _key(t) not in self._over]
        ruled_out = [trial for trial in ended if trial.number < 0]
        if ruled_out:
            self.message(_ruled_out(ruled_out))
        for trial in ended:
            if trial.number >= 0:
                self.message(_line(trial, full_epochs(sweep), _shown(sweep)))
        self._over.update(_key(trial) for trial in ended)
        if self._clock() - self._said >= _EVERY_S:
            self._said = self._clock()
            self.message(f"{self._name}: {under_way(sweep)}")


@contextmanager
def measuring(
    networks: int, then: str = "before the first epoch"
) -> Iterator[Callable[[int, int], None]]:
    """Say that the networks are being measured; on a terminal, how far that is, and how long yet.

    Yields what is to be told (visits made, visits in all).
    """
    console = Console()
    text = " ".join(filter(None, [f"Measuring {counted(networks, 'network')}", then, "…"]))
    if not console.is_terminal:
        console.print(text, highlight=False)
        yield lambda done, total: None
        return
    begun = time.monotonic()
    with console.status(text) as status:

        def tell(done: int, total: int) -> None:
            left_s = (time.monotonic() - begun) / done * (total - done)
            status.update(f"{text} {done / total:.0%}, about {duration(left_s)} left")

        yield tell


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """Say that images are being read, once that turns out to be needed, and how far that is.

    Yields what is to be told (files done, files in all).
    """
    console = Console()
    status = console.status("")
    begun: set[int] = set()

    def tell(done: int, total: int) -> None:
        text = f"Reading {total} images once …"
        if console.is_terminal:
            status.update(f"{text} {done / max(1, total):.0%}")
            status.start()
        elif not begun:
            console.print(text, highlight=False)
        begun.add(total)

    try:
        yield tell
    finally:
        status.stop()


def _shown(sweep: Sweep) -> list[str]:
    """The objectives in their order; accuracy also where it is none of them."""
    return list(dict.fromkeys([*sweep.objectives, "accuracy"]))


def _key(trial: TrialRecord) -> tuple[int, str]:
    return (trial.number, trial.candidate)


def _visible(sweep: Sweep, most: int) -> list[TrialRecord]:
    """Running ones first, then the most recent and the front, as many as there is room for."""
    running = [trial for trial in sweep.trials if trial.state == RUNNING]
    members = front(sweep)
    rest = [t for t in sweep.trials if t.state != RUNNING and not on_front(t)]
    rest.sort(key=lambda trial: -trial.number)
    if len(sweep.trials) <= most:
        return [*running, *members, *rest]
    recent = min(len(rest), max(1, (most - len(running)) // 3))
    return [*running, *members[: max(1, most - len(running) - recent)], *rest[:recent]][:most]


def _cells(trial: TrialRecord, full: int | None, names: list[str]) -> list[str]:
    return [
        "★" if on_front(trial) else "",
        trial.name,
        f"{trial.epochs}/{full}" if full else str(trial.epochs),
        *(metric_text(trial, name) for name in names),
        state_text(trial),
    ]


def _style(trial: TrialRecord) -> str:
    if on_front(trial):
        return "bold"
    return "" if trial.state == RUNNING else "dim"


def _line(trial: TrialRecord, full: int | None, names: list[str]) -> str:
    epochs = f"{trial.epochs}/{full}" if full else str(trial.epochs)
    parts = [f"trial {trial.number}", trial.name, state_text(trial), f"epochs {epochs}"]
    for name in names:
        if trial.metric(name) is None:
            continue
        if name in SHARES:
            parts.append(f"{metric_of(name).noun} {metric_text(trial, name)} %")
        else:
            parts.append(f"{metric_text(trial, name)} {metric_of(name).unit}")
    return " · ".join([*parts, "★ on the front so far"] if on_front(trial) else parts)


def _ruled_out(trials: list[TrialRecord]) -> str:
    first = state_text(trials[0])
    return f"{len(trials)} ruled out before training, for example {trials[0].name}: {first}"
