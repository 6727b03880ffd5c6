"""Data sets in the layouts of COCO, ADE20K, Cityscapes and CamVid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from head_images import SIDE, coco_images, street_images
from PIL import Image


def test_masks_of_polygons_and_runs_are_the_objects(tmp_path, modules):
    data = modules("coco_images").CocoImages(coco_images(tmp_path / "images"), 3, masks=True)
    assert len(data) == 11  # of 12, since one has no object
    assert data.classes == 3
    seen = set()
    for image, target in (data[index] for index in range(len(data))):
        assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"])
        for box, mask in zip(target["boxes"], target["masks"], strict=True):
            y, x = mask.nonzero(as_tuple=True)
            drawn = [x.min(), y.min(), x.max(), y.max()]
            assert np.abs(np.array(drawn) - box.numpy()).max() <= 1
        # The object drawn last hides the others; its colour tells which its label is.
        label = int(target["labels"][-1])
        red, green, _ = image[:, target["masks"][-1].bool()].mean(1)
        assert (red > green) == (label == 1)
        seen.add(label)
    assert seen == {1, 2}


def test_scores_are_taken_on_images_without_objects_too_and_know_crowds(tmp_path, modules):
    folder = coco_images(tmp_path / "images")
    shutil.copytree(folder / "train2017", folder / "val2017")
    annotations = folder / "annotations"
    shutil.copy(annotations / "instances_train2017.json", annotations / "detection_val2017.json")
    data = modules("coco_images").CocoImages(folder, 3, "val")
    assert len(data) == 12
    _, truth = data.for_scores(0)
    assert truth["iscrowd"].tolist()[-1] == 1
    assert len(truth["boxes"]) == len(data[0][1]["boxes"]) + 1
    assert data.for_scores(1)[1]["boxes"].shape == (0, 4)


VALUES = np.arange(256, dtype=np.uint8).reshape(16, 16)


def labelled(image: Path, labels: Path, values: np.ndarray) -> None:
    """A black image and its label map."""
    for path in (image, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", values.shape[::-1]).save(image)
    Image.fromarray(values).save(labels)


def ade20k(folder: Path) -> dict[int, int]:
    values = VALUES.clip(0, 150)
    for split in ("training", "validation"):
        labelled(folder / f"images/{split}/a.jpg", folder / f"annotations/{split}/a.png", values)
    return {0: 255, 1: 0, 7: 6, 150: 149}


def cityscapes(folder: Path, kind: str = "labelIds") -> dict[int, int]:
    values = VALUES.copy()
    values[values > (33 if kind == "labelIds" else 18)] = 255
    for split in ("train", "val"):
        labelled(
            folder / f"leftImg8bit/{split}/ulm/ulm_000001_000019_leftImg8bit.png",
            folder / f"gtFine/{split}/ulm/ulm_000001_000019_gtFine_{kind}.png",
            values,
        )
    if kind == "labelIds":  # of cityscapesScripts' labels.py
        return {0: 255, 7: 0, 8: 1, 9: 255, 11: 2, 23: 10, 26: 13, 33: 18, 255: 255}
    return {0: 0, 13: 13, 18: 18, 255: 255}


def converted(folder: Path) -> dict[int, int]:
    return cityscapes(folder, "labelTrainIds")


def camvid(folder: Path) -> dict[int, int]:
    for split in ("train", "val"):
        labelled(folder / f"{split}/a.png", folder / f"{split}annot/a.png", VALUES.clip(0, 11))
    return {0: 0, 10: 10, 11: 255}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("write", "classes"), [(ade20k, 150), (cityscapes, 19), (converted, 19), (camvid, 11)]
)
def test_each_layout_has_its_own_classes_and_void(write, classes, split, tmp_path, modules):
    expected = write(tmp_path)
    maps = modules("label_maps")
    layout = maps.find(tmp_path, split)
    assert layout.classes == classes
    data = maps.SegmentationImages(layout, 3, 32)
    image, labels = data.for_scores(0)
    assert image.shape == (3, 32, 32)  # scaled, while the labels stay as they are
    flat = labels.flatten().tolist()
    assert {value: flat[value] for value in expected} == expected
    assert set(flat) <= {*range(classes), 255}
    assert data[0][1].shape == (32, 32)


def test_a_crop_and_its_labels_are_of_one_place(tmp_path, modules):
    maps = modules("label_maps")
    layout = maps.find(street_images(tmp_path), "train")
    image, labels = maps.SegmentationImages(layout, 3, SIDE)[0]
    assert image.shape == (3, SIDE, SIDE)
    red, _, blue = image
    assert red[labels == 8].mean() > blue[labels == 8].mean() + 0.3  # a car
    assert blue[labels == 0].mean() > red[labels == 0].mean() + 0.1  # the sky


def no_images(folder: Path) -> str:
    (folder / "test").mkdir()
    return "no images of train in the layout of ADE20K"


def no_labels(folder: Path) -> str:
    camvid(folder)
    (folder / "trainannot" / "a.png").unlink()
    return "there is no label map"


def unknown_label(folder: Path) -> str:
    camvid(folder)
    labelled(folder / "train/a.png", folder / "trainannot/a.png", VALUES.clip(0, 12))
    return "value 12 is no label of this layout"


def coloured_labels(folder: Path) -> str:
    camvid(folder)
    Image.new("RGB", (16, 16)).save(folder / "trainannot/a.png")
    return "a label map has one value a pixel"


def broken_labels(folder: Path) -> str:
    camvid(folder)
    (folder / "trainannot/a.png").write_text("no image")
    return "a.png: no image (UnidentifiedImageError)"


def no_box(folder: Path) -> str:
    return changed_annotation(folder, lambda entry: entry.pop("bbox"), "KeyError: 'bbox'")


def unknown_category(folder: Path) -> str:
    return changed_annotation(
        folder, lambda entry: entry.update(category_id=77), "bbox or category_id is none"
    )


def changed_annotation(folder: Path, change: Callable[[dict], object], expected: str) -> str:
    coco_images(folder / "x")
    shutil.move(folder / "x" / "annotations", folder)
    (path,) = (folder / "annotations").glob("*.json")
    record = json.loads(path.read_text())
    change(record["annotations"][0])
    path.write_text(json.dumps(record))
    return expected


def no_annotations(folder: Path) -> str:
    return "there is no annotations/instances_train*.json nor annotations/detection_train*.json"


def no_coco(folder: Path) -> str:
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_train.json").write_text(json.dumps([1]))
    return "not COCO's format"


def no_image(folder: Path) -> str:
    coco_images(folder / "x")
    shutil.move(folder / "x" / "annotations", folder)
    return "000001.jpg: there is no such image"


@pytest.mark.parametrize(
    "spoil",
    [
        *(no_images, no_labels, unknown_label, coloured_labels, broken_labels),
        *(no_annotations, no_coco, no_image, no_box, unknown_category),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(spoil, tmp_path, modules, capsys):
    def read():
        if spoil in (no_annotations, no_coco, no_image, no_box, unknown_category):
            return modules("coco_images").CocoImages(tmp_path, 3)[0]
        maps = modules("label_maps")
        return maps.SegmentationImages(maps.find(tmp_path, "train"), 3, 16)[0]

    expected = spoil(tmp_path)
    with pytest.raises(SystemExit) as ended:
        read()
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--steps", "3"], "--steps 3: at least 4"),
        (["--batch", "0"], "argument --batch: 0 is no number from 1"),
        (["--learning-rate", "-1"], "argument --learning-rate: -1 is no number above 0"),
        (["--device", "moon"], "--device moon"),
        (["--images", "nowhere"], "--images nowhere: there is no such folder"),
        (["--checkpoint", "/dev/null"], "--checkpoint /dev/null: no folder (File exists)"),
    ],
)
def test_a_bad_word_is_one_line(words, expected, tmp_path, modules, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["detection.py", "--images", str(tmp_path), *words])
    with pytest.raises(SystemExit) as ended:
        modules("detection").run("A head.", masks=False)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert printed.count("\n") == 1
