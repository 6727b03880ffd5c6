"""CIFAR-10: 50,000 + 10,000 RGB images of 32 x 32 pixels, 10 classes.

Read from the six published batches (a folder or the tar.gz, which is not unpacked), or from
an npz of JPEG streams: `header` shared by all images, `data` the concatenated rest, `lengths`
of each, `labels`, `n_train`; image i is header + its part of data + FF D9.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.layouts import CIFAR10_BATCHES, cifar10_contents, locate_cifar10
from resnest_search.data.sources import ArraySource, Sources
from resnest_search.errors import UserError

__all__ = ["load_cifar10"]

CLASS_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
# The published batches are pickles. These rebuild an array and nothing else; a byte string
# that Python 3 wrote for Python 2 is latin1 text to be encoded.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
}


def load_cifar10(config: DataConfig) -> Sources:
    """Training and test source; the root has been located before. Raises UserError."""
    path = locate_cifar10(Path(config.root or ""))
    if path is None:
        raise UserError(f"data.root: '{config.root}' has no {CIFAR10_BATCHES[0]}")
    read = _read_jpeg_npz if path.suffix == ".npz" else _read_batches
    faults = (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
        zlib.error,
    )
    try:
        return read(path)
    except (*faults, tarfile.TarError) as error:
        raise UserError(f"data.root: '{path}' cannot be read as CIFAR-10 ({error})") from error


def _read_batches(path: Path) -> Sources:
    contents = cifar10_contents(path)
    batches = [_unpickle(contents[name]) for name in CIFAR10_BATCHES]
    return Sources(CLASS_NAMES, train=_source(batches[:5]), test=_source(batches[5:]))


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def _unpickle(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    images = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)  # (n, 3072) ->
    labels = np.asarray(batch["labels"], dtype=np.int64)
    _check_labels(labels, len(images))
    return images, labels


def _source(batches: list[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> ArraySource:
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    return ArraySource(labels, read=lambda indices: torch.from_numpy(images[indices]))


def _read_jpeg_npz(path: Path) -> Sources:
    with np.load(path, allow_pickle=False) as archive:
        data, header = archive["data"].tobytes(), archive["header"].tobytes()
        ends = np.cumsum(archive["lengths"], dtype=np.int64)
        labels = archive["labels"].astype(np.int64)
        n_train = int(archive["n_train"])
    _check_labels(labels, len(ends))
    starts = np.concatenate([[0], ends[:-1]])
    streams = [header + data[a:b] + b"\xff\xd9" for a, b in zip(starts, ends, strict=True)]
    return Sources(
        CLASS_NAMES,
        train=ArraySource(labels[:n_train], read=_jpeg_reader(streams[:n_train])),
        test=ArraySource(labels[n_train:], read=_jpeg_reader(streams[n_train:])),
    )


def _jpeg_reader(streams: list[bytes]) -> Callable[[NDArray[np.int64]], Tensor]:
    """Decodes only what is chosen: a small subset builds in a fraction of the time."""

    def read(indices: NDArray[np.int64]) -> Tensor:
        images = torch.empty((len(indices), 3, 32, 32), dtype=torch.uint8)
        for image, index in zip(images, indices, strict=True):
            stream = torch.frombuffer(bytearray(streams[index]), dtype=torch.uint8)
            image.copy_(decode_jpeg(stream, ImageReadMode.RGB))
        return images

    return read


def _check_labels(labels: NDArray[np.int64], images: int) -> None:
    if labels.shape != (images,) or labels.min(initial=0) < 0 or labels.max(initial=0) > 9:
        raise ValueError(f"labels of shape {labels.shape} do not fit {images} images")
