"""Fetch a data set that is not there yet, once, however many processes ask."""

from __future__ import annotations

import fcntl
from pathlib import Path

from torchvision import datasets

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.layouts import locate_cifar10, locate_fashion_mnist
from resnest_search.errors import UserError

__all__ = ["download"]

_FETCH = {
    "cifar10": (datasets.CIFAR10, locate_cifar10),
    "fashion_mnist": (datasets.FashionMNIST, locate_fashion_mnist),
}


def download(config: DataConfig) -> None:
    """Fetch a resolved configuration's data set into its root unless it is there.

    torchvision checks the files' MD5 sums. Raises UserError if it cannot be done.
    """
    root = Path(config.root or "")
    data_set, locate = _FETCH[config.name]
    if locate(root):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with open(root / f".{config.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
            if not locate(root):
                data_set(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"data.download: {config.name} could not be fetched into '{root}' ({error})"
        ) from error
