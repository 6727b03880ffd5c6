"""Pareto order: laws that hold for any points, and agreement with slow and plain definitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from resnest_search.pareto import contributions, fronts, hypervolume, non_dominated

Points = NDArray[np.float64]
some = settings(max_examples=60, deadline=None)  # of examples, on a machine that others use

# Few distinct values, so that ties and duplicates are the rule.
FINITE = st.integers(0, 5).map(float)
ANY = st.one_of(FINITE, FINITE, st.sampled_from([-np.inf, np.inf, -0.0]))


@st.composite
def clouds(
    draw: st.DrawFn, least: int = 1, most: int = 8, values: st.SearchStrategy[float] = FINITE
) -> Points:
    shape = (draw(st.integers(least, most)), draw(st.integers(1, 4)))
    return draw(arrays(np.float64, shape, elements=values))


def dominates(a: Points, b: Points) -> bool:
    return bool(np.all(a <= b) and np.any(a < b))


def grid_volume(points: Points, reference: int) -> float:
    """Unit cells below the reference that some point dominates: exact for whole numbers."""
    cells = np.array(list(itertools.product(range(reference), repeat=points.shape[1])))
    return float((points[:, None] <= cells).all(axis=2).any(axis=0).sum())


def alone(points: Points) -> Points:
    """Share of the frame that each point alone dominates, from the cells of a grid of the values.

    The frame is that of ``contributions``; infinite values lie where it ends.
    """
    finite = np.where(np.isfinite(points), points, np.nan)
    low = np.array([min(c[~np.isnan(c)], default=0.0) for c in finite.T])
    high = np.array([max(c[~np.isnan(c)], default=0.0) for c in finite.T])
    span = np.where(high > low, high - low, 1.0)
    corner = low + 1.1 * span
    points = np.clip(points, low, corner)
    edges = [np.unique([*column, end]) for column, end in zip(points.T, corner, strict=True)]
    axes = np.meshgrid(*(edge[:-1] for edge in edges), indexing="ij")
    cells = np.stack([axis.ravel() for axis in axes], axis=1)
    widths = np.meshgrid(*(np.diff(edge) for edge in edges), indexing="ij")
    sizes = np.prod(widths, axis=0).ravel()
    reached = (points[:, None] <= cells).all(axis=2)  # (points, cells)
    share: Points = (reached & (reached.sum(axis=0) == 1)) @ sizes / span.prod()
    return share


@some
@given(clouds(values=ANY))
def test_non_dominated_is_its_definition(points: Points) -> None:
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


@some
@given(clouds(most=20, values=ANY))
def test_a_rank_is_one_more_than_the_worst_rank_of_what_dominates(points: Points) -> None:
    ranks = fronts(points)
    for point, rank in zip(points, ranks, strict=True):
        above = [r for other, r in zip(points, ranks, strict=True) if dominates(other, point)]
        assert rank == max(above, default=-1) + 1
    assert set(ranks) == set(range(ranks.max() + 1))


@some
@given(clouds(), st.integers(1, 7))
def test_hypervolume_counts_the_dominated_cells(points: Points, reference: int) -> None:
    corner = np.full(points.shape[1], float(reference))
    assert hypervolume(points, corner) == pytest.approx(grid_volume(points, reference))


@some
@given(clouds(least=2))
def test_hypervolume_never_shrinks_with_another_point(points: Points) -> None:
    corner = np.full(points.shape[1], 6.0)
    assert hypervolume(points, corner) >= hypervolume(points[:-1], corner) - 1e-9


def test_what_lies_beyond_the_reference_has_no_volume() -> None:
    points = np.array([[1.0, 9.0], [9.0, 1.0], [np.inf, 0.0], [5.0, 0.0]])
    assert hypervolume(points, [5.0, 5.0]) == 0.0
    assert hypervolume(np.array([[-np.inf, 0.0], [1.0, 0.0]]), [5.0, 5.0]) == np.inf


@some
@given(clouds(most=12, values=ANY))
def test_a_contribution_is_what_a_point_of_a_front_alone_dominates(points: Points) -> None:
    front = points[non_dominated(points)]
    assert contributions(front) == pytest.approx(alone(front), abs=1e-11)


@some
@given(clouds())
def test_what_is_dominated_neither_contributes_nor_takes_anything(points: Points) -> None:
    corners = np.stack([points.min(axis=0), points.max(axis=0)])  # the frame does not move
    points = np.concatenate([points, corners])
    front = non_dominated(points)
    within = np.concatenate([points[front], corners[1:]])
    assert contributions(points)[front].tolist() == contributions(within)[:-1].tolist()
    assert not contributions(points)[~front].any()


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_contributions_of_wide_fronts(objectives: int) -> None:
    draw = np.random.default_rng(objectives)
    points = draw.dirichlet(np.ones(objectives + 1), 40 if objectives < 4 else 12)[:, 1:]
    points = points[non_dominated(points)]
    assert contributions(points) == pytest.approx(alone(points), abs=1e-11)


def test_small_contributions_of_four_objectives_make_no_ties() -> None:
    """``moocore.hv_contributions`` takes what is below 1.5e-8 for nothing from four on."""
    pair = np.array([[0.5 - 1e-8, 0.5, 0.5, 0.5], [0.5, 0.4, 0.5, 0.5]])
    points = np.concatenate([1 - np.eye(4), pair])
    found = contributions(points)
    assert found == pytest.approx(alone(points), abs=1e-11)
    assert 1e-10 < found[-2] < 1e-8
    assert moocore.hv_contributions(points, ref=np.full(4, 1.1))[-2] == 0


@some
@given(clouds(values=ANY))
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
@given(clouds(values=ANY), st.randoms(use_true_random=False))
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
    powers = data.draw(st.lists(st.integers(-8, 8), min_size=4, max_size=4))
    scale = 2.0 ** np.array(powers[: points.shape[1]])
    assert non_dominated(points * scale).tolist() == non_dominated(points).tolist()
    assert fronts(points * scale).tolist() == fronts(points).tolist()
    assert contributions(points * scale) == pytest.approx(contributions(points))
    corner = np.full(points.shape[1], 6.0)
    assert hypervolume(points * scale, corner * scale) == pytest.approx(
        hypervolume(points, corner) * scale.prod()
    )


def volume(points: Points) -> float:
    return hypervolume(points, np.full(points.shape[-1], 6.0))


every = pytest.mark.parametrize("function", [non_dominated, fronts, contributions, volume])


@every
def test_nan_is_refused(function: Callable[[Points], object]) -> None:
    for objectives in (1, 2, 3, 4):
        points = np.ones((3, objectives))
        points[1, -1] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            function(points)


@every
def test_arrays_of_any_kind_are_read_and_left_as_they_are(
    function: Callable[[Points], object],
) -> None:
    for objectives in (1, 2, 3, 4):
        points = np.random.default_rng(0).integers(0, 5, (8, objectives)).astype(float)
        wide = np.zeros((16, 2 * objectives))
        wide[::2, ::2] = points
        points.flags.writeable = False
        expected, before = np.asarray(function(points)).tolist(), points.copy()
        for same in (wide[::2, ::2], np.asfortranarray(points), points.astype(int)):
            assert np.asarray(function(same)).tolist() == expected
        assert (points == before).all()
        assert not np.asarray(function(np.empty((0, objectives)))).any()
    for wrong in (np.ones(3), np.ones((3, 0)), np.ones((1, 2, 3))):
        with pytest.raises(ValueError, match=r"\(n, m\)|reference"):
            function(wrong)


@pytest.mark.parametrize("reference", [[np.nan, 1.0], [np.inf, 1.0], [1.0]])
def test_a_reference_is_finite_and_as_wide_as_the_points(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="reference must be 2 finite numbers"):
        hypervolume(np.zeros((1, 2)), reference)


def test_moocore_does_what_it_says() -> None:
    """The examples of its documentation, on which the door relies."""
    twice = np.array([[1, 1], [0, 1], [1, 0], [1, 0]])
    assert moocore.is_nondominated(twice, keep_weakly=True).tolist() == [False, True, True, True]
    points = np.array([[5, 5], [4, 6], [2, 7], [7, 4]])
    assert moocore.hypervolume(points, ref=[10, 10]) == 38.0
    assert moocore.hv_contributions(points, ref=[10, 10]).tolist() == [2.0, 1.0, 6.0, 3.0]
    some_dominated = np.array([[5, 1], [1, 5], [4, 2], [4, 4], [5, 1]])
    assert moocore.hv_contributions(some_dominated, ref=(6, 6)).tolist() == [0, 3, 3, 0, 0]
