"""Augmentations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.transforms import v2

from resnest_search.configuration.schema import AUGMENTS, POLICIES, DataConfig
from resnest_search.data import build
from resnest_search.data.augment import augment, mixing, shifted
from resnest_search.data.loading import _APART
from resnest_search.data.sampling import EpochSampler
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


POLICY = {
    "autoaugment": v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET),
    "randaugment": v2.RandAugment(num_ops=2, magnitude=14),
    "trivialaugment": v2.TrivialAugmentWide(),
}


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_name_works_on_tensors(name: str, policy: str, channels: int) -> None:
    images = torch.randint(0, 256, (4, channels, 16, 16), dtype=torch.uint8)
    draws = draws_of(4)
    recipe = augment(DataConfig(image_size=16, augment=name, policy=policy, erasing=0.5))
    for per_image in (recipe.per_image and recipe.per_image(None), recipe.policy):
        if per_image:
            images = torch.stack(seeded(per_image, list(images), draws))
    if recipe.per_batch:
        images = recipe.per_batch(images, draws)
    assert images.shape == (4, channels, 16, 16)
    assert images.dtype == torch.uint8


@pytest.mark.parametrize("policy", POLICY)
@pytest.mark.parametrize("name", ["crop_flip", "resized_crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_are_torchvisions(name: str, policy: str, channels: int) -> None:
    """Of files on Pillow's images, after the cut; else on tensors, before the shift."""
    recipe = augment(
        DataConfig(image_size=16, augment=name, policy=policy, randaugment_magnitude=14)
    )
    image = torch.randint(0, 256, (channels, 24, 20), dtype=torch.uint8)
    theirs, ours = POLICY[policy], recipe.policy
    if name == "resized_crop":
        assert ours is None
        image = v2.functional.to_pil_image(image)
        cut = [v2.RandomResizedCrop(16), v2.RandomHorizontalFlip()]
        assert recipe.per_image is not None
        theirs, ours = v2.Compose([*cut, theirs]), recipe.per_image(16)
    assert ours is not None
    for seed in range(20):
        found, expected = (seeded(t, [image], np.array([seed]))[0] for t in (ours, theirs))
        assert np.array_equal(np.asarray(found), np.asarray(expected))


def batch_of(**values) -> torch.Tensor:
    data = build(DataConfig(augment="crop_flip", train_images=400, **values), 400, 0)
    return next(iter(data.train_dataloader()))[0]


def test_erasing_is_torchvisions_on_normalised_images() -> None:
    """Each image loses a rectangle to the mean, which is 0, with that probability."""
    values = {"mean": [0.3], "std": [0.4]}
    plain, erased = batch_of(**values), batch_of(erasing=0.25, **values)
    changed = (plain != erased).flatten(1).any(1)
    assert 70 < changed.sum() < 130
    assert not erased[plain != erased].any()
    draws = EpochSampler(400, 400, 0)
    (batch,) = draws
    theirs = v2.RandomErasing(p=0.25)
    assert batch.draws is not None
    assert torch.equal(torch.stack(seeded(theirs, list(plain), batch.draws ^ _APART)), erased)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"augment": "mirror"}, r"data\.augment: 'mirror' is none of none, shift"),
        ({"policy": "auto"}, r"data\.policy: 'auto' is none of none, autoaugment, randaugment"),
    ],
)
def test_an_unknown_name_is_refused(values, message) -> None:
    with pytest.raises(UserError, match=message):
        augment(DataConfig(**values))


def test_seeding_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    recipe = augment(DataConfig(augment="autoaugment"))
    assert recipe.per_image is not None
    crop = recipe.per_image(None)
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator())
    first, second = (torch.stack(seeded(crop, [image] * 5, draws_of(5))) for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first, second)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_batches_are_mixed_as_torchvision_mixes_them(mixup: float, cutmix: float) -> None:
    images, labels = torch.randn(5, 3, 8, 8), torch.tensor([0, 1, 2, 3, 1])
    ways = [v2.MixUp(alpha=mixup or 1, num_classes=4), v2.CutMix(alpha=cutmix or 1, num_classes=4)]
    theirs = v2.RandomChoice([way for way, on in zip(ways, (mixup, cutmix), strict=True) if on])
    ours = mixing(mixup, cutmix, 4)
    assert ours is not None
    for seed in range(8):
        torch.manual_seed(seed)
        if not (mixup and cutmix):
            theirs = ways[0] if mixup else ways[1]
        expected = theirs(images, labels)
        torch.manual_seed(seed)
        for found, wanted in zip(ours(images, labels), expected, strict=True):
            assert torch.equal(found, wanted)
    assert mixing(0.0, 0.0, 4) is None


@given(st.floats(0.05, 5), st.integers(0, 2**31), st.sampled_from([7, 8, 32]))
def test_a_cut_and_mixed_image_has_the_classes_of_its_pixels(
    alpha: float, seed: int, side: int
) -> None:
    """Pixels of one image are 0, of the other 1: what of each is there is the label's share."""
    mix = mixing(0.0, alpha, 2)
    assert mix is not None
    torch.manual_seed(seed)
    images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, side, side)
    images, shares = mix(images, torch.tensor([0, 1]))
    ones = images.mean((1, 2, 3))
    assert torch.allclose(shares, torch.stack([1 - ones, ones], 1), atol=1e-6)
