"""The knee of a front: by ratios of error and costs, whatever the ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from resnest_search.pareto import non_dominated
from resnest_search.study.answers import pack
from resnest_search.study.knee import first_in_order, knee
from resnest_search.study.uncertainty import CandidateResult, estimate

Points = NDArray[np.float64]
some = settings(max_examples=40, deadline=None)
NAMES = ("accuracy", "latency_ms", "memory_mib", "parameters_m")
clouds = st.tuples(st.integers(1, 8), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(1, 6).map(lambda n: n / 7))
)


def oriented(*rows: tuple[float, ...]) -> Points:
    """Points of accuracy and costs."""
    return np.array([(-accuracy, *costs) for accuracy, *costs in rows])


def named(*rows: tuple[float, ...], images: int = 1000) -> int:
    """The knee of rows of accuracy, latency, memory … as the noise of so many images leaves it."""
    results = []
    for number, (accuracy, *costs) in enumerate(rows):
        right = np.arange(images) < round(accuracy * images)
        sheet = pack(right, "a" * 64)
        share = float(np.mean(right))
        results.append(
            CandidateResult(f"{number}", number, tuple(costs), (share,), images, (sheet,))
        )
    found = estimate(results)
    assert found.knee is not None
    return int(found.knee)


# The formula


def test_half_of_all_accuracy_is_not_given_for_half_a_percent_of_latency() -> None:
    pair = ((0.99, 2.00, 0.560), (0.50, 1.99, 0.559))
    for rows in (pair, pair[::-1], (*pair, (0.40, 1.98, 0.558))):
        points = oriented(*rows)
        assert rows[knee(points, NAMES[:3])] == rows[knee(points, NAMES[:3], 1000)] == pair[0]
        assert rows[named(*rows)] == pair[0]


def test_half_the_error_is_worth_half_of_every_cost() -> None:
    def better(error: float, cost: float) -> int:
        points = oriented((0.8, 1.0, 1.0), (1 - error, cost, cost))
        return knee(points, NAMES[:3])

    assert better(error=0.1, cost=1.99) == 1
    assert better(error=0.1, cost=2.01) == 0
    # twice a single one of two costs is worth a root of two
    assert knee(oriented((0.8, 1.0, 1.0), (0.85, 2.0, 1.0)), NAMES[:3]) == 0
    assert knee(oriented((0.8, 1.0, 1.0), (0.865, 2.0, 1.0)), NAMES[:3]) == 1


def test_a_further_member_at_the_end_of_a_front_moves_nothing() -> None:
    rows = [(0.97, 2.0, 3.0), (0.95, 1.5, 2.0), (0.80, 1.0, 1.6)]
    before = rows[knee(oriented(*rows), NAMES[:3], 1000)]
    for further in ((0.1, 0.9, 1.5), (0.9701, 2000.0, 3000.0)):
        longer = [*rows, further]
        assert longer[knee(oriented(*longer), NAMES[:3], 1000)] == before


@some
@given(clouds, st.integers(0, 3), st.sampled_from([0.001, 60.0, 1e6]))
def test_units_do_not_matter(points: Points, column: int, scale: float) -> None:
    front = points[non_dominated(points)]
    names = NAMES[4 - front.shape[1] :]
    if column < len(names) and names[column] != "accuracy":
        other = front.copy()
        other[:, column] *= scale
        assert knee(front, names) == knee(other, names)


def test_of_equal_ones_the_first_is_the_knee_in_any_unit() -> None:
    seventh = np.array([(1, 1, 2, 3), (1, 2, 2, 2), (2, 3, 1, 2)]) / 7
    for scale in (1.0, 60.0, 1e-3):
        assert knee(seventh * (1, scale, 1, 1), NAMES) == 0


@some
@given(clouds, st.sampled_from([0, 7]))
def test_the_knee_of_any_points_is_dominated_by_none(points: Points, images: int) -> None:
    points[:, 0] *= -1
    names = NAMES[: points.shape[1]]
    assert non_dominated(points)[knee(points, names, images)]


def test_a_maximised_cost_is_inverted() -> None:
    names = ("accuracy", "images_per_s")
    assert knee(np.array([[-0.90, -1000.0], [-0.94, -500.0]]), names) == 0
    assert knee(np.array([[-0.90, -1000.0], [-0.96, -500.0]]), names) == 1


@pytest.mark.parametrize(
    ("names", "points", "expected"),
    [
        (("accuracy",), [[-0.90], [-0.95]], 1),
        (("loss",), [[0.5], [0.4]], 1),
        (("latency_ms",), [[2.0], [1.0]], 1),
        (("latency_ms", "memory_mib"), [[2.0, 1.0], [1.0, 1.9], [1.5, 1.5]], 1),
        (("loss", "latency_ms"), [[0.4, 1.0], [0.3, 1.2], [0.29, 2.0]], 1),
        (("latency_ms", "accuracy"), [[1.0, -0.90], [1.5, -0.95], [4.0, -0.96]], 1),
        # two trained objectives share one vote, as costs do
        (("accuracy", "loss", "latency_ms"), [[-0.9, 0.4, 1.0], [-0.95, 0.4, 1.5]], 0),
        (("accuracy", "loss", "latency_ms"), [[-0.9, 0.4, 1.0], [-0.95, 0.2, 1.5]], 1),
    ],
)
def test_any_objectives_have_a_knee(
    names: tuple[str, ...], points: list[list[float]], expected: int
) -> None:
    assert knee(np.array(points), names) == expected


def test_no_error_is_not_infinitely_better_than_one() -> None:
    rows = ((1.00, 200.0), (0.99, 1.0))
    assert knee(oriented(*rows), NAMES[:2], 100) == 1
    assert knee(oriented(*rows), NAMES[:2]) == 1
    assert knee(oriented((1.00, 1.5), (0.99, 1.0)), NAMES[:2], 10_000) == 0


@pytest.mark.parametrize("odd", [0.0, math.inf])
def test_a_cost_without_a_ratio_decides_nothing_alone(odd: float) -> None:
    assert knee(oriented((0.99, 1.0), (0.50, odd)), NAMES[:2], 1000) == 0
    assert knee(oriented((0.99, odd), (0.50, odd)), NAMES[:2], 1000) == 0
    throughput = np.array([[-0.99, -100.0], [-0.5, -odd]])
    assert knee(throughput, ("accuracy", "images_per_s"), 1000) == 0


def test_ties_of_the_knee_go_to_the_first() -> None:
    assert knee(oriented((0.5, 1.0, 2.0), (0.5, 2.0, 1.0)), NAMES[:3]) == 0
    assert knee(oriented((0.5, 3.0, 3.0), (0.5, 3.0, 3.0)), NAMES[:3]) == 0


# Noise


@pytest.mark.parametrize("images", [8, 360, 10_000])
def test_one_image_of_difference_is_no_argument(images: int) -> None:
    """Though without noise half the error would be worth the dearer network."""
    perfect, nearly = 1.0, 1 - 1 / images
    rows = ((perfect, 1.2, 1.2), (nearly, 1.0, 1.0), (0.5, 0.9, 0.9))
    assert knee(oriented(*rows), NAMES[:3], images) == 0
    assert named(*rows, images=images) == 1


def test_what_is_told_apart_is_not_given_for_a_little_cost() -> None:
    rows = ((0.99, 1.2, 1.2), (0.95, 1.0, 1.0), (0.94, 0.9, 0.95))
    assert named(*rows, images=1000) == 0
    assert named(*rows, images=20) == 2


def test_the_cheaper_of_a_pair_may_be_dearer_in_one_cost() -> None:
    assert named((0.990, 1.00, 1.00), (0.989, 0.90, 1.05), (0.5, 0.89, 0.9)) == 1
    assert named((0.990, 1.00, 1.00), (0.989, 0.99, 1.05), (0.5, 0.89, 0.9)) == 0


def test_what_is_as_cheap_does_not_take_the_place_of_the_knee() -> None:
    assert named((0.989, 1.0, 2.0), (0.990, 2.0, 1.0)) == 1


# Where there is nothing to choose


def test_the_order_of_the_objectives_decides_from_the_first_on() -> None:
    points = oriented((0.9, 2.0, 1.0), (0.95, 3.0, 2.0), (0.95, 2.5, 3.0))
    assert first_in_order(points) == 2
    assert first_in_order(points[:, [1, 0, 2]]) == 0
    assert first_in_order(points[:, [2, 0]]) == 0
    assert first_in_order(points[:1]) == 0
