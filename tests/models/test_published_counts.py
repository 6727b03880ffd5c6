"""Parameters and multiply-accumulates against the paper's, for the configs that we ship."""

import dataclasses
from pathlib import Path

import pytest
import resnest.torch as authors
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from resnest_search.configuration.schema import ModelConfig
from resnest_search.models import ResNeSt, build
from resnest_search.models.build import network_arguments
from resnest_search.variant import Variant

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))

# config, setting, crop, millions of parameters as printed, GMACs as printed (arXiv
# 2004.08955 and the ablation table of the authors' repository; where they print none,
# counted with an independent implementation)
PUBLISHED = [
    ("resnest50_fast", "0s1x64d", 224, "25.58", 4.329),
    ("resnest50_fast", "1s1x64d", 224, "26.22", 4.329),
    ("resnest50_fast", "1s1x64d", 224, None, 4.34),
    ("resnest50_fast", "2s1x64d", 224, "27.5", 4.34),
    ("resnest50_fast", "2s1x64d", 224, "27.48", 4.331),
    ("resnest50_fast", "4s1x64d", 224, "31.9", 4.35),
    ("resnest50_fast", "4s1x64d", 224, "31.91", 4.335),
    ("resnest50_fast", "1s2x40d", 224, "25.9", 4.38),
    ("resnest50_fast", "2s2x40d", 224, "26.9", 4.38),
    ("resnest50_fast", "2s2x40d", 224, "26.94", 4.366),
    ("resnest50_fast", "4s2x40d", 224, "30.4", 4.41),
    ("resnest50_fast", "1s4x24d", 224, "25.7", 4.42),
    ("resnest14", "2s1x64d", 224, "10.61", 2.76),
    ("resnest26", "2s1x64d", 224, "17.07", 3.64),
    ("resnest50", "2s1x64d", 224, "27.48", 5.40),
    ("resnest101", "2s1x64d", 256, "48.28", 13.38),
    ("resnest200", "2s1x64d", 320, "70.20", 35.69),
    ("resnest269", "2s1x64d", 416, "110.93", 77.69),
]


def config(name):
    path = next(path for path in CONFIGS if path.stem == name)
    return ModelConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))


def counts(network, crop):
    """Parameters, and GMACs of an image: of a multiplication and addition, half the FLOPs."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        network.eval()(torch.empty(1, 3, crop, crop))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("name", "setting", "crop", "millions", "gmacs"), PUBLISHED)
def test_counts_are_the_published_ones(name, setting, crop, millions, gmacs):
    with torch.device("meta"):
        network = build(Variant.parse(setting), config(name), in_channels=3, num_classes=1000)
    parameters, found = counts(network, crop)
    if millions is not None:
        digits = len(millions.partition(".")[2])
        assert f"{parameters / 1e6:.{digits}f}" == millions
    assert found == pytest.approx(gmacs, rel=0.015)


@pytest.mark.parametrize(
    ("name", "crop", "output_stride"),
    [("resnest50", 224, 32), ("resnest50", 224, 16), ("resnest50", 224, 8), ("resnest101", 256, 8)],
)
def test_counts_are_the_authors_in_the_dilated_form_too(name, crop, output_stride):
    form = {32: {}, 16: {"dilation": 2}, 8: {"dilated": True}}[output_stride]
    with torch.device("meta"):
        theirs = getattr(authors, name)(**form)
        arguments = network_arguments(config(name))
        ours = ResNeSt(Variant.parse("2s1x64d"), **arguments, output_stride=output_stride)
        plain = ResNeSt(Variant.parse("2s1x64d"), **arguments)
    expected, found = counts(theirs, crop), counts(ours, crop)
    assert found[0] == expected[0] == counts(plain, crop)[0]
    assert found[1] == pytest.approx(expected[1], rel=1e-6)
    if output_stride < 32:
        assert found[1] > counts(plain, crop)[1]


@pytest.mark.parametrize("name", ["resnest50", "resnest101"])
def test_dropblock_adds_nothing_to_what_is_counted(name):
    model = config(name)
    with torch.device("meta"):
        plain, dropping = (
            build(
                Variant.parse("2s1x64d"),
                dataclasses.replace(model, dropblock=dropblock),
                in_channels=3,
                num_classes=1000,
            )
            for dropblock in (0.0, 0.1)
        )
    assert counts(plain, 64) == counts(dropping, 64)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_build_and_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    model = config(path.stem)
    assert model.name == path.stem
    with torch.device("meta"):
        network = build(Variant.parse("2s1x64d"), model, in_channels=1, num_classes=7)
    assert network.fc.out_features == 7
    assert network.drop.p == model.dropout


@pytest.mark.parametrize("radix", [0, 1, 2, 4])
@pytest.mark.parametrize("rest", ["1x64d", "2x40d", "4x24d"])
def test_small_holds_the_whole_default_space(radix, rest):
    network = build(
        Variant.parse(f"{radix}s{rest}"), config("small"), in_channels=3, num_classes=10
    )
    assert network.eval()(torch.randn(2, 3, 8, 8)).shape == (2, 10)
