"""Fronts that are kept up to date are the fronts that a sort from scratch finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_search.search.exclusive import contributions
from resnest_search.search.levels import Levels
from resnest_search.search.pareto import fronts

some = settings(max_examples=60, deadline=None)
Point = tuple[float, ...]
VALUES = st.one_of(st.integers(0, 4).map(float), st.sampled_from([-np.inf, np.inf]))


def agrees(levels: Levels, points: dict[int, Point]) -> None:
    """Fronts, ranks, counts and contributions, all to the last bit."""
    numbers = sorted(points)
    table = np.array([points[number] for number in numbers])
    ranks = fronts(table)
    assert len(levels) == len(points)
    assert [levels.rank(number) for number in numbers] == ranks.tolist()
    assert len(levels.fronts) == ranks.max() + 1
    for rank, front in enumerate(levels.fronts):
        assert levels.ahead(rank) == int((ranks < rank).sum())
        order = np.argsort(front.numbers)
        assert front.numbers[order].tolist() == [numbers[i] for i in np.flatnonzero(ranks == rank)]
        expected = contributions(table[ranks == rank])
        assert front.contributions()[order].tolist() == expected.tolist()
        ordered = sorted(range(len(front)), key=lambda i: (-expected[i], front.numbers[order][i]))
        assert front.ordered() == front.numbers[order][ordered].tolist()
        assert [front.place(number) for number in front.ordered()] == list(range(len(front)))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Point | int, bool]]:
    """Points that come, positions in the list of those to go, and whether to look between."""
    objectives = draw(st.integers(1, 4))
    comes = st.tuples(*[VALUES] * objectives)
    step = st.tuples(st.one_of(comes, comes, st.integers(0, 30)), st.booleans())
    return draw(st.lists(step, min_size=1, max_size=25))


@some
@given(histories())
def test_they_stay_sorted_while_points_come_and_go(
    history: list[tuple[Point | int, bool]],
) -> None:
    levels, points = Levels(), dict[int, Point]()
    for number, (step, looks) in enumerate(history):
        if isinstance(step, tuple):
            points[number] = step
            levels.add(number, step)
        elif points:
            gone = sorted(points)[step % len(points)]
            del points[gone]
            levels.remove(gone)
        if looks and points:
            agrees(levels, points)
    if points:
        agrees(levels, points)
        built = Levels()
        built.build(list(points), list(points.values()))
        agrees(built, points)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_many_points_of_any_value(objectives: int) -> None:
    draw = np.random.default_rng(objectives)
    levels, points = Levels(), dict[int, Point]()
    for number in range(300):
        points[number] = tuple(draw.random(objectives).tolist())
        levels.add(number, points[number])
        levels.fronts[0].contributions()
        if number % 5 == 4:
            gone = int(draw.choice(sorted(points)))
            del points[gone]
            levels.remove(gone)
    agrees(levels, points)


def test_the_last_to_go_leaves_nothing() -> None:
    levels = Levels()
    levels.add(7, (1.0, 2.0))
    levels.remove(7)
    assert (len(levels), levels.fronts) == (0, [])
