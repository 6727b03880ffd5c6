"""Batches as the network sees them: fetched, augmented and normalised whole.

Loader processes hand over bytes, a quarter of what floats are; the process that trains normalises.

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
from resnest_search.data.pixels import squashed
from resnest_search.data.sampling import Batch
from resnest_search.data.sources import Images, seeded
from resnest_search.errors import UserError

__all__ = ["BatchLoader", "ImageBatches", "LabelledBatch", "shared_room"]

LabelledBatch = tuple[Tensor, Tensor]  # uint8 or float32 (B, C, S, S), int64 (B,)
_CPU = torch.device("cpu")
_IN_CACHE = 2**18  # values that a core's cache holds between passes over them
_APART = 0x2545F4914F6CDD1D  # makes the draws of erasing others than those of cropping


class ImageBatches(Dataset[LabelledBatch]):
    """uint8 images and labels, indexed with a whole `Batch`: one augmentation for all of it."""

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
        scale = (1 / (255 * torch.tensor(std or [1.0])))[:, None, None]
        offset = (-torch.tensor(mean or [0.0]) / torch.tensor(std or [1.0]))[:, None, None]
        self.scaling = scale, offset

    def __getitem__(self, batch: Batch) -> LabelledBatch:
        images, labels = self._pixels(batch), self.labels[torch.from_numpy(batch.positions)]
        if batch.draws is None or self.augment.erasing is None:
            return images, labels
        images = _normalised(images, *self.scaling)  # here, since what is erased becomes the mean
        seeded(self.augment.erasing, list(images), batch.draws ^ _APART)  # in place
        return images, labels

    def keep(self, where: str, digest: str | None) -> str:
        """Keep the images from now on, see `Images.keeping`; returns a line on what went wrong."""
        self.images, line = self.images.keeping(where, digest, self.augment.per_image is not None)
        return line

    def _pixels(self, batch: Batch) -> Tensor:
        """uint8 (B, C, S, S)"""
        if not len(batch.positions):  # of no images their size is not known
            return self.images.fetch(np.zeros(1, np.int64))[:0]
        if batch.draws is None:
            return self.images.fetch(batch.positions)
        cut = self.augment.per_image
        images = self.images.fetch(batch.positions, cut and cut(batch.side), batch.draws)
        if self.augment.policy is not None:
            images = torch.stack(seeded(self.augment.policy, list(images), batch.draws))
        if self.augment.per_batch is not None:
            images = self.augment.per_batch(images, batch.draws)
        return images if batch.side is None else squashed(images, batch.side)


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
        device: where batches are normalised, and stay.
    """

    def __init__(
        self,
        dataset: ImageBatches,
        sampler: Sampler[Batch],
        workers: int,
        shared: bool = True,
        patience_s: float = 600,
        device: torch.device = _CPU,
    ):
        self._patience_s, self._device = patience_s, device
        self._batches = dataset
        super().__init__(
            cast(Dataset[LabelledBatch], dataset),
            batch_size=None,
            sampler=sampler,
            collate_fn=_unchanged if shared or not workers else _as_arrays,
            timeout=patience_s if workers else 0,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=workers > 0 and device.type == "cuda",
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[LabelledBatch]:  # type: ignore[override]
        scaling = [values.to(self._device) for values in self._batches.scaling]
        try:
            for images, labels in super().__iter__():
                yield _normalised(torch.as_tensor(images), *scaling), torch.as_tensor(labels)
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


def _normalised(images: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """uint8 (B, C, S, S) to float32 of the same shape, where scale and offset (C, 1, 1) are.

    What is float32 has been normalised.
    """
    if images.dtype == torch.float32:
        return images.to(scale.device, non_blocking=True)
    if scale.device.type != "cpu":
        placed = images.to(scale.device, non_blocking=True)
        return placed.float().mul_(scale).add_(offset)
    # numpy asks for large pages: half of the time went into getting small ones.
    result = torch.from_numpy(np.empty(images.shape, np.float32))
    step = max(1, _IN_CACHE * len(images) // max(1, images.numel()))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        result[part].copy_(images[part]).mul_(scale).add_(offset)
    return result


def _unchanged(batch: Any) -> Any:
    return batch


def _as_arrays(batch: Any) -> Any:
    images, labels = batch
    return images.numpy(), labels.numpy()
