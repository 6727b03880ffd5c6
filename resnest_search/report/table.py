"""A sweep's table in the terminal and as CSV, and what is said when a sweep ends."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from resnest_search.files import write_atomically
from resnest_search.metrics import COSTS, SHARES, accuracy_interval, around
from resnest_search.redact import public_text
from resnest_search.report.columns import GAP, Column, columns, fitting
from resnest_search.report.reading import (
    front,
    full_epochs,
    knee,
    on_front,
    ordered,
    progress,
)
from resnest_search.report.rows import RowsTable, row_records
from resnest_search.report.verdict import choice, ended, noise, time_spent, unfinished
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord
from resnest_search.study.storage import own_place
from resnest_search.variant import Variant
from resnest_search.words import command

__all__ = [
    "CSV_COLUMNS",
    "TrialTable",
    "closing",
    "front_csv",
    "print_closing",
    "rows_csv",
    "table_rows",
    "trials_csv",
    "write_rows",
]

CSV_COLUMNS: tuple[str, ...] = (
    "number",
    "candidate",
    "variant",
    "radix",
    "cardinality",
    "width",
    "parameters",  # JSON: whatever the space varied
    "seed",
    "state",
    "reason",
    "pruned_at",  # epochs
    "epochs",
    "full_epochs",
    "on_front",
    "knee",
    "accuracy",  # fraction, after as many epochs as stated; final only where complete
    "accuracy_error",  # fraction, of the validation images
    "accuracy_low",  # fraction; Wilson's interval of 95 %, of the validation images
    "accuracy_high",
    "seeds",  # complete trials of the candidate
    "mean_accuracy",  # fraction, over them; only where complete
    "mean_error",  # fraction, of the images and, where it was measured, between seeds
    "balanced_accuracy",  # as accuracy and mean_accuracy, and the error of the mean where it is
    "mean_balanced_accuracy",  # an objective
    "mean_balanced_accuracy_error",
    "macro_f1",
    "mean_macro_f1",
    "mean_macro_f1_error",
    "repeat_of",  # number of the trial that stands for the candidate
    "membership",  # probability of being on the front
    "knee_share",  # probability of being its knee
    "loss",
    "validation_images",
    *COSTS,
    "latency_low_ms",  # the interval of 95 % of latency_ms, from the deviation between rounds
    "latency_high_ms",
    "latency_rounds",
    "seconds",
    "training_joules",
    "device",
    "mode",
    "train_mode",  # of train_memory_mib
    "versions",  # JSON
)
_OF_CANDIDATE = (
    "seeds",
    "mean_error",
    "repeat_of",
    "membership",
    "knee_share",
)
_MOST_ROWS = 100  # of the closing table; trials.csv has them all
_LEAST_STATE = 8  # columns of the terminal: the reason gives way before a number does
_FILE_WIDTH = 120  # columns where there is no terminal: a log or a pipe has no edge


class TrialTable:
    """The sweep's trials as a table that leaves columns out rather than cut a number.

    Args:
        sweep: as it stands.
        most: rows at most; what is left out is counted below.
    """

    def __init__(self, sweep: Sweep, most: int | None = None) -> None:
        self.sweep = sweep
        self.trials = ordered(sweep)
        self.shown = self.trials[:most]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        chosen, room = self._fitting(options.max_width)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in chosen[:-1]:
            table.add_column(
                Text(column.head), justify="right" if column.number else "left", no_wrap=True
            )
        # only the state, which ends in words, may be cut
        table.add_column(chosen[-1].head, no_wrap=True, overflow="ellipsis", max_width=room)
        for trial in self.shown:
            table.add_row(*(Text(column.text(trial)) for column in chosen), style=_style(trial))
        yield table
        yield from (Text(line, style="dim") for line in self._remarks(chosen))

    def _remarks(self, chosen: list[Column]) -> Iterable[str]:
        if hidden := len(self.trials) - len(self.shown):
            yield f"… and {hidden} more"
        if any(t.accuracy is not None and not t.is_whole for t in self.shown):
            yield "accuracy in parentheses: training did not end"
        heads = [column.head for column in chosen]
        if missing := [c.head for c in columns(self.sweep) if c.head not in heads]:
            yield f"no room for {', '.join(missing)}; see trials.csv"

    def _width(self, column: Column) -> int:
        return max(map(cell_len, [column.head, *(column.text(t) for t in self.shown)]))

    def _fitting(self, width: int) -> tuple[list[Column], int]:
        """The columns that fit, and the room that is left for the last of them."""
        *others, state = columns(self.sweep)
        least = min(_LEAST_STATE, self._width(state))
        chosen = fitting(others, self._width, width - least)
        room = width - sum(self._width(column) + GAP for column in chosen)
        return [*chosen, state], max(room, _LEAST_STATE)


def _style(trial: TrialRecord) -> str:
    if on_front(trial):
        return "bold"
    return "" if trial.state == COMPLETE else "dim"


def trials_csv(sweep: Sweep, path: str | Path) -> None:
    """Write every trial, a row each, in the order of the table; columns are CSV_COLUMNS.

    Values are raw: fractions, milliseconds, MiB, millions, billions. What was not
    measured is empty. The accuracy of a trial that is not complete is that of its last epoch.

    Raises:
        OSError: the file cannot be written.
    """
    write_rows(path, [({}, sweep, ordered(sweep))])


def front_csv(sweep: Sweep, path: str | Path) -> None:
    """Write the front alone, in the order of the table, in the columns of trials_csv.

    Raises:
        OSError: the file cannot be written.
    """
    write_rows(path, [({}, sweep, front(sweep))])


def rows_csv(sweep: Sweep, path: str | Path) -> None:
    """Write the rows that the sweep's file names, in its order; nothing where it names none.

    Raises:
        OSError: the file cannot be written.
    """
    if sweep.rows:
        _write(path, *row_records(sweep))


def write_rows(
    path: str | Path, sweeps: Sequence[tuple[Mapping[str, str], Sweep, Iterable[TrialRecord]]]
) -> None:
    """Write trials of sweeps as trials_csv does, each row begun by what its sweep is called.

    Raises:
        OSError: the file cannot be written.
    """
    _write(path, *table_rows(sweeps))


def _write(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def table_rows(
    sweeps: Sequence[tuple[Mapping[str, str], Sweep, Iterable[TrialRecord]]],
) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and the rows that write_rows writes; what was not measured is absent, or None."""
    after = CSV_COLUMNS.index("latency_rounds") + 1
    called = dict.fromkeys(name for names, _, _ in sweeps for name in names)
    own = dict.fromkeys(name for _, sweep, _ in sweeps for name in sweep.own_costs)
    beside = dict.fromkeys(name for _, _, ts in sweeps for t in ts for name in t.costs_beside)
    columns = [*called, *CSV_COLUMNS[:after], *own, *beside, *CSV_COLUMNS[after:]]
    rows: list[dict[str, Any]] = []
    for names, sweep, trials in sweeps:
        best, full = knee(sweep), full_epochs(sweep)
        for trial in trials:
            of_sweep = {**names, "full_epochs": full, "knee": _flag(trial is best)}
            rows.append(_row(trial) | of_sweep)
    return columns, rows


