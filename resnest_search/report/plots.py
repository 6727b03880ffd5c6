"""A sweep's trials by two of their metrics, as SVG."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from resnest_search.metrics import TRAINED, metric_of
from resnest_search.report.labels import Label, place
from resnest_search.report.reading import (
    LIKELY,
    chosen,
    finite,
    is_control,
    knee,
    metric_title,
    on_front,
    stated,
    stated_accuracy,
)
from resnest_search.report.svg import ACCENT, FRONT, INK, MUTED, new_figure, to_svg
from resnest_search.study.record import COMPLETE, INFEASIBLE, PRUNED, Sweep, TrialRecord

__all__ = ["front_svg", "scatter_svg"]

_AREA = (30.0, 260.0)  # square points, of the least and the largest size
_PLAIN_AREA = 60.0
_CROSSES = "x+1234"  # one for each rung
_UNFINISHED = 0.4  # of the complete trials' range, that pruned ones may add to the axis
_MOST_LABELS = 60  # beyond it, placing costs seconds and nobody reads them


@dataclass(frozen=True)
class _Point:
    trial: TrialRecord
    x: float
    y: float
    x_error: float
    y_error: float
    area: float


def front_svg(
    sweep: Sweep,
    x: str = "latency_ms",
    y: str = "accuracy",
    size: str = "memory_mib",
    name: str = "front",
) -> str:
    """The front: scatter_svg with the best ``y`` to be had at every ``x`` as a step line."""
    return _draw(sweep, x, y, size, name, steps=True)


def scatter_svg(sweep: Sweep, x: str, y: str, size: str = "", name: str = "scatter") -> str:
    """Trials by two metrics: filled on the front, hollow if dominated, crosses if pruned.

    Args:
        sweep: as it stands; trials without one of the two metrics are left out.
        x, y: names of metrics.METRICS.
        size: the metric that a marker's area grows with; equal areas where empty.
        name: begins every id, so it must differ among the plots of one page.

    Returns:
        One ``<svg>`` element. Bars are the standard error of the accuracy.
    """
    return _draw(sweep, x, y, size, name, steps=False)


def _draw(sweep: Sweep, x: str, y: str, size: str, name: str, steps: bool) -> str:
    figure, axes = new_figure()
    axes.set_xlabel(metric_title(sweep, x), color=INK)
    axes.set_ylabel(metric_title(sweep, y), color=INK)
    sizes = _Sizes(sweep, size)
    points = _points(sweep, x, y, sizes)
    trained = x in TRAINED or y in TRAINED
    complete = [p for p in points if p.trial.state == COMPLETE]
    full = [p for p in complete if p.trial.repeat_of is None]
    pruned = [p for p in points if p.trial.state == PRUNED]
    handles: list[Line2D] = []
    if steps:
        handles += _step_line(axes, [p for p in full if on_front(p.trial)], x, y)
    handles += _complete(axes, full, knee(sweep))
    if trained:
        handles += _rings(sweep, axes, [p for p in full if p.trial.number in sweep.rivals])
        handles += _repeats(axes, [p for p in complete if p.trial.repeat_of is not None])
    limits = _limits(complete or pruned, pruned)
    handles += _pruned(axes, pruned, limits, trained)
    if not trained:
        handles += _infeasible(axes, [p for p in points if p.trial.state == INFEASIBLE])
    if not points:
        _say_empty(axes)
    elif trained and y in TRAINED:
        axes.set_ylim(limits)
    axes.margins(x=0.08)
    _legends(axes, handles, sizes if points else None)
    _name_points(axes, full, knee(sweep))
    return to_svg(figure, name)


class _Sizes:
    """Areas of markers that grow linearly with a metric; equal where it is unknown."""

    def __init__(self, sweep: Sweep, metric: str) -> None:
        self.metric = metric
        self.title = metric_title(sweep, metric) if metric else ""
        found = (finite(t.metric(metric)) for t in sweep.trials if t.state in (COMPLETE, PRUNED))
        values = [value for value in found if value is not None] if metric else []
        self.low, self.high = (min(values), max(values)) if values else (0.0, 0.0)

    @property
    def known(self) -> bool:
        return self.high > self.low

    def area(self, value: float | None) -> float:
        if value is None or not self.known:
            return _PLAIN_AREA
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return _AREA[0] + share * (_AREA[1] - _AREA[0])

    def examples(self) -> list[tuple[str, float]]:
        metric = metric_of(self.metric)
        steps = (self.low, (self.low + self.high) / 2, self.high)
        return [(metric.show(value), self.area(value)) for value in steps]


def _points(sweep: Sweep, x: str, y: str, sizes: _Sizes) -> list[_Point]:
    points = []
    for trial in sweep.trials:
        at = stated(trial, x), stated(trial, y)
        if at[0] is None or at[1] is None:
            continue
        area = sizes.area(finite(trial.metric(sizes.metric)) if sizes.metric else None)
        scale = metric_of(x).scale, metric_of(y).scale
        errors = _error(trial, x), _error(trial, y)
        points.append(_Point(trial, at[0] * scale[0], at[1] * scale[1], *errors, area))
    return points


def _error(trial: TrialRecord, metric: str) -> float:
    error = finite(stated_accuracy(trial)[1]) if metric == "accuracy" else None
    return (error or 0.0) * metric_of("accuracy").scale


def _step_line(axes: Axes, points: Sequence[_Point], x: str, y: str) -> list[Line2D]:
    """Join what is on the front in these two metrics alone; other members stay off the line."""
    best: list[_Point] = []
    x_sign = -1 if metric_of(x).maximize else 1
    y_sign = 1 if metric_of(y).maximize else -1
    for point in sorted(points, key=lambda p: (x_sign * p.x, -y_sign * p.y)):
        if not best or y_sign * point.y > y_sign * best[-1].y:
            best.append(point)
    if len(best) < 2:
        return []
    xs, ys = [p.x for p in best], [p.y for p in best]
    return axes.plot(
        xs, ys, drawstyle="steps-post", color=FRONT, lw=1.4, alpha=0.7, zorder=2, label="front"
    )


def _complete(axes: Axes, points: Sequence[_Point], best: TrialRecord | None) -> list[Line2D]:
    groups: dict[tuple[str, bool, str], list[_Point]] = defaultdict(list)
    for point in points:
        member = on_front(point.trial)
        color = ACCENT if point.trial is best else FRONT if member else MUTED
        groups[color, member, "s" if is_control(point.trial) else "o"].append(point)
    for (color, member, marker), group in groups.items():
        _markers(axes, group, color, member, marker)
    return _complete_handles([p.trial for p in points], best)


def _markers(axes: Axes, points: Sequence[_Point], color: str, member: bool, marker: str) -> None:
    xs, ys = [p.x for p in points], [p.y for p in points]
    x_errors, y_errors = [p.x_error for p in points], [p.y_error for p in points]
    axes.errorbar(
        xs,
        ys,
        xerr=x_errors if any(x_errors) else None,
        yerr=y_errors if any(y_errors) else None,
        ls="",
        color=color,
        elinewidth=1.1 if member else 0.7,
        alpha=1 if member else 0.65,
        zorder=3 if member else 2.5,
    )
    axes.scatter(
        xs,
        ys,
        s=[p.area for p in points],
        marker=marker,
        facecolors=color if member else "none",
        edgecolors=color,
        linewidths=1.2,
        alpha=0.9,
        zorder=5 if member else 4,
    )


def _complete_handles(trials: Sequence[TrialRecord], best: TrialRecord | None) -> list[Line2D]:
    handles = []
    if any(trial is best for trial in trials):
        handles.append(_handle("o", ACCENT, "knee of the front", filled=True))
    if any(on_front(trial) and trial is not best for trial in trials):
        handles.append(_handle("o", FRONT, "on the front", filled=True))
    if any(not on_front(trial) for trial in trials):
        handles.append(_handle("o", MUTED, "complete, dominated"))
    if any(is_control(trial) for trial in trials):
        handles.append(_handle("s", INK, "square: radix 0, no attention"))
    return handles


def _rings(sweep: Sweep, axes: Axes, points: Sequence[_Point]) -> list[Line2D]:
    """Around what could as well be chosen."""
    if not points:
        return []
    axes.scatter(
        [p.x for p in points],
        [p.y for p in points],
        s=[(math.sqrt(p.area) + 6) ** 2 for p in points],
        marker="o",
        facecolors="none",
        edgecolors=ACCENT,
        linewidths=1.1,
        zorder=6,
    )
    best = chosen(sweep)
    name = best.name if best and knee(sweep) is None else "the knee"
    return [_handle("o", ACCENT, f"ringed: within noise of {name}, and costs no more")]


def _repeats(axes: Axes, points: Sequence[_Point]) -> list[Line2D]:
    """Single seeds of candidates whose mean is drawn in full."""
    if not points:
        return []
    axes.scatter([p.x for p in points], [p.y for p in points], s=9, marker="_", c=INK, zorder=6)
    return [_handle("_", INK, "another seed; the mean is drawn in full")]


def _pruned(
    axes: Axes, points: Sequence[_Point], limits: tuple[float, float], trained: bool
) -> list[Line2D]:
    rungs = sorted({p.trial.pruned_at for p in points}, key=lambda rung: rung or 0)
    handles = []
    for rung, marker in zip(rungs, _cycle(_CROSSES, len(rungs)), strict=True):
        here = [p for p in points if p.trial.pruned_at == rung]
        axes.scatter(
            [p.x for p in here], [p.y for p in here], s=22, marker=marker, c=MUTED, linewidths=1
        )
        label = "pruned" if rung is None else f"pruned at epoch {rung}"
        if trained:
            label += ", accuracy unfinished"
            if below := sum(p.y < limits[0] for p in here):
                label += f" ({below} below the axis)"
        handles.append(_handle(marker, MUTED, label))
    return handles


def _infeasible(axes: Axes, points: Sequence[_Point]) -> list[Line2D]:
    if not points:
        return []
    axes.scatter(
        [p.x for p in points],
        [p.y for p in points],
        s=24,
        marker="v",
        facecolors="none",
        edgecolors=MUTED,
    )
    return [_handle("v", MUTED, "infeasible, never trained")]


def _cycle(markers: str, length: int) -> str:
    return "".join(markers[i % len(markers)] for i in range(length))


def _handle(marker: str, color: str, label: str, filled: bool = False) -> Line2D:
    face = color if filled else "none"
    return Line2D([], [], ls="", marker=marker, mec=color, mfc=face, ms=6, label=label)


def _limits(full: Sequence[_Point], pruned: Sequence[_Point]) -> tuple[float, float]:
    """Of the y axis: all complete trials, and pruned ones as far down as they squeeze nothing."""
    if not full:
        return (0.0, 1.0)
    low = min(p.y - p.y_error for p in full)
    high = max(p.y + p.y_error for p in full)
    span = max(high - low, 1e-3 * max(abs(high), 1e-9))
    reach = _UNFINISHED * span
    near = [p.y for p in pruned if low - reach <= p.y <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.07 * (high - low or span)
    return (low - margin, high + margin)


def _say_empty(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.text(
        0.5,
        0.5,
        "no trial has both numbers yet",
        transform=axes.transAxes,
        ha="center",
        color=MUTED,
        fontsize=12,
    )


def _legends(axes: Axes, handles: Sequence[Line2D], sizes: _Sizes | None) -> None:
    """Below the axes, where no legend can cover a point."""
    figure = axes.figure
    if sizes and sizes.known:
        handles = [*handles, *_size_handles(sizes)]
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(3, len(handles)),
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
            handletextpad=0.5,
            columnspacing=1.8,
        )


def _size_handles(sizes: _Sizes) -> Iterable[Line2D]:
    for number, (text, area) in enumerate(sizes.examples()):
        label = f"{sizes.title}: {text}" if number == 0 else text
        yield Line2D(
            [], [], ls="", marker="o", mec=INK, mfc="none", ms=math.sqrt(area), label=label
        )


def _likely(trial: TrialRecord) -> bool:
    """Whether noise may be all that keeps it off the front."""
    return (trial.membership or 0.0) >= LIKELY


def _name_points(axes: Axes, points: Sequence[_Point], best: TrialRecord | None) -> None:
    named = [p for p in points if on_front(p.trial) or is_control(p.trial) or _likely(p.trial)]
    named.sort(key=lambda p: (p.trial is not best, not on_front(p.trial)))
    labels = []
    for point in named[:_MOST_LABELS]:
        at_knee = point.trial is best
        member = on_front(point.trial)
        color = ACCENT if at_knee else FRONT if member else MUTED
        text = f"{point.trial.name} (knee)" if at_knee else point.trial.name
        labels.append(
            Label(
                point.x,
                point.y,
                text,
                color,
                weight=2 if at_knee else int(member),
                radius=math.sqrt(point.area) / 2,
            )
        )
    place(axes, labels, [(p.x, p.y) for p in points])
