"""The authors' networks, timm's and ours, and what it means that two of them are the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import resnest.torch as authors
import timm
import torch
from resnest.torch.resnet import Bottleneck as AuthorsBottleneck
from resnest.torch.resnet import ResNet as AuthorsResNet
from torch import nn
from torch.nn import functional as F

from resnest_search.models import ResNeSt
from resnest_search.variant import Variant

CLASSES = 10
SETTINGS = ["1s1x64d", "2s1x64d", "4s1x64d", "1s2x40d", "2s2x40d", "4s2x40d", "1s4x24d"]
DEPTHS = {
    14: [1, 1, 1, 1],
    26: [2, 2, 2, 2],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    200: [3, 24, 36, 3],
    269: [3, 30, 48, 8],
}


def ours(variant: str, layers: int = 50, **options: Any) -> ResNeSt:
    """A ResNeSt of the paper's widths, its weights not yet drawn."""
    options = {"num_classes": CLASSES, **options}
    return undrawn(
        partial(
            ResNeSt,
            Variant.parse(variant),
            depths=DEPTHS[layers],
            planes=[64, 128, 256, 512],
            stem="deep",
            stem_width=32 if layers < 101 else 64,
            **options,
        )
    )


def published(name: str, **options: Any) -> nn.Module:
    """A network that the authors' package names."""
    return undrawn(partial(getattr(authors, name), num_classes=CLASSES, **options))


def unpublished(variant: str, layers: int = 50, **options: Any) -> nn.Module:
    """A network of the authors' code that their package does not name."""
    parsed = Variant.parse(variant)
    return undrawn(
        partial(
            AuthorsResNet,
            AuthorsBottleneck,
            DEPTHS[layers],
            radix=parsed.radix,
            groups=parsed.cardinality,
            bottleneck_width=parsed.width,
            deep_stem=True,
            stem_width=32,
            avg_down=True,
            avd=True,
            num_classes=CLASSES,
            **options,
        )
    )


def of_timm(name: str, **options: Any) -> nn.Module:
    """A network of timm."""
    return undrawn(partial(timm.create_model, name, num_classes=CLASSES, **options))


def undrawn(make: Callable[[], Any]) -> Any:
    """A network in memory whose weights nobody drew: half a second less than a fresh one."""
    with torch.device("meta"):
        network = make()
    return network.to_empty(device="cpu")


def draw(network: nn.Module) -> None:
    """Weights, and norms that are not the identity: with zero gammas, parity shows nothing.

    The norm that ends a block is smaller than the others, so that the maps of ninety blocks
    in a row stay within float32.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            mode = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.3, 0.3)
        elif isinstance(module, nn.BatchNorm2d):
            size = 0.4 if name.endswith("bn3") else 1.0
            nn.init.uniform_(module.weight, 0.5 * size, 1.5 * size)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.zero_()


Values = dict[str, dict[str, torch.Tensor]]


def passed(network: nn.Module, x: torch.Tensor, training: bool) -> Values:
    """Logits, gradients of the input and of each parameter, and the norms' statistics."""
    network.train(training).zero_grad()
    x = x.clone().requires_grad_()
    logits = network(x)
    F.cross_entropy(logits, torch.arange(len(x)) % CLASSES).backward()
    return {
        "logits": {"": logits.detach()},
        "input": {"": x.grad},
        "parameters": {name: p.grad for name, p in network.named_parameters()},
        "statistics": {name: b.clone() for name, b in network.named_buffers()},
    }


def errors(found: Values, expected: Values) -> dict[str, float]:
    """The largest difference of each kind, relative to its tensor.

    Batch norm takes away a bias before it, whose gradient is rounding alone: no tensor is
    smaller here than a thousandth of the largest of its kind.
    """
    result = {}
    for kind, tensors in expected.items():
        assert found[kind].keys() == tensors.keys()
        sizes = {name: tensor.abs().max().item() for name, tensor in tensors.items()}
        least = 1e-3 * max(sizes.values())
        result[kind] = max(
            (found[kind][name].double() - tensor).abs().max().item() / max(sizes[name], least)
            for name, tensor in tensors.items()
        )
    return result


def distances(found: Values, expected: Values) -> dict[str, float]:
    """The Euclidean distance of each kind over all its tensors, relative to its length."""
    result = {}
    for kind, tensors in expected.items():
        length = sum(tensor.double().square().sum().item() for tensor in tensors.values())
        apart = sum(
            (found[kind][name].double() - tensor).square().sum().item()
            for name, tensor in tensors.items()
        )
        result[kind] = (apart / length) ** 0.5
    return result


class Pair:
    """A reference and our network, with the same weights and the same images."""

    def __init__(self, theirs: nn.Module, found: ResNeSt, load: Callable[..., None]) -> None:
        torch.manual_seed(0)
        draw(theirs)
        self._state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
        self._x = torch.randn(4, 3, 36, 36)  # maps of 9, 5, 3 and 2 pixels, where pools round
        self._theirs, self._found, self._load = theirs, found, load

    def passed(self, precision: torch.dtype, training: bool) -> tuple[Values, Values]:
        """What a pass of theirs and one of ours give."""
        self._theirs.to(precision).load_state_dict(self._state)
        self._load(self._found.to(precision), self._state)
        x = self._x.to(precision)
        return passed(self._theirs, x, training), passed(self._found, x, training)


def assert_same(theirs: nn.Module, found: ResNeSt, load: Callable[..., None]) -> None:
    """The same logits, gradients and statistics to 1e-9, in eval and in training mode.

    In float64: norms over the four values of a batch magnify rounding a thousandfold, and
    would leave float32 little to say about a deep network's gradients.
    """
    pair = Pair(theirs, found, load)
    for training in (False, True):
        expected, values = pair.passed(torch.float64, training)
        assert expected["logits"][""].std() > 0.1
        for kind, error in errors(values, expected).items():
            assert error < 1e-9, (training, kind, error)


def assert_same_in_float32(theirs: nn.Module, found: ResNeSt, load: Callable[..., None]) -> None:
    """In float32 we are as far from theirs in float64 as theirs in float32 is.

    Rounding can put a ReLU's input on the other side of zero, which a gradient shows as a step.
    """
    pair = Pair(theirs, found, load)
    for training in (False, True):
        exact, _ = pair.passed(torch.float64, training)
        rounded, values = pair.passed(torch.float32, training)
        rounding = distances(rounded, exact)
        for kind, distance in distances(values, exact).items():
            step = 2e-2 if kind in ("input", "parameters") else 1e-6
            assert distance < step + 3 * rounding[kind], (training, kind, distance, rounding)
