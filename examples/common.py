"""What the three examples share: the exported network, its images, and a short training loop.

They need torch, torchvision, numpy, PIL and an exported folder, but not resnest_search.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator

__all__ = [
    "CocoImages",
    "anchor_generator",
    "batches",
    "channel_statistics",
    "draw_mask",
    "freeze_batch_norm",
    "load_export",
    "parser",
    "read_image",
    "to_tensor",
    "train",
]


def parser(description: str, *, batch: int, size: int, size_means: str) -> argparse.ArgumentParser:
    """The options of every example."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument(
        "--model", type=Path, default=Path("best"), help="exported folder: model.py and weights.pt"
    )
    options.add_argument("--images", type=Path, required=True, help="folder of the data set")
    options.add_argument("--steps", type=int, default=120, help="batches to train on, at least 4")
    options.add_argument("--batch", type=int, default=batch, help="images of a batch")
    options.add_argument("--size", type=int, default=size, help=size_means)
    options.add_argument("--learning-rate", type=float, default=5e-4, help="of AdamW")
    options.add_argument("--every", type=int, default=5, help="steps between two printed losses")
    options.add_argument("--seed", type=int, default=0, help="of the head's weights and the order")
    options.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch's name"
    )
    return options


def load_export(folder: Path) -> ModuleType:
    """The module ``model.py`` of an exported folder, wherever that lies."""
    path = folder / "model.py"
    spec = importlib.util.spec_from_file_location("exported_model", path)
    if not path.is_file() or spec is None or spec.loader is None:
        sys.exit(f"--model {folder}: there is no model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def channel_statistics(export: ModuleType) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, as the network was trained with."""
    channels = export.ARGUMENTS["in_channels"]
    return list(export.MEAN) or [0.0] * channels, list(export.STD) or [1.0] * channels


def freeze_batch_norm(backbone: nn.Module) -> None:
    """Keep the exported running statistics; call it after ``train()``, which would undo it.

    Detection trains on two to four images at a time, too few to normalise by. The batch norm
    of split attention is the strictest case: it sees one value per image, so that a batch of
    two would leave it nothing but +1 and -1, and one of a single image is an error.
    Scale and shift of each norm are trained all the same.
    """
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def anchor_generator(maps: int, size: int) -> AnchorGenerator:
    """Anchors from a 20th of an image on the first map to four fifths of it on the last.

    On images of 320 pixels five maps have 16, 32, 64, 128 and 256, each in three shapes.

    Args:
        maps: of the pyramid, at least 2.
        size: longest side of the images in pixels.
    """
    growth = 16 ** (1 / (maps - 1))
    sides = tuple((round(size / 20 * growth**level),) for level in range(maps))
    return AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * maps)


def read_image(path: Path, channels: int) -> Image.Image:
    """An image in colour for a network of 3 channels, in grey for any other."""
    with Image.open(path) as image:
        return image.convert("RGB" if channels == 3 else "L")


def to_tensor(image: Image.Image, channels: int) -> torch.Tensor:
    """An image of `read_image` as ``[channels, H, W]`` in [0, 1]."""
    pixels = torch.from_numpy(np.array(image)).float() / 255  # [H, W] or [H, W, 3]
    if pixels.ndim == 2:
        return pixels.expand(channels, -1, -1).contiguous()
    return pixels.permute(2, 0, 1).contiguous()


