"""Images as tensors of bytes: from Pillow, to the colours and the size of a network.

torch alone: an exported ``model.py`` has this file's own text.
Letters: B images of a batch, C channels, H height, W width, S side in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["recoloured", "squashed", "tensor_of"]

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114  # of luminance: ITU-R BT.601


def tensor_of(image: Image) -> torch.Tensor:
    """uint8 (C, H, W) of an image in mode L or RGB."""
    content = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return content.view(image.height, image.width, -1).permute(2, 0, 1).contiguous()


def recoloured(images: torch.Tensor, channels: int) -> torch.Tensor:
    """uint8 (B, 1 or 3, H, W) to that of 1 or 3 channels; grey is rounded down."""
    if images.shape[1] == channels:
        return images
    if channels == 1:
        red, green, blue = images.unbind(1)
        grey = red.mul(_RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)
        return grey.to(torch.uint8)[:, None]
    return images.expand(-1, channels, -1, -1).contiguous()


def squashed(images: torch.Tensor, size: int) -> torch.Tensor:
    """uint8 (B, C, H, W) to (B, C, S, S): both sides resized, bilinear with antialias."""
    if tuple(images.shape[2:]) == (size, size):
        return images
    return torch.nn.functional.interpolate(
        images, size=[size, size], mode="bilinear", align_corners=False, antialias=True
    )
