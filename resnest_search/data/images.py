"""One file to one 8-bit image, and that image as evaluation sees it.

Pillow alone, and numpy for more than 8 bits, both imported where they are used: an exported
``model.py`` has this file's own text.

- Turned as its EXIF orientation says, as every viewer shows it.
- 16 bits, and 12 where the file says so, are scaled by the range of that type (16 bits: / 257).
  12 bits that a file calls 16 are scaled as 16, which is dark but loses nothing. Floats are
  taken for 0 to 1. Floats beyond that, and integers of 32 bits, have no known range: refused.
- Transparency, as a channel, of a palette or of one colour, lies on a background.
- Of several frames or pages the first counts.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["WHITE", "centred", "decoded", "orientation", "upright"]

WHITE = (255,)
_ORIENTATION = 0x0112  # of EXIF, 1 to 8
_TURNS = {  # to members of Pillow's Transpose
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_BITS_PER_SAMPLE = 258  # a tag of TIFF
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def decoded(path: str, channels: int = 3, background: Sequence[int] = WHITE) -> Image:
    """The image of a file, 8 bits: mode L for one channel, RGB for three.

    Args:
        path: of the file, whatever its suffix says of the format.
        channels: 1 or 3.
        background: what shows through transparency, 0 to 255: one grey or one value a channel.

    Raises:
        ValueError: in one line with the whole path, it is no image, is damaged, or has values
            whose range is not known.
        ImportError: Pillow is not installed.
    """
    try:
        import PIL.Image
    except ImportError:
        raise ImportError("image files need Pillow: pip install pillow") from None
    try:
        with warnings.catch_warnings(), PIL.Image.open(path) as image:
            warnings.simplefilter("ignore")  # about metadata, and about images that are large
            image.load()
            return upright(image, channels, background)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # a damaged file raises whatever its first wrong byte leads to
        raise ValueError(f"{path!r} cannot be read as an image ({_reason(path, error)})") from error


def upright(image: Image, channels: int, background: Sequence[int]) -> Image:
    """What `decoded` makes of an image that Pillow has loaded.

    Raises:
        ValueError: the range of its values is not known.
    """
    return _composed(_eight_bits(image), "L" if channels == 1 else "RGB", background)


def centred(image: Image, shorter: int, crop: int) -> Image:
    """The square in the centre of an image whose shorter side is resized first.

    Bilinear with antialias, as Pillow has it; sides are rounded as torchvision's ``Resize`` and
    ``CenterCrop`` round them.

    Args:
        image: of any size and mode.
        shorter: pixels of the shorter side, at least ``crop``.
        crop: pixels of each side of the result.
    """
    import PIL.Image

    longer = int(shorter * max(image.size) / min(image.size))
    size = (shorter, longer) if image.width <= image.height else (longer, shorter)
    if image.size != size:
        image = image.resize(size, PIL.Image.Resampling.BILINEAR)
    left, top = (round((side - crop) / 2) for side in size)
    return image.crop((left, top, left + crop, top + crop))


def _reason(path: str, error: Exception) -> str:
    import PIL

    if isinstance(error, PIL.UnidentifiedImageError):
        return "the file is empty" if os.path.getsize(path) == 0 else "of no format that is known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _eight_bits(image: Image) -> Image:
    """The same upright, in a mode of 8 bits a channel, transparency kept."""
    import PIL.Image

    if image.mode == "LAB":  # versions of Pillow convert it in different ways, or not at all
        raise ValueError("of mode LAB, whose colours have no one conversion")
    turn = _TURNS.get(orientation(image))
    if image.mode.startswith(("I", "F")):
        image = _scaled(image)
    return image if turn is None else image.transpose(PIL.Image.Transpose[turn])


def orientation(image: Image) -> int:
    """Of EXIF, 1 to 8: how an image must be turned; 1 is not at all."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # metadata that nobody can read turns nothing
        return 1


def _scaled(image: Image) -> Image:
    """Grey of more than 8 bits to L, or to LA where one of its values is transparent.

    Raises:
        ValueError: the range of the values is not known.
    """
    import numpy as np
    import PIL.Image

    values = np.asarray(image)
    most = _range(image, values)
    grey = np.rint(values.astype(np.float64) * (255 / most)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return PIL.Image.fromarray(grey)
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return PIL.Image.merge("LA", (PIL.Image.fromarray(grey), PIL.Image.fromarray(alpha)))


def _range(image: Image, values: Any) -> int:
    """The value that is white."""
    if image.mode == "F":
        if not (values.min(initial=0) >= 0 and values.max(initial=0) <= 1):  # also of NaN
            raise ValueError("floats that are not from 0 to 1")
        return 1
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
        return int(2 ** min(bits, 16) - 1)
    if image.format in ("PNG", "PPM"):  # whose integers are of 16 bits in any mode
        return 2**16 - 1
    raise ValueError("integers of 32 bits or with a sign, whose range is not known")


def _composed(image: Image, mode: str, background: Sequence[int]) -> Image:
    import PIL.Image

    transparent = image.info.get("transparency")
    if image.mode not in _ALPHA and transparent is None:
        return image.convert(mode)
    if isinstance(transparent, tuple) and max(transparent) > 255:  # of 16 bits, as the file was
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    layers = image.convert("RGBA")
    grounds = tuple(background) * (len(mode) // len(background))
    ground = PIL.Image.new(mode, image.size, grounds if len(grounds) > 1 else grounds[0])
    ground.paste(layers.convert("RGB").convert(mode), mask=layers.getchannel("A"))
    return ground
