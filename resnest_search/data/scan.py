"""Which files of a folder are images, and of which class. Standard library alone.

One pass of `os.scandir`, which bears a million files; no file is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnest_search.errors import UserError

__all__ = ["IMAGE_SUFFIXES", "Listing", "Part", "class_folders", "scan", "scan_known"]

# What torchvision.datasets.ImageFolder takes for an image.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# What operating systems and tools put beside images: archives of macOS, thumbnails of Synology.
_STRANGERS = {"__MACOSX", "@eaDir", "__pycache__", "lost+found", "$RECYCLE.BIN"}
_STRANGERS |= {"System Volume Information"}

_Id = tuple[int, int]  # device and inode of a folder


@dataclass(frozen=True)
class Part:
    """The images of train/, val/ or test/, in the order of torchvision's ImageFolder.

    Attributes:
        paths: of each image, below the root.
        labels: its class, as a place in the listing's names.
        others: for each class folder that is there, how many files of which suffix are no images.
    """

    paths: list[str]
    labels: list[int]
    others: dict[str, Counter[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """Class names, sorted: class k is the k-th of them; and the parts that are there."""

    root: str
    classes: list[str]
    parts: dict[str, Part]

    @property
    def names(self) -> str:
        """A digest of what the split follows from: paths and classes, and which parts there are.

        Images of a test part of its own are in no split.
        """
        state = hashlib.sha256(json.dumps([self.classes, list(self.parts)]).encode())
        for name, part in self.parts.items():
            if name == "test":
                continue
            state.update(f"\n{name}\n".encode() + os.fsencode("\0".join(part.paths)))
            state.update(json.dumps(part.labels).encode())
        return state.hexdigest()

    def without(self, skip: Iterable[str]) -> Listing:
        """The same but for the images at these paths."""
        gone = frozenset(skip)
        if not gone:
            return self
        parts = {}
        for name, part in self.parts.items():
            pairs = zip(part.paths, part.labels, strict=True)
            left = [(path, label) for path, label in pairs if path not in gone]
            parts[name] = Part([p for p, _ in left], [label for _, label in left], part.others)
        return Listing(self.root, self.classes, parts)


def scan(root: str, parts: Iterable[str]) -> Listing:
    """Every image of these parts under a root.

    Hidden files and folders are neither images nor classes. Links are followed, yet each real
    folder counts once, where it really lies if that is below the root: a link that leads back
    up, or to a folder that is seen otherwise, adds nothing.

    Raises:
        UserError: a folder cannot be listed, two classes are one folder, or a part has a class
            that train/ has not.
    """
    there = [part for part in parts if os.path.isdir(os.path.join(root, part))]
    names = {part: class_folders(os.path.join(root, part)) for part in there}
    blocked = _blocked(root, names)
    classes = names.get("train", [])
    found = {}
    for part in there:
        unknown = sorted(set(names[part]) - set(classes))
        if unknown:
            alike = unicodedata.normalize("NFC", unknown[0])
            forms = {unicodedata.normalize("NFC", name) for name in classes}
            other = " in the same form of Unicode; rename one of them" * (alike in forms)
            raise UserError(
                f"data.root: {root!r} has {part}/{unknown[0]} but no train/{unknown[0]}{other}"
            )
        found[part] = _part(root, part, names[part], classes, set(blocked))
    return Listing(root, classes, found)


def scan_known(folder: str, classes: Sequence[str]) -> tuple[Part, list[str]]:
    """The images of class folders right under a folder, and the names of those of no class.

    Labels are places in ``classes``, by name; ``paths`` are below the folder. See `scan` for what
    counts.

    Raises:
        UserError: a folder cannot be listed, or two classes are one folder.
    """
    there = class_folders(folder)
    names = [name for name in there if name in classes]
    seen = set(_blocked(folder, {"": names}))
    part = _part(folder, "", names, list(classes), seen)
    return part, [name for name in there if name not in classes]


def class_folders(folder: str | Path) -> list[str]:
    """Names of the folders right under `folder` that can be classes, sorted."""
    above = set(_lineage(str(folder)))
    return sorted(
        entry.name
        for entry in _entries(str(folder))
        if _is_folder(entry)
        and _counts(entry.name)
        and not (entry.is_symlink() and os.path.realpath(entry.path) in above)
    )


def _part(root: str, part: str, names: list[str], classes: list[str], seen: set[_Id]) -> Part:
    """Real folders of every class first, so that no link claims one for another class."""
    folders: dict[str, dict[str, list[str]]] = {name: {} for name in names}
    others: dict[str, Counter[str]] = {name: Counter() for name in names}
    _check_distinct(root, part, names)
    links: list[tuple[str, str]] = []
    for name in names:
        below = os.path.join(part, name)
        links += [(name, link) for link in _walk(root, below, seen, folders[name], others[name])]
    while links:
        name, link = links.pop(0)
        target = os.path.join(root, link)
        if (identity := _identity(target)) in seen or identity is None:
            continue
        seen |= _identities(_lineage(target))
        links += [(name, more) for more in _walk(root, link, seen, folders[name], others[name])]
    places = {name: place for place, name in enumerate(classes)}
    images = [
        (os.path.join(folder, file), places[name])
        for name in names
        for folder, files in sorted(folders[name].items())
        for file in sorted(files)
    ]
    return Part([path for path, _ in images], [label for _, label in images], others)


def _walk(
    root: str, top: str, seen: set[_Id], folders: dict[str, list[str]], others: Counter[str]
) -> list[str]:
    """Enter the images of `top` and of the real folders below it; returns the links to folders."""
    links, waiting = [], [top]
    while waiting:
        folder = waiting.pop()
        images = folders.setdefault(folder, [])
        for entry in _entries(os.path.join(root, folder)):
            if not _counts(entry.name):
                continue
            below = os.path.join(folder, entry.name)
            if _is_folder(entry):
                if entry.is_symlink():
                    links.append(below)
                elif (identity := _identity(entry.path)) not in seen and identity is not None:
                    seen.add(identity)
                    waiting.append(below)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                if _is_file(entry):
                    images.append(entry.name)
            else:
                others[os.path.splitext(entry.name)[1].lower() or "no suffix"] += 1
    return sorted(links)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _STRANGERS


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"data.root: {folder!r} cannot be listed ({error.strerror})") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A file, or a link that leads nowhere, which reading will name; no pipe, no device."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def _check_distinct(root: str, part: str, names: list[str]) -> None:
    known: dict[_Id | None, str] = {}
    for name in names:
        other = known.setdefault(_identity(os.path.join(root, part, name)), name)
        if other != name:
            raise UserError(f"data.root: {root!r}: {part}/{other} and {part}/{name} are one folder")


def _blocked(root: str, names: dict[str, list[str]]) -> set[_Id]:
    """The parts, their classes, and all folders above them: what no link leads into."""
    tops = [os.path.join(root, part, name) for part, inside in names.items() for name in inside]
    tops += [os.path.join(root, part) for part in names]
    return _identities(path for top in tops for path in _lineage(top))


def _lineage(folder: str) -> Iterator[str]:
    """Where a folder really lies, and every folder above that."""
    path = os.path.realpath(folder)
    yield path
    while (parent := os.path.dirname(path)) != path:
        path = parent
        yield path


def _identities(folders: Iterable[str]) -> set[_Id]:
    found = {_identity(folder) for folder in set(folders)}
    return {identity for identity in found if identity is not None}


def _identity(folder: str) -> _Id | None:
    """Device and inode of a folder, links followed; None where it has gone."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
