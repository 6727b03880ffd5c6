"""The three examples train torchvision's heads on an exported network, and its maps fit them."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from resnest_search.data.preprocessing import SHORTER, Preprocessing
from resnest_search.export.formats.base import Winner
from resnest_search.export.formats.source import SOURCE
from resnest_search.models.resnest import ResNeSt
from resnest_search.variant import Variant

EXAMPLES = Path(__file__).parents[2] / "examples"
SIDE = 64  # of an image in pixels
FOUR_STAGES: dict[str, Any] = {
    "depths": [1, 1, 1, 1],
    "planes": [8, 16, 32, 64],
    "stem": "deep",
    "stem_width": 8,
    "in_channels": 3,
}
TWO_STAGES: dict[str, Any] = {
    "depths": [1, 1],
    "planes": [8, 16],
    "stem": "small",
    "stem_width": 8,
    "in_channels": 1,
}
# The tolerances are wide: a loss that does not train stays within a few percent of its start.
HEADS = {"detection": 0.7, "instance_segmentation": 0.8, "semantic_segmentation": 0.7}


def export(folder: Path, options: dict[str, Any], broken: bool = False) -> Path:
    """An exported folder with fresh weights, or with one that is not a number."""
    arguments = {**options, "num_classes": 10}
    torch.manual_seed(0)
    network = ResNeSt(Variant.parse("2s1x64d"), **arguments).eval()
    if broken:
        network.layer1[0].conv1.weight.data[0] = float("nan")
    channels = options["in_channels"]
    winner = Winner(
        title="A test's.",
        arguments={"variant": "2s1x64d", **arguments},
        network=network,
        preprocessing=Preprocessing(
            channels, channels, (255,), SHORTER, SIDE, SIDE, (0.4,) * channels, (0.3,) * channels
        ),
        class_names=tuple("abcdefghij"),
    )
    folder.mkdir()
    SOURCE.write(winner, folder)
    return folder


def coco_images(folder: Path, count: int = 12) -> Path:
    """Red rectangles as polygons and green discs as runs, one to three on each image.

    The categories' ids have a gap, as COCO's. A crowd and a thin box, to be passed over, lie
    on the first image, and the second of all has nothing.
    """
    rng = np.random.default_rng(0)
    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for number in range(1, count + 1):
        canvas = Image.fromarray(rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8))
        draw = ImageDraw.Draw(canvas)
        for _ in range(0 if number == 2 else int(rng.integers(1, 4))):
            side = int(rng.integers(16, 32))
            x, y = (int(value) for value in rng.integers(0, SIDE - side, 2))
            corners = (x, y, x + side, y + side)
            record: dict[str, Any] = {"image_id": number, "bbox": [x, y, side, side]}
            if rng.random() < 0.5:
                draw.rectangle(corners, fill=(220, 30, 30))
                polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
                record |= {"category_id": 1, "segmentation": [polygon], "iscrowd": 0}
            else:
                draw.ellipse(corners, fill=(30, 220, 30))
                mask = Image.new("L", (SIDE, SIDE))
                ImageDraw.Draw(mask).ellipse(corners, fill=1)
                record |= {"category_id": 7, "segmentation": runs(np.array(mask)), "iscrowd": 0}
            annotations.append(record)
        canvas.save(folder / "train2017" / f"{number:06d}.jpg")
        images.append({"id": number, "file_name": f"{number:06d}.jpg"})
    first = annotations[0]
    annotations += [{**first, "iscrowd": 1}, {**first, "bbox": [3, 3, 0.5, 20]}]
    categories = [{"id": 1, "name": "rectangle"}, {"id": 7, "name": "disc"}]
    record = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return folder


def runs(mask: np.ndarray) -> dict[str, Any]:
    """The mask as lengths of runs of 0 and 1 by turns, column by column, as COCO writes it."""
    flat = mask.T.reshape(-1)
    counts, value, length = [], 0, 0
    for pixel in flat:
        if pixel != value:
            counts.append(length)
            value, length = int(pixel), 0
        length += 1
    return {"size": list(mask.shape), "counts": [*counts, length]}


def street_images(folder: Path, count: int = 12) -> Path:
    """A sky, a road and a car of their colours, and label maps with a void frame; not square."""
    rng = np.random.default_rng(0)
    for name in ("train", "trainannot"):
        (folder / name).mkdir(parents=True)
    width, height = SIDE * 4 // 3, SIDE
    colours = np.array([[200, 220, 255]] * 3 + [[90, 90, 90]] * 5 + [[200, 40, 40]] * 3 + [[0] * 3])
    for number in range(count):
        horizon, left = int(rng.integers(20, 40)), int(rng.integers(5, 50))
        labels = np.zeros((height, width), dtype=np.uint8)
        labels[horizon:] = 3
        labels[horizon - 5 : horizon + 15, left : left + 25] = 8
        labels[:2] = 11
        noise = rng.integers(-20, 20, (height, width, 3))
        pixels = (colours[labels] + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "train" / f"{number}.jpg")
        Image.fromarray(labels).save(folder / "trainannot" / f"{number}.png")
    return folder


def example(script: str, model: Path, images: Path, *words: str) -> subprocess.CompletedProcess:
    """Run a script as a reader does, from another folder and on one thread."""
    return subprocess.run(
        [
            sys.executable,
            *(EXAMPLES / f"{script}.py", "--model", model, "--images", images),
            *("--size", str(SIDE), *words),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=model.parent,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def modules(monkeypatch):
    """The examples as modules, by name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in ("common", "exported_model", *HEADS):
            del sys.modules[name]


