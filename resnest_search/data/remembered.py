"""What was found out about images, kept under ~/.cache for the next run; losing it costs time."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from resnest_search.files import cache_folder, write_atomically

__all__ = ["recall", "remember"]


def recall(kind: str, *key: str) -> Any:
    """What was remembered under a key; None where nothing was, or it cannot be read."""
    try:
        return json.loads(_path(kind, key).read_text())
    except (OSError, ValueError):
        return None


def remember(kind: str, key: tuple[str, ...], value: Any) -> None:
    """Keep a JSON-able value, or do without where the folder cannot be written."""
    with contextlib.suppress(OSError):
        write_atomically(_path(kind, key), json.dumps(value))


def _path(kind: str, key: tuple[str, ...]) -> Path:
    name = hashlib.sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()[:32]
    return cache_folder() / kind / f"{name}.json"
