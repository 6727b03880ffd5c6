"""What a network answered to validation images, as text that fits into a record.

``<images>:<base64>``: eight hexadecimal digits that name the validation images, then one bit
an image in their fixed order, zlib-compressed: which of them are right. Two trainings compare
image by image only where the digits agree.

``<images>:<classes>:<base64>`` has the true class of each image and the answer: one or two bytes
an image each, little-endian. Of the answer it is what leads from the true class to it, modulo the
range of those bytes, so that what is right is 0 and compresses well.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Answers", "Sheet", "class_scores", "pack", "pack_sheet", "unpack", "unpack_sheet"]

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]

_DIGITS = 8  # of the digest of the images
_MOST_CLASSES = 2**16


class Answers(NamedTuple):
    """Of which images, and which of them are right, (n,)."""

    images: str
    right: NDArray[np.bool_]


class Sheet(NamedTuple):
    """Of which images, their number of classes, the true class of each and the answer, (n,)."""

    images: str
    classes: int
    truth: Classes
    answers: Classes


def pack(right: NDArray[np.bool_], digest: str) -> str:
    """The text of answers (n,) to the images with this digest, in hexadecimal digits."""
    packed = zlib.compress(np.packbits(right).tobytes(), level=9)
    return f"{digest[:_DIGITS]}:{base64.b64encode(packed).decode('ascii')}"


def unpack(text: str | None, count: int) -> Answers | None:
    """The answers to so many images; None where there are none, or the text is damaged."""
    images, _, packed = (text or "").partition(":")
    try:
        raw = zlib.decompress(base64.b64decode(packed, validate=True))
    except (ValueError, zlib.error):
        return None
    if not count or len(raw) != -(-count // 8):
        return None
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=count)
    return Answers(images, bits.astype(np.bool_))


def pack_sheet(truth: Classes, answers: Classes, classes: int, digest: str) -> str:
    """The text of true classes and answers, (n,) each, to the images with this digest."""
    whole = np.concatenate([truth, answers - truth]).astype(_kind(classes))
    packed = base64.b64encode(zlib.compress(whole.tobytes(), level=9)).decode("ascii")
    return f"{digest[:_DIGITS]}:{classes}:{packed}"


def unpack_sheet(text: str | None, count: int) -> Sheet | None:
    """Classes and answers of so many images; None where there are none, or they are damaged."""
    images, _, rest = (text or "").partition(":")
    number, _, packed = rest.partition(":")
    try:
        raw = zlib.decompress(base64.b64decode(packed, validate=True))
        classes = int(number)
        kind = _kind(classes)
    except (ValueError, zlib.error):
        return None
    if not count or len(raw) != 2 * count * kind.itemsize:
        return None
    truth, steps = np.frombuffer(raw, kind).reshape(2, count)
    found = truth.astype(np.int64), (truth + steps).astype(np.int64)
    if max(part.max() for part in found) >= classes:
        return None
    return Sheet(images, classes, *found)


def class_scores(right: ArrayLike, images: ArrayLike, answers: ArrayLike) -> tuple[Floats, Floats]:
    """Balanced accuracy and macro F1 from counts of each class, (..., K), as fractions (...).

    The former is the mean of right / images over the classes that have images (Brodersen et al.,
    2010), the latter that of 2 right / (images + answers) over those that have images or answers:
    scikit-learn's ``balanced_accuracy_score`` and ``f1_score(average="macro")``. NaN without any.

    Args:
        right: images of the class that were answered with it.
        images: of the class.
        answers: that named the class, right or wrong.
    """
    hits, size, both = np.broadcast_arrays(right, images, np.add(images, answers))
    return _mean_ratio(hits, size), _mean_ratio(2 * hits, both)


def _mean_ratio(counts: NDArray[Any], of: NDArray[Any]) -> Floats:
    """The mean of counts / of over the last axis, where the latter is not 0."""
    known = of > 0
    ratios = np.divide(counts, of, out=np.zeros(of.shape), where=known)
    with np.errstate(invalid="ignore"):
        found: Floats = np.asarray(ratios.sum(axis=-1) / known.sum(axis=-1))
    return found


def _kind(classes: int) -> np.dtype[Any]:
    """Bytes that hold a class.

    Raises:
        ValueError: two are too few.
    """
    if not 0 < classes <= _MOST_CLASSES:
        raise ValueError(f"{classes} classes; valid: 1 to {_MOST_CLASSES}")
    return np.dtype("<u1" if classes <= 256 else "<u2")
