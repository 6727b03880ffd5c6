"""Optimizer and learning rate of a recipe (ResNeSt paper, arXiv 2004.08955, section 5.1)."""

from __future__ import annotations

import math

import torch
from torch import nn

from resnest_search.configuration.schema import TrainConfig

__all__ = ["learning_rate_factor", "make_optimizer", "peak_learning_rate"]


def peak_learning_rate(recipe: TrainConfig) -> float:
    """The learning rate after warm-up: it follows the batch linearly.

    The recipe's batch is to be the one that is taken, which a small data set bounds.
    """
    return recipe.learning_rate * recipe.batch_size / 256


def make_optimizer(network: nn.Module, recipe: TrainConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum; no weight decay on biases and norms."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    spared = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
        lr=peak_learning_rate(recipe),
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )


def learning_rate_factor(step: int, steps_per_epoch: int, recipe: TrainConfig) -> float:
    """What the peak learning rate is multiplied by at an optimizer step, counted from 0.

    Linear from near zero over the warm-up, then a half cosine that would reach zero right
    after the last step of the last epoch.
    """
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    total = recipe.epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
