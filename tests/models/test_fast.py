"""The form for inference against the network it was made of."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnest_search.cost.account import account
from resnest_search.models import ResNeSt
from resnest_search.models.fast import Choice, choose, fast, fold
from resnest_search.models.folded import ConvForm, dense_weight
from resnest_search.variant import Variant

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FORMS = [ConvForm(dense, last) for dense in (False, True) for last in (False, True)]


def network(text, **options):
    """A small network whose norms are not the identity."""
    torch.manual_seed(0)
    arguments = {"depths": [2, 1], "planes": [16, 32], "stem_width": 8, "num_classes": 5}
    made = ResNeSt(Variant.parse(text), **(arguments | options))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return made.to(DEVICE).eval()


@torch.inference_mode()
def assert_same(found, expected, *shapes):
    """The same outputs for images of these shapes, in either memory format."""
    for shape in shapes:
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device=DEVICE).contiguous(memory_format=layout)
            torch.testing.assert_close(found(x), expected(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", ["0s1x64d", "0s2x32d", "1s1x64d", "2s2x32d", "4s1x64d"])
@pytest.mark.parametrize(
    "options",
    [{"avd_first": True}, {"stem": "deep"}, {"avd": False, "avg_down": False}, {"radix0": "avd"}],
)
def test_the_same_function_for_any_batch_and_size(text, options):
    made = network(text, **options)
    found, _ = fast(made, torch.randn(2, 3, 16, 16, device=DEVICE))
    assert_same(found, made, (2, 3, 16, 16), (1, 3, 16, 16), (5, 3, 9, 20))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("channels_last", [True, False])
def test_every_form_is_exact(form, channels_last):
    made = network("2s2x32d", stem="deep")
    convs = [n for n, m in made.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    choice = Choice(channels_last, dict.fromkeys([n for n in convs if n.endswith("conv")], form))
    assert_same(fold(made, choice, fused=False), made, (3, 3, 16, 16))


def test_no_norm_is_left_and_the_original_is_untouched():
    made = network("2s1x64d").train()
    before = copy.deepcopy(made.state_dict())
    found, _ = fast(made, torch.randn(2, 3, 8, 8, device=DEVICE))
    assert not [m for m in found.modules() if isinstance(m, nn.BatchNorm2d)]
    assert made.training
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_record_names_every_grouped_convolution():
    made = network("2s2x32d")
    choice = choose(made, torch.randn(2, 3, 8, 8, device=DEVICE))
    assert list(choice.forms) == [
        "layer1.0.conv2.conv",
        "layer1.1.conv2.conv",
        "layer2.0.conv2.conv",
    ]
    assert "3 grouped 3x3: " in str(choice)
    assert str(choose(network("0s1x64d"), torch.randn(2, 3, 8, 8, device=DEVICE))).startswith(
        "folded, "
    )


def test_block_diagonal_is_the_grouped_convolution():
    weight, x = torch.randn(12, 2, 3, 3), torch.randn(2, 6, 5, 5)
    expected = F.conv2d(x, weight, groups=3)
    torch.testing.assert_close(F.conv2d(x, dense_weight(weight, 3)), expected)


def test_compiles_without_a_break():
    found, _ = fast(network("2s2x32d"), torch.randn(2, 3, 8, 8, device=DEVICE))
    x = torch.randn(2, 3, 8, 8, device=DEVICE)
    with torch.inference_mode():
        compiled = torch.compile(found, backend="aot_eager", fullgraph=True)(x)
        torch.testing.assert_close(compiled, found(x), rtol=1e-4, atol=1e-5)


def test_half_precision_keeps_its_type():
    made = network("2s1x64d").bfloat16()
    x = torch.randn(2, 3, 8, 8, device=DEVICE, dtype=torch.bfloat16)
    with torch.inference_mode():
        found = fast(made, x)[0](x)
        assert found.dtype == torch.bfloat16
        assert (found - made(x)).abs().max() < 0.1 * made(x).abs().max()


def test_the_account_knows_that_norms_are_gone():
    def make():
        return ResNeSt(Variant.parse("2s1x64d"), depths=[1, 1], planes=[32, 64])

    plain, folded = (
        account(make, inference=(1, 3, 16, 16), training=(4, 3, 16, 16), folded=some)
        for some in (False, True)
    )
    assert folded.inference_bytes < plain.inference_bytes
    assert folded.training_bytes == plain.training_bytes
    assert folded.parameters == plain.parameters
    assert folded.macs == plain.macs
