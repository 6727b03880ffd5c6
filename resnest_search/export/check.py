"""Is an exported file the trained network? Asked in a process that has nothing of the package."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from resnest_search.cost.machine import device_name
from resnest_search.errors import UserError
from resnest_search.export import checker
from resnest_search.export.formats import Format
from resnest_search.metrics import accuracy_error

__all__ = ["Reference", "Score", "check", "evaluate", "line"]

BATCH = 64  # images of a pass
IMAGES = 1024  # at most, of those that a file is checked on; whole batches
# The largest difference of a logit, as a share of the largest logit. Another order of float32
# sums gives about 1e-6 of it; a wrong weight, pool or channel gives more than a hundredth.
TOLERANCE = 1e-3
# Two best logits nearer than this share are a tie, which rounding may decide either way.
TIE = 1e-4
AGREEMENT = 0.999  # of the images without a tie
_SECONDS = 3600


@dataclass(frozen=True)
class Score:
    """Accuracy on a set of images; a fraction, its standard error, and their number."""

    accuracy: float
    standard_error: float
    images: int

    def __str__(self) -> str:
        return f"{self.accuracy:.2%} ± {self.standard_error:.2%} (n = {self.images})"


@dataclass(frozen=True)
class Reference:
    """What the trained network answers.

    Attributes:
        images: a .npy file of float32 ``(N, C, H, W)``, as the network takes them.
        logits: of these images, float32 ``(N, classes)``.
        threads: of torch while they were made.
    """

    images: Path
    logits: torch.Tensor
    threads: int

    @classmethod
    def of(cls, seen: Sequence[tuple[torch.Tensor, torch.Tensor]], images: Path) -> Reference:
        """The images and answers that `evaluate` kept; the images go into this file."""
        np.save(images, torch.cat([batch for batch, _ in seen]).numpy())
        return cls(images, torch.cat([logits for _, logits in seen]), torch.get_num_threads())


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    batches: Iterable[Any],
    keep: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> Score:
    """Score a network on labelled batches.

    Args:
        network: in eval mode.
        batches: of images ``(B, C, H, W)`` and labels ``(B,)``; at least one.
        keep: gets images and logits of batches, until it has `IMAGES` images.
    """
    correct = total = 0
    for images, labels in batches:
        images = images.contiguous()
        logits = network(images)
        correct += int((logits.argmax(1) == labels).sum())
        if keep is not None and total < IMAGES:
            keep.append((images, logits))
        total += len(labels)
    p = correct / total
    return Score(p, accuracy_error(p, total) or 0.0, total)


def check(format: Format, folder: Path, reference: Reference) -> dict[str, Any]:
    """Load a format's file in a fresh process and compare; returns the facts about it.

    The source's outputs must be the trained ones to the last bit. The others may differ by
    `TOLERANCE`, and choose the trained network's class on `AGREEMENT` of all images without
    a tie.

    Raises:
        UserError: it cannot be loaded or used, or is not the trained network.
    """
    logits, timing = _answers(format, folder, reference)
    trained = reference.logits
    if logits.shape != trained.shape:
        raise UserError(
            f"format={format.name}: {format.file} answers {tuple(logits.shape)}, "
            f"not {tuple(trained.shape)}"
        )
    difference = float((logits - trained).abs().max())
    scale = float(trained.abs().max())
    agrees = logits.argmax(1) == trained.argmax(1)
    decided = _margins(trained) > TIE * scale
    allowed = 0.0 if format.name == "source" else TOLERANCE * scale
    if not difference <= allowed:  # not-a-number too
        raise UserError(
            f"format={format.name}: {format.file} is not the trained network: its outputs "
            f"differ by {difference:.3g}, allowed are {allowed:.3g}"
        )
    if bool(decided.any()) and float(agrees[decided].float().mean()) < AGREEMENT:
        raise UserError(
            f"format={format.name}: {format.file} is not the trained network: it names "
            f"another class for {int((~agrees[decided]).sum())} of {len(agrees)} images"
        )
    size = "x".join(str(side) for side in np.load(reference.images, mmap_mode="r").shape[2:])
    mode = f"batch 1, {size} pixels, fp32, {format.mode}, 1 thread, {timing.pop('passes')} passes"
    return {
        "file": format.file,
        "max_difference": difference,
        "largest_logit": scale,
        "top1_agreement": float(agrees.float().mean()),
        "images": len(agrees),
        **timing,
        "device": device_name(torch.device("cpu")),
        "mode": mode,
    }


def line(name: str, facts: dict[str, Any]) -> str:
    """What the screen says about a file that passed."""
    return (
        f"  {name}: {facts['file']}, loaded without this package: max difference "
        f"{facts['max_difference']:.2g}, top-1 agreement {facts['top1_agreement']:.2%} of "
        f"{facts['images']} images, {facts['latency_ms']:.3g} ms (p95 "
        f"{facts['latency_p95_ms']:.3g}) on {facts['device']}: {facts['mode']}"
    )


def _answers(
    format: Format, folder: Path, reference: Reference
) -> tuple[torch.Tensor, dict[str, Any]]:
    request = {
        "format": format.name,
        "folder": str(folder.resolve()),
        "images": str(reference.images.resolve()),
        "batch": BATCH,
        "threads": reference.threads,
    }
    with tempfile.TemporaryDirectory(prefix="resnest-search-") as empty:
        asked = Path(empty) / "request.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        # -P: neither the script's own folder nor the working directory is importable.
        # -B: no __pycache__ in the export.
        flags = ("-P", "-B", "-W", "ignore")
        command = [sys.executable, *flags, checker.__file__, str(asked)]
        try:
            done = subprocess.run(
                command,
                cwd=empty,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"format={format.name}: {format.file} was not checked within {_SECONDS} s"
            ) from None
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"format={format.name}: {format.file} cannot be used: {why}")
        logits = torch.from_numpy(np.load(Path(empty) / "logits.npy"))
        return logits, json.loads((Path(empty) / "timing.json").read_text(encoding="utf-8"))


def _margins(logits: torch.Tensor) -> torch.Tensor:
    """How far the best logit of each image is from the next: ``(N, classes)`` to ``(N,)``."""
    if logits.shape[1] < 2:
        return torch.full((len(logits),), torch.inf)
    best = logits.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]
