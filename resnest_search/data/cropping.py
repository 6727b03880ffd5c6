"""Random crops of files, decoded no further than the crop needs.

A crop is cut from the pixels that `decode` gives, by torchvision's decoder where that has the same
and is faster. Where even at half, a quarter or an eighth of the resolution the crop has twice the
pixels that are wanted, a JPEG is decoded at that.

Letters: C channels, H height, W width, S side in pixels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from resnest_search.data.decoding import decode
from resnest_search.data.images import orientation, upright
from resnest_search.data.sources import ImageTransform

__all__ = ["FileImage", "KeptImage", "Uncut", "cutting"]

_JPEG = ("JPEG", "MPO")  # the second is of phones, whose first picture counts
# Pixels of a crop of reduced resolution for each that is wanted, along a side.
_SPARE = 2


class Uncut(Protocol):
    """An image of which a part is wanted."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    def cut(self, box: tuple[int, int, int, int], side: int) -> Tensor:
        """uint8 (C, S, S) of the box (left, top, right, bottom), bilinear with antialias."""
        ...


def cutting(transform: ImageTransform) -> ImageTransform | None:
    """The same from an `Uncut` to uint8 (C, S, S), where it begins with torchvision's
    RandomResizedCrop; None where it does not. It draws the same random numbers."""
    steps = transform.transforms if isinstance(transform, v2.Compose) else [transform]
    first, *others = steps
    if not isinstance(first, v2.RandomResizedCrop) or len(set(first.size)) > 1:
        return None
    return _Cutting(first, others)


@dataclass(frozen=True)
class _Cutting:
    crop: v2.RandomResizedCrop
    others: list[ImageTransform]

    def __call__(self, image: Uncut) -> Tensor:
        width, height = image.size
        found = self.crop.make_params([torch.empty((1, height, width), device="meta")])
        left, top = found["left"], found["top"]
        box = (left, top, left + found["width"], top + found["height"])
        cut: Any = image.cut(box, self.crop.size[0])
        for transform in self.others:
            if not isinstance(transform, v2.RandomHorizontalFlip) and isinstance(cut, Tensor):
                cut = F.to_pil_image(cut)  # policies are of images: on tensors they round otherwise
            cut = transform(cut)
        return cut if isinstance(cut, Tensor) else F.pil_to_tensor(cut)


@dataclass(frozen=True)
class KeptImage:
    """Pixels in memory, uint8 (C, H, W)."""

    pixels: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """See `Uncut.size`."""
        return self.pixels.shape[2], self.pixels.shape[1]

    def cut(self, box: tuple[int, int, int, int], side: int) -> Tensor:
        """See `Uncut.cut`. As Pillow has it, but for the rounding of a few values."""
        left, top, right, bottom = box
        return _resized(self.pixels[:, top:bottom, left:right], side, side)


class FileImage:
    """A file, read when it is first asked for.

    With `shrink`, a larger image has that many pixels along its shorter side. Each method raises
    UserError for one that is no image.
    """

    def __init__(
        self, path: str, channels: int, background: Sequence[int], shrink: int | None = None
    ):
        self._path, self._channels, self._background = path, channels, background
        self._shrink = shrink

    @property
    def size(self) -> tuple[int, int]:
        """See `Uncut.size`."""
        width, height = self._size
        if self._shrink is None or min(width, height) <= self._shrink:
            return width, height
        longer = int(self._shrink * max(width, height) / min(width, height))
        return (self._shrink, longer) if width <= height else (longer, self._shrink)

    @cached_property
    def pixels(self) -> Tensor:
        """uint8 (C, H, W), the very ones of `decode` but where they are fewer."""
        if self.size == self._size:
            return self._whole
        wanted = self.size
        reduced = self._reduced(_factor(min(self._size), min(wanted)))
        whole = self._whole if reduced is None else F.pil_to_tensor(reduced)
        return _resized(whole, wanted[1], wanted[0])

    def cut(self, box: tuple[int, int, int, int], side: int) -> Tensor:
        """See `Uncut.cut`."""
        reduced = _factor(min(box[2] - box[0], box[3] - box[1]), side)
        image = self._reduced(reduced) if self.size == self._size else None
        if image is None:
            return KeptImage(self.pixels).cut(box, side)
        left, top, right, bottom = (edge / reduced for edge in box)
        window = (left, top, min(right, image.width), min(bottom, image.height))
        return F.pil_to_tensor(  # type: ignore[no-any-return]
            image.resize((side, side), Image.Resampling.BILINEAR, box=window)
        )

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Of the file, as it is seen upright."""
        if self._header is None:
            return KeptImage(self._whole).size
        width, height = self._header.size
        return (height, width) if orientation(self._header) >= 5 else (width, height)

    @cached_property
    def _content(self) -> bytearray:
        try:
            with open(self._path, "rb") as file:
                return bytearray(file.read())
        except OSError:
            return bytearray()  # which `decode` will find, too, and name

    @cached_property
    def _header(self) -> Image.Image | None:
        """A JPEG whose pixels are not decoded; None where the file is another or a bad one."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about metadata, and about images that are large
                image = Image.open(io.BytesIO(self._content))
        except Exception:  # `decode` says what is wrong
            return None
        plain = image.format in _JPEG and image.mode in ("L", "RGB")
        return image if plain else None

    @cached_property
    def _whole(self) -> Tensor:
        """uint8 (C, H, W), all that the file has."""
        wanted = ("L",) if self._channels == 1 else ("L", "RGB")
        if self._header and self._header.mode in wanted and orientation(self._header) == 1:
            try:
                content = torch.frombuffer(self._content, dtype=torch.uint8)
                pixels: Tensor = decode_jpeg(content, ImageReadMode.UNCHANGED)
                return pixels.expand(self._channels, -1, -1)
            except RuntimeError:  # `decode` says what is wrong
                pass
        image = decode(self._path, self._channels, self._background)
        return F.pil_to_tensor(image)  # type: ignore[no-any-return]

    def _reduced(self, by: int) -> Image.Image | None:
        """The image at a fraction of its resolution, None where that is 1 or cannot be had."""
        if self._header is None or by == 1:
            return None
        try:
            image = Image.open(io.BytesIO(self._content))
            width, height = image.size
            image.draft(image.mode, (width // by, height // by))
            if image.size != (-(-width // by), -(-height // by)):
                return None
            image.load()
            return upright(image, self._channels, self._background)
        except Exception:  # `decode` says what is wrong
            return None


def _factor(pixels: int, wanted: int) -> int:
    """By how much an image may be decoded reduced whose side is to become `wanted` pixels."""
    return next((n for n in (8, 4, 2) if pixels // n >= _SPARE * wanted), 1)


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """uint8 (C, h, w) to (C, H, W)."""
    # Where colours lie side by side, torch resizes bytes as such, with vectors.
    images = image[None].contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.interpolate(
        images, size=[height, width], mode="bilinear", align_corners=False, antialias=True
    )[0]
