"""Image files of the kinds that decoders, resizes and crops get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import ImageData, build

__all__ = ["data_of", "image_folder"]

CLASSES = ("cat", "dog")


def image_folder(root: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    """root/train and root/val, each with a file of every kind in every class."""
    for seed, part in enumerate(("train", "val")):
        for number, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            write_files(folder, np.random.default_rng(10 * number + seed))
    return root


def write_files(folder: Path, rng: np.random.Generator) -> None:
    """Oriented, of 16 bits, transparent, grey, tall, wide, and smaller than a network's input."""

    def image(height: int, width: int, channels: int = 3) -> Image.Image:
        small = rng.integers(0, 256, (5, 7, channels), np.uint8)
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        coarse = Image.fromarray(small.squeeze(2) if channels == 1 else small, mode)
        return coarse.resize((width, height), Image.Resampling.BICUBIC)

    for orientation in (1, 2, 3, 4, 5, 6, 7, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image(90, 141).save(folder / f"turned{orientation}.jpg", exif=exif)
    for height, width in ((37, 300), (301, 40), (101, 100), (20, 11), (96, 96), (110, 131)):
        image(height, width).save(folder / f"{height}x{width}.png")
    deep = np.linspace(0, 65535, 120 * 77).reshape(120, 77).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(deep).save(folder / "deep.tif")
    image(70, 99, 1).save(folder / "grey.png")
    image(70, 99, 2).save(folder / "grey_alpha.png")
    image(120, 99, 4).save(folder / "alpha.png")
    image(64, 80).convert("P").save(folder / "palette.png", transparency=3)
    image(64, 80).convert("CMYK").save(folder / "printed.jpg")


def data_of(root: Path, size: int, channels: int = 3, **changes: object) -> ImageData:
    """The images of a folder."""
    values = {"mean": [0.4], "std": [0.3], "background": [200], **changes}
    config = DataConfig(
        name="image_folder", root=str(root), image_size=size, channels=channels, **values
    )
    return build(config, 16, 0)
