"""Augmentations, each a function of the images and of one random number per image.

Letters: B images of a batch, C channels, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from resnest_search.configuration.schema import AUGMENTS, POLICIES, DataConfig
from resnest_search.data.sources import ImageTransform
from resnest_search.errors import UserError

# torchvision is imported by what needs it: it brings a compiler along, and takes a second.

__all__ = ["Augment", "Mix", "augment", "mixing", "shifted"]

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

REACH = 8  # a shift goes up to 1/8 of the side: 4 pixels of 32


@dataclass(frozen=True)
class Augment:
    """What is done to training images, in this order; None where it is nothing.

    Attributes:
        per_image: for a side S, None being that of evaluation, what takes a decoded image to
            one of S x S.
        policy: takes uint8 (C, S, S) to the same, where `per_image` does not end with it.
        per_batch: takes uint8 (B, C, S, S) and a random number (B,) per image to the same shape.
        erasing: changes normalised float32 (C, S, S) in place.
    """

    per_image: Callable[[int | None], ImageTransform] | None = None
    policy: ImageTransform | None = None
    per_batch: Callable[[Tensor, NDArray[np.int64]], Tensor] | None = None
    erasing: ImageTransform | None = None


def augment(config: DataConfig) -> Augment:
    """The augmentation that a configuration names. Raises UserError for an unknown one."""
    if config.augment not in AUGMENTS:
        raise UserError(f"data.augment: {config.augment!r} is none of {', '.join(AUGMENTS)}")
    erasing = _erasing(config.erasing) if config.erasing else None
    policy = _policy("autoaugment" if config.augment == "autoaugment" else config.policy, config)
    if config.augment in ("resized_crop", "autoaugment"):
        return Augment(partial(_resized_crop, config.image_size, policy), erasing=erasing)
    moved = {"none": None, "shift": partial(shifted, flip=False)}
    per_batch = moved.get(config.augment, partial(shifted, flip=True))
    return Augment(policy=policy, per_batch=per_batch, erasing=erasing)


def _resized_crop(
    image_size: int, policy: ImageTransform | None, side: int | None
) -> ImageTransform:
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(side or image_size, antialias=True)
    steps = [crop, v2.RandomHorizontalFlip(), *([policy] if policy else [])]
    return v2.Compose(steps)  # type: ignore[no-any-return]


def _policy(name: str, config: DataConfig) -> ImageTransform | None:
    """AutoAugment for ImageNet (Cubuk et al., arXiv 1805.09501), RandAugment (1909.13719) or
    TrivialAugment (Müller and Hutter, 2103.10158) in its wide form, as torchvision has them."""
    if name == "none":
        return None
    from torchvision.transforms import v2

    match name:
        case "autoaugment":
            return v2.AutoAugment()  # type: ignore[no-any-return]
        case "randaugment":
            return v2.RandAugment(magnitude=config.randaugment_magnitude)  # type: ignore[no-any-return]
        case "trivialaugment":
            return v2.TrivialAugmentWide()  # type: ignore[no-any-return]
    raise UserError(f"data.policy: {name!r} is none of {', '.join(POLICIES)}")


def _erasing(probability: float) -> ImageTransform:
    """Random erasing (Zhong et al., arXiv 1708.04896): a rectangle becomes the mean, 0."""
    from torchvision.transforms import v2

    return v2.RandomErasing(p=probability, inplace=True)  # type: ignore[no-any-return]


def shifted(images: Tensor, draws: NDArray[np.int64], *, flip: bool) -> Tensor:
    """Each image moved by up to an eighth of its side both ways, the gap black.

    The same as padding by an eighth and cropping back. With `flip`, half of the images are
    mirrored left to right. uint8 (B, C, S, S) to the same.
    """
    size = images.shape[-1]
    reach = max(1, size // REACH)
    choices = 2 * reach + 1
    numbers = torch.from_numpy(draws)
    top, left = numbers % choices, numbers // choices % choices
    padded = F.pad(images, (reach, reach, reach, reach))
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # (B, C, choices, choices, S, S)
    moved = windows[torch.arange(len(images)), :, top, left]  # (B, C, S, S)
    if not flip:
        return moved
    mirrored = (numbers // choices**2 % 2).bool()  # (B,)
    return torch.where(mirrored[:, None, None, None], moved.flip(3), moved)


def mixing(mixup: float, cutmix: float, classes: int) -> Mix | None:
    """What blends each image of a batch with the one before it; None where both are off.

    torchvision's MixUp (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv
    1905.04899); of both, as in torchvision's recipes, one by a fair coin for each batch. Takes
    float (B, C, S, S) and int64 (B,), gives the same and the shares of the classes, float
    (B, classes). Draws from torch's global CPU generator.

    Args:
        mixup: alpha of its Beta distribution; 0 is off.
        cutmix: likewise.
        classes: how many there are.
    """
    if not mixup and not cutmix:
        return None
    from torchvision.transforms import v2

    ways = [
        way(alpha=alpha, num_classes=classes)
        for way, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        if alpha
    ]
    return ways[0] if len(ways) == 1 else v2.RandomChoice(ways)  # type: ignore[no-any-return]
