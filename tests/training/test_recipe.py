"""Optimizer and learning rate of a recipe, as a real training uses them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook
from training_runs import EPOCHS, MODEL, RECIPE, STEPS, make_run, train

from resnest_search.configuration.schema import TrainConfig
from resnest_search.models.build import build
from resnest_search.training.recipe import (
    learning_rate_factor,
    make_optimizer,
    peak_learning_rate,
)
from resnest_search.training.task import Classification
from resnest_search.variant import Variant

PEAK = 6.4 * 8 / 256


@contextmanager
def stepped() -> Iterator[list[dict[str, Any]]]:
    """Settings of the first parameter group at each step that any optimizer takes."""
    seen: list[dict[str, Any]] = []

    def keep(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        seen.append({k: v for k, v in optimizer.param_groups[0].items() if k != "params"})

    handle = register_optimizer_step_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def test_learning_rate_rises_to_its_peak_and_falls_to_nearly_nothing(tmp_path: Path) -> None:
    with stepped() as seen:
        train(make_run(tmp_path))
    rates = [step["lr"] for step in seen]
    assert len(rates) == EPOCHS * STEPS
    warm, rest = rates[: STEPS + 1], rates[STEPS:]
    slopes = {round(b - a, 12) for a, b in itertools.pairwise(warm)}
    assert len(slopes) == 1
    assert slopes.pop() == pytest.approx(PEAK / (STEPS + 1))
    assert rest[0] == pytest.approx(PEAK) == max(rates)
    assert rest == sorted(rest, reverse=True)
    assert rest[len(rest) // 2] == pytest.approx(PEAK / 2)  # a half cosine is point-symmetric
    assert 0 < rest[-1] < 0.02 * PEAK


def test_each_epoch_has_the_learning_rate_of_its_last_step(tmp_path: Path) -> None:
    with stepped() as seen:
        curve = train(make_run(tmp_path)).curve
    assert [epoch.learning_rate for epoch in curve] == pytest.approx(
        [step["lr"] for step in seen][STEPS - 1 :: STEPS]
    )


def test_recipe_without_warm_up_starts_at_its_peak(tmp_path: Path) -> None:
    with stepped() as seen:
        train(make_run(tmp_path, warmup_epochs=0), stop_after=1)
    assert seen[0]["lr"] == pytest.approx(PEAK)
    assert seen[1]["lr"] < PEAK


def test_resumed_training_takes_the_learning_rates_of_an_unbroken_one(tmp_path: Path) -> None:
    with stepped() as whole:
        train(make_run(tmp_path / "whole"))
    with stepped() as parts:
        train(make_run(tmp_path / "parts"), stop_after=2)
        train(make_run(tmp_path / "parts"))
    assert [s["lr"] for s in parts] == [s["lr"] for s in whole]


@pytest.mark.parametrize(("rate", "batch", "peak"), [(0.1, 8192, 3.2), (0.1, 256, 0.1)])
def test_peak_follows_the_batch(rate: float, batch: int, peak: float) -> None:
    recipe = TrainConfig(learning_rate=rate, batch_size=batch)
    assert peak_learning_rate(recipe) == pytest.approx(peak)


def test_a_batch_beyond_the_data_trains_with_the_rate_of_the_batch_that_is_taken(
    tmp_path: Path,
) -> None:
    """8192 of 1,000 images: 0.1 x 1000 / 256 = 0.39 where it was 3.2."""
    run = make_run(tmp_path, warmup_epochs=0, batch_size=8192, learning_rate=0.1)
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, train_images=1000))
    with stepped() as seen:
        train(run, stop_after=1)
    assert seen[0]["lr"] == pytest.approx(0.390625)


def test_fraction_of_an_epoch_warms_up_for_that_fraction() -> None:
    recipe = TrainConfig(epochs=4, warmup_epochs=0.5)
    factors = [learning_rate_factor(step, 10, recipe) for step in range(40)]
    assert factors.index(max(factors)) == 5
    assert factors[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


def test_momentum_is_nesterovs_and_none_is_none(tmp_path: Path) -> None:
    with stepped() as seen:
        train(make_run(tmp_path / "with"), stop_after=1)
        train(make_run(tmp_path / "without", momentum=0.0), stop_after=1)
    assert (seen[0]["momentum"], seen[0]["nesterov"]) == (0.9, True)
    assert (seen[-1]["momentum"], seen[-1]["nesterov"]) == (0.0, False)


def test_no_weight_decays_but_those_of_convolutions_and_classifier() -> None:
    network = build(Variant(2, 1, 64), MODEL, in_channels=1, num_classes=10)
    optimizer = make_optimizer(network, dataclasses.replace(RECIPE, weight_decay=0.5))
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    seen = {"weight": 0, "spared": 0}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            decays = isinstance(module, nn.Conv2d | nn.Linear) and name == "weight"
            assert decay.pop(id(parameter)) == (0.5 if decays else 0.0)
            seen["weight" if decays else "spared"] += 1
    assert not decay
    assert min(seen.values()) > 0


def test_mixed_labels_cost_the_shares_of_both() -> None:
    """The loss of mixup's paper: that of each label, weighted, here with smoothed labels."""
    recipe = dataclasses.replace(RECIPE, mixup=0.4, label_smoothing=0.1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    task = Classification(network, recipe, 1, 0, 5)
    images, labels = torch.randn(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4, 0])
    torch.manual_seed(3)
    found = task.training_step((images, labels), 0)
    torch.manual_seed(3)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    logits = network(share * images + (1 - share) * images.roll(1, 0))
    own = F.cross_entropy(logits, labels, label_smoothing=0.1)
    others = F.cross_entropy(logits, labels.roll(1, 0), label_smoothing=0.1)
    assert found.item() == pytest.approx((share * own + (1 - share) * others).item(), rel=1e-5)
