"""``timm/``: a folder for ``timm.create_model("local-dir:…")``.

timm's ``ResNet`` with its ``ResNestBottleneck`` is the same network, module by module and
name by name, wherever its arguments can say so; `cannot_express` knows where they cannot.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resnest_search.export.formats.base import Format, Winner
from resnest_search.variant import Variant, attention_width, group_width

__all__ = ["TIMM", "cannot_express", "model_arguments"]

_STAGES = 4  # that timm's ResNet has, neither more nor fewer

_USAGE = """\
import timm
import torch

network = timm.create_model("local-dir:timm", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
logits = network(torch.rand(5, {shape}))  # of images that are normalised"""


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


def _write(winner: Winner, folder: Path) -> None:
    from safetensors.torch import save_file

    below = folder / "timm"
    below.mkdir()
    arguments, size = winner.arguments, winner.preprocessing.crop
    channels, classes = arguments["in_channels"], arguments["num_classes"]
    facts = winner.preprocessing.facts()
    config = {
        "architecture": "resnest50d",
        "num_classes": classes,
        "num_features": 4 * arguments["planes"][-1],
        "model_args": model_arguments(arguments),
        "pretrained_cfg": {
            "num_classes": classes,
            "input_size": [channels, size, size],
            "mean": facts["mean"],
            "std": facts["std"],
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "fixed_input_size": False,
            "first_conv": "conv1.0",
            "classifier": "fc",
        },
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
    "eager, timm",
    cannot_express,
)
