"""A sweep's trials by two of their metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from resnest_search.metrics import SHARES, TRAINED, metric_of
from resnest_search.panels import Panel
from resnest_search.report.colors import ACCENT, FRONT, INK, MUTED
from resnest_search.report.figures.names import Spot, placed
from resnest_search.report.figures.style import blank, called, hover
from resnest_search.report.reading import (
    LIKELY,
    chosen,
    finite,
    is_control,
    knee,
    metric_title,
    on_front,
    stated,
    stated_share,
)
from resnest_search.study.record import COMPLETE, INFEASIBLE, OPEN, PRUNED, Sweep, TrialRecord

__all__ = ["front_figure", "scatter_figure"]

_DIAMETERS = (7.0, 20.0)  # pixels, of the least and the largest size
_PLAIN = 9.0
_CROSSES = ("x-thin", "cross-thin", "asterisk", "y-down", "y-up", "hash")  # one for each rung
_UNFINISHED = 0.4  # of the complete trials' range, that pruned ones may add to the axis
_MARGIN = 0.07


@dataclass(frozen=True)
class _Point:
    trial: TrialRecord
    x: float
    y: float
    x_error: float
    y_error: float
    size: float


def front_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """As `scatter_figure`, with the best ``y`` to be had at every ``x`` as a step line."""
    figure = scatter_figure(panel, sweep)
    members = [p for p in _points(sweep, panel) if on_front(p.trial) and p.trial.stands]
    best = _steps(members, panel)
    if figure is None or len(best) < 2:
        return figure
    line = go.Scatter(
        x=[p.x for p in best],
        y=[p.y for p in best],
        mode="lines",
        line={"shape": "hv", "color": FRONT, "width": 1.5},
        name="best to be had",
        hoverinfo="skip",
    )
    figure.add_trace(line)
    figure.data = (figure.data[-1], *figure.data[:-1])  # below the points
    return figure


def scatter_figure(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """Filled on the front, hollow if dominated, crosses if pruned; size by a third metric.

    Bars are standard errors: of an accuracy from images and seeds, of a latency between rounds.
    """
    points = _points(sweep, panel)
    trained = bool({panel.x, panel.y} & {*TRAINED})
    complete = [p for p in points if p.trial.state == COMPLETE]
    pruned = [p for p in points if p.trial.state == PRUNED]
    under_way = [p for p in points if p.trial.state in OPEN]
    if not (complete or pruned or under_way or (points and not trained)):
        return None
    title = metric_title(sweep, panel.x)
    if len({p.size for p in points}) > 1:
        title += f"<br><span style='font-size:.85em'>size: {metric_title(sweep, panel.size)}</span>"
    figure = blank(title, metric_title(sweep, panel.y))
    unfinished = [*pruned, *under_way]
    limits = _limits(complete or unfinished, unfinished) if panel.y in TRAINED else None
    traces = list(_pruned(sweep, pruned, limits, trained))
    traces += _under_way(sweep, under_way, limits, trained)
    if not trained:
        traces += _infeasible(sweep, [p for p in points if p.trial.state == INFEASIBLE])
    traces += _complete(sweep, [p for p in complete if p.trial.stands])
    if trained:
        traces += _doubts(sweep, complete)
    figure.add_traces(traces)
    if limits:
        points = [p for p in points if limits[0] <= p.y <= limits[1]]
        figure.update_yaxes(range=limits)
        figure.update_xaxes(range=_reach(points))
    _name(figure, [p for p in complete if p.trial.stands], points, knee(sweep))
    return figure


def _reach(points: Sequence[_Point]) -> tuple[float, float]:
    """Of the x axis: what is to be seen on the y axis."""
    low, high = min(p.x - p.x_error for p in points), max(p.x + p.x_error for p in points)
    margin = _MARGIN * (high - low or abs(high) or 1.0)
    return (low - margin, high + margin)


def _points(sweep: Sweep, panel: Panel) -> list[_Point]:
    found = []
    sizes = _sizes(sweep, panel.size)
    x, y = metric_of(panel.x), metric_of(panel.y)
    for trial in sweep.trials:
        at = stated(trial, panel.x), stated(trial, panel.y)
        if at[0] is not None and at[1] is not None:
            errors = _error(trial, panel.x) * x.scale, _error(trial, panel.y) * y.scale
            size = sizes.get(id(trial), _PLAIN)
            found.append(_Point(trial, at[0] * x.scale, at[1] * y.scale, *errors, size))
    return found


def _sizes(sweep: Sweep, metric: str) -> dict[int, float]:
    """Diameters by the identity of records: areas grow linearly with the metric."""
    shown = [t for t in sweep.trials if t.state in (COMPLETE, PRUNED)] if metric else []
    values = {id(t): v for t in shown if (v := finite(t.metric(metric))) is not None}
    low, high = (min(values.values()), max(values.values())) if values else (0.0, 0.0)
    if high <= low:
        return {}
    least, most = (diameter**2 for diameter in _DIAMETERS)
    return {
        key: round(math.sqrt(least + (value - low) / (high - low) * (most - least)), 1)
        for key, value in values.items()
    }


def _error(trial: TrialRecord, metric: str) -> float:
    """Standard error, in the metric's own unit; 0 where it is not known."""
    if metric in SHARES:
        return finite(stated_share(trial, metric)[1]) or 0.0
    return trial.log_error(metric) * (trial.metric(metric) or 0.0)


