"""Images per second of the loader alone, beside torchvision's, and beside a training step.

    python benchmarks/loader.py --images FOLDER    # photographs, at any depth
    python benchmarks/loader.py                    # made-up ones

JPEGs of ImageNet's size (500 x 375, quality 92) are written into a temporary folder: the
photographs of FOLDER resized to fill that and cut, or coloured clouds whose amplitude falls with
frequency as that of photographs does. From them come batches of 224 x 224, randomly cropped,
mirrored and normalised:

- ``ours``: as a trial has them (``data.augment=resized_crop``), without a cache and with each;
- ``torchvision``: ImageFolder, DataLoader and the same transforms of images of Pillow;
- ``torchvision, tensors``: the same with ``decode_image`` as the loader of ImageFolder.

Each round passes once over every contestant, in another order. A rate is the median over rounds,
a ratio the median of the rounds' ratios. The training step is one of ResNeSt-50-fast. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from shipped import section
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from resnest_search.configuration.schema import DataConfig, ModelConfig
from resnest_search.cost.busy import CpuWatch
from resnest_search.cost.machine import device_name
from resnest_search.data import build
from resnest_search.data.cropping import FileImage, cutting
from resnest_search.data.scan import IMAGE_SUFFIXES
from resnest_search.data.sources import seeded
from resnest_search.models import build as build_network
from resnest_search.models.fused import fuse
from resnest_search.variant import Variant

WIDTH, HEIGHT, QUALITY, SIDE = 500, 375, 92, 224
SMALL = 64  # a quarter of the larger crops' sides
OURS, PEERS = "ours", ("torchvision", "torchvision, tensors")
GOAL = 1.6


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of photographs; default: made-up ones")
    parser.add_argument("--count", type=int, default=256, help="images of a pass")
    parser.add_argument("--batch", type=int, default=64, help="images of a batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--caches", nargs="*", default=[], choices=("ram", "disk"))
    parser.add_argument("--step-batch", type=int, help="default: 4 on a CPU, 128 on a GPU")
    return parser.parse_args()


def clouds(seed: int) -> Image.Image:
    """Three layers of noise whose amplitude is one over the frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(WIDTH), np.fft.fftfreq(HEIGHT)))
    frequency[0, 0] = 1
    noise = np.fft.fft2(rng.normal(size=(3, HEIGHT, WIDTH)))
    values = np.fft.ifft2(noise / frequency).real.transpose(1, 2, 0)
    scaled = 127 + 50 * (values - values.mean()) / values.std()
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))


def write(folder: Path, asked: argparse.Namespace) -> str:
    """Write the images, half of them into each of two classes; returns what they are."""
    found: list[Path] = []
    if asked.images:
        everything = sorted(asked.images.rglob("*"))
        found = [path for path in everything if path.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise SystemExit(f"--images: '{asked.images}' has no image")
    total = 0
    for number in range(asked.count):
        if found:
            with Image.open(found[number % len(found)]) as image:
                picture = ImageOps.fit(image.convert("RGB"), (WIDTH, HEIGHT))
        else:
            picture = clouds(number)
        path = folder / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=QUALITY)
        total += path.stat().st_size
    (folder / "val").mkdir()
    for name in "ab":
        (folder / "val" / name).mkdir()
        picture.save(folder / "val" / name / "0.jpg")
    of = f"{min(len(found), asked.count)} photographs, resized" if found else "made-up clouds"
    return f"{asked.count} JPEGs of {of}; {total / asked.count / 1024:.0f} KiB in the mean"


def config(folder: Path, workers: int = 0, **others: str) -> DataConfig:
    """As `conf/data/image_folder.yaml` has it."""
    own = section(DataConfig, "image_folder")
    values = {**vars(own), "root": str(folder), "workers": workers, "image_size": SIDE, **others}
    return DataConfig(**values)


def transforms(of_tensors: bool) -> v2.Compose:
    """Torchvision's own, in its recommended form."""
    own = section(DataConfig, "image_folder")
    return v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, antialias=True),
            v2.RandomHorizontalFlip(),
            *([] if of_tensors else [v2.PILToTensor()]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(own.mean, own.std),
        ]
    )


def colours(path: str) -> torch.Tensor:
    """A loader of ImageFolder: uint8 (3, H, W)."""
    return decode_image(path, ImageReadMode.RGB)


def contestants(folder: Path, workers: int, asked: argparse.Namespace) -> dict[str, Iterable]:
    """Loaders of the same images, by name; each stays with its processes."""

    def torchvisions(of_tensors: bool) -> DataLoader:
        loader = {"loader": colours} if of_tensors else {}
        images = ImageFolder(str(folder / "train"), transforms(of_tensors), **loader)
        keep = workers > 0
        return DataLoader(
            images, asked.batch, True, num_workers=workers, drop_last=True, persistent_workers=keep
        )

    found: dict[str, Iterable] = {
        OURS: build(config(folder, workers), asked.batch, 0).train_dataloader(),
        PEERS[0]: torchvisions(False),
        PEERS[1]: torchvisions(True),
    }
    for cache in asked.caches:
        data = build(config(folder, workers, cache=cache), asked.batch, 0)
        found[f"{OURS}, data.cache={cache}"] = data.train_dataloader()
        if data.uncached:
            raise SystemExit(data.uncached)
    return found


