"""Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28 pixels, 10 classes, as idx files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.layouts import (
    FASHION_FILES,
    idx_content,
    idx_file,
    locate_fashion_mnist,
)
from resnest_search.data.sources import ArraySource, Sources
from resnest_search.errors import UserError

__all__ = ["load_fashion_mnist"]

CLASS_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


def load_fashion_mnist(config: DataConfig) -> Sources:
    """Training and test source; the root has been located before. Raises UserError."""
    folder = locate_fashion_mnist(Path(config.root or ""))
    if folder is None:
        raise UserError(f"data.root: '{config.root}' has no {FASHION_FILES[0]}")
    train_images, train_labels, test_images, test_labels = (
        _read_idx(folder, name) for name in FASHION_FILES
    )
    return Sources(
        CLASS_NAMES,
        train=_source(folder, train_images, train_labels),
        test=_source(folder, test_images, test_labels),
    )


def _source(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> ArraySource:
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        raise UserError(
            f"data.root: '{folder}' has images of shape {images.shape} "
            f"that do not fit labels of shape {labels.shape} from 0 to 9"
        )
    return ArraySource(
        labels=labels.astype(np.int64),
        read=lambda indices: torch.from_numpy(images[indices])[:, None],  # -> (n, 1, 28, 28)
    )


def _read_idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes: 0 0 8 ndim, ndim big-endian sizes, then the values."""
    path = idx_file(folder, name)
    try:
        content = idx_content(folder, name)
        shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
        if content[:3] != b"\0\0\x08":
            raise ValueError("not an idx file of unsigned bytes")
        return values.reshape(shape)
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
        raise UserError(f"data.root: '{path}' cannot be read as an idx file ({error})") from error
