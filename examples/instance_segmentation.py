"""Mask R-CNN on an exported network, trained on images in COCO's layout.

python examples/instance_segmentation.py --model best --images coco128_320
"""

from __future__ import annotations

from types import ModuleType

from detection import rcnn_arguments, run
from torchvision.models.detection import MaskRCNN
from torchvision.ops import MultiScaleRoIAlign


def build(export: ModuleType, classes: int, size: int) -> MaskRCNN:
    """Faster R-CNN's parts, and a mask for each box; see `detection.build`."""
    arguments = rcnn_arguments(export, size)
    maps = arguments["box_roi_pool"].featmap_names
    mask_pool = MultiScaleRoIAlign(maps, output_size=14, sampling_ratio=2)
    return MaskRCNN(num_classes=classes, mask_roi_pool=mask_pool, **arguments)


if __name__ == "__main__":
    run(__doc__, build, masks=True)
