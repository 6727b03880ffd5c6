"""Faster R-CNN or Cascade R-CNN on an exported network, trained on images in COCO's layout.

python examples/detection.py --model best --images coco128_320
"""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import Any

import torch
from cascade import OVERLAPS, CascadeRoIHeads, stage_overlaps
from coco_images import CocoImages
from common import (
    anchor_generator,
    channel_statistics,
    freeze_batch_norm,
    load_export,
    parser,
    positive,
    print_table,
    read_options,
    refuse,
    train,
    trained,
)
from scores import detection_scores
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

POOLED = 7  # sides of what a box's head sees
WIDTH = 256  # channels of the pyramid, as in the papers
# A half, a quarter and an eighth of what is usual, for images of a few hundred pixels.
SMALL = {
    "rpn_batch_size_per_image": 128,
    "rpn_pre_nms_top_n_train": 500,
    "rpn_post_nms_top_n_train": 500,
    "rpn_pre_nms_top_n_test": 250,
    "rpn_post_nms_top_n_test": 250,
    "box_batch_size_per_image": 64,
}


def build(
    export: ModuleType,
    classes: int,
    size: int,
    *,
    width: int = WIDTH,
    masks: bool = False,
    cascade: bool = False,
) -> FasterRCNN:
    """An R-CNN whose backbone is every stage of the network, behind a feature pyramid.

    Args:
        export: the module ``model.py`` of the exported network.
        classes: with the background.
        size: longest side of an image in pixels.
        width: channels of the pyramid and of the masks' head; a box's head has four times as many.
        masks: Mask R-CNN in place of Faster R-CNN.
        cascade: three heads of rising overlap in place of one.
    """
    arguments = _backbone(export, size, width)
    maps = arguments["box_roi_pool"].featmap_names

    def head() -> TwoMLPHead:
        return TwoMLPHead(width * POOLED**2, 4 * width)

    arguments |= {"box_head": head(), "box_predictor": FastRCNNPredictor(4 * width, classes)}
    if masks:
        model: FasterRCNN = MaskRCNN(
            mask_roi_pool=MultiScaleRoIAlign(maps, output_size=2 * POOLED, sampling_ratio=2),
            mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(width, width, classes),
            **arguments,
        )
    else:
        model = FasterRCNN(**arguments)
    if cascade:
        heads = [head() for _ in OVERLAPS]
        model.roi_heads = CascadeRoIHeads(model.roi_heads, heads, 4 * width, classes)
    return model


def _backbone(export: ModuleType, size: int, width: int) -> dict[str, Any]:
    """What any of torchvision's R-CNNs takes: backbone, images' statistics, anchors, pooling."""
    features = trained(export).features()
    maps = [str(level) for level in range(len(features.channels))]
    backbone = BackboneWithFPN(
        features,
        return_layers=dict(zip(features.names, maps, strict=True)),
        in_channels_list=features.channels,
        out_channels=width,
    )
    mean, std = channel_statistics(export)
    return {
        "backbone": backbone,
        "min_size": size,
        "max_size": size,
        "image_mean": mean,
        "image_std": std,
        "rpn_anchor_generator": anchor_generator(len(maps) + 1, size),  # the FPN pools one more
        "box_roi_pool": MultiScaleRoIAlign(maps, output_size=POOLED, sampling_ratio=2),
        **(SMALL if size <= 400 else {}),
    }


def run(about: str | None, masks: bool) -> None:
    """Read the command line, train the R-CNN on each network, and print losses and scores."""
    title = (about or "").splitlines()[0]
    words = parser(title, batch=4, size=320, size_means="longest side in pixels")
    words.add_argument("--cascade", action="store_true", help="three heads of rising overlap")
    words.add_argument(
        "--width",
        type=positive,
        default=WIDTH,
        help="channels of the pyramid and of the masks' head",
    )
    options = read_options(words)
    rows = [_row(number, options, masks) for number in range(len(options.model))]
    print_table(rows, options.device)


def _row(number: int, options: argparse.Namespace, masks: bool) -> dict[str, str | float]:
    """Train the head on one of the networks; a row of the table."""
    export = load_export(options.model[number])
    torch.manual_seed(options.seed)
    channels = export.ARGUMENTS["in_channels"]
    data = CocoImages(options.images, channels, masks=masks, limit=options.overfit)
    judged = data if options.overfit else CocoImages(options.images, channels, "val", masks)
    if judged.classes != data.classes:
        refuse(
            f"--images {options.images}: {data.classes - 1} categories to train on, "
            f"{judged.classes - 1} to validate"
        )
    model = build(
        export,
        data.classes,
        options.size,
        width=options.width,
        masks=masks,
        cascade=options.cascade,
    )
    model.to(options.device).train()
    freeze_batch_norm(model.backbone)

    def losses(indices: list[int]) -> dict[str, torch.Tensor]:
        images, targets = zip(*(data[index] for index in indices), strict=True)
        parts: dict[str, torch.Tensor] = model(
            [image.to(options.device) for image in images],
            [_moved(target, options.device) for target in targets],
        )
        return parts

    seconds = train(model, losses, len(data), options, number)
    kind = ("Mask" if masks else "Faster", "Cascade Mask" if masks else "Cascade")[options.cascade]
    row = {"head": f"{kind} R-CNN", "backbone": export.ARGUMENTS["variant"]}
    if options.cascade:
        pairs = [data[index] for index in range(min(len(data), 8))]
        print_overlaps(model.eval(), pairs, options.device)
    return {**row, **_scores(model, judged, options.device), "seconds": f"{seconds:.0f}"}


def _scores(model: FasterRCNN, data: CocoImages, device: str) -> dict[str, float]:
    model.eval()

    def pairs() -> Any:
        for index in range(len(data)):
            image, truth = data.for_scores(index)
            with torch.inference_mode():
                (found,) = model([image.to(device)])
            yield _moved(found, "cpu"), truth

    return detection_scores(pairs(), data.masks)


def print_overlaps(
    model: FasterRCNN, pairs: list[tuple[torch.Tensor, dict[str, torch.Tensor]]], device: str
) -> None:
    """How near the boxes of proposals come to their objects, from head to head."""
    images, targets = zip(*pairs, strict=True)
    means = stage_overlaps(
        model,
        [image.to(device) for image in images],
        [_moved(target, device) for target in targets],
    )
    behind = ", ".join(
        f"head {number} (trained from {overlap}) {mean:.3f}"
        for number, (overlap, mean) in enumerate(zip(OVERLAPS, means[1:], strict=True), 1)
    )
    print(
        f"mean overlap with their objects, on {len(pairs)} images trained on: "
        f"proposals {means[0]:.3f}, {behind}"
    )


def _moved(target: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    return {key: value.to(device) for key, value in target.items()}


if __name__ == "__main__":
    run(__doc__, masks=False)
