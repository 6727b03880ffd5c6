"""Augmentations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from resnest_search.configuration.schema import AUGMENTS
from resnest_search.data.augment import augment, shifted
from resnest_search.data.sources import seeded
from resnest_search.errors import UserError


def draws_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**62, count)


@given(st.sampled_from([8, 9, 28, 32]), st.sampled_from([1, 3]), st.booleans(), st.integers(0, 99))
def test_a_shift_is_a_crop_of_the_padded_image(size, channels, flip, seed) -> None:
    images = torch.randint(1, 256, (3, channels, size, size), dtype=torch.uint8)
    result = shifted(images, draws_of(3, seed), flip=flip)
    reach = size // 8
    for image, moved in zip(F.pad(images, [reach] * 4), result, strict=True):
        crops = image.unfold(1, size, 1).unfold(2, size, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        if flip:
            crops = torch.cat([crops, crops.flip(3)])
        assert (crops == moved).flatten(1).all(1).any()


def test_all_shifts_and_both_mirrorings_come_up_equally_often() -> None:
    images = torch.zeros(18_000, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 3, 2] = 255  # mirrored, it lies at column 5
    result = shifted(images, draws_of(18_000), flip=True)
    counts = result.sum((0, 1), dtype=torch.int64)[2:5, 1:7] // 255  # 3 rows, 2 x 3 columns
    assert counts.sum() == 18_000
    assert ((counts - 1000).abs() < 150).all()


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_name_works_on_tensors(name: str, channels: int) -> None:
    images = torch.randint(0, 256, (4, channels, 16, 16), dtype=torch.uint8)
    recipe, draws = augment(name, 16), draws_of(4)
    if recipe.per_image:
        images = torch.stack(seeded(recipe.per_image, list(images), draws))
    if recipe.per_batch:
        images = recipe.per_batch(images, draws)
    assert images.shape == (4, channels, 16, 16)
    assert images.dtype == torch.uint8


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.augment: 'mirror' is none of none, shift"):
        augment("mirror", 8)


def test_seeding_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    crop = augment("autoaugment", 8).per_image
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator())
    first, second = (torch.stack(seeded(crop, [image] * 5, draws_of(5))) for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first, second)
