"""Image files as a network was trained to see them, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnest_search.data.augment import Augment
from resnest_search.data.decoding import decode
from resnest_search.data.images import centred
from resnest_search.data.loading import BatchLoader, ImageBatches
from resnest_search.data.pixels import recoloured, squashed, tensor_of
from resnest_search.data.preprocessing import SHORTER, Preprocessing
from resnest_search.data.sampling import EvaluationSampler
from resnest_search.data.sources import ImageTransform

__all__ = ["file_batches"]

_PATIENCE_S = 300.0


@dataclass(frozen=True)
class _Files:
    """Files that are read when they are fetched, by the facts of a training; see `Images`."""

    paths: Sequence[str]
    seen: Preprocessing

    def fetch(
        self,
        positions: NDArray[np.int64],
        transform: ImageTransform | None = None,
        draws: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """uint8 (B, C, S, S). Raises UserError for a file that is no image."""
        return torch.stack([self._read(self.paths[position]) for position in positions])

    def keeping(self, where: str, digest: str | None, whole: bool) -> tuple[_Files, str]:
        """See `Images.keeping`: each is read once."""
        return self, ""

    def _read(self, path: str) -> Tensor:
        image = decode(path, self.seen.decoded, self.seen.background)
        if self.seen.resized == SHORTER:
            image = centred(image, self.seen.resize, self.seen.crop)
        pixels = recoloured(tensor_of(image)[None], self.seen.channels)
        return squashed(pixels, self.seen.crop)[0]


def file_batches(
    paths: Sequence[str],
    labels: NDArray[np.int64],
    seen: Preprocessing,
    batch_size: int,
    workers: int = 0,
) -> BatchLoader:
    """Batches of all files in order, float32 (B, C, S, S) and int64 (B,), as validation has them.

    Args:
        paths: of N files.
        labels: (N,) class of each.
        seen: what validation does to a file.
        batch_size: images of a batch; the last may have fewer.
        workers: processes that read; 0 reads in this one.
    """
    images = ImageBatches(_Files(paths, seen), labels, seen.mean, seen.std, Augment())
    sampler = EvaluationSampler(len(paths), batch_size)
    return BatchLoader(images, sampler, workers, True, _PATIENCE_S)
