"""What a training is given, and whom it asks: plain data, for which nobody needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.study.record import Epoch

__all__ = ["CHECKPOINT", "EPOCH_LOG", "Report", "Run"]

CHECKPOINT = "checkpoint.ckpt"
EPOCH_LOG = "epochs.jsonl"

Report = Callable[[Sequence[Epoch], str], bool]


@dataclass(frozen=True)
class Run:
    """Everything that decides a training, as plain data.

    ``folder`` is the trial's own: a checkpoint in it is continued, and its epoch log tells
    which epochs were run when. ``threads`` bounds the CPU threads of this process. ``images``
    is the digest of the images, None where nobody has taken it, and ``names`` that of the listing
    which they were split by. ``gpu_share`` is that of the GPU's
    energy which counts as this training's.
    """

    number: int
    variant: str
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    seed: int
    folder: str
    accelerator: str = "cpu"  # or gpu
    threads: int = 1
    images: str | None = None
    names: str | None = None
    gpu_share: float = 1.0
