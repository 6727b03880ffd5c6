"""Record the learning curves of a whole space, for the simulator of searches to replay.

    python benchmarks/tables/record.py fashion_mnist --root FOLDER
    python benchmarks/tables/record.py cifar10 --root FOLDER --minutes 10

Works in three steps, each of which is skipped where its file is there. First the costs of every
candidate and the seconds of its training epoch are measured, which wants an idle machine, and
written to ``NAME.costs.json``. Then every candidate is trained with every seed, seed by seed;
each finished training is one line of ``WORK/NAME.jsonl``, and a program that was killed carries
on where it stood, within the training in flight from its last epoch. When all are there, they
become ``NAME.csv``. See README.md for the columns.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import importlib.metadata
import io
import json
import os
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn import functional as F

from resnest_search import __version__
from resnest_search.configuration.schema import (
    DataConfig,
    MeasureConfig,
    ModelConfig,
    SweepConfig,
    TrainConfig,
)
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.cost import measure_all
from resnest_search.data import build as build_data
from resnest_search.execution.measuring import measure_space
from resnest_search.execution.resources import allot, this_machine
from resnest_search.files import write_atomically
from resnest_search.models import build as build_network
from resnest_search.space import Space
from resnest_search.study.costing import Costing
from resnest_search.study.record import Epoch
from resnest_search.training import Run, fit
from resnest_search.training.recipe import make_optimizer
from resnest_search.variant import Variant

HERE = Path(__file__).parent
COLUMNS = (
    *("radix", "cardinality", "width", "seed", "epoch", "accuracy", "loss", "train_loss"),
    *("latency_ms", "memory_mib", "seconds", "images"),
)
_PASSES, _ROUNDS = 450, 9  # of the latency; a slow clock in a few rounds leaves the median alone
_WARM_STEPS, _TIMED_STEPS, _STEP_ROUNDS = 1, 6, 5  # of the seconds of an epoch

Line = dict[str, Any]  # one finished training, see `_line`


@dataclass(frozen=True)
class Definition:
    """A table: what varies, on which images, with which recipe.

    Attributes:
        images: name of the data set.
        space: values of radix, cardinality and width.
        model: what differs from ``model=small``.
        data: what differs from the data set's own configuration.
        train: what differs from ``train=quick``.
        seeds: how often each candidate is trained.
    """

    images: str
    space: dict[str, list[int]]
    model: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any]
    seeds: int = 3


# A trunk of 32 and 64 channels on images of 10 pixels: an epoch takes 1 to 6 s on one CPU
# thread, and accuracy still rises with the capacity of the variant after nine of them.
_TRUNK: dict[str, Any] = {"stem_width": 8, "planes": [8, 16]}
DEFINITIONS = {
    "fashion_mnist": Definition(
        images="fashion_mnist",
        space={"radix": [0, 1, 2, 4], "cardinality": [1, 2, 4], "width": [32, 64, 128]},
        model=_TRUNK,
        data={"image_size": 10, "augment": "none", "train_images": 2400, "val_images": 2500},
        train={"batch_size": 48},
    ),
    "cifar10": Definition(
        images="cifar10",
        space={"radix": [1, 2, 4], "cardinality": [1, 2, 4], "width": [32, 64, 96, 128]},
        model=_TRUNK,
        data={"image_size": 10, "augment": "none", "train_images": 3000, "val_images": 2500},
        train={"batch_size": 50},
    ),
    "cifar10_long": Definition(
        images="cifar10",
        space={
            "radix": [0, 1, 2, 4],
            "cardinality": [1, 2, 4],
            "width": [8, 16, 32, 48, 64, 96, 128],
        },
        model=_TRUNK,
        data={"image_size": 10, "augment": "crop_flip", "train_images": 3000, "val_images": 5000},
        train={"batch_size": 100, "epochs": 27},
        seeds=2,
    ),
}


@dataclass(frozen=True)
class Table:
    """A definition made concrete, and where its files lie."""

    name: str
    config: SweepConfig
    space: Space
    threads: int
    work: Path
    seeds: range

    @property
    def costs(self) -> Path:
        """Costs and seconds of every candidate."""
        return HERE / f"{self.name}.costs.json"

    @property
    def progress(self) -> Path:
        """A line for each finished training."""
        return self.work / f"{self.name}.jsonl"

    @property
    def variants(self) -> list[str]:
        """Of every candidate, in the order of the space."""
        return [str(candidate.variant) for candidate in self.space.networks]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=sorted(DEFINITIONS))
    parser.add_argument("--root", help="folder of the images; none: ~/.cache/resnest-search")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a training")
    parser.add_argument("--minutes", type=float, help="stop after the epoch that ends later")
    parser.add_argument("--work", type=Path, default=Path("runs/tables"), help="unfinished work")
    parser.add_argument("--costs-only", action="store_true", help="stop before the trainings")
    return parser.parse_args()


def main() -> None:
    """Measure, train, write the table; whatever of it is not done yet."""
    asked = arguments()
    deadline = time.monotonic() + 60 * asked.minutes if asked.minutes else float("inf")
    table = make_table(asked.name, asked.root, asked.threads, asked.work)
    if not table.costs.exists():
        _write_json(table.costs, measure_costs(table))
    if asked.costs_only:
        return
    train_all(table, deadline)
    lines = finished(table.progress)
    if len(lines) == len(table.variants) * len(table.seeds):
        costs = json.loads(table.costs.read_text())["candidates"]
        write_atomically(HERE / f"{table.name}.csv", as_csv(table, lines, costs))
        print(f"{table.name}.csv is written")


def make_table(name: str, root: str | None, threads: int, work: Path) -> Table:
    """A table's sweep on the CPU.

    Args:
        name: of the definition.
        root: folder of the images; None is the package's own.
        threads: CPU threads of trainings and of measuring.
        work: folder of the unfinished work.
    """
    chosen = DEFINITIONS[name]
    config = SweepConfig(
        sweep=name,
        model=ModelConfig(**{**_shipped("model/small"), **chosen.model}),
        data=DataConfig(**{**_shipped(f"data/{chosen.images}"), **chosen.data, "root": root}),
        train=TrainConfig(**{**_shipped("train/quick"), **chosen.train}),
        measure=MeasureConfig(**{**_shipped("measure/eager"), "repeats": _PASSES, "device": "cpu"}),
    )
    config.measure.threads = threads
    config.measure.half_width = None  # as many rounds of each as are noted
    config.search.epochs = config.train.epochs
    space = Space(chosen.space, config.model)
    return Table(name, config, space, threads, work, range(chosen.seeds))


def measure_costs(table: Table) -> dict[str, Any]:
    """Costs, seconds of an epoch, and what they were measured on, for a JSON file.

    Raises:
        RuntimeError: a candidate could not be measured.
    """
    allotment = allot(table.config.resources, this_machine())
    measure = partial(measure_all, rounds=_ROUNDS, progress=_progress)
    costings = measure_space(table.config, table.space, allotment, measure)
    for costing in costings.values():
        if costing.failure:
            raise RuntimeError(costing.failure)
    seconds = epoch_seconds(table)
    first = next(iter(costings.values()))
    details = first.details or {}
    packages = ("numpy", "torchvision", "pytorch-lightning")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "table": table.name,
        "command": f"python benchmarks/tables/record.py {shlex.join(_without_root(sys.argv[1:]))}",
        "device": first.device,
        "mode": first.mode,
        "threads": table.threads,
        "versions": {"resnest-search": __version__, **details["versions"], **versions},
        "rounds": _ROUNDS,
        "passes": details["latency_passes"],
        "busy_percent_at_most": _busiest(costings.values()),
        "seconds": "an epoch's optimizer steps and validation, medians of "
        f"{_STEP_ROUNDS} rounds of {_TIMED_STEPS} batches each, "
        "without loading the images or the checkpoint",
        "model": dataclasses.asdict(table.config.model),
        "data": {**dataclasses.asdict(table.config.data), "root": None},
        "train": dataclasses.asdict(table.config.train),
        "candidates": {
            str(candidate.variant): costings[candidate.network].costs
            | {"seconds": seconds[str(candidate.variant)]}
            for candidate in table.space.networks
        },
    }


def epoch_seconds(table: Table) -> dict[str, float]:
    """Seconds of each variant's training epoch with its validation, on an idle machine.

    Medians of a few real batches, in rounds so that a drifting clock is shared, times the
    batches of an epoch.
    """
    torch.set_num_threads(table.threads)
    train = table.config.train
    data = build_data(table.config.data, train.batch_size, 0)
    steps = [batch for batch, _ in zip(data.train_dataloader(), range(_TIMED_STEPS), strict=False)]
    checks = [batch for batch, _ in zip(data.val_dataloader(), range(_TIMED_STEPS), strict=False)]
    times: dict[str, tuple[list[float], list[float]]] = {v: ([], []) for v in table.variants}
    for turn in range(_STEP_ROUNDS):
        for index, variant in enumerate(table.variants):
            network = build_network(
                Variant.parse(variant),
                table.config.model,
                in_channels=data.channels,
                num_classes=data.classes,
            )
            times[variant][0].extend(_timed_steps(network, train, steps))
            times[variant][1].extend(_timed_checks(network, checks))
            _progress(turn * len(times) + index + 1, _STEP_ROUNDS * len(times))
    counts = len(data.train_dataloader()), len(data.val_dataloader())
    return {
        variant: round(sum(n * statistics.median(t) for n, t in zip(counts, pair, strict=True)), 4)
        for variant, pair in times.items()
    }


def train_all(table: Table, deadline: float) -> None:
    """Train what is not finished, seed by seed, until ``deadline`` of the monotonic clock."""
    done = {(line["variant"], line["seed"]) for line in finished(table.progress)}
    todo = [(variant, seed) for seed in table.seeds for variant in table.variants]
    for number, (variant, seed) in enumerate(todo):
        if (variant, seed) in done:
            continue
        if time.monotonic() > deadline:
            return
        folder = table.work / table.name / f"{variant}-{seed}"
        curve = _trained(table, number, variant, seed, folder, deadline)
        if len(curve) < table.config.train.epochs:
            return
        _append(table.progress, _line(variant, seed, curve))
        shutil.rmtree(folder)
        print(
            f"{time.strftime('%H:%M:%S')} {number + 1}/{len(todo)} {variant} seed {seed}: "
            f"{100 * curve[-1].accuracy:.2f} % after {sum(e.seconds for e in curve):.1f} s",
            flush=True,
        )


def finished(progress: Path) -> list[Line]:
    """The finished trainings; a last line that a kill cut short is none."""
    text = progress.read_text() if progress.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def as_csv(table: Table, lines: Iterable[Line], costs: dict[str, Any]) -> str:
    """The table: a row an epoch, candidates in the order of the space, then by seed."""
    curves = {(line["variant"], line["seed"]): line for line in lines}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, seed in ((name, seed) for name in table.variants for seed in table.seeds):
        variant, line, cost = Variant.parse(name), curves[name, seed], costs[name]
        key = (variant.radix, variant.cardinality, variant.width, seed)
        fixed = (f"{cost['latency_ms']:.4f}", f"{cost['memory_mib']:.4f}", f"{cost['seconds']:.4f}")
        found = zip(line["accuracy"], line["loss"], line["train_loss"], strict=True)
        for epoch, results in enumerate(found, start=1):
            told = (f"{result:.6f}" for result in results)
            writer.writerow((*key, epoch, *told, *fixed, line["images"]))
    return file.getvalue()


def _trained(
    table: Table, number: int, variant: str, seed: int, folder: Path, deadline: float
) -> list[Epoch]:
    """The curve of one training, or as much of it as the time allows."""
    curve: list[Epoch] = []

    def report(so_far: Sequence[Epoch], note: str) -> bool:
        curve[:] = so_far
        return time.monotonic() <= deadline

    config = table.config
    fit(
        Run(
            number=number,
            variant=variant,
            model=config.model,
            data=config.data,
            train=config.train,
            seed=seed,
            folder=str(folder),
            threads=table.threads,
        ),
        report,
    )
    return curve


def _line(variant: str, seed: int, curve: Sequence[Epoch]) -> Line:
    """A training as a JSON line; its seconds are wall-clock, on a machine that may be busy."""
    return {
        "variant": variant,
        "seed": seed,
        "images": curve[-1].images,
        "accuracy": [round(epoch.accuracy, 6) for epoch in curve],
        "loss": [epoch.loss for epoch in curve],
        "train_loss": [epoch.train_loss for epoch in curve],
        "wall_seconds": [round(epoch.seconds, 3) for epoch in curve],
    }


def _append(progress: Path, line: Line) -> None:
    """Add a whole line; what a kill left of an unfinished one is cut away first."""
    progress.parent.mkdir(parents=True, exist_ok=True)
    whole = sum(len(json.dumps(old)) + 1 for old in finished(progress))
    handle = os.open(progress, os.O_CREAT | os.O_WRONLY)
    try:
        os.ftruncate(handle, whole)
        os.lseek(handle, whole, os.SEEK_SET)
        os.write(handle, f"{json.dumps(line)}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _timed_steps(
    network: torch.nn.Module, recipe: TrainConfig, batches: Sequence[Any]
) -> list[float]:
    """Seconds of optimizer steps on batches of (B, C, S, S) and (B,), after a few unmeasured."""
    network.train()
    optimizer = make_optimizer(network, recipe)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        smoothing = recipe.label_smoothing
        F.cross_entropy(network(images), labels, label_smoothing=smoothing).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return _timed(step, batches)


@torch.inference_mode()
def _timed_checks(network: torch.nn.Module, batches: Sequence[Any]) -> list[float]:
    """Seconds of validation batches, after a few unmeasured."""
    network.eval()

    def check(images: torch.Tensor, labels: torch.Tensor) -> None:
        (network(images).argmax(1) == labels).sum().item()

    return _timed(check, batches)


def _timed(once: Callable[..., None], batches: Sequence[Any]) -> list[float]:
    for batch in batches[:_WARM_STEPS]:
        once(*batch)
    times = []
    for batch in batches:
        start = time.perf_counter()
        once(*batch)
        times.append(time.perf_counter() - start)
    return times


def _busiest(costings: Iterable[Costing]) -> float | None:
    """Percent of the device that others took while the busiest network was measured."""
    shares = [(costing.details or {}).get("busy_percent") for costing in costings]
    known = [share for share in shares if share is not None]
    return round(max(known), 1) if known else None


def _without_root(words: list[str]) -> list[str]:
    """The command without the folder of this machine's images."""
    return [
        "FOLDER" if before == "--root" else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def _shipped(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((shipped_folder("conf") / f"{name}.yaml").read_text())
    return loaded


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
