"""Pareto order: laws that hold for any points, and agreement with slow and plain definitions."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from resnest_search.search.exclusive import contributions
from resnest_search.search.pareto import fronts, hypervolume, knee, non_dominated

Points = NDArray[np.float64]
some = settings(max_examples=40, deadline=None)  # of examples, on a machine that others use


# Few distinct values, so that ties and duplicates are the rule.
@st.composite
def clouds(draw: st.DrawFn, least: int = 1, most: int = 8, widest: int = 4) -> Points:
    shape = (draw(st.integers(least, most)), draw(st.integers(1, widest)))
    return draw(arrays(np.float64, shape, elements=st.integers(0, 5).map(float)))


def dominates(a: Points, b: Points) -> bool:
    return bool(np.all(a <= b) and np.any(a < b))


def grid_volume(points: Points, reference: int) -> float:
    """Unit cells below the reference that some point dominates: exact for whole numbers."""
    cells = np.array(list(itertools.product(range(reference), repeat=points.shape[1])))
    return float((points[:, None] <= cells).all(axis=2).any(axis=0).sum())


@some
@given(clouds())
def test_non_dominated_is_its_definition(points: Points) -> None:
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


@some
@given(clouds())
def test_a_rank_is_one_more_than_the_worst_rank_of_what_dominates(points: Points) -> None:
    ranks = fronts(points)
    for point, rank in zip(points, ranks, strict=True):
        above = [r for other, r in zip(points, ranks, strict=True) if dominates(other, point)]
        assert rank == max(above, default=-1) + 1
    assert set(ranks) == set(range(ranks.max() + 1))


@some
@given(clouds(least=2), st.data())
def test_points_with_nan_come_last(points: Points, data: st.DataObject) -> None:
    spoilt = data.draw(st.sets(st.integers(0, len(points) - 1), min_size=1))
    holed = points.copy()
    holed[sorted(spoilt), 0] = np.nan
    whole = [i for i in range(len(points)) if i not in spoilt]
    ranks = fronts(holed)
    assert ranks[whole].tolist() == fronts(points[whole]).tolist()
    assert all(ranks[i] > max(ranks[whole], default=-1) for i in spoilt)


@some
@given(clouds(widest=3), st.integers(1, 7))
def test_hypervolume_counts_the_dominated_cells(points: Points, reference: int) -> None:
    corner = np.full(points.shape[1], float(reference))
    assert hypervolume(points, corner) == pytest.approx(grid_volume(points, reference))


@some
@given(clouds(most=5, widest=4))
def test_hypervolume_is_inclusion_and_exclusion(points: Points) -> None:
    corner = np.full(points.shape[1], 5.5)
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, size):
            box = np.clip(corner - np.max(chosen, axis=0), 0, None).prod()
            total += (-1) ** (size + 1) * box
    assert hypervolume(points, corner) == pytest.approx(total)


@some
@given(clouds(least=2))
def test_hypervolume_never_shrinks_with_another_point(points: Points) -> None:
    corner = np.full(points.shape[1], 6.0)
    assert hypervolume(points, corner) >= hypervolume(points[:-1], corner) - 1e-9


def test_what_lies_beyond_the_reference_has_no_volume() -> None:
    points = np.array([[1.0, 9.0], [9.0, 1.0], [np.nan, 0.0], [5.0, 0.0]])
    assert hypervolume(points, [5.0, 5.0]) == 0.0
    assert hypervolume(np.empty((0, 2)), [5.0, 5.0]) == 0.0


def plain_contributions(points: Points) -> Points:
    """The whole hypervolume without each point in turn, scaled as ``contributions`` says."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    corner = np.full(points.shape[1], 1.1)
    others = [hypervolume(np.delete(scaled, i, axis=0), corner) for i in range(len(points))]
    return hypervolume(scaled, corner) - np.array(others)


@some
@given(clouds(most=12))
def test_contributions_are_what_is_missing_without_a_point(points: Points) -> None:
    assert contributions(points) == pytest.approx(plain_contributions(points), abs=1e-11)
    front = points[non_dominated(points)]
    assert contributions(front) == pytest.approx(plain_contributions(front), abs=1e-11)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("most", [1, 64])  # points in a box, before each is cut up alone
