"""Where the files of each data set lie under a root. Standard library alone."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "CIFAR10_BATCHES",
    "FASHION_FILES",
    "idx_file",
    "locate_cifar10",
    "locate_fashion_mnist",
]

CIFAR10_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
FASHION_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def locate_cifar10(root: Path) -> Path | None:
    """The folder of all six batches, the tar.gz of them, or the npz of JPEG streams."""
    for folder in (root / "cifar-10-batches-py", root):
        if all((folder / name).is_file() for name in CIFAR10_BATCHES):
            return folder
    for name in ("cifar-10-python.tar.gz", "cifar10_full_jpg.npz"):
        if (root / name).is_file():
            return root / name
    return None


def locate_fashion_mnist(root: Path) -> Path | None:
    """The folder that holds all four idx files, each plain or gzipped."""
    for folder in (root / "FashionMNIST" / "raw", root / "raw", root):
        if all(idx_file(folder, name) for name in FASHION_FILES):
            return folder
    return None


def idx_file(folder: Path, name: str) -> Path | None:
    """The plain file if it is there, else the gzipped one."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((file for file in candidates if file.is_file()), None)