@pytest.mark.parametrize("script", HEADS)
def test_the_loss_falls(script, tmp_path):
    data = street_images if script == "semantic_segmentation" else coco_images
    best, images = export(tmp_path / "best", FOUR_STAGES), data(tmp_path / "images")
    done = example(script, best, images, "--steps", "16", "--every", "1", "--batch", "4")
    assert done.returncode == 0, done.stderr
    losses = [float(text) for text in re.findall(r"^step +\d+  loss ([\d.]+)", done.stdout, re.M)]
    assert len(losses) == 16
    first, last = sum(losses[:4]) / 4, sum(losses[-4:]) / 4
    assert last < HEADS[script] * first, done.stdout
    printed = re.findall(r"(?:first|last) quarter ([\d.]+)", done.stdout)
    assert [float(text) for text in printed] == pytest.approx([first, last], abs=2e-4)


def test_a_loss_that_is_not_finite_is_a_failure(tmp_path, modules, monkeypatch):
    best = export(tmp_path / "best", FOUR_STAGES, broken=True)
    images = street_images(tmp_path / "images")
    words = ["--model", best, "--images", images, "--steps", 4, "--batch", 2, "--size", SIDE]
    monkeypatch.setattr(sys, "argv", ["semantic_segmentation.py", *map(str, words)])
    with pytest.raises(SystemExit, match="step 1: the loss is nan"):
        modules("semantic_segmentation").main()


@pytest.mark.parametrize("script", ["detection", "instance_segmentation"])
def test_a_grey_network_of_two_stages_on_a_single_image(script, tmp_path, modules):
    common = modules("common")
    masks = script == "instance_segmentation"
    data = common.CocoImages(coco_images(tmp_path / "images"), 1, masks=masks)
    exported = common.load_export(export(tmp_path / "best", TWO_STAGES))
    model = modules(script).build(exported, data.classes, SIDE).train()
    assert model.transform.image_mean == [0.4]
    assert model.transform.image_std == [0.3]
    common.freeze_batch_norm(model.backbone)
    before = model.backbone.body["bn1"].running_mean.clone()
    image, target = data[0]
    parts = model([image], [target])
    assert ("loss_mask" in parts) == masks
    assert sum(parts.values()).isfinite()
    assert torch.equal(model.backbone.body["bn1"].running_mean, before)


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


def test_masks_of_polygons_and_runs_are_the_objects(tmp_path, modules):
    data = modules("common").CocoImages(coco_images(tmp_path / "images"), 3, masks=True)
    assert len(data) == 11  # of 12, since one has no object
    assert data.classes == 3
    seen = set()
    for image, target in (data[index] for index in range(len(data))):
        assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"])
        for box, mask in zip(target["boxes"], target["masks"], strict=True):
            y, x = mask.nonzero(as_tuple=True)
            drawn = torch.stack([x.min(), y.min(), x.max(), y.max()])
            assert drawn.tolist() == box.tolist()
        # The object drawn last hides the others; its colour tells which its label is.
        label = int(target["labels"][-1])
        red, green, _ = image[:, target["masks"][-1].bool()].mean(1)
        assert (red > green) == (label == 1)
        seen.add(label)
    assert seen == {1, 2}


def test_compressed_runs_are_refused(modules):
    with pytest.raises(ValueError, match="compressed run lengths"):
        modules("common").draw_mask({"size": [4, 4], "counts": "PY2"}, 4, 4)


def test_every_image_comes_once_before_any_again(modules):
    order = modules("common").batches(5, 3, torch.Generator().manual_seed(0))
    drawn = [index for _ in range(5) for index in next(order)]
    for start in (0, 5, 10):
        assert sorted(drawn[start : start + 5]) == [0, 1, 2, 3, 4]


def test_anchors_span_the_image_on_any_number_of_maps(modules):
    anchors = modules("common").anchor_generator
    assert anchors(5, 320).sizes == ((16,), (32,), (64,), (128,), (256,))
    assert anchors(3, 320).sizes == ((16,), (64,), (256,))
