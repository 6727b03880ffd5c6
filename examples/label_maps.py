"""Label maps of ADE20K, Cityscapes and CamVid, each in its own layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import open_image, read_image, refuse, to_tensor
from PIL import Image
from scores import VOID
from torchvision.datasets import Cityscapes

__all__ = ["Layout", "SegmentationImages", "find"]


@dataclass(frozen=True)
class Layout:
    """Images, their label maps, and what the maps' values mean.

    Attributes:
        pairs: files of an image and of its label map.
        train_ids: of each value of a label map its label, `VOID` or -1 for one that has no
            meaning; ``[256]``.
        classes: how many labels there are.
    """

    pairs: list[tuple[Path, Path]]
    train_ids: np.ndarray
    classes: int


def find(folder: Path, split: str) -> Layout:
    """The layout of a folder, by what lies in it.

    ADE20K (the benchmark of 150 classes) has ``images/training``, ``annotations/training`` and
    ``…/validation``, with 0 for everything else. Cityscapes has ``leftImg8bit/train/CITY`` and
    ``gtFine/train/CITY``, whose ``labelTrainIds`` are preferred to ``labelIds``. CamVid has
    ``train`` and ``trainannot``, with 11 for void.

    Args:
        folder: of the data set.
        split: ``train`` or ``val``.
    """
    if (folder / "leftImg8bit").is_dir():
        layout = _cityscapes(folder, split)
    elif (folder / "images").is_dir():
        layout = _ade20k(folder, {"train": "training", "val": "validation"}[split])
    else:
        layout = _camvid(folder, split)
    for image, labels in layout.pairs:
        if not labels.is_file():
            refuse(f"{image}: there is no label map {labels}")
    if not layout.pairs:
        refuse(
            f"--images {folder}: no images of {split} in the layout of ADE20K (images/training, "
            "annotations/training), Cityscapes (leftImg8bit, gtFine) or CamVid (train, trainannot)"
        )
    return layout


def _ade20k(folder: Path, split: str) -> Layout:
    images = sorted((folder / "images" / split).glob("*.jpg"))
    labels = folder / "annotations" / split
    pairs = [(image, labels / f"{image.stem}.png") for image in images]
    return Layout(pairs, _table({0: VOID, **{value: value - 1 for value in range(1, 151)}}), 150)


def _cityscapes(folder: Path, split: str) -> Layout:
    images = sorted((folder / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))

    def pairs(kind: str) -> list[tuple[Path, Path]]:
        fine = folder / "gtFine" / split
        return [
            (image, fine / image.parent.name / image.name.replace("leftImg8bit", f"gtFine_{kind}"))
            for image in images
        ]

    converted = pairs("labelTrainIds")
    # 255 is void in both: what Cityscapes numbers -1 is written as 255.
    if all(labels.is_file() for _, labels in converted):
        return Layout(converted, _table({VOID: VOID, **{value: value for value in range(19)}}), 19)
    known = {entry.id: entry.train_id for entry in Cityscapes.classes if entry.id >= 0}
    return Layout(pairs("labelIds"), _table({VOID: VOID, **known}), 19)


def _camvid(folder: Path, split: str) -> Layout:
    images = sorted(
        path for path in (folder / split).glob("*") if path.suffix in (".jpg", ".jpeg", ".png")
    )
    labels = folder / f"{split}annot"
    pairs = [(image, labels / f"{image.stem}.png") for image in images]
    return Layout(pairs, _table({11: VOID, **{value: value for value in range(11)}}), 11)


def _table(known: dict[int, int]) -> np.ndarray:
    table = np.full(256, -1, dtype=np.int64)
    table[list(known)] = list(known.values())
    return table


class SegmentationImages:
    """Square crops for training, at random by torch's seed, and whole images for scores.

    Args:
        layout: see `find`.
        channels: of the images that the network takes.
        size: sides of a crop in pixels; the shorter side of the image is scaled to it.
        limit: take the first images alone.
    """

    def __init__(self, layout: Layout, channels: int, size: int, limit: int | None = None) -> None:
        self.layout = layout
        self.pairs = layout.pairs[:limit]
        self.channels = channels
        self.size = size

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """An image ``[C, size, size]`` in [0, 1] and its labels ``[size, size]``."""
        image, labels = self._read(index)
        width, height = image.size
        left, top = (int(torch.randint(side - self.size + 1, ())) for side in (width, height))
        box = (left, top, left + self.size, top + self.size)
        labels = labels.resize((width, height), Image.Resampling.NEAREST).crop(box)
        return to_tensor(image.crop(box), self.channels), self._labels(index, labels)

    def for_scores(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The whole image, scaled, and its labels as they are in the file."""
        image, labels = self._read(index)
        return to_tensor(image, self.channels), self._labels(index, labels)

    def _read(self, index: int) -> tuple[Image.Image, Image.Image]:
        path, labels_path = self.pairs[index]
        image = read_image(path, self.channels)
        labels = open_image(labels_path)
        if labels.mode not in ("L", "P"):
            refuse(f"{labels_path}: mode {labels.mode}; a label map has one value a pixel (L, P)")
        scale = self.size / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR), labels

    def _labels(self, index: int, labels: Image.Image) -> torch.Tensor:
        values = np.array(labels)
        known = self.layout.train_ids[values]
        if (known < 0).any():
            refuse(
                f"{self.pairs[index][1]}: value {values[known < 0][0]} is no label of this layout"
            )
        return torch.from_numpy(known)
