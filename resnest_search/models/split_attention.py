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

    Raises:
        ValueError: radix is below 1, or a divisor does not divide.
    """

    def __init__(
        self,
        channels: int,
        attention_channels: int,
        *,
        radix: int,
        cardinality: int,
        stride: int = 1,
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
        self.conv = nn.Conv2d(channels, splits, 3, stride, padding=1, groups=groups, bias=False)
        self.bn0 = nn.BatchNorm2d(splits)
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, attention_channels, 1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(attention_channels)
        self.fc2 = nn.Conv2d(attention_channels, splits, 1, groups=cardinality)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to ``[B, C, H', W']``."""
        x = self.relu(self.bn0(self.conv(x)))  # [B, R*C, H', W']
        # Under autocast the softmax answers in float32, which would widen the whole map.
        attention = self.attend(x).to(x.dtype).unbind(1)  # R of [B, C, 1, 1]
        splits = x.chunk(self.radix, dim=1)  # R of [B, C, H', W'], views of x
        out = splits[0] * attention[0]
        for split, weight in zip(splits[1:], attention[1:], strict=True):
            out = out.addcmul_(split, weight)  # in place: no R weighted maps side by side
        return out

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """The weight of every channel of every split: ``[B, R*C, H', W']`` to ``[B, R, C, 1, 1]``.

        Over radix the weights sum to 1, except for radix 1, whose gate lies in (0, 1).
        """
        radix, cardinality = self.radix, self.cardinality
        # The paper pools the sum of the splits. The mean of a sum is the sum of the means,
        # and the means are R*C numbers, where the sum would be one more map.
        means = x.mean((2, 3)).reshape(-1, radix, self.channels, 1, 1)  # [B, R, C, 1, 1]
        pooled = means.sum(1)  # [B, C, 1, 1]
        logits: torch.Tensor = self.fc2(self.relu(self.bn1(self.fc1(pooled))))  # [B, K*R*c, 1, 1]
        # fc2 is grouped by K and each of its groups answers for the R splits of its own
        # cardinal group, so its channels come cardinality-major, (K, R, c), whatever the
        # layout of x. The splits are radix-major, (R, K, c): hence the transpose. Without
        # it shapes still fit, and the weights of one cardinal group land on another.
        group = self.channels // cardinality
        logits = logits.reshape(-1, cardinality, radix, group, 1, 1)  # [B, K, R, c, 1, 1]
        logits = logits.transpose(1, 2).flatten(2, 3)  # [B, R, K, c, 1, 1] -> [B, R, C, 1, 1]
        return torch.softmax(logits, 1) if radix > 1 else torch.sigmoid(logits)
