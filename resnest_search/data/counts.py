"""How many images each part of a split gets. Standard library alone."""

from __future__ import annotations

from dataclasses import dataclass

from resnest_search.configuration.schema import DataConfig
from resnest_search.errors import UserError

__all__ = ["Available", "Counts", "plan_counts"]

DEFAULT_VALIDATION_SHARE = 0.1  # of the training images, where nothing else says


@dataclass(frozen=True)
class Available:
    """Images that a data set brings; None where it has no such part of its own.

    `classes` counts those of train: each keeps an image to train on, whatever is held out.
    """

    train: int
    validation: int | None = None
    test: int | None = None
    classes: int = 1


@dataclass(frozen=True)
class Counts:
    """Images of each part of a split, and whether a part is held out of training."""

    train: int
    validation: int
    test: int
    validation_held_out: bool
    test_held_out: bool


def plan_counts(config: DataConfig, available: Available) -> Counts:
    """Sizes of the three parts.

    Test images come from the data set's own test part where it has one, else out of training.
    Validation images are held out of training, unless `val_images` is null and the data set
    has its own. Every class keeps an image to train on. Raises UserError where more is asked
    for than there is.
    """
    test_held_out = available.test is None
    pool, kept = available.train, available.classes
    most = pool - kept - 1 if available.test is None else available.test
    test = _chosen(config, "test_images", 0, most)
    if test is None:
        test = available.test or 0
    if test_held_out:
        pool -= test

    validation_held_out = config.val_images is not None or available.validation is None
    validation = _chosen(config, "val_images", 1, pool - kept)
    if validation is None:
        default = min(max(1, round(DEFAULT_VALIDATION_SHARE * pool)), pool - kept)
        validation = default if available.validation is None else available.validation
    if validation_held_out:
        pool -= validation
    if pool < kept or validation < 1:
        raise UserError(
            f"data.root: {config.name} has {available.train} training images of {kept} classes "
            f"and {available.validation or 0} of validation, too few to split: each class "
            "needs one to train on, and validation needs one more"
        )
    train = _chosen(config, "train_images", kept, pool)
    return Counts(
        train=pool if train is None else train,
        validation=validation,
        test=test,
        validation_held_out=validation_held_out,
        test_held_out=test_held_out,
    )


def _chosen(config: DataConfig, key: str, least: int, limit: int) -> int | None:
    """The asked-for count, None where none was asked for."""
    asked: int | None = getattr(config, key)
    if asked is not None and not least <= asked <= limit:
        raise UserError(
            f"data.{key}: {asked} is not possible; "
            f"{config.name} leaves {least} to {max(limit, least)} images for it"
        )
    return asked
