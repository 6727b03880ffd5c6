"""Decoded images kept in one file for the next epoch, the next trial and other processes.

The file lies in shared memory or among the user's caches and is mapped, so that all processes of a
machine share it. Its name is a digest of what the images are, of what is kept of them and of the
decoders; inside stands whether any of their files was written since. One process writes it, under
a lock, and puts it in place when it is whole. Each image has a checksum, which a process compares
once. Letters: N images, C channels, H height, W width.

The file: `_HEAD`, then the images, uint8 (H, W, C) each, then (N, 4) of int64: where an image
begins, its height, its width and its checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnest_search.data.sharing import folder_of, hold, locked

__all__ = ["Kept", "keep"]

_VERSION = b"resnest-search 1"
_HEAD = struct.Struct("<16s32sqqqI")  # version, stamp, N, C, where the table begins, its checksum
_LEFT = 0.1  # the share of a file system that is left to others


class Kept:
    """N images in a file. Another process gets the path alone, and opens it itself.

    Args:
        path: of the file.
        stamp: of the images that must be in it.
        again: makes an image anew whose checksum is wrong.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged, of another version, or its images were written since.
    """

    def __init__(self, path: str, stamp: bytes, again: Callable[[int], Tensor]):
        self._path, self._stamp, self._again = path, stamp, again
        # Of a private mapping, since torch wants memory that may be written; nobody writes.
        self._content: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="c")
        if len(self._content) < _HEAD.size:
            raise ValueError("it is cut short")
        head = _HEAD.unpack(self._content[: _HEAD.size].tobytes())
        version, written, count, self._channels, begin, checksum = head
        if version.rstrip(b"\0") != _VERSION or written != stamp:
            raise ValueError("it is of other images")
        table = self._content[begin:].tobytes()
        if len(table) != count * 32 or zlib.crc32(table) != checksum:
            raise ValueError("it is damaged")
        self._table = np.frombuffer(table, np.int64).reshape(count, 4)
        self._checked = np.zeros(count, bool)

    def __reduce__(self) -> tuple[type[Kept], tuple[str, bytes, Callable[[int], Tensor]]]:
        return Kept, (self._path, self._stamp, self._again)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, position: int) -> Tensor:
        """uint8 (C, H, W)."""
        begin, height, width, checksum = (int(value) for value in self._table[position])
        content = self._content[begin : begin + height * width * self._channels]
        if not self._checked[position]:
            if zlib.crc32(content.data) != checksum:
                return self._mended(position)
            self._checked[position] = True
        return torch.from_numpy(content).view(height, width, -1).permute(2, 0, 1)

    def _mended(self, position: int) -> Tensor:
        with contextlib.suppress(OSError):  # made anew by the next that looks for it
            os.unlink(self._path)
        warnings.warn(
            f"data.cache: {self._path!r} is damaged; such images are decoded again", stacklevel=2
        )
        return self._again(position)


def keep(
    where: str, key: Sequence[str], files: Sequence[str], read: Callable[[int], Tensor]
) -> tuple[Kept | None, str]:
    """The images of some files, as they are kept or as they will be from now on.

    Args:
        where: ``ram`` or ``disk``.
        key: what the images are, and whatever decides what `read` makes of them.
        files: paths, N.
        read: place among them to uint8 (C, H, W).

    Returns:
        What is kept, and a line on what went wrong; None where nothing can be kept.

    Raises:
        UserError: of `read`.
    """
    name = hashlib.sha256("\0".join([*key, *files]).encode(errors="surrogateescape")).hexdigest()
    stamp = _stamp(files)
    try:
        path = folder_of(where) / name[:32]
        with locked(path, where):
            found, line = _found(path, stamp, read)
            if found is None:
                _write(path, stamp, len(files), read)
                if _stamp(files) != stamp:
                    path.unlink()
                    raise ValueError("images were written while they were read")
                found = Kept(str(path), stamp, read)
            if where == "ram":
                hold(path)
        return found, line
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return None, f"data.cache: {where} keeps no images ({why}); they are decoded each time"


def _stamp(files: Sequence[str]) -> bytes:
    """32 bytes that change where a file is written, exchanged or removed."""
    state = hashlib.sha256()
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            state.update(b"gone\n")
            continue
        times = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}\n"
        state.update(times.encode())
    return state.digest()


def _found(path: Path, stamp: bytes, read: Callable[[int], Tensor]) -> tuple[Kept | None, str]:
    try:
        return Kept(str(path), stamp, read), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as error:
        return None, f"data.cache: what was kept is made anew: {error}"


def _write(path: Path, stamp: bytes, count: int, read: Callable[[int], Tensor]) -> None:
    """Decode all images and put the file in place. Raises OSError where there is no room."""
    for left in path.parent.glob(f".{path.name}.*"):  # of a process that was killed
        left.unlink()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b"\0" * _HEAD.size)
            table, channels = np.zeros((count, 4), np.int64), 0
            for position, image in enumerate(_decoded(count, read, file)):
                pixels = image.permute(1, 2, 0).contiguous().numpy().data
                channels, height, width = image.shape
                table[position] = file.tell(), height, width, zlib.crc32(pixels)
                file.write(pixels)
            begin, rest = file.tell(), table.tobytes()
            file.write(rest)
            file.seek(0)
            file.write(_HEAD.pack(_VERSION, stamp, count, channels, begin, zlib.crc32(rest)))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _decoded(count: int, read: Callable[[int], Tensor], file: BinaryIO) -> Iterator[Tensor]:
    """All images in order; after each share it is asked whether there is room for the rest."""
    threads = len(os.sched_getaffinity(0)) + 2
    share = 4 * threads
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, count, share):
            done = min(start + share, count)
            yield from pool.map(read, range(start, done))
            file.flush()
            written, state = file.tell(), os.fstatvfs(file.fileno())
            room = state.f_frsize * (state.f_bavail - _LEFT * state.f_blocks)
            if (lacking := written / done * (count - done)) > room:
                wanted = (written + lacking) / 2**20
                raise ValueError(f"they take {wanted:.0f} MiB, more than there is room for")
