"""The split-attention 3x3 of ResNeSt (arXiv 2004.08955, section 3.1), in radix-major layout.

Letters of the shapes:
    B  images of the batch         C  channels of one split (the block's group width)
    R  radix: splits               c  channels of one cardinal group in a split, C / K
    K  cardinality                 A  hidden channels of the attention
    H, W  height and width of the map

Radix-major: the R * C channels of the 3x3 are ordered (R, K, c), so that a split is one
contiguous slice. The paper's figure is drawn cardinality-major, (K, R, c): the same
function after a permutation of the weights.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["SplitAttention"]


class SplitAttention(nn.Module):
    """A grouped 3x3 that makes R splits, and the attention that weighs and sums them.

    Maps ``[B, C, H, W]`` to ``[B, C, H', W']``, where a stride of 2 halves the map and
    rounds up. Radix 1 has a single split and a sigmoid gate, as squeeze-and-excitation.
    In training mode a batch holds at least two images: the attention's batch norm sees
    one value per image.

    Args:
        channels: C, into and out of the block.
        attention_channels: A.
        radix: R, at least 1.
        cardinality: K; R * K divides C, and K divides A.
        stride: of the 3x3.
        dilation: of the 3x3.
        dropblock: probability of `DropBlock` between batch norm and ReLU.

    Raises:
        ValueError: radix is below 1, a divisor does not divide, or the probability is none.
    """

    def __init__(
        self,
        channels: int,
        attention_channels: int,
        *,
        radix: int,
        cardinality: int,
        stride: int = 1,
        dilation: int = 1,
        dropblock: float = 0.0,
    ) -> None:
        super().__init__()
        if radix < 1:
            raise ValueError(f"split attention needs a radix of at least 1, not {radix}")
        groups = radix * cardinality
        if channels % groups:
            raise ValueError(f"radix x cardinality = {groups} does not divide {channels} channels")
        if attention_channels % cardinality:
            raise ValueError(
                f"cardinality {cardinality} does not divide {attention_channels} attention channels"
            )
        self.channels = channels
        self.radix = radix
        self.cardinality = cardinality
        splits = radix * channels
        self.conv = nn.Conv2d(
            channels, splits, 3, stride, dilation, dilation, groups=groups, bias=False
        )
        self.bn0 = nn.BatchNorm2d(splits)
        self.dropblock = DropBlock(dropblock) if dropblock else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, attention_channels, 1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(attention_channels)
        self.fc2 = nn.Conv2d(attention_channels, splits, 1, groups=cardinality)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to ``[B, C, H', W']``."""
        return self.weigh(self.relu(self.dropblock(self.bn0(self.conv(x)))))

    def weigh(self, x: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the splits: ``[B, R*C, H', W']`` to ``[B, C, H', W']``."""
        # Under autocast the softmax answers in float32, which would widen the whole map.
        weights = self.attend(x.mean((2, 3))).to(x.dtype)[..., None, None].unbind(1)
        splits = x.chunk(self.radix, dim=1)  # R of [B, C, H', W'], views of x
        out = splits[0] * weights[0]  # R of [B, C, 1, 1] are the weights
        for index in range(1, self.radix):  # in place: no R weighted maps side by side
            out = out.addcmul_(splits[index], weights[index])
        return out

    def attend(self, means: torch.Tensor) -> torch.Tensor:
        """The weight of every channel of every split: ``[B, R*C]`` to ``[B, R, C]``.

        Over radix the weights sum to 1, except for radix 1, whose gate lies in (0, 1).

        Args:
            means: of the R*C channels after the ReLU, over the map.
        """
        radix, cardinality = self.radix, self.cardinality
        # The paper pools the sum of the splits. The mean of a sum is the sum of the means,
        # and the means are R*C numbers, where the sum would be one more map.
        pooled = means.reshape(-1, radix, self.channels).sum(1)  # [B, C]
        fc1, fc2 = self.fc1, self.fc2
        hidden = grouped_linear(pooled, fc1.weight, fc1.bias, cardinality)  # [B, A]
        hidden = self.relu(self.bn1(hidden[..., None, None])).flatten(1)
        logits = grouped_linear(hidden, fc2.weight, fc2.bias, cardinality)  # [B, K*R*c]
        # fc2 is grouped by K and each of its groups answers for the R splits of its own
        # cardinal group, so its channels come cardinality-major, (K, R, c), whatever the
        # layout of x. The splits are radix-major, (R, K, c): hence the transpose. Without
        # it shapes still fit, and the weights of one cardinal group land on another.
        logits = logits.reshape(
            -1, cardinality, radix, self.channels // cardinality
        )  # [B, K, R, c]
        logits = logits.transpose(1, 2).flatten(2)  # [B, R, K, c] -> [B, R, C]
        return torch.softmax(logits, 1) if radix > 1 else torch.sigmoid(logits)


def grouped_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int
) -> torch.Tensor:
    """A 1x1 convolution in K groups of a 1x1 map: ``[B, in]`` to ``[B, out]``.

    As matrix products, which start faster than a convolution does. The weight is a
    convolution's, ``[out, in / K, 1, 1]``.
    """
    weight = weight.flatten(1)  # [out, in / K]
    if groups == 1:
        return nn.functional.linear(x, weight, bias)
    parts = x.reshape(-1, groups, weight.shape[1]).transpose(0, 1)  # [K, B, in / K]
    weight = weight.reshape(groups, -1, weight.shape[1]).transpose(1, 2)  # [K, in / K, out / K]
    out = torch.bmm(parts, weight)  # [K, B, out / K]
    out = out.transpose(0, 1).flatten(1)
    return out if bias is None else out + bias


class DropBlock(nn.Module):
    """Drops squares of a map while training, and scales what is left by their share.

    Algorithm 1 of DropBlock (arXiv 1810.12890): each channel draws the corners of its own
    squares, which lie wholly inside the map. Maps ``[B, C, H, W]`` to itself.

    Args:
        probability: expected share of dropped values, in [0, 1).
        size: side of a square in pixels; smaller maps are one square.

    Raises:
        ValueError: the probability is out of its range, or the size is not positive.
    """

    def __init__(self, probability: float, size: int = 3) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"dropblock must lie in [0, 1), not {probability}")
        if size < 1:
            raise ValueError(f"DropBlock's size must be at least 1, not {size}")
        self.probability = probability
        self.size = size

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"probability={self.probability}, size={self.size}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to itself."""
        if not self.training or self.probability == 0:
            return x
        height, width = x.shape[2], x.shape[3]
        tall, wide = min(self.size, height), min(self.size, width)
        corners = [x.shape[0], x.shape[1], height - tall + 1, width - wide + 1]
        share = self.probability * height * width / (tall * wide * corners[2] * corners[3])
        dropped = x.new_empty(corners).bernoulli_(min(1.0, share))
        around = [wide - 1, wide - 1, tall - 1, tall - 1]
        dropped = nn.functional.pad(dropped, around)
        kept = 1 - nn.functional.max_pool2d(dropped, (tall, wide), stride=1)  # [B, C, H, W]
        return x * kept * (kept.numel() / kept.float().sum().clamp(min=1.0)).to(x.dtype)
