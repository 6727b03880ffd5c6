"""A training small enough for a test: half a second for three epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.study.record import Epoch
from resnest_search.training import Run, fit

EPOCHS = 3
VALIDATION = 60  # images
STEPS = 12  # of an epoch: 96 images in batches of 8
MODEL = ModelConfig(stem_width=8, depths=[1], planes=[16])
DATA = DataConfig(
    name="digits",
    image_size=8,
    channels=1,
    mean=[0.3059],
    std=[0.3758],
    augment="shift",
    train_images=96,
    val_images=VALIDATION,
    test_images=0,
)
RECIPE = TrainConfig(epochs=EPOCHS, batch_size=8, learning_rate=6.4)


def make_run(folder: Path, model: dict[str, Any] | None = None, **train: Any) -> Run:
    """A training of a network of two splits."""
    return Run(
        number=0,
        variant="2s1x64d",
        model=dataclasses.replace(MODEL, **(model or {})),
        data=DATA,
        train=dataclasses.replace(RECIPE, **train),
        seed=0,
        folder=str(folder),
    )


@dataclasses.dataclass
class Listener:
    """A report that stops after so many epochs, and remembers what it was told."""

    stop_after: int | None = None
    curve: tuple[Epoch, ...] = ()
    notes: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, curve: Sequence[Epoch], note: str) -> bool:
        self.curve = tuple(curve)
        self.notes.append(note)
        return self.stop_after is None or len(curve) < self.stop_after


def train(run: Run, stop_after: int | None = None) -> Listener:
    """What a training reports."""
    listener = Listener(stop_after)
    fit(run, listener)
    return listener


def numbers(listener: Listener) -> list[tuple[int, float, float, float]]:
    """A curve without its seconds, to the last bit."""
    return [(e.epoch, e.accuracy, e.loss, e.train_loss) for e in listener.curve]
