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

from resnest_search.configuration.schema import AUGMENTS
from resnest_search.data.sources import ImageTransform
from resnest_search.errors import UserError

# torchvision is imported by what needs it: it brings a compiler along, and takes a second.

__all__ = ["Augment", "augment", "shifted"]

REACH = 8  # a shift goes up to 1/8 of the side: 4 pixels of 32


@dataclass(frozen=True)
class Augment:
    """`per_image` takes a decoded image to one of S x S; `per_batch` takes uint8 (B, C, S, S)
    and a random number (B,) per image to the same shape. None where there is none."""

    per_image: ImageTransform | None = None
    per_batch: Callable[[Tensor, NDArray[np.int64]], Tensor] | None = None


def augment(name: str, image_size: int) -> Augment:
    """The augmentation of that name. Raises UserError for an unknown one."""
    match name:
        case "none":
            return Augment()
        case "shift":
            return Augment(per_batch=partial(shifted, flip=False))
        case "crop_flip":
            return Augment(per_batch=partial(shifted, flip=True))
        case "resized_crop":
            return Augment(per_image=_resized_crop(image_size))
        case "autoaugment":
            from torchvision.transforms import v2

            policy = v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)
            return Augment(per_image=v2.Compose([_resized_crop(image_size), policy]))
    raise UserError(f"data.augment: {name!r} is none of {', '.join(AUGMENTS)}")


def _resized_crop(image_size: int) -> ImageTransform:
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(image_size, antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()])  # type: ignore[no-any-return]


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
