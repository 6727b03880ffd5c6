"""Small data sets in the real formats, written into tmp_path."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def cifar_folder(tmp_path: Path) -> Path:
    """A root with cifar-10-batches-py/: six batches of 20 images, two of each class."""
    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate(BATCHES):
        batch = {"data": noise(20, 3072, seed=seed), "labels": [k % 10 for k in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder.parent


@pytest.fixture
def cifar_tar(cifar_folder: Path, tmp_path: Path) -> Path:
    """A root with the same as cifar-10-python.tar.gz."""
    root = tmp_path / "tarred"
    root.mkdir()
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(cifar_folder / "cifar-10-batches-py", "cifar-10-batches-py")
    return root


@pytest.fixture
def cifar_npz(tmp_path: Path) -> Path:
    """A root with cifar10_full_jpg.npz: 100 + 20 flat-coloured JPEG streams."""
    root = tmp_path / "npz"
    root.mkdir()
    streams = [_jpeg(2 * index) for index in range(120)]
    header = _common_prefix(streams)
    rests = [stream[len(header) : -2] for stream in streams]
    np.savez(
        root / "cifar10_full_jpg.npz",
        header=np.frombuffer(header, np.uint8),
        data=np.frombuffer(b"".join(rests), np.uint8),
        lengths=np.array([len(rest) for rest in rests]),
        labels=np.arange(120, dtype=np.uint8) % 10,
        n_train=100,
    )
    return root


def _jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), value, np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _common_prefix(streams: list[bytes]) -> bytes:
    end = streams[0].index(b"\xff\xda")  # start of scan: all before it is the same
    assert all(stream.startswith(streams[0][:end]) for stream in streams)
    return streams[0][:end]


@pytest.fixture
def write_fashion(tmp_path: Path) -> Callable[..., Path]:
    """Writes 60 + 20 images as idx files into `tmp_path / under`, gzipped or plain."""

    def write(under: str, gzipped: bool) -> Path:
        folder = tmp_path / under
        folder.mkdir(parents=True)
        for part, count in (("train", 60), ("t10k", 20)):
            labels = (np.arange(count) % 10).astype(np.uint8)
            for kind, array in (
                ("images-idx3", noise(count, 28, 28)),
                ("labels-idx1", labels),
            ):
                content = bytes([0, 0, 8, array.ndim])
                content += struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()
                name = f"{part}-{kind}-ubyte"
                if gzipped:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(content))
                else:
                    (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture
def write_folders(tmp_path: Path) -> Callable[..., Path]:
    """Writes e.g. train=10, val=4 images for each of 3 classes, PNG and JPEG, of odd shapes."""

    def write(**parts: int) -> Path:
        root = tmp_path / "images"
        for part, count in parts.items():
            for label, name in enumerate(("cat", "dog", "owl")):
                folder = root / part / name
                folder.mkdir(parents=True)
                for index in range(count):
                    image = Image.fromarray(noise(20 + index, 24, 3, seed=10 * label + index))
                    image.save(folder / f"{index}.{'png' if index % 2 else 'JPEG'}")
        return root

    return write
