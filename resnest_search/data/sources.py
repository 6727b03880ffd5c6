"""What a data set offers before it is split: labels at once, images when asked for.

Letters: N images of a source, B of a batch, C channels, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnest_search.data.pixels import recoloured, squashed
from resnest_search.data.preprocessing import SQUASHED, Preprocessing

__all__ = ["ArraySource", "ImageTransform", "Images", "MemoryImages", "Source", "Sources", "seeded"]

ImageTransform = Callable[[Any], Any]  # a PIL image or a uint8 tensor (C, h, w), to its like


class Images(Protocol):
    """The images of one part of a split."""

    def fetch(
        self,
        positions: NDArray[np.int64],
        transform: ImageTransform | None = None,
        draws: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """uint8 (B, C, S, S): as evaluation sees them, or each through `transform`, its
        randomness seeded with its number in `draws`."""
        ...

    def keeping(self, where: str, digest: str | None, whole: bool) -> tuple[Images, str]:
        """The same images decoded once, and a line on what went wrong.

        Args:
            where: ``ram`` or ``disk``, see `keeping.keep`.
            digest: of the whole set, where it is known.
            whole: whether a transform needs all pixels, not what evaluation sees.
        """
        ...


class Source(Protocol):
    """Labelled images, from which splits are cut."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class of each image."""
        ...

    def open(self, indices: NDArray[np.int64], channels: int, image_size: int) -> Images:
        """The chosen images; position k of the result is the image at `indices[k]`."""
        ...

    def preprocessing(self, channels: int, image_size: int) -> Preprocessing:
        """From a file to what `open` gives of it in evaluation; without mean and std."""
        ...

    def files(self, indices: NDArray[np.int64], folder: Path) -> list[Path]:
        """The chosen images as files; those that are none are written into the folder."""
        ...


@dataclass(frozen=True)
class Sources:
    """A whole data set; None where it has no such part of its own."""

    class_names: list[str]
    train: Source
    validation: Source | None = None
    test: Source | None = None


@dataclass(frozen=True)
class ArraySource:
    """Images small enough to live in memory."""

    labels: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], Tensor]  # indices (n,) to uint8 (n, 1 or 3, h, w)

    def open(self, indices: NDArray[np.int64], channels: int, image_size: int) -> MemoryImages:
        """Reads, recolours and resizes the chosen images, once."""
        return MemoryImages(squashed(recoloured(self.read(indices), channels), image_size))

    def preprocessing(self, channels: int, image_size: int) -> Preprocessing:
        """See `Source.preprocessing`; what is transparent counts as white."""
        decoded = self.read(np.zeros(1, np.int64)).shape[1]
        return Preprocessing(channels, decoded, (255,), SQUASHED, image_size, image_size)

    def files(self, indices: NDArray[np.int64], folder: Path) -> list[Path]:
        """See `Source.files`: as PNG."""
        paths = [folder / f"{index}.png" for index in indices]
        for image, path in zip(self.read(indices), paths, strict=True):
            values = image[0] if len(image) == 1 else image.permute(1, 2, 0)
            Image.fromarray(values.numpy()).save(path)
        return paths


@dataclass(frozen=True)
class MemoryImages:
    """uint8 (N, C, S, S), ready to be indexed."""

    images: Tensor

    def fetch(
        self,
        positions: NDArray[np.int64],
        transform: ImageTransform | None = None,
        draws: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """See `Images.fetch`."""
        batch = self.images[torch.from_numpy(positions)]
        if transform is None or draws is None:
            return batch
        return torch.stack(seeded(transform, list(batch), draws))

    def keeping(self, where: str, digest: str | None, whole: bool) -> tuple[MemoryImages, str]:
        """See `Images.keeping`: they are in memory."""
        return self, ""


def seeded(transform: ImageTransform, images: list[Any], draws: NDArray[np.int64]) -> list[Any]:
    """Each image through `transform`, which draws from torch's global CPU generator.

    The generator is seeded for every image and put back at the end; CUDA's are left alone
    (torch.manual_seed would reset them too).
    """
    with torch.random.fork_rng(devices=[]):
        results = []
        for image, draw in zip(images, draws, strict=True):
            torch.default_generator.manual_seed(int(draw))
            results.append(transform(image))
        return results
