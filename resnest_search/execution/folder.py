"""A run's folder, and the lock that keeps a second driver out of it."""

from __future__ import annotations

import datetime
import errno
import fcntl
import hashlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnest_search.errors import UserError
from resnest_search.files import write_atomically
from resnest_search.words import command

__all__ = [
    "check_new_folder",
    "check_writable",
    "default_folder",
    "elsewhere_folder",
    "existing_folder",
    "is_held",
    "locked",
    "new_folder",
    "run_folders",
]

_LOCK = "driver.lock"
_DEEPEST = "wandb/offline-run-20260101_000000-12345678/files/config.yaml"  # below a run
_SOURCE = ".source"  # in a folder below elsewhere: a digest of where its costs are from
_LONGEST = 512  # bytes of a path that SQLite opens
_ROOM_BYTES = 2**20  # less than the smallest run leaves behind
_STUDIES = ("study.db", "storage.json")  # itself, or where it lies


def check_new_folder(chosen: str | None) -> None:
    """Raises UserError where the chosen folder is there already and not empty."""
    folder = Path(chosen or "runs")
    try:
        os.lstat(folder.absolute() / _DEEPEST)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"run={folder}: {error.strerror}; valid: a shorter path") from None
    longest = _LONGEST - len("/study.db-journal")
    if len(os.fsencode(folder.absolute())) > longest:
        raise UserError(
            f"run={folder}: is too long for SQLite; valid: a path of at most {longest} bytes"
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"run={folder}: is a file; valid: a new or empty folder")
    check_writable(f"run={folder}", folder)
    if not chosen or not folder.exists():
        return
    if any(folder.iterdir()):
        raise UserError(
            f"run={folder}: is not empty; valid: a new or empty folder, "
            f"or carry on with: {command('resume', run=folder)}"
        )


def check_writable(named: str, folder: Path) -> None:
    """Raises UserError unless a folder, or the nearest above it that is there, takes files."""
    folder = folder.absolute()
    place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not os.path.isdir(place):
        raise UserError(f"{named}: {place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{named}: {place} cannot be written")
    room = os.statvfs(place)
    if room.f_bavail * room.f_frsize < _ROOM_BYTES or (room.f_files and not room.f_favail):
        raise UserError(f"{named}: no space left on the device of {place}")


def new_folder(chosen: str | None, name: str) -> Path:
    """Make the folder of a new run: the chosen one, else runs/<name>/<time>.

    Raises:
        UserError: it is there already and not empty, or cannot be made.
    """
    check_new_folder(chosen)
    folder = Path(chosen) if chosen else default_folder(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run={folder}: cannot be made: {error.strerror}") from error
    return folder.resolve()


def default_folder(name: str) -> Path:
    """Where a run goes that is given no folder: runs/<name>/<time>, which is not there yet."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return _first_free(Path("runs") / name / stamp)


def _first_free(folder: Path) -> Path:
    """The folder itself, or with a number: several runs of a sweep begin within a second."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(place for place in itertools.chain([folder], numbered) if not place.exists())


def elsewhere_folder(run: Path, name: str, source: str) -> Path:
    """Where a run is told with costs from elsewhere: elsewhere/<name>, the same for one source.

    Another source of that name, such as a profile of the same file name in another folder, has a
    number behind it. The source itself is not written down, a path being nobody's business.

    Args:
        run: the run's folder.
        name: what the profile or the mode is called.
        source: where the costs are from: the profile's whole path, or the mode.
    """
    mark = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()
    first = run / "elsewhere" / name
    numbered = (first.with_name(f"{name}-{number}") for number in itertools.count(2))
    for place in itertools.chain([first], numbered):
        note = place / _SOURCE
        # One of an earlier version has no mark: whoever comes first takes it over.
        if not note.is_file() or note.read_text() == mark:
            place.mkdir(parents=True, exist_ok=True)
            write_atomically(note, mark)
            return place
    raise AssertionError("numbers do not end")


def existing_folder(chosen: str | None, key: str = "run") -> Path:
    """The folder of a recorded run, which this key names.

    Raises:
        UserError: none was named, or it is none of a run.
    """
    if not chosen:
        raise UserError(
            f"{key}: none named; write {key}=<folder>, for example {key}=runs/radix_card/<time>"
        )
    folder = Path(chosen)
    if not folder.is_dir():
        raise UserError(
            f"{key}={folder}: is no folder; valid: the folder of a run, with its study.db"
        )
    if not _holds_a_study(folder):
        raise UserError(f"{key}={folder}: is no folder of a run: it has no study.db")
    return folder.resolve()


def is_held(folder: Path) -> bool:
    """Whether a driver is at work in the folder; also where nobody may find that out."""
    try:
        with (folder / _LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False  # moved, or copied without it
    except OSError:
        return True
    return False


def run_folders(above: Path) -> Iterator[Path]:
    """Every folder of a run below a folder, or that folder itself."""
    for place, inside, _ in os.walk(above):
        if _holds_a_study(Path(place)):
            inside.clear()  # nothing in a run is another
            yield Path(place)


def _holds_a_study(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _STUDIES)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this driver. The kernel lets go when the process ends, however it ends.

    Raises:
        UserError: another driver holds it.
    """
    try:
        opened = (folder / _LOCK).open("a+")
    except OSError as error:
        raise UserError(f"run={folder}: cannot be written: {error.strerror}") from None
    with opened as file:
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
