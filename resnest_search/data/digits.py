"""scikit-learn's bundled handwritten digits: 1797 grey images of 8 x 8 pixels, 10 classes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.sources import ArraySource, Sources

__all__ = ["load_digits"]

_FILE = "datasets/data/digits.csv.gz"  # in scikit-learn's folder: 64 pixels and the label a line


def load_digits(config: DataConfig) -> Sources:
    """One source of 1797 images; validation and test are cut from it."""
    pixels, labels = _bundled()
    grey = np.rint(pixels * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    images = torch.from_numpy(grey)[:, None]  # (N, 8, 8) -> (N, 1, 8, 8)
    source = ArraySource(
        labels=labels,
        read=lambda indices: images[torch.from_numpy(indices)],
    )
    return Sources([str(digit) for digit in range(10)], train=source)


def _bundled() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels (N, 8, 8) from 0 to 16, and labels (N,), read without importing scikit-learn.

    That would bring SciPy's statistics along, for a second in each process.
    """
    found = find_spec("sklearn")
    path = Path(found.origin).parent / _FILE if found and found.origin else Path(_FILE)
    if not path.is_file():  # in a version that keeps it elsewhere
        from sklearn.datasets import load_digits as bundled

        digits = bundled()
        return digits.images, digits.target.astype(np.int64)
    lines = np.loadtxt(path, delimiter=",")
    return lines[:, :-1].reshape(-1, 8, 8), lines[:, -1].astype(np.int64)
