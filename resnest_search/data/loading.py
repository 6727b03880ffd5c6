"""Batches as the network sees them: fetched, augmented and normalised whole.

Letters: B images of a batch, C channels, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from resnest_search.data.augment import Augment
from resnest_search.data.sampling import Batch
from resnest_search.data.sources import Images
from resnest_search.errors import UserError

__all__ = ["BatchLoader", "ImageBatches", "LabelledBatch"]

LabelledBatch = tuple[Tensor, Tensor]  # float32 (B, C, S, S), int64 (B,)


class ImageBatches(Dataset[LabelledBatch]):
    """Indexed with a whole `Batch`: one indexing and one augmentation for all of it."""

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment,
    ):
        self.images, self.augment = images, augment
        self.labels = torch.from_numpy(labels)
        # (x / 255 - mean) / std = x * scale + offset, one value per channel: (C, 1, 1)
        self.scale = (1 / (255 * torch.tensor(std or [1.0])))[:, None, None]
        self.offset = (-torch.tensor(mean or [0.0]) / torch.tensor(std or [1.0]))[:, None, None]

    def __getitem__(self, batch: Batch) -> LabelledBatch:
        images = self._pixels(batch).float().mul_(self.scale).add_(self.offset)
        return images, self.labels[torch.from_numpy(batch.positions)]

    def _pixels(self, batch: Batch) -> Tensor:
        """uint8 (B, C, S, S)"""
        if batch.draws is None:
            return self.images.fetch(batch.positions)
        images = self.images.fetch(batch.positions, self.augment.per_image, batch.draws)
        if self.augment.per_batch is None:
            return images
        return self.augment.per_batch(images, batch.draws)


class BatchLoader(DataLoader[LabelledBatch]):
    """A loader whose sampler yields whole batches.

    Iteration starts with the first `next`, not with `iter`: on resuming, Lightning calls
    `iter` before it tells the sampler the epoch, and loader processes would prefetch the
    wrong one. A generator of its own keeps the loader from drawing on the global one.
    """

    def __init__(self, dataset: ImageBatches, sampler: Sampler[Batch], workers: int):
        super().__init__(
            cast(Dataset[LabelledBatch], dataset),
            batch_size=None,
            sampler=sampler,
            collate_fn=_unchanged,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=workers > 0 and torch.cuda.is_available(),
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[LabelledBatch]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except UserError as error:  # a loader process puts its traceback before the message
            line = str(error).splitlines()[-1]
            prefix = f"{UserError.__module__}.{UserError.__name__}: "
            raise UserError(line.removeprefix(prefix)) from error


def _unchanged(batch: Any) -> Any:
    return batch
