"""Speed of this project's network beside timm's and the authors', in one run.

    python benchmarks/model.py                     # on a GPU where there is one, else the CPU
    python benchmarks/model.py --device cpu --rounds 7
    python benchmarks/model.py --no-compile        # leave out what takes minutes to compile

All contestants of a table get the same weights and the same images, and their outputs (and in
training their gradients) are compared in the same run. Each round passes once over every
contestant, in another order; a time is the median over rounds, a ratio the median of the rounds'
ratios, so that a slow moment of the machine falls on all. Prints Markdown and writes it to
``benchmarks/results/model-<device>.md``. Needs timm, and races the authors' package where it is
installed; both are in the extra ``test``.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import random
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import timm
import torch
from shipped import section
from timm.models.resnest import ResNestBottleneck
from timm.models.resnet import ResNet
from torch import nn
from torch.nn import functional as F

try:
    import resnest.torch.resnet as authors
except ImportError:  # theirs is raced where it is installed
    authors = None

from resnest_search.configuration.schema import ModelConfig
from resnest_search.cost.busy import CpuWatch
from resnest_search.cost.machine import device_name
from resnest_search.models import build
from resnest_search.models.fast import fast
from resnest_search.models.folded import layout_of
from resnest_search.models.fused import fuse
from resnest_search.variant import Variant

RESULTS = Path(__file__).with_name("results")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass
class Contestant:
    """One network in one mode: ``run`` makes a pass or a step and returns its output."""

    owner: str  # ours, timm or authors
    mode: str
    run: Callable[[], torch.Tensor]
    seconds: list[float] = field(default_factory=list)
    error: float = 0.0  # largest difference of outputs, in standard deviations of them
    memory_mib: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if cuda else "cpu")
    parser.add_argument("--variants", nargs="+", default=["2s1x64d", "2s2x40d"])
    parser.add_argument("--rounds", type=int, help="default: 7 on a CPU, 30 on a GPU")
    parser.add_argument("--batch", type=int, help="default: 8 on a CPU, 128 on a GPU")
    parser.add_argument("--threads", type=int, help="on a CPU; default: all")
    parser.add_argument("--no-compile", action="store_true", help="on a GPU")
    parser.add_argument("--skip", nargs="*", default=[], choices=("fifty", "small", "training"))
    return parser.parse_args()


def timms(variant: Variant, config: ModelConfig, classes: int, channels: int) -> nn.Module:
    """The same network of timm's parts; the small stem takes the place of its own."""
    network = ResNet(
        ResNestBottleneck,
        tuple(config.depths),
        num_classes=classes,
        in_chans=channels,
        channels=tuple(config.planes),
        stem_type="deep",
        stem_width=config.stem_width,
        avg_down=True,
        base_width=variant.width,
        cardinality=variant.cardinality,
        block_args={"radix": variant.radix, "avd": True, "avd_first": config.avd_first},
    )
    if config.stem == "small":
        network.conv1 = nn.Conv2d(channels, 2 * config.stem_width, 3, 1, 1, bias=False)
        network.maxpool = nn.Identity()
    for stage in range(len(config.depths) + 1, 5):
        network.add_module(f"layer{stage}", nn.Identity())
    return network


def theirs(variant: Variant, config: ModelConfig, classes: int) -> nn.Module:
    """The same network of the authors' package, which knows the deep stem and four stages."""
    return authors.ResNet(
        authors.Bottleneck,
        config.depths,
        radix=variant.radix,
        groups=variant.cardinality,
        bottleneck_width=variant.width,
        num_classes=classes,
        deep_stem=True,
        stem_width=config.stem_width,
        avg_down=True,
        avd=True,
        avd_first=config.avd_first,
    )


def networks(
    variant: Variant, config: ModelConfig, classes: int, channels: int
) -> dict[str, nn.Module]:
    """One of each owner, with the same weights, gammas and statistics away from 0 and 1."""
    torch.manual_seed(0)
    ours = build(variant, config, in_channels=channels, num_classes=classes)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.1, 0.1)
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.9, 1.1)
    found = {"ours": ours, "timm": timms(variant, config, classes, channels)}
    if authors is not None and config.stem == "deep":
        found["authors"] = theirs(variant, config, classes)
    for owner in ("timm", "authors"):
        if owner in found:
            found[owner].load_state_dict(ours.state_dict())
    return found


