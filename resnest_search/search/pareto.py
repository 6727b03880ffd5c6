"""The knee of a front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["knee"]

Points = NDArray[np.float64]  # (n, m): n points, m objectives to be minimised


def knee(points: Points) -> int:
    """Index of the point nearest to the ideal, objectives scaled to [0, 1] over the points.

    The ideal takes the best of every objective; distance is Euclidean (the compromise
    solution of Zeleny, 1973). Ties go to the first.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return int(np.argmin(np.linalg.norm((points - low) / span, axis=1)))