def _steps(points: Sequence[_Point], panel: Panel) -> list[_Point]:
    """What is on the front in these two metrics alone; other members stay off the line."""
    x_sign = metric_of(panel.x).sign
    y_sign = metric_of(panel.y).sign
    best: list[_Point] = []
    for point in sorted(points, key=lambda p: (x_sign * p.x, y_sign * p.y)):
        if not best or y_sign * point.y < y_sign * best[-1].y:
            best.append(point)
    return best


def _trace(sweep: Sweep, points: Sequence[_Point], name: str, **marker: Any) -> go.Scatter:
    return go.Scatter(
        x=[p.x for p in points],
        y=[p.y for p in points],
        mode="markers",
        name=name,
        marker=marker,
        **hover(sweep, [p.trial for p in points]),
    )


def _complete(sweep: Sweep, points: Sequence[_Point]) -> Iterator[go.Scatter]:
    best = knee(sweep)
    groups = (
        ("dominated", MUTED, [p for p in points if not on_front(p.trial)]),
        ("on the front", FRONT, [p for p in points if on_front(p.trial) and p.trial is not best]),
        ("knee of the front", ACCENT, [p for p in points if p.trial is best]),
    )
    for name, color, group in groups:
        if not group:
            continue
        hollow = color == MUTED
        squares = [is_control(p.trial) for p in group]
        shape = "-open" if hollow else ""
        trace = _trace(
            sweep,
            group,
            f"{name} (square: radix 0)" if any(squares) else name,
            color=color,
            size=[p.size for p in group],
            symbol=[("square" if square else "circle") + shape for square in squares],
            line={"color": color, "width": 1.5},
        )
        for axis in ("x", "y"):
            errors = [getattr(p, f"{axis}_error") for p in group]
            if any(errors):
                bar = {"array": errors, "color": color, "thickness": 1, "width": 0}
                trace[f"error_{axis}"] = bar
        yield trace


def _doubts(sweep: Sweep, complete: Sequence[_Point]) -> Iterator[go.Scatter]:
    """Rings around what could as well be chosen, and marks for single seeds."""
    rivals = [p for p in complete if p.trial.number in sweep.rivals and p.trial.stands]
    if rivals:
        best = chosen(sweep)
        whose = best.name if best and knee(sweep) is None else "the knee"
        ring = {"color": ACCENT, "size": [p.size + 8 for p in rivals], "line": {"width": 1.5}}
        name = f"within noise of {whose}" + ", and costs no more" * bool(sweep.sought_costs)
        yield _trace(sweep, rivals, name, symbol="circle-open", **ring)
    seeds = [p for p in complete if not p.trial.stands]
    if seeds:
        line = {"color": INK, "width": 1.5}
        name = "another seed; the mean is drawn in full"
        yield _trace(sweep, seeds, name, symbol="line-ew", size=6, color=INK, line=line)


