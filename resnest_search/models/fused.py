"""Split attention without maps of its own between the 3x3 and the output, on CUDA.

The plain form writes the normalised map and its ReLU, and keeps for the backward pass what
it multiplied. Here the 3x3's output is all that is kept: one pass over it gives the means that
the attention looks at, another the weighted sum, and each computes batch norm and ReLU anew.
Training has one pass more before them, for the statistics of batch norm, and two in the
backward pass: one for the sums that everything small is made of, one that writes the gradient.

Letters of the shapes: B images, R radix, C channels of one split, H and W of the map.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any, TypeVar

import torch
from torch import nn

from resnest_search.models.split_attention import DropBlock, SplitAttention

__all__ = ["FusedSplitAttention", "fuse", "fusible", "weigh_fused"]

_HAS_TRITON = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton looks at its import, too
_Network = TypeVar("_Network", bound=nn.Module)


def fusible(device: torch.device) -> bool:
    """Whether the fused form runs on this device: CUDA, or anything in Triton's interpreter."""
    return _HAS_TRITON and (device.type == "cuda" or _INTERPRETED)


def fuse(network: _Network) -> _Network:
    """Let every split attention of the network use the fused form where it can.

    Parameters, buffers, their names and the function computed stay. Changes the network in
    place and returns it; on devices that `fusible` denies, the plain form goes on.
    """
    for module in network.modules():
        if type(module) is SplitAttention:
            module.__class__ = FusedSplitAttention
    return network


def weigh_fused(
    block: SplitAttention, splits: torch.Tensor, norm: torch.Tensor, batch_statistics: bool
) -> torch.Tensor:
    """`SplitAttention.weigh` of ReLU(batch norm) of the 3x3's output.

    Args:
        block: whose attention weighs.
        splits: ``[B, R*C, H, W]``.
        norm: weight, bias, mean and 1 / standard deviation, float32 ``[4, R*C]``; gradients
            reach the first two.
        batch_statistics: mean and standard deviation are those of the splits.
    """
    splits = _dense(splits)
    means, _, token, carrier = torch.ops.resnest_search.pool_splits(
        splits, norm, block.radix, batch_statistics
    )
    attention = block.attend(means.to(block.fc1.weight.dtype)).float().contiguous()
    out: torch.Tensor = torch.ops.resnest_search.combine_splits(
        splits.detach(), norm.detach(), attention, token, carrier
    )
    return out


class FusedSplitAttention(SplitAttention):
    """`SplitAttention` whose maps are computed anew where the plain form would keep them.

    Falls back to the plain form where the fused one does not apply: a device that `fusible`
    denies, float64, another norm in the place of batch norm (`nn.SyncBatchNorm`), cumulative
    statistics, or DropBlock at work.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to ``[B, C, H', W']``."""
        if not self._applies(x):
            return super().forward(x)
        splits = _dense(self.conv(x))  # [B, R*C, H', W']
        batch_statistics = self.bn0.training or self.bn0.running_mean is None
        mean, invstd = self._statistics(splits, batch_statistics)
        norm = torch.stack((self.bn0.weight.float(), self.bn0.bias.float(), mean, invstd))
        return weigh_fused(self, splits, norm, batch_statistics)

    def _applies(self, x: torch.Tensor) -> bool:
        norm = self.bn0
        return (
            fusible(x.device)
            and x.dtype is not torch.float64  # the kernels count in float32
            and type(norm) is nn.BatchNorm2d
            and norm.affine
            and norm.momentum is not None
            and not (self.training and isinstance(self.dropblock, DropBlock))
        )

    def _statistics(
        self, splits: torch.Tensor, of_batch: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and 1 / standard deviation of the channels, float32 ``[R*C]``; trains those kept."""
        norm = self.bn0
        if not of_batch:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, variance = norm.running_mean.float(), norm.running_var.float()
            return mean, torch.rsqrt(variance + norm.eps)
        mean, variance = torch.ops.resnest_search.channel_moments(splits.detach())
        if norm.training and norm.running_mean is not None:
            assert norm.running_var is not None
            assert norm.num_batches_tracked is not None
            assert norm.momentum is not None
            values = splits.numel() // splits.shape[1]
            unbiased = variance * (values / max(1, values - 1))
            with torch.no_grad():
                norm.num_batches_tracked.add_(1)
                norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
                norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
        return mean, torch.rsqrt(variance + norm.eps)


@torch.library.custom_op("resnest_search::channel_moments", mutates_args=())
def channel_moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of the channels of a dense ``[B, C, H, W]``: float32 ``[C]``."""
    from resnest_search.models import kernels

    return kernels.channel_moments(x)


@channel_moments.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        x.new_empty(x.shape[1], dtype=torch.float32),
        x.new_empty(x.shape[1], dtype=torch.float32),
    )