def _row(trial: TrialRecord) -> dict[str, Any]:
    return {
        "number": trial.number if trial.number >= 0 else None,
        "candidate": trial.candidate,
        "variant": trial.variant,
        **_settings(trial.variant),
        "parameters": json.dumps(trial.parameters, sort_keys=True, default=str),
        "seed": trial.seed,
        "state": trial.state,
        "reason": public_text(trial.reason),
        "pruned_at": trial.pruned_at,
        "epochs": trial.epochs,
        "on_front": _flag(on_front(trial)),
        "accuracy_error": trial.accuracy_error,
        **_interval(trial),
        **{name: getattr(trial, name) for name in _OF_CANDIDATE},
        **{name: trial.metric(name) for name in SHARES},
        **{f"mean_{name}": trial.means.get(name) for name in SHARES},
        **{f"mean_{name}_error": trial.errors.get(name) for name in SHARES[1:]},
        "loss": trial.metric("loss"),
        "validation_images": trial.validation_images or None,
        **trial.costs,
        **_latency_interval(trial),
        **trial.costs_beside,
        "seconds": trial.seconds,
        "training_joules": trial.joules,
        "device": trial.device,
        "mode": trial.mode,
        "train_mode": trial.train_mode,
        "versions": json.dumps(trial.versions, sort_keys=True),
    }


def _settings(variant: str) -> dict[str, int]:
    try:
        parsed = Variant.parse(variant)
    except ValueError:
        return {}
    return {"radix": parsed.radix, "cardinality": parsed.cardinality, "width": parsed.width}


