"""Which validation images a network answered correctly, as text that fits into a record.

``<images>:<base64>``: eight hexadecimal digits that name the validation images, then one bit
an image in their fixed order, zlib-compressed. Two trainings compare image by image only
where the digits agree.
"""

from __future__ import annotations

import base64
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answers", "pack", "unpack"]

_DIGITS = 8  # of the digest of the images


class Answers(NamedTuple):
    """Of which images, and which of them are right, (n,)."""

    images: str
    right: NDArray[np.bool_]


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
