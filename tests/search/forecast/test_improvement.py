"""Expected improvement against sampled hypervolumes, and the height of a front."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, qmc

from resnest_search.pareto import hypervolume, non_dominated
from resnest_search.search.forecast.improvement import Claims, Front, beats

some = settings(max_examples=15, deadline=None)


def gains(
    mean: np.ndarray,
    deviation: np.ndarray,
    own: np.ndarray,
    values: np.ndarray,
    costs: np.ndarray,
    reference: float,
    limits: Any,
) -> np.ndarray:
    return Front(values, costs, reference, limits).gains(mean, deviation, own)


def beside(
    about: tuple[np.ndarray, np.ndarray, np.ndarray],
    front: tuple[np.ndarray, np.ndarray],
    others: tuple[np.ndarray, np.ndarray, np.ndarray],
    reference: float,
    limits: np.ndarray,
) -> np.ndarray:
    claims = Claims(front, others, about[2].min(axis=0), reference, limits)
    return gains(*about, *front, reference, limits) * claims.left(*about)


DRAWS = 80


def sampled(
    mean: float,
    deviation: float,
    cost: np.ndarray,
    values: np.ndarray,
    costs: np.ndarray,
    reference: float,
    limits: np.ndarray,
) -> float:
    """Mean growth of the hypervolume over quantiles of the candidate's value."""
    points = np.column_stack([-values, costs])
    corner = np.array([-reference, *limits])
    before = hypervolume(points, corner)
    draws = norm.ppf((np.arange(DRAWS) + 0.5) / DRAWS, mean, deviation)
    after = [hypervolume(np.vstack([points, [-value, *cost]]), corner) for value in draws]
    return float(np.mean(after)) - before


