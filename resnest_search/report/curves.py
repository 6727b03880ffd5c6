"""A trained metric after every epoch of every trial, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from resnest_search.metrics import metric_of
from resnest_search.report.labels import spread
from resnest_search.report.reading import finite, front, knee, on_front
from resnest_search.report.svg import ACCENT, GRID, INK, LINES, MUTED, new_figure, to_svg
from resnest_search.study.record import PRUNED, Sweep, TrialRecord

__all__ = ["MOST_OTHERS", "curves_svg"]

MOST_OTHERS = 150  # curves off the front that are drawn
_MOST_NAMES = 24  # at the right edge, where they are still apart
_Curve = list[tuple[int, float]]


def curves_svg(sweep: Sweep, y: str = "accuracy", name: str = "curves") -> str:
    """One line a trial; the front coloured and named, pruned ones ending in a cross.

    Of more than MOST_OTHERS trials off the front an even selection is drawn, and the plot says so.

    Args:
        sweep: as it stands.
        y: accuracy or loss.
        name: begins every id, so it must differ among the plots of one page.
    """
    figure, axes = new_figure()
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel(metric_of(y).title, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    members = [(t, c) for t in front(sweep) if (c := _curve(t, y))]
    others = [(t, c) for t in sweep.trials if not on_front(t) and (c := _curve(t, y))]
    drawn = _evenly(others, MOST_OTHERS)
    handles = _rungs(axes, sweep.rungs) if members or others else []
    handles += _others(axes, drawn, len(others))
    colors = _colors([t for t, _ in members], knee(sweep))
    for (_, curve), color in zip(members, colors, strict=True):
        _line(axes, curve, color=color, lw=1.8, zorder=4, marker="o", ms=3)
    if not members and not others:
        axes.set(xticks=[], yticks=[])
        axes.text(
            0.5, 0.5, "no epoch has ended yet", transform=axes.transAxes, ha="center", color=MUTED
        )
    if members:
        _names(axes, members, colors, knee(sweep))
        handles.insert(0, Line2D([], [], color=LINES[0], lw=1.8, label="on the front, named"))
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles),
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
        )
    return to_svg(figure, name)


def _curve(trial: TrialRecord, y: str) -> _Curve:
    values = ((e.epoch, finite(e.accuracy if y == "accuracy" else e.loss)) for e in trial.curve)
    return [(epoch, v * metric_of(y).scale) for epoch, v in values if v is not None]


def _evenly(
    items: Sequence[tuple[TrialRecord, _Curve]], most: int
) -> list[tuple[TrialRecord, _Curve]]:
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def _line(axes: Axes, curve: _Curve, **style: object) -> None:
    axes.plot([e for e, _ in curve], [v for _, v in curve], **style)  # type: ignore[arg-type]


def _rungs(axes: Axes, rungs: Sequence[int]) -> list[Line2D]:
    for rung in rungs:
        axes.axvline(rung, color=MUTED, ls=":", lw=1, zorder=1)
    return [Line2D([], [], color=MUTED, ls=":", lw=1, label="rung")] if rungs else []


def _others(axes: Axes, drawn: Sequence[tuple[TrialRecord, _Curve]], total: int) -> list[Line2D]:
    for _, curve in drawn:
        marker = "." if len(curve) == 1 else ""
        _line(axes, curve, color=MUTED, lw=0.8, alpha=0.55, zorder=2, marker=marker)
    ends = [curve[-1] for trial, curve in drawn if trial.state == PRUNED]
    axes.scatter([e for e, _ in ends], [v for _, v in ends], marker="x", s=20, c=MUTED, zorder=3)
    handles = []
    if drawn:
        label = "not on the front"
        if total > len(drawn):
            label += f" ({len(drawn)} of {total} drawn)"
        handles.append(Line2D([], [], color=MUTED, lw=0.8, label=label))
    if ends:
        handles.append(
            Line2D([], [], ls="", marker="x", mec=MUTED, ms=5, label="pruned, training ended here")
        )
    return handles


def _colors(members: Sequence[TrialRecord], best: TrialRecord | None) -> list[str]:
    """The knee has the colour that it has in the other plots; nothing else shares it."""
    rest = [color for color in LINES if color != ACCENT]
    return [ACCENT if t is best else rest[i % len(rest)] for i, t in enumerate(members)]


def _names(
    axes: Axes,
    members: Sequence[tuple[TrialRecord, _Curve]],
    colors: Sequence[str],
    best: TrialRecord | None,
) -> None:
    named = sorted(zip(members, colors, strict=True), key=lambda pair: pair[0][0] is not best)[
        :_MOST_NAMES
    ]
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    wanted = [member[1][-1][1] for member, _ in named]
    positions = spread(wanted, (high - low) / 24, low, high)
    for ((trial, curve), color), position in zip(named, positions, strict=True):
        axes.plot(
            [curve[-1][0], right], [curve[-1][1], position], color=GRID, lw=0.8, clip_on=False
        )
        axes.annotate(
            f"{trial.name} (knee)" if trial is best else trial.name,
            (right, position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            fontweight="bold" if trial is best else "normal",
            color=color,
            annotation_clip=False,
        )
    axes.set_xlim(right=right)
    axes.set_ylim(low, high)
