"""``timm/``: a folder for ``timm.create_model("local-dir:…")``.

timm's ``ResNet`` with its ``ResNestBottleneck`` is the same network, module by module and
name by name, wherever its arguments can say so; `cannot_express` knows where they cannot.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from resnest_search.data.preprocessing import SQUASHED, Preprocessing
from resnest_search.export.formats.base import Format, Winner
from resnest_search.variant import Variant, attention_width, group_width

__all__ = ["TIMM", "cannot_express", "crop_share", "model_arguments", "pretrained_config"]

_STAGES = 4  # that timm's ResNet has, neither more nor fewer

_USAGE = """\
import timm
import torch
from model import BACKGROUND, decoded  # 8 bits, upright, nothing transparent

network = timm.create_model("local-dir:timm", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
image = decoded("photo.jpg", {channels}, BACKGROUND)
with torch.inference_mode():
    logits = network(transform(image)[None])
print(network.pretrained_cfg["label_names"][int(logits.argmax(1))])"""


def cannot_express(arguments: dict[str, Any]) -> str | None:
    """Why timm has no such network, or None where it has.

    Args:
        arguments: of ``ResNeSt``, ``variant`` among them as text.
    """
    variant = Variant.parse(arguments["variant"])
    if arguments["stem"] != "deep":
        return f"the {arguments['stem']} stem, one 3x3 at stride 1"
    if len(arguments["planes"]) != _STAGES:
        return f"{len(arguments['planes'])} stages, since it has {_STAGES}"
    if variant.radix == 0:
        return None
    for planes in arguments["planes"]:
        ours = attention_width(planes, variant)
        theirs = _divisible(group_width(planes, variant) * variant.radix / 4)
        if ours != theirs:
            return (
                f"an attention of {ours} channels (stage of {planes} planes), which it "
                f"rounds to {theirs}"
            )
    return None


def _divisible(channels: float) -> int:
    """timm's attention width: the nearest multiple of 8 from 32 up, but never 10 % too low."""
    rounded = max(32, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def model_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of timm's ``resnest50d`` that make the same network."""
    variant = Variant.parse(arguments["variant"])
    avd = arguments["avd"]
    if variant.radix == 0 and arguments["radix0"] == "resnet_d":
        avd = False
    return {
        "layers": list(arguments["depths"]),
        "channels": list(arguments["planes"]),
        "stem_type": "deep",
        "stem_width": arguments["stem_width"],
        "avg_down": arguments["avg_down"],
        "base_width": variant.width,
        "cardinality": variant.cardinality,
        "drop_rate": arguments["dropout"],
        "block_args": {
            "radix": variant.radix,
            "avd": avd,
            "avd_first": arguments["avd_first"],
        },
    }


def crop_share(size: int, resize: int) -> float:
    """timm's ``crop_pct``: it resizes to ``floor(size / crop_pct)``, which must be ours.

    The shortest decimal fraction that does it.
    """
    digits = 0
    while True:
        share = math.floor(size / resize * 10.0**digits) / 10.0**digits
        if share and math.floor(size / share) == resize:
            return share
        digits += 1


def pretrained_config(preprocessing: Preprocessing, classes: int) -> dict[str, Any]:
    """timm's ``pretrained_cfg``, whose transform is that of validation."""
    facts, size = preprocessing.facts(), preprocessing.crop
    return {
        "num_classes": classes,
        "input_size": [preprocessing.channels, size, size],
        "mean": facts["mean"],
        "std": facts["std"],
        "crop_pct": crop_share(size, preprocessing.resize),
        "crop_mode": "squash" if preprocessing.resized == SQUASHED else "center",
        "interpolation": facts["interpolation"],
        "fixed_input_size": False,
        "first_conv": "conv1.0",
        "classifier": "fc",
    }


def _write(winner: Winner, folder: Path) -> None:
    from safetensors.torch import save_file

    below = folder / "timm"
    below.mkdir()
    arguments = winner.arguments
    classes = arguments["num_classes"]
    config = {
        "architecture": "resnest50d",
        "num_classes": classes,
        "num_features": 4 * arguments["planes"][-1],
        "label_names": list(winner.class_names),
        "preprocessing": winner.preprocessing.facts(),  # timm passes over it
        "model_args": model_arguments(arguments),
        "pretrained_cfg": pretrained_config(winner.preprocessing, classes),
    }
    (below / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: tensor.contiguous() for name, tensor in winner.network.state_dict().items()}
    weights = below / "model.safetensors"
    save_file(state, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors gives it to its owner alone


TIMM = Format(
    "timm",
    ("timm/config.json", "timm/model.safetensors"),
    ("timm", "safetensors"),
    _write,
    _USAGE,
    "timm torch pillow",
    "eager, timm",
    cannot_express,
)
