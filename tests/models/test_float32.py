"""How products of float32 are set, in timing and in training, and what was set before."""

import pytest
import torch
from torch import nn

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost.latency import time_network
from resnest_search.models.float32 import float32_products


def switches():
    return (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cudnn.benchmark,
    )


@pytest.mark.parametrize(
    ("precision", "products"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")]
)
def test_both_kinds_of_products_are_told_apart_and_restored(precision, products):
    convolutions = torch.backends.cudnn.conv.fp32_precision
    matrices = torch.get_float32_matmul_precision()
    with float32_products(precision) as read:
        assert switches()[:2] == (products, products)
    assert read == products
    assert torch.backends.cudnn.conv.fp32_precision == convolutions
    assert torch.get_float32_matmul_precision() == matrices


@pytest.mark.parametrize("failing", [False, True])
def test_what_was_set_before_comes_back(failing):
    def fails():
        with float32_products("fp32"):
            if failing:
                raise KeyError("a failing training")

    with float32_products("tf32"):
        if failing:
            with pytest.raises(KeyError):
                fails()
        else:
            fails()
        assert switches()[:2] == ("tf32", "tf32")


def test_a_compiler_can_still_read_what_is_set():
    """It raises where the newer switches alone were set (pytorch/pytorch issue 166387)."""
    with float32_products("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(("precision", "products"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_a_network_is_timed_with_the_products_of_its_mode(precision, products):
    class Watches(nn.Module):
        def forward(self, x):
            self.seen = switches()
            return x

    network, before = Watches(), switches()
    time_network(network, torch.ones(1), MeasureConfig(precision=precision, repeats=1, warmup=0))
    # As Lightning's benchmark=True does on a GPU.
    assert network.seen == (products, products, True)
    assert switches()[1:] == before[1:]
