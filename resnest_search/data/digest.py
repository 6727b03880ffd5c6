"""What the images are: a digest of their names below the root, their sizes and their content.

Standard library alone. A copied or moved folder is the same set. The content of each file
counts whole up to 20,000 files and 2 GiB; of a larger set, the first and the last 4 KiB of each.
Times of modification only tell whether the digest on record must be taken anew. Of CIFAR-10 and
Fashion-MNIST the files count, unpacked; digits are what scikit-learn ships.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.layouts import (
    FASHION_FILES,
    cifar10_contents,
    idx_content,
    locate_cifar10,
    locate_fashion_mnist,
)
from resnest_search.data.remembered import recall, remember
from resnest_search.data.resolve import FOLDERS
from resnest_search.data.scan import Listing
from resnest_search.errors import UserError
from resnest_search.words import counted

__all__ = ["ImageSet", "Progress", "difference", "image_set", "in_parallel"]

WHOLE_FILES, WHOLE_BYTES = 20_000, 2 << 30
_END = 4096  # bytes
_SHARE = 256  # files that a thread takes at once
_MOST_GROUPS = 200  # class folders on record; of more classes, the parts alone

T = TypeVar("T")
Progress = Callable[[int, int], None]  # files done, files in all


@dataclass(frozen=True)
class ImageSet:
    """The images of a data set.

    Attributes:
        digest: of all of them, hexadecimal.
        groups: number of images and a digest of each class folder, or of each part where
            classes are many, by which a difference is told.
        doubts: a line for what makes numbers doubtful, such as images of val/ in train/.
        names: digest of the listing; empty of a set of fixed files.
    """

    digest: str
    groups: dict[str, list[str]]
    doubts: tuple[str, ...] = ()
    names: str = ""


def image_set(
    config: DataConfig, listing: Listing | None = None, progress: Progress | None = None
) -> ImageSet:
    """The images of a resolved configuration, as they lie there now.

    Args:
        config: resolved.
        listing: of its folders, without anything left out; None for a set of fixed files.
        progress: is told how many files are done, where they must be read.

    Raises:
        UserError: files are missing or cannot be unpacked.
    """
    if config.name == "digits":
        return ImageSet(hashlib.sha256(b"digits of scikit-learn").hexdigest(), {})
    if config.name not in FOLDERS:
        return _fixed(config)
    if listing is None:
        raise ValueError("folders need a listing")
    files = [path for part in listing.parts.values() for path in part.paths]
    sizes, stamp = _stamp(listing.root, files)
    key = (config.name, os.path.realpath(listing.root))
    known = recall("images", *key)
    if known and known.pop("stamp", None) == stamp:
        doubts = tuple(known["doubts"])
        return ImageSet(known["digest"], known["groups"], doubts, listing.names)
    found = _taken(listing, files, sizes, progress or (lambda done, total: None))
    remember("images", key, {"stamp": stamp, **asdict(found)})
    return replace(found, names=listing.names)


def difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> str:
    """By how many images two sets with different digests differ, and in which folders."""
    more, fewer, other, where = 0, 0, 0, []
    for name in sorted({*before, *after}):
        old, new = before.get(name, ["0", ""]), after.get(name, ["0", ""])
        if old == new:
            continue
        step = int(new[0]) - int(old[0])
        more, fewer, other = more + max(step, 0), fewer - min(step, 0), other + (step == 0)
        where.append(f"{name} {old[0]} -> {new[0]}" if step else f"{name} has other content")
    if not where:
        return "they have other content"
    counts = [f"{more} more"] * (more > 0) + [f"{fewer} fewer"] * (fewer > 0)
    counts += [f"{other} folders changed"] * (other > 0)
    shown = ", ".join(where[:3]) + (f" and {len(where) - 3} folders more" if where[3:] else "")
    return f"{', '.join(counts)}: {shown}"


def in_parallel(work: Callable[[str], T], items: Sequence[str], progress: Progress) -> Iterator[T]:
    """Results in order, from a few threads more than cores: reading and decoding free the GIL."""
    shares = [items[start : start + _SHARE] for start in range(0, len(items), _SHARE)]
    done = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 2) as pool:
        for results in pool.map(lambda share: [work(item) for item in share], shares):
            yield from results
            done += len(results)
            progress(done, len(items))


def _stamp(root: str, files: list[str]) -> tuple[list[int], str]:
    """Sizes of the files, -1 of one that is not there; and a digest that any change changes."""
    sizes, state = [], hashlib.sha256()
    for file in files:
        try:
            status = os.stat(os.path.join(root, file))
        except OSError:
            sizes.append(-1)
            state.update(f"{os.fsencode(file)!r} gone\n".encode())
            continue
        sizes.append(status.st_size)
        times = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        state.update(f"{os.fsencode(file)!r} {times}\n".encode())
    return sizes, state.hexdigest()


def _taken(listing: Listing, files: list[str], sizes: list[int], progress: Progress) -> ImageSet:
    whole = len(files) <= WHOLE_FILES and sum(sizes) <= WHOLE_BYTES

    def content(file: str) -> bytes:
        return _content(os.path.join(listing.root, file), whole)

    contents = list(in_parallel(content, files, progress))
    by_class = len(listing.classes) * len(listing.parts) <= _MOST_GROUPS
    everything, counts = hashlib.sha256(), Counter[str]()
    groups: dict[str, Any] = {}
    for file, size, entry in zip(files, sizes, contents, strict=True):
        line = os.fsencode(file) + f"\0{size}\0".encode() + entry
        everything.update(line)
        group = "/".join(file.split("/")[: 2 if by_class else 1])
        groups.setdefault(group, hashlib.sha256()).update(line)
        counts[group] += 1
    told = {name: [str(counts[name]), state.hexdigest()[:16]] for name, state in groups.items()}
    doubts = _doubts(files, [f"{s} {c.hex()}" for s, c in zip(sizes, contents, strict=True)])
    return ImageSet(everything.hexdigest(), told, tuple(doubts))


def _content(path: str, whole: bool) -> bytes:
    """16 bytes that stand for a file's content; empty where it cannot be read."""
    state = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb", buffering=0) as file:
            if whole:
                while block := file.read(1 << 20):
                    state.update(block)
            else:
                state.update(file.read(_END))
                end = file.seek(0, os.SEEK_END)
                file.seek(max(_END, end - _END) if end > _END else end)
                state.update(file.read(_END))
    except OSError:
        return b""
    return state.digest()