@st.composite
def fronts(draw: st.DrawFn, dimensions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and costs of some points, and the costs of a candidate, on a grid: many ties."""
    count = draw(st.integers(0, 5))
    grid = st.integers(0, 6).map(lambda i: i / 4)
    rows = draw(
        st.lists(
            st.lists(grid, min_size=dimensions + 1, max_size=dimensions + 1),
            min_size=count,
            max_size=count,
        )
    )
    table = np.array(rows, dtype=float).reshape(count, dimensions + 1)
    candidate = draw(st.lists(grid, min_size=dimensions, max_size=dimensions))
    return table[:, 0], table[:, 1:], np.array(candidate, dtype=float)


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_expectation_is_the_mean_of_sampled_growths(dimensions: int) -> None:
    @some
    @given(fronts(dimensions), st.floats(-0.5, 2.0), st.floats(0.05, 1.0))
    def check(
        case: tuple[np.ndarray, np.ndarray, np.ndarray], mean: float, deviation: float
    ) -> None:
        values, costs, cost = case
        limits = np.full(dimensions, 1.3)  # some points lie beyond
        expected = sampled(mean, deviation, cost, values, costs, 0.1, limits)
        found = gains(
            np.array([mean]),
            np.array([deviation]),
            cost[None, :],
            values,
            costs,
            0.1,
            limits,
        )
        assert found.shape == (1,)
        assert found[0] == pytest.approx(expected, rel=0.03, abs=0.01 * deviation)

    check()


@some
@given(fronts(2), st.integers(0, 10_000))
def test_candidates_do_not_know_of_each_other(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    values, costs, _ = case
    rng = np.random.default_rng(seed)
    mean, deviation, own = rng.normal(size=7), rng.uniform(0.1, 1, 7), rng.uniform(0, 1.5, (7, 2))
    together = gains(mean, deviation, own, values, costs, 0.0, [1.2, 1.4])
    alone = [
        gains(mean[[i]], deviation[[i]], own[[i]], values, costs, 0.0, [1.2, 1.4])[0]
        for i in range(7)
    ]
    assert together == pytest.approx(np.array(alone), rel=1e-12, abs=1e-15)
    assert (together >= 0).all()


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_beside_others_it_is_the_mean_over_what_they_may_end_at(dimensions: int) -> None:
    @some
    @given(fronts(dimensions), st.integers(1, 4), st.integers(0, 10_000))
    def check(case: tuple[np.ndarray, np.ndarray, np.ndarray], count: int, seed: int) -> None:
        values, costs, _ = case
        rng = np.random.default_rng(seed)
        others = rng.normal(0.5, 0.5, count), rng.uniform(0.01, 1, count)
        pending = np.round(rng.uniform(0, 1.5, (count, dimensions)), 1)
        about = (
            rng.normal(0.5, 0.5, 4),
            rng.uniform(0.1, 1, 4),
            rng.uniform(0, 1.5, (4, dimensions)),
        )
        limits = np.full(dimensions, 1.3)
        found = beside(about, (values, costs), (*others, pending), 0.1, limits)
        ends = others[0] + others[1] * norm.ppf(qmc.Sobol(count, rng=seed).random(256))
        together = np.vstack([costs, pending])
        each = [gains(*about, np.append(values, end), together, 0.1, limits) for end in ends]
        assert found == pytest.approx(np.mean(each, axis=0), rel=0.03, abs=0.01)

    check()


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_beside_others_whose_ends_are_known_it_is_that_of_a_front_with_them(
    dimensions: int,
) -> None:
    @some
    @given(fronts(dimensions), st.integers(0, 4), st.integers(0, 10_000))
    def check(case: tuple[np.ndarray, np.ndarray, np.ndarray], count: int, seed: int) -> None:
        values, costs, _ = case
        rng = np.random.default_rng(seed)
        ends, pending = rng.uniform(0, 1, count), rng.uniform(0, 1.5, (count, dimensions))
        about = (
            rng.normal(0.5, 0.5, 4),
            rng.uniform(0.1, 1, 4),
            rng.uniform(0, 1.5, (4, dimensions)),
        )
        limits = np.full(dimensions, 1.3)
        found = beside(about, (values, costs), (ends, np.zeros(count), pending), 0.1, limits)
        together = np.append(values, ends), np.vstack([costs, pending])
        assert found == pytest.approx(gains(*about, *together, 0.1, limits), rel=1e-6, abs=1e-9)

    check()


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3, 5, 8, 10])
def test_what_others_leave_is_a_share(dimensions: int) -> None:
    """Nothing beside one that is cheaper and surely better, all beside one that is surely worse."""
    rng = np.random.default_rng(dimensions)
    values, costs = rng.uniform(0, 1, 30), rng.uniform(0.1, 1, (30, dimensions))
    about = rng.uniform(0, 1, 20), rng.uniform(0.1, 0.5, 20), rng.uniform(0.1, 1, (20, dimensions))

    def left(mean: np.ndarray, deviation: np.ndarray, pending: np.ndarray) -> np.ndarray:
        others, limits = (mean, deviation, pending), np.full(dimensions, 1.1)
        return Claims((values, costs), others, np.zeros(dimensions), 0.0, limits).left(*about)

    many = left(
        rng.uniform(0, 1, 15), rng.uniform(0.1, 0.5, 15), rng.uniform(0, 1, (15, dimensions))
    )
    assert ((many >= 0) & (many <= 1 + 1e-12)).all()
    nothing = np.zeros(1), np.zeros((1, dimensions))
    assert left(np.full(1, 9.0), *nothing) == pytest.approx(np.zeros(20), abs=1e-6)
    assert left(np.full(1, -9.0), *nothing) == pytest.approx(np.ones(20))


def test_a_sure_value_gains_exactly_its_growth() -> None:
    values, costs = np.array([0.5, 0.8]), np.array([[0.2], [0.6]])
    found = gains(
        np.array([0.7, 0.4, 0.9]),
        np.zeros(3),
        np.array([[0.2], [0.3], [2.0]]),
        values,
        costs,
        0.0,
        [1.0],
    )
    # Above 0.5 from 0.2 to 0.6; below what costs less; beyond the limit.
    assert found == pytest.approx([0.2 * 0.4, 0.0, 0.0], abs=1e-9)


@some
@given(fronts(2), st.integers(-1, 7).map(lambda i: i / 4 + 0.1))
def test_above_its_level_a_candidate_is_on_the_front(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], value: float
) -> None:
    values, costs, cost = case
    level = beats(cost[None, :], values, costs)
    assert level.shape == (1,)
    points = np.vstack([np.column_stack([-values, costs]), [-value, *cost]])
    assert (value > level[0]) == bool(non_dominated(points)[-1])


def test_without_rivals_any_value_will_do() -> None:
    empty = np.empty((0, 2))
    assert beats(np.zeros((3, 2)), np.empty(0), empty).tolist() == [-math.inf] * 3
    assert beats(np.zeros((1, 1)), np.array([0.9]), np.array([[0.1]])).tolist() == [-math.inf]
    assert beats(np.zeros((1, 1)), np.array([0.9, 0.7]), np.zeros((2, 1))).tolist() == [0.9]


def test_with_no_cost_the_best_value_is_the_level() -> None:
    assert beats(np.empty((2, 0)), np.array([0.2, 0.6]), np.empty((2, 0))).tolist() == [0.6, 0.6]


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_no_improvement_exceeds_its_bound(dimensions: int) -> None:
    @some
    @given(fronts(dimensions), st.floats(-0.5, 2.0), st.floats(0.0, 1.0))
    def check(
        case: tuple[np.ndarray, np.ndarray, np.ndarray], mean: float, deviation: float
    ) -> None:
        values, costs, cost = case
        about = np.array([mean]), np.array([deviation]), cost[None, :]
        front = Front(values, costs, 0.1, np.full(dimensions, 1.3))
        assert front.most(*about)[0] >= front.gains(*about)[0]

    check()


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_a_front_above_another_reference_is_that_front(dimensions: int) -> None:
    @some
    @given(fronts(dimensions), st.integers(0, 10_000), st.floats(-2.0, -0.1))
    def check(case: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int, reference: float) -> None:
        values, costs, _ = case
        rng = np.random.default_rng(seed)
        own = rng.uniform(0, 1.5, (5, dimensions))
        about, limits = (rng.normal(size=5), rng.uniform(0.1, 1, 5), own), np.full(dimensions, 1.3)
        made, without = (Front(values, costs, r, limits) for r in (reference, -math.inf))
        for found in (without.above(reference), without.above(reference)):
            assert found.gains(*about).tolist() == made.gains(*about).tolist()
            assert found.most(*about).tolist() == made.most(*about).tolist()
        with pytest.raises(ValueError, match="no hypervolume from"):
            made.above(reference - 1)
        if len(values):
            with pytest.raises(ValueError, match="no hypervolume from"):
                without.above(float(values.min()) + 0.1)

    check()


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e10])
def test_what_all_costs_have_in_common_takes_no_digits(offset: float) -> None:
    """Costs are whole numbers here, so that to move them rounds nothing."""
    rng = np.random.default_rng(0)
    values, costs = rng.uniform(size=12), rng.integers(0, 50, (12, 2)).astype(float)
    about = rng.uniform(size=9), np.full(9, 0.1)
    own, limits = rng.integers(0, 50, (9, 2)).astype(float), np.array([55.0, 55.0])
    plain = gains(*about, own, values, costs, 0.0, limits)
    moved = Front(values, costs + offset, 0.0, limits + offset)
    assert moved.gains(*about, own + offset) == pytest.approx(plain, rel=1e-12)
    assert (moved.most(*about, own + offset) >= plain).all()
    others = values[:3], np.full(3, 0.2)
    alone = beside((*about, own), (values, costs), (*others, own[:3]), 0.0, limits)
    further = (values, costs + offset), (*others, own[:3] + offset)
    assert beside((*about, own + offset), *further, 0.0, limits + offset) == pytest.approx(
        alone, rel=1e-12
    )
