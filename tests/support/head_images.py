"""An exported network with fresh weights, and made-up images for the examples in examples/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from resnest_search.data.preprocessing import SHORTER, Preprocessing
from resnest_search.export.formats.base import Winner
from resnest_search.export.formats.source import SOURCE
from resnest_search.models.resnest import ResNeSt
from resnest_search.variant import Variant

pytest.importorskip("pycocotools")  # an extra

SIDE = 64  # of an image in pixels
FOUR_STAGES: dict[str, Any] = {
    "depths": [1, 1, 1, 1],
    "planes": [8, 16, 32, 64],
    "stem": "deep",
    "stem_width": 8,
    "in_channels": 3,
}
TWO_STAGES: dict[str, Any] = {
    "depths": [1, 1],
    "planes": [8, 16],
    "stem": "small",
    "stem_width": 8,
    "in_channels": 1,
}


def export(
    folder: Path, options: dict[str, Any], broken: bool = False, variant: str = "2s1x64d"
) -> Path:
    """An exported folder with fresh weights, or with one that is not a number."""
    arguments = {**options, "num_classes": 10}
    torch.manual_seed(0)
    network = ResNeSt(Variant.parse(variant), **arguments).eval()
    if broken:
        network.layer1[0].conv1.weight.data[0] = float("nan")
    channels = options["in_channels"]
    winner = Winner(
        title="A test's.",
        arguments={"variant": variant, **arguments},
        network=network,
        preprocessing=Preprocessing(
            channels, channels, (255,), SHORTER, SIDE, SIDE, (0.4,) * channels, (0.3,) * channels
        ),
        class_names=tuple("abcdefghij"),
    )
    folder.mkdir()
    SOURCE.write(winner, folder)
    return folder


def coco_images(folder: Path, count: int = 12) -> Path:
    """Red rectangles as polygons and green discs as runs, one to three on each image.

    The categories' ids have a gap, as COCO's. A crowd and a thin box, to be passed over, lie
    on the first image, and the second of all has nothing.
    """
    rng = np.random.default_rng(0)
    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for number in range(1, count + 1):
        canvas = Image.fromarray(rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8))
        draw = ImageDraw.Draw(canvas)
        for _ in range(0 if number == 2 else int(rng.integers(1, 4))):
            side = int(rng.integers(16, 32))
            x, y = (int(value) for value in rng.integers(0, SIDE - side, 2))
            corners = (x, y, x + side, y + side)
            record: dict[str, Any] = {"image_id": number, "bbox": [x, y, side, side]}
            if rng.random() < 0.5:
                draw.rectangle(corners, fill=(220, 30, 30))
                polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
                record |= {"category_id": 1, "segmentation": [polygon], "iscrowd": 0}
            else:
                draw.ellipse(corners, fill=(30, 220, 30))
                mask = Image.new("L", (SIDE, SIDE))
                ImageDraw.Draw(mask).ellipse(corners, fill=1)
                record |= {"category_id": 7, "segmentation": runs(np.array(mask)), "iscrowd": 0}
            annotations.append(record)
        canvas.save(folder / "train2017" / f"{number:06d}.jpg")
        name = f"{number:06d}.jpg"
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
    first = annotations[0]
    annotations += [{**first, "iscrowd": 1}, {**first, "bbox": [3, 3, 0.5, 20]}]
    annotations = [{**entry, "id": number} for number, entry in enumerate(annotations, 1)]
    categories = [{"id": 1, "name": "rectangle"}, {"id": 7, "name": "disc"}]
    record = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return folder


def runs(mask: np.ndarray) -> dict[str, Any]:
    """The mask as lengths of runs of 0 and 1 by turns, column by column, as COCO writes it."""
    flat = mask.T.reshape(-1)
    counts, value, length = [], 0, 0
    for pixel in flat:
        if pixel != value:
            counts.append(length)
            value, length = int(pixel), 0
        length += 1
    return {"size": list(mask.shape), "counts": [*counts, length]}


def street_images(folder: Path, count: int = 12) -> Path:
    """A sky, a road and a car of their colours, and label maps with a void frame; not square."""
    rng = np.random.default_rng(0)
    for name in ("train", "trainannot"):
        (folder / name).mkdir(parents=True)
    width, height = SIDE * 4 // 3, SIDE
    colours = np.array([[200, 220, 255]] * 3 + [[90, 90, 90]] * 5 + [[200, 40, 40]] * 3 + [[0] * 3])
    for number in range(count):
        horizon, left = int(rng.integers(20, 40)), int(rng.integers(5, 50))
        labels = np.zeros((height, width), dtype=np.uint8)
        labels[horizon:] = 3
        labels[horizon - 5 : horizon + 15, left : left + 25] = 8
        labels[:2] = 11
        noise = rng.integers(-20, 20, (height, width, 3))
        pixels = (colours[labels] + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "train" / f"{number}.jpg")
        Image.fromarray(labels).save(folder / "trainannot" / f"{number}.png")
    return folder
