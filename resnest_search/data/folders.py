"""Folders of image files: root/train/CLASS/*, val/ and test/ alike; ImageNet is one of them.

Letters: B images of a batch, C channels, S side in pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.decoding import decode
from resnest_search.data.images import centred
from resnest_search.data.preprocessing import SHORTER, Preprocessing, shorter_side
from resnest_search.data.scan import Listing
from resnest_search.data.sources import ImageTransform, Sources, seeded
from resnest_search.errors import UserError

__all__ = ["FolderImages", "FolderSource", "load_folders"]


def load_folders(config: DataConfig, listing: Listing) -> Sources:
    """Sources of train/, val/ and test/; ImageNet's val/ is its test source."""
    train, val, test = (_source(config, listing, part) for part in ("train", "val", "test"))
    if train is None:
        raise UserError(f"data.root: {listing.root!r} has no train/")
    if config.name == "imagenet":
        return Sources(listing.classes, train, test=val)
    return Sources(listing.classes, train, val, test)


def _source(config: DataConfig, listing: Listing, part: str) -> FolderSource | None:
    found = listing.parts.get(part)
    if found is None:
        return None
    paths = [os.path.join(listing.root, path) for path in found.paths]
    return FolderSource(paths, np.array(found.labels, dtype=np.int64), tuple(config.background))


@dataclass(frozen=True)
class FolderSource:
    """Files in the order of torchvision's ImageFolder."""

    paths: list[str]
    labels: NDArray[np.int64]
    background: tuple[int, ...]

    def open(self, indices: NDArray[np.int64], channels: int, image_size: int) -> FolderImages:
        """The chosen files; each is read when it is fetched."""
        paths = [self.paths[index] for index in indices]
        return FolderImages(paths, channels, image_size, self.background)

    def preprocessing(self, channels: int, image_size: int) -> Preprocessing:
        """See `Source.preprocessing`."""
        resize = shorter_side(image_size)
        return Preprocessing(channels, channels, self.background, SHORTER, resize, image_size)

    def files(self, indices: NDArray[np.int64], folder: Path) -> list[Path]:
        """See `Source.files`: where they lie."""
        return [Path(self.paths[index]) for index in indices]


@dataclass(frozen=True)
class FolderImages:
    """Files that are decoded each time they are fetched."""

    paths: list[str]
    channels: int
    image_size: int
    background: tuple[int, ...]

    def fetch(
        self,
        positions: NDArray[np.int64],
        transform: ImageTransform | None = None,
        draws: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """See `Images.fetch`. Raises UserError for a file that is no image."""
        images = [
            decode(self.paths[position], self.channels, self.background) for position in positions
        ]
        if transform is None or draws is None:
            size = self.image_size
            return torch.stack([_tensor(centred(i, shorter_side(size), size)) for i in images])
        return torch.stack([_tensor(image) for image in seeded(transform, images, draws)])


def _tensor(image: Any) -> Tensor:
    return F.pil_to_tensor(image)  # type: ignore[no-any-return]  # uint8 (C, S, S)
