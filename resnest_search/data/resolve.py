"""Check a data configuration before anything starts. Standard library alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from resnest_search.data.counts import Available, plan_counts
from resnest_search.data.layouts import (
    class_folders,
    image_files,
    locate_cifar10,
    locate_fashion_mnist,
)
from resnest_search.errors import UserError
from resnest_search.schema import DataConfig

__all__ = ["AUGMENTS", "DATA_SETS", "DEFAULT_ROOT", "resolve"]

DATA_SETS = ("digits", "fashion_mnist", "cifar10", "image_folder", "imagenet")
AUGMENTS = ("none", "shift", "crop_flip", "resized_crop", "autoaugment")
DEFAULT_ROOT = "~/.cache/resnest-search"

_KNOWN = {  # images that the complete data set brings
    "digits": Available(train=1797),
    "fashion_mnist": Available(train=60_000, test=10_000),
    "cifar10": Available(train=50_000, test=10_000),
}
_LOCATE = {"cifar10": locate_cifar10, "fashion_mnist": locate_fashion_mnist}
_NEEDS = {
    "cifar10": "cifar-10-batches-py/, cifar-10-python.tar.gz or cifar10_full_jpg.npz",
    "fashion_mnist": "FashionMNIST/raw/ or the four idx files, gzipped or not",
    "image_folder": "train/CLASS/*.jpg, optionally val/ and test/ alike",
    "imagenet": "train/CLASS/*.JPEG and val/CLASS/*.JPEG",
}


def resolve(config: DataConfig) -> DataConfig:
    """The configuration with its root made absolute and its classes filled in.

    Raises UserError with one line that names the key, the bad value and the valid ones.
    Reads folders, never an image. With `download` set, a data set that is still to be
    fetched passes.
    """
    _check_values(config)
    config = replace(config, root=_absolute_root(config))
    if config.name in ("image_folder", "imagenet"):
        return _resolve_folders(config)
    if config.name in _LOCATE:
        _check_files(config)
    plan_counts(config, _KNOWN[config.name])
    return _with_classes(config, 10)


def _check_values(config: DataConfig) -> None:
    _check_choice("name", config.name, DATA_SETS)
    _check_choice("augment", config.augment, AUGMENTS)
    if config.channels not in (1, 3):
        raise UserError(f"data.channels: {config.channels} is neither 1 (grey) nor 3 (RGB)")
    for key, least in (("image_size", 1), ("workers", 0), ("split_seed", 0)):
        if getattr(config, key) < least:
            raise UserError(f"data.{key}: {getattr(config, key)} is less than {least}")
    for key in ("mean", "std"):
        if len(getattr(config, key)) not in (0, 1, config.channels):
            raise UserError(
                f"data.{key}: {list(getattr(config, key))} has not one value per channel "
                f"(data.channels={config.channels})"
            )
    if any(not value > 0 for value in config.std):
        raise UserError(f"data.std: {list(config.std)} holds a value that is not above 0")
    if config.download and config.name not in _LOCATE:
        raise UserError(
            f"data.download: true, but {config.name} cannot be downloaded; "
            f"these can: {', '.join(sorted(_LOCATE))}"
        )


def _check_choice(key: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UserError(f"data.{key}: {value!r} is none of {', '.join(valid)}")


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


def _resolve_folders(config: DataConfig) -> DataConfig:
    root = Path(config.root or "")
    if not root.is_dir():
        raise _folder_error(config, "is no folder")
    if not (root / "train").is_dir() or not class_folders(root / "train"):
        raise _folder_error(config, "has no class folder under train/")
    if config.name == "imagenet" and not (root / "val").is_dir():
        raise _folder_error(config, "has no val/")
    class_names = class_folders(root / "train")
    for part in ("val", "test"):
        _check_part(config, root / part, class_names)
    plan_counts(config, _folder_counts(config.name, root, class_names))
    return _with_classes(config, len(class_names))


def _check_part(config: DataConfig, folder: Path, class_names: list[str]) -> None:
    """A val/ or test/ that is there has classes of train/, and images."""
    if not folder.is_dir() or (config.name == "imagenet" and folder.name == "test"):
        return
    names = class_folders(folder)
    if not names:
        raise _folder_error(config, f"has no class folder under {folder.name}/")
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        raise _folder_error(config, f"has {folder.name}/{unknown[0]} but no train/{unknown[0]}")


def _folder_counts(name: str, root: Path, class_names: list[str]) -> Available:
    def count(part: str) -> int | None:
        folder = root / part
        return len(image_files(folder, class_names)) if folder.is_dir() else None

    train = count("train") or 0
    if name == "imagenet":  # its labelled test images are not public: val/ stands in
        return Available(train=train, test=count("val"))
    return Available(train=train, validation=count("val"), test=count("test"))


def _folder_error(config: DataConfig, fault: str) -> UserError:
    return UserError(
        f"data.root: '{config.root}' {fault}; data={config.name} needs {_NEEDS[config.name]}"
    )


def _with_classes(config: DataConfig, classes: int) -> DataConfig:
    if config.classes not in (None, classes):
        raise UserError(f"data.classes: {config.classes}, but {config.name} has {classes} classes")
    return replace(config, classes=classes)
