"""Names beside points: where they cover neither a point nor one another, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Spot", "placed"]

_CANVAS = (880.0, 370.0)  # pixels of the axes that places are worked out for
_LETTER, _LINE = 6.8, 15.0  # pixels
_GAP = 4.0
_MOST = 40  # beyond it nobody reads them
_EDGE = 0.06  # of the canvas, that axes leave beyond the points
_Box = tuple[float, float, float, float]  # left, bottom, right, top
# to the right or left of the point, or over it; up, down, or beside it
_SIDES = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True)
class Spot:
    """A point, its diameter in pixels, and its name."""

    x: float
    y: float
    size: float
    name: str


def placed(named: Sequence[Spot], points: Sequence[Spot]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Place in ``named`` of each one that gets its name, and the name's anchor and shift.

    Args:
        named: that are to have one, in order of importance.
        points: that are not to be covered.
    """
    at = _pixels(points)
    markers = [_around(at(p), p.size / 2) for p in points]
    taken: list[_Box] = []
    for number, point in enumerate(named[:_MOST]):
        for side in _SIDES:
            box = _box(point, side, at(point))
            own = _around(at(point), point.size / 2)
            free = not any(_meet(box, other) for other in (*taken, *markers) if other != own)
            if free and box[0] >= 0 and box[2] <= _CANVAS[0]:
                taken.append(box)
                yield number, _anchor(point, side)
                break


def _pixels(points: Sequence[Spot]) -> Callable[[Spot], tuple[float, float]]:
    xs, ys = [p.x for p in points], [p.y for p in points]
    (left, width), (low, height) = (
        (min(v, default=0.0), (max(v, default=0.0) - min(v, default=0.0)) or 1.0) for v in (xs, ys)
    )

    def at(point: Spot) -> tuple[float, float]:
        x, y = (point.x - left) / width, (point.y - low) / height
        inside = 1 - 2 * _EDGE
        return (_EDGE + inside * x) * _CANVAS[0], (_EDGE + inside * y) * _CANVAS[1]

    return at


def _around(at: tuple[float, float], radius: float) -> _Box:
    x, y = at
    return (x - radius, y - radius, x + radius, y + radius)


def _box(point: Spot, side: tuple[int, int], at: tuple[float, float]) -> _Box:
    width = _LETTER * len(point.name)
    reach = point.size / 2 + _GAP
    x = at[0] + side[0] * (reach + width / 2)
    y = at[1] + side[1] * (reach + _LINE / 2)
    return (x - width / 2, y - _LINE / 2, x + width / 2, y + _LINE / 2)


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _anchor(point: Spot, side: tuple[int, int]) -> dict[str, Any]:
    reach = point.size / 2 + _GAP
    return {
        "xanchor": {1: "left", -1: "right", 0: "center"}[side[0]],
        "yanchor": {1: "bottom", -1: "top", 0: "middle"}[side[1]],
        "xshift": side[0] * reach,
        "yshift": side[1] * (reach if side[0] == 0 else reach / 2),
    }
