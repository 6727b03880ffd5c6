"""A convolution with its batch norm in its weights, in one of its exact forms for inference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["ConvForm", "FoldedConv", "dense_weight", "folded", "layout_of"]


@dataclass(frozen=True)
class ConvForm:
    """How a convolution runs: with a block-diagonal dense weight or not, in which layout."""

    dense: bool
    channels_last: bool

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "contiguous"
        return f"{'dense' if self.dense else 'grouped'} {layout}"


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one convolution that does what the two do in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    bias = norm.bias.double() - norm.running_mean.double() * scale
    if conv.bias is not None:
        bias = bias + conv.bias.double() * scale
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    kind = conv.weight.dtype  # rounded once
    return weight.detach().to(kind), bias.detach().to(kind)


def dense_weight(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """The block-diagonal weight: ``[out, in / groups, k, k]`` to ``[out, in, k, k]``."""
    out, width, *kernel = weight.shape
    rows = out // groups
    dense = weight.new_zeros(out, width * groups, *kernel)
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        dense[own, group * width : (group + 1) * width] = weight[own]
    return dense


class FoldedConv(nn.Module):
    """A convolution with its batch norm in its weights, for inference.

    Args:
        conv: the convolution.
        norm: what follows it.
        form: how it runs.
        relu: whether a ReLU follows, after the addition of a shortcut where one is given.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(
        self, conv: nn.Conv2d, norm: nn.BatchNorm2d, form: ConvForm, *, relu: bool
    ) -> None:
        super().__init__()
        weight, bias = folded(conv, norm)
        self.form = form
        self.relu = relu
        self.geometry = (
            [int(side) for side in conv.padding],
            list(conv.stride),
            list(conv.dilation),
            1 if form.dense else conv.groups,
        )
        weight = dense_weight(weight, conv.groups) if form.dense else weight
        weight = weight.contiguous(memory_format=layout_of(form.channels_last))
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor | None = None) -> torch.Tensor:
        """``[B, in, H, W]`` to ``[B, out, H', W']``, in the form's memory format."""
        x = x.contiguous(memory_format=layout_of(self.form.channels_last))
        padding, stride, dilation, groups = self.geometry
        out = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if shortcut is not None:
            out += shortcut
        return out.relu_() if self.relu else out


def layout_of(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format
