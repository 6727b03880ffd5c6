"""A trained metric after every epoch of every trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from resnest_search.metrics import metric_of
from resnest_search.panels import Panel
from resnest_search.report.colors import MUTED
from resnest_search.report.figures.style import blank, called, colors_of, joined, numbered
from resnest_search.report.reading import finite, on_front
from resnest_search.study.record import PRUNED, Sweep, TrialRecord

__all__ = ["curves_figure"]

_DIGITS = 5  # that count: a curve of a thousand trials is to stay small


def curves_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """One line a trial, coloured by its radix; those on the front stand out."""
    curves = [(t, c) for t in sweep.trials if (c := _curve(t, panel.y))]
    if not curves:
        return None
    figure = blank("epoch", metric_of(panel.y).title)
    for rung in sweep.rungs:
        figure.add_vline(rung, line={"color": MUTED, "width": 1, "dash": "dot"})
    colors = colors_of(t for t, _ in curves)
    for radix in sorted({t.dimensions.get("radix") for t, _ in curves}, key=str):
        group = [(t, c) for t, c in curves if t.dimensions.get("radix") == radix]
        figure.add_traces(list(_lines(sweep, group, radix, colors[radix])))
    ends = [(t, c[-1]) for t, c in curves if t.state == PRUNED]
    if ends:
        figure.add_trace(_ends(sweep, ends))
    longest = max(c[-1][0] for _, c in curves)
    figure.update_xaxes(range=[0.5, longest + 0.5], tickformat="d")
    if longest <= 12:
        figure.update_xaxes(dtick=1)
    return figure


def _curve(trial: TrialRecord, y: str) -> list[tuple[int, float]]:
    values = ((e.epoch, finite(getattr(e, y))) for e in trial.curve)
    scale = metric_of(y).scale
    return [(epoch, float(f"{v * scale:.{_DIGITS}g}")) for epoch, v in values if v is not None]


def _lines(
    sweep: Sweep,
    curves: Sequence[tuple[TrialRecord, list[tuple[int, float]]]],
    radix: Any,
    look: tuple[str, str],
) -> Iterator[go.Scatter]:
    """All curves of a radix as two traces: what is on the front, and what is not."""
    place = numbered(sweep)
    for members in (False, True):
        group = [(t, c) for t, c in curves if on_front(t) is members]
        if not group:
            continue
        name = "" if radix is None else f"radix {radix}, "
        color, dash = look
        yield go.Scatter(
            x=joined([e for e, _ in c] for _, c in group),
            y=joined([v for _, v in c] for _, c in group),
            customdata=joined([place[id(t)]] * len(c) for t, c in group),
            hovertext=joined([called(t)] * len(c) for t, c in group),
            hovertemplate="<b>%{hovertext}</b><br>epoch %{x}: %{y}<extra></extra>",
            mode="lines+markers",
            marker={"size": 4 if members else 3, "color": color},
            line={"color": color, "width": 2 if members else 1, "dash": dash},
            opacity=1 if members else 0.45,
            name=f"{name}on the front" if members else f"{name}not on it",
        )


def _ends(sweep: Sweep, ends: Sequence[tuple[TrialRecord, tuple[int, float]]]) -> go.Scatter:
    place = numbered(sweep)
    return go.Scatter(
        x=[e for _, (e, _) in ends],
        y=[v for _, (_, v) in ends],
        customdata=[place[id(t)] for t, _ in ends],
        mode="markers",
        marker={"symbol": "x-thin", "size": 7, "line": {"color": MUTED, "width": 1.3}},
        hoverinfo="skip",
        name="pruned here",
    )
