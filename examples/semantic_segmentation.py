"""DeepLabV3 on an exported network, trained on ADE20K, Cityscapes or CamVid in their layouts.

python examples/semantic_segmentation.py --model best --images camvid240
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from types import ModuleType

import torch
from common import (
    freeze_batch_norm,
    load_export,
    parser,
    print_table,
    read_options,
    refuse,
    train,
    trained,
)
from label_maps import SegmentationImages, find
from scores import VOID, mean_iou
from torch.nn.functional import cross_entropy, interpolate
from torchvision.models.segmentation import DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

AUXILIARY = 0.5  # weight of the second loss


def build(export: ModuleType, classes: int, size: int) -> DeepLabV3:
    """DeepLabV3 on the last map of the network, with an auxiliary head on the one before.

    Args:
        export: the module ``model.py`` of the exported network.
        classes: labels to tell apart.
        size: sides of an image in pixels.
    """
    network = trained(export)
    last = len(network.stages)
    # Stride 8 is DeepLab's usual; a network of few stages may not get that far.
    features = network.features(
        out_indices=[last - 1, last],
        output_stride=min(8, network.strides[-1]),
        names=["aux", "out"],
    )
    # The rates 12, 24 and 36 were made for maps of 65 steps; on a smaller one most of the
    # 3x3's taps would fall outside.
    side = size // features.strides[-1]
    rates = [max(1, round(rate * side / 65)) for rate in (12, 24, 36)]
    return DeepLabV3(
        features,
        DeepLabHead(features.channels[1], classes, rates),
        FCNHead(features.channels[0], classes),
    )


def main() -> None:
    """Train DeepLabV3 on each network, and print losses and scores."""
    title = (__doc__ or "").splitlines()[0]
    options = read_options(parser(title, batch=8, size=160, size_means="sides of a crop in pixels"))
    if options.batch < 2:
        refuse("--batch 1: DeepLab's pooled branch normalises one value per image, over two")
    rows = [_row(number, options) for number in range(len(options.model))]
    print_table(rows, options.device)


def _row(number: int, options: argparse.Namespace) -> dict[str, str | float]:
    """Train the head on one of the networks; a row of the table."""
    export = load_export(options.model[number])
    torch.manual_seed(options.seed)
    channels = export.ARGUMENTS["in_channels"]
    layout = find(options.images, "train")
    data = SegmentationImages(layout, channels, options.size, options.overfit)
    judged = data
    if not options.overfit:
        judged = SegmentationImages(find(options.images, "val"), channels, options.size)
    model = build(export, layout.classes, options.size).to(options.device).train()
    freeze_batch_norm(model.backbone)

    def losses(indices: list[int]) -> dict[str, torch.Tensor]:
        images, labels = zip(*(data[index] for index in indices), strict=True)
        maps = model(export.preprocess(torch.stack(images).to(options.device)))
        truth = torch.stack(labels).to(options.device)
        return {
            "loss": cross_entropy(maps["out"], truth, ignore_index=VOID),
            "auxiliary": AUXILIARY * cross_entropy(maps["aux"], truth, ignore_index=VOID),
        }

    seconds = train(model, losses, len(data), options, number)
    model.eval()

    def pairs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for index in range(len(judged)):
            image, labels = judged.for_scores(index)
            with torch.inference_mode():
                logits = model(export.preprocess(image[None].to(options.device)))["out"]
            logits = interpolate(logits.cpu(), labels.shape, mode="bilinear", align_corners=False)
            yield logits.argmax(1)[0], labels

    score = mean_iou(pairs(), layout.classes)
    return {
        "head": "DeepLabV3",
        "backbone": export.ARGUMENTS["variant"],
        "mIoU": score,
        "seconds": f"{seconds:.0f}",
    }


if __name__ == "__main__":
    main()
