"""Bars: what decides an objective, and where the time went."""

from __future__ import annotations

import plotly.graph_objects as go

from resnest_search.metrics import metric_of
from resnest_search.panels import Panel
from resnest_search.report.colors import LINES
from resnest_search.report.figures.style import blank, shortened
from resnest_search.report.reading import duration
from resnest_search.study.importance import importance
from resnest_search.study.ledger import ledger
from resnest_search.study.record import Sweep

__all__ = ["importance_figure", "ledger_figure"]


def importance_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """For each objective the share of its variance that each parameter explains."""
    found = importance(sweep)
    if not found:
        return None
    keys = list(next(iter(found.values()))[0])
    figure = blank("share of the variance, %", height=120 + 34 * len(keys) * len(found))
    for place, (name, (shares, count)) in enumerate(found.items()):
        figure.add_bar(
            x=[100 * shares[key] for key in keys],
            y=[shortened(keys)[key] for key in keys],
            orientation="h",
            marker={"color": LINES[place % len(LINES)]},
            name=f"{metric_of(name).noun}, {count} candidates",
            hovertemplate="%{y}: %{x:.0f} %",
        )
    figure.update_layout(barmode="group", yaxis={"autorange": "reversed"})
    return figure


def ledger_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """Seconds of the slots, by what they were spent on."""
    found = ledger(sweep)
    if found is None or not found.total:
        return None
    figure = blank("seconds of slots", height=170)
    parts = {
        "before the first trial": found.preparing,
        "training": found.training,
        "beside training": found.beside,
        "idle": found.idle,
    }
    for place, (name, seconds) in enumerate(parts.items()):
        told = f"{name}: {duration(seconds)}"
        figure.add_bar(
            x=[seconds],
            y=[""],
            orientation="h",
            marker={"color": LINES[place]},
            name=told,
            hovertemplate=f"{told}, {seconds / found.total:.0%}<extra></extra>",
        )
    figure.update_layout(barmode="stack")
    return figure
