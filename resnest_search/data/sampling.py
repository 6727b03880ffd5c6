"""Which images make up a batch: a function of the seed and the epoch alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from resnest_search.errors import UserError

__all__ = ["Batch", "EpochSampler", "EvaluationSampler", "sides"]

_GROWING = 0.8  # of the epochs; the rest is of the whole size
_STEPS = 8  # that a side takes up to the whole, so that few sizes occur


class Batch(NamedTuple):
    """The images of one batch on one rank, and a random number for each."""

    positions: NDArray[np.int64]
    draws: NDArray[np.int64] | None  # None in evaluation
    side: int | None = None  # in pixels; None: that of evaluation


def sides(image_size: int, share: float, epochs: int) -> tuple[int, ...]:
    """Side in pixels of the training images of each epoch: progressive resizing.

    It grows linearly, as in EfficientNetV2 (Tan and Le, arXiv 2104.00298, algorithm 1), from a
    share of the image size to the whole of it, in steps of an eighth of the latter. At least the
    last fifth of the epochs is of the whole size, and the last one.
    """
    growing = min(_GROWING * epochs, epochs - 1)
    found = []
    for epoch in range(epochs):
        done = min(1.0, epoch / growing) if growing else 1.0
        eighths = max(1, math.floor(_STEPS * (share + (1 - share) * done) + 0.5))
        found.append(max(1, round(image_size * eighths / _STEPS)))
    return tuple(found)


class EpochSampler(Sampler[Batch]):
    """Shuffled training batches.

    Order and random numbers depend on (seed, epoch), never on earlier epochs. All ranks cut
    the same global batches, so that the union of their parts is what one rank alone would
    see. Images that do not fill the last batch are left out; a set that is smaller than one
    batch is one batch. Where a batch comes in parts, one after the other, they hold the images
    that it would hold whole. `sides` says how large the images of each epoch are; none leaves
    them as evaluation has them. Raises UserError if ranks cannot get equal parts.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
        sides: Sequence[int] = (),
    ):
        if batch_size < 1 or batch_size % world:
            raise UserError(f"train.batch_size: {batch_size} cannot be shared by {world} workers")
        if batch_size % (world * parts):
            share = f"the {batch_size // world} images of each of {world} workers"
            raise UserError(f"train.accumulate={parts}: does not divide {share}")
        if count < world * parts:
            among = f"{world} workers" if parts == 1 else f"{world} x {parts} parts of a batch"
            raise UserError(f"data.train_images: {count} are too few for {among}")
        self.share = min(batch_size, count) // (world * parts)
        self.count, self.seed, self.epoch = count, seed, 0
        self.rank, self.world, self.parts, self.sides = rank, world, parts, sides

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, of batches drawn from here on; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // (self.share * self.world * self.parts) * self.parts

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.count)
        draws = rng.integers(0, 2**62, size=self.count)
        side = self.sides[self.epoch] if self.sides else None
        for step in range(len(self)):
            start = (step * self.world + self.rank) * self.share
            part = slice(start, start + self.share)
            yield Batch(order[part], draws[part], side)


class EvaluationSampler(Sampler[Batch]):
    """Every image once, in order: of all positions, those of `rank::world`, unpadded.

    A rank for which there is no image has one batch of none, since others wait for it.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, world: int = 1):
        self.positions = np.arange(count, dtype=np.int64)[rank::world]
        self.batch_size, self.least = batch_size, min(count, 1)

    def __len__(self) -> int:
        return max(self.least, -(-len(self.positions) // self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        for step in range(len(self)):
            start = step * self.batch_size
            yield Batch(self.positions[start : start + self.batch_size], None)
