"""The examples train torchvision's heads on an exported network, and its maps fit them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from head_images import FOUR_STAGES, SIDE, TWO_STAGES, coco_images, export, street_images
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from resnest_search.models.resnest import ResNeSt
from resnest_search.variant import Variant

EXAMPLES = Path(__file__).parents[2] / "examples"
# The tolerances are wide: a loss that does not train stays within a few percent of its start.
BOXES, MASKS = ["box mAP50", "box mAP"], ["mask mAP50", "mask mAP"]
HEADS = {
    "detection": (0.8, ["--width", "32", "--cascade"], BOXES),
    "instance_segmentation": (0.8, ["--width", "32"], [*BOXES, *MASKS]),
    "semantic_segmentation": (0.7, [], ["mIoU"]),
}


def example(
    script: str, models: list[Path], images: Path, *words: str
) -> subprocess.CompletedProcess:
    """Run a script as a reader does, from another folder and on one thread."""
    return subprocess.run(
        [
            sys.executable,
            *(EXAMPLES / f"{script}.py", "--model", *models, "--images", images),
            *("--size", str(SIDE), *words),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=images.parent,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", HEADS)
def test_the_loss_falls_and_scores_are_printed_beside_the_control(script, tmp_path):
    data = street_images if script == "semantic_segmentation" else coco_images
    images = data(tmp_path / "images")
    run = tmp_path / "run"
    run.mkdir()
    export(run / "best", FOUR_STAGES)
    models = {"2s1x64d": run}
    if script == "detection":
        models["0s1x64d"] = export(tmp_path / "control", FOUR_STAGES, variant="0s1x64d")
    share, words, columns = HEADS[script]
    words = ["--steps", "16", "--every", "1", "--batch", "4", "--overfit", "8", *words]
    done = example(script, [*models.values()], images, *words)
    assert done.returncode == 0, done.stderr
    losses = [float(text) for text in re.findall(r"^step +\d+  loss ([\d.]+)", done.stdout, re.M)]
    assert len(losses) == 16 * len(models)
    printed = re.findall(r"(?:first|last) quarter ([\d.]+)", done.stdout)
    for start in range(0, len(losses), 16):
        first, last = sum(losses[start : start + 4]) / 4, sum(losses[start + 12 : start + 16]) / 4
        assert last < share * first, done.stdout
        quarters = [float(text) for text in printed[start // 8 : start // 8 + 2]]
        assert quarters == pytest.approx([first, last], abs=2e-4)
    rows = re.findall(r"^\| (\w.*) \|$", done.stdout, re.M)
    assert rows[0].split(" | ") == ["head", "backbone", *columns, "seconds"]
    assert [row.split(" | ")[1] for row in rows[1:]] == [*models]
    assert all(0 <= float(score) <= 1 for row in rows[1:] for score in row.split(" | ")[2:-1])


def test_a_loss_that_is_not_finite_is_a_failure(tmp_path, modules, monkeypatch):
    best = export(tmp_path / "best", FOUR_STAGES, broken=True)
    images = street_images(tmp_path / "images")
    words = ["--model", best, "--images", images, "--steps", 4, "--batch", 2, "--size", SIDE]
    words += ["--overfit", 4]
    monkeypatch.setattr(sys, "argv", ["semantic_segmentation.py", *map(str, words)])
    with pytest.raises(SystemExit, match="step 1: the loss is nan"):
        modules("semantic_segmentation").main()


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_a_grey_network_of_two_stages_on_a_single_image(masks, cascade, tmp_path, modules):
    data = modules("coco_images").CocoImages(coco_images(tmp_path / "images"), 1, masks=masks)
    common = modules("common")
    exported = common.load_export(export(tmp_path / "best", TWO_STAGES))
    build = modules("detection").build
    model = build(exported, data.classes, SIDE, width=8, masks=masks, cascade=cascade).train()
    assert model.transform.image_mean == [0.4]
    assert model.transform.image_std == [0.3]
    common.freeze_batch_norm(model.backbone)
    before = model.backbone.body["bn1"].running_mean.clone()
    image, target = data[0]
    parts = model([image], [target])
    assert ("loss_mask" in parts) == masks
    assert ("loss_box_reg_2" in parts) == cascade
    assert sum(parts.values()).isfinite()
    assert torch.equal(model.backbone.body["bn1"].running_mean, before)
    (found,) = model.eval()([image])
    assert ("masks" in found) == masks


@pytest.mark.parametrize(
    ("options", "strides"),
    [
        (FOUR_STAGES, [8, 8]),
        (TWO_STAGES, [1, 2]),
        ({**TWO_STAGES, "depths": [1], "planes": [8]}, [1, 1]),
    ],
)
def test_deeplab_takes_networks_of_any_depth(options, strides, tmp_path, modules):
    exported = modules("common").load_export(export(tmp_path / "best", options))
    model = modules("semantic_segmentation").build(exported, 11, SIDE).eval()
    assert model.backbone.strides == strides
    images = torch.rand(2, options["in_channels"], SIDE, SIDE)
    with torch.inference_mode():
        maps = model(images)
    assert maps["out"].shape == maps["aux"].shape == (2, 11, SIDE, SIDE)


@pytest.mark.parametrize("output_stride", [None, 8])
@pytest.mark.parametrize("options", [FOUR_STAGES, {**TWO_STAGES, "depths": [2, 1]}])
def test_the_pyramid_has_the_declared_maps(options, output_stride):
    if output_stride and options["stem"] == "small":
        output_stride = 1  # the only one that is not the plain network's
    network = ResNeSt(Variant.parse("2s1x64d"), **options)
    features = network.features(output_stride=output_stride).eval()
    names = [f"layer{stage}" for stage in range(1, len(options["depths"]) + 1)]
    assert features.names == names
    pyramid = BackboneWithFPN(features, {name: name for name in names}, features.channels, 16)
    images = torch.randn(2, options["in_channels"], SIDE, SIDE)
    with torch.inference_mode():
        body, maps = pyramid.body(images), pyramid.eval()(images)
    assert list(maps) == [*names, "pool"]
    for name, channels, stride in zip(names, features.channels, features.strides, strict=True):
        assert body[name].shape == (2, channels, SIDE // stride, SIDE // stride)
        assert maps[name].shape == (2, 16, SIDE // stride, SIDE // stride)
    assert features.strides[-1] == (output_stride or network.strides[-1])


def test_a_training_that_was_ended_goes_on_as_if_it_had_not_been(tmp_path, modules, monkeypatch):
    common = modules("common")
    monkeypatch.setattr(common, "CHECKPOINT_STEPS", 4)
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))

    def trained(folder, steps=10, end=None):
        words = ["--images", str(tmp_path), "--checkpoint", str(folder), "--batch", "2"]
        options = common.parser("", batch=2, size=4, size_means="").parse_args(
            [*words, "--steps", str(steps)]
        )
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        calls = []

        def losses(indices):
            calls.append(indices)
            if len(calls) == end:
                raise KeyboardInterrupt
            return {"loss": (model(values[indices]) + torch.randn(2, 1)).square().mean()}

        if end:
            with pytest.raises(KeyboardInterrupt):
                common.train(model, losses, len(values), options)
        else:
            common.train(model, losses, len(values), options)
        return model.weight, calls

    whole, order = trained(tmp_path / "whole")
    trained(tmp_path / "ended", end=7)
    resumed, rest = trained(tmp_path / "ended")
    assert rest == order[4:]
    assert torch.equal(resumed, whole)
    with pytest.raises(SystemExit) as other:
        trained(tmp_path / "ended", steps=12)
    assert other.value.code == 2


def test_every_image_comes_once_before_any_again(modules):
    order = modules("common").batches(5, 3, torch.Generator().manual_seed(0))
    drawn = [index for _ in range(5) for index in next(order)]
    for start in (0, 5, 10):
        assert sorted(drawn[start : start + 5]) == [0, 1, 2, 3, 4]


def test_anchors_span_the_image_on_any_number_of_maps(modules):
    anchors = modules("common").anchor_generator
    assert anchors(5, 320).sizes == ((16,), (32,), (64,), (128,), (256,))
    assert anchors(3, 320).sizes == ((16,), (64,), (256,))
