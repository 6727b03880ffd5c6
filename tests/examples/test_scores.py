"""mAP and mIoU against cases counted by hand."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("pycocotools")  # an extra

SQUARE = [10.0, 10.0, 60.0, 60.0]
# Of the second object's 50 x 50 pixels 50 x 31 are found: an overlap of 0.62.
OTHER, PART = [70.0, 10.0, 120.0, 60.0], [70.0, 10.0, 120.0, 41.0]
# Both count at 0.50, 0.55 and 0.60. At the other seven overlaps of COCO's ten one of two objects
# is found, with full precision at 51 of the 101 recalls from 0 to 1.
EXPECTED = (3 + 7 * 51 / 101) / 10


def mask(box: list[float]) -> torch.Tensor:
    drawn = torch.zeros(80, 130)
    left, top, right, bottom = map(int, box)
    drawn[top:bottom, left:right] = 1
    return drawn


def described(boxes: list[list[float]]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": torch.stack([mask(box) for box in boxes]),
    }


@pytest.mark.parametrize("masks", [False, True])
def test_precision_of_two_objects_one_of_them_found_in_part(masks, modules):
    found = {**described([SQUARE, PART]), "scores": torch.tensor([0.9, 0.8])}
    found["masks"] = found["masks"][:, None] * 0.7  # torchvision gives probabilities
    scores = modules("scores").detection_scores([(found, described([SQUARE, OTHER]))], masks)
    kinds = ("box", "mask") if masks else ("box",)
    assert scores == pytest.approx(
        {f"{kind} mAP50": 1.0 for kind in kinds} | {f"{kind} mAP": EXPECTED for kind in kinds}
    )


@pytest.mark.parametrize(("crowd", "expected"), [(0, 0.5), (1, 1.0)])
def test_what_is_found_in_a_crowd_counts_neither_way(crowd, expected, modules):
    # Without the crowd the surest box is wrong: a precision of 1/2 at every recall.
    found = {**described([OTHER, SQUARE]), "scores": torch.tensor([0.9, 0.8])}
    truth = described([SQUARE])
    if crowd:
        truth = {**described([SQUARE, OTHER]), "iscrowd": torch.tensor([0, 1])}
    scores = modules("scores").detection_scores([(found, truth)], masks=False)
    assert scores["box mAP"] == pytest.approx(expected)


def test_mean_iou_is_over_all_images_and_leaves_void_and_absent_classes_out(modules):
    void = modules("scores").VOID
    pairs = [
        (torch.tensor([[0, 0, 1, 3]]), torch.tensor([[0, 1, 1, void]])),
        (torch.tensor([[1, 1, 1, 1]]), torch.tensor([[1, 1, 1, 0]])),
    ]
    # Class 0: one pixel of three; class 1: four of six; 2 is nowhere, and 3 on void alone.
    assert modules("scores").mean_iou(pairs, classes=4) == pytest.approx((1 / 3 + 4 / 6) / 2)
