"""The rows that a sweep's file names, in its order: for the terminal, the page and CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from resnest_search.metrics import TRAINED, metric_of
from resnest_search.report.columns import GAP, fitting
from resnest_search.report.reading import metric_text, metric_title, state_text, stated_share
from resnest_search.study.record import COMPLETE, Sweep
from resnest_search.study.rows import Compared, compared_rows

__all__ = ["RowColumn", "RowsTable", "row_cells", "row_records"]

_MEANING = "of the accuracy from the row before, in points, ± half of its interval of 95 %"
_BESIDE = ("parameters_m", "gmacs")  # costs that a paper's row has, where no objectives


@dataclass(frozen=True)
class RowColumn:
    """One column: its head, what it means, and its text."""

    head: str
    meaning: str
    text: Callable[[int, Compared], str]  # of the place of a row, and the row
    number: bool = True
    spared: int = 0  # as of `columns.Column`


def row_cells(sweep: Sweep) -> tuple[list[RowColumn], list[list[str]]]:
    """The columns, and the texts of each row."""
    rows = compared_rows(sweep)
    columns = _columns(sweep, rows)
    return columns, [[c.text(place, row) for c in columns] for place, row in enumerate(rows)]


class RowsTable:
    """The rows for a terminal, as a table that leaves columns out rather than break a number.

    Args:
        sweep: as it stands.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._columns, self._rows = row_cells(sweep)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        texts = dict(zip(self._columns, zip(*self._rows, strict=True), strict=True))

        def width(column: RowColumn) -> int:
            return max(map(cell_len, [column.head, *texts[column]]))

        table = Table(box=None, pad_edge=False, header_style="bold")
        shown = fitting(self._columns, width, options.max_width + GAP)
        for column in shown:
            table.add_column(Text(column.head), justify="right" if column.number else "left")
        for cells in zip(*(texts[column] for column in shown), strict=True):
            table.add_row(*map(Text, cells))
        yield table
        yield Text(f"change: {_MEANING}", style="dim")


def row_records(sweep: Sweep) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and raw values, fractions and the units of metrics; what is not known is None."""
    rows = compared_rows(sweep)
    published = [f"published_{name}" for name in _published(rows)]
    columns = [
        *("name", "candidate", "variant", "number", "state", "accuracy", "accuracy_error"),
        *("change", "change_low", "change_high"),
        *published,
    ]
    return columns, [_record(row) | {"name": row.row.name} for row in rows]


def _record(found: Compared) -> dict[str, Any]:
    trial = found.trial
    accuracy, error = (None, None) if trial is None else stated_share(trial, "accuracy")
    low, high = found.interval or (None, None)
    return {
        "candidate": found.row.candidate,
        "variant": None if trial is None else trial.variant,
        "number": None if trial is None or trial.number < 0 else trial.number,
        "state": "not begun" if trial is None else trial.state,
        "accuracy": accuracy,
        "accuracy_error": error,
        "change": found.change,
        "change_low": low,
        "change_high": high,
        **{f"published_{name}": value for name, value in found.row.published.items()},
    }


def _published(rows: list[Compared]) -> list[str]:
    return list(dict.fromkeys(name for found in rows for name in found.row.published))


def _columns(sweep: Sweep, rows: list[Compared]) -> list[RowColumn]:
    known = {name for found in rows if found.trial for name in found.trial.costs}
    costs = [n for n in (*sweep.objectives, *_BESIDE) if n not in TRAINED and n in known]
    found = [
        RowColumn("row", "as the sweep's file names it", lambda _, r: r.row.name, number=False),
        RowColumn("variant", "radix s cardinality x width d", _variant, number=False, spared=99),
        RowColumn("acc %", "validation accuracy ± standard error, %", _metric("accuracy")),
        RowColumn("change", _MEANING, lambda _, r: _change(r)),
    ]
    for name in _published(rows):
        found += _of_others(name, rows)
    for place, name in enumerate(wanted := list(dict.fromkeys(costs))):  # the last goes first
        label, title = metric_of(name).label, metric_title(sweep, name)
        found.append(RowColumn(label, title, _metric(name), spared=len(wanted) - place))
    if any(r.trial is None or r.trial.state != COMPLETE for r in rows):
        found.append(RowColumn("state", "state, and why", _state, number=False))
    return found


def _metric(name: str) -> Callable[[int, Compared], str]:
    return lambda _, r: "–" if r.trial is None else metric_text(r.trial, name)


def _variant(_: int, found: Compared) -> str:
    return "–" if found.trial is None else found.trial.variant


def _state(_: int, found: Compared) -> str:
    return "not begun" if found.trial is None else state_text(found.trial)


def _change(found: Compared) -> str:
    if found.change is None:
        return ""
    text = _points(found.change)
    if found.interval is None:
        return text
    low, high = found.interval
    return f"{text} ± {100 * (high - low) / 2:.2f}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"


def _of_others(name: str, rows: list[Compared]) -> list[RowColumn]:
    """What was published of a metric, and its change from the row before."""
    metric = metric_of(name)

    def text(_: int, found: Compared) -> str:
        return metric.show(found.row.published.get(name))

    def change(place: int, found: Compared) -> str:
        before = rows[place - 1].row.published.get(name) if place else None
        value = found.row.published.get(name)
        if before is None or value is None:
            return ""
        return f"{(value - before) * metric.scale:+.{metric.digits}f}"

    return [
        RowColumn(f"published {metric.label}", f"published: {metric.title}", text),
        RowColumn("its change", "of the published figure from the row before", change, spared=90),
    ]
