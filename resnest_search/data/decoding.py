"""The decoder of training, validation, test and of the reading pass: a bad file is a user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resnest_search.data.images import WHITE, decoded
from resnest_search.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["decode"]


def decode(path: str, channels: int = 3, background: Sequence[int] = WHITE) -> Image.Image:
    """The image of a file, see `decoded`.

    Raises:
        UserError: in one line with the whole path, it is no image, is damaged, or has values
            whose range is not known.
    """
    try:
        return decoded(path, channels, background)
    except ValueError as error:
        raise UserError(f"data.root: {error}") from error
