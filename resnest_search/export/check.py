"""Is an exported file the trained network? Asked in a process that has nothing of the package."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnest_search.cost import busy
from resnest_search.cost.machine import device_name
from resnest_search.data.preprocessing import SHORTER, SQUASHED
from resnest_search.errors import UserError
from resnest_search.export import checker
from resnest_search.export.formats import Format, Winner
from resnest_search.metrics import accuracy_error

__all__ = ["FILES", "Reference", "Score", "check", "doubt", "evaluate", "line"]

BATCH = 64  # images of a pass
IMAGES = 1024  # at most, of those that a file is checked on; whole batches
# The largest difference of a logit, as a share of the largest logit. Another order of float32
# sums gives about 1e-6 of it; a wrong weight, pool or channel gives more than a hundredth.
TOLERANCE = 1e-3
# Two best logits nearer than this share are a tie, which rounding may decide either way.
TIE = 1e-4
AGREEMENT = 0.999  # of the images without a tie
AGREEMENT_OF_INT8 = 0.5  # below it is no approximation of the network
FILES = 16  # at most, that a format with a transform of its own reads
# Of a pixel of 0 to 255. timm normalises in another order. Where both sides are resized, it has
# Pillow do that: 2 of 255 from torch at most in 48,000 images of many sizes, and 1 more where
# colours become grey.
LEVELS = {SHORTER: 0.01, SQUASHED: 4.01}
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
        files: of the first of these images.
        logits: of these images, float32 ``(N, classes)``.
        batch: images of each pass that made them; the last may have had fewer.
        threads: of torch while they were made.
        metadata: what each format should say of classes and preprocessing, by name.
    """

    images: Path
    files: tuple[Path, ...]
    logits: torch.Tensor
    batch: int
    threads: int
    metadata: dict[str, Any]

    @classmethod
    def of(
        cls,
        seen: Sequence[tuple[torch.Tensor, torch.Tensor]],
        images: Path,
        files: Iterable[Path],
        winner: Winner,
    ) -> Reference:
        """The images and answers that `evaluate` kept; the images go into this file."""
        np.save(images, torch.cat([batch for batch, _ in seen]).numpy())
        logits = torch.cat([logits for _, logits in seen])
        metadata = {name: json.loads(text) for name, text in winner.metadata.items()}
        batch, threads = len(seen[0][0]), torch.get_num_threads()
        return cls(images, tuple(files), logits, batch, threads, metadata)


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
    a tie; what is not exact by any finite number, and on `AGREEMENT_OF_INT8`. What the source
    makes of image files must be what validation saw, to the last bit; what timm makes of them may
    differ by `LEVELS`. All must name the classes.

    Raises:
        UserError: it cannot be loaded or used, or is not the trained network.
    """
    answers = _answers(format, folder, reference)
    logits, timing, trained = answers.logits, answers.timing, reference.logits
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
    if not format.exact:
        allowed = math.inf
    if not (difference <= allowed and math.isfinite(difference)):
        raise UserError(
            f"format={format.name}: {format.file} is not the trained network: its outputs "
            f"differ by {difference:.3g}, allowed are {allowed:.3g}"
        )
    least = AGREEMENT if format.exact else AGREEMENT_OF_INT8
    if bool(decided.any()) and float(agrees[decided].float().mean()) < least:
        raise UserError(
            f"format={format.name}: {format.file} is not the trained network: it names "
            f"another class for {int((~agrees[decided]).sum())} of {len(agrees)} images"
        )
    levels = _compare_reading(format, answers.read, reference)
    _compare_metadata(format, answers.metadata, reference)
    size = "x".join(str(side) for side in np.load(reference.images, mmap_mode="r").shape[2:])
    precision = "fp32, " if format.exact else ""
    passes = timing.pop("passes")
    mode = f"batch 1, {size} pixels, {precision}{format.mode}, 1 thread, {passes} passes"
    return {
        "file": format.file,
        "max_difference": difference,
        "largest_logit": scale,
        "top1_agreement": float(agrees.float().mean()),
        "images": len(agrees),
        **levels,
        **timing,
        "device": device_name(torch.device("cpu")),
        "mode": mode,
    }


def line(name: str, facts: dict[str, Any]) -> str:
    """What the screen says about a file that passed."""
    own = f"validation {Score(**facts['validation'])}, " if "validation" in facts else ""
    return (
        f"  {name}: {facts['file']}, loaded without this package: {own}max difference "
        f"{facts['max_difference']:.2g}, top-1 agreement {facts['top1_agreement']:.2%} of "
        f"{facts['images']} images, {facts['latency_ms']:.3g} ms (p95 "
        f"{facts['latency_p95_ms']:.3g}) on {facts['device']}: {facts['mode']}{doubt(facts)}"
    )


def doubt(facts: dict[str, Any]) -> str:
    """That other work disturbed a latency of ours, where it did; empty elsewhere."""
    share = facts["busy_percent"]
    if share is None or not busy.is_trouble(share):
        return ""
    return f"; other work kept the device {share:.0f} % busy meanwhile: do not trust this latency"


@dataclass(frozen=True)
class _Answers:
    """What came back from the other process; see `checker.main`."""

    logits: torch.Tensor
    read: NDArray[np.float32] | None
    metadata: dict[str, Any]
    timing: dict[str, Any]

    @classmethod
    def in_folder(cls, folder: Path) -> _Answers:
        read = folder / "read.npy"
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return cls(
            torch.from_numpy(np.load(folder / "logits.npy")),
            np.load(read) if read.exists() else None,
            facts["metadata"],
            facts["timing"],
        )


def _compare_reading(
    format: Format, read: NDArray[np.float32] | None, reference: Reference
) -> dict[str, Any]:
    """How far files, as the format reads them, are from what validation saw."""
    if read is None:
        return {}
    seen = np.load(reference.images, mmap_mode="r")[: len(read)]
    facts = reference.metadata["preprocessing"]
    if read.shape != seen.shape:
        raise UserError(
            f"format={format.name}: {format.file} makes {read.shape} of image files, where "
            f"validation saw {seen.shape}"
        )
    std = np.array(facts["std"])[:, None, None]
    levels = float((np.abs(read - seen) * (255 * std)).max())
    allowed = 0.0 if format.name == "source" else LEVELS[facts["resized"]]
    if not levels <= allowed:  # not-a-number too
        raise UserError(
            f"format={format.name}: {format.file} reads image files otherwise than validation "
            f"did: pixels of 0 to 255 differ by {levels:.3g}, allowed are {allowed:g}"
        )
    return {"files": len(read), "max_pixel_difference": levels}


def _compare_metadata(format: Format, found: dict[str, Any], reference: Reference) -> None:
    for name in {"class_names", *found}:
        if found.get(name) != reference.metadata.get(name):
            raise UserError(
                f"format={format.name}: {format.file} has other {name} than the training: "
                f"{str(found.get(name))[:200]}"
            )


def _answers(format: Format, folder: Path, reference: Reference) -> _Answers:
    request = {
        "format": format.name,
        "folder": str(folder.resolve()),
        "images": str(reference.images.resolve()),
        "files": [str(path.resolve()) for path in reference.files],
        "batch": reference.batch,
        "threads": reference.threads,
        "watch": busy.__file__,
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
        return _Answers.in_folder(Path(empty))


def _margins(logits: torch.Tensor) -> torch.Tensor:
    """How far the best logit of each image is from the next: ``(N, classes)`` to ``(N,)``."""
    if logits.shape[1] < 2:
        return torch.full((len(logits),), torch.inf)
    best = logits.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]
