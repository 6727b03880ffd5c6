"""Which images make up a batch: a function of the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from resnest_search.errors import UserError

__all__ = ["Batch", "EpochSampler", "EvaluationSampler"]


class Batch(NamedTuple):
    """The images of one batch on one rank, and a random number for each."""

    positions: NDArray[np.int64]
    draws: NDArray[np.int64] | None  # None in evaluation


class EpochSampler(Sampler[Batch]):
    """Shuffled training batches.

    Order and random numbers depend on (seed, epoch), never on earlier epochs. All ranks cut
    the same global batches, so that the union of their parts is what one rank alone would
    see. Images that do not fill the last batch are left out; a set that is smaller than one
    batch is one batch. Raises UserError if ranks cannot get equal parts.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        if batch_size < 1 or batch_size % world:
            raise UserError(f"train.batch_size: {batch_size} cannot be shared by {world} workers")
        if count < world:
            raise UserError(f"data.train_images: {count} are too few for {world} workers")
        self.share = min(batch_size, count) // world
        self.count, self.seed, self.epoch = count, seed, 0
        self.rank, self.world = rank, world

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, of batches drawn from here on; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // (self.share * self.world)

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.count)
        draws = rng.integers(0, 2**62, size=self.count)
        for step in range(len(self)):
            start = (step * self.world + self.rank) * self.share
            part = slice(start, start + self.share)
            yield Batch(order[part], draws[part])


class EvaluationSampler(Sampler[Batch]):
    """Every image once, in order: of all positions, those of `rank::world`, unpadded."""

    def __init__(self, count: int, batch_size: int, rank: int = 0, world: int = 1):
        self.positions = np.arange(count, dtype=np.int64)[rank::world]
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.positions) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.positions), self.batch_size):
            yield Batch(self.positions[start : start + self.batch_size], None)
