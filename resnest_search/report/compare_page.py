"""Several sweeps side by side, as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go

from resnest_search.files import write_atomically
from resnest_search.metrics import TRAINED, metric_of
from resnest_search.report.colors import LINES
from resnest_search.report.compare import Rows, differences, keys, letters, shared, standings
from resnest_search.report.figures.style import blank, said
from resnest_search.report.page import chart, document, marking_cell, plain
from resnest_search.report.reading import on_front, stated
from resnest_search.study.compare import Comparison
from resnest_search.study.record import TrialRecord

__all__ = ["write_comparison"]

_SIZE, _RIM, _MOST_RIM = 8, 5, 15  # pixels
_MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "star")


def write_comparison(found: Comparison, path: str | Path) -> None:
    """Write the page: how the runs stand, their fronts in one chart a cost, and what differs.

    Raises:
        OSError: the file cannot be written.
    """
    trained = next((n for n in found.objectives if n in TRAINED), found.objectives[0])
    # Of a single objective the latency stands in for a cost where it is known.
    costs = [name for name in found.objectives if name != trained] or [
        name
        for name in ("latency_ms",)
        if any(_drawable(standing.sweep.trials, name, trained) for standing in found.standings)
    ]
    charts = "".join(
        _section(
            f"cost{number}",
            title := f"{metric_of(trained).noun} against {metric_of(cost).noun}".capitalize(),
            chart(_overlaid(found, cost, trained), f"cost{number}", title),
        )
        for number, cost in enumerate(costs)
    )
    lines = "".join(f"<p>{plain(line)}</p>" for line in differences(found))
    header = (
        f"<header><h1>{len(found.standings)} sweeps side by side</h1>"
        f'<div class="verdict">{lines}</div>\n{_table(standings(found), "runs")}</header>'
    )
    main = (
        f'<p id="bar" class="bare"><span id="said" role="status"></span>'
        f'<button type="button" id="clear" hidden>Unmark</button></p>{charts}'
        + _section("shared", "Candidates that all have", _marking_table(found))
        + _section(
            "keys",
            "What differs between their configurations",
            _table(keys(found), "configuration"),
        )
    )
    write_atomically(path, document("sweeps side by side", header, main))


def _section(name: str, title: str, body: str) -> str:
    return f'<section><h2 id="{name}-title">{plain(title)}</h2>\n{body}</section>\n'


def _overlaid(found: Comparison, x: str, y: str) -> go.Figure:
    """Each run in a colour: fronts filled, other complete candidates hollow and pale."""
    figure = blank(metric_of(x).title, metric_of(y).title)
    place = {difference.name: number for number, difference in enumerate(found.shared)}
    for number, (letter, standing) in enumerate(zip(letters(found), found.standings, strict=True)):
        color, symbol = LINES[number % len(LINES)], _MARKERS[number % len(_MARKERS)]
        later = len(found.standings) - 1 - number
        size = _SIZE + min(_RIM * later, _MOST_RIM)  # so that equal points show
        for member in (False, True):
            trials = [t for t in _drawable(standing.sweep.trials, x, y) if on_front(t) is member]
            figure.add_scatter(
                x=[(stated(t, x) or 0.0) * metric_of(x).scale for t in trials],
                y=[(stated(t, y) or 0.0) * metric_of(y).scale for t in trials],
                mode="markers",
                name=f"{letter}, on its front" if member else f"{letter}, dominated",
                marker={"color": color, "symbol": symbol + "-open" * (not member), "size": size},
                opacity=1.0 if member else 0.5,
                customdata=[place.get(t.name, -1) for t in trials],
                hovertext=[f"{letter}: {said(standing.sweep, t)}" for t in trials],
                hovertemplate="%{hovertext}<extra></extra>",
            )
    return figure


def _drawable(trials: tuple[TrialRecord, ...], x: str, y: str) -> Iterator[TrialRecord]:
    for trial in trials:
        alone = trial.stands
        if alone and stated(trial, x) is not None and stated(trial, y) is not None:
            yield trial


def _table(content: Rows, name: str) -> str:
    heads = "".join(f'<th scope="col">{plain(head) or "name"}</th>' for head in content[0])
    rows = "".join(
        f"<tr>{''.join(f'<td>{plain(cell)}</td>' for cell in row)}</tr>\n" for row in content[1]
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table class="plain">'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>"
    )


def _marking_table(found: Comparison) -> str:
    """A row for each candidate that all have, which can be marked in the charts."""
    heads, rows = shared(found)
    titles = "".join(f'<th scope="col">{plain(head)}</th>' for head in heads)
    body = "".join(
        f'<tr data-trial="{number}" data-name="{plain(row[0])}">'
        f"<td>{marking_cell(plain(row[0]), row[0])}</td>"
        + "".join(f'<td class="number">{plain(cell.strip())}</td>' for cell in row[1:])
        + "</tr>\n"
        for number, row in enumerate(rows)
    )
    return (
        '<p class="note">A click on a row marks it in every chart. ★: on its run\'s front.</p>'
        '<div class="scroll" tabindex="0" role="region" aria-label="candidates">'
        f'<table class="marking"><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )
