"""Batch norm over the processes of a training, on a CPU, where `torch.nn.SyncBatchNorm` refuses.

Letters of the shapes: B images of this process, C channels, H and W of the map.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

__all__ = ["SyncedBatchNorm2d", "synchronise"]

_Network = TypeVar("_Network", bound=nn.Module)


def synchronise(network: _Network) -> _Network:
    """Let every batch norm of the network see the batches of all processes.

    Parameters, buffers and their names stay. Changes the network in place and returns it.
    """
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d
    return network


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics, in training, are those of all processes together.

    Each process counts with as many values as it has. Without a process group, and in
    evaluation, it is `nn.BatchNorm2d`. In training every process must call it equally often.
    It is affine, and has running statistics with a momentum.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` to itself."""
        if not (self.training and distributed.is_initialized()):
            return super().forward(x)
        self._check_input_dim(x)
        out: Tensor = self._synced(x)
        return out

    # What is compiled ends before a collective, and begins again after it.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _synced(self, x: Tensor) -> Tensor:
        mean, variance, values = _moments(x.detach())
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            unbiased = variance * (values / max(1.0, values - 1))
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        out: Tensor = _Normalise.apply(x, self.weight, self.bias, mean, variance, values, self.eps)
        return out


def _moments(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and biased variance ``[C]`` over all processes, and how many values a channel has.

    Joined from those of each process (Chan et al., 1983), in the same order on each, so that
    all come to the same bits.
    """
    mean, variance = torch.batch_norm_update_stats(_wide(x), None, None, 0.0)
    values = x.numel() // x.shape[1]
    own = torch.cat((mean, variance, mean.new_tensor([values]))).double()
    found = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, own)
    borders = (len(mean), 2 * len(mean))
    means, variances, counts = torch.stack(found).tensor_split(borders, 1)  # of [processes, 2C + 1]
    total = counts.sum()
    share = counts / total
    joined = (share * means).sum(0)
    spread = (share * (variances + (means - joined) ** 2)).sum(0)
    return joined.to(mean.dtype), spread.to(mean.dtype), float(total)


class _Normalise(torch.autograd.Function):
    """weight * (x - mean) / sqrt(variance + eps) + bias, where mean and variance are of all x.

    Gradients of weight and bias are of this process alone, since who trains sums them with all
    others. The gradient of x needs both over all processes (Ioffe and Szegedy, arXiv 1502.03167,
    section 3).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        values: float,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.values, ctx.eps = values, eps
        return F.batch_norm(_wide(x), mean, variance, weight, bias, False, 0.0, eps).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            *(_wide(grads[0]), _wide(x), weight, mean, variance, None, None, False, ctx.eps),
            [True, True, True],
        )  # as if the statistics were fixed
        sums = torch.cat((of_weight, of_bias))
        distributed.all_reduce(sums)
        slope, offset = (sums / ctx.values).chunk(2)
        scale = torch.rsqrt(variance + ctx.eps)
        slope = -weight * scale**2 * slope
        offset = -weight * scale * offset - slope * mean
        of_x = of_x.add_(offset[:, None, None]).addcmul_(_wide(x), slope[:, None, None])
        return of_x.to(x.dtype), of_weight, of_bias, None, None, None, None


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
