"""One line for each of several runs: what it is, how it stands, what it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from resnest_search.study.record import COMPLETE, FAILED, INTERRUPTED, RUNNING, Sweep

__all__ = ["RunLine", "run_line", "runs_table"]

_HEADS = ("begun, UTC", "sweep", "state", "front", "epochs", "trials", "run")


@dataclass(frozen=True)
class RunLine:
    """What is printed of a run, column by column; of an unreadable one only why."""

    folder: str
    state: str
    begun: str = ""
    sweep: str = ""
    front: str = ""
    epochs: str = ""
    trials: str = ""


def run_line(sweep: Sweep, folder: str) -> RunLine:
    """A run as its study has it, under the folder as it is to be shown."""
    if not sweep.started:
        return RunLine(folder, "has no sweep: it was stopped before it began")
    counts = Counter(trial.state for trial in sweep.trials)
    return RunLine(
        folder=folder,
        state=_run_state(sweep),
        begun=sweep.started[:16].replace("T", " "),
        sweep=sweep.name,
        front=str(len(sweep.front)),
        epochs=f"{sweep.epochs}/{sweep.budget}" if sweep.budget else str(sweep.epochs),
        trials=", ".join(f"{count} {state}" for state, count in counts.most_common()) or "none",
    )


def runs_table(lines: Sequence[RunLine]) -> str:
    """The runs in columns, in the order in which they began; those that cannot be read last."""
    readable = sorted((line for line in lines if line.begun), key=lambda line: line.begun)
    rows = [_HEADS] + [
        (line.begun, line.sweep, line.state, line.front, line.epochs, line.trials, line.folder)
        for line in readable
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    others = [f"{line.folder}: {line.state}" for line in lines if not line.begun]
    return "\n".join([*(shown if readable else []), *others])


def _run_state(sweep: Sweep) -> str:
    if sweep.at_work:
        return RUNNING
    if not sweep.finished:
        return INTERRUPTED
    states = {trial.state for trial in sweep.trials}
    if COMPLETE in states:
        return "finished"
    return FAILED if FAILED in states else "nothing completed"
