"""Several sweeps side by side, as tables and as a CSV file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from resnest_search.metrics import metric_of
from resnest_search.report.reading import metric_text, ordered
from resnest_search.report.table import write_rows
from resnest_search.study.compare import Comparison
from resnest_search.study.record import value_text
from resnest_search.words import counted

__all__ = [
    "Rows",
    "comparison_csv",
    "differences",
    "keys",
    "letters",
    "shared",
    "standings",
    "told",
]

_MOST = 25  # rows of a table


Rows = tuple[list[str], list[list[str]]]  # heads and cells


def told(found: Comparison) -> Iterator[str | Table]:
    """What is printed: how the runs stand, what they share, what differs between them."""
    yield _table(standings(found))
    yield from differences(found)
    yield ""
    heads, rows = shared(found)
    if rows:
        more = [[f"… and {len(rows) - _MOST} more"]] if len(rows) > _MOST else []
        yield _table((heads, rows[:_MOST] + more))
        yield ""
    if found.keys:
        yield _table(keys(found))


def standings(found: Comparison) -> Rows:
    """How each run stands."""
    heads = ["", "run", "state", "complete", "front", "epochs", "hypervolume, %"]
    rows = []
    for letter, standing in zip(letters(found), found.standings, strict=True):
        sweep = standing.sweep
        complete = sum(t.stands for t in sweep.trials)
        state = "finished" if sweep.finished else "not finished"
        numbers = (complete, len(sweep.front), sweep.epochs, f"{100 * standing.hypervolume:.1f}")
        rows.append([letter, sweep.folder, state, *map(str, numbers)])
    return heads, rows


def differences(found: Comparison) -> Iterator[str]:
    """Of each run but the first: how far apart, and what came and went."""
    for letter, standing in zip(letters(found)[1:], found.standings[1:], strict=True):
        if standing.apart is None:
            share = 100 * (standing.hypervolume - found.standings[0].hypervolume)
            text = f"{share:+.1f} points of hypervolume; "
            if standing.is_of_other_data:
                what = "table" if standing.sweep.replayed else "images"
                text += f"it is of other {what} than A, which the difference may come from."
            else:
                text += "of what is sought the noise is not known."
        else:
            low, high = (100 * end for end in standing.apart)
            verdict = "noise does not tell them apart" if low <= 0 <= high else "beyond noise"
            text = f"{low:+.1f} to {high:+.1f} points of hypervolume in 95 % of cases, {verdict}."
        yield f"{letter} against A: {text}"
        yield f"  on its front, not on A's: {', '.join(standing.come) or 'none'}"
        yield f"  on A's front, not on its: {', '.join(standing.gone) or 'none'}"


def shared(found: Comparison) -> Rows:
    """Objectives of candidates that all have; a star where one is on its run's front."""
    heads = [
        f"{letter} {metric_of(n).label}" for n in found.objectives for letter in letters(found)
    ]
    rows = [
        [
            difference.name,
            *(
                f"{metric_text(trial, name)}{'★' if trial.on_front else ' '}"
                for name in found.objectives
                for trial in difference.trials
            ),
        ]
        for difference in found.shared
    ]
    return [f"{counted(len(rows), 'candidate')} in all", *heads], rows


def keys(found: Comparison) -> Rows:
    """Configuration that differs."""
    rows = [[key, *map(value_text, values)] for key, values in found.keys.items()]
    return ["what differs", *letters(found)], rows


def _table(content: Rows) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(content[0]):
        table.add_column(head, justify="right" if number > 1 else "left", overflow="fold")
    for row in content[1]:
        table.add_row(*row)
    return table


def letters(found: Comparison) -> list[str]:
    """A, B, C and so on, and numbers beyond Z."""
    return [
        chr(ord("A") + number) if number < 26 else str(number + 1)
        for number in range(len(found.standings))
    ]


def comparison_csv(found: Comparison, path: Path) -> None:
    """A row for each trial of each run, in the columns of trials_csv after the run's own.

    Raises:
        OSError: the file cannot be written.
    """
    sweeps = [standing.sweep for standing in found.standings]
    named = ({"run": a, "folder": s.folder} for a, s in zip(letters(found), sweeps, strict=True))
    write_rows(path, [(n, s, ordered(s)) for n, s in zip(named, sweeps, strict=True)])
