"""The shipped configuration, as the programs in this folder use it."""

from __future__ import annotations

from typing import Any, TypeVar

import yaml

from resnest_search.configuration.schema import (
    DataConfig,
    MeasureConfig,
    ModelConfig,
    TrainConfig,
)
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.cost import CostRequest

__all__ = ["OF_TIMM", "VARIANTS", "request", "section"]

VARIANTS = [
    f"{radix}s{rest}" for rest in ("1x64d", "2x40d", "4x24d") for radix in (0, 1, 2, 4)
]  # of sweeps/radix_card.yaml, which a test compares

# What timm calls networks of ours, by the file of conf/model and the variant.
OF_TIMM = {
    ("resnest14", "2s1x64d"): "resnest14d",
    ("resnest26", "2s1x64d"): "resnest26d",
    ("resnest50_fast", "0s1x64d"): "resnet50d",
    ("resnest50_fast", "1s4x24d"): "resnest50d_1s4x24d",
    ("resnest50_fast", "4s2x40d"): "resnest50d_4s2x40d",
    ("resnest50", "2s1x64d"): "resnest50d",
    ("resnest101", "2s1x64d"): "resnest101e",
    ("resnest200", "2s1x64d"): "resnest200e",
    ("resnest269", "2s1x64d"): "resnest269e",
}

_GROUPS = {DataConfig: "data", MeasureConfig: "measure", ModelConfig: "model", TrainConfig: "train"}
_Section = TypeVar("_Section", DataConfig, MeasureConfig, ModelConfig, TrainConfig)


def section(kind: type[_Section], name: str, **changes: object) -> _Section:
    """A shipped file of ``conf/model``, ``data``, ``train`` or ``measure``, with changes."""
    path = shipped_folder("conf") / _GROUPS[kind] / f"{name}.yaml"
    held = yaml.safe_load(path.read_text(encoding="utf-8"))
    # A recipe may bring keys of other sections.
    return kind(**held.get(_GROUPS[kind], held) | changes)


def request(
    variant: str,
    measure: MeasureConfig,
    model: str = "resnest50_fast",
    data: str = "imagenet",
    **others: Any,
) -> CostRequest:
    """What is measured of a shipped network on images of a shipped dataset's size.

    Args:
        variant: as ``2s2x40d``.
        measure: the mode.
        model, data: names of their files.
        others: further arguments of `CostRequest`.
    """
    shapes = section(DataConfig, data)
    return CostRequest(
        variant=variant,
        model=section(ModelConfig, model),
        channels=shapes.channels,
        classes=shapes.classes or 1000,
        image_size=shapes.image_size,
        measure=measure,
        **{"train_batch": 2} | others,  # the least that trains
    )
