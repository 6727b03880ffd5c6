"""Batches as the network sees them: fetched, augmented and normalised whole.

Letters: B images of a batch, C channels, S side in pixels.
"""

from __future__ import annotations

import os
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

__all__ = ["BatchLoader", "ImageBatches", "LabelledBatch", "shared_room"]

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

    Loader processes hand batches over in shared memory. What finds no room there is lost, and
    would be waited for in vain, so that with little room batches come through pipes instead.
    No batch is waited for longer than `patience_s`.

    Args:
        dataset: batches.
        sampler: of them.
        workers: loader processes.
        shared: whether shared memory has the room, see `shared_room`.
        patience_s: seconds for one batch.
    """

    def __init__(
        self,
        dataset: ImageBatches,
        sampler: Sampler[Batch],
        workers: int,
        shared: bool = True,
        patience_s: float = 600,
    ):
        self._patience_s = patience_s
        super().__init__(
            cast(Dataset[LabelledBatch], dataset),
            batch_size=None,
            sampler=sampler,
            collate_fn=_unchanged if shared or not workers else _as_arrays,
            timeout=patience_s if workers else 0,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=workers > 0 and torch.cuda.is_available(),
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[LabelledBatch]:  # type: ignore[override]
        try:
            for images, labels in super().__iter__():
                yield torch.as_tensor(images), torch.as_tensor(labels)
        except RuntimeError as error:
            if "timed out" not in str(error):
                raise
            raise UserError(
                f"data.workers: {self.num_workers} loader processes gave no batch in "
                f"{self._patience_s:.0f} s; valid: fewer, or 0"
            ) from error
        except UserError as error:  # a loader process puts its traceback before the message
            line = str(error).splitlines()[-1]
            prefix = f"{UserError.__module__}.{UserError.__name__}: "
            raise UserError(line.removeprefix(prefix)) from error


def shared_room() -> int:
    """Bytes that shared memory has left; a container has 64 MB of it where nobody asks for more."""
    try:
        state = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return state.f_bavail * state.f_frsize


def _unchanged(batch: Any) -> Any:
    return batch


def _as_arrays(batch: Any) -> Any:
    images, labels = batch
    return images.numpy(), labels.numpy()
