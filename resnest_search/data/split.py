"""Cut a data set into training, validation and test images, the same on every machine.

Letters: N images of a source.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.counts import Available, Counts, plan_counts

__all__ = ["Indices", "Labelled", "Split", "digest_of", "split_sources", "stratified_pick"]

Indices = NDArray[np.int64]


class Labelled(Protocol):
    """Parts with the labels of their images, such as `Sources`; None where there is no part."""

    @property
    def train(self) -> Any: ...

    @property
    def validation(self) -> Any: ...

    @property
    def test(self) -> Any: ...


@dataclass(frozen=True)
class Split:
    """Sorted positions of each part in the source that it comes from.

    `counts` says whether validation and test come from the training source or from their own.
    """

    train: Indices
    validation: Indices
    test: Indices
    counts: Counts


def split_sources(config: DataConfig, sources: Labelled) -> Split:
    """The split that `split_seed` and the counts of the configuration ask for.

    Test is cut first and training last, each with a stream of its own: changing the number of
    training images leaves validation and test as they are. What is held out of training leaves
    every class an image there, and training takes one of each. Raises UserError where more is
    asked for than there is.
    """
    counts = plan_counts(config, _available(sources))
    pool = np.arange(len(sources.train.labels), dtype=np.int64)
    labels = sources.train.labels

    def pick(count: int, stream: int, least: int = 0, kept: int = 0) -> Indices:
        rng = np.random.default_rng([config.split_seed, stream])
        return pool[stratified_pick(labels[pool], count, rng, least, kept)]

    if sources.test is not None:
        rng = np.random.default_rng([config.split_seed, 0])
        test = stratified_pick(sources.test.labels, counts.test, rng)
    else:
        test = pick(counts.test, 0, kept=1)
        pool = np.setdiff1d(pool, test)
    if sources.validation is not None and not counts.validation_held_out:
        validation = np.arange(counts.validation, dtype=np.int64)
    else:
        validation = pick(counts.validation, 1, kept=1)
        pool = np.setdiff1d(pool, validation)
    return Split(pick(counts.train, 2, least=1), validation, test, counts)


def digest_of(indices: Indices, labels: Indices, images: str | None = None) -> str:
    """SHA-256 of a part: of the digest of all images, where that is known, positions, labels."""
    content = indices.astype("<i8").tobytes() + labels.astype("<i8").tobytes()
    return hashlib.sha256(bytes.fromhex(images or "") + content).hexdigest()


def stratified_pick(
    labels: Indices, count: int, rng: np.random.Generator, least: int = 0, kept: int = 0
) -> Indices:
    """Sorted positions of `count` of the N labels.

    Every class gets its share of `count` rounded up or down, yet at least `least`, and `kept` of
    its images are left; within a class the choice is random. `count` must allow for both.
    """
    if count == 0:
        return np.empty(0, dtype=np.int64)
    classes, sizes = np.unique(labels, return_counts=True)
    picked = [
        rng.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, _quotas(sizes, count, least, kept), strict=True)
    ]
    return np.sort(np.concatenate(picked)).astype(np.int64)


def _quotas(sizes: Indices, count: int, least: int, kept: int) -> Indices:
    """Shares of `count` in proportion to `sizes`, by largest remainder; in whole numbers
    throughout, so that no machine rounds differently.

    Where a share breaks a bound, what that leaves or lacks goes, one by one, to the classes
    that are furthest from their due. Where none does, the bounds change nothing.
    """
    total = int(sizes.sum())
    quotas, remainders = np.divmod(sizes * count, total)
    left = count - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:left]] += 1
    quotas = np.clip(quotas, least, sizes - kept)
    while left := count - int(quotas.sum()):
        step = 1 if left > 0 else -1
        open_ = np.flatnonzero(quotas < sizes - kept if left > 0 else quotas > least)
        due = step * (sizes * count - quotas * total)[open_]
        quotas[open_[np.argsort(-due, kind="stable")[: abs(left)]]] += step
    return quotas


def _available(sources: Labelled) -> Available:
    validation, test = (
        None if part is None else len(part.labels) for part in (sources.validation, sources.test)
    )
    labels = sources.train.labels
    return Available(len(labels), validation, test, classes=len(np.unique(labels)))
