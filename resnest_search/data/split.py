"""Cut a data set into training, validation and test images, the same on every machine.

Letters: N images of a source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnest_search.data.counts import Available, Counts, plan_counts
from resnest_search.data.sources import Sources
from resnest_search.schema import DataConfig

__all__ = ["Indices", "Split", "split_sources", "stratified_pick"]

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Sorted positions of each part in the source that it comes from.

    `counts` says whether validation and test come from the training source or from their own.
    """

    train: Indices
    validation: Indices
    test: Indices
    counts: Counts


def split_sources(config: DataConfig, sources: Sources) -> Split:
    """The split that `split_seed` and the counts of the configuration ask for.

    Test is cut first and training last, each with a stream of its own: changing the number of
    training images leaves validation and test as they are. Raises UserError where more is
    asked for than there is.
    """
    counts = plan_counts(config, _available(sources))
    pool = np.arange(len(sources.train.labels), dtype=np.int64)
    labels = sources.train.labels

    def pick(count: int, candidates: Indices, own: Indices | None, stream: int) -> Indices:
        rng = np.random.default_rng([config.split_seed, stream])
        chosen = labels[candidates] if own is None else own
        return candidates[stratified_pick(chosen, count, rng)]

    if sources.test is not None:
        own = sources.test.labels
        test = pick(counts.test, np.arange(len(own), dtype=np.int64), own, 0)
    else:
        test = pick(counts.test, pool, None, 0)
        pool = np.setdiff1d(pool, test)
    if sources.validation is not None and not counts.validation_held_out:
        validation = np.arange(counts.validation, dtype=np.int64)
    else:
        validation = pick(counts.validation, pool, None, 1)
        pool = np.setdiff1d(pool, validation)
    return Split(pick(counts.train, pool, None, 2), validation, test, counts)


def stratified_pick(labels: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Sorted positions of `count` of the N labels.

    Every class gets its share of `count` rounded up or down; within a class the choice is
    random. `count` is at most N.
    """
    if count == 0:
        return np.empty(0, dtype=np.int64)
    classes, sizes = np.unique(labels, return_counts=True)
    picked = [
        rng.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, _quotas(sizes, count), strict=True)
    ]
    return np.sort(np.concatenate(picked)).astype(np.int64)


def _quotas(sizes: Indices, count: int) -> Indices:
    """Shares of `count` in proportion to `sizes`, by largest remainder; in whole numbers
    throughout, so that no machine rounds differently."""
    total = int(sizes.sum())
    quotas, remainders = np.divmod(sizes * count, total)
    left = count - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:left]] += 1
    return quotas


def _available(sources: Sources) -> Available:
    own = (
        None if part is None else len(part.labels) for part in (sources.validation, sources.test)
    )
    return Available(len(sources.train.labels), *own)
