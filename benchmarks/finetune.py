"""Fine-tuning from a file of one's own against training from fresh weights.

    python benchmarks/finetune.py FOLDER               # with FOLDER/train/CLASS, FOLDER/val/CLASS
    python benchmarks/finetune.py FOLDER --tuned train=quick

A network learns every other class of the folder; its checkpoint is the file. The remaining classes,
a part of their training images, are then learned from that file and from fresh weights, by each
recipe for each seed, and validated on all their validation images. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from resnest_search.configuration.compose import run_command
from resnest_search.configuration.schema import TrainCommandConfig
from resnest_search.cost.machine import device_name
from resnest_search.execution.precision import profiled_precision
from resnest_search.metrics import accuracy_error
from resnest_search.study.record import Epoch
from resnest_search.training import CHECKPOINT, Run, fit
from resnest_search.words import counted

FIRST = "train=small_images train.warmup_epochs=0.5"
DATA = ("data=image_folder", "data.augment=crop_flip", "data.workers=0")


def main() -> None:
    """Train the file, then from it and from fresh weights; print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--variant", default="2s1x64d")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=50, help="a class, of the second half")
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--first-epochs", type=int, default=12, help="of the file's training")
    parser.add_argument("--epochs", type=int, default=12, help="of each training from it")
    parser.add_argument("--keep", type=Path, help="folder of the trainings, which go on from there")
    parser.add_argument(
        "--fresh", nargs="*", default=["train=small_images train.batch_size=32"], help="recipes"
    )
    parser.add_argument("--tuned", nargs="*", default=["train=finetune"], help="recipes")
    asked = parser.parse_args()
    asked.command = shlex.join(sys.argv[1:])  # before Hydra has words of its own there
    with tempfile.TemporaryDirectory() as scratch:
        print(page(asked, *trained(asked, Path(scratch), asked.keep or Path(scratch))))


def trained(
    asked: argparse.Namespace, scratch: Path, kept: Path
) -> tuple[Epoch, dict[str, list[list[Epoch]]]]:
    """The last epoch of the file's training, and the curves of each recipe, a seed each."""
    first, second = halves(asked.folder, scratch, asked.images)
    last = curve(asked, f"{FIRST} train.epochs={asked.first_epochs}", first, 0, kept / "first")[-1]
    file = kept / "first" / CHECKPOINT
    found: dict[str, list[list[Epoch]]] = {}
    starts = [(words, "") for words in asked.fresh]
    starts += [(words, f" model.pretrained={file}") for words in asked.tuned]
    for seed, (words, start) in itertools.product(asked.seeds, starts):
        name = f"{words} {'model.pretrained=FILE' if start else ''}".strip()
        typed = f"train.epochs={asked.epochs} {words}{start}"
        place = kept / f"{'tuned' if start else 'fresh'} {words} {seed}"
        found.setdefault(name, []).append(curve(asked, typed, second, seed, place))
        print(name, seed, f"{100 * found[name][-1][-1].accuracy:.1f} %", file=sys.stderr)
    return last, found


def halves(folder: Path, scratch: Path, images: int) -> tuple[Path, Path]:
    """Two folders of links to every other class; of the second the first training images alone."""
    classes = sorted(path.name for path in (folder / "train").iterdir())
    parts = scratch / "half-1", scratch / "half-2"
    for half, part in enumerate(parts):
        for name in classes[half::2]:
            (part / "val").mkdir(parents=True, exist_ok=True)
            os.symlink((folder / "val" / name).absolute(), part / "val" / name)
            files = sorted((folder / "train" / name).iterdir())
            (part / "train" / name).mkdir(parents=True)
            for file in files[: images if half else None]:
                os.symlink(file.absolute(), part / "train" / name / file.name)
    return parts


def curve(asked: argparse.Namespace, words: str, root: Path, seed: int, place: Path) -> list[Epoch]:
    """The epochs of one training as the command line composes it."""
    composed: list[TrainCommandConfig] = []
    typed = [f"variant={asked.variant}", f"model={asked.model}", *DATA, f"data.root={root}"]
    typed += [f"data.image_size={asked.size}"]
    run_command("train", [*typed, *words.split()], composed.append)
    config = composed[0]
    epochs: list[Epoch] = []

    def report(so_far: Sequence[Epoch], note: str) -> bool:
        epochs[:] = so_far
        return True

    train = profiled_precision(config.train, "cpu")
    run = Run(0, config.variant, config.model, config.data, train, seed, str(place))
    fit(replace(run, threads=torch.get_num_threads()), report)
    return epochs


def page(asked: argparse.Namespace, last: Epoch, found: dict[str, list[list[Epoch]]]) -> str:
    """The Markdown page."""
    packages = ("resnest-search", "torch", "pytorch-lightning")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    machine = f"{device_name(torch.device('cpu'))}, {counted(torch.get_num_threads(), 'thread')}"
    lines = [
        "# Fine-tuning against fresh weights",
        "",
        f"- command: `python benchmarks/finetune.py {asked.command}`",
        f"- machine: {machine}, python {platform.python_version()}, {versions}; "
        f"{time.strftime('%Y-%m-%d', time.gmtime())}",
        f"- model={asked.model}, {asked.variant}, images of {asked.size} pixels",
        f"- the file: every other class of the folder, {last.epoch} epochs of {FIRST}, "
        f"accuracy {100 * last.accuracy:.1f} %",
        f"- the others: {asked.images} training images a class, {asked.epochs} epochs, seeds "
        f"{', '.join(map(str, asked.seeds))}; ± is the standard error over seeds, or the binomial "
        "one of a mean over the validation images where that is larger",
        "",
        "| recipe | accuracy % | of each seed | after epoch 1 | s a training |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for name, curves in found.items():
        ends = [100 * each[-1].accuracy for each in curves]
        begun = np.mean([100 * each[0].accuracy for each in curves])
        seconds = np.mean([sum(epoch.seconds for epoch in each) for each in curves])
        lines.append(
            f"| `{name}` | {np.mean(ends):.1f} ± {error(curves):.1f} "
            f"| {', '.join(f'{end:.1f}' for end in ends)} | {begun:.1f} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def error(curves: Sequence[Sequence[Epoch]]) -> float:
    """The standard error of a mean accuracy, in percent."""
    ends = [each[-1].accuracy for each in curves]
    images = curves[0][-1].images
    seeds = float(np.std(ends, ddof=1)) / len(ends) ** 0.5 if len(ends) > 1 else 0.0
    return 100 * max(seeds, accuracy_error(float(np.mean(ends)), images))


if __name__ == "__main__":
    main()
