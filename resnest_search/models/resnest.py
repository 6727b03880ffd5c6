"""ResNeSt: a ResNet-D whose 3x3 convolutions are split attention (arXiv 2004.08955).

Letters of the shapes: B images, C channels, H and W height and width of the map.
Modules are named as in the authors' package, so that state dicts line up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from resnest_search.models.split_attention import SplitAttention
from resnest_search.variant import Variant, attention_width, group_width

__all__ = ["Bottleneck", "ResNeSt"]


class Bottleneck(nn.Module):
    """1x1, 3x3 or split attention, 1x1, and a shortcut around the three.

    Maps ``[B, in_channels, H, W]`` to ``[B, 4 * planes, ceil(H / stride), ceil(W / stride)]``.

    Args:
        in_channels: channels of the input.
        planes: bottleneck planes of the stage; the variant makes the inner width of them.
        variant: radix, cardinality and width. Radix 0 is a plain grouped 3x3.
        stride: of the block.
        avg_down: a strided shortcut pools and then projects, where False strides its 1x1.
        avd: a 3x3 average pool does the block's down-sampling, where False strides the 3x3.
        avd_first: that pool stands before the 3x3 (ResNeSt-fast) instead of after it.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        variant: Variant,
        *,
        stride: int = 1,
        avg_down: bool = True,
        avd: bool = True,
        avd_first: bool = False,
    ) -> None:
        super().__init__()
        width = group_width(planes, variant)
        out_channels = planes * self.expansion
        pooled = avd and stride > 1
        pool = nn.AvgPool2d(3, stride, padding=1) if pooled else nn.Identity()
        conv_stride = 1 if pooled else stride
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool_before = pool if avd_first else nn.Identity()
        self.conv2: nn.Module
        self.bn2: nn.Module | None = None
        if variant.radix == 0:
            groups = variant.cardinality
            self.conv2 = nn.Conv2d(
                width, width, 3, conv_stride, padding=1, groups=groups, bias=False
            )
            self.bn2 = nn.BatchNorm2d(width)
        else:
            self.conv2 = SplitAttention(
                width,
                attention_width(planes, variant),
                radix=variant.radix,
                cardinality=variant.cardinality,
                stride=conv_stride,
            )
        self.pool_after = nn.Identity() if avd_first else pool
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = shortcut(in_channels, out_channels, stride, avg_down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, in_channels, H, W]`` to ``[B, 4 * planes, H', W']``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(self.pool_before(out))
        if self.bn2 is not None:  # split attention has its own norm and activation
            out = self.relu(self.bn2(out))
        out = self.bn3(self.conv3(self.pool_after(out)))
        out += self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


def shortcut(in_channels: int, out_channels: int, stride: int, avg_down: bool) -> nn.Sequential:
    """The projection around a block: ``[B, in, H, W]`` to ``[B, out, H', W']``.

    ResNet-D pools before a 1x1 of stride 1, since a 1x1 of stride 2 reads one pixel in four.
    """
    if not avg_down:
        project = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        return nn.Sequential(project, nn.BatchNorm2d(out_channels))
    # At stride 1 the pool would copy its input; the Identity keeps the authors' numbering.
    pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    project = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(
        pool if stride > 1 else nn.Identity(), project, nn.BatchNorm2d(out_channels)
    )


class ResNeSt(nn.Module):
    """Classifier of ``[B, in_channels, H, W]`` images into ``[B, num_classes]`` logits.

    Weights are drawn from torch's global generator: who wants the same network twice
    seeds it before. Convolutions are He normal over their fan-out.

    Args:
        variant: of every block.
        depths: blocks of each stage; every stage after the first halves the map.
        planes: bottleneck planes of each stage; a stage ends at 4 times as many channels.
        stem: "deep", three 3x3 and a max pool that divide the sides by 4, or "small", one
            3x3 at stride 1 for images of 8 to 64 pixels.
        stem_width: the stem ends at twice this many channels.
        in_channels: channels of an image.
        num_classes: logits.
        avg_down: see `Bottleneck`.
        avd: see `Bottleneck`.
        avd_first: see `Bottleneck`.
        radix0: what a variant of radix 0 means. "resnet_d" strides its 3x3, whatever
            ``avd`` says, and with cardinality 1 is exactly ResNet-D, the control of the
            paper's comparison; "avd" pools as the other radices do, and is what the
            authors' code builds when it is given radix 0.
        zero_init_last_gamma: the last batch norm of each block starts at zero, so that a
            fresh block is its shortcut.
        dropout: probability before the classifier, in [0, 1).

    Raises:
        ValueError: an argument is out of its range, or the variant is impossible here.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        depths: Sequence[int],
        planes: Sequence[int],
        stem: str = "small",
        stem_width: int = 32,
        in_channels: int = 3,
        num_classes: int = 1000,
        avg_down: bool = True,
        avd: bool = True,
        avd_first: bool = False,
        radix0: str = "resnet_d",
        zero_init_last_gamma: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not depths or len(depths) != len(planes):
            raise ValueError(
                f"depths {list(depths)} and planes {list(planes)} need one number a stage each"
            )
        sizes = {"stem_width": stem_width, "in_channels": in_channels, "num_classes": num_classes}
        sizes |= {f"depths[{i}]": depth for i, depth in enumerate(depths)}
        sizes |= {f"planes[{i}]": width for i, width in enumerate(planes)}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if stem not in ("small", "deep"):
            raise ValueError(f"stem must be small or deep, not {stem!r}")
        if radix0 not in ("resnet_d", "avd"):
            raise ValueError(f"radix0 must be resnet_d or avd, not {radix0!r}")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        variant.check(planes)

        if variant.radix == 0 and radix0 == "resnet_d":
            avd = False  # the one place that decides what radix 0 is; see radix0 above
        channels = 2 * stem_width
        deep = stem == "deep"
        self.conv1 = deep_stem(in_channels, stem_width) if deep else conv3x3(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if deep else nn.Identity()
        self.stages: list[str] = []  # module names, in order: layer1, layer2, …
        for stage, (depth, width) in enumerate(zip(depths, planes, strict=True), start=1):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(
                    Bottleneck(
                        channels,
                        width,
                        variant,
                        stride=stride,
                        avg_down=avg_down,
                        avd=avd,
                        avd_first=avd_first,
                    )
                )
                channels = width * Bottleneck.expansion
            self.stages.append(f"layer{stage}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self.initialise(zero_init_last_gamma)

    def initialise(self, zero_init_last_gamma: bool) -> None:
        """Draw the convolutions' weights anew and reset the gammas; other values stay."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.constant_(module.bn3.weight, 0.0 if zero_init_last_gamma else 1.0)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, in_channels, H, W]`` to ``[B, 4 * planes[-1], H', W']``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, in_channels, H, W]`` to ``[B, num_classes]``."""
        features = self.avgpool(self.forward_features(x)).flatten(1)  # [B, C, 1, 1] -> [B, C]
        return self.fc(self.drop(features))  # type: ignore[no-any-return]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 without bias: ``[B, in, H, W]`` to ``[B, out, ceil(H / stride), ceil(W / stride)]``."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def deep_stem(in_channels: int, width: int) -> nn.Sequential:
    """Three 3x3 in place of a 7x7 (ResNet-D): ``[B, in, H, W]`` to ``[B, 2 * width, H/2, W/2]``."""
    return nn.Sequential(
        conv3x3(in_channels, width, stride=2),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        conv3x3(width, width),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        conv3x3(width, 2 * width),
    )