def _interval(trial: TrialRecord) -> dict[str, float | None]:
    known = trial.accuracy is not None
    found = accuracy_interval(trial.accuracy or 0.0, trial.validation_images) if known else None
    low, high = found or (None, None)
    return {"accuracy_low": low, "accuracy_high": high}


def _latency_interval(trial: TrialRecord) -> dict[str, float | None]:
    """Empty where no rounds are recorded."""
    half, median = trial.half_width, trial.costs.get("latency_ms")
    if half is None or median is None:
        return {}
    low, high = around(median, half)
    return {
        "latency_low_ms": low,
        "latency_high_ms": high,
        "latency_rounds": trial.latency_rounds or None,
    }


def _flag(value: bool) -> str:
    return "true" if value else "false"


def closing(sweep: Sweep) -> RenderableType:
    """What is said when a sweep ends: table, knee, files that exist, commands to type next."""
    return Group(_outcome(sweep), Text(_pointers(sweep)))


def print_closing(
    sweep: Sweep, console: Console | None = None, *, with_pointers: bool = True
) -> None:
    """Print closing so that no line break gets into a command that is copied.

    Without pointers, what was found alone: no files, and no commands to type next.
    """
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_FILE_WIDTH)
    console.print(_outcome(sweep))
    if with_pointers:
        console.print(_pointers(sweep), soft_wrap=True, markup=False, highlight=False)


def _outcome(sweep: Sweep) -> RenderableType:
    rows: list[RenderableType] = [RowsTable(sweep), Text("")] if sweep.rows else []
    verdict = " ".join(line for line in (choice(sweep), noise(sweep)) if line)
    first = unfinished(sweep)
    return Group(
        *([Text(first, style="bold red"), Text("")] if first else []),
        TrialTable(sweep, _MOST_ROWS),
        Text(""),
        *rows,
        Text(progress(sweep)),
        *([Text(over)] if (over := ended(sweep)) else []),
        *([Text(went)] if (went := time_spent(sweep)) else []),
        Text(verdict, style="bold"),
        *(Text(line, style="bold red") for line in sweep.doubts),
        Text(""),
    )


def _pointers(sweep: Sweep) -> str:
    pairs = [*_files(Path(sweep.folder)), ("", ""), *_commands(sweep)]
    return "\n".join(f"{what:<16}{text}".rstrip() for what, text in pairs).strip("\n")


def _files(folder: Path) -> list[tuple[str, str]]:
    known = {
        "report.html": "report",
        "trials.csv": "every trial",
        "front.csv": "front",
        "rows.csv": "rows",
        "study.db": "study",
        "best": "exported winner",
        "wandb": "tracked runs",
    }
    told = {"best": _exported(folder)}
    return [
        (what, f"{folder / name}{told.get(name, '')}")
        for name, what in known.items()
        if (folder / name).exists()
    ]


def _exported(folder: Path) -> str:
    """What ``best/`` holds, which an earlier version, or ``select=``, may have chosen otherwise."""
    try:
        facts = json.loads((folder / "best" / "model.json").read_text(encoding="utf-8"))
        known = "chosen_as" in facts
        how = facts["chosen_as"] if known else f"select={facts['selected_as']}"
        return f" ({facts['variant']}, trial {facts['trial']}: {how})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _commands(sweep: Sweep) -> list[tuple[str, str]]:
    folder = Path(sweep.folder)
    commands = [("report again", command("report", run=folder))]
    if front(sweep) and not sweep.replayed:
        commands.append(("export", command("export", run=folder, select="latency")))
    if not sweep.finished:
        commands.append(("go on", command("resume", run=folder)))
    elif more := _larger_bound(sweep):
        commands.append(("train on", command("resume", run=folder, **more)))
    if any(folder.glob("wandb/offline-run-*")):
        commands.append(("upload", f"wandb sync {shlex.quote(str(folder))}/wandb/offline-run-*"))
    if (folder / "study.db").exists():
        url = shlex.quote(own_place(folder).url)
        commands.append(("look inside", f"optuna-dashboard {url}"))
    return commands


def _larger_bound(sweep: Sweep) -> dict[str, str]:
    """Twice the bound that ended a sweep, as a resume takes it; empty where none did."""
    search = sweep.config.get("search", {})
    budget, hours = search.get("budget"), search.get("hours")
    if budget is not None and sweep.epochs >= budget:
        return {"budget": f"{2 * max(budget, sweep.epochs)}"}
    if hours is not None and sweep.seconds >= 3600 * hours:
        return {"hours": f"{2 * max(hours, sweep.seconds / 3600):.3g}"}
    return {}
