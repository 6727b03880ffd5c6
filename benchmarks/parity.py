"""Every published ResNeSt against the authors' package and timm: counts, logits, gradients.

    python benchmarks/parity.py

Prints a Markdown table and writes it to ``benchmarks/results/parity.md``. Needs the package's
``test`` extra, which brings both references. Takes about five minutes on two CPU cores.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import resnest.torch as authors
import timm
import torch
from resnest.torch.resnet import Bottleneck, ResNet
from shipped import OF_TIMM, section
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from resnest_search.configuration.schema import ModelConfig
from resnest_search.models.build import network_arguments
from resnest_search.models.resnest import ResNeSt
from resnest_search.models.weights import load_authors, load_timm
from resnest_search.variant import Variant

RESULT = Path(__file__).with_name("results") / "parity.md"
SIDE, BATCH, CLASSES = 64, 4, 1000


@dataclass(frozen=True)
class Row:
    """A network of ours, and those of the references that should be the same.

    Attributes:
        model: the shipped config.
        variant: within it.
        authors: the authors' network; None where their package has none.
        timm: its name in timm; None where timm has none.
        crop: pixels of the image for which the multiply-accumulates are published.
        published: millions of parameters and GMACs, as printed; None where they are not.
        options: of our network, besides the config.
    """

    model: str
    variant: str
    authors: Callable[..., nn.Module] | None = None
    timm: str | None = None
    crop: int = 224
    published: tuple[str, str] | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def ours(self) -> ResNeSt:
        """A network of ours."""
        arguments = network_arguments(section(ModelConfig, self.model))
        # What is random in training is no part of the comparison.
        arguments |= {"dropout": 0.0, "dropblock": 0.0, **dict(self.options)}
        return ResNeSt(Variant.parse(self.variant), **arguments, num_classes=CLASSES)

    def title(self) -> str:
        """What the table calls it."""
        options = "".join(f", {name} {value}" for name, value in self.options)
        return f"{self.model} {self.variant}{options}"


def like_resnest50(**options: Any) -> Callable[..., nn.Module]:
    """The authors' ResNeSt-50 with other options."""
    form = {"radix": 2, "deep_stem": True, "stem_width": 32, "avg_down": True, "avd": True}
    return partial(ResNet, Bottleneck, [3, 4, 6, 3], **{**form, **options})


def rows() -> list[Row]:
    """Every published network and setting, and the forms in which the references differ."""
    fast = {
        "1s1x64d": ("26.3", "4.34"),
        "2s1x64d": ("27.5", "4.34"),
        "4s1x64d": ("31.9", "4.35"),
        "1s2x40d": ("25.9", "4.38"),
        "2s2x40d": ("26.9", "4.38"),
        "4s2x40d": ("30.4", "4.41"),
        "1s4x24d": ("25.7", "4.42"),
    }
    full = {
        50: (224, ("27.48", "5.40")),
        101: (256, ("48.28", "13.38")),
        200: (320, ("70.20", "35.69")),
        269: (416, ("110.93", "77.69")),
    }
    found = [
        Row(model, variant, None, OF_TIMM[model, variant], 224, published)
        for model, variant, published in (
            ("resnest14", "2s1x64d", ("10.61", "2.76")),
            ("resnest26", "2s1x64d", ("17.07", "3.64")),
            ("resnest50_fast", "0s1x64d", ("25.58", "4.329")),
        )
    ]
    for variant, published in fast.items():
        make = getattr(authors, f"resnest50_fast_{variant}")
        name = OF_TIMM.get(("resnest50_fast", variant))
        found.append(Row("resnest50_fast", variant, make, name, 224, published))
    for layers, (crop, published) in full.items():
        name = OF_TIMM[f"resnest{layers}", "2s1x64d"]
        make = getattr(authors, f"resnest{layers}")
        found.append(Row(f"resnest{layers}", "2s1x64d", make, name, crop, published))
    for stride, form in ((16, {"dilation": 2}), (8, {"dilated": True})):
        options = (("output_stride", stride),)
        found.append(Row("resnest50", "2s1x64d", like_resnest50(**form), options=options))
    found.append(Row("resnest50", "2s1x72d", like_resnest50(bottleneck_width=72)))
    return found


def draw(network: nn.Module) -> None:
    """Norms that are not the identity: with zero gammas, any two networks agree."""
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            size = 0.4 if name.endswith("bn3") else 1.0
            nn.init.uniform_(module.weight, 0.5 * size, 1.5 * size)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]


