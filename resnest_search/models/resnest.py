"""ResNeSt: a ResNet-D whose 3x3 convolutions are split attention (arXiv 2004.08955).

Letters of the shapes: B images, C channels, H and W height and width of the map.
Modules are named as in the authors' package, so that state dicts line up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from resnest_search.models.split_attention import DropBlock, SplitAttention
from resnest_search.variant import Variant, attention_width, group_width

__all__ = ["Bottleneck", "Features", "ResNeSt"]


class Bottleneck(nn.Module):
    """1x1, 3x3 or split attention, 1x1, and a shortcut around the three.

    Maps ``[B, in_channels, H, W]`` to ``[B, 4 * planes, ceil(H / stride), ceil(W / stride)]``.

    Args:
        in_channels: channels of the input.
        planes: bottleneck planes of the stage; the variant makes the inner width of them.
        variant: radix, cardinality and width. Radix 0 is a plain grouped 3x3.
        stride: of the block.
        dilation: of the 3x3.
        leads: this is the first block of a stage that would halve the map. Such a block pools
            where ``avd`` is set even at stride 1, in the dilated form, as the authors' does.
        avg_down: a strided shortcut pools and then projects, where False strides its 1x1.
        avd: a 3x3 average pool does the block's down-sampling, where False strides the 3x3.
        avd_first: that pool stands before the 3x3 (ResNeSt-fast) instead of after it.
        dropblock: probability of `DropBlock` after each of the three norms.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        variant: Variant,
        *,
        stride: int = 1,
        dilation: int = 1,
        leads: bool = False,
        avg_down: bool = True,
        avd: bool = True,
        avd_first: bool = False,
        dropblock: float = 0.0,
    ) -> None:
        super().__init__()
        width = group_width(planes, variant)
        out_channels = planes * self.expansion
        pooled = avd and (stride > 1 or leads)
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
                width, width, 3, conv_stride, dilation, dilation, groups=groups, bias=False
            )
            self.bn2 = nn.BatchNorm2d(width)
        else:
            self.conv2 = SplitAttention(
                width,
                attention_width(planes, variant),
                radix=variant.radix,
                cardinality=variant.cardinality,
                stride=conv_stride,
                dilation=dilation,
                dropblock=dropblock,
            )
        self.pool_after = nn.Identity() if avd_first else pool
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.dropblock = DropBlock(dropblock) if dropblock else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or leads or in_channels != out_channels:  # dilated, too, with its weights
            self.downsample = shortcut(in_channels, out_channels, stride, avg_down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, in_channels, H, W]`` to ``[B, 4 * planes, H', W']``."""
        out = self.relu(self.dropblock(self.bn1(self.conv1(x))))
        out = self.conv2(self.pool_before(out))
        if self.bn2 is not None:  # split attention has its own norm and activation
            out = self.relu(self.dropblock(self.bn2(out)))
        out = self.dropblock(self.bn3(self.conv3(self.pool_after(out))))
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
        dropblock: probability of `DropBlock` in the last two stages, in [0, 1).
        output_stride: pixels of an image to a step of the last map. Stages that would pass it
            keep their map and dilate their 3x3 instead: 8 is the form that DeepLab takes. None
            is the plain network, 32 with a deep stem and four stages.

    Attributes:
        stages: names of the stages' modules, in order: layer1, layer2, …
        channels: of the map after the stem and after each stage.
        strides: likewise, pixels of an image to a step of the map.

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
        dropblock: float = 0.0,
        output_stride: int | None = None,
    ) -> None:
        # All that was given, so that `features` can build this network in another form.
        given = locals().items()
        arguments = {name: value for name, value in given if name not in ("self", "__class__")}
        super().__init__()
        check_arguments(**arguments)
        self.arguments = arguments
        variant.check(planes)
        if variant.radix == 0 and radix0 == "resnet_d":
            avd = False  # the one place that decides what radix 0 is; see radix0 above
        channels = 2 * stem_width
        deep = stem == "deep"
        self.conv1 = deep_stem(in_channels, stem_width) if deep else conv3x3(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if deep else nn.Identity()
        self.stages: list[str] = []
        self.channels = [channels]
        self.strides = [4 if deep else 1]
        options = {"avg_down": avg_down, "avd": avd, "avd_first": avd_first}
        dilation = 1
        for stage, (depth, width) in enumerate(zip(depths, planes, strict=True), start=1):
            halves = stage > 1
            dilates = halves and output_stride is not None and self.strides[-1] >= output_stride
            stride = 2 if halves and not dilates else 1
            drop = dropblock if stage > len(depths) - 2 else 0.0
            first = Bottleneck(
                self.channels[-1],
                width,
                variant,
                stride=stride,
                dilation=dilation,
                leads=halves,
                dropblock=drop,
                **options,
            )
            dilation *= 2 if dilates else 1
            self.stages.append(f"layer{stage}")
            self.channels.append(width * Bottleneck.expansion)
            self.strides.append(self.strides[-1] * stride)
            rest = (
                Bottleneck(
                    self.channels[-1], width, variant, dilation=dilation, dropblock=drop, **options
                )
                for _ in range(depth - 1)
            )
            self.add_module(self.stages[-1], nn.Sequential(first, *rest))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(self.channels[-1], num_classes)
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
        for name, module in self.named_children():  # as TorchScript can read it
            if name in self.stages:
                x = module(x)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, in_channels, H, W]`` to ``[B, num_classes]``."""
        features = self.avgpool(self.forward_features(x)).flatten(1)  # [B, C, 1, 1] -> [B, C]
        return self.fc(self.drop(features))  # type: ignore[no-any-return]

    def features(
        self,
        out_indices: Sequence[int] | None = None,
        output_stride: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Features:
        """A backbone for detection and segmentation: this network's maps instead of its logits.

        It has copies of the weights, on the same device and in the same precision and mode.

        Args:
            out_indices: which maps, in order; 0 is the stem's and i the one of stage i.
                None is one a stage.
            output_stride: see `ResNeSt`; None keeps the network's own.
            names: what each map is called in the dictionary; None is ``stem``, ``layer1``, …

        Raises:
            ValueError: there is no such map or stride, or not a name for each.
        """
        arguments = dict(self.arguments)
        if output_stride is not None:
            arguments["output_stride"] = output_stride
        with torch.device("meta"):  # the weights come from this network
            other = ResNeSt(**arguments)
        state = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        other.load_state_dict(state, assign=True)
        other.train(self.training)
        return Features(other, out_indices, names)


class Features(nn.Module):
    """Maps of a network's stages: ``[B, C, H, W]`` images to a dictionary, in rising stride.

    Its children are the network's, in order and by their names, so that torchvision's
    ``BackboneWithFPN`` and ``IntermediateLayerGetter`` take it as they take a ResNet.

    Attributes:
        names: of the maps, the keys of the dictionary.
        channels: of each map.
        strides: of each map, in pixels of an image.
    """

    def __init__(
        self,
        network: ResNeSt,
        out_indices: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        stages = len(network.stages)
        indices = list(range(1, stages + 1)) if out_indices is None else list(out_indices)
        if not indices or indices != sorted(set(indices) & set(range(stages + 1))):
            raise ValueError(
                f"out_indices must rise within 0 (stem) to {stages} (last stage), not {indices}"
            )
        own = ["stem", *network.stages]
        self.names = [own[index] for index in indices] if names is None else list(names)
        if len(set(self.names)) != len(indices):
            raise ValueError(f"names must be one for each of {len(indices)} maps, not {names}")
        self.channels = [network.channels[index] for index in indices]
        self.strides = [network.strides[index] for index in indices]
        ends = ["maxpool", *network.stages]  # the last child of the stem, and of each stage
        self._named = {ends[index]: name for index, name in zip(indices, self.names, strict=True)}
        for name in ("conv1", "bn1", "relu", "maxpool", *network.stages[: indices[-1]]):
            self.add_module(name, network.get_submodule(name))
        self.training = network.training  # as that of its children

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images ``[B, C, H, W]`` to a map ``[B, channels[i], H / strides[i], …]`` a name."""
        maps: dict[str, torch.Tensor] = {}
        for name, module in self.named_children():
            x = module(x)
            if name in self._named:
                maps[self._named[name]] = x
        return maps


def check_arguments(
    depths: Sequence[int],
    planes: Sequence[int],
    stem: str,
    radix0: str,
    output_stride: int | None,
    **rest: Any,
) -> None:
    """See `ResNeSt`.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not depths or len(depths) != len(planes):
        raise ValueError(
            f"depths {list(depths)} and planes {list(planes)} need one number a stage each"
        )
    sizes = {name: rest[name] for name in ("stem_width", "in_channels", "num_classes")}
    sizes |= {f"depths[{i}]": depth for i, depth in enumerate(depths)}
    sizes |= {f"planes[{i}]": width for i, width in enumerate(planes)}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
    if stem not in ("small", "deep"):
        raise ValueError(f"stem must be small or deep, not {stem!r}")
    if radix0 not in ("resnet_d", "avd"):
        raise ValueError(f"radix0 must be resnet_d or avd, not {radix0!r}")
    for name in ("dropout", "dropblock"):
        if not 0.0 <= rest[name] < 1.0:
            raise ValueError(f"{name} must lie in [0, 1), not {rest[name]}")
    strides = [(4 if stem == "deep" else 1) * 2**stage for stage in range(len(depths))]
    if output_stride is not None and output_stride not in strides:
        valid = ", ".join(str(stride) for stride in strides)
        raise ValueError(f"output_stride must be one of {valid}, not {output_stride}")


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
