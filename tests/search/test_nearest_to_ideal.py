"""The knee of a front."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from resnest_search.pareto import non_dominated
from resnest_search.search.pareto import knee

Points = NDArray[np.float64]
some = settings(max_examples=40, deadline=None)
clouds = st.tuples(st.integers(1, 8), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 5).map(float))
)


@some
@given(clouds)
def test_the_knee_is_on_the_front_of_a_front(points: Points) -> None:
    front = points[non_dominated(points)]
    assert 0 <= knee(front) < len(front)
    low, high = front.min(axis=0), front.max(axis=0)
    scaled = (front - low) / np.where(high > low, high - low, 1)
    assert (scaled**2).sum(axis=1)[knee(front)] == pytest.approx((scaled**2).sum(axis=1).min())


@some
@given(clouds)
def test_the_knee_of_any_points_is_dominated_by_none(points: Points) -> None:
    assert non_dominated(points)[knee(points)]


def test_ties_of_the_knee_go_to_the_first() -> None:
    assert knee(np.array([[0.0, 1.0], [1.0, 0.0]])) == 0
    assert knee(np.array([[3.0, 3.0], [3.0, 3.0]])) == 0
