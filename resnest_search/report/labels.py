"""Names beside points and lines without covering each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from resnest_search.report.svg import MUTED

__all__ = ["Label", "place", "spread"]

# points from the marker, nearest first; the sign also says which way the text runs
_OFFSETS = [
    (sign_x * x, sign_y * y)
    for x, y in ((7, 5), (9, 0), (0, 9), (12, 14), (0, 20), (24, 24), (40, 12), (34, 40), (60, 26))
    for sign_x, sign_y in ((1, 1), (-1, 1), (1, -1), (-1, -1))
]
_NEAR = 16  # of them, without a leading line
_FONT = 8.5  # points
_COST_OF_POINT = 150.0  # square pixels of overlap that covering a marker counts as
_TOO_MUCH = 400.0  # square pixels of overlap from which on a label is left out
_Box = tuple[float, float, float, float]  # left, bottom, right, top; pixels


@dataclass(frozen=True)
class Label:
    """A text at a point, in data coordinates.

    ``weight`` 2 is placed come what may, 1 if there is room, 0 if there is room close by.
    """

    x: float
    y: float
    text: str
    color: str
    weight: int = 1
    radius: float = 0.0  # of the marker, points


def place(axes: Axes, labels: Sequence[Label], points: Sequence[tuple[float, float]]) -> None:
    """Write each label where it covers the least, the weightiest first.

    Args:
        axes: with limits that no longer change.
        labels: in order of importance within a weight.
        points: markers to keep clear of, in data coordinates.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not labels:
        return
    figure.draw_without_rendering()  # fixes the layout, so that pixels can be measured
    markers = np.array([axes.transData.transform(point) for point in points])
    room = (axes.bbox.x0, axes.bbox.y0, axes.bbox.x1, axes.bbox.y1)
    taken: list[_Box] = []
    for label in sorted(labels, key=lambda label: -label.weight):
        offsets = [_clear_of(label.radius, offset) for offset in _OFFSETS]
        offsets = offsets if label.weight else offsets[:_NEAR]
        boxes = [_box(axes, label, offset) for offset in offsets]
        costs = [_overlap(box, taken, markers, room) for box in boxes]
        best = min(range(len(costs)), key=lambda i: costs[i] + i)
        if label.weight < 2 and costs[best] > _TOO_MUCH * (0.1 + 0.9 * label.weight):
            continue
        taken.append(boxes[best])
        _write(axes, label, offsets[best])


def _clear_of(radius: float, offset: tuple[float, float]) -> tuple[float, float]:
    """The offset from the marker's edge rather than from its centre."""
    x, y = offset
    reach = 1 + max(0.0, radius - 4) / math.hypot(x, y)
    return (x * reach, y * reach)


def _box(axes: Axes, label: Label, offset: tuple[float, float]) -> _Box:
    scale = axes.figure.dpi / 72
    # a guess of the width, since the page's own font is the one that counts
    width, height = 0.62 * _FONT * len(label.text) * scale, 1.25 * _FONT * scale
    x, y = axes.transData.transform((label.x, label.y))
    x, y = x + offset[0] * scale, y + offset[1] * scale
    left = x if offset[0] > 0 else x - width if offset[0] < 0 else x - width / 2
    return (left, y - height / 2, left + width, y + height / 2)


def _overlap(
    box: _Box, taken: Sequence[_Box], markers: npt.NDArray[np.float64], room: _Box
) -> float:
    """Square pixels of what the box covers or of itself that is outside, and markers' share."""
    left, bottom, right, top = box
    x, y = markers[:, 0], markers[:, 1]
    pad = 3
    inside = (x > left - pad) & (x < right + pad) & (y > bottom - pad) & (y < top + pad)
    outside = (right - left) * (top - bottom) - _shared(box, room)
    covered = sum(_shared(box, other) for other in taken)
    return covered + 2 * outside + _COST_OF_POINT * int(inside.sum())


def _shared(one: _Box, other: _Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _write(axes: Axes, label: Label, offset: tuple[float, float]) -> None:
    far = abs(offset[0]) + abs(offset[1]) > 15 + label.radius
    axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=offset,
        textcoords="offset points",
        ha="left" if offset[0] > 0 else "right" if offset[0] < 0 else "center",
        va="center",
        fontsize=_FONT,
        fontweight="bold" if label.weight > 1 else "normal",
        color=label.color,
        zorder=9,
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6} if far else None,
    )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions at least ``gap`` apart, in [low, high] if they fit, near the wanted ones.

    The order is kept; equal wishes keep the order in which they come.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    floor = low
    for i in order:
        placed[i] = max(wanted[i], floor)
        floor = placed[i] + gap
    ceiling = high
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed
