"""ResNeSt beside other networks: ImageNet accuracy as published against latency on this device.

    python benchmarks/tradeoff.py --results results-imagenet.csv            # one image, this device
    python benchmarks/tradeoff.py --results results-imagenet.csv --measure throughput --device cuda
    python benchmarks/tradeoff.py --results results-imagenet.csv --measure onnxruntime --only resn

Each network runs at its own resolution, that of the accuracy: ResNeSt as this package builds it,
the others (EfficientNet, EfficientNetV2, RegNetY, ResNet-D, ConvNeXt) as timm does. Accuracies are
those of timm's ``results/results-imagenet.csv`` for weights trained on ImageNet-1k alone; the
weights here are fresh, since a pass takes as long with any. All are timed by the function that
times a sweep's networks, in rounds that visit each once, so that a drift of the clock is in all.
Prints Markdown, the fastest first, and draws ``tradeoff.png`` into ``--out``.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from shipped import OF_TIMM, section
from torch import nn

from resnest_search.configuration.checks import check_measured_on
from resnest_search.configuration.schema import MeasureConfig, ModelConfig
from resnest_search.cost.busy import CpuWatch, Load, look
from resnest_search.cost.latency import Rounds, Timing, time_network
from resnest_search.cost.machine import device_name, resolve_device, versions
from resnest_search.errors import UserError
from resnest_search.metrics import around
from resnest_search.models import build
from resnest_search.report.colors import LINES
from resnest_search.variant import Variant
from resnest_search.words import counted

# Ours by their names in timm, which its results begin with; radix 0 is one of the others.
OURS = {name: own for own, name in OF_TIMM.items() if name.startswith("resnest")}
_RESNEST = "ResNeSt"
FAMILIES = {
    "ResNet-D": ("resnet50d.ra2_in1k", "resnet101d.ra2_in1k", "resnet152d.ra2_in1k"),
    "EfficientNet": tuple(
        f"efficientnet_b{size}.{recipe}_in1k"
        for size, recipe in ((0, "ra"), (2, "ra"), (3, "ra2"), (4, "ra2"))
    ),
    "EfficientNetV2": ("tf_efficientnetv2_s.in1k", "tf_efficientnetv2_m.in1k"),
    "RegNetY": ("regnety_016.tv2_in1k", "regnety_032.ra_in1k", "regnety_080.ra3_in1k"),
    "ConvNeXt": ("convnext_tiny.fb_in1k", "convnext_small.fb_in1k", "convnext_base.fb_in1k"),
}


@dataclass(frozen=True)
class Published:
    """A network with what is published of it.

    Attributes:
        name: in timm's results.
        family: of it.
        size: pixels, the side of an image.
        accuracy: top-1 in percent at that size.
    """

    name: str
    family: str
    size: int
    accuracy: float

    def make(self) -> nn.Module:
        """The network, with fresh weights, in eval mode."""
        architecture = self.name.partition(".")[0]
        if architecture in OURS:
            model, variant = OURS[architecture]
            config = section(ModelConfig, model)
            made = build(Variant.parse(variant), config, in_channels=3, num_classes=1000)
            return made.eval()
        found: nn.Module = timm.create_model(architecture, pretrained=False)
        return found.eval()


def published(path: Path) -> list[Published]:
    """Every ResNeSt and every network of `FAMILIES`, at each size that the file of results has.

    Raises:
        ValueError: the file is none of timm's results.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"model", "img_size", "top1"} <= rows[0].keys():
        raise ValueError(f"{path}: has no columns model, img_size and top1")
    family = {name: title for title, names in FAMILIES.items() for name in names}
    names = {row["model"] for row in rows}
    family |= {name: _RESNEST for name in names if name.partition(".")[0] in OURS}
    return [
        Published(row["model"], family[row["model"]], int(row["img_size"]), float(row["top1"]))
        for row in rows
        if row["model"] in family
    ]


def timed(
    networks: Sequence[Published], mode: MeasureConfig, rounds: int, told: Callable[[str], None]
) -> tuple[dict[Published, Rounds], Load]:
    """Rounds over all networks, each built anew; and what others took of the device meanwhile."""
    device = resolve_device(mode.device)
    timings: dict[Published, list[Timing]] = {network: [] for network in networks}
    load, watch = Load(), CpuWatch() if device.type == "cpu" else None
    for number in range(rounds):
        for network in networks:
            told(f"round {number + 1} of {rounds}: {network.name} at {network.size}")
            load += Load() if watch else look(device, seconds=0.1)
            torch.manual_seed(0)
            images = torch.randn(mode.batch, 3, network.size, network.size, device=device)
            timings[network].append(time_network(network.make().to(device), images, mode))
    found = {network: Rounds(own) for network, own in timings.items()}
    return found, watch.read() if watch else load


