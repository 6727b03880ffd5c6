"""What the examples share: the exported network, its images, and a short training loop.

They need torch, torchvision, torchmetrics, pycocotools and an exported folder, but not
resnest_search.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator

__all__ = [
    "anchor_generator",
    "batches",
    "channel_statistics",
    "freeze_batch_norm",
    "load_export",
    "parser",
    "positive",
    "print_table",
    "read_image",
    "read_options",
    "refuse",
    "to_tensor",
    "train",
]


CHECKPOINT_STEPS = 20


def refuse(text: str) -> NoReturn:
    """End with one line about a bad input, and exit code 2."""
    print(text, file=sys.stderr)
    sys.exit(2)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A bad word of the command line is one line, too."""
        refuse(f"{self.prog}: {message}")


def positive(text: str) -> int:
    """A number of things, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1")
    return int(text)


def _rate(text: str) -> float:
    """A learning rate above 0."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return rate


def parser(description: str, *, batch: int, size: int, size_means: str) -> argparse.ArgumentParser:
    """The options of every example."""
    options = _Parser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument(
        "--model",
        type=Path,
        nargs="+",
        default=[Path("best")],
        help="exported folders (model.py and weights.pt) or runs with an exported best/; the head "
        "is trained on each, from the same seed",
    )
    options.add_argument("--images", type=Path, required=True, help="folder of the data set")
    options.add_argument("--steps", type=positive, default=120, help="batches to train on, from 4")
    options.add_argument("--batch", type=positive, default=batch, help="images of a batch")
    options.add_argument("--size", type=positive, default=size, help=size_means)
    options.add_argument("--learning-rate", type=_rate, default=5e-4, help="of AdamW")
    options.add_argument(
        "--every", type=positive, default=5, help="steps between two printed losses"
    )
    options.add_argument("--seed", type=int, default=0, help="of the head's weights and the order")
    options.add_argument(
        "--overfit",
        type=positive,
        help="train on that many images and take the scores on them, in place of validation's",
    )
    options.add_argument(
        "--checkpoint",
        type=Path,
        help="folder for a checkpoint of each network; the same command goes on from there",
    )
    options.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch's name"
    )
    return options


