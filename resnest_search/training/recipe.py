"""Optimizer and learning rate of a recipe (ResNeSt paper, arXiv 2004.08955, section 5.1)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from resnest_search.configuration.schema import TrainConfig

__all__ = ["HEAD", "layer_depths", "learning_rate_factor", "make_optimizer", "peak_learning_rate"]

HEAD = ("drop", "fc")  # children of the network that a frozen start trains


def peak_learning_rate(recipe: TrainConfig) -> float:
    """The learning rate after warm-up: it follows the batch linearly, with either optimizer.

    The recipe's batch is to be the one that is taken, which a small data set bounds.
    """
    return recipe.learning_rate * recipe.batch_size / 256


def make_optimizer(network: nn.Module, recipe: TrainConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; no weight decay on biases and norms."""
    groups = _groups(network, recipe)
    rate = peak_learning_rate(recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=(recipe.momentum, recipe.beta2))
    return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _groups(network: nn.Module, recipe: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by depth and by whether they decay, the classifier's first."""
    depths = layer_depths(network) if recipe.layer_decay < 1 else {}
    found: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        key = depths.get(name, 0), parameter.ndim <= 1
        found.setdefault(key, []).append(parameter)
    peak = peak_learning_rate(recipe)
    return [
        {
            "params": parameters,
            "weight_decay": 0.0 if spared else recipe.weight_decay,
            "lr": peak * recipe.layer_decay**depth,
        }
        for (depth, spared), parameters in sorted(found.items(), key=lambda entry: entry[0])
    ]


def layer_depths(network: nn.Module) -> dict[str, int]:
    """How far below the classifier each parameter is: 0 is its own, each block is one more.

    The stem is the deepest, as in timm's ``param_groups_layer_decay`` of a ResNet (after BEiT,
    arXiv 2106.08254).
    """
    layers: dict[str, int] = {}  # parameter to the number of its layer, from the stem on
    blocks: dict[str, int] = {}
    names = [name for name, _ in network.named_parameters()]
    for name in names:
        stage, _, rest = name.partition(".")
        if stage.startswith("layer"):
            block = f"{stage}.{rest.partition('.')[0]}"
            layers[name] = blocks.setdefault(block, len(blocks) + 1)
        else:
            layers[name] = 0
    last = len(blocks) + 1
    return {name: 0 if name.partition(".")[0] in HEAD else last - layers[name] for name in names}


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
