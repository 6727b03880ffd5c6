"""A running average of the weights, which is what is validated, kept and exported."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

__all__ = ["Average", "decay_after"]

_WARMUP_POWER = 2 / 3


class Average(WeightAveraging):
    """An exponential moving average of weights and of batch norms' statistics, after each step.

    Lightning swaps it in for validation, and writes it as the checkpoint's ``state_dict``, the
    weights that are trained beside it. Statistics are averaged like weights, as timm's
    ``ModelEmaV3`` and torchvision's ``ExponentialMovingAverage`` do; counters are copied.

    Args:
        decay: of a long training, see `decay_after`.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        super().__init__(multi_avg_fn=self._update)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average on the device of the training, which has not got the module yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # Looked at in each step, which on a GPU would wait for all that was launched.
            self._average_model.n_averaged = torch.tensor(0)

    @torch.no_grad()
    def _update(self, averages: Sequence[Tensor], values: Sequence[Tensor], _: object) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(list(averages), list(values))
        elif self._average_model is not None:
            weight = 1 - decay_after(int(self._average_model.n_averaged), self._decay)
            torch._foreach_lerp_(list(averages), list(values), weight)


def decay_after(updates: int, decay: float) -> float:
    """The decay after n updates, the first of which is a copy: min(decay, 1 - (1 + n)^(-2/3)).

    The warm-up of timm's ``ModelEmaV3``: the average is of the last n^(2/3) steps or so, always a
    part of the training, so that a short one is not held at its beginning. 0.999 is reached after
    31,600 steps, 0.9999 after a million.
    """
    return min(decay, 1 - math.pow(1 + updates, -_WARMUP_POWER))