def _pruned(
    sweep: Sweep, points: Sequence[_Point], limits: tuple[float, float] | None, trained: bool
) -> Iterator[go.Scatter]:
    rungs = sorted({p.trial.pruned_at for p in points}, key=lambda rung: rung or 0)
    for place, rung in enumerate(rungs):
        here = [p for p in points if p.trial.pruned_at == rung]
        label = "pruned" if rung is None else f"pruned at epoch {rung}"
        if trained:
            label += ", unfinished"
            label += _off(here, limits)
        symbol = _CROSSES[place % len(_CROSSES)]
        line = {"color": MUTED, "width": 1.3}
        yield _trace(sweep, here, label, symbol=symbol, size=7, color=MUTED, line=line)


def _off(points: Sequence[_Point], limits: tuple[float, float] | None) -> str:
    """How many are not to be seen."""
    low, high = limits or (-math.inf, math.inf)
    beyond = {"below": sum(p.y < low for p in points), "above": sum(p.y > high for p in points)}
    found = ", ".join(f"{count} {side}" for side, count in beyond.items() if count)
    return f" ({found} the axis)" if found else ""


def _under_way(
    sweep: Sweep, points: Sequence[_Point], limits: tuple[float, float] | None, trained: bool
) -> Iterator[go.Scatter]:
    if points:
        name = f"under way, unfinished{_off(points, limits)}" if trained else "under way"
        line = {"width": 1.3}
        marker = {"symbol": "triangle-right-open", "size": 8, "color": FRONT, "line": line}
        yield _trace(sweep, points, name, **marker)


def _infeasible(sweep: Sweep, points: Sequence[_Point]) -> Iterator[go.Scatter]:
    if points:
        never = not any(p.trial.curve for p in points)  # else by the costs of another device
        name = "infeasible, never trained" if never else "infeasible"
        yield _trace(sweep, points, name, symbol="triangle-down-open", size=7, color=MUTED)


def _limits(full: Sequence[_Point], pruned: Sequence[_Point]) -> tuple[float, float]:
    """Of the y axis: all complete trials, and pruned ones as far down as they squeeze nothing."""
    low = min(p.y - p.y_error for p in full)
    high = max(p.y + p.y_error for p in full)
    span = max(high - low, 1e-3 * max(abs(high), 1e-9))
    reach = _UNFINISHED * span
    near = [p.y for p in pruned if low - reach <= p.y <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = _MARGIN * (high - low or span)
    return (low - margin, high + margin)


def _name(
    figure: go.Figure,
    complete: Sequence[_Point],
    points: Sequence[_Point],
    best: TrialRecord | None,
) -> None:
    """Write names beside the knee, the front, the controls and what noise keeps off the front."""

    def weight(point: _Point) -> int:
        if point.trial is best or on_front(point.trial):
            return 2 if point.trial is best else 1
        return 0

    named = [p for p in complete if weight(p) or is_control(p.trial) or _likely(p.trial)]
    named.sort(key=weight, reverse=True)
    for number, place in placed([_spot(p, best) for p in named], [_spot(p) for p in points]):
        point = named[number]
        at_knee = point.trial is best
        color = ACCENT if at_knee else FRONT if on_front(point.trial) else MUTED
        name = _spot(point, best).name
        figure.add_annotation(
            x=point.x,
            y=point.y,
            text=f"<b>{name}</b>" if at_knee else name,
            font={"color": color, "size": 12},
            showarrow=False,
            **place,
        )


def _spot(point: _Point, best: TrialRecord | None = None) -> Spot:
    name = called(point.trial)
    name = f"{name} (knee)" if point.trial is best else name
    return Spot(point.x, point.y, point.size, name)


def _likely(trial: TrialRecord) -> bool:
    """Whether noise may be all that keeps it off the front."""
    return (trial.membership or 0.0) >= LIKELY