@torch.library.custom_op("resnest_search::pool_splits", mutates_args=())
def pool_splits(
    x: torch.Tensor,
    norm: torch.Tensor,
    radix: int,
    batch_statistics: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means over the map of ReLU(batch norm) of the splits, and two ways back.

    The gradient of x depends on the gradient of the means and on all that `combine_splits`
    learns in its own backward pass. It is written once, here, when both are known: what
    the other has learnt arrives as the "gradients" of two outputs that carry no value.

    Args:
        x: output of the 3x3, ``[B, R * C, H, W]``, dense.
        norm: of batch norm, see `weigh_fused`.
        radix: R.
        batch_statistics: the norm's statistics are those of x, and depend on it.

    Returns:
        The means ``[B, R * C]`` in float32; the sums that they are made of, ``[2, B, R * C]``;
        a token ``[B, C, H, W]`` of one shared zero, for the gradient of the output; and a
        carrier ``[3, B, R * C]`` likewise, for the attention and its two weighted sums.
    """
    from resnest_search.models import kernels

    sums = kernels.positive_sums(x, None, norm, radix)
    # ReLU(weight * n + bias) is linear in the two sums wherever it is not zero.
    means = (norm[0] * sums[1] + norm[1] * sums[0]) / (x.shape[2] * x.shape[3])
    return means, sums, *_ways_back(x, radix)


def _ways_back(x: torch.Tensor, radix: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch, splits, height, width = x.shape
    token = x.new_zeros((1, 1, 1, 1)).expand(batch, splits // radix, height, width)
    carrier = x.new_zeros((1, 1, 1), dtype=torch.float32).expand(3, batch, splits)
    return token, carrier


@pool_splits.register_fake
def _(
    x: torch.Tensor,
    norm: torch.Tensor,
    radix: int,
    batch_statistics: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    means = x.new_empty(x.shape[:2], dtype=torch.float32)
    sums = x.new_empty((2, *x.shape[:2]), dtype=torch.float32)
    return means, sums, *_ways_back(x, radix)


def _keep_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    *tensors, ctx.radix, ctx.batch_statistics = inputs
    ctx.save_for_backward(*tensors, output[1])


def _pool_backward(
    ctx: Any, of_means: torch.Tensor, _: None, of_out: torch.Tensor, learnt: torch.Tensor
) -> tuple[torch.Tensor | None, ...]:
    of_x, of_norm = torch.ops.resnest_search.splits_gradient(
        *ctx.saved_tensors, of_means, of_out, learnt, ctx.radix, ctx.batch_statistics
    )
    return of_x, of_norm, None, None


pool_splits.register_autograd(_pool_backward, setup_context=_keep_pool)


@torch.library.custom_op("resnest_search::splits_gradient", mutates_args=())
def splits_gradient(
    x: torch.Tensor,
    norm: torch.Tensor,
    sums: torch.Tensor,
    of_means: torch.Tensor,
    of_out: torch.Tensor,
    learnt: torch.Tensor,
    radix: int,
    batch_statistics: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of x and of the norm (zero for its statistics), from both ways back.

    See `pool_splits`: ``sums`` is an output of it, ``of_means``, ``of_out`` and ``learnt`` are
    the gradients of its others.
    """
    from resnest_search.models import kernels

    pixels = x.shape[2] * x.shape[3]
    flat = (of_means.float() / pixels).contiguous()  # [B, R*C]: the same for every pixel
    attention, g_sums, g_normed = learnt.float().unbind(0)  # [B, R*C] each
    of_bias = (attention * g_sums + flat * sums[0]).sum(0)
    of_weight = (attention * g_normed + flat * sums[1]).sum(0)
    values = len(x) * pixels
    offset = of_bias / values if batch_statistics else torch.zeros_like(of_bias)
    slope = of_weight / values if batch_statistics else torch.zeros_like(of_weight)
    of_x = kernels.input_gradient(
        x,
        _dense(of_out),
        attention.reshape(len(x), radix, -1).contiguous(),
        flat,
        offset,
        slope,
        norm,
    )
    fixed = torch.zeros_like(of_bias)
    return of_x, torch.stack((of_weight, of_bias, fixed, fixed))


@splits_gradient.register_fake
def _(
    x: torch.Tensor,
    norm: torch.Tensor,
    sums: torch.Tensor,
    of_means: torch.Tensor,
    of_out: torch.Tensor,
    learnt: torch.Tensor,
    radix: int,
    batch_statistics: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(norm)


@torch.library.custom_op("resnest_search::combine_splits", mutates_args=())
def combine_splits(
    x: torch.Tensor,
    norm: torch.Tensor,
    attention: torch.Tensor,
    token: torch.Tensor,
    carrier: torch.Tensor,
) -> torch.Tensor:
    """The sum over radix of attention * ReLU(batch norm): ``[B, C, H, W]``, in the layout of x.

    Args:
        x: output of the 3x3, ``[B, R * C, H, W]``, dense; like the norm, without gradient here.
        norm: of batch norm, see `weigh_fused`.
        attention: ``[B, R, C]``, contiguous.
        token: see `pool_splits`; its gradient is that of the output.
        carrier: see `pool_splits`.
    """
    from resnest_search.models import kernels

    out = _output(x, token)
    kernels.combine(x, attention, norm, out)
    return out


def _output(x: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    return torch.empty(token.shape, dtype=x.dtype, device=x.device, memory_format=layout)


@combine_splits.register_fake
def _(
    x: torch.Tensor,
    norm: torch.Tensor,
    attention: torch.Tensor,
    token: torch.Tensor,
    carrier: torch.Tensor,
) -> torch.Tensor:
    return _output(x, token)


def _keep_combine(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def _combine_backward(ctx: Any, of_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, norm, attention = ctx.saved_tensors
    radix = attention.shape[1]
    of_out = _dense(of_out)
    sums = torch.ops.resnest_search.weighted_sums(x, of_out, norm, radix)
    of_attention = (norm[0] * sums[1] + norm[1] * sums[0]).reshape(attention.shape)
    learnt = torch.cat((attention.flatten(1)[None], sums))  # [3, B, R*C]
    return None, None, of_attention, of_out, learnt


combine_splits.register_autograd(_combine_backward, setup_context=_keep_combine)


@torch.library.custom_op("resnest_search::weighted_sums", mutates_args=())
def weighted_sums(
    x: torch.Tensor,
    of_out: torch.Tensor,
    norm: torch.Tensor,
    radix: int,
) -> torch.Tensor:
    """`kernels.positive_sums` with the gradient of the output: float32 ``[2, B, R * C]``."""
    from resnest_search.models import kernels

    return kernels.positive_sums(x, of_out, norm, radix)


@weighted_sums.register_fake
def _(
    x: torch.Tensor,
    of_out: torch.Tensor,
    norm: torch.Tensor,
    radix: int,
) -> torch.Tensor:
    return x.new_empty((2, *x.shape[:2]), dtype=torch.float32)


def _dense(x: torch.Tensor) -> torch.Tensor:
    """The tensor, copied unless it lies contiguously in either memory format."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()
