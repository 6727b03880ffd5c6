"""Bytes of live tensors, on computations that can be counted by hand."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from resnest_search.cost.live import LiveBytes


def peak(run):
    """(peak, bytes alive at the end) of a computation on fake tensors."""
    with FakeTensorMode(), LiveBytes() as memory, torch.no_grad():
        kept = run(memory)
        end = memory.live
    del kept
    return memory.peak, end


def test_linear():
    def run(memory):
        layer = nn.Linear(4, 8)
        memory.restart()
        return layer(torch.empty(2, 4))

    weights, x, y = 4 * (4 * 8 + 8), 4 * 2 * 4, 4 * 2 * 8
    assert peak(run) == (weights + x + y, y)  # the layer dies with its function


def test_an_activation_that_dies_makes_room():
    def run(memory):
        y = torch.empty(1000) + 1  # x dies at once
        z = y + 1
        del y
        return z + 1

    assert peak(run) == (8000, 4000)


def test_activations_kept_together_add_up():
    def run(memory):
        x = torch.empty(1000)
        return [x, x + 1, x + 2]

    assert peak(run) == (12000, 12000)


def test_views_count_once_and_outlive_their_base():
    def run(memory):
        x = torch.empty(1000)
        view = x.view(10, 100).t()[:5]
        del x
        return view

    assert peak(run) == (4000, 4000)


def test_in_place_needs_nothing_and_out_of_place_a_copy():
    assert peak(lambda _: nn.ReLU(inplace=True)(torch.empty(1000))) == (4000, 4000)
    assert peak(lambda _: nn.ReLU()(torch.empty(1000)))[0] == 8000


def test_an_address_used_again_is_a_new_storage():
    def run(memory):
        for _ in range(100):
            x = torch.empty(1000)
        return x

    assert peak(run) == (8000, 4000)  # the next is made before the last one's name moves on


def test_backward_keeps_what_it_needs_and_frees_it():
    with FakeTensorMode(), LiveBytes() as memory:
        network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
        weights = memory.live
        out = network(torch.empty(8, 10))
        x, hidden, y = 4 * 8 * 10, 4 * 8 * 20, 4 * 8 * 5
        assert memory.live == weights + x + hidden + y  # the ReLU's output, not its input
        out.sum().backward()
        del out
        assert memory.live == 2 * weights  # and their gradients
    assert weights == 4 * (10 * 20 + 20 + 20 * 5 + 5)


def test_tensors_from_outside_count_once_held():
    x = torch.zeros(10)
    with LiveBytes() as memory:
        memory.hold([x, x.view(2, 5), x])
        assert memory.live == 40
        x.add_(1)
    assert memory.peak == 40


def test_nothing_is_counted_after_the_end():
    with LiveBytes() as memory:
        x = torch.zeros(10)
    del x
    torch.zeros(1000)
    assert (memory.live, memory.peak) == (40, 40)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_the_peak_of_a_chain_is_its_heaviest_pair(sizes):
    def run(memory):
        x = torch.empty(sizes[0])
        for size in sizes[1:]:
            x = x.new_empty(size)
        return x

    pairs = [a + b for a, b in itertools.pairwise(sizes)]
    assert peak(run)[0] == 4 * max(sizes[:1] + pairs)