class CocoImages:
    """Images of a folder in COCO's layout, with boxes, labels and, if asked for, masks.

    Reads ``annotations/instances_train2017.json`` and ``train2017/``. Crowds, boxes thinner
    than a pixel and images on which nothing is left are passed over.

    Args:
        folder: that holds both.
        channels: of the images that the network takes.
        masks: give the mask of every object too.

    Attributes:
        classes: with the background, which is label 0.
    """

    def __init__(self, folder: Path, channels: int, masks: bool = False) -> None:
        path = folder / "annotations" / "instances_train2017.json"
        if not path.is_file():
            sys.exit(f"--images {folder}: there is no annotations/instances_train2017.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        self.folder = folder / "train2017"
        self.channels = channels
        self.masks = masks
        # COCO's ids have gaps; labels have none.
        ids = sorted(category["id"] for category in record["categories"])
        self.labels = {identity: label for label, identity in enumerate(ids, start=1)}
        self.classes = len(ids) + 1
        self.objects: dict[int, list[dict[str, Any]]] = {}
        for annotation in record["annotations"]:
            if not annotation.get("iscrowd") and min(annotation["bbox"][2:]) >= 1:
                self.objects.setdefault(annotation["image_id"], []).append(annotation)
        self.images = [image for image in record["images"] if image["id"] in self.objects]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """An image ``[C, H, W]`` in [0, 1] and the target that torchvision's R-CNNs take."""
        image = read_image(self.folder / self.images[index]["file_name"], self.channels)
        objects = self.objects[self.images[index]["id"]]
        boxes = torch.tensor([entry["bbox"] for entry in objects], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]  # x, y, width, height -> x, y, x, y
        labels = [self.labels[entry["category_id"]] for entry in objects]
        target = {"boxes": boxes, "labels": torch.tensor(labels)}
        if self.masks:
            drawn = [draw_mask(entry["segmentation"], *image.size) for entry in objects]
            target["masks"] = torch.from_numpy(np.stack(drawn))
        return to_tensor(image, self.channels), target


def draw_mask(segmentation: Any, width: int, height: int) -> np.ndarray:
    """A COCO segmentation as ``[height, width]`` of 0 and 1.

    It is a list of polygons, or the lengths of runs of 0 and 1 by turns, column by column.

    Raises:
        ValueError: the runs are written as pycocotools' compressed text.
    """
    if isinstance(segmentation, list):
        canvas = Image.new("L", (width, height))
        for polygon in segmentation:
            ImageDraw.Draw(canvas).polygon(polygon, fill=1, outline=1)
        return np.array(canvas)
    runs = segmentation["counts"]
    if isinstance(runs, str):
        raise ValueError("compressed run lengths: write them as lists of numbers")
    values = np.arange(len(runs), dtype=np.uint8) % 2
    return np.repeat(values, runs).reshape(width, height).T.copy()


def batches(count: int, batch: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Indices of batch after batch without an end; every image once before any again."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:batch]
        waiting = waiting[batch:]


def train(
    losses: Callable[[list[int]], dict[str, torch.Tensor]],
    parameters: Iterator[nn.Parameter],
    count: int,
    options: argparse.Namespace,
) -> None:
    """Minimise the sum of the losses; prints them, and at the end how far they fell.

    Args:
        losses: of the images of these indices.
        parameters: to train.
        count: of images.
        options: see `parser`.
    """
    if options.steps < 4:
        sys.exit(f"--steps {options.steps}: at least 4, for a first and a last quarter")
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, options.learning_rate, weight_decay=1e-4)
    # The heads are fresh, so that the first gradients would tear at the trained backbone.
    length = max(1, options.steps // 10)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=length)
    order = batches(count, options.batch, torch.Generator().manual_seed(options.seed))
    history = []
    for step in range(1, options.steps + 1):
        parts = losses(next(order))
        loss = torch.stack(list(parts.values())).sum()
        history.append(loss.item())
        if not math.isfinite(history[-1]):
            sys.exit(f"step {step}: the loss is {history[-1]}")
        if step % options.every == 0 or step == 1:
            named = ", ".join(f"{name} {part.item():.4f}" for name, part in parts.items())
            print(f"step {step:4d}  loss {history[-1]:.4f}  ({named})", flush=True)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        warmup.step()
    quarter = options.steps // 4
    first, last = sum(history[:quarter]) / quarter, sum(history[-quarter:]) / quarter
    print(f"mean loss: first quarter {first:.4f}, last quarter {last:.4f}")