def test_contributions_of_wide_fronts(
    objectives: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_search.search.exclusive._MANY", most)
    cells = 1 << 17 if most == 64 else 50  # of a temporary array
    monkeypatch.setattr("resnest_search.search.exclusive._CELLS", cells)
    draw = np.random.default_rng(objectives)
    points = draw.dirichlet(np.ones(objectives + 1), 40 if objectives < 4 else 15)[:, 1:]
    points = np.concatenate([points, points.min(axis=0)[None] + 0.1])  # before most of them
    points = points[non_dominated(points)]
    assert contributions(points) == pytest.approx(plain_contributions(points), abs=1e-11)


def test_infinite_values_have_contributions_too() -> None:
    points = np.array([[-np.inf, 2.0], [0.0, 1.0], [1.0, 0.0], [2.0, np.inf]])
    found = contributions(points)
    assert np.isfinite(found).all()
    assert found[1] > 0
    assert np.isfinite(contributions(np.full((3, 3), np.inf))).all()


@some
@given(clouds())
def test_contributions_are_never_negative(points: Points) -> None:
    assert (contributions(points) >= 0).all()


@some
@given(clouds())
def test_a_duplicate_contributes_nothing(points: Points) -> None:
    doubled = np.concatenate([points, points[:1]])
    assert contributions(doubled)[[0, -1]].tolist() == [0.0, 0.0]


def test_the_lone_member_of_a_gap_contributes_most() -> None:
    crowded = np.array([[0.0, 10.0], [1.0, 9.0], [5.0, 4.0], [9.5, 0.5], [10.0, 0.0]])
    assert contributions(crowded).argmax() == 2


def test_equal_contributions_are_equal_to_the_last_bit() -> None:
    """Ties at a rung go to the smaller trial number, so rounding must not break them."""
    for count in range(3, 12):
        steps = np.arange(count, dtype=float)
        inner = contributions(np.stack([steps, steps[::-1]], axis=1))[1:-1]
        assert len(set(inner.tolist())) == 1


@some
@given(clouds())
def test_the_knee_is_on_the_front_of_a_front(points: Points) -> None:
    front = points[non_dominated(points)]
    assert 0 <= knee(front) < len(front)
    low, high = front.min(axis=0), front.max(axis=0)
    scaled = (front - low) / np.where(high > low, high - low, 1)
    assert (scaled**2).sum(axis=1)[knee(front)] == pytest.approx((scaled**2).sum(axis=1).min())


@some
@given(clouds())
def test_the_knee_of_any_points_is_dominated_by_none(points: Points) -> None:
    assert non_dominated(points)[knee(points)]


def test_ties_of_the_knee_go_to_the_first() -> None:
    assert knee(np.array([[0.0, 1.0], [1.0, 0.0]])) == 0
    assert knee(np.array([[3.0, 3.0], [3.0, 3.0]])) == 0


@some
@given(clouds(), st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(points: Points, random: Random) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    shuffled = points[order]
    assert non_dominated(shuffled).tolist() == non_dominated(points)[order].tolist()
    assert fronts(shuffled).tolist() == fronts(points)[order].tolist()
    assert contributions(shuffled) == pytest.approx(contributions(points)[order])
    corner = np.full(points.shape[1], 6.0)
    assert hypervolume(shuffled, corner) == pytest.approx(hypervolume(points, corner))


@some
@given(clouds(), st.data())
def test_units_do_not_matter(points: Points, data: st.DataObject) -> None:
    # Powers of two scale without rounding, so that even ties survive.
    powers = data.draw(st.lists(st.integers(-8, 8), min_size=points.shape[1]))
    scale = 2.0 ** np.array(powers[: points.shape[1]])
    assert non_dominated(points * scale).tolist() == non_dominated(points).tolist()
    assert fronts(points * scale).tolist() == fronts(points).tolist()
    assert contributions(points * scale) == pytest.approx(contributions(points))
    assert knee(points * scale) == knee(points)
    corner = np.full(points.shape[1], 6.0)
    assert hypervolume(points * scale, corner * scale) == pytest.approx(
        hypervolume(points, corner) * scale.prod()
    )
