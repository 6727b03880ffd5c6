"""The account of networks: against real tensors, and its properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnest_search.cost.account import account, sgd, train_step
from resnest_search.cost.live import LiveBytes
from resnest_search.models import ResNeSt
from resnest_search.variant import Variant


def tiny(text="2s2x32d"):
    return ResNeSt(Variant.parse(text), depths=[1, 1], planes=[16, 16], stem_width=4)


def square(batch, side=8):
    return (batch, 3, side, side)


class Flat(nn.Sequential):
    """A linear layer over 3 x 2 x 2 images."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(12, 5))


def test_one_linear_layer_by_hand():
    found = account(Flat, inference=square(4, 2), training=square(6, 2))
    weights = 4 * (12 * 5 + 5)
    assert found.parameters == 65
    assert found.macs == 60
    assert found.inference_bytes == weights + 4 * 4 * (12 + 5)
    # The update of the weight is the peak: weights, gradients, momentum and, in Nesterov's
    # step, the decayed gradient and its look-ahead of one tensor; images, too.
    images = 4 * 6 * 12
    assert found.training_bytes >= 3 * weights + images
    assert found.training_bytes <= 3 * weights + images + 3 * 4 * 60 + 4 * 6 * 5 * 4


def test_half_precision_halves_inference():
    full, half = (
        account(Flat, inference=square(4, 2), training=square(4, 2), precision=precision)
        for precision in ("fp32", "bf16")
    )
    assert full.inference_bytes == 2 * half.inference_bytes
    assert full.training_bytes == half.training_bytes
    assert (full.macs, full.parameters) == (half.macs, half.parameters)


def test_mixed_precision_keeps_half_the_activations_and_all_the_weights():
    def training(precision, batch):
        return account(
            tiny, inference=square(1), training=square(batch), training_precision=precision
        ).training_bytes

    assert training("bf16", 64) == training("fp16", 64)
    assert 0.4 < training("bf16", 64) / training("fp32", 64) < 0.65


@pytest.mark.parametrize("text", ["0s1x64d", "1s1x64d", "2s2x32d"])
def test_fake_tensors_weigh_what_real_ones_do(text):
    found = account(lambda: tiny(text), inference=square(5), training=square(7))
    network = tiny(text).eval()
    with LiveBytes() as memory, torch.no_grad():
        memory.hold([*network.parameters(), *network.buffers()])
        network(torch.empty(square(5)))
    assert memory.peak == found.inference_bytes

    optimizer = sgd(network.train().parameters())
    train_step(network, optimizer, torch.zeros(square(7)), "fp32")
    optimizer.zero_grad()
    momenta = [state["momentum_buffer"] for state in optimizer.state.values()]
    with LiveBytes() as memory:
        memory.hold([*network.parameters(), *network.buffers(), *momenta])
        train_step(network, optimizer, torch.empty(square(7)), "fp32")
    assert memory.peak == found.training_bytes


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 64), st.integers(1, 64), st.sampled_from(["0s1x64d", "1s1x64d", "2s1x64d"]))
def test_larger_batches_never_need_less(batch, more, text):
    small, large = (
        account(lambda: tiny(text), inference=square(n), training=square(n))
        for n in (batch, batch + more)
    )
    assert small.inference_bytes < large.inference_bytes
    assert small.training_bytes < large.training_bytes
    assert (small.macs, small.parameters) == (large.macs, large.parameters)


def test_the_same_again_and_with_any_threads():
    def found():
        return account(tiny, inference=square(3), training=square(4))

    first, threads = found(), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 3)
        assert found() == first
    finally:
        torch.set_num_threads(threads)
    assert found() == first


def test_tebibytes_are_counted_without_being_there():
    found = account(tiny, inference=square(2**20, 64), training=square(2**20, 64))
    assert found.inference_bytes > 2**40
    assert found.training_bytes > found.inference_bytes


def test_unknown_precision_is_named():
    with pytest.raises(ValueError, match="'fp8'"):
        account(tiny, inference=square(2), training=square(2), precision="fp8")
    with pytest.raises(ValueError, match="'int4'"):
        account(tiny, inference=square(2), training=square(2), training_precision="int4")
