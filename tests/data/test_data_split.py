"""Laws of the split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.counts import Available, plan_counts
from resnest_search.data.sources import ArraySource, Sources
from resnest_search.data.split import split_sources, stratified_pick
from resnest_search.errors import UserError

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)


def source(count: int) -> ArraySource:
    def unread(_: object) -> None:
        raise AssertionError("splitting reads no image")

    return ArraySource(np.arange(count) % 7, unread)


@given(LABELS, st.data(), st.integers(0, 9))
def test_a_pick_holds_every_class_in_proportion(labels, data, seed) -> None:
    count = data.draw(st.integers(0, len(labels)))
    picked = stratified_pick(labels, count, np.random.default_rng(seed))
    assert len(picked) == len(np.unique(picked)) == count
    assert (np.sort(picked) == picked).all()
    for label in np.unique(labels):
        fair = count * (labels == label).mean()
        assert abs((labels[picked] == label).sum() - fair) < 1


@settings(deadline=None)
@given(
    st.integers(30, 90),
    st.integers(7, 10),
    st.none() | st.integers(1, 10),
    st.none() | st.integers(1, 10),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
)
def test_parts_of_one_source_are_disjoint(count, train, val, test, own_val, own_test, seed) -> None:
    sources = Sources(
        [], source(count), source(20) if own_val else None, source(20) if own_test else None
    )
    config = DataConfig(train_images=train, val_images=val, test_images=test, split_seed=seed)
    split = split_sources(config, sources)
    parts = [split.train]
    parts += [split.validation] * split.counts.validation_held_out
    parts += [split.test] * split.counts.test_held_out
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert len(split.train) == train == split.counts.train
    assert len(split.validation) == split.counts.validation
    assert len(split.test) == split.counts.test
    assert split.counts.validation_held_out == (val is not None or not own_val)


SIZES = st.lists(st.integers(1, 30), min_size=2, max_size=12)


@given(SIZES, st.data(), st.integers(0, 9))
def test_no_class_loses_its_last_image_to_what_is_held_out(sizes, data, seed) -> None:
    spare = sum(sizes) - len(sizes)
    assume(spare >= 1)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    val = data.draw(st.none() | st.integers(1, spare))
    test = data.draw(st.integers(0, spare - (val or 1)))
    train = data.draw(
        st.none() | st.integers(len(sizes), sum(sizes) - test - (val or spare - test))
    )
    config = DataConfig(train_images=train, val_images=val, test_images=test, split_seed=seed)
    split = split_sources(config, Sources([], ArraySource(labels, None)))
    assert set(labels[split.train]) == set(range(len(sizes)))
    assert len(split.validation) >= 1


@given(LABELS, st.data(), st.integers(0, 9))
def test_bounds_that_no_share_breaks_change_nothing(labels, data, seed) -> None:
    """So that splits of earlier versions stay, but where a class lost all of its images."""
    count = data.draw(st.integers(0, len(labels)))
    free = stratified_pick(labels, count, np.random.default_rng(seed))
    spare = len(labels) - len(np.unique(labels))
    if count <= spare and set(labels) == set(np.delete(labels, free)):
        kept = stratified_pick(labels, count, np.random.default_rng(seed), kept=1)
        assert (kept == free).all()


def test_a_tenth_leaves_a_class_its_only_image() -> None:
    labels = np.array([0] * 5 + [1] * 4 + [2])  # the only 2 was the one held out, by seed
    for seed in range(20):
        split = split_sources(DataConfig(split_seed=seed), Sources([], ArraySource(labels, None)))
        assert len(split.validation) == 1
        assert 9 not in split.validation


def test_validation_does_not_hang_on_the_number_of_training_images() -> None:
    sources = Sources([], source(200))
    few, many = (
        split_sources(DataConfig(train_images=n, val_images=30, test_images=20), sources)
        for n in (50, 100)
    )
    assert (few.validation == many.validation).all()
    assert (few.test == many.test).all()


VALIDATION = [1, 7, 11, 23, 24]
TEST = [15, 17, 28, 58]


def test_the_split_is_the_same_on_every_machine() -> None:
    split = split_sources(DataConfig(val_images=5, test_images=4), Sources([], source(60)))
    assert split.validation.tolist() == VALIDATION
    assert split.test.tolist() == TEST
    other = split_sources(
        DataConfig(val_images=5, test_images=4, split_seed=1), Sources([], source(60))
    )
    assert other.validation.tolist() != VALIDATION


def test_nothing_said_holds_out_a_tenth() -> None:
    counts = plan_counts(DataConfig(), Available(train=200))
    assert (counts.train, counts.validation, counts.test) == (180, 20, 0)


@pytest.mark.parametrize(
    ("key", "value", "left"),
    [
        ("train_images", 81, "1 to 80"),
        ("train_images", 0, "1 to 80"),
        ("val_images", 90, "1 to 89"),
        ("test_images", 31, "0 to 30"),
        ("val_images", -1, "1 to 89"),
    ],
)
def test_more_than_there_is_is_refused(key: str, value: int, left: str) -> None:
    config = DataConfig(**{"val_images": 10, key: value})
    with pytest.raises(UserError, match=rf"data\.{key}: {value} .* {left} images"):
        plan_counts(config, Available(train=90, test=30))


def test_too_few_to_split_is_refused() -> None:
    with pytest.raises(UserError, match="too few to split"):
        plan_counts(DataConfig(), Available(train=1))
