"""What the sizes of classes mean for training and validation, said before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.split import Split
from resnest_search.errors import UserError
from resnest_search.words import counted

__all__ = ["class_lines", "listed"]

_NAMED = 5  # classes of a line
_MANY_TIMES = 10  # from which on the largest class decides the accuracy
_SINGLE = 1  # images that show nothing of how a class varies


def class_lines(
    config: DataConfig, names: Sequence[str], sources: Any, split: Split, balanced: bool = False
) -> list[str]:
    """A line for classes that validation does not see, that have one image to train on, and for a
    largest class that is many times the smallest.

    Args:
        config: that names the data set.
        names: of the classes.
        sources: with the labels of each part.
        split: of these.
        balanced: whether what is sought counts all classes alike, whatever their sizes.

    Raises:
        UserError: validation sees one class alone, so that it tells nothing apart.
    """
    held_out = split.counts.validation_held_out
    source = sources.train if held_out else sources.validation
    whole = np.bincount(sources.train.labels, minlength=len(names))
    train = np.bincount(sources.train.labels[split.train], minlength=len(names))
    seen = np.bincount(source.labels[split.validation], minlength=len(names))
    if np.count_nonzero(seen) == 1 and not held_out:
        only = int(seen.argmax())
        raise UserError(
            f"data.root: {config.root!r}: the validation images are of one class alone, "
            f"{names[only]!r}, and tell nothing apart; valid: images of more classes in val/, or "
            "data.val_images to hold some out of train/"
        )
    lines = []
    unseen, single = (np.flatnonzero(own).tolist() for own in (seen == 0, train == _SINGLE))
    sizes = whole[unseen].tolist()
    if len(unseen) and held_out:
        lines.append(
            f"data.val_images: {_of(unseen, names)} without a validation image, too few to split "
            f"for {len(split.validation)} held out: {listed([names[k] for k in unseen], sizes)}"
        )
    if len(single):
        lines.append(
            f"data.root: {_of(single, names)} with one image to train on: "
            f"{listed([names[k] for k in single])}"
        )
    least, most = int(train.argmin()), int(train.argmax())
    if train[most] >= _MANY_TIMES * train[least] and not balanced:
        lines.append(
            f"data.root: {names[most]} has {counted(int(train[most]), 'image')} to train on, "
            f"{names[least]} {train[least]}: accuracy is that of the large classes, and "
            "search.objectives=[balanced_accuracy,…] counts all alike"
        )
    return lines


def listed(names: Sequence[str], sizes: Sequence[int] = ()) -> str:
    """The first of these classes, each with its number of images where these are given."""
    shown = [f"{name} ({size})" for name, size in zip(names, sizes, strict=False)] or names
    return ", ".join([*shown[:_NAMED], *["…"] * (len(names) > _NAMED)])


def _of(found: Sized, names: Sized) -> str:
    return f"{len(found)} of {len(names)} classes"
