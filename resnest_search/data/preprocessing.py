"""What validation does to a file, in plain values, as every format of the export carries it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

__all__ = ["SHORTER", "SQUASHED", "Preprocessing", "shorter_side"]

SHORTER, SQUASHED = "shorter side", "both sides"
LARGEST_UNCROPPED = 64  # pixels; a larger evaluation image loses its rim, see below
CROP_SHARE = 0.875


def shorter_side(image_size: int) -> int:
    """Pixels of the shorter side, out of which the square in the centre is cut.

    image_size / 0.875. Up to 64 pixels it is image_size itself: so small, the rim is needed.
    """
    return image_size if image_size <= LARGEST_UNCROPPED else round(image_size / CROP_SHARE)


@dataclass(frozen=True)
class Preprocessing:
    """From a file to the network's input: decode, recolour, resize, crop, scale, normalise.

    Attributes:
        channels: of the network's input: 1 (grey) or 3 (RGB).
        decoded: channels that a file is decoded to before that.
        background: behind transparency, 0 to 255: one grey or one value a channel.
        resized: which side becomes ``resize``: ``shorter side`` or ``both sides``.
        resize: pixels, bilinear with antialias.
        crop: pixels, the side of the square in the centre, which is the input's.
        mean: of each channel of images in [0, 1]; empty where they stay as they are. One value
            counts for all channels.
        std: likewise.
    """

    channels: int
    decoded: int
    background: tuple[int, ...]
    resized: str
    resize: int
    crop: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def facts(self) -> dict[str, Any]:
        """For JSON: the same with what is constant, and with a mean and std for each channel."""
        each = self.channels
        return {
            **dataclasses.asdict(self),
            "colour": "grey" if each == 1 else "RGB",
            "background": list(self.background),
            "interpolation": "bilinear",
            "antialias": True,
            "scale": "1/255",
            "mean": list(self.mean) * (each // len(self.mean)) if self.mean else [0.0] * each,
            "std": list(self.std) * (each // len(self.std)) if self.std else [1.0] * each,
        }
