"""The network beside timm's in the same run, and an epoch of training."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from model import beside_resnet50d, contests, table
from shipped import section

from gpu_parts.found import TOO_LATE, Found, Setting
from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.study.record import Epoch
from resnest_search.training import CHECKPOINT, Run, fit

__all__ = ["ratios", "training"]

ERROR = {torch.float32: 1e-3, torch.bfloat16: 0.3}  # of logits, see the note


def ratios(setting: Setting, found: Found) -> None:
    """What ``benchmarks/model.py`` measures, in fewer rounds."""
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16 if setting.cuda else torch.float32
    found.notes.append(
        "Outputs of all contestants are compared in the same run: the largest difference, in "
        f"standard deviations of them, may be {ERROR[dtype]:g} in {str(dtype)[6:]}: 1e-3 is other "
        "algorithms in float32, 0.3 four to five times the 2 to 3 % that 50 layers of roundings "
        "to 8 bits leave, as the largest of 128,000 logits is."
    )
    if not setting.cuda or setting.small:
        entered(found, setting, ["2s2x40d"], rounds=1, skip=("fifty",))
        return
    entered(found, setting, ["2s1x64d", "2s2x40d"], rounds=12)
    with found.case("2s1x64d beside ResNet-50-D", setting, seconds=20) as go:
        if go:
            images = torch.randn(128, 3, 224, 224, device=setting.device, dtype=dtype)
            found.page += beside_resnet50d(images, 12, compiled=False)
    with found.case("beside timm's compiled", setting, seconds=60) as go:
        if go:
            skip = ("small", "training")
            entered(found, setting, ["2s1x64d"], rounds=12, compiled=True, skip=skip)


def entered(
    found: Found,
    setting: Setting,
    variants: Sequence[str],
    *,
    rounds: int,
    compiled: bool = False,
    skip: Collection[str] = (),
) -> None:
    """Contests of these variants, as many as there is time for."""
    races = contests(variants, setting.device, rounds, 128, compiled=compiled, skip=skip)
    limit = ERROR[torch.bfloat16 if setting.cuda else torch.float32]
    for title, entries, size in races:
        found.page += ["", *table(title, entries, size)]
        for entry in entries:
            found.check(f"{title}: {entry.owner}, {entry.mode}: error, sd", entry.error, limit)
            found.figures.append(
                {
                    "contest": title,
                    "owner": entry.owner,
                    "mode": entry.mode,
                    "ms": 1000 * entry.median,
                    "images/s": size / entry.median,
                    "MiB": entry.memory_mib,
                    "n": len(entry.seconds),
                }
            )
        if setting.left() < 20:
            found.skipped.append(f"contests after {title}: {TOO_LATE}")
            return


def training(setting: Setting, found: Found) -> None:
    """One epoch with Lightning, as a sweep trains: on a GPU in every precision."""
    found.notes.append(
        "One epoch of the digits with the recipe `quick`: the losses must be finite, the epoch "
        "reported once, and its checkpoint on disk."
    )
    model = "tiny" if setting.small else "small"
    precisions = ("fp32", "bf16", "fp16") if setting.cuda else ("fp32",)
    rows = []
    for precision in precisions:
        for last in (False, True):
            layout = "channels_last" if last else "contiguous"
            what = f"2s2x40d in {model}, {precision}, {layout}"
            with found.case(what, setting, seconds=5) as go:
                if go:
                    rows.append({"training": what} | epoch(setting, found, what, precision, last))
    found.table(rows)


def epoch(
    setting: Setting, found: Found, what: str, precision: str, channels_last: bool
) -> dict[str, object]:
    """A row for one epoch."""
    curves: list[Sequence[Epoch]] = []

    def report(curve: Sequence[Epoch], note: str) -> bool:
        curves.append(tuple(curve))
        return True

    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            number=0,
            variant="2s2x40d",
            model=section(ModelConfig, "tiny" if setting.small else "small"),
            data=section(DataConfig, "digits"),
            train=section(
                TrainConfig, "quick", epochs=1, precision=precision, channels_last=channels_last
            ),
            seed=0,
            folder=folder,
            accelerator="gpu" if setting.cuda else "cpu",
        )
        fit(run, report)
        kept = (Path(folder) / CHECKPOINT).stat().st_size
    found.check(f"{what}: epochs reported, less 1", abs(len(curves[-1]) - 1), 0)
    (last,) = curves[-1]
    for name, value in (("loss", last.loss), ("training loss", last.train_loss)):
        found.check(f"{what}: {name} is not finite", 0.0 if math.isfinite(value) else 1.0, 0)
    return {
        "seconds": last.seconds,
        "training loss": last.train_loss,
        "validation loss": last.loss,
        "accuracy": last.accuracy,
        "checkpoint, KiB": kept / 1024,
    }
