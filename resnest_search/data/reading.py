"""Read every image once before anything is measured, with the decoder of training.

Pillow and numpy alone. What was read is remembered by the digest of the images.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.classes import class_lines, listed
from resnest_search.data.decoding import decode
from resnest_search.data.digest import ImageSet, Progress, image_set, in_parallel
from resnest_search.data.remembered import recall, remember
from resnest_search.data.resolve import FOLDERS, check_listing, list_all, list_images, resolve
from resnest_search.data.scan import Listing, class_folders
from resnest_search.data.split import digest_of, split_sources
from resnest_search.errors import UserError
from resnest_search.words import counted

__all__ = ["current_set", "read_images", "validation_digest"]

_DECODER = "2"  # counts up where `decode` refuses other images than before
_NAMED = 3  # files of a message
# Images to a person, but of no suffix that counts.
_STRANGE = {".gif", ".jfif", ".jpe", ".jp2", ".heic", ".heif", ".avif", ".tga", ".npy", ".dcm"}


def current_set(config: DataConfig, progress: Progress | None = None) -> ImageSet:
    """The images of a resolved configuration as they lie there now, see `image_set`."""
    listing = list_all(config) if config.name in FOLDERS else None
    return image_set(config, listing, progress)


def read_images(
    config: DataConfig, progress: Progress, balanced: bool = False
) -> tuple[DataConfig, ImageSet]:
    """Every image that the splits of a resolved configuration use, read once.

    Args:
        config: with `check` false, only the digest is taken.
        progress: is told of files done and files in all, unless all of that is remembered.
        balanced: see `class_lines`.

    Returns:
        The configuration, in whose `skip` stands what cannot be read where `unreadable` is skip;
        and what the images are, with that count among the doubts.

    Raises:
        UserError: images cannot be read, or without them nothing can be learned.
    """
    if config.name not in FOLDERS:
        found = image_set(config)
        if config.check:
            _load_once(config, found.digest)
        held, classes = config.val_images, config.classes or 0
        if held is not None and held < classes:
            line = f"data.val_images={held}: of {classes} classes some have no validation image"
            found = replace(found, doubts=(*found.doubts, line))
        return config, found
    everything = list_all(config)
    found = image_set(config, everything, progress)
    found = replace(found, doubts=(*found.doubts, *_remarks(everything)))
    known: set[str] = set()
    while config.check:  # what is skipped moves the split, so that others are used
        listing = check_listing(config, everything.without(config.skip))
        config = resolve(config, listing)
        wanted = [file for file in _used(config, listing) if file not in known]
        faults = _faults(config, everything.root, found.digest, wanted, progress)
        if not faults:
            break
        if config.unreadable == "refuse":
            raise UserError(
                f"data.root: {_told(everything.root, faults)} cannot be read; "
                "valid: mend or remove them, or leave them out with data.unreadable=skip"
            )
        known |= set(wanted)
        config = replace(config, skip=[*config.skip, *faults])
    listing = check_listing(config, everything.without(config.skip))
    sources = _sources(config, listing)
    split = split_sources(config, sources)
    lines = class_lines(config, listing.classes, sources, split, balanced)
    found = replace(found, doubts=(*found.doubts, *lines))
    if not config.skip:
        return config, found
    line = f"data.skip: {counted(len(config.skip), 'image')} left out, such as {config.skip[0]}"
    return config, replace(found, doubts=(*found.doubts, line))


def _remarks(listing: Listing) -> list[str]:
    """What a folder has that is passed over, and what it lacks."""
    lines = [
        f"data.root: {name}/ is not used; validation images are those of val/"
        for name in _beside_parts(listing)
    ]
    for part, found in listing.parts.items():
        strange = sum(found.others.values(), Counter[str]())
        lines += [
            f"data.root: {counted(strange[suffix], 'file')} of {suffix} in {part}/ left out"
            for suffix in sorted(_STRANGE & set(strange))
        ]
        absent = [name for name in listing.classes if name not in found.others]
        if absent:
            lines.append(
                f"data.root: {part}/ lacks {len(absent)} of {len(listing.classes)} classes: "
                f"{listed(absent)}"
            )
    return lines


def _beside_parts(listing: Listing) -> Iterator[str]:
    """Folders that hold classes of train/, and are no part: those of another name for val/."""
    for entry in sorted(os.scandir(listing.root), key=lambda entry: entry.name):
        if entry.name in {"train", "val", "test"} or entry.name.startswith("."):
            continue
        with contextlib.suppress(UserError):  # what nobody may list is none
            if entry.is_dir() and {*listing.classes} & {*class_folders(entry.path)}:
                yield entry.name


def validation_digest(config: DataConfig) -> str:
    """What `describe` says of the validation images where the digest of all is not known."""
    listing = list_images(config)
    sources = _sources(config, listing)
    split = split_sources(config, sources)
    source = sources.train if split.counts.validation_held_out else sources.validation
    return digest_of(split.validation, source.labels[split.validation])


def _faults(
    config: DataConfig, root: str, digest: str, files: list[str], progress: Progress
) -> dict[str, str]:
    """The files that cannot be read, each with the reason."""
    names = hashlib.sha256(os.fsencode("\0".join(files))).hexdigest()
    key = (_DECODER, digest, names)
    known = recall("read", *key)
    if isinstance(known, dict):
        return known

    def fault(file: str) -> str:
        try:
            decode(os.path.join(root, file), config.channels, config.background)
        except UserError as error:
            return str(error).rpartition(" cannot be read as an image ")[2].strip("()")
        return ""

    reasons = zip(files, in_parallel(fault, files, progress), strict=True)
    found = {file: reason for file, reason in reasons if reason}
    remember("read", key, found)
    return found


def _told(root: str, faults: dict[str, str]) -> str:
    shown = [f"{os.path.join(root, file)!r} ({reason})" for file, reason in faults.items()][:_NAMED]
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return f"{counted(len(faults), 'image')}, {', '.join(shown)}{more}"


def _used(config: DataConfig, listing: Listing) -> list[str]:
    """The files that the split gives to any part."""
    sources = _sources(config, listing)
    split = split_sources(config, sources)
    validation = sources.train if split.counts.validation_held_out else sources.validation
    tested = sources.train if split.counts.test_held_out else sources.test
    chosen = ((sources.train, split.train), (validation, split.validation), (tested, split.test))
    return [source.paths[index] for source, indices in chosen if source for index in indices]


def _sources(config: DataConfig, listing: Listing) -> SimpleNamespace:
    """Paths and labels as `folders.load_folders` has them, without what opens images."""

    def source(part: str) -> SimpleNamespace | None:
        found = listing.parts.get(part)
        if found is None:
            return None
        return SimpleNamespace(paths=found.paths, labels=np.array(found.labels, dtype=np.int64))

    train, val, test = source("train"), source("val"), source("test")
    if config.name == "imagenet":
        val, test = None, val
    return SimpleNamespace(train=train, validation=val, test=test)


def _load_once(config: DataConfig, digest: str) -> None:
    """Load a set of fixed files as training does, which takes seconds, unless that was done."""
    if config.name == "digits" or recall("read", _DECODER, digest) is not None:
        return
    from resnest_search.data.module import build

    build(config, 1, 0)
    remember("read", (_DECODER, digest), {})
