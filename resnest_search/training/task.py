"""Image classification as a LightningModule."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_search.configuration.schema import TrainConfig
from resnest_search.data.augment import mixing
from resnest_search.study.answers import Classes, class_scores
from resnest_search.training.recipe import (
    HEAD,
    learning_rate_factor,
    make_optimizer,
    peak_learning_rate,
)

__all__ = ["Classification", "Validated"]


class Validated(NamedTuple):
    """What validation found, over the images of all workers; all but the loss are fractions."""

    accuracy: float
    loss: float  # the mean
    images: int
    balanced_accuracy: float
    macro_f1: float


class Classification(LightningModule):
    """Trains a network with a recipe and counts what validation finds.

    Sums, not means of batches, are what validation keeps: the last batch is smaller, and
    under several workers the shards may differ by one image.

    Args:
        network: images (B, C, H, W) to logits (B, classes).
        recipe: of training.
        steps_per_epoch: optimizer steps.
        seed: of mixup, CutMix and dropout, which depend on it, on the step and on the worker alone.
        classes: that the network tells apart.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: TrainConfig,
        steps_per_epoch: int,
        seed: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.network = network
        self._recipe = recipe
        self._mix = mixing(recipe.mixup, recipe.cutmix, classes)
        self._steps_per_epoch = steps_per_epoch
        self._seed = seed
        # No buffers: DDP would overwrite every worker's with the first one's before each step.
        self._loss_sum = torch.zeros(())
        self.classes = classes
        self._losses = torch.zeros(())  # their sum over the images of validation
        self._truth: list[Tensor] = []  # of each batch of validation: the classes,
        self._answers: list[Tensor] = []  # and what the network takes them for

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        if self._recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(images)
        return logits

    def configure_optimizers(self) -> Any:
        """The optimizer, and a learning rate that changes at each step."""
        optimizer = make_optimizer(self.network, self._recipe)

        def factor(step: int) -> float:
            return learning_rate_factor(step, self._steps_per_epoch, self._recipe)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    @property
    def learning_rate(self) -> float:
        """Of the last step taken."""
        step = max(0, self.global_step - 1)
        factor = learning_rate_factor(step, self._steps_per_epoch, self._recipe)
        return peak_learning_rate(self._recipe) * factor

    def on_train_epoch_start(self) -> None:
        """Start the sums anew, and the random state where a resumed run would start it."""
        self._loss_sum = torch.zeros((), device=self.device)
        torch.manual_seed(_random_state(self._seed, self.current_epoch, self.global_rank))
        if self._recipe.frozen_epochs:
            self._freeze(self.current_epoch < self._recipe.frozen_epochs)

    def _freeze(self, frozen: bool) -> None:
        """Train the classifier alone, or all; frozen norms use the statistics that they have."""
        for name, child in self.network.named_children():
            if name not in HEAD:
                child.requires_grad_(not frozen).train(not frozen)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Loss of a batch: cross entropy with smoothed and, where asked for, mixed labels."""
        images, labels = batch
        if self._mix:
            images, labels = self._mix(images, labels)
        smoothing = self._recipe.label_smoothing
        loss = F.cross_entropy(self(images), labels, label_smoothing=smoothing)
        self._loss_sum += loss.detach()
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start the counts anew."""
        self._losses = torch.zeros((), dtype=torch.float64, device=self.device)
        nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
        self._truth, self._answers = [nothing], [nothing]

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Keep a batch's classes and answers, and count the sum of its losses."""
        images, labels = batch
        if not len(labels):
            return  # fewer images than workers: this one has come for the others' sake
        logits = self(images).float()
        self._truth.append(labels)
        self._answers.append(logits.argmax(1))
        self._losses += F.cross_entropy(logits, labels, reduction="sum")

    def validated(self) -> Validated:
        """What the last validation found."""
        truth, answers = torch.cat(self._truth), torch.cat(self._answers)
        parts = (truth[truth == answers], truth, answers)
        # Counts of each class, which are all that the scores follow from: no matrix of classes.
        counted = [torch.bincount(part, minlength=self.classes) for part in parts]
        counts = self._summed(torch.stack(counted)).cpu().numpy()
        images = int(counts[1].sum())
        balanced, f1 = class_scores(*counts)
        loss = float(self._summed(self._losses)) / images
        return Validated(float(counts[0].sum() / images), loss, images, float(balanced), float(f1))

    def answered(self) -> tuple[Classes, Classes]:
        """The class of each validation image and the answer, (images,), in the order of the set.

        Every worker calls it, since each holds the images from its rank on in steps of their
        number.
        """
        found = torch.zeros(2, self.validated().images, dtype=torch.int64, device=self.device)
        own = torch.stack([torch.cat(self._truth), torch.cat(self._answers)])
        found[:, self.trainer.global_rank :: self.trainer.world_size] = own
        truth, answers = self._summed(found).cpu().numpy()
        return truth, answers

    def trained(self) -> float:
        """Mean training loss of the epoch, over its steps and all workers."""
        losses = self._steps_per_epoch * self._recipe.accumulate * self.trainer.world_size
        return float(self._summed(self._loss_sum)) / losses

    def _summed(self, values: Tensor) -> Tensor:
        total = self.trainer.strategy.reduce(values.clone(), reduce_op="sum")
        return total if isinstance(total, Tensor) else values


def _random_state(seed: int, epoch: int, rank: int) -> int:
    """A seed for torch: another one for each worker, whose masks are to be its own.

    Mixed for all but the first, since a CPU's generator looks at the lowest 32 bits alone.
    """
    if rank == 0:
        return seed * 1_000_003 + epoch
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0])
