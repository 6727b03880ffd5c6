"""A trained network in the fastest exact form for inference on the device at hand.

Batch norm is folded into the convolutions. Every grouped 3x3 runs in the form that is fastest
here, found once by timing: grouped, or as one dense convolution with a block-diagonal weight,
in either memory format. On CUDA split attention is fused.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from resnest_search.models.folded import ConvForm, FoldedConv, folded, layout_of
from resnest_search.models.fused import fusible, weigh_fused
from resnest_search.models.resnest import Bottleneck, ResNeSt
from resnest_search.models.split_attention import SplitAttention

__all__ = ["Choice", "choose", "fast", "fold", "fold_"]

_ROUNDS = 8  # of timing each form of a convolution
_WORTH = 0.95  # another form must be this much faster than the network's own, or it is noise
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Choice:
    """What was found fastest.

    Attributes:
        channels_last: the memory format of maps.
        forms: of the grouped 3x3, by module name.
    """

    channels_last: bool
    forms: Mapping[str, ConvForm]

    def __str__(self) -> str:
        """For example ``folded, contiguous; 16 grouped 3x3: 12 grouped contiguous, 4 dense …``."""
        counts = Counter(str(form) for form in self.forms.values())
        listed = ", ".join(f"{number} {form}" for form, number in sorted(counts.items()))
        layout = "channels_last" if self.channels_last else "contiguous"
        return f"folded, {layout}" + (
            f"; {len(self.forms)} grouped 3x3: {listed}" if listed else ""
        )


def fast(network: ResNeSt, images: torch.Tensor) -> tuple[ResNeSt, Choice]:
    """A copy for inference alone, and what was chosen for it.

    The copy computes the network's function in eval mode, to rounding. It takes images of
    any batch and size; the choice is made for those given.

    Args:
        network: on a device, in the precision to be deployed.
        images: ``[B, C, H, W]`` as they will come, on the same device and in the precision.
    """
    choice = choose(network, images)
    return fold(network, choice, fusible(images.device)), choice


def choose(network: ResNeSt, images: torch.Tensor) -> Choice:
    """Time the forms of `fast` on the images' device; takes some passes of the network."""
    choices = [Choice(last, choose_forms(network, images, last)) for last in (False, True)]
    fused = fusible(images.device)
    networks = {index: fold(network, choice, fused) for index, choice in enumerate(choices)}
    seconds = _least_seconds(networks, images)
    return choices[min(seconds, key=seconds.__getitem__)]


def fold(network: ResNeSt, choice: Choice, fused: bool) -> ResNeSt:
    """A copy with batch norm in the convolutions, which take the forms chosen.

    Args:
        network: in the precision to be deployed.
        choice: forms; a grouped 3x3 that it does not name stays as it is.
        fused: split attention takes the fused form, see `fused.fusible`.
    """
    return fold_(copy.deepcopy(network), choice, fused)


def fold_(network: ResNeSt, choice: Choice, fused: bool) -> ResNeSt:
    """`fold` of the network itself."""
    network.eval().requires_grad_(False)
    own = ConvForm(False, choice.channels_last)
    for name, module in list(network.named_modules()):
        if isinstance(module, SplitAttention):
            _fold_attention(module, choice.forms.get(f"{name}.conv", own), fused)
        elif isinstance(module, Bottleneck):
            _fold_block(module, choice.forms.get(f"{name}.conv2", own), own)
    stem = nn.Sequential(
        *(network.conv1 if isinstance(network.conv1, nn.Sequential) else [network.conv1]),
        network.bn1,
        network.relu,
    )
    _fold_pairs(stem, own)
    _replace(network, conv1=stem, bn1=nn.Identity(), relu=nn.Identity())
    return network