def _doubts(files: list[str], contents: list[str]) -> list[str]:
    """A line for images that lie in two parts, in two classes, or twice in one."""
    first: dict[str, str] = {}
    twins: dict[str, list[str]] = {}
    for file, content in zip(files, contents, strict=True):
        other = first.setdefault(content, file)
        if other == file or content.endswith(" "):  # one that cannot be read is like no other
            continue
        (part, name), (before, named) = file.split("/")[:2], other.split("/")[:2]
        where = "in two classes" if name != named else "there twice"
        where = where if part == before else f"in {before}/, too"
        twins.setdefault(f"of {part}/ {where}", []).append(f"{file}, which is {other}")
    return [
        f"data.root: {counted(len(pairs), 'image')} {where}, such as {pairs[0]}"
        for where, pairs in twins.items()
    ]


def _fixed(config: DataConfig) -> ImageSet:
    root = Path(config.root or "")
    key = (config.name, os.path.realpath(root))
    if config.name == "cifar10":
        place = locate_cifar10(root)
        files = [] if place is None else sorted(place.iterdir()) if place.is_dir() else [place]
    else:
        place = locate_fashion_mnist(root)
        files = [] if place is None else sorted(place.iterdir())
    if place is None:
        raise UserError(f"data.root: {config.root!r} has no {config.name}")
    _, stamp = _stamp("", [str(file) for file in files if file.is_file()])
    known = recall("images", *key)
    if known and known["stamp"] == stamp:
        return ImageSet(known["digest"], {})
    state = hashlib.sha256()
    try:
        contents = (
            cifar10_contents(place)
            if config.name == "cifar10"
            else {name: idx_content(place, name) for name in FASHION_FILES}
        )
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"data.root: '{place}' cannot be read ({error})") from error
    for name in sorted(contents):
        state.update(f"{name} {len(contents[name])}\n".encode() + contents[name])
    found = ImageSet(state.hexdigest(), {})
    remember("images", key, {"stamp": stamp, **asdict(found)})
    return found
