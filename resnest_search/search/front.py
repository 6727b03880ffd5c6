"""One front: points of which none dominates another, and what each of them contributes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnest_search.search.exclusive import ceilings, frame, volumes

__all__ = ["Front", "dominated"]

# Shapes: M objectives, to be minimised; P points. A set of points is an array (M, P).
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]

_CELLS = 1 << 18  # of a temporary array


def dominated(columns: Array, others: Array) -> Mask:
    """Which points of ``columns`` (M, P), as (P,), some point of ``others`` (M, Q) dominates."""
    one = others.shape[1] == 1
    best: Array = others if one else others.min(axis=1, keepdims=True)
    found: Mask = np.logical_and.reduce(columns >= best)  # what is better somewhere is left out
    if one:
        return found & (columns > best).any(axis=0)
    left = np.flatnonzero(found)
    step = max(1, _CELLS // others.shape[1])
    for start in range(0, len(left), step):
        part = left[start : start + step]
        found[part] = _dominated(columns[:, part], others)
    return found


def _dominated(columns: Array, others: Array) -> Mask:
    worse: Mask = np.ones((others.shape[1], columns.shape[1]), dtype=bool)
    equal: Mask = worse.copy()
    for column, other in zip(columns, others, strict=True):
        worse &= column >= other[:, None]
        equal &= column == other[:, None]
    found: Mask = np.logical_or.reduce(worse & ~equal, axis=0)
    return found


class Front:
    """Points of one front by number; they may come and go.

    Contributions are computed when they are asked for, and then only anew for the points
    whose surroundings have changed since.

    Args:
        numbers: of the points, (P,).
        columns: the points, (M, P).
    """

    def __init__(self, numbers: Numbers, columns: Array) -> None:
        self.numbers = numbers.copy()
        self.columns = columns.copy()
        self._tops: Array | None = None  # ceilings; None until contributions are asked for
        self._volumes = np.empty(0)
        self._stale = np.empty(0, dtype=bool)
        self._low = self._span = np.empty(0)

    def __len__(self) -> int:
        return len(self.numbers)

    def dominates(self, point: Array) -> bool:
        """Whether some point of the front dominates this one, (M, 1)."""
        lower = (self.columns <= point).all(axis=0)
        return bool(lower.any() and (self.columns[:, lower] < point).any())

    def add(self, numbers: Numbers, columns: Array) -> None:
        """Take points in that nothing here dominates, and that dominate nothing here."""
        self.numbers = np.concatenate([self.numbers, numbers])
        self.columns = np.concatenate([self.columns, columns], axis=1)
        if self._tops is None:
            return
        new = np.ones(len(numbers), dtype=bool)
        self._stale = np.concatenate([self._stale | self._touched(columns, strictly=True), new])
        self._tops = np.concatenate([self._tops, columns], axis=1)
        self._volumes = np.concatenate([self._volumes, np.zeros(len(numbers))])

    def take(self, chosen: Mask) -> tuple[Numbers, Array]:
        """Remove the chosen points, (P,), and return them."""
        taken = self.numbers[chosen], self.columns[:, chosen]
        if not len(taken[0]):
            return taken
        kept = ~chosen
        self.numbers, self.columns = self.numbers[kept], self.columns[:, kept]
        if self._tops is not None:
            self._tops, self._volumes = self._tops[:, kept], self._volumes[kept]
            self._stale = self._stale[kept] | self._touched(taken[1], strictly=False)
        return taken

    def swap(self, index: int, numbers: Numbers, columns: Array) -> tuple[Numbers, Array]:
        """Take in one point in the place of another, which is returned: ``take`` and ``add``."""
        place = slice(index, index + 1)
        taken = self.numbers[place].copy(), self.columns[:, place].copy()
        self.numbers[place], self.columns[:, place] = numbers, columns
        if self._tops is not None:
            self._stale |= self._touched(taken[1], strictly=False)
            self._stale |= self._touched(columns, strictly=True)
            self._stale[index] = True
        return taken

    def _touched(self, columns: Array, strictly: bool) -> Mask:
        """Which points have one of ``columns`` (M, Q) below their ceilings, or on one."""
        assert self._tops is not None
        reached = np.less if strictly else np.less_equal
        found = np.zeros(self._tops.shape[1], dtype=bool)
        for point in columns.T:
            found |= reached(point[:, None], self._tops).all(axis=0)
        return found

    def contributions(self) -> Array:
        """Hypervolume that each point alone dominates, (P,), as ``exclusive.contributions``."""
        low, span = frame(self.columns)
        if self._tops is None:
            self._tops = np.empty_like(self.columns)
            self._volumes = np.zeros(len(self))
            self._stale = np.ones(len(self), dtype=bool)
        else:
            self._stale |= self._framed_anew(low, span)
        rows = np.flatnonzero(self._stale)
        self._tops[:, rows] = ceilings(self.columns, rows)
        reference = low + 1.1 * span
        self._volumes[rows] = volumes(self.columns, rows, self._tops[:, rows], low, reference)
        self._low, self._span = low, span
        self._stale[:] = False
        shares: Array = np.round(self._volumes / span.prod(), 12)
        return shares

    def _framed_anew(self, low: Array, span: Array) -> Mask:
        """Which points' volumes end at a reference that has moved."""
        assert self._tops is not None
        moved = (low != self._low) | (span != self._span)
        found: Mask = np.isinf(self._tops[moved]).any(axis=0)
        if moved.any() and not np.isfinite(self.columns).all():
            found[:] = True  # infinite values lie wherever the frame ends
        return found

    def place(self, number: int) -> int:
        """How many points go before this one: larger contributions, then smaller numbers."""
        shares = self.contributions()
        own = shares[self.numbers == number][0]
        before = (shares > own) | ((shares == own) & (self.numbers < number))
        return int(before.sum())

    def ordered(self) -> list[int]:
        """Numbers in the order of ``place``."""
        order = np.lexsort((self.numbers, -self.contributions()))
        numbers: list[int] = self.numbers[order].tolist()
        return numbers
