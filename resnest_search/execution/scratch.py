"""Folders for what does not last: temporary files, Ray's sockets, and caches without a home."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import tempfile
from pathlib import Path

from resnest_search.errors import UserError

__all__ = ["make_ray_folder", "settle", "socket_folder"]

_SOCKET = 107  # bytes of a Unix socket's path
_RAY = len("/r12345678/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
_LOADERS = len("/pymp-12345678/listener-12345678")  # torch's, between loader processes
_CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TORCH_HOME": "torch",
    "TRITON_CACHE_DIR": "triton",
    "WANDB_CACHE_DIR": "wandb-cache",
    "WANDB_CONFIG_DIR": "wandb-config",
    "WANDB_DATA_DIR": "wandb-data",
    "XDG_CACHE_HOME": "cache",
}


def settle() -> None:
    """Make the environment one that libraries can live in, before any of them is imported.

    A TMPDIR that is too long for sockets, or cannot be written, is replaced. A home that cannot
    be written keeps its files, and caches go to a folder that ends with this process. A user
    without an entry in /etc/passwd gets a name.
    """
    given = os.environ.get("TMPDIR")
    if given is not None and not _serves(given, _LOADERS):
        others = [folder for folder in _candidates() if _serves(folder, _LOADERS)]
        if others:
            os.environ["TMPDIR"] = others[0]
            tempfile.tempdir = None
    _settle_home()
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"user{os.getuid()}")
        os.environ.setdefault("LOGNAME", os.environ["USER"])


def socket_folder() -> str:
    """An existing folder whose name is short enough for Ray's sockets.

    Raises:
        UserError: there is none.
    """
    for folder in _candidates():
        if _serves(folder, _RAY):
            return folder
    raise UserError(
        f"TMPDIR={os.environ.get('TMPDIR', '')}: no folder for Ray's sockets can be written; "
        f"valid: one that can, of at most {_SOCKET - _RAY} characters"
    )


def make_ray_folder() -> str:
    """A new folder for Ray's sessions, which whoever starts Ray removes."""
    return tempfile.mkdtemp(prefix="r", dir=socket_folder())


def _candidates() -> list[str]:
    given = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR")]
    return [*filter(None, given), "/tmp", "/var/tmp", "/dev/shm", os.getcwd()]


def _serves(folder: str, further: int) -> bool:
    """Whether sockets can be made below it, under names of so many further bytes."""
    if not os.path.isabs(folder) or len(os.fsencode(folder)) + further > _SOCKET:
        return False
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return file.write(b"x") == 1
    except OSError:
        return False


def _settle_home() -> None:
    home = os.path.expanduser("~")
    if os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK):
        return
    try:
        place = Path(tempfile.mkdtemp(prefix="resnest-search-home-"))
    except OSError:  # nothing can be written anywhere: whoever needs to says so
        return
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for name, folder in _CACHES.items():
        os.environ.setdefault(name, str(place / folder))
    if not os.path.isdir(home):
        os.environ["HOME"] = str(place)
