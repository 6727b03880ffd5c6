"""ResNeSt against the authors' package, against timm's ResNet-50-D, and at its edges."""

from functools import partial

import pytest
import resnest.torch as authors
import timm
import torch
from resnest.torch.resnet import Bottleneck as AuthorsBottleneck
from resnest.torch.resnet import ResNet as AuthorsResNet
from torch import nn

from resnest_search.models import Bottleneck, ResNeSt
from resnest_search.variant import Variant

FIFTY = {"depths": [3, 4, 6, 3], "planes": [64, 128, 256, 512], "stem": "deep", "stem_width": 32}
TINY = {"depths": [1, 1], "planes": [16, 16], "stem_width": 4, "num_classes": 5}


@pytest.fixture(autouse=True)
def one_thread():
    """On small maps more threads only wait for each other, four times as long on a busy box."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def randomise(network):
    """Norms with random weights and statistics: with zero gammas, parity shows nothing."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)


def assert_same(theirs, ours, side=32, batch=3):
    """The same logits in eval and in training mode, after either state dict is loaded."""
    torch.manual_seed(0)
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    theirs.double(), ours.double()
    x = torch.randn(batch, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        for training in (False, True):
            expected, found = theirs.train(training)(x), ours.train(training)(x)
            assert expected.std() > 1e-3
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    statistics = dict(theirs.named_buffers())
    torch.testing.assert_close(dict(ours.named_buffers()), statistics, rtol=1e-6, atol=1e-8)


SETTINGS = ["1s1x64d", "2s1x64d", "4s1x64d", "1s2x40d", "2s2x40d", "4s2x40d", "1s4x24d"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_fast_settings_equal_the_authors(setting):
    theirs = getattr(authors, f"resnest50_fast_{setting}")()
    assert_same(theirs, ResNeSt(Variant.parse(setting), **FIFTY, avd_first=True))


def test_resnest50_equals_the_authors():
    assert_same(authors.resnest50(), ResNeSt(Variant.parse("2s1x64d"), **FIFTY))


@pytest.mark.parametrize("avd_first", [True, False])
def test_radix_0_with_avd_equals_the_authors(avd_first):
    theirs = AuthorsResNet(
        AuthorsBottleneck,
        FIFTY["depths"],
        radix=0,
        groups=2,
        bottleneck_width=40,
        deep_stem=True,
        stem_width=32,
        avg_down=True,
        avd=True,
        avd_first=avd_first,
    )
    variant = Variant.parse("0s2x40d")
    assert_same(theirs, ResNeSt(variant, **FIFTY, avd_first=avd_first, radix0="avd"))


@pytest.mark.parametrize("avd_first", [True, False])
def test_radix_0_is_resnet_50_d(avd_first):
    ours = ResNeSt(Variant.parse("0s1x64d"), **FIFTY, avd_first=avd_first)
    assert_same(timm.create_model("resnet50d"), ours)


def test_radix_0_with_avd_is_not_resnet_50_d():
    theirs = timm.create_model("resnet50d")
    with pytest.raises(AssertionError):
        assert_same(theirs, ResNeSt(Variant.parse("0s1x64d"), **FIFTY, radix0="avd"))


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
        ({"planes": [16, 5]}, "2s1x64d is impossible: stage 2"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, named):
    make = partial(ResNeSt, Variant.parse("2s1x64d"), **{**TINY, **options})
    with pytest.raises(ValueError, match=named):
        make()
