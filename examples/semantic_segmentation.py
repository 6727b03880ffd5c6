"""DeepLabV3 on an exported network, trained on images in CamVid's layout.

python examples/semantic_segmentation.py --model best --images camvid240
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from common import freeze_batch_norm, load_export, parser, read_image, to_tensor, train
from PIL import Image
from torch.nn.functional import cross_entropy
from torchvision.models.segmentation import DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

CLASSES, VOID = 11, 11  # CamVid's labels are 0 to 10; 11 is what nobody labelled
AUXILIARY = 0.5  # weight of the second loss


class SegmentationImages:
    """Square crops of ``train/*.jpg`` and of the label maps ``trainannot/*.png``.

    Args:
        folder: that holds both.
        channels: of the images that the network takes.
        size: sides of a crop in pixels; the shorter side of the image is scaled to it.
        seed: of the crops' places.
    """

    def __init__(self, folder: Path, channels: int, size: int, seed: int) -> None:
        self.paths = sorted((folder / "train").glob("*.jpg"))
        if not self.paths:
            sys.exit(f"--images {folder}: there is no train/*.jpg")
        self.annotations = folder / "trainannot"
        self.channels = channels
        self.size = size
        self.random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """An image ``[C, size, size]`` in [0, 1] and its labels ``[size, size]``."""
        path = self.paths[index]
        image = read_image(path, self.channels)
        with Image.open((self.annotations / path.name).with_suffix(".png")) as opened:
            labels = opened.copy()
        scale = self.size / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        left, top = (int(self.random.integers(side - self.size + 1)) for side in (width, height))
        box = (left, top, left + self.size, top + self.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop(box)
        labels = labels.resize((width, height), Image.Resampling.NEAREST).crop(box)
        return to_tensor(image, self.channels), torch.from_numpy(np.array(labels)).long()


def build(export: ModuleType, classes: int, size: int) -> DeepLabV3:
    """DeepLabV3 on the last map of the network, with an auxiliary head on the one before.

    Args:
        export: the module ``model.py`` of the exported network.
        classes: labels to tell apart.
        size: sides of an image in pixels.
    """
    network = export.build(pretrained=True)
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
    """Train, and print the losses."""
    title = (__doc__ or "").splitlines()[0]
    options = parser(title, batch=8, size=160, size_means="sides of a crop in pixels").parse_args()
    if options.batch < 2:
        sys.exit("--batch 1: DeepLab's pooled branch normalises one value per image, over two")
    torch.manual_seed(options.seed)
    export = load_export(options.model)
    channels = export.ARGUMENTS["in_channels"]
    data = SegmentationImages(options.images, channels, options.size, options.seed)
    model = build(export, CLASSES, options.size).to(options.device).train()
    freeze_batch_norm(model.backbone)

    def losses(indices: list[int]) -> dict[str, torch.Tensor]:
        images, labels = zip(*(data[index] for index in indices), strict=True)
        maps = model(export.preprocess(torch.stack(images).to(options.device)))
        truth = torch.stack(labels).to(options.device)
        return {
            "loss": cross_entropy(maps["out"], truth, ignore_index=VOID),
            "auxiliary": AUXILIARY * cross_entropy(maps["aux"], truth, ignore_index=VOID),
        }

    train(losses, model.parameters(), len(data), options)


if __name__ == "__main__":
    main()
