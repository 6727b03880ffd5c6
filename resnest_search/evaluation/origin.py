"""Whether images that somebody names are those that a network was trained, or chosen, on."""

from __future__ import annotations

import contextlib
import filecmp
import os
from collections import Counter, defaultdict
from collections.abc import Sequence

from resnest_search.data import ImageData
from resnest_search.words import counted

__all__ = ["parts_of", "trained_on"]

_UNKNOWN = "whether it was trained on any of these images is not known"
_PARTS = ("train", "validation", "test")  # of an image that is in two of them, the first counts


def parts_of(paths: Sequence[str], data: ImageData | None) -> Counter[str]:
    """How many of these files are images of a part of a run's own, by part.

    The same files, or copies under any name: files of one size are compared byte by byte.
    """
    known: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for part in _PARTS if data else ():
        for own in data.files_of(part) if data else ():
            with contextlib.suppress(OSError):  # it has gone since
                known[os.stat(own).st_size].append((part, own))
    found: Counter[str] = Counter()
    for path in paths:
        with contextlib.suppress(OSError):
            alike = known.get(os.stat(path).st_size, ())
            found.update([part for part, own in alike if _same(path, own)][:1])
    return found


def _same(path: str, own: str) -> bool:
    return os.path.samefile(path, own) or filecmp.cmp(path, own, shallow=False)


def trained_on(own: Counter[str], images: int, data: ImageData | None) -> str:
    """What is to be said of images of which so many are a run's own, by part; empty for nothing."""
    if own["train"]:
        which = "all are" if own["train"] == images else f"{own['train']} are"
        return (
            f"of {counted(images, 'image')} {which} ones that the network was trained on: this is "
            "not what it does on others"
        )
    if data is None:
        return f"{_UNKNOWN}: those of its run are not here"
    if not data.files_of("train"):
        return f"{_UNKNOWN}: its own were no files"
    return ""
