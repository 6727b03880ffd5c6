"""A sweep over time: what it had come to, and which trial trained when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from resnest_search.panels import Panel
from resnest_search.report.colors import ACCENT, FRONT, INK, LINES, MUTED
from resnest_search.report.figures.style import blank, hover, joined, numbered, said
from resnest_search.study.gains import gains
from resnest_search.study.record import (
    COMPLETE,
    FAILED,
    INFEASIBLE,
    INTERRUPTED,
    PAUSED,
    PRUNED,
    RUNNING,
    Epoch,
    Sweep,
    TrialRecord,
)

__all__ = ["hypervolume_figure", "timeline_figure"]

_BREAK_S = 1.0  # between two epochs of a trial, from which on it did not train
_LOOKS = {  # of a trial's end: colour and marker
    COMPLETE: (FRONT, "circle"),
    PRUNED: (MUTED, "x"),
    PAUSED: (LINES[1], "square-open"),
    RUNNING: (LINES[2], "triangle-right"),
    INTERRUPTED: (INK, "diamond-open"),
    FAILED: (ACCENT, "cross"),
    INFEASIBLE: (MUTED, "triangle-down-open"),  # by the limits of another device
}


def hypervolume_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """Share of today's hypervolume that was there, over epochs and over seconds."""
    found = gains(sweep)
    if not found:
        return None
    figure = blank("training epochs of all trials", "share of the hypervolume, %")
    whose = hover(sweep, [gain.trial for gain in found])
    for axis, moments in (
        ("x", [float(gain.epochs) for gain in found]),
        ("x2", [gain.seconds for gain in found]),
    ):
        figure.add_scatter(
            x=moments,
            y=[100 * gain.share for gain in found],
            xaxis=axis,
            mode="lines+markers",
            line={"shape": "hv", "color": FRONT, "width": 1.5},
            marker={"size": 5, "color": FRONT},
            showlegend=False,
            **whose,
        )
    second = {**figure.layout.xaxis.to_plotly_json(), "title": {"text": "seconds since it began"}}
    figure.update_layout(
        xaxis={"domain": [0, 0.48], "rangemode": "tozero"},
        xaxis2={**second, "domain": [0.54, 1], "rangemode": "tozero", "anchor": "y"},
        yaxis={"rangemode": "tozero"},
        height=340,
    )
    return figure


def timeline_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """A row for each trial, drawn while it trained; its end says its state, a tick each rung."""
    trials = [t for t in sweep.trials if t.own_curve and t.own_curve[-1].at is not None]
    if not trials:
        return None
    figure = blank("seconds since the sweep began", "trial", height=420)
    figure.add_trace(_spans(sweep, trials))
    if ticks := [(t, e) for t in trials for e in t.own_curve if e.epoch in sweep.rungs and e.at]:
        figure.add_scatter(
            x=[e.at for _, e in ticks],
            y=[t.number for t, _ in ticks],
            mode="markers",
            marker={"symbol": "line-ns", "size": 8, "line": {"color": INK, "width": 1}},
            name="rung",
            hoverinfo="skip",
        )
    for state, (color, symbol) in _LOOKS.items():
        ended = [t for t in trials if t.state == state]
        if ended:
            figure.add_scatter(
                x=[t.curve[-1].at for t in ended],
                y=[t.number for t in ended],
                mode="markers",
                marker={"symbol": symbol, "size": 8, "color": color, "line": {"color": color}},
                name=state,
                **hover(sweep, ended),
            )
    figure.update_yaxes(tickformat="d", rangemode="tozero")
    return figure


def _spans(sweep: Sweep, trials: Sequence[TrialRecord]) -> go.Scatter:
    place = numbered(sweep)
    spans = [(trial, *span) for trial in trials for span in _trained(trial.own_curve)]
    return go.Scatter(
        x=joined((begun, end) for _, begun, end in spans),
        y=joined([t.number] * 2 for t, *_ in spans),
        customdata=joined([place[id(t)]] * 2 for t, *_ in spans),
        hovertext=joined([said(sweep, t)] * 2 for t, *_ in spans),
        hovertemplate="%{hovertext}<extra></extra>",
        mode="lines",
        line={"color": MUTED, "width": 3},
        name="trains",
    )


def _trained(curve: Sequence[Epoch]) -> Iterator[tuple[float, float]]:
    """From when to when, in seconds; epochs that follow each other are one span."""
    begun = end = None
    for epoch in curve:
        if epoch.at is None:
            continue
        start = max(0.0, epoch.at - epoch.seconds)
        if end is None or begun is None:
            begun = start
        elif start - end > _BREAK_S:
            yield begun, end
            begun = start
        end = epoch.at
    if begun is not None and end is not None:
        yield begun, end
