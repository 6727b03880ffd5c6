"""A network's maps as a backbone: what they are, and whose."""

import pytest
import torch
from reference_networks import draw, unpublished
from torch import nn

from resnest_search.models import Features, ResNeSt
from resnest_search.variant import Variant

SIZES = {"depths": [1, 2, 1, 1], "planes": [8, 16, 24, 32], "stem_width": 8, "num_classes": 5}


def network(text="2s1x64d", **options):
    """Four small stages whose norms are not the identity."""
    torch.manual_seed(0)
    made = ResNeSt(Variant.parse(text), **{**SIZES, "stem": "deep", **options})
    draw(made)
    return made.eval()


@pytest.mark.parametrize("side", [64, 65, 100])
@pytest.mark.parametrize("stem", ["deep", "small"])
@pytest.mark.parametrize("output_stride", [None, 16, 8, 4])
def test_maps_are_as_wide_and_as_coarse_as_they_say(stem, output_stride, side):
    if stem == "small" and output_stride is not None:
        output_stride //= 4
    features = network(stem=stem).features([0, 1, 2, 3, 4], output_stride)
    assert features.names == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert features.channels == [16, 32, 64, 96, 128]
    first = 4 if stem == "deep" else 1
    largest = output_stride or 8 * first
    assert features.strides == [min(first * s, largest) for s in (1, 1, 2, 4, 8)]
    maps = features(torch.randn(1, 3, side, side))
    assert list(maps) == features.names
    for found, channels, stride in zip(
        maps.values(), features.channels, features.strides, strict=True
    ):
        coarse = -(-side // stride)
        assert found.shape == (1, channels, coarse, coarse)


@pytest.mark.parametrize("text", ["0s1x64d", "2s1x64d", "2s2x32d"])
@pytest.mark.parametrize("training", [False, True])
def test_last_map_is_what_the_classifier_sees(text, training):
    whole = network(text).train(training)
    maps = whole.features()(x := torch.randn(2, 3, 64, 64))
    assert list(maps) == ["layer1", "layer2", "layer3", "layer4"]
    assert torch.equal(maps["layer4"], whole.forward_features(x))


def test_a_choice_of_maps_needs_no_later_stage():
    whole = network()
    features = whole.features([0, 2])
    assert features.names == ["stem", "layer2"]
    assert features.channels == [16, 64]
    assert features.strides == [4, 8]
    assert [name for name, _ in features.named_children()][-1] == "layer2"
    x = torch.randn(1, 3, 64, 64)
    every = whole.features([0, 1, 2, 3, 4])(x)
    assert all(torch.equal(found, every[name]) for name, found in features(x).items())


def test_names_are_the_callers():
    features = network().features([2, 4], names=["fine", "coarse"])
    assert list(features(torch.randn(1, 3, 64, 64))) == features.names == ["fine", "coarse"]


@pytest.mark.parametrize("avd_first", [False, True])
@pytest.mark.parametrize(("form", "stride"), [({"dilated": True}, 8), ({"dilation": 2}, 16)])
def test_dilated_backbone_is_the_authors_dilated_network(form, stride, avd_first):
    plain = ResNeSt(
        Variant.parse("2s2x40d"),
        depths=[2, 2, 2, 2],
        planes=[64, 128, 256, 512],
        stem="deep",
        num_classes=10,
        avd_first=avd_first,
    ).eval()
    torch.manual_seed(0)
    draw(plain)
    theirs = unpublished("2s2x40d", 26, avd_first=avd_first, **form).eval()
    theirs.load_state_dict(plain.state_dict())
    features = plain.features([2, 3, 4], output_stride=stride)
    assert features.strides == [8, min(16, stride), stride]
    theirs.avgpool, theirs.fc = nn.Identity(), nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = features(x)
        expected = theirs(x).view(maps["layer4"].shape)
    assert maps["layer4"].shape[2:] == (64 // stride, 64 // stride)
    size = expected.abs().max().item()
    torch.testing.assert_close(maps["layer4"], expected, rtol=0, atol=1e-5 * size)


def test_a_dilated_backbone_differs_from_the_plain_one_only_where_it_dilates():
    whole = network()
    x = torch.randn(1, 3, 64, 64)
    plain, dilated = whole.features()(x), whole.features(output_stride=8)(x)
    assert torch.equal(plain["layer2"], dilated["layer2"])
    assert plain["layer3"].shape != dilated["layer3"].shape


def test_weights_are_copies():
    whole = network()
    features = whole.features()
    x = torch.randn(1, 3, 64, 64)
    logits, maps = whole(x), features(x)
    with torch.no_grad():
        for parameter in features.parameters():
            parameter.zero_()
    assert torch.equal(whole(x), logits)
    again = whole.features()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.zero_()
    assert torch.equal(again(x)["layer4"], maps["layer4"])
    again(x)["layer4"].sum().backward()
    assert all(p.grad is not None for p in again.parameters())
    assert all(p.grad is None for p in whole.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_mode_and_precision_are_kept(training):
    whole = network().train(training).double()
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    features = whole.features(output_stride=8)
    assert {module.training for module in features.modules()} == {training}
    assert {p.dtype for p in features.parameters()} == {torch.float64}
    features(torch.randn(2, 3, 64, 64, dtype=torch.float64))
    assert all(torch.equal(t, before[name]) for name, t in whole.state_dict().items())


@pytest.mark.parametrize("radix", [0, 2])
def test_stages_of_equal_channels_are_dilated_with_their_weights(radix):
    torch.manual_seed(0)
    shape = {"depths": [1, 1, 1], "planes": [16, 16, 16], "stem": "deep"}
    whole = ResNeSt(Variant(radix, 1, 64), **shape).eval()
    features = whole.features(output_stride=4)
    assert features.strides == [4, 4, 4]
    assert features.state_dict().keys() <= whole.state_dict().keys()
    assert features(torch.randn(1, 3, 32, 32))["layer3"].shape == (1, 64, 8, 8)


def test_a_dilated_network_keeps_its_stride():
    assert network(output_stride=8).features().strides == [4, 8, 8, 8]
    assert network(output_stride=8).features(output_stride=16).strides == [4, 8, 16, 16]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"out_indices": []}, r"not \[\]"),
        ({"out_indices": [5]}, r"0 \(stem\) to 4 \(last stage\), not \[5\]"),
        ({"out_indices": [-1]}, r"not \[-1\]"),
        ({"out_indices": [3, 2]}, r"must rise .* not \[3, 2\]"),
        ({"out_indices": [2, 2]}, r"not \[2, 2\]"),
        ({"names": ["a"]}, "one for each of 4 maps"),
        ({"names": ["a", "b", "c", "c"]}, "one for each of 4 maps"),
        ({"output_stride": 12}, "output_stride must be one of 4, 8, 16, 32, not 12"),
        ({"output_stride": 64}, "not 64"),
    ],
)
def test_impossible_maps_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        network().features(**arguments)


def test_children_are_the_networks_in_order():
    features = network().features()
    assert isinstance(features, Features)
    names = [name for name, _ in features.named_children()]
    assert names == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    state = network().state_dict()
    assert set(features.state_dict()) == {name for name in state if not name.startswith("fc.")}
