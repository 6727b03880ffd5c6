"""Images in COCO's layout, read with pycocotools."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import read_image, refuse, to_tensor
from pycocotools.coco import COCO

__all__ = ["CocoImages"]


class CocoImages:
    """Images of a folder in COCO's layout, with boxes, labels and, if asked for, masks.

    Reads ``annotations/instances_<name>.json``, or without masks ``detection_<name>.json``, and
    the images of ``<name>/``, where the name begins with the split's: ``train2017``, ``val``.
    Boxes thinner than a pixel are passed over.

    Args:
        folder: that holds both.
        channels: of the images that the network takes.
        split: ``train``, whose images without an object are passed over, or ``val``.
        masks: give the mask of every object, too.
        limit: take the first ones alone.

    Attributes:
        classes: with the background, which is label 0.
    """

    def __init__(
        self,
        folder: Path,
        channels: int,
        split: str = "train",
        masks: bool = False,
        limit: int | None = None,
    ) -> None:
        path = _annotations(folder, split, masks)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self.record = COCO(str(path))
            categories = self.record.getCatIds()
            for entry in self.record.loadAnns(self.record.getAnnIds()):
                if len(entry["bbox"]) != 4 or entry["category_id"] not in categories:
                    raise ValueError(f"annotation {entry['id']}: bbox or category_id is none")
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            refuse(f"{path}: not COCO's format ({type(error).__name__}: {error})")
        self.folder = folder / path.stem.partition("_")[2]
        self.channels = channels
        self.masks = masks
        # COCO's ids have gaps; labels have none.
        self.labels = {identity: label for label, identity in enumerate(sorted(categories), 1)}
        self.classes = len(categories) + 1
        found = self.record.loadImgs(self.record.getImgIds())
        if split == "train":
            found = [image for image in found if self._objects(image, crowds=False)]
        self.images = found[:limit]
        if not self.images:
            refuse(f"{path}: there is no image with an object")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """An image ``[C, H, W]`` in [0, 1] and the target that torchvision's R-CNNs take."""
        return self._image(index), self._target(index, crowds=False)

    def for_scores(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The same with ``iscrowd``: what is found in a crowd counts neither way."""
        return self._image(index), self._target(index, crowds=True)

    def _image(self, index: int) -> torch.Tensor:
        path = self.folder / self.images[index]["file_name"]
        if not path.is_file():
            refuse(f"{path}: there is no such image")
        return to_tensor(read_image(path, self.channels), self.channels)

    def _objects(self, image: dict[str, Any], crowds: bool) -> list[dict[str, Any]]:
        found = self.record.loadAnns(self.record.getAnnIds(imgIds=image["id"]))
        return [
            entry
            for entry in found
            if min(entry["bbox"][2:]) >= 1 and (crowds or not entry.get("iscrowd"))
        ]

    def _target(self, index: int, crowds: bool) -> dict[str, torch.Tensor]:
        image = self.images[index]
        objects = self._objects(image, crowds)
        boxes = torch.tensor([entry["bbox"] for entry in objects]).float().reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]  # x, y, width, height -> x, y, x, y
        labels = [self.labels[entry["category_id"]] for entry in objects]
        target = {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}
        if crowds:
            crowd = [int(entry.get("iscrowd", 0)) for entry in objects]
            target["iscrowd"] = torch.tensor(crowd, dtype=torch.int64)
        if self.masks:
            drawn = [self.record.annToMask(entry) for entry in objects]
            empty = np.zeros((0, image["height"], image["width"]), np.uint8)
            target["masks"] = torch.from_numpy(np.stack(drawn) if drawn else empty)
        return target


def _annotations(folder: Path, split: str, masks: bool) -> Path:
    """The file of the split's annotations."""
    kinds = ("instances",) if masks else ("instances", "detection")
    names = [f"annotations/{kind}_{split}*.json" for kind in kinds]
    found = [path for name in names for path in sorted(folder.glob(name))]
    if not found:
        refuse(f"--images {folder}: there is no {' nor '.join(names)}")
    return found[0]
