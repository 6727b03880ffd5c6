"""mAP of boxes and masks, and mIoU of label maps, by torchmetrics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torchmetrics import JaccardIndex
from torchmetrics.detection import MeanAveragePrecision

__all__ = ["VOID", "detection_scores", "mean_iou"]

VOID = 255  # the label of pixels that count neither in training nor in mIoU


def detection_scores(
    pairs: Iterable[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]], masks: bool
) -> dict[str, float]:
    """COCO's mean average precision, by pycocotools.

    Args:
        pairs: of each image what torchvision's R-CNN gives (``boxes``, ``scores``, ``labels``,
            with masks the probabilities ``[N, 1, H, W]``) and the truth (``boxes``, ``labels``,
            and if there are any ``iscrowd`` and ``masks [N, H, W]``).
        masks: score masks, too.

    Returns:
        ``box mAP50`` and ``box mAP`` (over overlaps of 0.5 to 0.95), with masks ``mask mAP50`` and
        ``mask mAP``; in [0, 1], and -1 where no image has an object.
    """
    kinds = ("bbox", "segm") if masks else ("bbox",)
    metric = MeanAveragePrecision(iou_type=kinds, backend="pycocotools")
    for found, truth in pairs:
        if masks:
            found = {**found, "masks": found["masks"][:, 0] > 0.5}
            truth = {**truth, "masks": truth["masks"].bool()}
        metric.update([found], [truth])
    result = metric.compute()
    scores = {}
    for kind, name in zip(kinds, ("box", "mask"), strict=False):
        prefix = f"{kind}_" if masks else ""
        scores[f"{name} mAP50"] = result[f"{prefix}map_50"].item()
        scores[f"{name} mAP"] = result[f"{prefix}map"].item()
    return scores


def mean_iou(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], classes: int) -> float:
    """Intersection over union of each class over all images, and of these the mean.

    `VOID` is left out, and so is a class that neither the labels nor the answers have.

    Args:
        pairs: answers and labels ``[H, W]`` of each image.
        classes: labels are 0 to this less 1, or `VOID`.
    """
    metric = JaccardIndex(task="multiclass", num_classes=classes, ignore_index=VOID)
    for answers, labels in pairs:
        metric.update(answers[None], labels[None])
    return float(metric.compute())
