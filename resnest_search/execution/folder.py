"""A run's folder, and the lock that keeps a second driver out of it."""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnest_search.errors import UserError

__all__ = ["check_new_folder", "existing_folder", "locked", "new_folder"]

_LOCK = "driver.lock"
_STUDIES = ("study.db", "storage.json")  # itself, or where it lies


def check_new_folder(chosen: str | None) -> None:
    """Raises UserError where the chosen folder is there already and not empty."""
    folder = Path(chosen or "")
    if not chosen or not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"run={folder}: is a file; valid: a new or empty folder")
    if any(folder.iterdir()):
        raise UserError(
            f"run={folder}: is not empty; valid: a new or empty folder, "
            f"or `resume run={folder}` to carry on"
        )


def new_folder(chosen: str | None, name: str) -> Path:
    """Make the folder of a new run: the chosen one, else runs/<name>/<time>.

    Raises:
        UserError: it is there already and not empty, or cannot be made.
    """
    check_new_folder(chosen)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(chosen) if chosen else Path("runs") / name / stamp
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run={folder}: cannot be made: {error.strerror}") from error
    return folder.resolve()


def existing_folder(chosen: str | None) -> Path:
    """The folder of a recorded run.

    Raises:
        UserError: none was named, or it is none of a run.
    """
    if not chosen:
        raise UserError(
            "run: none named; write run=<folder>, for example run=runs/radix_card/<time>"
        )
    folder = Path(chosen)
    if not folder.is_dir():
        raise UserError(
            f"run={folder}: is no folder; valid: the folder of a run, with its study.db"
        )
    if not any((folder / name).is_file() for name in _STUDIES):
        raise UserError(f"run={folder}: is no folder of a run: it has no study.db")
    return folder.resolve()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this driver. The kernel lets go when the process ends, however it ends.

    Raises:
        UserError: another driver holds it.
    """
    with (folder / _LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"run={folder}: a driver is at work in it (process {holder}); "
                "wait for it or stop it first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