def passed(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits ``[B, classes]``, and the gradients of the input and of each parameter."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    logits = network(x)
    F.cross_entropy(logits, torch.arange(len(x))).backward()
    return logits.detach(), [x.grad, *(p.grad for p in network.parameters())]  # type: ignore[list-item]


def compared(theirs: nn.Module, ours: ResNeSt, load: Callable[..., None]) -> list[str]:
    """Differences in eval (float32), then in training (float64), as the table's columns.

    Of logits the largest, relative to their standard deviation; of gradients the Euclidean
    length over the input and all parameters, relative to theirs.
    """
    torch.manual_seed(0)
    draw(theirs)
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    x = torch.randn(BATCH, 3, SIDE, SIDE)
    columns = []
    for training, precision in ((False, torch.float32), (True, torch.float64)):
        theirs.to(precision).train(training).load_state_dict(state)
        load(ours.to(precision).train(training), state)
        logits, gradients = passed(theirs, x.to(precision))
        our_logits, our_gradients = passed(ours, x.to(precision))
        columns.append(f"{((our_logits - logits).abs().max() / logits.std()).item():.0e}")
        apart = sum(
            (a - b).square().sum().item() for a, b in zip(our_gradients, gradients, strict=True)
        )
        length = sum(gradient.square().sum().item() for gradient in gradients)
        columns.append(f"{(apart / length) ** 0.5:.0e}")
    apart = max(
        ((a - b).abs().max() / b.abs().max().clamp(min=1e-30)).item()
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True)
    )
    return [*columns, f"{apart:.0e}"]


def counts(row: Row) -> list[str]:
    """Parameters and GMACs, ours and published."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():
        network = row.ours().eval()
        with counter:
            network(torch.empty(1, 3, row.crop, row.crop))
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    gmacs = counter.get_total_flops() / 2e9
    if row.published is None:
        return [f"{millions:.2f}", "–", f"{gmacs:.3f}", "–", "–"]
    printed, theirs = row.published
    off = f"{100 * (gmacs / float(theirs) - 1):+.2f} %"
    return [f"{millions:.2f}", printed, f"{gmacs:.3f}", theirs, off]


def disagreements() -> list[str]:
    """Where no network can equal both references, as they are found here."""
    with torch.device("meta"):
        widths = [
            dict(network.named_parameters())["layer1.0.conv2.fc1.bias"].shape[0]
            for network in (
                like_resnest50(bottleneck_width=72)(),
                timm.create_model("resnest50d", base_width=72),
                Row("resnest50", "2s1x72d").ours(),
            )
        ]
    torch.manual_seed(0)
    dilated = like_resnest50(dilated=True)().eval()
    draw(dilated)
    ours = Row("resnest50", "2s1x64d", options=(("output_stride", 8),)).ours().eval()
    of_timm = timm.create_model("resnest50d", output_stride=8).eval()
    load_authors(ours, dilated.state_dict())
    of_timm.load_state_dict(dilated.state_dict())
    x = torch.randn(BATCH, 3, SIDE, SIDE)
    with torch.no_grad():
        theirs = dilated(x)
        apart = [((n(x) - theirs).abs().max() / theirs.std()).item() for n in (of_timm, ours)]
    return [
        f"- Attention width of the first stage at 2s1x72d: authors {widths[0]}, timm {widths[1]} "
        f"(rounded to a multiple of 8); ours {widths[2]}.",
        "- Dilated networks with the same weights (stride 8): the authors' first block of a stage "
        "still pools, timm's does not. Largest difference of logits from the authors', relative "
        f"to their deviation: timm {apart[0]:.0e}, ours {apart[1]:.0e}.",
        "- Radix 0: the authors' code pools (`avd`); timm's resnet50d strides its 3x3, as ours "
        "does unless `radix0: avd` asks for the authors'.",
    ]


def main() -> None:
    """Compare, print and keep."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "resnest", "timm")
    )
    lines = [
        "# Parity with the authors' package and timm",
        "",
        f"- {BATCH} random images of {SIDE} px; norm weights and statistics random; CPU",
        f"- versions: Python {platform.python_version()}, {versions}",
        "- command: `python benchmarks/parity.py`",
        "- GMACs: `FlopCounterMode` / 2, of one image at the published crop",
        "- Δ logits: largest difference / standard deviation; Δ gradients: length of the "
        "difference over input and all parameters / length; Δ statistics: of the norms, largest "
        "difference / largest value",
        "- eval in float32, training in float64: in training, norms over four values magnify "
        "rounding",
        "- 1s1x64d is printed with 26.3 M; the authors' own code counts 26.22 M, as ours does",
        "",
        "| network | parameters (M) | published | GMACs | published | off | reference "
        "| eval Δ logits | eval Δ gradients | training Δ logits | training Δ gradients "
        "| training Δ statistics |",
        "| --- |" + " ---: |" * 5 + " --- |" + " ---: |" * 5,
    ]
    print("\n".join(lines))
    for row in rows():
        makers: list[tuple[str, Callable[..., nn.Module], Callable[..., None]]] = []
        if row.authors is not None:
            makers.append(("authors", row.authors, load_authors))
        if row.timm is not None:
            makers.append((f"timm {row.timm}", partial(timm.create_model, row.timm), load_timm))
        for name, make, load in makers:
            columns = compared(make(num_classes=CLASSES), row.ours(), load)
            cells = [row.title(), *counts(row), name, *columns]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    lines += ["", "## Where the references differ from each other", "", *disagreements()]
    print("\n".join(lines[-4:]))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