def race(entries: dict[str, Iterable], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Images per second of each in each round, and CPU seconds of an image of ours in this
    process."""

    def passed(loader: Iterable) -> tuple[int, float, float]:
        began, spent = time.perf_counter(), time.process_time()
        images = sum(len(labels) for _, labels in loader)
        return images, time.perf_counter() - began, time.process_time() - spent

    for loader in entries.values():
        passed(loader)  # starts processes and fills caches of files
    rates: dict[str, list[float]] = {name: [] for name in entries}
    cpu = []
    order, generator = list(entries), random.Random(0)
    for _ in range(rounds):
        generator.shuffle(order)
        for name in order:
            images, seconds, spent = passed(entries[name])
            rates[name].append(images / seconds)
            if name == OURS:
                cpu.append(spent / images)
    return rates, statistics.median(cpu)


def difference(folder: Path, side: int = SIDE) -> tuple[float, int]:
    """Mean and largest difference of crops from torchvision's of the same box, in 255ths."""
    crop, flip = transforms(False).transforms[:2]
    transform = v2.Compose(
        [v2.RandomResizedCrop(side, crop.scale, crop.ratio, antialias=True), flip]
    )
    cut = cutting(transform)
    paths = [str(path) for path in sorted((folder / "train").glob("*/*"))[:128]]
    draws = np.arange(len(paths))
    own = torch.stack(seeded(cut, [FileImage(path, 3, (255,)) for path in paths], draws))
    images = [Image.open(path).convert("RGB") for path in paths]
    theirs = torch.stack([v2.functional.pil_to_tensor(i) for i in seeded(transform, images, draws)])
    apart = (own.int() - theirs.int()).abs()
    return float(apart.float().mean()), int(apart.max())


def step_rate(device: torch.device, batch: int, rounds: int) -> float:
    """Images per second of a training step: forward, loss, backward, SGD; the median."""
    model = section(ModelConfig, "resnest50_fast")
    network = fuse(build_network(Variant.parse("2s1x64d"), model, in_channels=3, num_classes=1000))
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    images = torch.randn(batch, 3, SIDE, SIDE, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 1000
    cuda = device.type == "cuda"

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(5 if cuda else 1):
        step()
    return batch / statistics.median(step() for _ in range(rounds))


def ratio(own: Sequence[float], other: Sequence[float]) -> str:
    """How many times faster, the median over rounds with the least and the most."""
    each = [a / b for a, b in zip(own, other, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})"


def table(entries: dict[int, dict[str, list[float]]]) -> list[str]:
    """A row for each number of workers and contestant."""
    lines = ["| workers | loader | images/s | least-most | times torchvision's |"]
    lines.append("| ---: | --- | ---: | ---: | ---: |")
    for workers, rates in entries.items():
        for name, values in rates.items():
            lines.append(
                f"| {workers} | {name} | {statistics.median(values):.0f} "
                f"| {min(values):.0f}-{max(values):.0f} | {ratio(values, rates[PEERS[0]])} |"
            )
    return lines


def fed(rates: dict[str, list[float]], workers: int, step: float, cpu: float) -> list[str]:
    """What the rates mean for a training on this device."""
    rate = statistics.median(rates[OURS])
    return [
        f"- A training step of ResNeSt-50-fast takes {step:.1f} images/s here; the loader with "
        f"{workers} workers alone gives {rate / step:.1f} times as many.",
        f"- An image takes {1000 * cpu:.2f} ms of one core, so that 8 workers with a core each "
        f"give {8 / cpu:.0f} images/s at most (worked out, not measured).",
    ]


def main() -> None:
    """Measure and print."""
    asked = arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    watch = CpuWatch()
    step = step_rate(device, asked.step_batch or (4 if device.type == "cpu" else 128), 3)
    # A thread more in a process that decodes would be another process's core.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        what = write(folder, asked)
        mean, most = difference(folder)
        reduced, _ = difference(folder, SMALL)
        found, cpu = {}, 0.0
        for workers in asked.workers:
            found[workers], spent = race(contestants(folder, workers, asked), asked.rounds)
            cpu = cpu if workers else spent
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "pillow"))
    last = asked.workers[-1]
    print("# Images per second of the loader\n")
    print(f"- machine: {device_name(torch.device('cpu'))}, {os.cpu_count()} CPUs; device of the")
    print(
        f"  step: {device_name(device)}; others' load meanwhile: {watch.read().percent or 0:.0f} %"
    )
    print(f"- versions: python {platform.python_version()}, {versions}")
    print(f"- images: {what}, {WIDTH} x {HEIGHT}, to {SIDE} x {SIDE}; batches of {asked.batch}")
    print(f"- n = {asked.rounds} rounds in turns, medians, with the least and the most")
    print(f"- command: `python {shlex.join(['benchmarks/loader.py', *sys.argv[1:]])}`\n")
    print("\n".join(table(found)), "\n")
    print(f"- The goal is {GOAL} times torchvision's at a mean difference of 1/255 at most: crops")
    print(
        f"  differ by {mean:.4f}/255 in the mean and by {most}/255 at most. To {SMALL} x {SMALL},"
    )
    print(f"  where large crops come of JPEGs decoded at half their resolution: {reduced:.2f}/255.")
    print("\n".join(fed(found[last], last, step, cpu or float("nan"))))


if __name__ == "__main__":
    main()
