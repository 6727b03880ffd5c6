"""What recipes add to plain SGD: each key beside the implementation that it is after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import LightningModule
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from training_runs import DATA, EPOCHS, MODEL, RECIPE, STEPS, VALIDATION, make_run, numbers, train

from resnest_search.configuration.schema import ModelConfig, TrainConfig
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.data import build as build_data
from resnest_search.models.build import build
from resnest_search.models.weights import read_weights
from resnest_search.study.answers import unpack
from resnest_search.training import CHECKPOINT, fitting, load_weights
from resnest_search.training.averaging import Average
from resnest_search.training.recipe import make_optimizer
from resnest_search.variant import Variant

TUNED: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 0.03,
    "ema": 0.9,
    "accumulate": 2,
    "frozen_epochs": 1,
    "layer_decay": 0.7,
    "clip_gradients": 1.0,
}


@contextmanager
def at_each_step(
    look: Callable[[torch.optim.Optimizer], None], after: bool = False
) -> Iterator[None]:
    """Look at every optimizer before, or after, each of its steps."""
    register = register_optimizer_step_post_hook if after else register_optimizer_step_pre_hook
    handle = register(lambda optimizer, args, kwargs: look(optimizer))  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


@pytest.fixture
def network_of(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that trainings build."""
    built: list[nn.Module] = []
    make = fitting.build_network

    def kept(*args: Any, **kwargs: Any) -> nn.Module:
        built.append(make(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr(fitting, "build_network", kept)
    return built


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A file of weights with the classes of the digits."""
    torch.manual_seed(3)
    network = build(Variant.parse("2s1x64d"), MODEL, in_channels=1, num_classes=10)
    torch.save(network.state_dict(), tmp_path / "start.pt")
    return tmp_path / "start.pt"


# Old trainings, and continued ones


def test_a_checkpoint_from_before_these_keys_continues(tmp_path: Path) -> None:
    train(make_run(tmp_path), stop_after=1)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    identity = json.loads(state["resnest_search"]["identity"])
    for key in (*TUNED.keys() - {"learning_rate"}, "patience", "beta2"):
        del identity["train"][key]
    state["resnest_search"]["identity"] = json.dumps(identity, sort_keys=True)
    for entry in state["resnest_search"]["curve"]:
        del entry["ended"]
    torch.save(state, tmp_path / CHECKPOINT)
    assert train(make_run(tmp_path), stop_after=2).notes[0] == "continues after epoch 1"


@pytest.mark.parametrize("after", [1, 2])
def test_all_of_them_at_once_continue_to_the_last_bit(tmp_path: Path, after: int) -> None:
    whole = train(make_run(tmp_path / "whole", **TUNED))
    run = make_run(tmp_path / "parts", **TUNED)
    train(run, stop_after=after)
    rest = train(run)
    assert rest.notes[0] == f"continues after epoch {after}"
    assert numbers(rest) == numbers(whole)
    ours, theirs = load_weights(tmp_path / "parts"), load_weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# Averaging


@pytest.mark.parametrize("decay", [0.8, 0.9999])
def test_the_average_is_timms(tmp_path: Path, network_of: list[nn.Module], decay: float) -> None:
    """With its warm-up, which alone counts for the larger of these decays."""
    from timm.utils import ModelEmaV3

    averages: list[ModelEmaV3] = []
    steps: list[int] = []

    def update(optimizer: torch.optim.Optimizer) -> None:
        if not averages:
            averages.append(ModelEmaV3(network_of[0], decay=decay, use_warmup=True))
        steps.append(1)
        averages[0].update(network_of[0], step=len(steps))

    with at_each_step(update, after=True):
        train(make_run(tmp_path, ema=decay))
    assert len(steps) == EPOCHS * STEPS
    found, trained = load_weights(tmp_path), network_of[0].state_dict()
    for name, tensor in averages[0].module.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7)
    checkpoint = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    raw = checkpoint["current_model_state"]["network.fc.weight"]
    assert not torch.equal(raw, found["fc.weight"])
    assert torch.equal(trained["fc.weight"], found["fc.weight"])  # it ends with the average


def test_the_average_is_on_the_device_of_the_training():
    """Which Lightning moves the module to only later: else each step would copy all of it."""
    average, module = Average(0.9), LightningModule()
    module.layer = nn.Linear(3, 2)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    average.setup(trainer, module, "fit")
    found = average._average_model
    assert {tensor.device.type for tensor in found.module.parameters()} == {"meta"}
    assert found.n_averaged.device.type == "cpu"
    assert module.layer.weight.device.type == "cpu"


def test_the_average_is_what_is_validated_and_what_another_training_starts_from(
    tmp_path: Path,
) -> None:
    last = train(make_run(tmp_path, ema=0.9)).curve[-1]
    found = load_weights(tmp_path)
    network = build(Variant.parse("2s1x64d"), MODEL, in_channels=1, num_classes=10)
    network.load_state_dict(found)
    data = build_data(DATA, 7, 0)
    with torch.inference_mode():
        loss = sum(
            float(nn.functional.cross_entropy(network.eval()(images), labels, reduction="sum"))
            for images, labels in data.val_dataloader()
        )
    assert last.loss == pytest.approx(loss / VALIDATION, rel=1e-4)
    start = read_weights(tmp_path / CHECKPOINT)
    assert start.keys() == found.keys()
    assert all(torch.equal(start[name], found[name]) for name in found)


# Gradients


def test_a_batch_in_parts_takes_the_steps_of_the_whole_one(tmp_path: Path, start: Path) -> None:
    """With norms that use no statistics of a batch, which are those of a frozen network."""
    seen: dict[int, list[float]] = {1: [], 4: []}
    curves = {}
    for parts, rates in seen.items():
        run = make_run(
            tmp_path / str(parts),
            model={"pretrained": str(start)},
            accumulate=parts,
            frozen_epochs=EPOCHS,
            learning_rate=1.0,
        )
        with at_each_step(lambda optimizer, r=rates: r.append(optimizer.param_groups[0]["lr"])):  # type: ignore[misc]
            curves[parts] = train(run).curve
    assert len(seen[1]) == EPOCHS * STEPS
    assert seen[1] == seen[4]
    assert [e.train_loss for e in curves[1]] == pytest.approx([e.train_loss for e in curves[4]])
    whole, parted = (load_weights(tmp_path / str(parts)) for parts in seen)
    for name in whole:
        torch.testing.assert_close(whole[name], parted[name])


def test_gradients_are_clipped_as_torch_clips_them(tmp_path: Path) -> None:
    found: dict[float, list[torch.Tensor]] = {}
    for most in (0.0, 0.5):
        first: list[torch.Tensor] = found.setdefault(most, [])

        def keep(optimizer: torch.optim.Optimizer, first: list[torch.Tensor] = first) -> None:
            if not first:
                groups = [group["params"] for group in optimizer.param_groups]
                first += [p.grad.clone() for params in groups for p in params]

        with at_each_step(keep, after=True):
            train(make_run(tmp_path / str(most), clip_gradients=most), stop_after=1)
    given = [nn.Parameter(torch.zeros_like(gradient)) for gradient in found[0.0]]
    for parameter, gradient in zip(given, found[0.0], strict=True):
        parameter.grad = gradient.clone()
    assert float(nn.utils.clip_grad_norm_(given, 0.5)) > 0.5
    for parameter, gradient in zip(given, found[0.5], strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


# Rates


def test_adamw_is_torchs_with_the_rate_of_256_images(tmp_path: Path) -> None:
    seen: list[torch.optim.Optimizer] = []
    with at_each_step(seen.append):
        train(make_run(tmp_path, **TUNED | {"layer_decay": 1.0, "beta2": 0.95}), stop_after=1)
    assert type(seen[0]) is torch.optim.AdamW
    decayed, spared = seen[0].param_groups
    assert decayed["betas"] == (0.9, 0.95)
    assert decayed["initial_lr"] == pytest.approx(0.03 * 8 / 256)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (RECIPE.weight_decay, 0.0)


def test_rates_fall_from_the_classifier_to_the_stem_as_timms() -> None:
    import timm
    from timm.optim import param_groups_layer_decay

    conf = yaml.safe_load((shipped_folder("conf") / "model" / "resnest14.yaml").read_text())
    recipe = TrainConfig(layer_decay=0.8, weight_decay=0.05, learning_rate=1.0, batch_size=256)
    with torch.device("meta"):
        ours = build(Variant.parse("2s1x64d"), ModelConfig(**conf), in_channels=3, num_classes=1000)
        theirs = timm.create_model("resnest14d")
    wanted, found = (
        {
            id(parameter): (group.get("lr_scale", group.get("lr")), group["weight_decay"])
            for group in groups
            for parameter in group["params"]
        }
        for groups in (
            param_groups_layer_decay(theirs, weight_decay=0.05, layer_decay=0.8),
            make_optimizer(ours, recipe).param_groups,
        )
    )
    names = dict(theirs.named_parameters())
    rates = set()
    for name, parameter in ours.named_parameters():
        assert found[id(parameter)] == pytest.approx(wanted[id(names[name])]), name
        rates.add(found[id(parameter)][0])
    assert len(rates) == 6  # the stem, four blocks, the classifier
    assert len(found) == len(wanted)


# A frozen start


def test_a_frozen_start_trains_the_classifier_alone(tmp_path: Path, start: Path) -> None:
    """Statistics of norms stay, too; then all is trained."""
    run = make_run(tmp_path / "run", model={"pretrained": str(start)}, frozen_epochs=1)
    before = torch.load(start, weights_only=True)
    train(run, stop_after=1)
    first = load_weights(tmp_path / "run")
    changed = {name for name, tensor in before.items() if not torch.equal(first[name], tensor)}
    assert changed == {"fc.weight", "fc.bias"}
    train(run, stop_after=2)
    second = load_weights(tmp_path / "run")
    kinds = ("conv1.weight", "bn1.weight", "running_mean", "fc.weight")
    for name in (name for name in first if name.endswith(kinds)):
        assert not torch.equal(first[name], second[name]), name


# Ending early


def test_patience_ends_a_training_that_does_not_improve(tmp_path: Path, start: Path) -> None:
    still = {"frozen_epochs": 9, "learning_rate": 0.0, "epochs": 9, "patience": 2}
    run = make_run(tmp_path / "run", model={"pretrained": str(start)}, **still)
    listener = train(run)
    assert [entry.epoch for entry in listener.curve] == [1, 2, 3]
    said = "stopped after 3 of 9 epochs: none was better than epoch 1 for train.patience=2"
    assert [entry.ended for entry in listener.curve] == ["", "", said]
    assert unpack(listener.curve[-1].correct, VALIDATION) is not None
    again = train(run)
    assert again.curve == listener.curve
    assert len(again.notes) == 1


def test_patience_leaves_a_training_that_improves(tmp_path: Path) -> None:
    plain = train(make_run(tmp_path / "plain"))
    assert numbers(train(make_run(tmp_path / "run", patience=EPOCHS))) == numbers(plain)
