"""Files that several processes of a machine use: where they lie, locks, and who clears memory.

Standard library alone. A process that uses a file in shared memory holds a lock on it, which ends
with the process however that ends. Whoever writes there next, and each sweep at its end, removes
what nobody holds.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from resnest_search.files import cache_folder

__all__ = ["folder_of", "hold", "locked", "release"]

SHARED = Path("/dev/shm")
_LOCK = "lock"
_PATIENCE_S, _POLL_S = 900.0, 0.2  # for a process that writes the same

_held: dict[str, BinaryIO] = {}  # files in shared memory that this process uses, each locked


def release() -> None:
    """Give back what this process keeps in memory, and what a killed one left there."""
    for path, file in list(_held.items()):
        file.close()
        del _held[path]
    if not _in_memory().is_dir():
        return
    with (
        contextlib.suppress(OSError, ValueError),  # somebody writes, who did it or whose end will
        _locked(_in_memory() / _LOCK, 0),
    ):
        _clear()


def folder_of(where: str) -> Path:
    """Made where it is missing. Raises OSError, also where it is somebody else's."""
    folder = cache_folder() / "pixels" if where == "disk" else _in_memory()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.lstat(folder)
    if status.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def _in_memory() -> Path:
    return SHARED / f"resnest-{os.getuid()}"


@contextlib.contextmanager
def locked(path: Path, where: str) -> Iterator[None]:
    """Write a file alone of all processes, in memory after what nobody uses is removed.

    Raises:
        OSError: no lock can be made.
        ValueError: another process holds it for too long.
    """
    if where == "disk":
        with _locked(path.with_suffix(".lock"), _PATIENCE_S):
            yield
        return
    with _locked(path.parent / _LOCK, _PATIENCE_S):  # one for all: no other clears meanwhile
        _clear(path)
        yield


@contextlib.contextmanager
def _locked(path: Path, patience_s: float) -> Iterator[None]:
    """Alone of all processes. Raises ValueError where another holds it for longer."""
    with path.open("wb") as file:
        until = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ValueError("another process has been writing for long") from None
                time.sleep(_POLL_S)
        yield


def hold(path: Path) -> None:
    """Mark a file as used until this process ends, however it does."""
    if str(path) in _held:
        if os.path.samestat(os.fstat(_held[str(path)].fileno()), path.stat()):
            return
        _held.pop(str(path)).close()
    if not _held:
        atexit.register(release)
    _held[str(path)] = file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)


def _clear(wanted: Path | None = None) -> None:
    """Remove from memory what no process uses, such as what one left that was killed."""
    for path in _in_memory().iterdir():
        if path.name == _LOCK or path == wanted:
            continue
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _forget() -> None:
    """In a process that was forked: the lock is its parent's alone."""
    for file in _held.values():
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_forget)