def inference(
    found: dict[str, nn.Module], images: torch.Tensor, compiled: bool
) -> list[Contestant]:
    """Every owner in either memory format, on a GPU ours in its fast form, too; in the images'
    precision."""
    entries = []

    def add(owner: str, mode: str, network: nn.Module, channels_last: bool) -> Contestant:
        own = images.contiguous(memory_format=layout_of(channels_last))
        entries.append(Contestant(owner, mode, lambda: network(own)))
        return entries[-1]

    for owner, network in found.items():
        for name, layout in LAYOUTS.items():
            placed = copy.deepcopy(network).to(images).to(memory_format=layout).eval()
            last = layout is torch.channels_last
            add(owner, f"eager, {name}", placed, last)
            if compiled and owner == "timm":
                add(owner, f"compiled, {name}", torch.compile(placed), last)
    if not images.is_cuda:
        return entries
    with torch.no_grad():  # the compiler does not take inference mode's tensors
        quick, choice = fast(copy.deepcopy(found["ours"]).to(images), images)
    add("ours", "fast form", quick, choice.channels_last).note = str(choice)
    if compiled:
        add("ours", "fast form, compiled", torch.compile(quick), choice.channels_last)
    return entries


def training(found: dict[str, nn.Module], images: torch.Tensor) -> list[Contestant]:
    """A step without the optimizer: forward, loss, backward; autocast on a GPU."""
    entries = []
    labels = torch.arange(len(images), device=images.device) % 10

    def step(network: nn.Module, own: torch.Tensor) -> torch.Tensor:
        network.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=own.is_cuda):
            out = network(own)
            loss = F.cross_entropy(out, labels)
        loss.backward()
        return out.detach()

    for owner, network in found.items():
        forms = [("eager", copy.deepcopy(network))]
        if owner == "ours" and images.is_cuda:
            forms.append(("fused", fuse(copy.deepcopy(network))))
        for form, made in forms:
            for name, layout in LAYOUTS.items():
                placed = copy.deepcopy(made).to(images.device).to(memory_format=layout).train()
                own = images.contiguous(memory_format=layout)

                def run(placed: nn.Module = placed, own: torch.Tensor = own) -> torch.Tensor:
                    return step(placed, own)

                entries.append(Contestant(owner, f"{form}, {name}", run))
    return entries


def race(entries: list[Contestant], rounds: int, device: torch.device, grad: bool) -> None:
    """Check that all compute the same, then time them in turn."""
    with torch.set_grad_enabled(grad):
        outputs = [entry.run().float() for entry in entries]
        for entry, output in zip(entries, outputs, strict=True):
            entry.error = float((output - outputs[0]).abs().max() / outputs[0].std())
        del outputs
        if device.type == "cuda":
            for entry in entries:
                entry.run()
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                entry.run()
                torch.cuda.synchronize()
                entry.memory_mib = (torch.cuda.max_memory_allocated() - before) / 2**20
        order = list(entries)
        generator = random.Random(0)
        for _ in range(rounds):
            generator.shuffle(order)
            for entry in order:
                entry.seconds.append(timed(entry.run, device))


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one pass, by CUDA events on a GPU."""
    if device.type == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def ratio(peer: Contestant, own: Contestant) -> str:
    """How many times faster, with the quartiles over rounds."""
    each = [theirs / ours for theirs, ours in zip(peer.seconds, own.seconds, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    return f"{middle:.2f}× ({low:.2f}-{high:.2f})"


def table(title: str, entries: list[Contestant], batch: int) -> list[str]:
    """Markdown: a row for each, and the ratios that count."""
    lines = [f"## {title}", "", "| network | mode | ms | images/s | max error, sd | MiB |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    for entry in entries:
        memory = "–" if entry.memory_mib is None else f"{entry.memory_mib:.0f}"
        lines.append(
            f"| {entry.owner} | {entry.mode} | {entry.median * 1000:.2f} "
            f"| {batch / entry.median:.1f} | {entry.error:.1e} | {memory} |"
        )
    lines.append("")
    ours = min((e for e in entries if e.owner == "ours"), key=lambda e: e.median)
    plain = min(
        (e for e in entries if e.owner == "ours" and e.mode.startswith("eager")),
        key=lambda e: e.median,
    )
    peers = {
        "timm's best eager": [e for e in entries if e.owner == "timm" and "eager" in e.mode],
        "timm's best compiled": [e for e in entries if e.owner == "timm" and "compiled" in e.mode],
        "the authors' best": [e for e in entries if e.owner == "authors"],
    }
    for name, some in peers.items():
        if some:
            best = min(some, key=lambda e: e.median)
            line = f"- ours ({ours.mode}) against {name} ({best.mode}): {ratio(best, ours)}"
            if plain is not ours:
                line += f"; ours ({plain.mode}): {ratio(best, plain)}"
            if best.memory_mib and ours.memory_mib:
                line += f"; memory {ours.memory_mib / best.memory_mib:.2f}×"
            lines.append(line)
    lines += [f"- {e.mode}: {e.note}" for e in entries if e.note]
    return [*lines, ""]


def beside_resnet50d(images: torch.Tensor, rounds: int, compiled: bool) -> list[str]:
    """What split attention costs: 2s1x64d and ResNet-50-D, each in its best mode."""
    config, best = section(ModelConfig, "resnest50_fast"), {}
    for text in ("2s1x64d", "0s1x64d"):
        found = {"ours": networks(Variant.parse(text), config, 1000, 3)["ours"]}
        if text == "0s1x64d":
            found["timm"] = timm.create_model("resnet50d")
            found["timm"].load_state_dict(found["ours"].state_dict())
        entries = inference(found, images, compiled)
        race(entries, rounds, images.device, grad=False)
        best[text] = min(entries, key=lambda e: e.median)
    ours, peer = best["2s1x64d"], best["0s1x64d"]
    return [
        "## 2s1x64d beside ResNet-50-D",
        "",
        f"- 2s1x64d, ours, {ours.mode}: {ours.median * 1000:.2f} ms; ResNet-50-D, "
        f"{peer.owner}, {peer.mode}: {peer.median * 1000:.2f} ms; "
        f"{ours.median / peer.median:.2f}× its time",
        "",
    ]


def contests(
    variants: Sequence[str],
    device: torch.device,
    rounds: int,
    batch: int,
    *,
    compiled: bool,
    skip: Collection[str] = (),
) -> Iterator[tuple[str, list[Contestant], int]]:
    """Each contest's title, its contestants after the race, and images of a pass.

    Args:
        variants: of both networks.
        device: where they run; on CUDA inference is in bfloat16 and training under autocast.
        rounds: of the large network, the small one has 20 times as many.
        batch: images of the large network.
        compiled: whether the first variant's large network is compiled, too.
        skip: ``fifty`` and ``small``, the networks, and ``training``.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    cases = [(text, "resnest50_fast", 224, batch, 3, 1000) for text in variants]
    small = [(text, "small", 8, 64, 1, 10) for text in variants]
    cases = (cases if "fifty" not in skip else []) + (small if "small" not in skip else [])
    for text, model, side, size, channels, classes in cases:
        found = networks(Variant.parse(text), section(ModelConfig, model), classes, channels)
        images = torch.randn(size, channels, side, side, device=device)
        passes = rounds if model != "small" else 20 * rounds
        title = f"{text} in {model}, {side} px, batch {size}"
        own = compiled and text == variants[0] and model != "small"
        entries = inference(found, images.to(dtype), own)
        race(entries, passes, device, grad=False)
        yield f"{title}: inference", entries, size
        if "training" not in skip:
            entries = training(found, images)
            race(entries, passes, device, grad=True)
            yield f"{title}: training", entries, size


