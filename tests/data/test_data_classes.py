"""What is said of small classes, and of large ones, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

from resnest_search.configuration.schema import DataConfig
from resnest_search.data.reading import read_images
from resnest_search.errors import UserError


def write(root: Path, part: str, sizes: Mapping[str, int]) -> None:
    """Images that differ in all."""
    for place, (name, count) in enumerate(sizes.items()):
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([place, number, len(part)])
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(
                folder / f"{number}.png"
            )


def said(root: Path, balanced: bool = False, **changes: object) -> tuple[str, ...]:
    config = DataConfig("image_folder", str(root), **changes)
    return read_images(config, lambda done, total: None, balanced)[1].doubts


def test_classes_too_small_to_split_are_named_and_how_large_the_largest_is(tmp_path: Path) -> None:
    write(tmp_path, "train", {"ant": 30, "bee": 1, "cat": 2, "dog": 20})
    small = "data.val_images: 2 of 4 classes without a validation image, too few to split for 5 "
    assert said(tmp_path) == (
        f"{small}held out: bee (1), cat (2)",
        "data.root: 1 of 4 classes with one image to train on: bee",
        "data.root: ant has 27 images to train on, bee 1: accuracy is that of the large classes, "
        "and search.objectives=[balanced_accuracy,…] counts all alike",
    )
    assert len(said(tmp_path, balanced=True)) == 2  # nothing is advised that is done
    write(tmp_path, "val", {"ant": 2, "bee": 2, "dog": 2})
    assert said(tmp_path, balanced=True) == (
        "data.root: val/ lacks 1 of 4 classes: cat",
        "data.root: 1 of 4 classes with one image to train on: bee",
    )


def test_a_line_on_many_classes_stays_short(tmp_path: Path) -> None:
    write(tmp_path, "train", {f"class{k:02}": 2 for k in range(30)})
    (line,) = said(tmp_path, val_images=3)[:1]
    assert "27 of 30 classes without" in line
    assert line.endswith("(2), …")
    assert len(line) < 200


def test_large_enough_classes_of_like_sizes_are_worth_no_word(tmp_path: Path) -> None:
    write(tmp_path, "train", {"ant": 40, "bee": 10, "cat": 20})
    assert said(tmp_path) == ()


def test_few_images_held_out_of_a_built_in_set_are_said() -> None:
    config = DataConfig("digits", val_images=6, classes=10)
    (line,) = read_images(config, lambda done, total: None)[1].doubts
    assert line == "data.val_images=6: of 10 classes some have no validation image"


def test_validation_on_one_class_alone_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train", {"ant": 6, "bee": 6})
    write(tmp_path, "val", {"bee": 3})
    with pytest.raises(UserError, match="of one class alone, 'bee', and tell nothing apart"):
        said(tmp_path)
    assert len(said(tmp_path, val_images=4)) == 1
    done = run(tmp_path, "train", "data=image_folder", f"data.root={tmp_path}", "tracking=none")
    assert "of one class alone, 'bee'" in done.one_line
