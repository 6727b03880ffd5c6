"""Image classification as a LightningModule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_search.configuration.schema import TrainConfig
from resnest_search.training.recipe import learning_rate_factor, make_optimizer

__all__ = ["Classification"]


class Classification(LightningModule):
    """Trains a network with a recipe and counts what validation finds.

    Sums, not means of batches, are what validation keeps: the last batch is smaller, and
    under several workers the shards may differ by one image.

    Args:
        network: images (B, C, H, W) to logits (B, classes).
        recipe: of training.
        steps_per_epoch: optimizer steps.
        seed: of mixup and dropout, which depend on it and on the step alone.
    """

    def __init__(
        self, network: nn.Module, recipe: TrainConfig, steps_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self._recipe = recipe
        self._steps_per_epoch = steps_per_epoch
        self._seed = seed
        # No buffers: DDP would overwrite every worker's with the first one's before each step.
        self._loss_sum = torch.zeros(())
        self._counts = torch.zeros(3)  # correct answers, images, sum of losses
        self._right: list[Tensor] = []  # of each batch: which answers are correct

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        if self._recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(images)
        return logits

    def configure_optimizers(self) -> Any:
        """SGD, and a learning rate that changes at each step."""
        optimizer = make_optimizer(self.network, self._recipe)

        def factor(step: int) -> float:
            return learning_rate_factor(step, self._steps_per_epoch, self._recipe)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        """Start the sums anew, and the random state where a resumed run would start it."""
        self._loss_sum = torch.zeros((), device=self.device)
        torch.manual_seed(self._seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Loss of a batch: cross entropy with smoothed and, where asked for, mixed labels."""
        images, labels = batch
        smoothing = self._recipe.label_smoothing
        if self._recipe.mixup > 0:
            images, other, share = self._mixed(images, labels)
            logits = self(images)
            loss = share * F.cross_entropy(logits, labels, label_smoothing=smoothing)
            loss = loss + (1 - share) * F.cross_entropy(logits, other, label_smoothing=smoothing)
        else:
            loss = F.cross_entropy(self(images), labels, label_smoothing=smoothing)
        self._loss_sum += loss.detach()
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start the counts anew."""
        # float64, since float32 cannot count beyond 16.7 million images
        self._counts = torch.zeros(3, dtype=torch.float64, device=self.device)
        self._right = [torch.zeros(0, dtype=torch.bool, device=self.device)]

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Count a batch: correct answers, images, and the sum of their losses."""
        images, labels = batch
        logits = self(images).float()
        right = logits.argmax(1) == labels
        self._right.append(right)
        self._counts[0] += right.sum()
        self._counts[1] += len(labels)
        self._counts[2] += F.cross_entropy(logits, labels, reduction="sum")

    def validated(self) -> tuple[float, float, int]:
        """Accuracy (fraction), mean loss and number of the validation images of all workers."""
        correct, images, loss = self._summed(self._counts).tolist()
        return correct / images, loss / images, int(images)

    def answered(self) -> NDArray[np.bool_]:
        """Which validation images were answered correctly, (images,), in the order of the set.

        Every worker calls it, since each holds the images from its rank on in steps of their
        number.
        """
        images = self.validated()[2]
        right = torch.zeros(images, dtype=torch.int32, device=self.device)
        right[self.trainer.global_rank :: self.trainer.world_size] = torch.cat(self._right).int()
        answers: NDArray[np.bool_] = self._summed(right).cpu().numpy() > 0
        return answers

    def trained(self) -> float:
        """Mean training loss of the epoch, over its steps and all workers."""
        workers = self.trainer.world_size
        return float(self._summed(self._loss_sum)) / (self._steps_per_epoch * workers)

    def _summed(self, values: Tensor) -> Tensor:
        total = self.trainer.strategy.reduce(values.clone(), reduce_op="sum")
        return total if isinstance(total, Tensor) else values

    def _mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
        """mixup (Zhang et al., arXiv 1710.09412): one share for the batch, partners rolled."""
        alpha = self._recipe.mixup
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        mixed = share * images + (1 - share) * images.roll(1, 0)
        return mixed, labels.roll(1, 0), share
