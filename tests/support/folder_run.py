"""A finished sweep over a folder of images, in which more than the variant varies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import ONE_AT_A_TIME, Done, run, sweep_file
from finished_run import made_once
from PIL import Image

__all__ = ["CLASSES", "RATES", "VARIANT", "WORDS", "folder_run", "write_class"]

CLASSES = ("apple", "pear", "plum")
VARIANT = "2s1x16d"
RATES = (0.05, 0.4)
WORDS = (
    *(
        "model=small",
        "model.planes=[16]",
        "model.depths=[1]",
        "train=quick",
        "tracking=none",
        ONE_AT_A_TIME,
    ),
    *("data=image_folder", "data.image_size=16", "data.mean=[0.4]", "data.std=[0.3]"),
    *("train.epochs=2", "train.batch_size=8"),
    *("measure.repeats=5", "measure.warmup=0", "measure.processes=1", "measure.half_width=null"),
)


def write_class(folder: Path, colour: int, count: int, seed: int) -> None:
    """Noisy images in which one of three colours is stronger."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, colour])
    for number in range(count):
        pixels = rng.integers(0, 200, (20, 24, 3))
        pixels[:, :, colour] += 55
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def folder_run(factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run's folder and what the command said; its images lie in ``images`` beside it.

    Two candidates of one variant, in two learning rates.
    """
    return made_once(factory, "folder_run", _make)


def _make(cwd: Path) -> Done:
    for seed, (part, count) in enumerate({"train": 8, "val": 7, "test": 5}.items()):
        for colour, name in enumerate(CLASSES):
            write_class(cwd / "images" / part / name, colour, count, seed)
    varied = {"variant": [VARIANT], "train.learning_rate": list(RATES), "model.avd_first": [False]}
    sweep_file(cwd, varied)
    words = ("search/sampler=grid", "search/pruner=none", "data.root=images", "run=out")
    return run(cwd, "sweep=tiny", *WORDS, *words)
