"""What all figures share: colours, fonts, and what is said where the pointer is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from resnest_search.metrics import metric_of
from resnest_search.redact import public_text
from resnest_search.report.colors import GRID, INK, LINES, MUTED
from resnest_search.report.reading import metric_text, state_text
from resnest_search.study.record import Sweep, TrialRecord

__all__ = ["blank", "called", "colors_of", "hover", "joined", "numbered", "said", "shortened"]

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_LONGEST = 160  # characters of a reason that a pointer shows
_HEIGHT = 460  # pixels


def blank(x: str = "", y: str = "", height: int = _HEIGHT) -> go.Figure:
    """An empty figure with two titled axes, its legend below them."""
    axis = {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickfont": {"color": INK},
        "zeroline": False,
        "automargin": True,
    }
    font = {"family": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 12.5}
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "font": {**font, "color": INK},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hovermode": "closest",
            "showlegend": True,
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
            "hoverlabel": {"align": "left"},
            "margin": {"l": 10, "r": 10, "t": 28, "b": 10},
            "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
            "xaxis": {**axis, "title": {"text": x}},
            "yaxis": {**axis, "title": {"text": y}},
        }
    )


def numbered(sweep: Sweep) -> dict[int, int]:
    """Places of trials in the sweep, by the identity of their records."""
    return {id(trial): place for place, trial in enumerate(sweep.trials)}


def called(trial: TrialRecord) -> str:
    """Its name as plotly's markup, without what is nobody's business."""
    return escape(public_text(trial.name) if trial.extras else trial.name)


def said(sweep: Sweep, trial: TrialRecord) -> str:
    """Name, number, state and objectives, as lines."""
    number = f", trial {trial.number}" if trial.number >= 0 else ""
    names = dict.fromkeys([*sweep.objectives, "accuracy"])
    values = ((metric_text(trial, name), metric_of(name)) for name in names)
    lines = [f"{text} {metric.unit}" for text, metric in values if text != "–"]
    state = public_text(state_text(trial)) if trial.reason else state_text(trial)
    if len(state) > _LONGEST:
        state = state[:_LONGEST] + " …"
    head = f"<b>{called(trial)}</b>{number}"
    return "<br>".join([head, escape(state), *map(escape, lines)])


def hover(sweep: Sweep, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Of a trace with a point for each trial: whose it is, and what a pointer shows."""
    place = numbered(sweep)
    return {
        "customdata": [place[id(trial)] for trial in trials],
        "hovertext": [said(sweep, trial) for trial in trials],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def shortened(keys: Sequence[str]) -> dict[str, str]:
    """Each key by its last part, where no other has the same."""
    last = [key.rpartition(".")[2] for key in keys]
    return {k: part if last.count(part) == 1 else k for k, part in zip(keys, last, strict=True)}


def joined(parts: Iterable[Sequence[Any]]) -> list[Any]:
    """Sequences in one, with a gap after each, so that one trace holds many lines."""
    return [value for part in parts for value in (*part, None)]


def colors_of(trials: Iterable[TrialRecord]) -> dict[Any, tuple[str, str]]:
    """A colour and a dash for each radix; one for all where no variant names one."""
    found = sorted({t.dimensions["radix"] for t in trials if "radix" in t.dimensions})
    return {
        radix: (LINES[place % len(LINES)], _DASHES[place % len(_DASHES)])
        for place, radix in enumerate(found)
    } | {None: (LINES[0], _DASHES[0])}