def page(found: dict[Published, Rounds], facts: Sequence[str]) -> str:
    """Markdown: facts, and a row a network, the fastest first.

    A star marks what no other is both as accurate and as fast as.
    """
    lines = ["# Accuracy against latency, beside other networks", "", *(f"- {f}" for f in facts)]
    lines += ["", "| | network | family | px | top-1, % | ms | ± % | img/s |"]
    lines += ["| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    best = 0.0
    for network in sorted(found, key=lambda n: (latency(found[n]), -n.accuracy)):
        rounds = found[network]
        star = "★" if network.accuracy > best else ""
        best = max(best, network.accuracy)
        cells = [star, network.name, network.family, str(network.size), f"{network.accuracy:.2f}"]
        cells += [f"{latency(rounds):.1f}", f"{100 * rounds.half_width:.1f}"]
        cells.append(f"{rounds.values['images_per_s']:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def latency(rounds: Rounds) -> float:
    """Milliseconds of a pass."""
    return rounds.values["latency_ms"]


def draw(found: dict[Published, Rounds], title: str, path: Path) -> None:
    """Accuracy against latency, a line a family, with intervals of 95 %."""
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    for number, family in enumerate([_RESNEST, *FAMILIES]):
        own = sorted((n for n in found if n.family == family), key=lambda n: latency(found[n]))
        if not own:
            continue
        x, y = [latency(found[n]) for n in own], [n.accuracy for n in own]
        style = {"color": LINES[number], "marker": "os^Dvp"[number]}
        width = 2.4 if family == _RESNEST else 1.2
        axes.plot(x, y, label=family, lw=width, markersize=5, **style)  # type: ignore[arg-type]
        for network in own:
            ends = around(latency(found[network]), found[network].half_width)
            axes.plot(ends, [network.accuracy] * 2, color=LINES[number], lw=0.8, alpha=0.6)
    axes.set(xscale="log", xlabel="latency, ms", ylabel="ImageNet top-1 as published, %")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(LogFormatter(minor_thresholds=(2, 0.5)))  # 20 and not 2 x 10^1
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    axes.set_title(title, fontsize=9)
    figure.savefig(path, dpi=130)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="timm's results-imagenet.csv")
    parser.add_argument("--measure", default="eager", help="a mode of conf/measure")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, help="images of a pass; the mode's otherwise")
    parser.add_argument("--rounds", type=int, default=5, help="visits of each network")
    parser.add_argument("--repeats", type=int, default=6, help="timed passes of a visit")
    parser.add_argument("--warmup", type=int, default=2, help="passes before them")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--only", nargs="+", default=[""], help="how the networks' names begin")
    parser.add_argument("--largest", type=int, default=480, help="pixels of the largest images")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the picture")
    asked = parser.parse_args(words)
    if min(asked.rounds, asked.repeats, asked.threads, asked.batch or 1) < 1 or asked.warmup < 0:
        parser.error("--rounds, --repeats, --threads, --batch: valid: at least 1; --warmup: 0")
    return asked


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    asked = arguments(words)
    own = {"repeats": asked.repeats, "warmup": asked.warmup, "device": asked.device}
    own |= {"threads": asked.threads} | ({"batch": asked.batch} if asked.batch else {})
    try:
        mode = section(MeasureConfig, asked.measure, **own)
        device = resolve_device(mode.device)
        mode = replace(mode, device=str(device))
        check_measured_on(mode, has_gpu=device.type == "cuda")
        networks = [
            network
            for network in published(asked.results)
            if network.name.startswith(tuple(asked.only)) and network.size <= asked.largest
        ]
        if not networks:
            raise ValueError(f"--only {' '.join(asked.only)}: begins the name of no network")
    except (OSError, ValueError, UserError) as error:
        sys.exit(f"tradeoff.py: {error}")
    found, load = timed(networks, mode, asked.rounds, lambda line: print(line, file=sys.stderr))
    how = f"{device_name(device)}: {mode.name}, batch {mode.batch}, {mode.precision}"
    how += f", {counted(mode.threads, 'thread')}" if device.type == "cpu" else ""
    given = [Path(word).name if "/" in word else word for word in words or sys.argv[1:]]
    command = shlex.join(["benchmarks/tradeoff.py", *given])
    around_it = {**versions(device, mode), "timm": timm.__version__}
    facts = [
        f"{how}; {asked.rounds} rounds of {asked.repeats} passes; ±: of the interval of 95 %",
        f"others' load meanwhile: {load.percent or 0:.0f} %",
        "versions: " + ", ".join(f"{name} {version}" for name, version in around_it.items()),
        f"command: `python {command}`",
    ]
    print(page(found, facts))
    asked.out.mkdir(parents=True, exist_ok=True)
    draw(found, how, asked.out / "tradeoff.png")


if __name__ == "__main__":
    main()
