"""``model.pretrained``: what a training starts from, and what is refused before a sweep starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import SMALL, started
from torch import nn
from training_runs import MODEL, make_run, numbers, train

from resnest_search.configuration.schema import (
    DataConfig,
    MethodConfig,
    ModelConfig,
    ResourcesConfig,
    SearchConfig,
    SweepConfig,
    TrackingConfig,
)
from resnest_search.errors import UserError
from resnest_search.execution.prepare import prepare
from resnest_search.execution.pretrained import absolute_pretrained, check_pretrained
from resnest_search.models.build import build
from resnest_search.space import Space
from resnest_search.training import CHECKPOINT, load_weights
from resnest_search.variant import Variant


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the network of `training_runs`, but for seven classes instead of ten."""
    torch.manual_seed(3)
    network = build(Variant.parse("2s1x64d"), MODEL, in_channels=1, num_classes=7)
    path = tmp_path_factory.mktemp("weights") / "seven.pt"
    torch.save(network.state_dict(), path)
    return path


def convolutions(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a training without learning leaves as it was."""
    return {name: tensor for name, tensor in state.items() if tensor.ndim == 4}


# Training


def test_a_training_starts_from_the_file(tmp_path: Path, weights: Path) -> None:
    start = {"pretrained": str(weights)}
    listener = train(make_run(tmp_path, model=start, epochs=1, learning_rate=0.0))
    assert listener.notes == [
        "starts from seven.pt; the classifier is fresh (7 classes there, 10 here)"
    ]
    given, found = torch.load(weights, weights_only=True), load_weights(tmp_path)
    assert convolutions(given)
    for name, tensor in convolutions(given).items():
        assert torch.equal(found[name], tensor), name
    assert found["fc.weight"].shape == (10, 64)


def test_a_file_with_the_datas_classes_brings_its_classifier(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = build(Variant.parse("2s1x64d"), MODEL, in_channels=1, num_classes=10)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "ten.ckpt")
    start = {"pretrained": str(tmp_path / "ten.ckpt")}
    listener = train(make_run(tmp_path / "run", model=start, epochs=1, learning_rate=0.0))
    assert listener.notes == ["starts from ten.ckpt, its classifier of 10 classes by their order"]
    assert torch.equal(load_weights(tmp_path / "run")["fc.weight"], network.fc.weight)


def test_a_trained_start_is_ahead(tmp_path: Path) -> None:
    first = train(make_run(tmp_path / "first"))
    start = {"pretrained": str(tmp_path / "first" / CHECKPOINT)}
    second = train(make_run(tmp_path / "second", model=start))
    assert second.notes[0].startswith(f"starts from {CHECKPOINT}, its classifier of 10 classes")
    assert second.curve[0].train_loss < first.curve[0].train_loss


def test_a_continued_training_needs_its_checkpoint_alone(tmp_path: Path, weights: Path) -> None:
    file = tmp_path / "copy.pt"
    file.write_bytes(weights.read_bytes())
    start = {"pretrained": str(file)}
    whole = train(make_run(tmp_path / "whole", model=start))
    parts = make_run(tmp_path / "parts", model=start)
    train(parts, stop_after=1)
    file.unlink()
    rest = train(parts)
    assert rest.notes[0] == "continues after epoch 1"
    assert numbers(rest) == numbers(whole)


def test_a_damaged_checkpoint_starts_from_the_file_again(tmp_path: Path, weights: Path) -> None:
    trial = make_run(tmp_path, model={"pretrained": str(weights)}, epochs=1)
    whole = numbers(train(trial))
    (tmp_path / CHECKPOINT).write_bytes(b"")
    again = train(trial)
    assert again.notes[0].startswith("the checkpoint is damaged")
    assert "; starts from seven.pt" in again.notes[0]
    assert numbers(again) == whole


def test_a_checkpoint_of_another_start_is_not_continued(tmp_path: Path, weights: Path) -> None:
    train(make_run(tmp_path), stop_after=1)
    listener = train(make_run(tmp_path, model={"pretrained": str(weights)}, epochs=1))
    assert listener.notes[0].startswith("the checkpoint is of another training")


# Before a sweep starts


def sweep(space: dict[str, Any], pretrained: str | None, **data: Any) -> SweepConfig:
    """A sweep of the digits around the network of `training_runs`."""
    given = {"image_size": 8, "channels": 1, "val_images": 60, "test_images": 0, **data}
    return SweepConfig(
        sweep="tiny",
        model=dataclasses.replace(MODEL, pretrained=pretrained),
        data=DataConfig(name="digits", **given),
        search=SearchConfig(
            space=space, sampler=MethodConfig("grid"), pruner=MethodConfig("none"), epochs=1
        ),
        resources=ResourcesConfig(cpus_per_worker=1, gpus_per_trial=0),
        tracking=TrackingConfig("none"),
    )


ONE = {"variant": ["2s1x64d"]}


def test_a_relative_path_reaches_workers_elsewhere(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights.parent)
    config, _ = prepare(sweep(ONE, "seven.pt"))
    assert config.model.pretrained == str(weights)
    monkeypatch.setenv("HOME", str(weights.parent))
    config, _ = prepare(sweep(ONE, "~/seven.pt"))
    assert config.model.pretrained == str(weights)


@pytest.mark.parametrize("nested", [False, True])
def test_a_space_may_vary_the_file(
    weights: Path, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    monkeypatch.chdir(weights.parent)
    starts = [None, "seven.pt"]
    varied = {"model": {"pretrained": starts}} if nested else {"model.pretrained": starts}
    _, space = prepare(sweep({**ONE, **varied}, None))
    assert space.candidates is not None
    found = [candidate.others["model.pretrained"] for candidate in space.candidates]
    assert found == [None, str(weights)]
    bad = {"model": {"pretrained": ["none.pt"]}} if nested else {"model.pretrained": ["none.pt"]}
    with pytest.raises(UserError, match=r"model\.pretrained=.*none\.pt: is no file"):
        prepare(sweep({**ONE, **bad}, None))


def test_without_a_file_nothing_changes() -> None:
    config = sweep({"variant": ["1s1x64d", "2s1x64d"]}, None)
    assert absolute_pretrained(config) == config
    check_pretrained(config, Space(config.search.space, config.model))


@pytest.mark.parametrize(
    ("space", "data", "said"),
    [
        (
            {"variant": ["2s1x64d", "4s1x64d"]},
            {},
            r": 4s1x64d of model=small: the file's weights do not fit: .*; a file fits one varian",
        ),
        ({"variant": ["2s2x32d"]}, {}, r"2s2x32d of model=small: .* of another shape: layer1\.0\."),
        (ONE, {"channels": 3}, "for images of 1 channels, not of 3$"),
        ({**ONE, "model.depths": [[2]]}, {}, r"missing: layer1\.1\.conv1\.weight and \d+ more$"),
    ],
)
def test_a_file_that_does_not_fit_every_network_is_refused(
    weights: Path, space: dict[str, Any], data: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        prepare(sweep(space, str(weights), **data))
    assert str(caught.value).startswith(f"model.pretrained={weights}: ")
    assert "\n" not in str(caught.value)


def test_a_file_of_a_reference_fits_its_published_config(tmp_path: Path) -> None:
    import timm
    import yaml

    theirs: nn.Module = timm.create_model("resnest14d")
    torch.save(theirs.state_dict(), tmp_path / "resnest14d.pth")
    conf = Path(__file__).parents[2] / "conf" / "model" / "resnest14.yaml"
    model = ModelConfig(**yaml.safe_load(conf.read_text()))
    model.pretrained = str(tmp_path / "resnest14d.pth")
    config = dataclasses.replace(sweep(ONE, None, channels=3), model=model)
    prepare(config)
    with pytest.raises(UserError, match="for images of 3 channels, not of 1"):
        prepare(dataclasses.replace(sweep(ONE, None), model=model))


# As a user types it


@pytest.mark.parametrize(
    ("content", "said"), [(None, "is no file"), (b"no weights", "cannot be read")]
)
def test_a_bad_file_is_one_line_before_ray_starts(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "bad.pt"
    if content is not None:
        path.write_bytes(content)
    words = ("train", "variant=1s1x64d", *SMALL, "model.pretrained=bad.pt", "run=out")
    with started(tmp_path, *words) as command:
        line = command.wait().one_line
        assert not command.started_ray
    assert line.startswith(f"resnest-search: model.pretrained={path}: {said}")
    assert not (tmp_path / "out").exists()
