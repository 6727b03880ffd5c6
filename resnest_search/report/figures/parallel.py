"""What candidates are and what they come to, as lines over parallel axes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from resnest_search.metrics import metric_of
from resnest_search.panels import Panel
from resnest_search.redact import public_text
from resnest_search.report.colors import FRONT, INK, MUTED
from resnest_search.report.figures.style import blank, numbered, shortened
from resnest_search.report.reading import on_front, stated
from resnest_search.study.record import Sweep, TrialRecord, value_text, varied

__all__ = ["parallel_figure"]

_LEAST = 2  # lines
_MOST_TICKS = 12


def parallel_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """An axis for each dimension that varies and for each objective; complete candidates alone.

    Parallel coordinates (Inselberg, 1985). A drag along an axis leaves the lines that cross it
    there.
    """
    trials = [t for t in sweep.trials if t.stands]
    trials = [t for t in trials if all(stated(t, name) is not None for name in sweep.objectives)]
    trials.sort(key=on_front)  # the last ones are drawn on top
    keys = varied(trials)
    if len(trials) < _LEAST or not keys:
        return None
    place = numbered(sweep)
    lines = go.Parcoords(
        dimensions=[
            *(_of_space(key, name, trials) for key, name in shortened(keys).items()),
            *(_of_objective(name, trials) for name in sweep.objectives),
        ],
        customdata=[place[id(trial)] for trial in trials],
        line={
            "color": [int(on_front(trial)) for trial in trials],
            "colorscale": [[0, MUTED], [1, FRONT]],
            "cmin": 0,
            "cmax": 1,
        },
        labelfont={"size": 12.5, "color": INK},
        tickfont={"size": 11, "color": INK},
        rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        unselected={"line": {"color": MUTED, "opacity": 0.08}},
    )
    figure = blank(height=400)
    figure.add_trace(lines)
    figure.update_layout(margin={"l": 50, "r": 50, "t": 60, "b": 30})
    return figure


def _of_space(key: str, label: str, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Values as evenly spaced places, in their order: radix 0, 1, 2, 4 are no lengths.

    First is the dash of those in which the key does not exist.
    """
    # by their texts, since a value may be a list
    values: dict[str, Any] = {value_text(v): v for t in trials for v in [t.dimensions.get(key)]}
    present = {text: v for text, v in values.items() if v is not None}
    numbers = all(isinstance(v, int | float) for v in present.values())
    ranked = [text for text in values if text not in present]
    ranked += sorted(present, key=lambda text: present[text] if numbers else text)
    place = {text: number for number, text in enumerate(ranked)}
    step = max(1, len(ranked) // _MOST_TICKS)
    return {
        "label": label,
        "values": [place[value_text(t.dimensions.get(key))] for t in trials],
        "tickvals": list(range(0, len(ranked), step)),
        "ticktext": [escape(public_text(text)) for text in ranked[::step]],
        "range": [-0.1, len(ranked) - 0.9],
    }


def _of_objective(name: str, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    metric = metric_of(name)
    values = [(stated(trial, name) or 0.0) * metric.scale for trial in trials]
    return {"label": metric.label, "values": values}
