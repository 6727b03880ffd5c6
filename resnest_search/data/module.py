"""The images of a run, built from a plain configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.augment import Augment, augment
from resnest_search.data.loading import BatchLoader, ImageBatches, shared_room
from resnest_search.data.preprocessing import Preprocessing
from resnest_search.data.resolve import FOLDERS, check_listing, list_all, resolve
from resnest_search.data.sampling import Batch, EpochSampler, EvaluationSampler
from resnest_search.data.scan import Listing
from resnest_search.data.sources import Source, Sources
from resnest_search.data.split import Indices, digest_of, split_sources
from resnest_search.errors import ImagesChanged, UserError

__all__ = ["ImageData", "build", "prepare"]

_PATIENCE_S, _PATIENCE_S_PER_IMAGE = 300.0, 1.0
_LOADERS, _PREFETCHED = 2, 2  # training and validation, each with batches ahead for each process
_TRIALS = 4  # at once on a machine, that share its memory


def prepare(config: DataConfig) -> DataConfig:
    """Resolve the configuration and download what it asks for. Raises UserError.

    Call it once before many processes call `build`.
    """
    config = resolve(config)
    if config.download:
        from resnest_search.data.download import download  # with torchvision, for seconds

        download(config)
    return config


def build(
    config: DataConfig,
    batch_size: int,
    seed: int,
    images: str | None = None,
    sides: Sequence[int] = (),
    names: str | None = None,
) -> ImageData:
    """The images of one training run.

    `batch_size` counts images over all ranks; `seed` governs order and augmentation, while
    the split hangs on `config.split_seed` alone. `images` is the digest of the whole set, on
    which those of the split then stand; None where nobody has taken it. `sides` are those of
    the training images of each epoch, in pixels; none: all of image_size. `names` is the digest
    of the listing that the sweep began with: of another one the split is another. Raises UserError.
    """
    if batch_size < 1:
        raise UserError(f"train.batch_size: {batch_size} is less than 1")
    config = _both_or_neither(config)
    listing = None
    if config.name in FOLDERS:
        everything = list_all(config)
        if names not in (None, everything.names):
            raise ImagesChanged(
                f"data.root: {everything.root!r}: images have come or gone since the sweep began, "
                "and would be split in another way; valid: those that it began with"
            )
        listing = check_listing(config, everything.without(config.skip))
    config = resolve(config, listing) if listing else prepare(config)
    return ImageData(config, _load(config, listing), batch_size, seed, images, sides)


def _load(config: DataConfig, listing: Listing | None) -> Sources:
    """The images of a resolved configuration; its reader alone is imported.

    Most bring torchvision along, which takes a second, in a loader process too.
    """
    if listing:
        from resnest_search.data.folders import load_folders

        return load_folders(config, listing)
    if config.name == "digits":
        from resnest_search.data.digits import load_digits

        return load_digits(config)
    if config.name == "fashion_mnist":
        from resnest_search.data.fashion_mnist import load_fashion_mnist

        return load_fashion_mnist(config)
    from resnest_search.data.cifar10 import load_cifar10

    return load_cifar10(config)


def _both_or_neither(config: DataConfig) -> DataConfig:
    """What earlier versions recorded may have mean or std alone: with the other as it was taken."""
    if bool(config.mean) == bool(config.std):
        return config
    return replace(config, mean=config.mean or [0.0], std=config.std or [1.0])


class ImageData:
    """Training, validation and test batches: float32 (B, C, S, S), normalised, and int64 (B,).

    Lightning's Trainer must be told use_distributed_sampler=False: `shard` does that work.

    Public values:
        classes, class_names, channels, image_size: as the network needs them.
        train_count, validation_count, test_count: images; 0 where there are none.
        train_indices, validation_indices, test_indices: sorted positions in the source that
            `describe()["sources"]` names. "train" and "test" are the data set's own parts in
            its published order (digits has only "train"), "validation" is val/ of folders;
            folders count in the order of torchvision's ImageFolder.
        device: where loaders normalise their batches, the CPU unless it is set before.
    """

    def __init__(
        self,
        config: DataConfig,
        sources: Sources,
        batch_size: int,
        seed: int,
        images: str | None = None,
        sides: Sequence[int] = (),
    ):
        self._images, self._sides = images, sides
        self.config, self.batch_size, self.seed = config, batch_size, seed
        self.rank, self.world, self.parts = 0, 1, 1
        self.device = torch.device("cpu")
        self.class_names = sources.class_names
        self.classes = len(sources.class_names)
        self.channels, self.image_size = config.channels, config.image_size
        split = split_sources(config, sources)
        self.counts = split.counts
        self.train_indices = split.train
        self.validation_indices = split.validation
        self.test_indices = split.test
        validation = None if split.counts.validation_held_out else sources.validation
        self._validated: Source = validation or sources.train
        self._train_source = sources.train
        recipe = augment(config)
        self._train = self._open(sources.train, split.train, recipe)
        self._validation = self._open(self._validated, split.validation)
        self._test_source = sources.test or sources.train

    @property
    def train_count(self) -> int:
        """Images that training sees, over all ranks."""
        return len(self.train_indices)

    @property
    def batch_taken(self) -> int:
        """Images of a training batch over all ranks: no more than there are to train on."""
        shares = self.world * self.parts
        return min(self.batch_size, self.train_count) // shares * shares

    @property
    def validation_count(self) -> int:
        """Images that accuracy is measured on while searching, over all ranks."""
        return len(self.validation_indices)

    @property
    def test_count(self) -> int:
        """Images for the one measurement at the end, over all ranks; 0 where there are none."""
        return len(self.test_indices)

    def shard(self, rank: int, world: int, parts: int = 1) -> None:
        """From now on, loaders give this rank's part (0 <= rank < world), in so many parts.

        Training batches hold batch_size / (world * parts) images each, of one global order; the
        images of validation and test are dealt out once each, without padding. Raises UserError
        if the batch cannot be shared equally.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not in 0..{world - 1}")
        self._order(rank, world, parts)  # refuse now
        self.rank, self.world, self.parts = rank, world, parts

    def train_dataloader(self) -> BatchLoader:
        """Shuffled, augmented batches of the epoch that its sampler is told."""
        _ = self.uncached
        return self._loader(self._train, self._order(self.rank, self.world, self.parts))

    def _order(self, rank: int, world: int, parts: int) -> EpochSampler:
        return EpochSampler(
            self.train_count, self.batch_size, self.seed, rank, world, parts, self._sides
        )

    @property
    def _share(self) -> int:
        """Images of a batch of this rank, at most."""
        return -(-self.batch_size // (self.world * self.parts))

    def val_dataloader(self) -> BatchLoader:
        """Validation images in order, without augmentation."""
        _ = self.uncached
        return self._evaluation(self._validation, self.validation_count)

    def test_dataloader(self) -> BatchLoader:
        """Test images in order, without augmentation; empty where there are none."""
        return self._evaluation(self._test, self.test_count)

    @cached_property
    def squeezed(self) -> str:
        """Why batches of loader processes come through pipes; empty where they do not."""
        a_value = 4 if self.config.erasing else 1  # bytes
        batch = self._share * self.channels * self.image_size**2 * a_value
        needed = _LOADERS * self.config.workers * _PREFETCHED * batch
        room = shared_room()
        if _TRIALS * needed <= room:
            return ""
        return (
            f"/dev/shm has {room / 2**20:.0f} MiB left, too little for what {self.config.workers} "
            f"loader processes hold in it ({needed / 2**20:.0f} MiB): batches come through pipes, "
            "which is slower"
        )

    @cached_property
    def uncached(self) -> str:
        """What went wrong with `data.cache`, else empty.

        Asking, as the first loader does, keeps the images of training and validation.
        """
        if self.config.cache == "none":
            return ""
        parts = (self._train, self._validation)
        lines = [batches.keep(self.config.cache, self._images) for batches in parts]
        return "; ".join(sorted({line for line in lines if line}))

    @property
    def preprocessing(self) -> Preprocessing:
        """From a file to a validation image."""
        found = self._validated.preprocessing(self.channels, self.image_size)
        return replace(found, mean=tuple(self.config.mean), std=tuple(self.config.std))

    def validation_files(self, count: int, folder: Path) -> list[Path]:
        """The first validation images as files; those that are none are written to the folder."""
        return self._validated.files(self.validation_indices[:count], folder)

    def files_of(self, part: str) -> list[str]:
        """Where the images of train, validation or test lie; none of those that are no files."""
        source, indices = {
            "train": (self._train_source, self.train_indices),
            "validation": (self._validated, self.validation_indices),
            "test": (self._test_source, self.test_indices),
        }[part]
        paths = getattr(source, "paths", None)
        return [paths[index] for index in indices] if paths else []

    def describe(self) -> dict[str, Any]:
        """Split and preprocessing in plain values for a JSON file, without any local path."""
        config, counts = self.config, self.counts
        return {
            "name": config.name,
            "image_size": self.image_size,
            "channels": self.channels,
            "mean": list(config.mean),
            "std": list(config.std),
            "preprocessing": self.preprocessing.facts(),
            "augment": config.augment,
            "policy": config.policy,
            "erasing": config.erasing,
            "classes": self.classes,
            "class_names": list(self.class_names),
            "counts": {"train": counts.train, "validation": counts.validation, "test": counts.test},
            "split_seed": config.split_seed,
            "sources": {
                "train": "train",
                "validation": "train" if counts.validation_held_out else "validation",
                "test": "train" if counts.test_held_out else "test",
            },
            "validation_choice": "held out of training, stratified by class"
            if counts.validation_held_out
            else "the data set's own validation images",
            "sha256": {
                "train": digest_of(self.train_indices, self._train.labels.numpy(), self._images),
                "validation": digest_of(
                    self.validation_indices, self._validation.labels.numpy(), self._images
                ),
                "test": digest_of(
                    self.test_indices, self._test_source.labels[self.test_indices], self._images
                ),
            },
            "images": self._images,
        }

    @cached_property
    def _test(self) -> ImageBatches:
        """Opened when first asked for: of all that a sweep trains, only the winner sees it."""
        return self._open(self._test_source, self.test_indices)

    def _open(
        self, source: Source, indices: Indices, recipe: Augment | None = None
    ) -> ImageBatches:
        images = source.open(indices, self.channels, self.image_size)
        labels: NDArray[np.int64] = source.labels[indices]
        return ImageBatches(images, labels, self.config.mean, self.config.std, recipe or Augment())

    def _evaluation(self, batches: ImageBatches, count: int) -> BatchLoader:
        sampler = EvaluationSampler(count, self._share, self.rank, self.world)
        return self._loader(batches, sampler)

    def _loader(self, batches: ImageBatches, sampler: Sampler[Batch]) -> BatchLoader:
        patience_s = _PATIENCE_S + _PATIENCE_S_PER_IMAGE * self._share
        workers, shared = self.config.workers, not self.squeezed
        return BatchLoader(batches, sampler, workers, shared, patience_s, self.device)
