"""What timm can express, and that it then is the same network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_source import ROOT, SMALL, preprocessing, randomised
from torchvision.transforms.v2 import functional as F

from resnest_search.configuration.schema import ModelConfig
from resnest_search.data.images import centred
from resnest_search.data.pixels import squashed
from resnest_search.data.preprocessing import SQUASHED, shorter_side
from resnest_search.export.formats import FORMATS, Winner
from resnest_search.export.formats.timm import cannot_express, crop_share, pretrained_config
from resnest_search.models.build import build, network_arguments
from resnest_search.variant import Variant

FAST = ModelConfig(**yaml.safe_load((ROOT / "conf" / "model" / "resnest50_fast.yaml").read_text()))
# The forms that differ from it, in a network that is quick to build.
OTHER = dataclasses.replace(
    FAST, depths=[1, 2, 1, 1], planes=[16, 24, 32, 32], stem_width=12, avd_first=False, dropout=0.2
)
NAMES = tuple("abcdefghij")
SEVEN = ("1s1x64d", "2s1x64d", "4s1x64d", "1s2x40d", "2s2x40d", "4s2x40d", "1s4x24d")


def arguments_of(variant: str, model: ModelConfig) -> dict[str, Any]:
    arguments = {"variant": variant, **network_arguments(model)}
    return arguments | {"in_channels": 3, "num_classes": 10}


def written(variant: str, model: ModelConfig, folder: Path) -> torch.nn.Module:
    """The network of which the folder gets a timm/."""
    torch.manual_seed(0)
    network = build(Variant.parse(variant), model, in_channels=3, num_classes=10)
    randomised(network)
    seen = preprocessing(3, (0.5,) * 3, (0.2,) * 3, 64)
    winner = Winner("A network.", arguments_of(variant, model), network, seen, NAMES)
    FORMATS["timm"].write(winner, folder)
    return network


@pytest.mark.parametrize(
    ("variant", "model"),
    [
        *((variant, FAST) for variant in SEVEN),
        ("0s1x64d", OTHER),
        ("0s2x40d", dataclasses.replace(OTHER, radix0="avd")),
        ("2s1x64d", dataclasses.replace(OTHER, avg_down=False)),
        ("2s1x64d", dataclasses.replace(OTHER, avd=False)),
    ],
)
def test_timm_builds_the_same_network(tmp_path: Path, variant: str, model: ModelConfig) -> None:
    assert cannot_express(arguments_of(variant, model)) is None
    ours = written(variant, model, tmp_path)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = ours(images)
        assert (theirs(images) - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert theirs.pretrained_cfg["mean"] == [0.5] * 3
    assert theirs.drop_rate == model.dropout


@pytest.mark.parametrize(
    ("variant", "model", "why"),
    [
        ("2s1x64d", SMALL, "small stem"),
        ("2s1x72d", FAST, "attention of 36 channels (stage of 64 planes), which it rounds to 40"),
        ("2s1x64d", dataclasses.replace(FAST, depths=[1] * 3, planes=[64] * 3), "3 stages"),
        ("2s1x64d", dataclasses.replace(FAST, depths=[1] * 5, planes=[64] * 5), "5 stages"),
    ],
)
def test_what_timm_cannot_express_has_a_reason(variant: str, model: ModelConfig, why: str) -> None:
    reason = cannot_express(arguments_of(variant, model))
    assert reason is not None
    assert why in reason
    assert "\n" not in reason


def test_crop_share_is_what_timm_makes_our_resize_of() -> None:
    for size in range(1, 2049):
        resize = shorter_side(size)
        share = crop_share(size, resize)
        assert 0 < share <= 1
        transform = timm.data.create_transform((3, size, size), crop_pct=share)
        assert transform.transforms[0].size == resize, size
    assert crop_share(224, 256) == 0.875
    assert crop_share(64, 64) == 1.0


@given(
    size=st.integers(32, 320),
    height=st.integers(20, 400),
    width=st.integers(20, 400),
    channels=st.sampled_from([1, 3]),
)
def test_transform_of_timm_is_that_of_validation(
    size: int, height: int, width: int, channels: int
) -> None:
    """What stands in config.json, through timm's own functions, on one image of any size."""
    seen = preprocessing(channels, [0.4] * channels, [0.3] * channels, size)
    resolved = timm.data.resolve_data_config(pretrained_cfg=pretrained_config(seen, 10))
    transform = timm.data.create_transform(**resolved)
    coarse = np.random.default_rng(size).integers(0, 256, (8, 8, 3), np.uint8)
    image = Image.fromarray(coarse).convert("L" if channels == 1 else "RGB")
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    expected = F.pil_to_tensor(centred(image, seen.resize, seen.crop)) / 255
    assert (transform(image) - (expected - 0.4) / 0.3).abs().max() < 1e-5
    square = dataclasses.replace(seen, resized=SQUASHED, resize=size)
    resolved = timm.data.resolve_data_config(pretrained_cfg=pretrained_config(square, 10))
    found = timm.data.create_transform(**resolved)(image) * 0.3 + 0.4
    expected = squashed(F.pil_to_tensor(image)[None], size)[0] / 255
    assert (found - expected).abs().max() < 3.01 / 255  # Pillow and torch round otherwise


def test_refused_attention_widths_are_those_that_timm_has_no_shape_for(tmp_path: Path) -> None:
    """The rule against timm itself, over widths of which some are rounded and some not."""
    model = dataclasses.replace(OTHER, depths=[1] * 4, planes=[64, 128, 128, 128])
    fits = {}
    for width in range(40, 132, 14):
        variant = f"2s1x{width}d"
        folder = tmp_path / variant
        folder.mkdir()
        written(variant, model, folder)
        fits[variant] = True
        try:
            timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True)
        except RuntimeError:  # a size mismatch
            fits[variant] = False
        assert (cannot_express(arguments_of(variant, model)) is None) == fits[variant], variant
    assert len(set(fits.values())) == 2
