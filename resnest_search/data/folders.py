"""Folders of image files: root/train/CLASS/*, val/ and test/ alike; ImageNet is one of them.

Letters: B images of a batch, C channels, S side in pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.cropping import FileImage, KeptImage, cutting
from resnest_search.data.decoding import decode
from resnest_search.data.images import centred
from resnest_search.data.keeping import Kept, keep
from resnest_search.data.preprocessing import SHORTER, Preprocessing, shorter_side
from resnest_search.data.scan import Listing
from resnest_search.data.sources import ImageTransform, Sources, seeded
from resnest_search.errors import UserError

__all__ = ["FolderImages", "FolderSource", "load_folders"]

_KEPT = "1"  # counts up where other pixels are made of a file than before


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
    labels = np.array(found.labels, dtype=np.int64)
    return FolderSource(paths, labels, tuple(config.background), config.shrink)


@dataclass(frozen=True)
class FolderSource:
    """Files in the order of torchvision's ImageFolder."""

    paths: list[str]
    labels: NDArray[np.int64]
    background: tuple[int, ...]
    shrink: int | None = None

    def open(self, indices: NDArray[np.int64], channels: int, image_size: int) -> FolderImages:
        """The chosen files; each is read when it is fetched."""
        paths = [self.paths[index] for index in indices]
        return FolderImages(paths, channels, image_size, self.background, self.shrink)

    def preprocessing(self, channels: int, image_size: int) -> Preprocessing:
        """See `Source.preprocessing`."""
        resize = shorter_side(image_size)
        return Preprocessing(channels, channels, self.background, SHORTER, resize, image_size)

    def files(self, indices: NDArray[np.int64], folder: Path) -> list[Path]:
        """See `Source.files`: where they lie."""
        return [Path(self.paths[index]) for index in indices]


@dataclass(frozen=True)
class FolderImages:
    """Files that are decoded each time they are fetched, unless they are kept.

    Attributes:
        shrink: pixels of the shorter side of larger images before training crops them.
        kept: of training all pixels, of evaluation what `fetch` gives.
    """

    paths: list[str]
    channels: int
    image_size: int
    background: tuple[int, ...]
    shrink: int | None = None
    kept: Kept | None = None

    def fetch(
        self,
        positions: NDArray[np.int64],
        transform: ImageTransform | None = None,
        draws: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """See `Images.fetch`. Raises UserError for a file that is no image."""
        if transform is None or draws is None:
            return torch.stack([self._evaluated(position) for position in positions])
        cut = cutting(transform)
        if cut is not None:
            return torch.stack(seeded(cut, [self._uncut(p) for p in positions], draws))
        images = [F.to_pil_image(self._uncut(position).pixels) for position in positions]
        return torch.stack([_tensor(image) for image in seeded(transform, images, draws)])

    def keeping(self, where: str, digest: str | None, whole: bool) -> tuple[FolderImages, str]:
        """See `Images.keeping`."""
        read = self._pixels if whole else self._centred
        size = f"shrink {self.shrink}" if whole else f"{self.image_size} px"
        versions = [f"{name} {version(name)}" for name in ("pillow", "torch", "torchvision")]
        key = [_KEPT, digest or "", size, str(self.channels), str(self.background), *versions]
        kept, line = keep(where, key, self.paths, read)
        return replace(self, kept=kept), line

    def _uncut(self, position: int) -> FileImage | KeptImage:
        if self.kept is not None:
            return KeptImage(self.kept[position])
        return FileImage(self.paths[position], self.channels, self.background, self.shrink)

    def _evaluated(self, position: int) -> Tensor:
        return self._centred(position) if self.kept is None else self.kept[position]

    def _pixels(self, position: int) -> Tensor:
        path = self.paths[position]
        return FileImage(path, self.channels, self.background, self.shrink).pixels

    def _centred(self, position: int) -> Tensor:
        image = decode(self.paths[position], self.channels, self.background)
        return _tensor(centred(image, shorter_side(self.image_size), self.image_size))


def _tensor(image: Any) -> Tensor:
    return F.pil_to_tensor(image)  # type: ignore[no-any-return]  # uint8 (C, S, S)
