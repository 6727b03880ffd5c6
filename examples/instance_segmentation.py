"""Mask R-CNN or Cascade Mask R-CNN on an exported network, trained on images in COCO's layout.

python examples/instance_segmentation.py --model best --images coco128_320
"""

from __future__ import annotations

from detection import run

if __name__ == "__main__":
    run(__doc__, masks=True)
