"""Where the files of each data set lie under a root. Standard library alone."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

__all__ = [
    "CIFAR10_BATCHES",
    "FASHION_FILES",
    "cifar10_contents",
    "idx_content",
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


def idx_content(folder: Path, name: str) -> bytes:
    """What an idx file holds, unpacked. Raises OSError, EOFError or zlib.error."""
    path = idx_file(folder, name)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {name}")
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def cifar10_contents(place: Path) -> dict[str, bytes]:
    """Name to content of the batches or of the npz at a place that `locate_cifar10` found.

    In memory: the root may be read-only. Raises OSError, EOFError or tarfile.TarError.
    """
    if place.is_dir():
        return {name: (place / name).read_bytes() for name in CIFAR10_BATCHES}
    if place.suffix == ".npz":
        return {place.name: place.read_bytes()}
    contents = {}
    with tarfile.open(place) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file and Path(member.name).name in CIFAR10_BATCHES:
                contents[Path(member.name).name] = file.read()
    return contents
