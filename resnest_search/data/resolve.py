"""Check a data configuration before anything starts. Standard library alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from resnest_search.configuration.checks import check_keys
from resnest_search.configuration.schema import DataConfig
from resnest_search.data.counts import Available, plan_counts
from resnest_search.data.layouts import locate_cifar10, locate_fashion_mnist
from resnest_search.data.scan import IMAGE_SUFFIXES, Listing, scan
from resnest_search.errors import UserError

__all__ = [
    "DEFAULT_ROOT",
    "FOLDERS",
    "check_listing",
    "list_all",
    "list_images",
    "resolve",
    "train_count",
]

DEFAULT_ROOT = "~/.cache/resnest-search"

_KNOWN = {  # images that the complete data set brings
    "digits": Available(train=1797, classes=10),
    "fashion_mnist": Available(train=60_000, test=10_000, classes=10),
    "cifar10": Available(train=50_000, test=10_000, classes=10),
}
FOLDERS = {  # the parts of each that are used: the labels of ImageNet's test images are not public
    "image_folder": ("train", "val", "test"),
    "imagenet": ("train", "val"),
}
_LOCATE = {"cifar10": locate_cifar10, "fashion_mnist": locate_fashion_mnist}
_NEEDS = {
    "cifar10": "cifar-10-batches-py/, cifar-10-python.tar.gz or cifar10_full_jpg.npz",
    "fashion_mnist": "FashionMNIST/raw/ or the four idx files, gzipped or not",
    "image_folder": "train/CLASS/*.jpg, optionally val/ and test/ alike",
    "imagenet": "train/CLASS/*.JPEG and val/CLASS/*.JPEG",
}


def resolve(config: DataConfig, listing: Listing | None = None) -> DataConfig:
    """The configuration with its root made absolute and its classes filled in.

    Raises UserError with one line that names the key, the bad value and the valid ones, also
    where nothing can be learned. Reads folders, never an image; not even those where a listing
    by `list_images` is given. With `download` set, a data set that is still to be fetched passes.
    """
    _check_values(config)
    config = replace(config, root=_absolute_root(config))
    if config.name in FOLDERS:
        listing = listing or list_images(config)
        plan_counts(config, _available(config.name, listing))
        return _with_classes(config, len(listing.classes))
    if config.name in _LOCATE:
        _check_files(config)
    plan_counts(config, _KNOWN[config.name])
    return _with_classes(config, 10)


def train_count(config: DataConfig) -> int:
    """Images that a resolved configuration trains on. Raises UserError where too few are left."""
    folders = config.name in FOLDERS
    available = _available(config.name, list_images(config)) if folders else _KNOWN[config.name]
    return plan_counts(config, available).train


def list_images(config: DataConfig) -> Listing:
    """What of image_folder or imagenet is used, `config.skip` left out, in one pass.

    Raises UserError where folders are missing or strange, and where a class has no image.
    """
    return check_listing(config, list_all(config).without(config.skip))


def list_all(config: DataConfig) -> Listing:
    """Everything in the folders of image_folder or imagenet. Raises UserError without them."""
    root = _absolute_root(config) or ""
    if not os.path.isdir(root):
        raise _folder_error(config, root, "is no folder")
    return scan(root, FOLDERS[config.name])


def check_listing(config: DataConfig, listing: Listing) -> Listing:
    """A listing from which something can be learned. Raises UserError of any other."""
    root = listing.root
    if not listing.classes:
        raise _folder_error(config, root, "has no class folder under train/")
    if config.name == "imagenet" and "val" not in listing.parts:
        raise _folder_error(config, root, "has no val/")
    if len(listing.classes) == 1:
        only = listing.classes[0]
        raise _folder_error(config, root, f"has one class alone, {only!r}, and nothing to learn")
    for part, found in listing.parts.items():
        if not found.others:
            raise _folder_error(config, root, f"has no class folder under {part}/")
        _check_filled(config, listing, part)
    return listing


def _check_values(config: DataConfig) -> None:
    check_keys(config, "data.")
    if bool(config.mean) != bool(config.std):
        alone, other = ("mean", "std") if config.mean else ("std", "mean")
        raise UserError(
            f"data.{other}: [] beside data.{alone}={list(getattr(config, alone))}; "
            "valid: both or neither"
        )
    for key in ("mean", "std"):
        if len(getattr(config, key)) not in (0, 1, config.channels):
            raise UserError(
                f"data.{key}: {list(getattr(config, key))} has not one value per channel "
                f"(data.channels={config.channels})"
            )
    if any(not value > 0 for value in config.std):
        raise UserError(f"data.std: {list(config.std)} holds a value that is not above 0")
    background = list(config.background)
    if len(background) not in (1, config.channels) or not all(0 <= v <= 255 for v in background):
        raise UserError(
            f"data.background: {background}; valid: one grey from 0 to 255, or one value per "
            f"channel (data.channels={config.channels})"
        )
    if config.shrink is not None and config.shrink < config.image_size:
        raise UserError(
            f"data.shrink: {config.shrink} is less than data.image_size={config.image_size}; "
            "valid: that or more, or null"
        )
    if config.augment == "autoaugment" and config.policy not in ("none", "autoaugment"):
        raise UserError(
            f"data.policy={config.policy}: data.augment=autoaugment has its own; valid: "
            "autoaugment, or data.augment=resized_crop"
        )
    if config.download and config.name not in _LOCATE:
        raise UserError(
            f"data.download: true, but {config.name} cannot be downloaded; "
            f"these can: {', '.join(sorted(_LOCATE))}"
        )


def _absolute_root(config: DataConfig) -> str | None:
    """Workers may start in another folder, so a relative root would not reach them."""
    if config.name == "digits":
        return None
    if config.root is None and config.name not in _LOCATE:
        raise UserError(
            f"data.root: null; data={config.name} needs a folder with {_NEEDS[config.name]}"
        )
    return os.path.abspath(os.path.expanduser(config.root or DEFAULT_ROOT))


def _check_files(config: DataConfig) -> None:
    root = Path(config.root or DEFAULT_ROOT)
    if config.download or (root.is_dir() and _LOCATE[config.name](root)):
        return
    fault = f"has no {config.name}" if root.is_dir() else "is no folder"
    raise UserError(
        f"data.root: '{root}' {fault}; data={config.name} needs a folder with "
        f"{_NEEDS[config.name]}, or data.download=true"
    )


def _check_filled(config: DataConfig, listing: Listing, part: str) -> None:
    """Every class folder that is there has an image: an empty one would be a class unlearned."""
    found = listing.parts[part]
    filled = {listing.classes[label] for label in set(found.labels)}
    empty = [name for name in found.others if name not in filled]
    if not empty:
        return
    suffixes = found.others[empty[0]].most_common(3)
    held = ", ".join(f"{count} of {suffix}" for suffix, count in suffixes) or "no file"
    more = f" (and {len(empty) - 1} more folders)" if len(empty) > 1 else ""
    raise UserError(
        f"data.root: {listing.root!r}: no image in {part}/{empty[0]}{more}, which holds {held}; "
        f"valid: {', '.join(IMAGE_SUFFIXES)}"
    )


def _available(name: str, listing: Listing) -> Available:
    sizes = {part: len(found.paths) for part, found in listing.parts.items()}
    train, classes = sizes["train"], len(listing.classes)
    if name == "imagenet":  # its labelled test images are not public: val/ stands in
        return Available(train, test=sizes["val"], classes=classes)
    return Available(train, sizes.get("val"), sizes.get("test"), classes)


def _folder_error(config: DataConfig, root: str, fault: str) -> UserError:
    return UserError(f"data.root: {root!r} {fault}; data={config.name} needs {_NEEDS[config.name]}")


def _with_classes(config: DataConfig, classes: int) -> DataConfig:
    if config.classes not in (None, classes):
        raise UserError(f"data.classes: {config.classes}, but {config.name} has {classes} classes")
    return replace(config, classes=classes)