def choose_forms(
    network: ResNeSt, images: torch.Tensor, channels_last: bool
) -> dict[str, ConvForm]:
    """The fastest form of every grouped 3x3, by name, on the images' device.

    Convolutions of one geometry share the answer. Each form is timed with the copies into and
    out of its memory format that a network in another one needs.
    """
    inputs: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(_remember(inputs, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.kernel_size == (3, 3)
    ]
    training = network.training
    try:
        with torch.inference_mode():
            network.eval()(images)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    found: dict[tuple[object, ...], ConvForm] = {}
    forms = {}
    for name, x in inputs.items():
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        geometry = (x.shape, conv.weight.shape, conv.stride, conv.dilation)
        if geometry not in found:
            found[geometry] = _fastest(conv, x, channels_last)
        forms[name] = found[geometry]
    return forms


def _remember(inputs: dict[str, torch.Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        inputs[name] = args[0].clone()

    return hook


def _fastest(conv: nn.Conv2d, x: torch.Tensor, channels_last: bool) -> ConvForm:
    norm = nn.BatchNorm2d(conv.out_channels).to(x.device, x.dtype).eval()
    layout = layout_of(channels_last)
    x = x.contiguous(memory_format=layout)
    own = ConvForm(False, channels_last)
    forms = [own, *(ConvForm(dense, last) for dense in (False, True) for last in (False, True))]
    layers = {form: FoldedConv(conv, norm, form, relu=True) for form in forms}
    seconds = _least_seconds(layers, x, lambda out: out.contiguous(memory_format=layout))
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] < _WORTH * seconds[own] else own


@torch.inference_mode()
def _least_seconds(
    layers: Mapping[_Key, nn.Module],
    x: torch.Tensor,
    then: Callable[[torch.Tensor], torch.Tensor] = lambda out: out,
) -> dict[_Key, float]:
    """Of each layer the least of several passes, made in turn: noise only adds."""
    least = dict.fromkeys(layers, float("inf"))
    for attempt in range(_ROUNDS):
        for key, layer in layers.items():
            _wait(x)
            start = time.perf_counter()
            then(layer(x))
            _wait(x)
            if attempt:  # the first compiles kernels or picks an algorithm
                least[key] = min(least[key], time.perf_counter() - start)
    return least


def _wait(x: torch.Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def _fold_attention(block: SplitAttention, form: ConvForm, fused: bool) -> None:
    channels = block.conv.out_channels
    conv = FoldedConv(block.conv, block.bn0, form, relu=not fused)
    _replace(block, conv=conv, bn0=nn.Identity())
    hidden, bias = folded(block.fc1, block.bn1)
    block.fc1.weight, block.fc1.bias = (
        nn.Parameter(t, requires_grad=False) for t in (hidden, bias)
    )
    _replace(block, bn1=nn.Identity())
    unit = torch.tensor([1.0, 0.0, 0.0, 1.0], device=block.fc1.weight.device)
    block.register_buffer("unit_norm", unit[:, None].repeat(1, channels))
    block.__class__ = FastSplitAttention


def _fold_block(block: Bottleneck, form: ConvForm, default: ConvForm) -> None:
    if block.bn2 is not None:
        assert isinstance(block.conv2, nn.Conv2d)
        assert isinstance(block.bn2, nn.BatchNorm2d)
        block.conv2 = FoldedConv(block.conv2, block.bn2, form, relu=True)
        block.bn2 = None
    _replace(
        block,
        conv1=FoldedConv(block.conv1, block.bn1, default, relu=True),
        bn1=nn.Identity(),
        conv3=FoldedConv(block.conv3, block.bn3, default, relu=True),
        bn3=nn.Identity(),
    )
    _fold_pairs(block.downsample, default)
    block.__class__ = FastBottleneck


def _fold_pairs(layers: nn.Module, form: ConvForm) -> None:
    """Fold every convolution of a sequence that a norm follows, and its ReLU where there is one."""
    if not isinstance(layers, nn.Sequential):
        return
    for index in range(len(layers) - 1):
        conv, norm = layers[index], layers[index + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            relu = index + 2 < len(layers) and isinstance(layers[index + 2], nn.ReLU)
            layers[index] = FoldedConv(conv, norm, form, relu=relu)
            layers[index + 1] = nn.Identity()
            if relu:
                layers[index + 2] = nn.Identity()


def _replace(module: nn.Module, **children: Any) -> None:
    """Put modules of other types in the place of typed ones."""
    for name, child in children.items():
        setattr(module, name, child)


class FastBottleneck(Bottleneck):
    """`Bottleneck` after its norms were folded: ReLU and shortcut are the convolutions' work."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, in_channels, H, W]`` to ``[B, 4 * planes, H', W']``."""
        out = self.pool_after(self.conv2(self.pool_before(self.conv1(x))))
        return self.conv3(out, self.downsample(x))  # type: ignore[no-any-return]


class FastSplitAttention(SplitAttention):
    """`SplitAttention` after its norms were folded."""

    unit_norm: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to ``[B, C, H', W']``."""
        splits = self.conv(x)  # [B, R*C, H', W']
        if isinstance(self.conv, FoldedConv) and not self.conv.relu:  # the fused form has its own
            return weigh_fused(self, splits, self.unit_norm, False)
        return self.weigh(splits)
