"""Cascade R-CNN: three heads of rising overlap, on torchvision's RoI heads.

Cai and Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection",
arXiv 1712.00726.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import box_iou, clip_boxes_to_image

__all__ = ["BOX_WEIGHTS", "LOSS_WEIGHTS", "OVERLAPS", "CascadeRoIHeads", "stage_overlaps"]

OVERLAPS = (0.5, 0.6, 0.7)  # with an object, from which on a head takes a box for it
# One over the standard deviations of a head's regression targets, as torchvision writes them.
# They shrink from head to head, since the boxes come closer.
BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
LOSS_WEIGHTS = (1.0, 0.5, 0.25)


class BoxPredictor(nn.Module):
    """Scores of the classes, and one box for all of them.

    torchvision wants a box for each class, so that the one is repeated.

    Args:
        width: of the features.
        classes: with the background.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, classes)
        self.bbox_pred = nn.Linear(width, 4)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``[N, classes]`` and deltas ``[N, classes * 4]`` of features ``[N, width]``."""
        logits = self.cls_score(features)
        return logits, self.bbox_pred(features).repeat(1, logits.shape[1])


class CascadeRoIHeads(RoIHeads):
    """Takes the place of torchvision's ``RoIHeads`` in a Faster or Mask R-CNN.

    Each head trains on the boxes that the one before has refined, sampled anew by its own overlap;
    the losses are weighted 1, 0.5 and 0.25. In use the last head's boxes count, and the mean of the
    three heads' scores. Of a Mask R-CNN the last head alone has the masks, whose loss keeps its
    weight of 1.

    Args:
        plain: the RoI heads to replace; pooling, sampling, limits and masks are theirs.
        heads: three modules from pooled maps to features ``[N, width]``.
        width: of the features.
        classes: with the background.
    """

    def __init__(
        self, plain: RoIHeads, heads: Sequence[nn.Module], width: int, classes: int
    ) -> None:
        def options(stage: int) -> dict[str, Any]:
            return {
                "box_roi_pool": plain.box_roi_pool,
                "box_head": heads[stage],
                "box_predictor": BoxPredictor(width, classes),
                "fg_iou_thresh": OVERLAPS[stage],
                "bg_iou_thresh": OVERLAPS[stage],
                "batch_size_per_image": plain.fg_bg_sampler.batch_size_per_image,
                "positive_fraction": plain.fg_bg_sampler.positive_fraction,
                "bbox_reg_weights": BOX_WEIGHTS[stage],
                "score_thresh": plain.score_thresh,
                "nms_thresh": plain.nms_thresh,
                "detections_per_img": plain.detections_per_img,
            }

        masks = {name: getattr(plain, f"mask_{name}") for name in ("roi_pool", "head", "predictor")}
        super().__init__(**options(2), **{f"mask_{name}": part for name, part in masks.items()})
        self.earlier = nn.ModuleList(RoIHeads(**options(stage)) for stage in range(2))
        self._earlier_scores: list[torch.Tensor] = []

    def forward(
        self,
        features: dict[str, torch.Tensor],
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, torch.Tensor]] | None = None,
    ) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """Detections in evaluation, losses in training, as ``RoIHeads`` gives them.

        The earlier heads' losses have their number in the name: ``loss_classifier_1``.
        """
        losses: dict[str, torch.Tensor] = {}
        self._earlier_scores = []
        for number, stage in enumerate(self.earlier):
            if self.training:
                samples = stage.select_training_samples(proposals, targets)
                proposals, _, labels, regression = samples
            logits, deltas = _predict(stage, features, proposals, image_shapes)
            if self.training:
                parts = fastrcnn_loss(logits, deltas, labels, regression)
                for name, part in zip(("classifier", "box_reg"), parts, strict=True):
                    losses[f"loss_{name}_{number + 1}"] = LOSS_WEIGHTS[number] * part
                refined = _refined(stage, deltas, proposals, image_shapes)
                proposals = _without_truth(refined, proposals, targets or [])
            else:
                self._earlier_scores.append(logits.softmax(-1))
                proposals = _refined(stage, deltas, proposals, image_shapes)
        result, last = super().forward(features, proposals, image_shapes, targets)
        for name in ("loss_classifier", "loss_box_reg"):
            if name in last:
                last[name] = LOSS_WEIGHTS[2] * last[name]
        return result, {**losses, **last}

    def postprocess_detections(
        self,
        class_logits: torch.Tensor,
        box_regression: torch.Tensor,
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """As in ``RoIHeads``, with the mean of the three heads' scores."""
        scores = torch.stack([*self._earlier_scores, class_logits.softmax(-1)]).mean(0)
        # The softmax to come undoes the logarithm: scores sum to 1.
        return super().postprocess_detections(scores.log(), box_regression, proposals, image_shapes)

    def boxes_by_stage(
        self,
        features: dict[str, torch.Tensor],
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> list[list[torch.Tensor]]:
        """The proposals of each image, and the same boxes behind each head: four lists."""
        boxes = [proposals]
        for stage in (*self.earlier, self):
            _, deltas = _predict(stage, features, boxes[-1], image_shapes)
            boxes.append(_refined(stage, deltas, boxes[-1], image_shapes))
        return boxes


def _predict(
    stage: RoIHeads,
    features: dict[str, torch.Tensor],
    proposals: list[torch.Tensor],
    image_shapes: list[tuple[int, int]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and deltas of a head for all images' boxes."""
    pooled = stage.box_roi_pool(features, proposals, image_shapes)
    logits, deltas = stage.box_predictor(stage.box_head(pooled))
    return logits, deltas


def _refined(
    stage: RoIHeads,
    deltas: torch.Tensor,
    proposals: list[torch.Tensor],
    image_shapes: list[tuple[int, int]],
) -> list[torch.Tensor]:
    """The boxes that a head makes of its proposals; no gradient flows through them."""
    decoded = stage.box_coder.decode(deltas.detach(), proposals)[:, 0]  # all classes' are the same
    split = decoded.split([len(boxes) for boxes in proposals])
    return [clip_boxes_to_image(*pair) for pair in zip(split, image_shapes, strict=True)]


def _without_truth(
    refined: list[torch.Tensor],
    proposals: list[torch.Tensor],
    targets: list[dict[str, torch.Tensor]],
) -> list[torch.Tensor]:
    """The refined boxes less those that began as an object's own box.

    torchvision adds those boxes to each head's samples: refined, they would be easier than
    anything that a head meets in use.
    """
    kept = []
    for after, before, target in zip(refined, proposals, targets, strict=True):
        same = (before[:, None] == target["boxes"].to(before.dtype)).all(-1).any(-1)
        kept.append(after[~same])
    return kept


@torch.no_grad()
def stage_overlaps(
    model: FasterRCNN,
    images: list[torch.Tensor],
    targets: list[dict[str, torch.Tensor]],
) -> list[float]:
    """Mean overlap of boxes with their objects: of the proposals, and behind each of three heads.

    A proposal's object is the one that it overlaps most; those below 0.5 are left out, so that
    all four means are over the same boxes and the same objects. NaN without any.

    Args:
        model: a Faster or Mask R-CNN with `CascadeRoIHeads`, in evaluation.
        images: ``[C, H, W]`` each.
        targets: with ``boxes`` in pixels.
    """
    batch, resized = model.transform(images, targets)
    features = model.backbone(batch.tensors)
    proposals, _ = model.rpn(batch, features)
    stages = model.roi_heads.boxes_by_stage(features, proposals, batch.image_sizes)
    overlaps: list[list[torch.Tensor]] = [[] for _ in stages]
    for image, target in enumerate(resized):
        if not len(target["boxes"]):
            continue
        best, owner = box_iou(proposals[image], target["boxes"]).max(1)
        for stage, boxes in enumerate(stages):
            pairs = box_iou(boxes[image], target["boxes"]).gather(1, owner[:, None])[:, 0]
            overlaps[stage].append(pairs[best >= OVERLAPS[0]])
    return [torch.cat(found).mean().item() if found else float("nan") for found in overlaps]
