"""Whether a sweep brought what it was begun for: a trial that was trained to its end."""

from __future__ import annotations

from pathlib import Path

from resnest_search.study.record import COMPLETE, FAILED, PRUNED, Sweep, TrialRecord

__all__ = ["shortfall"]


def shortfall(sweep: Sweep) -> str:
    """Why a sweep in which no trial completed has no result, on one line; "" where it has one.

    The first error stands there whole, with the file in which it can be read.
    """
    if any(trial.state == COMPLETE for trial in sweep.trials):
        return ""
    counted = [f"{n} {state}" for state in (FAILED, PRUNED) if (n := _count(sweep, state))]
    line = f"no trial was trained to its end ({', '.join(counted) or _none_begun(sweep)})"
    failed = next((trial for trial in sweep.trials if trial.state == FAILED), None)
    if failed is not None:
        return f"{line}; the first error, of trial {failed.number}: {_error(sweep, failed)}"
    stopped = next((trial for trial in reversed(sweep.trials) if trial.reason), None)
    return line if stopped is None else f"{line}; trial {stopped.number}: {stopped.reason}"


def _count(sweep: Sweep, state: str) -> int:
    return sum(trial.state == state for trial in sweep.trials)


def _none_begun(sweep: Sweep) -> str:
    hours = sweep.config.get("search", {}).get("hours")
    if hours is None or sweep.seconds < hours * 3600:
        return "none was begun"
    return (
        f"none was begun: reading and measuring took {sweep.seconds:.0f} s, "
        f"search.hours={hours:g} allows {hours * 3600:.0f} s"
    )


def _error(sweep: Sweep, trial: TrialRecord) -> str:
    """The reason of a failed trial; the last line of its traceback where that says more.

    Of an error that was raised in another process only the last line is its own.
    """
    path = Path(sweep.folder) / "trials" / str(trial.number) / "error.log"
    try:
        lines = path.read_text().split("\n")
    except OSError:  # what diverged, or could not be measured, has none
        return trial.reason
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    more = "" if last in trial.reason or trial.reason in last else f"; {last}"
    return f"{trial.reason}{more}; see {path}"
