"""Cascade R-CNN: what its three heads train on, and what they make of a box."""

from __future__ import annotations

import math

import pytest
import torch
from head_images import FOUR_STAGES, SIDE, export
from torchvision.ops import box_iou

CLASSES = 3
TARGET = {
    "boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0], [30.0, 20.0, 60.0, 50.0]]),
    "labels": torch.tensor([1, 2]),
}


@pytest.fixture
def model(tmp_path, modules):
    exported = modules("common").load_export(export(tmp_path / "best", FOUR_STAGES))
    model = modules("detection").build(exported, CLASSES, SIDE, width=8, cascade=True)
    modules("common").freeze_batch_norm(model.train().backbone)
    return model


def predict(stage, logits: list[float], deltas: list[float]) -> None:
    """Let a head say the same of every box."""
    for layer, values in (
        (stage.box_predictor.cls_score, logits),
        (stage.box_predictor.bbox_pred, deltas),
    ):
        torch.nn.init.zeros_(layer.weight)
        layer.bias.data = torch.tensor(values)


def around(box: torch.Tensor, count: int = 400) -> torch.Tensor:
    """Boxes that overlap an object by anything from a little to nearly all."""
    generator = torch.Generator().manual_seed(0)
    moved = box + torch.randn(count, 4, generator=generator) * torch.linspace(0, 10, count)[:, None]
    return moved.clamp(0, SIDE)[(moved[:, 2:] - moved[:, :2] > 2).all(1)]


def test_each_head_trains_by_its_own_overlap_on_the_boxes_of_the_one_before(model):
    seen, given = [], []
    stages = [*model.roi_heads.earlier, model.roi_heads]
    for stage in stages:
        stage.fg_bg_sampler.batch_size_per_image = 2000  # nearly all of them
        # Half a pixel to the right, so that a box is known again.
        width = stage.box_coder.weights[0] * 0.5 / 32
        predict(stage, [0.0] * CLASSES, [width, 0.0, 0.0, 0.0])

        def spied(proposals, targets, select=stage.select_training_samples):
            given.append(proposals[0].clone())
            samples = select(proposals, targets)
            seen.append((samples[0][0], samples[2][0]))
            return samples

        stage.select_training_samples = spied
    features = model.backbone(torch.rand(1, 3, SIDE, SIDE))
    proposals = torch.cat([around(box) for box in TARGET["boxes"]])
    model.roi_heads(features, [proposals], [(SIDE, SIDE)], [TARGET])
    for (boxes, labels), overlap in zip(seen, (0.5, 0.6, 0.7), strict=True):
        best = box_iou(boxes, TARGET["boxes"]).max(1).values
        assert best[labels > 0].min() >= overlap > best[labels == 0].max()
        assert best[labels > 0].min() < overlap + 0.1  # neither by a higher one
        assert best[labels == 0].max() > overlap - 0.1  # nor by a lower one
    for (boxes, _), following in zip(seen, given[1:], strict=False):
        own = (boxes[:, None] == TARGET["boxes"]).all(-1).any(-1)
        assert own.any()  # torchvision adds the objects' own boxes, which are not handed on
        moved = (
            boxes[~own]
            + torch.tensor([0.5, 0, 0.5, 0]) * (boxes[~own][:, 2:3] - boxes[~own][:, :1]) / 32
        )
        assert torch.allclose(following, moved.clamp(0, SIDE), atol=1e-4)


def test_the_losses_weigh_1_a_half_and_a_quarter(model):
    for stage in (*model.roi_heads.earlier, model.roi_heads):
        predict(stage, [0.0] * CLASSES, [0.0] * 4)
    losses = model([torch.rand(3, SIDE, SIDE)], [TARGET])
    weighed = [losses[f"loss_classifier{end}"].item() for end in ("_1", "_2", "")]
    assert weighed == pytest.approx([math.log(CLASSES) * share for share in (1, 0.5, 0.25)])


def test_the_scores_are_the_mean_of_three_and_the_box_is_refined_three_times(model, modules):
    # A proposal of 48 x 32 pixels around an object of 32 x 32: each head takes a part of what is
    # too wide, said in its own unit.
    logits = [[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.0, 1.0, 4.0]]
    widths, units = (48, 40, 36, 32), (5.0, 10.0, 15.0)
    stages = (*model.roi_heads.earlier, model.roi_heads)
    for number, (stage, unit) in enumerate(zip(stages, units, strict=True)):
        narrower = unit * math.log(widths[number + 1] / widths[number])
        predict(stage, logits[number], [0.0, 0.0, narrower, 0.0])
    proposal = torch.tensor([[8.0, 8.0, 56.0, 40.0]])
    wanted = torch.tensor([16.0, 8.0, 48.0, 40.0])
    model.eval()
    model.rpn.forward = lambda images, features, targets=None: ([proposal], {})
    image = torch.rand(3, SIDE, SIDE)
    (found,) = model([image])
    mean = torch.tensor(logits).softmax(1).mean(0)
    assert found["labels"].tolist() == [2, 1]
    assert torch.allclose(found["scores"], mean[[2, 1]])
    assert torch.allclose(found["boxes"], wanted.expand(2, 4), atol=1e-4)
    target = {"boxes": wanted[None], "labels": torch.tensor([1])}
    overlaps = modules("cascade").stage_overlaps(model, [image], [target])
    assert overlaps == pytest.approx([32 / width for width in widths], abs=1e-5)
