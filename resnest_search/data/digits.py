"""scikit-learn's bundled handwritten digits: 1797 grey images of 8 x 8 pixels, 10 classes."""

from __future__ import annotations

import numpy as np
import torch

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.sources import ArraySource, Sources

__all__ = ["load_digits"]


def load_digits(config: DataConfig) -> Sources:
    """One source of 1797 images; validation and test are cut from it."""
    from sklearn.datasets import load_digits as bundled  # scipy comes with it: only when needed

    digits = bundled()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    images = torch.from_numpy(grey)[:, None]  # (N, 8, 8) -> (N, 1, 8, 8)
    source = ArraySource(
        labels=digits.target.astype(np.int64),
        read=lambda indices: images[torch.from_numpy(indices)],
    )
    return Sources([str(digit) for digit in range(10)], train=source)