def read_options(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, checked."""
    read = options.parse_args()
    if read.steps < 4:
        refuse(f"--steps {read.steps}: at least 4, for a first and a last quarter")
    if not read.images.is_dir():
        refuse(f"--images {read.images}: there is no such folder")
    try:
        torch.empty(0, device=read.device)
    except (RuntimeError, AssertionError) as error:
        refuse(f"--device {read.device}: {str(error).splitlines()[0]}")
    if read.checkpoint is not None:
        try:
            read.checkpoint.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refuse(f"--checkpoint {read.checkpoint}: no folder ({error.strerror})")
    return read


def load_export(folder: Path) -> ModuleType:
    """The module ``model.py`` of an exported folder or of a run's ``best/``, wherever that lies."""
    path = folder / "model.py"
    if not path.is_file():
        path = folder / "best" / "model.py"
    spec = importlib.util.spec_from_file_location("exported_model", path)
    if not path.is_file() or spec is None or spec.loader is None:
        refuse(f"--model {folder}: there is no model.py, nor best/model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def channel_statistics(export: ModuleType) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, as the network was trained with."""
    channels = export.ARGUMENTS["in_channels"]
    return list(export.MEAN) or [0.0] * channels, list(export.STD) or [1.0] * channels


def freeze_batch_norm(backbone: nn.Module) -> None:
    """Keep the exported running statistics; call it after ``train()``, which would undo it.

    Detection trains on two to four images at a time, too few to normalise by. The batch norm
    of split attention is the strictest case: it sees one value per image, so that a batch of
    two would leave it nothing but +1 and -1, and one of a single image is an error.
    Scale and shift of each norm are trained all the same.
    """
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def anchor_generator(maps: int, size: int) -> AnchorGenerator:
    """Anchors from a 20th of an image on the first map to four fifths of it on the last.

    On images of 320 pixels five maps have 16, 32, 64, 128 and 256, each in three shapes.

    Args:
        maps: of the pyramid, at least 2.
        size: longest side of the images in pixels.
    """
    growth = 16 ** (1 / (maps - 1))
    sides = tuple((round(size / 20 * growth**level),) for level in range(maps))
    return AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * maps)


def read_image(path: Path, channels: int) -> Image.Image:
    """An image in colour for a network of 3 channels, in grey for any other."""
    return open_image(path).convert("RGB" if channels == 3 else "L")


def open_image(path: Path) -> Image.Image:
    """An image as its file has it."""
    try:
        with Image.open(path) as image:
            return image.copy()
    except OSError as error:
        refuse(f"{path}: no image ({type(error).__name__})")


def trained(export: ModuleType) -> Any:
    """The exported network with its weights."""
    try:
        return export.build(pretrained=True)
    except (OSError, RuntimeError) as error:
        refuse(f"{Path(str(export.__file__)).parent}: {error}")


def to_tensor(image: Image.Image, channels: int) -> torch.Tensor:
    """An image of `read_image` as ``[channels, H, W]`` in [0, 1]."""
    pixels = torch.from_numpy(np.array(image)).float() / 255  # [H, W] or [H, W, 3]
    if pixels.ndim == 2:
        return pixels.expand(channels, -1, -1).contiguous()
    return pixels.permute(2, 0, 1).contiguous()


def batches(count: int, batch: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Indices of batch after batch without an end; every image once before any again."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:batch]
        waiting = waiting[batch:]


def train(
    model: nn.Module,
    losses: Callable[[list[int]], dict[str, torch.Tensor]],
    count: int,
    options: argparse.Namespace,
    number: int = 0,
) -> float:
    """Minimise the sum of the losses; prints them, and at the end how far they fell.

    Args:
        model: in training; all that asks for a gradient is trained.
        losses: of the images of these indices.
        count: of images.
        options: see `parser`.
        number: of the network among several, which its checkpoint is called by.

    Returns:
        The seconds that it took.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, options.learning_rate, weight_decay=1e-4)
    # The heads are fresh, so that the first gradients would tear at the trained backbone.
    length = max(1, options.steps // 10)

    def factor(step: int) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * step / options.steps))
        return float(min(1.0, 0.1 + 0.9 * step / length) * falling)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    keeper = _Checkpoint(options, number, model=model, optimizer=optimizer, schedule=schedule)
    history, before = keeper.read()
    order = batches(count, options.batch, torch.Generator().manual_seed(options.seed))
    for _ in history:
        next(order)
    start = time.perf_counter() - before
    for step in range(len(history) + 1, options.steps + 1):
        parts = losses(next(order))
        loss = torch.stack(list(parts.values())).sum()
        history.append(loss.item())
        if not math.isfinite(history[-1]):
            sys.exit(f"step {step}: the loss is {history[-1]}")
        if step % options.every == 0 or step == 1:
            named = ", ".join(f"{name} {part.item():.4f}" for name, part in parts.items())
            print(f"step {step:4d}  loss {history[-1]:.4f}  ({named})", flush=True)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        schedule.step()
        if step % CHECKPOINT_STEPS == 0 or step == options.steps:
            keeper.write(history, time.perf_counter() - start)
    quarter = options.steps // 4
    first, last = sum(history[:quarter]) / quarter, sum(history[-quarter:]) / quarter
    print(f"mean loss: first quarter {first:.4f}, last quarter {last:.4f}")
    return time.perf_counter() - start


class _Checkpoint:
    """What a training that was ended needs to go on as if it had not been.

    Args:
        options: see `parser`; without ``checkpoint`` nothing is read or written.
        number: of the network among several.
        parts: what has a state, by name.
    """

    def __init__(self, options: argparse.Namespace, number: int, **parts: Any) -> None:
        self.path = options.checkpoint and options.checkpoint / f"{number}.pt"
        self.settings = {
            name: str(value)
            for name, value in vars(options).items()
            if name not in ("checkpoint", "every", "device")
        }
        self.parts = parts

    def read(self) -> tuple[list[float], float]:
        """The losses so far and their seconds; none of either without a checkpoint."""
        if self.path is None or not self.path.is_file():
            return [], 0.0
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
            settings = dict(kept["settings"])
        except Exception as error:  # whatever a damaged file makes of it
            refuse(f"--checkpoint {self.path}: damaged ({type(error).__name__})")
        for name, value in self.settings.items():
            if settings.get(name) != value:
                was = settings.get(name)
                refuse(f"--checkpoint {self.path}: {name} was {was}, and is {value} now")
        for name, part in self.parts.items():
            part.load_state_dict(kept[name])
        torch.set_rng_state(kept["random"])
        return kept["history"], kept["seconds"]

    def write(self, history: list[float], seconds: float) -> None:
        """Keep where the training is; a kill leaves the earlier file or the new one."""
        if self.path is None:
            return
        states = {name: part.state_dict() for name, part in self.parts.items()}
        rest = {"settings": self.settings, "random": torch.get_rng_state()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        torch.save({**states, **rest, "history": history, "seconds": seconds}, new)
        new.replace(self.path)


def print_table(rows: Sequence[dict[str, str | float]], device: str) -> None:
    """The rows as Markdown, and below them what they were made on."""
    print()
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + " --- |" * len(rows[0]))
    for row in rows:
        cells = (value if isinstance(value, str) else f"{value:.3f}" for value in row.values())
        print("| " + " | ".join(cells) + " |")
    place = torch.device(device)
    machine = (
        torch.cuda.get_device_name(place)
        if place.type == "cuda"
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(f"\n{machine}; torch {torch.__version__}, seconds are of the training alone")
