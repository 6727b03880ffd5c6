"""ResNeSt at its edges; what it computes is in the parity tests."""

from functools import partial

import pytest
import torch
from torch import nn

from resnest_search.models import Bottleneck, ResNeSt
from resnest_search.variant import Variant

TINY = {"depths": [1, 1], "planes": [16, 16], "stem_width": 4, "num_classes": 5}


@pytest.fixture(autouse=True)
def one_thread():
    """On small maps more threads only wait for each other, four times as long on a busy box."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("text", ["0s1x64d", "1s2x32d", "2s2x32d"])
@pytest.mark.parametrize("stem", ["small", "deep"])
@pytest.mark.parametrize("options", [{}, {"avd": False}, {"avg_down": False}, {"avd_first": True}])
@pytest.mark.parametrize("side", [1, 2, 3, 8])
def test_images_of_any_size_pass_and_train(text, stem, options, side):
    network = ResNeSt(Variant.parse(text), **TINY, stem=stem, in_channels=2, **options)
    network.train()(torch.randn(3, 2, side, side)).sum().backward()
    assert network.eval()(torch.randn(1, 2, side, side)).shape == (1, 5)


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_stages_halve_the_map_and_end_at_four_times_their_planes(stages):
    network = ResNeSt(
        Variant.parse("2s1x64d"), depths=[1] * stages, planes=[8] * (stages - 1) + [12]
    ).eval()
    features = network.forward_features(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 48, 32 // 2 ** (stages - 1), 32 // 2 ** (stages - 1))


@pytest.mark.parametrize("avd", [True, False])
@pytest.mark.parametrize("text", ["0s1x64d", "2s1x64d"])
def test_only_one_place_strides(text, avd):
    block = Bottleneck(16, 8, Variant.parse(text), stride=2, avd=avd)
    strides = [m.stride for m in block.modules() if isinstance(m, nn.Conv2d)]
    assert strides.count((2, 2)) == (0 if avd else 1)


def test_a_fresh_block_is_its_shortcut():
    block = ResNeSt(Variant.parse("2s1x64d"), **TINY).layer1[0].eval()
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(block(x), block.downsample(x).relu())
    awake = ResNeSt(Variant.parse("2s1x64d"), **TINY, zero_init_last_gamma=False)
    assert (awake.layer1[0].bn3.weight == 1).all()


def test_convolutions_are_he_normal_over_fan_out():
    torch.manual_seed(0)
    network = ResNeSt(Variant.parse("2s1x64d"), depths=[1], planes=[256])
    weight = network.layer1[0].conv2.conv.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.02)


def test_the_seed_is_the_callers():
    def states(seed):
        torch.manual_seed(seed)
        return ResNeSt(Variant.parse("2s1x64d"), **TINY).state_dict()["conv1.weight"]

    assert torch.equal(states(1), states(1))
    assert not torch.equal(states(1), states(2))


def test_dropout_acts_in_training_only():
    network = ResNeSt(Variant.parse("1s1x64d"), **TINY, dropout=0.5)
    assert network.drop.p == 0.5
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network.eval()(x), network(x))


def test_exports_with_any_batch():
    network = ResNeSt(Variant.parse("2s2x32d"), **TINY).eval()
    batch = torch.export.Dim("batch", min=1)
    x = torch.randn(4, 3, 8, 8)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x[:3]), network(x[:3]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"depths": []}, "depths"),
        ({"depths": [1]}, r"depths \[1\] and planes \[16, 16\]"),
        ({"depths": [1, 0]}, r"depths\[1\] must be at least 1, not 0"),
        ({"planes": [16, -4]}, r"planes\[1\]"),
        ({"stem": "large"}, "'large'"),
        ({"stem_width": 0}, "stem_width"),
        ({"in_channels": 0}, "in_channels"),
        ({"num_classes": 0}, "num_classes"),
        ({"radix0": "resnext"}, "'resnext'"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropblock": 1.0}, "dropblock"),
        ({"dropblock": -0.1}, "dropblock"),
        ({"output_stride": 4}, "output_stride must be one of 1, 2, not 4"),
        ({"output_stride": 16, "stem": "deep"}, "one of 4, 8, not 16"),
        ({"planes": [16, 5]}, "2s1x64d is impossible: stage 2"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, named):
    make = partial(ResNeSt, Variant.parse("2s1x64d"), **{**TINY, **options})
    with pytest.raises(ValueError, match=named):
        make()