def main() -> None:
    """Measure, print and keep."""
    asked = arguments()
    device = torch.device(asked.device)
    cuda = device.type == "cuda"
    if asked.threads:
        torch.set_num_threads(asked.threads)
    torch.backends.cudnn.benchmark = True
    rounds = asked.rounds or (30 if cuda else 7)
    compiled = cuda and not asked.no_compile
    watch = None if cuda else CpuWatch()
    dtype = torch.bfloat16 if cuda else torch.float32
    batch = asked.batch or (128 if cuda else 8)  # of the large network
    lines = []
    for title, entries, size in contests(
        asked.variants, device, rounds, batch, compiled=compiled, skip=asked.skip
    ):
        lines += table(title, entries, size)
        print("\n".join(lines[-30:]), file=sys.stderr)
    if "fifty" not in asked.skip:
        images = torch.randn(batch, 3, 224, 224, device=device, dtype=dtype)
        lines += beside_resnet50d(images, rounds, compiled)
    text = "\n".join(header(asked, device, rounds, dtype, watch) + lines)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", device_name(device)).strip("-").lower()
    (RESULTS / f"model-{slug}.md").write_text(text, encoding="utf-8")


def header(
    asked: argparse.Namespace,
    device: torch.device,
    rounds: int,
    dtype: torch.dtype,
    watch: CpuWatch | None,
) -> list[str]:
    """Where, with what, and how."""
    package = "no resnest" if authors is None else f"resnest {metadata.version('resnest')}"
    threads = "" if watch is None else f", {torch.get_num_threads()} of {os.cpu_count()} CPUs"
    load = "unknown" if watch is None else f"{watch.read().percent or 0:.0f} %"
    return [
        "# Speed of the network beside its peers",
        "",
        f"- device: {device_name(device)}{threads}; others' load meanwhile: {load}",
        f"- inference in {str(dtype).removeprefix('torch.')}, norms not folded in eager modes; "
        f"training in {'bfloat16 autocast' if device.type == 'cuda' else 'float32'}, forward, "
        "loss and backward",
        f"- n = {rounds} rounds (20 times as many of the small network), medians; ratios are "
        "medians (quartiles) of the rounds' ratios",
        f"- versions: python {platform.python_version()}, torch {torch.__version__}, "
        f"timm {timm.__version__}, {package}",
        f"- command: `python {shlex.join(['benchmarks/model.py', *sys.argv[1:]])}`",
        "",
    ]


if __name__ == "__main__":
    main()
