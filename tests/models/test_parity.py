"""The same function as the authors' package, and as timm wherever the two agree."""

from __future__ import annotations

import pytest
import torch
from reference_networks import (
    SETTINGS,
    assert_same,
    assert_same_in_float32,
    draw,
    of_timm,
    ours,
    published,
    unpublished,
)

from resnest_search.models import SplitAttention
from resnest_search.models.split_attention import grouped_linear
from resnest_search.models.weights import load_authors, load_timm


@pytest.fixture(autouse=True)
def one_thread():
    """On small maps more threads only wait for each other, four times as long on a busy box."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The same function


@pytest.mark.parametrize("setting", SETTINGS)
def test_fast_settings_are_the_authors(setting):
    theirs = unpublished(setting, 14, avd_first=True)
    assert_same(theirs, ours(setting, 14, avd_first=True), load_authors)


def test_a_fast_setting_is_the_published_one():
    theirs = published("resnest50_fast_4s2x40d")
    assert_same(theirs, ours("4s2x40d", avd_first=True), load_authors)


def test_resnest50_is_the_authors():
    assert_same(published("resnest50"), ours("2s1x64d"), load_authors)


@pytest.mark.parametrize("avd_first", [True, False])
@pytest.mark.parametrize(("form", "stride"), [({"dilated": True}, 8), ({"dilation": 2}, 16)])
def test_dilated_networks_are_the_authors(form, stride, avd_first):
    theirs = unpublished("2s2x40d", 14, avd_first=avd_first, **form)
    found = ours("2s2x40d", 14, avd_first=avd_first, output_stride=stride)
    assert_same(theirs, found, load_authors)


@pytest.mark.parametrize("avd_first", [True, False])
def test_radix_0_with_avd_is_the_authors(avd_first):
    theirs = unpublished("0s2x40d", 14, avd_first=avd_first)
    assert_same(theirs, ours("0s2x40d", 14, avd_first=avd_first, radix0="avd"), load_authors)


@pytest.mark.parametrize(
    ("name", "variant", "layers", "options"),
    [
        ("resnest14d", "2s1x64d", 14, {}),
        ("resnest26d", "2s1x64d", 26, {}),
        ("resnest50d_4s2x40d", "4s2x40d", 50, {"avd_first": True}),
        ("resnest50d_1s4x24d", "1s4x24d", 50, {"avd_first": True}),
        ("resnet50d", "0s1x64d", 50, {}),
        ("resnet50d", "0s1x64d", 50, {"avd_first": True}),  # without avd it means nothing
    ],
)
def test_networks_are_timms(name, variant, layers, options):
    assert_same(of_timm(name), ours(variant, layers, **options), load_timm)


@pytest.mark.parametrize("layers", [101, 200, 269])
def test_the_largest_are_both_references(layers):
    theirs, found = published(f"resnest{layers}"), ours("2s1x64d", layers)
    torch.manual_seed(0)
    draw(theirs)
    load_authors(found, theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, logits = theirs.eval()(x), found.eval()(x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * expected.std().item())
    with torch.device("meta"):
        names = {k: v.shape for k, v in of_timm(f"resnest{layers}e").state_dict().items()}
    assert names == {k: v.shape for k, v in found.state_dict().items()}


@pytest.mark.parametrize("setting", ["1s1x64d", "2s2x40d", "4s1x64d"])
@pytest.mark.parametrize("form", [{}, {"avd_first": True}])
def test_float32_differs_from_the_authors_by_rounding(setting, form):
    theirs, found = unpublished(setting, 14, **form), ours(setting, 14, **form)
    assert_same_in_float32(theirs, found, load_authors)


def test_float32_differs_from_timm_by_rounding():
    assert_same_in_float32(of_timm("resnest26d"), ours("2s1x64d", 26), load_timm)


# Where the comparison fails, and where the references differ


def unpermuted(self, means):
    """`SplitAttention.attend` without its transpose: shapes fit, groups are mixed up."""
    pooled = means.reshape(-1, self.radix, self.channels).sum(1)
    hidden = grouped_linear(pooled, self.fc1.weight, self.fc1.bias, self.cardinality)
    hidden = self.relu(self.bn1(hidden[..., None, None])).flatten(1)
    logits = grouped_linear(hidden, self.fc2.weight, self.fc2.bias, self.cardinality)
    logits = logits.reshape(-1, self.radix, self.channels)
    return torch.softmax(logits, 1) if self.radix > 1 else torch.sigmoid(logits)


def test_a_lost_permutation_of_radix_and_cardinality_is_noticed(monkeypatch):
    monkeypatch.setattr(SplitAttention, "attend", unpermuted)
    for same in (assert_same, assert_same_in_float32):
        with pytest.raises(AssertionError, match="logits"):
            same(unpublished("2s2x40d", 14), ours("2s2x40d", 14), load_authors)
    # With one cardinal group there is nothing to permute: the mutant is wrong in this alone.
    assert_same(unpublished("2s1x64d", 14), ours("2s1x64d", 14), load_authors)


@pytest.mark.parametrize(
    ("theirs", "found"),
    [
        (lambda: of_timm("resnet50d"), lambda: ours("0s1x64d", radix0="avd")),
        (lambda: of_timm("resnest14d"), lambda: ours("2s1x64d", 14, avd_first=True)),
    ],
)
def test_another_function_of_the_same_weights_is_noticed(theirs, found):
    with pytest.raises(AssertionError, match="logits"):
        assert_same(theirs(), found(), load_timm)


def test_attention_width_is_the_authors_where_timm_rounds_it():
    theirs = unpublished("2s1x72d", 14)
    assert_same(theirs, ours("2s1x72d", 14), load_authors)
    timms = of_timm("resnest14d", base_width=72)
    found = ours("2s1x72d", 14)
    draw(found)
    before = found.fc.weight.clone()
    with pytest.raises(ValueError, match=r"fc1\.weight \[40, .*for \[36, .*multiple of 8$"):
        load_timm(found, timms.state_dict())
    assert torch.equal(found.fc.weight, before)


def test_dilated_network_is_the_authors_where_timm_differs():
    theirs, timms = unpublished("2s1x64d", 14, dilated=True), of_timm("resnest14d", output_stride=8)
    found = ours("2s1x64d", 14, output_stride=8)
    torch.manual_seed(0)
    draw(theirs)
    load_timm(found, theirs.state_dict())
    timms.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, other, logits = (network.eval()(x) for network in (theirs, timms, found))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * expected.std().item())
    assert (other - expected).abs().max() > 0.1 * expected.std()
