"""Several sweeps side by side, as tables, as a picture and as a CSV file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from resnest_search.metrics import TRAINED, metric_of
from resnest_search.report.reading import metric_text, ordered
from resnest_search.report.svg import INK, LINES, new_figure
from resnest_search.report.table import write_rows
from resnest_search.study.compare import Comparison
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord, value_text
from resnest_search.words import counted

__all__ = ["comparison_csv", "draw_comparison", "told"]

_MOST = 25  # rows of a table
_DPI = 150


def told(found: Comparison) -> Iterator[str | Table]:
    """What is printed: how the runs stand, what they share, what differs between them."""
    yield _standings(found)
    for letter, standing in zip(_letters(found), found.standings, strict=True):
        if standing.apart is None:
            continue
        low, high = (100 * end for end in standing.apart)
        verdict = "noise does not tell them apart" if low <= 0 <= high else "beyond noise"
        yield (
            f"{letter} against A: {low:+.1f} to {high:+.1f} points of hypervolume in 95 % of "
            f"cases, {verdict}."
        )
        yield f"  on its front, not on A's: {', '.join(standing.come) or 'none'}"
        yield f"  on A's front, not on its: {', '.join(standing.gone) or 'none'}"
    yield ""
    if found.shared:
        yield _shared(found)
        yield ""
    if found.keys:
        yield _keys(found)


def _standings(found: Comparison) -> Table:
    table = _table("", "run", "state", "complete", "front", "epochs", "hypervolume, %")
    for letter, standing in zip(_letters(found), found.standings, strict=True):
        sweep = standing.sweep
        complete = sum(t.state == COMPLETE and t.repeat_of is None for t in sweep.trials)
        state = "finished" if sweep.finished else "not finished"
        numbers = (complete, len(sweep.front), sweep.epochs, f"{100 * standing.hypervolume:.1f}")
        table.add_row(letter, sweep.folder, state, *map(str, numbers))
    return table


def _shared(found: Comparison) -> Table:
    """Objectives of candidates that all have; a star where one is on its run's front."""
    letters = _letters(found)
    heads = [f"{letter} {metric_of(n).label}" for n in found.objectives for letter in letters]
    table = _table(f"{counted(len(found.shared), 'candidate')} in all", *heads)
    for difference in found.shared[:_MOST]:
        cells = [
            f"{metric_text(trial, name)}{'★' if trial.on_front else ' '}"
            for name in found.objectives
            for trial in difference.trials
        ]
        table.add_row(difference.name, *cells)
    if len(found.shared) > _MOST:
        table.add_row(f"… and {len(found.shared) - _MOST} more")
    return table


def _keys(found: Comparison) -> Table:
    table = _table("what differs", *_letters(found))
    for key, values in found.keys.items():
        table.add_row(key, *map(value_text, values))
    return table


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number > 1 else "left", overflow="fold")
    return table


def _letters(found: Comparison) -> list[str]:
    """A, B, C and so on, and numbers beyond Z."""
    return [
        chr(ord("A") + number) if number < 26 else str(number + 1)
        for number in range(len(found.standings))
    ]


def draw_comparison(found: Comparison, path: Path) -> None:
    """Fronts filled, other complete trials pale, a panel for each cost, as a PNG."""
    trained = next((name for name in found.objectives if name in TRAINED), found.objectives[0])
    costs = [name for name in found.objectives if name != trained] or [trained]
    figure, axes = new_figure()
    axes.remove()
    figure.set_size_inches(5.2 * len(costs), 4.6)
    panels = figure.subplots(1, len(costs), squeeze=False)[0]
    for panel, cost in zip(panels, costs, strict=True):
        for number, (letter, standing) in enumerate(
            zip(_letters(found), found.standings, strict=True)
        ):
            color, marker = LINES[number % len(LINES)], "os^Dvp"[number % 6]
            x, y = _points(standing.sweep, cost, trained, on_front=False)
            panel.plot(x, y, marker, color=color, alpha=0.25, markersize=5)
            x, y = _points(standing.sweep, cost, trained, on_front=True)
            panel.plot(x, y, marker, color=color, label=letter, markersize=6)
        panel.set_xlabel(metric_of(cost).title, color=INK)
        panel.set_ylabel(metric_of(trained).title, color=INK)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    names = [f"{a} {s.sweep.folder}" for a, s in zip(_letters(found), found.standings, strict=True)]
    panels[0].legend(frameon=False)
    figure.suptitle("\n".join(names), fontsize=8, color=INK)
    figure.savefig(path, dpi=_DPI)


def _points(sweep: Sweep, x: str, y: str, on_front: bool) -> tuple[list[float], list[float]]:
    """Two metrics of complete trials that stand for their candidates, in the order of the first."""
    trials = [t for t in sweep.trials if t.state == COMPLETE and t.repeat_of is None]
    chosen = [t for t in trials if t.on_front == on_front]
    pairs = [(_shown(trial, x), _shown(trial, y)) for trial in chosen]
    known = sorted((a, b) for a, b in pairs if a is not None and b is not None)
    return [a for a, _ in known], [b for _, b in known]


def _shown(trial: TrialRecord, name: str) -> float | None:
    """In the unit that the metric's title says."""
    if name == "accuracy":
        value = trial.accuracy if trial.mean_accuracy is None else trial.mean_accuracy
        return None if value is None else 100 * value
    return trial.metric(name)


def comparison_csv(found: Comparison, path: Path) -> None:
    """A row for each trial of each run, in the columns of trials_csv after the run's own.

    Raises:
        OSError: the file cannot be written.
    """
    sweeps = [standing.sweep for standing in found.standings]
    named = ({"run": a, "folder": s.folder} for a, s in zip(_letters(found), sweeps, strict=True))
    write_rows(path, [(n, s, ordered(s)) for n, s in zip(named, sweeps, strict=True)])
