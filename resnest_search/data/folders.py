"""Folders of image files: root/train/CLASS/*, val/ and test/ alike; ImageNet is one of them.

Letters: B images of a batch, C channels, S side in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from resnest_search.data.layouts import class_folders, image_files
from resnest_search.data.sources import ImageTransform, Sources, seeded
from resnest_search.errors import UserError
from resnest_search.schema import DataConfig

__all__ = ["FolderImages", "FolderSource", "evaluation_transform", "load_folders"]

LARGEST_UNCROPPED = 64  # pixels; a larger evaluation image loses its rim, see below
CROP_SHARE = 0.875


def load_folders(config: DataConfig) -> Sources:
    """Sources of train/, val/ and test/; ImageNet's val/ is its test source."""
    root = Path(config.root or "")
    class_names = class_folders(root / "train")

    def source(part: str) -> FolderSource | None:
        folder = root / part
        return FolderSource.under(folder, class_names) if folder.is_dir() else None

    train = FolderSource.under(root / "train", class_names)
    if config.name == "imagenet":
        return Sources(class_names, train, test=source("val"))
    return Sources(class_names, train, source("val"), source("test"))


@dataclass(frozen=True)
class FolderSource:
    """Files in the order of torchvision's ImageFolder."""

    paths: list[str]
    labels: NDArray[np.int64]

    @classmethod
    def under(cls, folder: Path, class_names: list[str]) -> FolderSource:
        """Every image of these classes under `folder`."""
        files = image_files(folder, class_names)
        labels = np.array([label for _, label in files], dtype=np.int64)
        return cls([path for path, _ in files], labels)

    def open(self, indices: NDArray[np.int64], channels: int, image_size: int) -> FolderImages:
        """The chosen files; each is read when it is fetched."""
        return FolderImages([self.paths[index] for index in indices], channels, image_size)


@dataclass(frozen=True)
class FolderImages:
    """Files that are decoded each time they are fetched."""

    paths: list[str]
    channels: int
    image_size: int

    def fetch(
        self,
        positions: NDArray[np.int64],
        transform: ImageTransform | None = None,
        draws: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """See `Images.fetch`. Raises UserError for a file that is no image."""
        images = [_decoded(self.paths[position], self.channels) for position in positions]
        if transform is None or draws is None:
            evaluation = evaluation_transform(self.image_size)
            return torch.stack([_tensor(evaluation(image)) for image in images])
        return torch.stack([_tensor(image) for image in seeded(transform, images, draws)])


def evaluation_transform(image_size: int) -> ImageTransform:
    """Shorter side to image_size / 0.875, then the square in the centre.

    Up to 64 pixels the shorter side becomes image_size itself: so small, the rim is needed.
    """
    small = image_size <= LARGEST_UNCROPPED
    shorter = image_size if small else round(image_size / CROP_SHARE)
    resize = v2.Resize(shorter, InterpolationMode.BILINEAR, antialias=True)
    return v2.Compose([resize, v2.CenterCrop(image_size)])  # type: ignore[no-any-return]


def _decoded(path: str, channels: int) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"data.root: '{path}' cannot be read as an image ({error})") from error


def _tensor(image: Any) -> Tensor:
    return F.pil_to_tensor(image)  # type: ignore[no-any-return]  # uint8 (C, S, S)
