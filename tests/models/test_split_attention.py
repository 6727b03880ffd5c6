"""Split attention against the paper's figure, written as loops over groups and splits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from resnest_search.models import Bottleneck, ResNeSt, SplitAttention
from resnest_search.models.split_attention import DropBlock
from resnest_search.variant import Variant


def random_block(radix, cardinality, group, hidden, stride=1, dilation=1):
    """A block in float64 whose norms are not the identity; group = C / (R * K)."""
    block = SplitAttention(
        radix * cardinality * group,
        cardinality * hidden,
        radix=radix,
        cardinality=cardinality,
        stride=stride,
        dilation=dilation,
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
                x[:, g * piece : (g + 1) * piece],
                weight[rows],
                stride=block.conv.stride,
                padding=block.conv.dilation,  # a 3x3 keeps the map's size
                dilation=block.conv.dilation,
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


@settings(max_examples=60, deadline=None)
@given(
    radix=st.integers(1, 5),
    cardinality=st.integers(1, 5),
    group=st.integers(1, 6),
    hidden=st.integers(1, 5),
    side=st.integers(1, 6),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_radix_major_is_the_figure_after_a_permutation(
    radix, cardinality, group, hidden, side, stride, dilation, seed
):
    torch.manual_seed(seed)
    block = random_block(radix, cardinality, group, hidden, stride, dilation)
    ours, theirs, _ = both(block, 2, side)
    assert ours.shape == (2, block.channels, -(-side // stride), -(-side // stride))
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


# DropBlock


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("side", [14, 7, 4])
def test_dropblock_drops_its_share(probability, side):
    torch.manual_seed(0)
    dropped = DropBlock(probability)(torch.ones(64, 128, side, side)) == 0
    # Where squares overlap, fewer are dropped; the rest is the noise of some hundred squares.
    assert 0.75 * probability < dropped.float().mean() < 1.1 * probability


def test_dropblock_drops_whole_squares_that_each_channel_draws():
    torch.manual_seed(0)
    dropped = (DropBlock(0.1)(torch.ones(8, 32, 12, 12)) == 0).float()
    assert dropped.sum() > 0
    # A corner is wherever a whole 3x3 is dropped; the squares at all corners are all there is.
    corners = (F.avg_pool2d(dropped, 3, stride=1) > 0.999).float()
    squares = F.max_pool2d(F.pad(corners, (2, 2, 2, 2)), 3, stride=1)
    assert torch.equal(squares, dropped)
    patterns = {tuple(channel.flatten().tolist()) for channel in dropped.flatten(0, 1)}
    assert len(patterns) > 100  # of 256


def test_every_pixel_can_be_dropped():
    torch.manual_seed(0)
    dropped = DropBlock(0.2)(torch.ones(64, 64, 5, 6)) == 0
    assert dropped.any(0).any(0).all()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_dropblock_keeps_the_mean(size):
    torch.manual_seed(0)
    x = torch.rand(32, 16, 9, 9) + 1
    out = DropBlock(0.2, size)(x)
    assert out.mean().item() == pytest.approx(x.mean().item(), rel=0.01)
    kept = out != 0
    scale = (out[kept] / x[kept]).unique()
    assert scale.max() - scale.min() < 1e-5  # one factor for all that is left
    assert scale[0].item() == pytest.approx(1 / kept.float().mean().item(), rel=1e-4)


@pytest.mark.parametrize("probability", [0.0, 0.5])
@pytest.mark.parametrize("training", [True, False])
def test_dropblock_is_off_in_eval_and_at_zero(probability, training):
    x = torch.randn(4, 8, 6, 6)
    same = torch.equal(DropBlock(probability).train(training)(x), x)
    assert same == (not training or probability == 0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 5), (2, 7), (3, 3)])
def test_dropblock_of_a_map_smaller_than_a_square_drops_all_or_nothing_across_it(height, width):
    torch.manual_seed(0)
    dropped = DropBlock(0.3)(torch.ones(64, 64, height, width)) == 0
    if height <= 3 and width <= 3:  # one square covers the map
        assert torch.equal(dropped.all(-1).all(-1), dropped.any(-1).any(-1))
        assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(dropped.all(-2), dropped.any(-2))  # whole columns


def test_dropblock_of_everything_is_zero_and_no_division_by_it():
    torch.manual_seed(0)
    out = DropBlock(0.999)(torch.ones(1, 2, 1, 1))
    assert torch.equal(out, torch.zeros_like(out))


def test_dropblock_passes_gradients_where_it_kept():
    torch.manual_seed(0)
    x = torch.rand(2, 4, 6, 6, requires_grad=True)
    out = DropBlock(0.3)(x)
    out.sum().backward()
    assert torch.equal(x.grad == 0, out == 0)
    assert (out == 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dropblock_keeps_the_precision(dtype):
    assert DropBlock(0.2)(torch.ones(2, 2, 4, 4, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "named"), [((1.0,), "1.0"), ((-0.1,), "-0.1"), ((0.1, 0), "size")]
)
def test_impossible_dropblocks_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        DropBlock(*arguments)


@pytest.mark.parametrize("text", ["0s1x64d", "2s1x64d"])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_dropblock_is_in_the_last_two_stages(text, stages):
    sizes = {"depths": [2] * stages, "planes": [8] * stages, "stem_width": 4}
    network = ResNeSt(Variant.parse(text), **sizes, dropblock=0.1)
    found = {
        name.split(".")[0]
        for name, module in network.named_modules()
        if isinstance(module, DropBlock)
    }
    assert found == set(network.stages[-2:])
    for block in network.get_submodule(network.stages[-1]):
        assert sum(isinstance(module, DropBlock) for module in block.modules()) == (
            1 if text == "0s1x64d" else 2  # used after each norm of the block; split attention's
        )
    plain = ResNeSt(Variant.parse(text), **sizes)
    assert not any(isinstance(module, DropBlock) for module in plain.modules())
    assert plain.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("text", ["0s1x64d", "2s1x64d"])
def test_dropblock_follows_each_norm_of_a_block(text, monkeypatch):
    seen = []
    forward = DropBlock.forward
    monkeypatch.setattr(
        DropBlock, "forward", lambda self, x: (seen.append(x.shape[1]), forward(self, x))[1]
    )
    block = Bottleneck(16, 8, Variant.parse(text), dropblock=0.1)
    block(torch.randn(2, 16, 4, 4))
    splits = 8 * max(Variant.parse(text).radix, 1)
    assert seen == [8, splits, 32]
