"""Split attention against the paper's figure, written as loops over groups and splits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from resnest_search.models import SplitAttention


def random_block(radix, cardinality, group, hidden, stride=1):
    """A block in float64 whose norms are not the identity; group = C / (R * K)."""
    block = SplitAttention(
        radix * cardinality * group,
        cardinality * hidden,
        radix=radix,
        cardinality=cardinality,
        stride=stride,
    ).double()
    for name, tensor in block.named_buffers():
        if name.endswith(("mean", "var")):
            tensor.uniform_(0.5, 1.5)
    with torch.no_grad():
        for norm in (block.bn0, block.bn1):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    return block.eval()


def cardinality_major(radix, cardinality, inner):
    """Index that reorders channels (R, K, inner) into (K, R, inner)."""
    order = torch.arange(radix * cardinality * inner).view(radix, cardinality, inner)
    return order.transpose(0, 1).flatten()


def norm(x, layer, channels):
    """Batch norm in eval mode of these channels: [B, c, H, W] to itself."""
    return F.batch_norm(
        x,
        layer.running_mean[channels],
        layer.running_var[channels],
        layer.weight[channels],
        layer.bias[channels],
        eps=layer.eps,
    )


def figure(block, x, order_in, order_out):
    """The paper's figure: x is [B, (K, R, c/R), H, W]; cardinal groups one by one.

    ``order_in`` and ``order_out`` say which radix-major channel each cardinality-major
    channel of the 3x3's input and output is.
    """
    radix, cardinality = block.radix, block.cardinality
    weight = block.conv.weight[order_out]
    piece, split = len(order_in) // (radix * cardinality), block.channels // cardinality
    hidden = block.fc1.out_channels // cardinality
    groups = []
    for k in range(cardinality):
        splits = []
        for r in range(radix):
            g = k * radix + r
            rows = slice(g * split, (g + 1) * split)
            y = F.conv2d(
                x[:, g * piece : (g + 1) * piece], weight[rows], None, block.conv.stride, 1
            )
            splits.append(norm(y, block.bn0, order_out[rows]).relu())
        pooled = sum(splits).mean((2, 3), keepdim=True)
        own = slice(k * hidden, (k + 1) * hidden)
        h = F.conv2d(pooled, block.fc1.weight[own], block.fc1.bias[own])
        h = norm(h, block.bn1, own).relu()
        logits = []
        for r in range(radix):
            rows = slice((k * radix + r) * split, (k * radix + r + 1) * split)
            logits.append(F.conv2d(h, block.fc2.weight[rows], block.fc2.bias[rows]))
        weights = torch.stack(logits)
        weights = weights.softmax(0) if radix > 1 else weights.sigmoid()
        groups.append(sum(a * s for a, s in zip(weights, splits, strict=True)))
    return torch.cat(groups, 1)


def both(block, batch, side):
    radix, cardinality = block.radix, block.cardinality
    piece, split = block.channels // (radix * cardinality), block.channels // cardinality
    x = torch.randn(batch, block.channels, side, side, dtype=torch.float64)
    order_in = cardinality_major(radix, cardinality, piece)
    order_out = cardinality_major(radix, cardinality, split)
    with torch.no_grad():
        return block(x), figure(block, x[:, order_in], order_in, order_out), x


@settings(max_examples=40, deadline=None)
@given(
    radix=st.integers(1, 4),
    cardinality=st.integers(1, 4),
    group=st.integers(1, 3),
    hidden=st.integers(1, 5),
    side=st.integers(1, 5),
    stride=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_radix_major_is_the_figure_after_a_permutation(
    radix, cardinality, group, hidden, side, stride, seed
):
    torch.manual_seed(seed)
    ours, theirs, _ = both(random_block(radix, cardinality, group, hidden, stride), 2, side)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("radix", "cardinality"), [(2, 2), (4, 2), (2, 3)])
def test_another_permutation_is_another_function(radix, cardinality):
    torch.manual_seed(0)
    block = random_block(radix, cardinality, 2, 3)
    ours, _, x = both(block, 2, 4)
    order_in = cardinality_major(radix, cardinality, 2)
    order_out = cardinality_major(radix, cardinality, 2 * radix)
    unpermuted = torch.arange(len(order_out))
    with torch.no_grad():
        wrong_out = figure(block, x[:, order_in], order_in, unpermuted)
        wrong_in = figure(block, x, order_in, order_out)
    assert (ours - wrong_out).abs().max() > 1e-3
    assert (ours - wrong_in).abs().max() > 1e-3


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (2, 2), (4, 3)])
def test_weights_sum_to_one_over_radix(radix, cardinality):
    torch.manual_seed(0)
    block = random_block(radix, cardinality, 2, 3)
    splits = torch.randn(3, radix * block.channels, 4, 4, dtype=torch.float64)
    weights = block.attend(splits.mean((2, 3)))
    assert weights.shape == (3, radix, block.channels)
    assert ((weights > 0) & (weights < 1)).all()
    if radix > 1:
        torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    block = random_block(2, 2, 1, 2)
    x = torch.randn(1, block.channels, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


def test_autocast_does_not_widen_the_map():
    block = SplitAttention(8, 8, radix=2, cardinality=2).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert block(torch.randn(2, 8, 4, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("channels", "hidden", "radix", "cardinality", "named"),
    [(8, 8, 0, 1, "not 0"), (8, 8, 3, 1, "= 3 does not divide 8"), (6, 8, 1, 3, "3 does not")],
)
def test_impossible_shapes_are_refused(channels, hidden, radix, cardinality, named):
    with pytest.raises(ValueError, match=named):
        SplitAttention(channels, hidden, radix=radix, cardinality=cardinality)
