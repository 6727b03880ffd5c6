"""Writing files that are never seen half written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnest_search.errors import UserError

__all__ = ["cache_folder", "is_full", "write_atomically", "writing"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def cache_folder() -> Path:
    """Where this user's programs keep what they can do without, in a folder of our own."""
    from platformdirs import user_cache_path  # where it is missing, nothing is kept

    return user_cache_path("resnest-search", appauthor=False)


def is_full(error: BaseException) -> bool:
    """Whether an error says that a file system takes nothing more, whoever writes."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def writing(key: str, place: str | Path) -> Iterator[None]:
    """Raises UserError where what a key names cannot be written."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{key}={place}: {why}; valid: one that can be written") from error


def write_atomically(path: str | Path, text: str) -> None:
    """Write UTF-8 text in one step: a reader sees the old file or the new one.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide a report from its readers
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
