"""Order, ranks and random numbers of batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_search.data.sampling import EpochSampler, EvaluationSampler, sides
from resnest_search.errors import UserError


@given(st.integers(1, 200), st.integers(1, 8), st.integers(1, 8), st.integers(0, 3))
def test_ranks_cut_the_batches_that_one_rank_would_see(count, share, world, epoch) -> None:
    count = max(count, world)
    ranks = [EpochSampler(count, share * world, 5, rank, world) for rank in range(world)]
    alone = EpochSampler(count, ranks[0].share * world, 5)
    for sampler in (*ranks, alone):
        sampler.set_epoch(epoch)
    assert {len(sampler) for sampler in ranks} == {len(alone)}
    assert len(alone) >= 1
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert (np.concatenate([part.positions for part in parts]) == whole.positions).all()
        assert (np.concatenate([part.draws for part in parts]) == whole.draws).all()


@given(st.integers(1, 200), st.integers(1, 300))
def test_an_epoch_sees_no_image_twice_and_leaves_out_less_than_a_batch(count, batch_size) -> None:
    seen = np.concatenate([batch.positions for batch in EpochSampler(count, batch_size, 0)])
    assert len(np.unique(seen)) == len(seen)
    assert count - len(seen) < min(batch_size, count)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, 10, seed)
        sampler.set_epoch(epoch)
        list(sampler)  # history must not matter
        return np.concatenate([batch.positions for batch in sampler]).tolist()

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


@given(st.integers(0, 100), st.integers(1, 30), st.integers(1, 7))
def test_evaluation_ranks_see_every_image_once(count, batch_size, world) -> None:
    samplers = [EvaluationSampler(count, batch_size, rank, world) for rank in range(world)]
    batches = [batch for sampler in samplers for batch in sampler]
    assert sorted(p for batch in batches for p in batch.positions) == list(range(count))
    assert len(batches) == sum(len(sampler) for sampler in samplers)
    assert all(batch.draws is None for batch in batches)
    assert all(len(sampler) == 0 for sampler in samplers) == (count == 0)
    assert all(len(sampler) >= min(1, count) for sampler in samplers)  # none waits for another


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.batch_size: 64 .* 3 workers"):
        EpochSampler(100, 64, 0, 0, 3)
    with pytest.raises(UserError, match=r"data\.train_images: 1 .* 2 workers"):
        EpochSampler(1, 64, 0, 0, 2)


@given(st.integers(1, 512), st.floats(0.01, 1), st.integers(1, 300))
def test_sides_grow_evenly_to_the_whole(image_size, share, epochs) -> None:
    found = sides(image_size, share, epochs)
    assert len(found) == epochs
    assert list(found) == sorted(found)
    assert min(found) >= 1
    assert len(set(found)) <= 8
    assert set(found[-max(1, epochs // 5) :]) == {image_size}  # the last fifth
    eighth = image_size / 8
    for epoch, side in enumerate(found):
        line = share + (1 - share) * epoch / max(1, min(0.8 * epochs, epochs - 1))
        assert epochs == 1 or abs(side - image_size * min(1, line)) <= max(eighth, 0.5) + 0.5


def test_sides_of_a_training_at_224_pixels() -> None:
    assert sides(224, 0.5, 10) == (112, 140, 140, 168, 168, 196, 196, 224, 224, 224)
    assert sides(224, 1.0, 3) == (224, 224, 224)
    assert sides(8, 0.5, 3) == (4, 6, 8)
