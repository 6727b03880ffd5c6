"""Faster R-CNN on an exported network, trained on images in COCO's layout.

python examples/detection.py --model best --images coco128_320
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from common import (
    CocoImages,
    anchor_generator,
    channel_statistics,
    freeze_batch_norm,
    load_export,
    parser,
    train,
)
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import MultiScaleRoIAlign

FPN_CHANNELS = 128  # 256 is usual on a GPU, and four times the work


def build(export: ModuleType, classes: int, size: int) -> FasterRCNN:
    """Faster R-CNN whose backbone is every stage of the network, behind a feature pyramid.

    Args:
        export: the module ``model.py`` of the exported network.
        classes: with the background.
        size: longest side of an image in pixels.
    """
    return FasterRCNN(num_classes=classes, **rcnn_arguments(export, size))


def rcnn_arguments(export: ModuleType, size: int) -> dict[str, Any]:
    """What any of torchvision's R-CNNs takes: backbone, images' statistics, anchors, pooling."""
    features = export.build(pretrained=True).features()
    maps = [str(level) for level in range(len(features.channels))]
    backbone = BackboneWithFPN(
        features,
        return_layers=dict(zip(features.names, maps, strict=True)),
        in_channels_list=features.channels,
        out_channels=FPN_CHANNELS,
    )
    mean, std = channel_statistics(export)
    return {
        "backbone": backbone,
        "min_size": size,
        "max_size": size,
        "image_mean": mean,
        "image_std": std,
        "rpn_anchor_generator": anchor_generator(len(maps) + 1, size),  # the FPN pools one more
        "box_roi_pool": MultiScaleRoIAlign(maps, output_size=7, sampling_ratio=2),
        # A half and an eighth of what is usual, for images of a few hundred pixels.
        "rpn_batch_size_per_image": 128,
        "box_batch_size_per_image": 64,
    }


def run(about: str | None, make: Callable[[ModuleType, int, int], nn.Module], masks: bool) -> None:
    """Read the command line, train the R-CNN, and print the losses."""
    title = (about or "").splitlines()[0]
    options = parser(title, batch=4, size=320, size_means="longest side in pixels").parse_args()
    torch.manual_seed(options.seed)
    export = load_export(options.model)
    data = CocoImages(options.images, export.ARGUMENTS["in_channels"], masks=masks)
    model = make(export, data.classes, options.size).to(options.device).train()
    freeze_batch_norm(model.backbone)  # type: ignore[arg-type]

    def losses(indices: list[int]) -> dict[str, torch.Tensor]:
        images, targets = zip(*(data[index] for index in indices), strict=True)
        parts: dict[str, torch.Tensor] = model(
            [image.to(options.device) for image in images],
            [{key: value.to(options.device) for key, value in t.items()} for t in targets],
        )
        return parts

    train(losses, model.parameters(), len(data), options)


if __name__ == "__main__":
    run(__doc__, build, masks=False)
